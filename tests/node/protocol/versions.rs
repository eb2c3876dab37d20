//! Each version of each API that the node lists is one that it answers.

use polylogue::wire::{
    ApiKey, ErrorCode, Request,
    api::{
        alter_configs::AlterConfigsRequest, api_versions::ApiVersionsRequest,
        consumer_group_describe::ConsumerGroupDescribeRequest,
        consumer_group_heartbeat::ConsumerGroupHeartbeatRequest, create_partitions::CreatePartitionsRequest,
        create_topics::CreateTopicsRequest, delete_groups::DeleteGroupsRequest,
        delete_records::DeleteRecordsRequest, delete_topics::DeleteTopicsRequest,
        describe_cluster::DescribeClusterRequest, describe_configs::DescribeConfigsRequest,
        describe_groups::DescribeGroupsRequest, describe_log_dirs::DescribeLogDirsRequest,
        describe_producers::DescribeProducersRequest,
        describe_topic_partitions::DescribeTopicPartitionsRequest, elect_leaders::ElectLeadersRequest,
        fetch::FetchRequest, find_coordinator::FindCoordinatorRequest, heartbeat::HeartbeatRequest,
        incremental_alter_configs::IncrementalAlterConfigsRequest, init_producer_id::InitProducerIdRequest,
        join_group::JoinGroupRequest, leave_group::LeaveGroupRequest,
        list_config_resources::ListConfigResourcesRequest, list_groups::ListGroupsRequest,
        list_offsets::ListOffsetsRequest, metadata::MetadataRequest, offset_commit::OffsetCommitRequest,
        offset_delete::OffsetDeleteRequest, offset_fetch::OffsetFetchRequest,
        offset_for_leader_epoch::OffsetForLeaderEpochRequest, produce::ProduceRequest,
        sync_group::SyncGroupRequest,
    },
};

use crate::{
    batches::{batch, batch_of, headers},
    peer::{Peer, fetch_request, produce_request, versions},
    support::start_node,
};

/// Sends the request in every version; how many there are. The answer must be whole and of that version.
fn ask_all<R: Request>(peer: &mut Peer, request: &R) -> usize {
    let all = R::API.served();
    all.clone().for_each(|version| {
        println!("{:?} {version}", R::API);
        peer.call(version, request);
    });
    all.count()
}

fn ask(peer: &mut Peer, api: ApiKey) -> usize {
    match api {
        ApiKey::Produce => ask_all(peer, &ProduceRequest { acks: 1, ..ProduceRequest::default() }),
        ApiKey::Fetch => ask_all(peer, &FetchRequest::default()),
        ApiKey::ListOffsets => ask_all(peer, &ListOffsetsRequest::default()),
        ApiKey::Metadata => ask_all(peer, &MetadataRequest::default()),
        ApiKey::FindCoordinator => ask_all(peer, &FindCoordinatorRequest::default()),
        ApiKey::OffsetCommit => ask_all(peer, &OffsetCommitRequest::default()),
        ApiKey::OffsetFetch => ask_all(peer, &OffsetFetchRequest::default()),
        ApiKey::JoinGroup => ask_all(peer, &JoinGroupRequest::default()),
        ApiKey::Heartbeat => ask_all(peer, &HeartbeatRequest::default()),
        ApiKey::LeaveGroup => ask_all(peer, &LeaveGroupRequest::default()),
        ApiKey::SyncGroup => ask_all(peer, &SyncGroupRequest::default()),
        ApiKey::DescribeGroups => ask_all(peer, &DescribeGroupsRequest::default()),
        ApiKey::ListGroups => ask_all(peer, &ListGroupsRequest::default()),
        ApiKey::DeleteGroups => ask_all(peer, &DeleteGroupsRequest::default()),
        ApiKey::OffsetDelete => ask_all(peer, &OffsetDeleteRequest::default()),
        ApiKey::ConsumerGroupHeartbeat => ask_all(peer, &ConsumerGroupHeartbeatRequest::default()),
        ApiKey::ConsumerGroupDescribe => ask_all(peer, &ConsumerGroupDescribeRequest::default()),
        ApiKey::ApiVersions => ask_all(peer, &ApiVersionsRequest::default()),
        ApiKey::CreateTopics => ask_all(peer, &CreateTopicsRequest::default()),
        ApiKey::DeleteTopics => ask_all(peer, &DeleteTopicsRequest::default()),
        ApiKey::DeleteRecords => ask_all(peer, &DeleteRecordsRequest::default()),
        ApiKey::InitProducerId => ask_all(peer, &InitProducerIdRequest::default()),
        ApiKey::OffsetForLeaderEpoch => ask_all(peer, &OffsetForLeaderEpochRequest::default()),
        ApiKey::DescribeConfigs => ask_all(peer, &DescribeConfigsRequest::default()),
        ApiKey::AlterConfigs => ask_all(peer, &AlterConfigsRequest::default()),
        ApiKey::DescribeLogDirs => ask_all(peer, &DescribeLogDirsRequest::default()),
        ApiKey::ElectLeaders => ask_all(peer, &ElectLeadersRequest::default()),
        ApiKey::CreatePartitions => ask_all(peer, &CreatePartitionsRequest::default()),
        ApiKey::IncrementalAlterConfigs => ask_all(peer, &IncrementalAlterConfigsRequest::default()),
        ApiKey::ListConfigResources => ask_all(peer, &ListConfigResourcesRequest::default()),
        ApiKey::DescribeCluster => ask_all(peer, &DescribeClusterRequest::default()),
        ApiKey::DescribeProducers => ask_all(peer, &DescribeProducersRequest::default()),
        ApiKey::DescribeTopicPartitions => ask_all(peer, &DescribeTopicPartitionsRequest::default()),
    }
}

#[test]
fn every_version_that_is_listed_is_answered_in_its_own_form() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let listed = peer.call(3, &versions()).api_keys;
    assert!(listed.len() >= 15);
    for api in listed {
        let served = ask(&mut peer, ApiKey::from_code(api.api_key).unwrap());
        let listed = (api.min_version..=api.max_version).count();
        // Produce is listed from 0 for the sake of old clients, which then use 3 and later.
        let unserved = if api.api_key == ApiKey::Produce.code() { 3 } else { 0 };
        assert_eq!(listed - unserved, served, "API {}", api.api_key);
    }
}

#[test]
fn records_are_written_and_read_in_every_version() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let id = peer.create("versions", 1, &[]);
    let mut next = 0;
    for version in ApiKey::Produce.served() {
        let mut request = produce_request(-1, "versions", 0, batch(&[format!("version {version}")]));
        request.topic_data[0].topic_id = id;
        let mut answer = peer.call(version, &request).responses.remove(0);
        let answer = answer.partition_responses.remove(0);
        assert_eq!((answer.error_code, answer.base_offset.get()), (ErrorCode::None, next), "{version}");
        next += 1;
    }
    for version in ApiKey::Fetch.served() {
        let mut request = fetch_request("versions", &[(0, 0)]);
        request.topics[0].topic_id = id;
        let data = peer.call(version, &request).responses.remove(0).partitions.remove(0);
        assert_eq!(data.error_code, ErrorCode::None, "{version}");
        assert_eq!(headers(&data.records.into_bytes()).len() as i64, next, "{version}");
    }
}

#[test]
fn a_version_of_produce_that_is_listed_and_not_served_closes_the_connection() {
    let node = start_node();
    for version in [0_i16, 1, 2] {
        let mut peer = Peer::connect(&node);
        peer.create("old", 1, &[]);
        let (_, mut frame) = peer.frame(3, &produce_request(1, "old", 0, batch_of(10)));
        frame[6..8].copy_from_slice(&version.to_be_bytes());
        peer.send_bytes(&frame).unwrap();
        peer.assert_closed("a version that is not served");
        assert_eq!(Peer::connect(&node).delete("old"), ErrorCode::None);
    }
}

#[test]
fn bytes_behind_a_request_are_not_looked_at_and_the_next_request_is_answered_as_well() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let request = MetadataRequest::default();
    let (id, mut frame) = peer.frame(13, &request);
    frame.extend_from_slice(&[0, 0, 0]);
    let size = u32::try_from(frame.len() - 4).unwrap();
    frame[..4].copy_from_slice(&size.to_be_bytes());
    peer.send_bytes(&frame).unwrap();
    assert_eq!(peer.receive::<MetadataRequest>(13, id).brokers.len(), 1);
    assert_eq!(peer.call(13, &request).brokers.len(), 1);
}
