//! Deliveries that members of ours refuse, on a node that is a process and is killed.

mod hanging;

use std::{collections::BTreeMap, time::Duration};

use polylogue::{
    client::{Client, ClientConfig, Delivery, GroupConfig, GroupConsumer, GroupError, Nacked},
    local_cluster::LocalNode,
    model::{Offset, PartitionIndex, TopicName},
    record::{self, BatchBuilder, Compression, NewRecord, Producer},
    wire::{
        ErrorCode,
        api::{
            consumer_group_heartbeat::ConsumerGroupHeartbeatRequest,
            offset_commit::{
                Nack, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
                OffsetCommitResponsePartition,
            },
        },
    },
};
use rdkafka::{
    Message as _,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
};
use tokio::runtime::Runtime;

use crate::{
    batches::now,
    groups::find_coordinator,
    nodes::{kill_and_start, metric, start_with},
    peer::{Peer, produce_request},
    support::{WITHIN, eventually, rdkafka as stock},
};

const LETTERS: &str = "t.dead-letter";
const SETTINGS: [(&str, &str); 6] = [
    ("groups.offsets-partitions", "2"),
    ("groups.initial-rebalance-delay", "0s"),
    ("groups.consumer-min-heartbeat-interval", "100ms"),
    ("groups.consumer-heartbeat-interval", "200ms"),
    ("groups.consumer-min-session-timeout", "500ms"),
    ("groups.consumer-session-timeout", "3s"),
];

/// A node whose topic `t` gives a record up after `attempts`, with ten records in each partition: their values are their
/// offsets.
fn start(attempts: &str, partitions: i32) -> LocalNode {
    let node = start_with(&SETTINGS);
    let mut peer = Peer::connect(&node);
    peer.create(
        "t",
        partitions,
        &[("max.delivery.attempts", attempts), ("dead.letter.max.consecutive", "2")],
    );
    for partition in 0..partitions {
        let mut builder = BatchBuilder::new(1 << 20);
        for number in 0..10 {
            let value = number.to_string();
            let value = Some(value.as_bytes());
            assert!(builder.append(&NewRecord { timestamp: now(), value, ..NewRecord::default() }));
        }
        let batch = builder.finish(Compression::Lz4, None, Producer::NONE).unwrap();
        let answer = peer.call(9, &produce_request(-1, "t", partition, batch));
        assert_eq!(answer.responses[0].partition_responses[0].error_code, ErrorCode::None);
    }
    node
}

/// A member of ours, and what it runs on.
struct Member {
    runtime: Runtime,
    consumer: GroupConsumer,
}

impl Member {
    fn join(node: &LocalNode) -> Self {
        Self::join_as(node, GroupConfig::new("g"))
    }

    fn join_as(node: &LocalNode, config: GroupConfig) -> Self {
        let runtime = Runtime::new().unwrap();
        let client_id = format!("client-{}", fastrand::u64(..));
        let client = Client::new(ClientConfig { client_id, ..ClientConfig::new(&node.kafka_address()) });
        let config = GroupConfig { nack_backoff: Duration::from_millis(20), ..config };
        let topics = [TopicName::new("t").unwrap()];
        let consumer = runtime.block_on(GroupConsumer::join(&client, config, &topics)).unwrap();
        Self { runtime, consumer }
    }

    fn next_within(&mut self, within: Duration) -> Option<Delivery> {
        self.runtime.block_on(self.consumer.next(within)).unwrap()
    }

    /// The next record, which must be this one.
    #[track_caller]
    fn next(&mut self, offset: i64) -> Delivery {
        let delivery = self.next_within(WITHIN).unwrap();
        assert_eq!(delivery.record.offset.get(), offset);
        delivery
    }

    /// Takes records from one offset up to, and without, another, and commits them.
    #[track_caller]
    fn consume(&mut self, from: i64, to: i64) {
        for offset in from..to {
            let delivery = self.next(offset);
            self.consumer.ack(&delivery).unwrap();
        }
        self.runtime.block_on(self.consumer.commit()).unwrap();
    }

    fn nack(&mut self, delivery: &Delivery) -> Result<Nacked, GroupError> {
        self.runtime.block_on(self.consumer.nack(delivery, "it is poison"))
    }

    fn close(self) {
        self.runtime.block_on(self.consumer.close()).unwrap();
    }
}

fn counted(attempts: u32) -> Nacked {
    Nacked { attempts, given_up: false, dead_letters_stopped: false }
}

fn given_up(attempts: u32) -> Nacked {
    Nacked { attempts, given_up: true, dead_letters_stopped: false }
}

/// Value, and what our headers say, of each dead letter of this partition.
fn letters(node: &LocalNode) -> Vec<(String, BTreeMap<String, String>)> {
    let bytes = Peer::connect(node).fetch(LETTERS, 0).records.into_bytes();
    let mut found = Vec::new();
    for batch in record::batches(bytes) {
        for record in record::records(batch.unwrap().1).unwrap() {
            let record = record.unwrap();
            let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
            let headers = record.headers.iter();
            let headers = headers.map(|header| {
                let name = text(&header.name).strip_prefix("polylogue.dead-letter.").unwrap().to_owned();
                (name, text(header.value.as_ref().unwrap()))
            });
            found.push((text(record.value.as_ref().unwrap()), headers.collect()));
        }
    }
    found
}

#[test]
fn a_record_that_is_refused_three_times_is_a_dead_letter_also_when_the_node_dies_in_between() {
    let mut node = start("3", 1);
    let mut member = Member::join(&node);
    member.consume(0, 4);
    for attempt in 1..3 {
        let poison = member.next(4);
        assert_eq!(poison.attempts, attempt - 1);
        let behind = member.next(5);
        assert_eq!(member.nack(&poison).unwrap(), counted(attempt));
        let outdated = member.consumer.ack(&behind).unwrap_err();
        assert!(matches!(outdated, GroupError::Outdated { .. }), "{outdated}");
        kill_and_start(&mut node);
    }
    let poison = member.next(4);
    assert_eq!(poison.attempts, 2);
    assert_eq!(member.nack(&poison).unwrap(), given_up(3));
    member.consume(5, 10);
    let letters = letters(&node);
    let (value, headers) = &letters[0];
    assert_eq!((letters.len(), value.as_str()), (1, "4"));
    let said =
        ["topic", "partition", "offset", "group", "attempts", "cause"].map(|name| headers[name].as_str());
    assert_eq!(said, ["t", "0", "4", "g", "3", "it is poison"]);
    member.close();
    // Nothing of it comes again, to whom ever.
    let mut next = Member::join(&node);
    assert!(next.next_within(Duration::from_millis(300)).is_none());
    next.close();
}

#[test]
fn another_member_takes_over_with_what_was_counted() {
    let node = start("3", 1);
    let mut first = Member::join(&node);
    first.consume(0, 4);
    for attempt in 1..3 {
        let poison = first.next(4);
        assert_eq!(first.nack(&poison).unwrap(), counted(attempt));
    }
    // It dies without a word, and before it is given the record again or after: that may be one more.
    drop(first);
    let mut second = Member::join(&node);
    let next = second.next_within(WITHIN).unwrap();
    if next.record.offset.get() == 4 {
        assert_eq!(next.attempts, 2);
        assert_eq!(second.nack(&next).unwrap(), given_up(3));
        second.consume(5, 10);
    } else {
        assert_eq!(next.record.offset.get(), 5);
    }
    assert_eq!(letters(&node).len(), 1);
    assert_eq!(metric(&node, "polylogue_delivery_attempts_total"), 3);
    second.close();
}

#[test]
fn an_outage_stops_dead_letters_of_what_is_refused_until_a_record_is_consumed() {
    let node = start("1", 1);
    let mut member = Member::join(&node);
    for offset in 0..2 {
        let poison = member.next(offset);
        assert_eq!(member.nack(&poison).unwrap(), given_up(1));
    }
    for attempts in 1..4 {
        let poison = member.next(2);
        let stopped = Nacked { attempts, given_up: false, dead_letters_stopped: true };
        assert_eq!(member.nack(&poison).unwrap(), stopped);
    }
    assert_eq!(metric(&node, "polylogue_dead_letters_stopped"), 1);
    member.consume(2, 3);
    assert_eq!(metric(&node, "polylogue_dead_letters_stopped"), 0);
    let poison = member.next(3);
    assert_eq!(member.nack(&poison).unwrap(), given_up(1));
    member.consume(4, 10);
    let values: Vec<_> = letters(&node).into_iter().map(|(value, _)| value).collect();
    assert_eq!(values, ["0", "1", "3"]);
    member.close();
}

#[test]
fn what_is_done_is_not_refused_and_what_is_not_limited_is_delivered_again_for_ever() {
    let node = start("0", 1);
    let mut member = Member::join(&node);
    let (first, second) = (member.next(0), member.next(1));
    member.consumer.ack(&second).unwrap();
    let passed = member.nack(&first).unwrap_err();
    assert!(matches!(passed, GroupError::Passed { .. }), "{passed}");
    for _ in 0..5 {
        let refused = member.next(2);
        assert_eq!(member.nack(&refused).unwrap(), counted(0));
    }
    member.consume(2, 10);
    assert_eq!(metric(&node, "polylogue_delivery_attempts_total"), 0);
    member.close();
}

/// One that says what it is told to say: joins as `id`, and is given all there is.
fn beat(peer: &mut Peer, id: &'static str, epoch: i32) -> i32 {
    let joins = epoch == 0;
    let answer = peer.call(
        1,
        &ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: id.into(),
            member_epoch: epoch,
            rebalance_timeout_ms: if joins { 20_000 } else { -1 },
            subscribed_topic_names: joins.then(|| vec!["t".into()]),
            topic_partitions: joins.then(Vec::new),
            ..ConsumerGroupHeartbeatRequest::default()
        },
    );
    assert_eq!(answer.error_code, ErrorCode::None, "{:?}", answer.error_message);
    answer.member_epoch
}

fn refuse(peer: &mut Peer, id: &'static str, epoch: i32) -> OffsetCommitResponsePartition {
    let partition = OffsetCommitRequestPartition {
        partition_index: PartitionIndex::new(0),
        committed_offset: Offset::new(4),
        nack: Some(Nack { attempt: 1, cause: "no".into() }),
        ..OffsetCommitRequestPartition::default()
    };
    let request = OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: epoch,
        member_id: id.into(),
        topics: vec![OffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition] }],
        ..OffsetCommitRequest::default()
    };
    peer.call(9, &request).topics.remove(0).partitions.remove(0)
}

#[test]
fn s21_a_nack_of_a_member_that_is_fenced_is_refused_and_counts_nothing() {
    let node = start("1", 1);
    let mut peer = Peer::connect(&node);
    find_coordinator(&mut peer, "g");
    let epoch = beat(&mut peer, "a", 0);
    let mut refused = |id, epoch| {
        let answer = refuse(&mut peer, id, epoch);
        assert_eq!(answer.nacked, None);
        answer.error_code
    };
    assert_eq!(refused("a", epoch + 1), ErrorCode::StaleMemberEpoch);
    assert_eq!(refused("a", epoch - 1), ErrorCode::StaleMemberEpoch);
    assert_eq!(refused("b", epoch), ErrorCode::UnknownMemberId);
    assert_eq!(refused("", -1), ErrorCode::UnknownMemberId);
    // It leaves: what it has yet to say counts for nobody.
    beat(&mut peer, "a", -1);
    let late = refuse(&mut peer, "a", epoch);
    assert_eq!((late.error_code, late.nacked), (ErrorCode::UnknownMemberId, None));
    assert_eq!(metric(&node, "polylogue_delivery_attempts_total"), 0);
    let mut member = Member::join(&node);
    member.consume(0, 10);
    member.close();
}

#[test]
fn a_stock_consumer_of_the_same_group_notices_nothing_of_what_a_member_of_ours_refuses() {
    let node = start("2", 2);
    let mut ours = Member::join(&node);
    let mut config = stock::client(&node.kafka_address());
    config.set("group.id", "g").set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    let theirs: BaseConsumer = config.create().unwrap();
    theirs.subscribe(&["t"]).unwrap();
    let (mut given, mut read) = (Vec::new(), Vec::new());
    eventually("each has a partition", WITHIN, || {
        given.extend(ours.next_within(Duration::from_millis(10)));
        if let Some(Ok(message)) = theirs.poll(Duration::from_millis(10)) {
            read.push((message.partition(), message.offset()));
        }
        (ours.consumer.assigned().len() == 1 && !read.is_empty()).then_some(())
    });
    let mine = ours.consumer.assigned()[0].1;
    let first =
        given.into_iter().find(|delivery| delivery.partition == mine && delivery.record.offset.get() == 0);
    let first = first.unwrap_or_else(|| ours.next(0));
    assert_eq!(ours.nack(&first).unwrap(), counted(1));
    let again = ours.next(0);
    assert_eq!(ours.nack(&again).unwrap(), given_up(2));
    ours.consume(1, 10);
    eventually("the other one has read its own", WITHIN, || {
        if let Some(Ok(message)) = theirs.poll(Duration::from_millis(10)) {
            read.push((message.partition(), message.offset()));
            theirs.commit_message(&message, CommitMode::Sync).unwrap();
        }
        (read.len() == 10).then_some(())
    });
    let its_own: Vec<_> = (0..10).map(|offset| (1 - mine.get(), offset)).collect();
    assert_eq!(read, its_own);
    assert_eq!(metric(&node, "polylogue_delivery_attempts_total"), 2);
    assert_eq!(metric(&node, "polylogue_dead_letters_total"), 1);
    ours.close();
}
