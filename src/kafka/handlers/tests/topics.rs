//! Topics that come and go.

use super::{DEFAULT_PARTITIONS, Door, NODE, codes, creatable, is_usable};
use crate::{
    model::TopicId,
    wire::api::{
        create_topics::CreateTopicsRequest,
        delete_topics::{DeleteTopicState, DeleteTopicsRequest},
        metadata::{MetadataRequest, MetadataRequestTopic},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_usable_when_it_is_said_to_be_made() {
    let (door, mut client) = Door::open().await;
    for round in 0..5 {
        let name = format!("t{round}");
        client.create(&[&name], 3).await;
        let metadata = client.metadata(12, Some(&[&name]), false).await;
        assert!(is_usable(&metadata.topics[0], 3), "{metadata:?}");
        client.produce(&name, 2, &[1_700_000_000_000]).await;
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_asked_for_is_made_and_usable_at_once_if_that_is_allowed() {
    let (door, mut client) = Door::open().await;
    let partitions = DEFAULT_PARTITIONS as usize;
    // Before version 4 a client cannot say that it does not want this.
    for (version, name) in [(1, "old"), (4, "new"), (13, "newest")] {
        let answer = client.metadata(version, Some(&[name]), true).await;
        let topic = &answer.topics[0];
        assert!(topic.error_code.is_none(), "{answer:?}");
        assert_eq!(topic.partitions.len(), partitions);
        assert!(topic.partitions.iter().all(|partition| partition.leader_id == NODE));
    }
    let asked = ["not-wanted", "no/name", "__consumer_offsets"];
    let refused = client.metadata(12, Some(&asked[..2]), false).await;
    assert_eq!(codes(refused.topics.iter().map(|topic| topic.error_code)), [3, 17]);
    let refused = client.metadata(12, Some(&asked[1..]), true).await;
    assert_eq!(codes(refused.topics.iter().map(|topic| topic.error_code)), [17, 3]);
    assert_eq!(client.metadata(9, None, true).await.topics.len(), 3);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_makes_no_topics_on_demand_makes_none() {
    let (door, mut client) = Door::open_with(false).await;
    let answer = client.metadata(1, Some(&["t"]), true).await;
    assert_eq!(codes(answer.topics.iter().map(|topic| topic.error_code)), [3]);
    assert!(client.metadata(1, None, true).await.topics.is_empty());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_names_this_node_and_finds_topics_by_id() {
    let (door, mut client) = Door::open().await;
    client.create(&["b", "a"], 1).await;
    let all = client.metadata(12, None, false).await;
    let names: Vec<_> = all.topics.iter().filter_map(|topic| topic.name.as_deref()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!((all.controller_id, all.brokers[0].node_id), (NODE, NODE));
    assert_eq!(all.brokers[0].port, i32::from(door.address.port()));
    assert!(all.cluster_id.is_some_and(|id| !id.is_empty()));
    let by_id = |topic_id| MetadataRequestTopic { topic_id, name: None };
    let unknown = TopicId::random();
    let request = MetadataRequest {
        topics: Some(vec![by_id(all.topics[1].topic_id), by_id(unknown)]),
        include_topic_authorized_operations: true,
        ..MetadataRequest::default()
    };
    let found = client.ask(12, &request).await.topics;
    assert_eq!(found[0].name, Some("b".into()));
    assert!(found[0].topic_authorized_operations > 0);
    assert_eq!((found[1].error_code.code(), found[1].topic_id), (100, unknown));
    assert_eq!(found[1].name, None);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_topic_of_a_request_is_made_or_refused_on_its_own() {
    let (door, mut client) = Door::open().await;
    client.create(&["there"], 1).await;
    let mut replicated = creatable("replicated", 1);
    replicated.replication_factor = 3;
    let topics = vec![
        creatable("new", -1),
        creatable("there", 1),
        creatable("twice", 1),
        creatable("no name", 1),
        creatable("none", 0),
        replicated,
        creatable("twice", 2),
    ];
    let request = CreateTopicsRequest { topics, ..CreateTopicsRequest::default() };
    let answer = client.ask(7, &request).await;
    let names: Vec<_> = answer.topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["new", "there", "twice", "no name", "none", "replicated"]);
    assert_eq!(codes(answer.topics.iter().map(|topic| topic.error_code)), [0, 36, 42, 17, 37, 38]);
    assert!(answer.topics[1..].iter().all(|topic| topic.error_message.is_some()));
    assert_eq!(answer.topics[0].num_partitions, DEFAULT_PARTITIONS);
    assert!(!answer.topics[0].topic_id.is_nil());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_only_checked_is_not_made() {
    let (door, mut client) = Door::open().await;
    let topics = vec![creatable("t", 7)];
    let request = CreateTopicsRequest { topics, validate_only: true, ..CreateTopicsRequest::default() };
    let checked = client.ask(5, &request).await;
    assert_eq!((checked.topics[0].error_code.code(), checked.topics[0].num_partitions), (0, 7));
    let answer = client.metadata(12, Some(&["t"]), false).await;
    assert_eq!(answer.topics[0].error_code.code(), 3);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_topic_is_found_by_nobody_and_may_be_made_again_at_once() {
    let (door, mut client) = Door::open().await;
    let by_name = |name: &str| DeleteTopicState { name: Some(name.into()), ..DeleteTopicState::default() };
    let delete =
        |topics| DeleteTopicsRequest { topics, timeout_ms: 30_000, ..DeleteTopicsRequest::default() };
    for round in 0..3 {
        client.create(&["t"], 2).await;
        client.produce("t", 1, &[1_700_000_000_000 + round]).await;
        let id = client.metadata(12, Some(&["t"]), false).await.topics[0].topic_id;
        let deleted = client.ask(6, &delete(vec![by_name("t"), by_name("no-such")])).await;
        assert_eq!(codes(deleted.responses.iter().map(|topic| topic.error_code)), [0, 3]);
        assert_eq!(deleted.responses[0].topic_id, id);
        let gone = client.metadata(12, Some(&["t"]), false).await;
        assert_eq!(gone.topics[0].error_code.code(), 3);
        let again = client.ask(6, &delete(vec![DeleteTopicState { name: None, topic_id: id }])).await;
        assert_eq!(again.responses[0].error_code.code(), 100);
    }
    door.close().await;
}
