//! One node of a cluster: what it tells of partitions, groups and brokers that are elsewhere. The other broker is there in
//! the metadata only.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{Client, Door, NODE, batch, codes, rules};
use crate::{
    actors::{
        group_coordinator::OFFSETS_TOPIC,
        membership::{Assignment, Endpoint, LOGS_DIR, MetadataRecord, offline::OfflineRegistry},
        partition::RealFs,
    },
    config::topic::TopicDefaults,
    model::{BootId, BrokerEpoch, LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName},
    wire::{
        ErrorCode, Str,
        api::{
            create_topics::{CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequest},
            delete_topics::{DeleteTopicState, DeleteTopicsRequest},
            describe_cluster::DescribeClusterRequest,
            describe_groups::DescribeGroupsRequest,
            fetch::{FetchPartition, FetchRequest, FetchTopic},
            find_coordinator::FindCoordinatorRequest,
            list_offsets::{LATEST, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic},
            produce::{LeaderIdAndEpoch, PartitionProduceData, ProduceRequest, TopicProduceData},
        },
    },
};

const OTHER: NodeId = NodeId::new(7);

/// A node beside whom another one is registered, on whom nobody calls.
async fn open() -> (Door, Client) {
    open_with(&[]).await
}

/// The same where more is on record.
async fn open_with(more: &[MetadataRecord]) -> (Door, Client) {
    let folder = tempfile::tempdir().unwrap();
    register_other(folder.path(), more);
    Door::open_in(folder, false).await
}

fn register_other(folder: &Path, more: &[MetadataRecord]) {
    let mut registry =
        OfflineRegistry::open(Arc::new(RealFs), folder, rules(TopicDefaults::default())).unwrap();
    let endpoint = |listener: &str, port| Endpoint {
        listener: listener.to_owned(),
        host: "other.example".to_owned(),
        port,
    };
    registry.record(&[MetadataRecord::BrokerRegistered {
        node: OTHER,
        boot: BootId::random(),
        epoch: BrokerEpoch::new(1000),
        endpoints: vec![endpoint("cluster", 1), endpoint("kafka", 9999)],
    }]);
    registry.record(more);
}

/// A topic whose partition 0 is here and whose partition 1 is there.
async fn create(client: &mut Client) {
    let on = |index, node| CreatableReplicaAssignment {
        partition_index: PartitionIndex::new(index),
        broker_ids: vec![node],
    };
    let topic = CreatableTopic {
        name: "t".into(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![on(0, NODE), on(1, OTHER)],
        ..CreatableTopic::default()
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 5000, ..CreateTopicsRequest::default() };
    let answer = client.ask(7, &request).await;
    assert!(answer.topics[0].error_code.is_none(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_and_leaders_elsewhere_are_told_of_by_the_metadata() {
    let (door, mut client) = open().await;
    create(&mut client).await;
    let answer = client.metadata(12, Some(&["t"]), false).await;
    let brokers: BTreeMap<_, _> = answer.brokers.iter().map(|one| (one.node_id, one.host.as_str())).collect();
    assert_eq!(brokers, BTreeMap::from([(NODE, "127.0.0.1"), (OTHER, "other.example")]));
    let partitions = &answer.topics[0].partitions;
    assert_eq!(codes(partitions.iter().map(|partition| partition.error_code)), [0, 0]);
    assert_eq!((partitions[0].leader_id, partitions[1].leader_id), (NODE, OTHER));
    assert_eq!(
        (&partitions[1].replica_nodes[..], &partitions[1].isr_nodes[..]),
        (&[OTHER][..], &[OTHER][..])
    );
    let cluster = client.ask(2, &DescribeClusterRequest::default()).await;
    assert_eq!(cluster.brokers.len(), 2);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_replica_is_started_of_a_partition_that_others_keep() {
    let (door, mut client) = open().await;
    create(&mut client).await;
    client.produce("t", 0, &[1_700_000_000_000]).await;
    let logs = door.folder.path().join(LOGS_DIR);
    assert!(logs.join("t-0").is_dir());
    assert!(!logs.join("t-1").exists());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_wholly_elsewhere_is_gone_when_it_is_deleted() {
    let (door, mut client) = open().await;
    let on_other =
        CreatableReplicaAssignment { broker_ids: vec![OTHER], ..CreatableReplicaAssignment::default() };
    let topic = CreatableTopic {
        name: "far".into(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![on_other],
        ..CreatableTopic::default()
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 5000, ..CreateTopicsRequest::default() };
    assert!(client.ask(7, &request).await.topics[0].error_code.is_none());
    assert_eq!(client.metadata(12, None, false).await.topics.len(), 1);
    let topics = vec![DeleteTopicState { name: Some("far".into()), ..DeleteTopicState::default() }];
    let request = DeleteTopicsRequest { topics, timeout_ms: 5000, ..DeleteTopicsRequest::default() };
    assert!(client.ask(6, &request).await.responses[0].error_code.is_none());
    assert!(client.metadata(12, None, false).await.topics.is_empty());
    door.close().await;
}

/// Produces to the partition that is led elsewhere.
async fn produce(client: &mut Client, version: i16) -> (ErrorCode, LeaderIdAndEpoch, Vec<(NodeId, i32)>) {
    let topic_id = client.metadata(12, Some(&["t"]), false).await.topics[0].topic_id;
    let records = Some(batch(&[1_700_000_000_000]));
    let data = PartitionProduceData { index: PartitionIndex::new(1), records };
    let topic = TopicProduceData { name: "t".into(), topic_id, partition_data: vec![data] };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 5000, topic_data: vec![topic], ..ProduceRequest::default() };
    let mut answer = client.ask(version, &request).await;
    let partition = answer.responses.remove(0).partition_responses.remove(0);
    let endpoints = answer.node_endpoints.iter().map(|endpoint| (endpoint.node_id, endpoint.port)).collect();
    (partition.error_code, partition.current_leader, endpoints)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_produces_at_the_wrong_node_is_told_of_the_right_one_if_it_can_read_that() {
    let (door, mut client) = open().await;
    create(&mut client).await;
    let leader = LeaderIdAndEpoch { leader_id: OTHER, leader_epoch: LeaderEpoch::NONE };
    for version in [10, 13] {
        let told = produce(&mut client, version).await;
        assert_eq!(told, (ErrorCode::NotLeaderOrFollower, leader.clone(), vec![(OTHER, 9999)]));
    }
    let (code, hint, endpoints) = produce(&mut client, 9).await;
    assert_eq!((code, hint), (ErrorCode::NotLeaderOrFollower, LeaderIdAndEpoch::default()));
    assert!(endpoints.is_empty());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_at_the_wrong_node_is_told_so_and_of_the_right_one() {
    let (door, mut client) = open().await;
    create(&mut client).await;
    let topic_id = client.metadata(12, Some(&["t"]), false).await.topics[0].topic_id;
    for (version, hinted) in [(15, NodeId::new(-1)), (16, OTHER)] {
        let partition = FetchPartition {
            partition: PartitionIndex::new(1),
            partition_max_bytes: 1000,
            ..FetchPartition::default()
        };
        let topic = FetchTopic { topic: Str::default(), topic_id, partitions: vec![partition] };
        let request = FetchRequest { topics: vec![topic], ..FetchRequest::default() };
        let answer = client.ask(version, &request).await;
        let partition = &answer.responses[0].partitions[0];
        assert_eq!(partition.error_code, ErrorCode::NotLeaderOrFollower);
        assert_eq!(partition.current_leader.leader_id, hinted);
        assert_eq!(answer.node_endpoints.len(), usize::from(hinted == OTHER));
    }
    let partition = ListOffsetsPartition {
        partition_index: PartitionIndex::new(1),
        timestamp: LATEST,
        ..ListOffsetsPartition::default()
    };
    let topics = vec![ListOffsetsTopic { name: "t".into(), partitions: vec![partition] }];
    let answer = client.ask(7, &ListOffsetsRequest { topics, ..ListOffsetsRequest::default() }).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::NotLeaderOrFollower);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s21_a_group_is_coordinated_where_its_partition_is_led_and_nowhere_else() {
    let kept_by = |node| Assignment { replicas: vec![node] };
    let topic = MetadataRecord::TopicCreated {
        id: TopicId::random(),
        name: TopicName::new(OFFSETS_TOPIC).unwrap(),
        partitions: vec![kept_by(NODE), kept_by(OTHER), kept_by(OTHER)],
        configs: BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]),
    };
    let (door, mut client) = open_with(&[topic]).await;
    let groups: Vec<Str> = (0..40).map(|number| Str::from(format!("group-{number}"))).collect();
    let request = FindCoordinatorRequest { coordinator_keys: groups.clone(), ..Default::default() };
    let found = client.ask(4, &request).await.coordinators;
    assert_eq!(found.len(), groups.len());
    let mut by_node: BTreeMap<NodeId, Vec<Str>> = BTreeMap::new();
    for (group, coordinator) in groups.into_iter().zip(&found) {
        assert!(coordinator.error_code.is_none(), "{coordinator:?}");
        assert_eq!(coordinator.key, group);
        assert_eq!(coordinator.port == 9999, coordinator.node_id == OTHER);
        by_node.entry(coordinator.node_id).or_default().push(group);
    }
    assert_eq!(by_node.keys().copied().collect::<Vec<_>>(), [NODE, OTHER], "the partitions are spread");
    for (node, groups) in by_node {
        let answer = client.ask(5, &DescribeGroupsRequest { groups, ..Default::default() }).await;
        let expected = if node == NODE { 0 } else { ErrorCode::NotCoordinator.code() };
        assert!(answer.groups.iter().all(|group| group.error_code.code() == expected), "{answer:?}");
    }
    door.close().await;
}
