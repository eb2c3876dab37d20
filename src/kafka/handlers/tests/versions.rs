//! Every version of every API that is served is answered in its own form.

use super::{Client, Door};
use crate::model::PartitionIndex;
use crate::wire::{
    ApiKey, Request, Str,
    api::{
        alter_configs::{AlterConfigsRequest, AlterConfigsResource as Replaced},
        api_versions::ApiVersionsRequest,
        consumer_group_describe::ConsumerGroupDescribeRequest,
        consumer_group_heartbeat::ConsumerGroupHeartbeatRequest,
        create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic},
        create_topics::{CreatableTopic, CreateTopicsRequest},
        delete_groups::DeleteGroupsRequest,
        delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic},
        delete_topics::{DeleteTopicState, DeleteTopicsRequest},
        describe_cluster::DescribeClusterRequest,
        describe_configs::{DescribeConfigsRequest, DescribeConfigsResource},
        describe_groups::DescribeGroupsRequest,
        describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest},
        describe_producers::{self, DescribeProducersRequest},
        describe_topic_partitions::{self, DescribeTopicPartitionsRequest},
        elect_leaders::{ElectLeadersRequest, ElectLeadersTopic},
        find_coordinator::FindCoordinatorRequest,
        heartbeat::HeartbeatRequest,
        incremental_alter_configs::{AlterConfigsResource, IncrementalAlterConfigsRequest},
        init_producer_id::InitProducerIdRequest,
        join_group::JoinGroupRequest,
        leave_group::{LeaveGroupRequest, MemberIdentity},
        list_config_resources::ListConfigResourcesRequest,
        list_groups::ListGroupsRequest,
        list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic},
        metadata::{MetadataRequest, MetadataRequestTopic},
        offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete::{OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
        offset_fetch::{
            OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
        },
        offset_for_leader_epoch::{
            OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
        },
        sync_group::SyncGroupRequest,
    },
};

/// Asks in each version; an answer that cannot be written would close the connection.
async fn in_each_version<M: Request>(client: &mut Client, asked: &mut Vec<ApiKey>, request: M) {
    for version in M::API.served() {
        client.ask(version, &request).await;
    }
    asked.push(M::API);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_is_answered_for_what_is_there_and_what_is_not() {
    let (door, mut client) = Door::open().await;
    client.create(&["t"], 1).await;
    let mut asked = Vec::new();
    for name in ["t", "no-such", "no/name", ""] {
        every_api(&mut client, &mut asked, name).await;
        client.metadata(12, Some(&["t"]), true).await;
    }
    let served =
        |api: &&ApiKey| api.advertised().is_some() && !matches!(api, ApiKey::Produce | ApiKey::Fetch);
    for api in ApiKey::ALL.iter().filter(served) {
        assert!(asked.contains(api), "{api:?} is advertised and was not asked");
    }
    door.close().await;
}

async fn every_api(client: &mut Client, asked: &mut Vec<ApiKey>, name: &str) {
    let software = "a".into();
    let versions = ApiVersionsRequest { client_software_name: software, ..ApiVersionsRequest::default() };
    in_each_version(client, asked, versions).await;
    let topic = MetadataRequestTopic { name: Some(name.into()), ..MetadataRequestTopic::default() };
    let metadata = MetadataRequest {
        topics: Some(vec![topic]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    for version in 1..=13 {
        // Version 0 to 3 would make the topic; they are asked without one.
        let bare = MetadataRequest { topics: None, ..metadata.clone() };
        client.ask(version, if version < 4 { &bare } else { &metadata }).await;
    }
    in_each_version(client, asked, MetadataRequest { topics: Some(Vec::new()), ..metadata }).await;
    let partitions = vec![ListOffsetsPartition::default()];
    let topics = vec![ListOffsetsTopic { name: name.into(), partitions }];
    in_each_version(client, asked, ListOffsetsRequest { topics, ..ListOffsetsRequest::default() }).await;
    let coordinator =
        FindCoordinatorRequest { key: name.into(), coordinator_keys: vec![name.into()], key_type: 0 };
    in_each_version(client, asked, coordinator).await;
    in_each_version(client, asked, InitProducerIdRequest::default()).await;
    in_each_version(client, asked, DescribeClusterRequest::default()).await;
    let partitions = vec![OffsetForLeaderPartition::default()];
    let topics = vec![OffsetForLeaderTopic { topic: name.into(), partitions }];
    let epochs = OffsetForLeaderEpochRequest { topics, ..OffsetForLeaderEpochRequest::default() };
    in_each_version(client, asked, epochs).await;
    let partitions = vec![DeleteRecordsPartition::default()];
    let topics = vec![DeleteRecordsTopic { name: name.into(), partitions }];
    in_each_version(client, asked, DeleteRecordsRequest { topics, timeout_ms: 1000 }).await;
    describe_partitions(client, asked, name).await;
    groups(client, asked, name).await;
    change_topics(client, asked, name).await;
}

async fn describe_partitions(client: &mut Client, asked: &mut Vec<ApiKey>, name: &str) {
    let index = PartitionIndex::new(0);
    let topics = vec![DescribableLogDirTopic { topic: name.into(), partitions: vec![index] }];
    in_each_version(client, asked, DescribeLogDirsRequest { topics: Some(topics) }).await;
    let topics = vec![describe_producers::TopicRequest { name: name.into(), partition_indexes: vec![index] }];
    in_each_version(client, asked, DescribeProducersRequest { topics }).await;
    let topics = vec![describe_topic_partitions::TopicRequest { name: name.into() }];
    let page = DescribeTopicPartitionsRequest { topics, ..DescribeTopicPartitionsRequest::default() };
    in_each_version(client, asked, page).await;
}

async fn groups(client: &mut Client, asked: &mut Vec<ApiKey>, name: &str) {
    let group_id = Str::from(name);
    let group = || group_id.clone();
    let join =
        JoinGroupRequest { group_id: group(), session_timeout_ms: 10_000, ..JoinGroupRequest::default() };
    in_each_version(client, asked, join).await;
    let sync = SyncGroupRequest { group_id: group(), ..SyncGroupRequest::default() };
    in_each_version(client, asked, sync).await;
    let heartbeat = HeartbeatRequest { group_id: group(), ..HeartbeatRequest::default() };
    in_each_version(client, asked, heartbeat).await;
    server_side_groups(client, asked, name).await;
    let members = vec![MemberIdentity::default()];
    let leave = LeaveGroupRequest { group_id: group(), members, ..LeaveGroupRequest::default() };
    in_each_version(client, asked, leave).await;
    let partitions = vec![OffsetCommitRequestPartition::default()];
    let topics = vec![OffsetCommitRequestTopic { name: name.into(), partitions }];
    let commit = OffsetCommitRequest { group_id: group(), topics, ..OffsetCommitRequest::default() };
    in_each_version(client, asked, commit).await;
    let partition_indexes = vec![PartitionIndex::new(0)];
    let old = OffsetFetchRequestTopic { name: name.into(), partition_indexes: partition_indexes.clone() };
    let new = OffsetFetchRequestTopics { name: name.into(), partition_indexes };
    let of_group =
        OffsetFetchRequestGroup { group_id: group(), topics: Some(vec![new]), ..Default::default() };
    let fetch = OffsetFetchRequest {
        group_id: group(),
        topics: Some(vec![old]),
        groups: vec![of_group],
        ..OffsetFetchRequest::default()
    };
    in_each_version(client, asked, fetch).await;
    let partitions = vec![OffsetDeleteRequestPartition::default()];
    let topics = vec![OffsetDeleteRequestTopic { name: name.into(), partitions }];
    in_each_version(client, asked, OffsetDeleteRequest { group_id: group(), topics }).await;
    let describe = DescribeGroupsRequest { groups: vec![group()], ..DescribeGroupsRequest::default() };
    in_each_version(client, asked, describe).await;
    in_each_version(client, asked, ListGroupsRequest::default()).await;
    in_each_version(client, asked, DeleteGroupsRequest { groups_names: vec![group()] }).await;
}

async fn change_topics(client: &mut Client, asked: &mut Vec<ApiKey>, name: &str) {
    let described =
        DescribeConfigsResource { resource_type: 2, resource_name: name.into(), configuration_keys: None };
    let describe = DescribeConfigsRequest { resources: vec![described], ..DescribeConfigsRequest::default() };
    in_each_version(client, asked, describe).await;
    in_each_version(client, asked, ListConfigResourcesRequest::default()).await;
    let altered = AlterConfigsResource { resource_type: 2, resource_name: name.into(), configs: Vec::new() };
    let alter = IncrementalAlterConfigsRequest { resources: vec![altered], validate_only: true };
    in_each_version(client, asked, alter).await;
    let replaced = Replaced { resource_type: 2, resource_name: name.into(), configs: Vec::new() };
    in_each_version(client, asked, AlterConfigsRequest { resources: vec![replaced], validate_only: true })
        .await;
    let grown = CreatePartitionsTopic { name: name.into(), count: 3, assignments: None };
    let grow = CreatePartitionsRequest { topics: vec![grown], timeout_ms: 1000, validate_only: true };
    in_each_version(client, asked, grow).await;
    let led = ElectLeadersTopic { topic: name.into(), partitions: vec![PartitionIndex::new(0)] };
    let elect = ElectLeadersRequest { topic_partitions: Some(vec![led]), ..ElectLeadersRequest::default() };
    in_each_version(client, asked, elect).await;
    let created =
        CreatableTopic { name: name.into(), num_partitions: 1, replication_factor: 1, ..Default::default() };
    let create = CreateTopicsRequest { topics: vec![created], timeout_ms: 1000, validate_only: true };
    in_each_version(client, asked, create).await;
    let deleted =
        DeleteTopicState { name: Some(format!("{name}-gone").into()), ..DeleteTopicState::default() };
    let topic_names = vec![format!("{name}-gone").into()];
    let delete = DeleteTopicsRequest { topics: vec![deleted], topic_names, timeout_ms: 1000 };
    in_each_version(client, asked, delete).await;
}

async fn server_side_groups(client: &mut Client, asked: &mut Vec<ApiKey>, name: &str) {
    let join = ConsumerGroupHeartbeatRequest {
        group_id: Str::from(format!("server-side-{name}")),
        member_id: "m".into(),
        rebalance_timeout_ms: 1000,
        subscribed_topic_names: Some(vec![Str::from(name)]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let groups = vec![join.group_id.clone(), Str::from(name)];
    in_each_version(client, asked, join).await;
    let describe =
        ConsumerGroupDescribeRequest { group_ids: groups, ..ConsumerGroupDescribeRequest::default() };
    in_each_version(client, asked, describe).await;
}
