//! Topic ids wherever the protocol has them, and replica assignments by hand.

use polylogue::{
    local_cluster::LocalNode,
    model::{NodeId, PartitionIndex, TopicId},
    wire::{
        ErrorCode,
        api::{
            create_partitions::{CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic},
            create_topics::{CreatableReplicaAssignment, CreateTopicsRequest},
            delete_topics::{DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest},
            metadata::{MetadataRequest, MetadataRequestTopic},
        },
    },
};

use crate::{
    batches::batch_of,
    peer::{CREATE, Peer, fetch_request, produce_request, topic},
    support::start_node,
};

const TIMEOUT_MS: i32 = 10_000;

fn metadata_by_id(peer: &mut Peer, id: TopicId) -> (ErrorCode, Option<String>, usize) {
    let request = MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { topic_id: id, name: None }]),
        allow_auto_topic_creation: true,
        ..MetadataRequest::default()
    };
    let topic = peer.call(13, &request).topics.remove(0);
    assert_eq!(topic.topic_id, id);
    (topic.error_code, topic.name.map(|name| name.to_string()), topic.partitions.len())
}

fn delete_by_id(peer: &mut Peer, ids: &[TopicId]) -> Vec<DeletableTopicResult> {
    let topic = |id: &TopicId| DeleteTopicState { name: None, topic_id: *id };
    let request = DeleteTopicsRequest {
        topics: ids.iter().map(topic).collect(),
        timeout_ms: TIMEOUT_MS,
        ..DeleteTopicsRequest::default()
    };
    peer.call(6, &request).responses
}

/// What a produce and a fetch by id are answered, in each version that has ids.
fn written_and_read(peer: &mut Peer, id: TopicId) -> Vec<ErrorCode> {
    let mut produce = produce_request(-1, "", 0, batch_of(10));
    produce.topic_data[0].topic_id = id;
    let written = peer.call(13, &produce).responses.remove(0);
    assert_eq!(written.topic_id, id);
    let mut codes = vec![written.partition_responses[0].error_code];
    for version in 13..=18 {
        let mut fetch = fetch_request("", &[(0, 0)]);
        fetch.topics[0].topic_id = id;
        let read = peer.call(version, &fetch).responses.remove(0);
        assert_eq!(read.topic_id, id, "{version}");
        codes.push(read.partitions[0].error_code);
    }
    codes
}

#[test]
fn a_topic_is_found_written_read_and_deleted_by_its_id_and_an_id_that_nobody_has_gets_100() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let (id, unknown) = (peer.create("known", 3, &[]), TopicId::random());
    assert_eq!(metadata_by_id(&mut peer, id), (ErrorCode::None, Some("known".to_owned()), 3));
    assert_eq!(metadata_by_id(&mut peer, unknown).0, ErrorCode::UnknownTopicId);
    assert_eq!(written_and_read(&mut peer, id), [ErrorCode::None; 7]);
    assert_eq!(written_and_read(&mut peer, unknown), [ErrorCode::UnknownTopicId; 7]);
    let answers = delete_by_id(&mut peer, &[unknown, id, TopicId::default()]);
    let codes: Vec<_> = answers.iter().map(|answer| answer.error_code.code()).collect();
    assert_eq!(codes, [100, 0, 42]);
    assert_eq!((answers[1].name.as_deref(), answers[1].topic_id), (Some("known"), id));
    assert!(answers[0].error_message.is_some() && answers[0].topic_id == unknown);
    assert_eq!(metadata_by_id(&mut peer, id).0, ErrorCode::UnknownTopicId, "nor does it come back");
    assert_eq!(written_and_read(&mut peer, id), [ErrorCode::UnknownTopicId; 7]);
}

#[test]
fn the_same_name_made_again_is_not_found_by_the_old_id() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let old = peer.create("again", 1, &[]);
    assert_eq!(peer.delete("again"), ErrorCode::None);
    let new = peer.create("again", 1, &[]);
    assert_ne!(old, new);
    assert_eq!(written_and_read(&mut peer, old), [ErrorCode::UnknownTopicId; 7]);
    assert_eq!(delete_by_id(&mut peer, &[old])[0].error_code, ErrorCode::UnknownTopicId);
    assert_eq!(written_and_read(&mut peer, new), [ErrorCode::None; 7]);
}

fn nodes(ids: &[i32]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId::new).collect()
}

/// Makes a topic whose partitions are on these nodes.
fn create_on(peer: &mut Peer, name: &str, on: &[(i32, &[i32])], numbers: (i32, i16)) -> ErrorCode {
    let assignment = |(index, ids): &(i32, &[i32])| CreatableReplicaAssignment {
        partition_index: PartitionIndex::new(*index),
        broker_ids: nodes(ids),
    };
    let mut new = topic(name, numbers.0, &[]);
    new.replication_factor = numbers.1;
    new.assignments = on.iter().map(assignment).collect();
    let request = CreateTopicsRequest { topics: vec![new], timeout_ms: TIMEOUT_MS, validate_only: false };
    let made = peer.call(CREATE, &request).topics.remove(0);
    assert_eq!(made.error_code.is_none(), made.error_message.is_none(), "{name}");
    made.error_code
}

#[test]
fn replicas_can_be_assigned_to_this_node_and_to_no_other() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    assert_eq!(create_on(&mut peer, "ours", &[(1, &[1]), (0, &[1])], (-1, -1)), ErrorCode::None);
    assert_eq!(partitions(&mut peer, "ours"), 2);
    let refused = ErrorCode::InvalidReplicaAssignment;
    assert_eq!(create_on(&mut peer, "theirs", &[(0, &[2])], (-1, -1)), refused);
    assert_eq!(create_on(&mut peer, "both", &[(0, &[1, 2])], (-1, -1)), refused);
    assert_eq!(create_on(&mut peer, "nobodys", &[(0, &[])], (-1, -1)), refused);
    assert_eq!(create_on(&mut peer, "twice", &[(0, &[1, 1])], (-1, -1)), refused);
    assert_eq!(create_on(&mut peer, "gap", &[(0, &[1]), (2, &[1])], (-1, -1)), refused);
    assert_eq!(create_on(&mut peer, "same", &[(0, &[1]), (0, &[1])], (-1, -1)), refused);
    assert_eq!(create_on(&mut peer, "numbers", &[(0, &[1])], (1, 1)), ErrorCode::InvalidRequest);
    assert!(peer.metadata(&["theirs"], false).topics[0].error_code == ErrorCode::UnknownTopicOrPartition);
}

fn partitions(peer: &mut Peer, name: &str) -> usize {
    peer.metadata(&[name], false).topics[0].partitions.len()
}

/// A topic, how many partitions it shall have, and where the new ones shall be.
type Grown<'a> = (&'a str, i32, Option<&'a [&'a [i32]]>);

/// Lets a topic grow; what is answered of each.
fn grow(node: &LocalNode, topics: &[Grown<'_>], validate_only: bool) -> Vec<(String, i16)> {
    let topic = |(name, count, on): &Grown<'_>| CreatePartitionsTopic {
        name: (*name).into(),
        count: *count,
        assignments: on
            .map(|on| on.iter().map(|ids| CreatePartitionsAssignment { broker_ids: nodes(ids) }).collect()),
    };
    let request = CreatePartitionsRequest {
        topics: topics.iter().map(topic).collect(),
        timeout_ms: TIMEOUT_MS,
        validate_only,
    };
    let results = Peer::connect(node).call(3, &request).results.into_iter();
    let told = results.map(|result| {
        assert_eq!(result.error_code.is_none(), result.error_message.is_none(), "{}", result.name);
        (result.name.to_string(), result.error_code.code())
    });
    told.collect()
}

#[test]
fn a_topic_grows_by_number_or_by_assignment_or_is_refused_for_what_is_wrong() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("t", 1, &[]);
    peer.create("u", 1, &[]);
    let code = |of: Grown<'_>, validate_only| grow(&node, &[of], validate_only)[0].1;
    assert_eq!(code(("t", 3, None), true), 0);
    assert_eq!(partitions(&mut peer, "t"), 1, "it was only checked");
    assert_eq!(code(("t", 2, None), false), 0);
    assert_eq!(code(("t", 4, Some(&[&[1], &[1]])), false), 0);
    assert_eq!(partitions(&mut peer, "t"), 4);
    for (of, expected) in [
        (("t", 4, None), 37),
        (("t", 3, None), 37),
        (("t", -1, None), 37),
        (("t", 20_000, None), 37),
        (("nobody", 3, None), 3),
        (("t", 5, Some(&[&[2][..]][..])), 39),
        (("t", 5, Some(&[&[1, 1]])), 39),
        (("t", 5, Some(&[&[]])), 39),
        (("t", 6, Some(&[&[1]])), 39),
        (("t", 5, Some(&[])), 39),
    ] {
        assert_eq!(code(of, false), expected, "{of:?}");
        assert_eq!(code(of, true), expected, "{of:?}, only checked");
    }
    let twice = grow(&node, &[("t", 6, None), ("u", 2, None), ("t", 7, None)], false);
    assert_eq!(twice, [("t".to_owned(), 42), ("u".to_owned(), 0)]);
    assert_eq!((partitions(&mut peer, "t"), partitions(&mut peer, "u")), (4, 2));
}
