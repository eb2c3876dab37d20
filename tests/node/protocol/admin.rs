//! Topics made, found, grown and deleted; records deleted.

use std::collections::HashSet;

use polylogue::wire::{
    ErrorCode,
    api::{
        create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic},
        create_topics::CreateTopicsRequest,
        find_coordinator::FindCoordinatorRequest,
    },
};

use crate::{
    batches::{batch, batch_of},
    nodes::{kill_and_start, restart, start_with},
    peer::{CREATE, Peer, topic},
    support::{WITHIN, eventually, start_node},
};

#[test]
fn topics_that_cannot_be_are_refused_each_with_its_own_error() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("there", 1, &[]);
    let mut three_replicas = topic("three-replicas", 1, &[]);
    three_replicas.replication_factor = 3;
    let long = "x".repeat(250);
    for (topic, expected) in [
        (topic("", 1, &[]), ErrorCode::InvalidTopic),
        (topic(".", 1, &[]), ErrorCode::InvalidTopic),
        (topic("..", 1, &[]), ErrorCode::InvalidTopic),
        (topic("../escape", 1, &[]), ErrorCode::InvalidTopic),
        (topic("a/b", 1, &[]), ErrorCode::InvalidTopic),
        (topic("with space", 1, &[]), ErrorCode::InvalidTopic),
        (topic("ümlaut", 1, &[]), ErrorCode::InvalidTopic),
        (topic(&long, 1, &[]), ErrorCode::InvalidTopic),
        (topic("there", 1, &[]), ErrorCode::TopicAlreadyExists),
        (topic("none", 0, &[]), ErrorCode::InvalidPartitions),
        (topic("less", -5, &[]), ErrorCode::InvalidPartitions),
        (topic("many", i32::MAX, &[]), ErrorCode::PolicyViolation),
        (three_replicas, ErrorCode::InvalidReplicationFactor),
        (topic("key", 1, &[("no.such.key", "1")]), ErrorCode::InvalidConfig),
        (topic("value", 1, &[("retention.ms", "soon")]), ErrorCode::InvalidConfig),
        (topic("range", 1, &[("segment.bytes", "1")]), ErrorCode::InvalidConfig),
        (topic("later", 1, &[("cleanup.policy", "keep")]), ErrorCode::InvalidConfig),
    ] {
        let name = topic.name.clone();
        let made = peer.try_create(topic);
        assert_eq!(made.error_code, expected, "{name}");
        assert!(made.error_message.is_some_and(|text| !text.is_empty()), "{name}: a person is told why");
    }
    let names: Vec<_> = all_topics(&mut peer);
    assert_eq!(names, ["there"], "nothing else was made");
}

fn all_topics(peer: &mut Peer) -> Vec<String> {
    let request = polylogue::wire::api::metadata::MetadataRequest { topics: None, ..Default::default() };
    let topics = peer.call(crate::peer::METADATA, &request).topics.into_iter();
    let mut names: Vec<_> = topics.map(|topic| topic.name.unwrap().as_str().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_request_that_only_validates_makes_nothing_and_one_that_names_a_topic_twice_is_refused() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let request = |names: &[&str], validate_only| CreateTopicsRequest {
        topics: names.iter().map(|name| topic(name, 1, &[])).collect(),
        timeout_ms: 10_000,
        validate_only,
    };
    let checked = peer.call(CREATE, &request(&["checked"], true));
    assert_eq!(checked.topics[0].error_code, ErrorCode::None);
    let twice = peer.call(CREATE, &request(&["twice", "twice", "once"], false));
    let code = |name: &str| {
        let result = twice.topics.iter().find(|result| result.name.as_str() == name);
        result.unwrap().error_code
    };
    assert_eq!((code("twice"), code("once")), (ErrorCode::InvalidRequest, ErrorCode::None));
    assert_eq!(all_topics(&mut peer), ["once"]);
}

#[test]
fn s12_a_topic_deleted_and_made_again_under_its_name_is_another_and_starts_empty() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    let mut ids = HashSet::new();
    for round in 0..4 {
        ids.insert(peer.create("phoenix", 1, &[]));
        assert_eq!((peer.earliest("phoenix"), peer.latest("phoenix")), (0, 0), "round {round}");
        assert_eq!(peer.append("phoenix", batch(&[format!("round {round}")])), 0);
        assert_eq!(peer.read_all("phoenix"), [(0, format!("round {round}").into_bytes())]);
        if round == 3 {
            break;
        }
        assert_eq!(peer.delete("phoenix"), ErrorCode::None);
        let gone = peer.produce("phoenix", batch_of(10)).error_code;
        assert_eq!(gone, ErrorCode::UnknownTopicOrPartition, "round {round}");
        if round == 1 {
            restart(&mut node);
            peer = Peer::connect(&node);
        }
        if round == 2 {
            kill_and_start(&mut node);
            peer = Peer::connect(&node);
        }
    }
    assert_eq!(ids.len(), 4);
    kill_and_start(&mut node);
    let mut peer = Peer::connect(&node);
    assert_eq!(peer.read_all("phoenix"), [(0, b"round 3".to_vec())]);
    assert!(!node.data_folder().join("put-aside").exists(), "nothing had to be put aside");
}

#[test]
fn a_topic_of_the_longest_name_is_served_deleted_and_made_again() {
    let mut node = start_node();
    let name = "n".repeat(249);
    for round in 0..2 {
        let mut peer = Peer::connect(&node);
        peer.create(&name, 2, &[]);
        assert_eq!(peer.append(&name, batch(&[format!("round {round}")])), 0);
        kill_and_start(&mut node);
        let mut peer = Peer::connect(&node);
        assert_eq!(peer.read_all(&name), [(0, format!("round {round}").into_bytes())]);
        assert_eq!(peer.delete(&name), ErrorCode::None);
    }
}

#[test]
fn a_deleted_topics_files_go_and_an_unknown_topic_cannot_be_deleted() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("short-lived", 2, &[]);
    peer.append("short-lived", batch_of(1000));
    assert!(node.partition_folder("short-lived", 1).exists());
    assert_eq!(peer.delete("short-lived"), ErrorCode::None);
    eventually("its folders are gone", WITHIN, || {
        let logs = std::fs::read_dir(node.data_folder().join("logs")).unwrap();
        (logs.count() == 0).then_some(())
    });
    assert_eq!(peer.delete("short-lived"), ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn deleted_records_are_gone_for_good_and_a_fetch_below_the_new_start_is_refused_with_1() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("trimmed", 1, &[]);
    for number in 0..10 {
        peer.append("trimmed", batch(&[format!("{number} a"), format!("{number} b")]));
    }
    let answer = peer.delete_records("trimmed", 7);
    assert_eq!((answer.error_code, answer.low_watermark.get()), (ErrorCode::None, 7));
    let assert_trimmed = |peer: &mut Peer, start: i64| {
        assert_eq!((peer.earliest("trimmed"), peer.latest("trimmed")), (start, 20));
        assert_eq!(peer.fetch("trimmed", start - 1).error_code, ErrorCode::OffsetOutOfRange);
        let data = peer.fetch("trimmed", start);
        assert_eq!((data.error_code, data.log_start_offset.get()), (ErrorCode::None, start));
    };
    assert_trimmed(&mut peer, 7);
    kill_and_start(&mut node);
    assert_trimmed(&mut Peer::connect(&node), 7);
    restart(&mut node);
    let mut peer = Peer::connect(&node);
    assert_trimmed(&mut peer, 7);
    assert_eq!(peer.delete_records("trimmed", 21).error_code, ErrorCode::OffsetOutOfRange);
    assert_eq!(peer.delete_records("trimmed", 3).low_watermark.get(), 7, "it never goes back");
    let all = peer.delete_records("trimmed", -1);
    assert_eq!((all.error_code, all.low_watermark.get()), (ErrorCode::None, 20));
    assert_trimmed(&mut peer, 20);
    assert_eq!(peer.append("trimmed", batch_of(10)), 20);
}

#[test]
fn asking_for_a_topic_makes_it_only_where_client_and_node_allow_it() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let unknown = peer.metadata(&["wanted"], false).topics.remove(0);
    assert_eq!(unknown.error_code, ErrorCode::UnknownTopicOrPartition);
    assert!(all_topics(&mut peer).is_empty());
    eventually("the topic is made and led", WITHIN, || {
        let topic = peer.metadata(&["wanted"], true).topics.remove(0);
        let led = topic.partitions.iter().all(|partition| partition.leader_id.get() == 1);
        (topic.error_code == ErrorCode::None && topic.partitions.len() == 4 && led).then_some(())
    });
    peer.append("wanted", batch_of(10));
    let bad = peer.metadata(&["not a name"], true).topics.remove(0);
    assert_eq!(bad.error_code, ErrorCode::InvalidTopic);

    let strict = start_with(&[("auto-create-topics", "false")]);
    let mut peer = Peer::connect(&strict);
    let refused = peer.metadata(&["wanted"], true).topics.remove(0);
    assert_eq!(refused.error_code, ErrorCode::UnknownTopicOrPartition);
    assert!(all_topics(&mut peer).is_empty());
}

#[test]
fn a_topic_that_grows_keeps_its_records_and_can_be_written_in_all_its_partitions() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("growing", 1, &[]);
    peer.append("growing", batch(&["first"]));
    let grow = |peer: &mut Peer, count| {
        let topic = CreatePartitionsTopic { name: "growing".into(), count, assignments: None };
        let request =
            CreatePartitionsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
        peer.call(2, &request).results.remove(0).error_code
    };
    assert_eq!(grow(&mut peer, 1), ErrorCode::InvalidPartitions);
    assert_eq!(grow(&mut peer, 3), ErrorCode::None);
    for partition in 1..3 {
        eventually("the new partition is led", WITHIN, || {
            let answer = peer.produce_with(-1, "growing", partition, batch_of(10));
            (answer.error_code == ErrorCode::None).then_some(())
        });
    }
    kill_and_start(&mut node);
    let mut peer = Peer::connect(&node);
    assert_eq!(peer.metadata(&["growing"], false).topics[0].partitions.len(), 3);
    assert_eq!(peer.read_all("growing"), [(0, b"first".to_vec())]);
}

#[test]
fn what_is_not_built_yet_is_refused_for_what_it_is() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let of = |key_type| FindCoordinatorRequest { key: "mine".into(), key_type, ..Default::default() };
    assert_eq!(peer.call(3, &of(0)).error_code, ErrorCode::None, "groups are coordinated");
    let transactions = peer.call(3, &of(1)).error_code;
    assert!(transactions != ErrorCode::None && !transactions.is_retriable(), "{transactions:?}");
    let request = polylogue::wire::api::init_producer_id::InitProducerIdRequest {
        transactional_id: Some("mine".into()),
        transaction_timeout_ms: 1000,
        ..Default::default()
    };
    let refused = peer.call(4, &request).error_code;
    assert!(refused != ErrorCode::None && !refused.is_retriable(), "{refused:?}");
}
