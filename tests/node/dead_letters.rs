//! Records that take their consumers down, on a node that is a process: tried again, given up, never lost.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use polylogue::{
    actors::group_coordinator::consumer_protocol,
    local_cluster::LocalNode,
    model::{Offset, PartitionIndex, TimestampMs},
    record::{self, BatchBuilder, Compression, NewHeader, NewRecord, Producer},
    wire::{
        ErrorCode, Str,
        api::{
            join_group::{JoinGroupRequest, JoinGroupRequestProtocol},
            offset_commit::{OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic},
            offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic},
            sync_group::{SyncGroupRequest, SyncGroupRequestAssignment},
        },
    },
};

use crate::{
    batches::now,
    groups::find_coordinator,
    nodes::{kill_and_start, metric, start_with, wait_for_metric},
    peer::Peer,
    support::{WITHIN, eventually},
};

const SESSION: Duration = Duration::from_millis(800);
const LETTERS: &str = "t.dead-letter";

/// A node whose topic `t` gives a record up after `attempts`, with ten records in one packed batch.
fn start(attempts: &str) -> LocalNode {
    let node = start_with(&[
        ("groups.initial-rebalance-delay", "0s"),
        ("groups.offsets-partitions", "2"),
        ("groups.min-session-timeout", "500ms"),
    ]);
    let mut peer = Peer::connect(&node);
    peer.create("t", 1, &[("max.delivery.attempts", attempts), ("dead.letter.max.consecutive", "2")]);
    peer.append("t", ten_records());
    node
}

fn ten_records() -> Bytes {
    let mut builder = BatchBuilder::new(1 << 20);
    for number in 0..10 {
        let (key, value) = (format!("key {number}"), format!("value {number} {}", "x".repeat(100)));
        let headers = [NewHeader { name: "own", value: Some(b"header") }];
        let record = NewRecord {
            timestamp: TimestampMs::new(now().get() + number),
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: &headers,
        };
        assert!(builder.append(&record));
    }
    builder.finish(Compression::Zstd, None, Producer::NONE).unwrap()
}

/// The only consumer of the group; it dies without a word when it is dropped.
struct Consumer {
    peer: Peer,
    id: Str,
    generation: i32,
}

impl Consumer {
    /// Joins, and waits for a predecessor that has died.
    fn assigned(node: &LocalNode) -> Self {
        let mut peer = Peer::connect(node);
        find_coordinator(&mut peer, "g");
        let mut consumer = Self { peer, id: Str::default(), generation: -1 };
        consumer.id = consumer.join(ErrorCode::MemberIdRequired).0;
        consumer.generation = consumer.join(ErrorCode::None).1;
        let owned = BTreeMap::from([("t".into(), [PartitionIndex::new(0)].into())]);
        let share = SyncGroupRequestAssignment {
            member_id: consumer.id.clone(),
            assignment: consumer_protocol::encode_assignment(&owned, None).unwrap(),
        };
        let request = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: consumer.generation,
            member_id: consumer.id.clone(),
            assignments: vec![share],
            ..SyncGroupRequest::default()
        };
        assert_eq!(consumer.peer.call(5, &request).error_code, ErrorCode::None);
        consumer
    }

    fn join(&mut self, expected: ErrorCode) -> (Str, i32) {
        let protocol = JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::from_static(b"t") };
        let answer = self.peer.call(
            9,
            &JoinGroupRequest {
                group_id: "g".into(),
                session_timeout_ms: SESSION.as_millis() as i32,
                rebalance_timeout_ms: 20_000,
                member_id: self.id.clone(),
                protocol_type: "consumer".into(),
                protocols: vec![protocol],
                ..JoinGroupRequest::default()
            },
        );
        assert_eq!(answer.error_code, expected);
        (answer.member_id, answer.generation_id)
    }

    /// Where it is to begin; it is told to wait while a record is on its way to the dead letters.
    fn position(&mut self) -> i64 {
        position(&mut self.peer)
    }

    fn fetch_from(&mut self, offset: i64) {
        let data = self.peer.fetch("t", offset);
        assert!(!data.records.into_bytes().is_empty(), "{:?}", data.error_code);
    }

    fn commit(&mut self, offset: i64) {
        let partition = OffsetCommitRequestPartition {
            partition_index: PartitionIndex::new(0),
            committed_offset: Offset::new(offset),
            ..OffsetCommitRequestPartition::default()
        };
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.id.clone(),
            topics: vec![OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition] }],
            ..OffsetCommitRequest::default()
        };
        let answer = self.peer.call(9, &request);
        assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::None);
    }
}

fn position(peer: &mut Peer) -> i64 {
    let topic = OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![PartitionIndex::new(0)] };
    let request = OffsetFetchRequest {
        group_id: "g".into(),
        topics: Some(vec![topic]),
        ..OffsetFetchRequest::default()
    };
    let answer = eventually("the position is told", WITHIN, || {
        let answer = peer.call(7, &request);
        (answer.error_code != ErrorCode::CoordinatorLoadInProgress).then_some(answer)
    });
    assert_eq!(answer.error_code, ErrorCode::None);
    answer.topics[0].partitions[0].committed_offset.get()
}

/// A consumer comes, is given what there is from `offset` on, and dies.
fn try_once(node: &LocalNode, offset: i64) {
    let counted = metric(node, "polylogue_delivery_attempts_total");
    let mut consumer = Consumer::assigned(node);
    consumer.fetch_from(offset);
    drop(consumer);
    wait_for_metric(node, "polylogue_delivery_attempts_total", |count| count == counted + 1);
    // It is on disk once the coordinator has answered something else.
    position(&mut Peer::connect(node));
}

/// Offset, key, and what our headers say, of each dead letter.
fn letters(node: &LocalNode) -> Vec<(String, BTreeMap<String, String>)> {
    let mut peer = Peer::connect(node);
    let bytes = peer.fetch(LETTERS, 0).records.into_bytes();
    let mut found = Vec::new();
    for batch in record::batches(bytes) {
        for record in record::records(batch.unwrap().1).unwrap() {
            let record = record.unwrap();
            let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
            let headers = record.headers.iter();
            let headers = headers.map(|header| (text(&header.name), text(header.value.as_ref().unwrap())));
            found.push((text(record.key.as_ref().unwrap()), headers.collect()));
        }
    }
    found
}

#[test]
fn a_record_that_takes_three_consumers_down_is_a_dead_letter_and_the_group_goes_on_behind_it() {
    let mut node = start("3");
    let mut first = Consumer::assigned(&node);
    first.commit(4);
    drop(first);
    wait_for_metric(&node, "polylogue_group_members_lost_total", |lost| lost == 1);
    // The node is killed between the tries.
    for _ in 0..2 {
        try_once(&node, 4);
        kill_and_start(&mut node);
    }
    try_once(&node, 4);
    let mut next = Consumer::assigned(&node);
    assert_eq!(next.position(), 5);
    let letters = letters(&node);
    assert_eq!(letters.len(), 1);
    let (key, headers) = &letters[0];
    assert_eq!(key, "key 4");
    let ours = |name: &str| headers[&format!("polylogue.dead-letter.{name}")].as_str();
    let said = ["topic", "partition", "offset", "group", "attempts"].map(ours);
    assert_eq!(said, ["t", "0", "4", "g", "3"]);
    assert_eq!(headers["own"], "header");
    assert!(ours("first-attempt").parse::<i64>().unwrap() < ours("last-attempt").parse::<i64>().unwrap());
    assert_eq!(ours("cause"), "the consumer's session timed out");
    assert_eq!(metric(&node, "polylogue_dead_letters_total"), 1);
    kill_and_start(&mut node);
    assert_eq!(position(&mut Peer::connect(&node)), 5);
}

#[test]
fn s22_three_crashes_before_anything_was_fetched_dead_letter_nothing() {
    let node = start("1");
    for crashed in 1..=3 {
        drop(Consumer::assigned(&node));
        wait_for_metric(&node, "polylogue_group_members_lost_total", |lost| lost == crashed);
    }
    let mut peer = Peer::connect(&node);
    assert_eq!(metric(&node, "polylogue_delivery_attempts_total"), 0);
    assert_eq!(position(&mut peer), -1);
    // What decides is whether it was served: the next one is.
    try_once(&node, 0);
    wait_for_metric(&node, "polylogue_dead_letters_total", |count| count == 1);
    assert_eq!(position(&mut peer), 1);
}

#[test]
fn an_outage_stops_dead_letters_until_a_record_is_consumed() {
    let node = start("1");
    for record in 0..2 {
        try_once(&node, record);
        wait_for_metric(&node, "polylogue_dead_letters_total", |count| count == record.unsigned_abs() + 1);
    }
    try_once(&node, 2);
    assert_eq!(metric(&node, "polylogue_dead_letters_stopped"), 1);
    let mut consumer = Consumer::assigned(&node);
    assert_eq!(consumer.position(), 2, "it stays where it is");
    consumer.fetch_from(2);
    consumer.commit(3);
    assert_eq!(metric(&node, "polylogue_dead_letters_stopped"), 0);
    drop(consumer);
    wait_for_metric(&node, "polylogue_dead_letters_total", |count| count == 3);
    assert_eq!(position(&mut Peer::connect(&node)), 4);
    let keys: Vec<_> = letters(&node).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["key 0", "key 1", "key 3"]);
}
