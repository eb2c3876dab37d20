//! Growing topics, producer ids, the cluster.

use std::collections::HashSet;

use super::{Door, NODE, codes, is_usable};
use crate::{
    model::{NodeId, PartitionIndex, ProducerEpoch, ProducerId},
    wire::api::{
        create_partitions::{CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic},
        describe_cluster::DescribeClusterRequest,
        elect_leaders::{ElectLeadersRequest, ElectLeadersTopic},
        init_producer_id::InitProducerIdRequest,
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_grew_is_usable_at_once_and_keeps_what_it_had() {
    let (door, mut client) = Door::open().await;
    client.create(&["t", "u"], 2).await;
    client.produce("t", 0, &[1_700_000_000_000]).await;
    let before = client.metadata(12, Some(&["t"]), false).await.topics.remove(0);
    let grow = |name: &str, count| CreatePartitionsTopic {
        name: name.into(),
        count,
        ..CreatePartitionsTopic::default()
    };
    let elsewhere = CreatePartitionsAssignment { broker_ids: vec![NodeId::new(9)] };
    let assigned = CreatePartitionsTopic { assignments: Some(vec![elsewhere]), ..grow("u", 3) };
    let request = CreatePartitionsRequest {
        topics: vec![grow("t", 5), assigned, grow("no-such", 5)],
        timeout_ms: 30_000,
        validate_only: false,
    };
    let answer = client.ask(3, &request).await;
    assert_eq!(codes(answer.results.iter().map(|result| result.error_code)), [0, 39, 3]);
    let after = client.metadata(12, Some(&["t"]), false).await.topics.remove(0);
    assert!(is_usable(&after, 5), "{after:?}");
    assert_eq!(after.partitions[..2], before.partitions[..]);
    let request = CreatePartitionsRequest { topics: vec![grow("t", 5)], ..request };
    assert_eq!(client.ask(0, &request).await.results[0].error_code.code(), 37);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leads_already_is_not_elected_and_all_partitions_are_only_those_in_need() {
    let (door, mut client) = Door::open().await;
    client.create(&["t"], 2).await;
    let named = |topic: &str, partitions: &[i32]| ElectLeadersTopic {
        topic: topic.into(),
        partitions: partitions.iter().copied().map(PartitionIndex::new).collect(),
    };
    for election_type in [0, 1] {
        let topics = vec![named("no-such", &[0]), named("t", &[1, 0, 1, 7])];
        let request =
            ElectLeadersRequest { election_type, topic_partitions: Some(topics), timeout_ms: 10_000 };
        let answer = client.ask(2, &request).await;
        assert!(answer.error_code.is_none());
        let results = answer.replica_election_results;
        let of = |at: usize| codes(results[at].partition_result.iter().map(|result| result.error_code));
        assert_eq!((results[0].topic.as_str(), of(0)), ("no-such", vec![3]));
        assert_eq!((results[1].topic.as_str(), of(1)), ("t", vec![84, 84, 3]));
        let all = ElectLeadersRequest { topic_partitions: None, ..request };
        assert!(client.ask(2, &all).await.replica_election_results.is_empty());
    }
    let unknown = ElectLeadersRequest { election_type: 7, ..ElectLeadersRequest::default() };
    assert_eq!(client.ask(1, &unknown).await.error_code.code(), 42);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_producer_id_is_given_out_twice() {
    let (door, mut client) = Door::open().await;
    let mut given = HashSet::new();
    for round in 0..50 {
        let mut request = InitProducerIdRequest::default();
        if let (true, Some(earlier)) = (round % 2 == 1, given.iter().next()) {
            request.producer_id = ProducerId::new(*earlier);
            request.producer_epoch = ProducerEpoch::new(0);
        }
        let answer = client.ask(4, &request).await;
        assert!(answer.error_code.is_none());
        assert_eq!(answer.producer_epoch.get(), 0);
        assert!(given.insert(answer.producer_id.get()), "{answer:?}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_is_this_node_under_the_id_that_metadata_tells() {
    let (door, mut client) = Door::open().await;
    let request =
        DescribeClusterRequest { include_cluster_authorized_operations: true, ..Default::default() };
    let cluster = client.ask(2, &request).await;
    assert_eq!((cluster.controller_id, cluster.brokers.len()), (NODE, 1));
    assert_eq!(cluster.brokers[0].port, i32::from(door.address.port()));
    assert!(cluster.cluster_authorized_operations > 0);
    assert_eq!(client.metadata(8, None, false).await.cluster_id, Some(cluster.cluster_id));
    let controllers = client.ask(1, &DescribeClusterRequest { endpoint_type: 2, ..request }).await;
    assert_eq!(controllers.error_code.code(), 114);
    door.close().await;
}
