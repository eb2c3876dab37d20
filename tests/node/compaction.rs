//! A topic that keeps the newest record of each key, also when its node is killed in the middle of that.

use std::collections::HashMap;

use polylogue::wire::ErrorCode;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::{
    batches::batch_of,
    nodes::kill_and_start,
    peer::Peer,
    support::{
        WITHIN, eventually,
        rdkafka::{Received, create_topic, producer, read_all},
        start_node, stored_bytes,
    },
};

const KEYS: usize = 20;
const TOPIC: &str = "newest";
const CONFIGS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "20000"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("delete.retention.ms", "100000000"),
];

/// The record that is written at an offset: one in fifty has no value.
fn record(offset: usize) -> (String, Option<String>) {
    let key = format!("key-{}", offset * 7 % KEYS);
    (key, (offset % 50 != 49).then(|| format!("value {offset} {}", "x".repeat(100))))
}

fn write(bootstrap: &str, offsets: std::ops::Range<usize>) {
    let mut config = producer(bootstrap);
    // A batch has to fit into a segment.
    config.set("enable.idempotence", "true").set("batch.num.messages", "50");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
    for offset in offsets {
        let (key, value) = record(offset);
        let mut message = BaseRecord::to(TOPIC).partition(0).key(&key);
        message.payload = value.as_ref();
        producer.send(message).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(WITHIN).unwrap();
}

/// Each record is the one that was written at its offset, and the newest of each key is there.
#[track_caller]
fn assert_newest(read: &[Received], written: usize) {
    let text =
        |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    let mut newest = HashMap::new();
    for received in read {
        let (key, value) = record(received.offset as usize);
        assert_eq!((text(&received.key).unwrap(), text(&received.value)), (key.clone(), value));
        newest.insert(key, received.offset as usize);
    }
    for offset in written - KEYS..written {
        let (key, _) = record(offset);
        assert_eq!(newest.get(&key), Some(&offset), "{key}");
    }
}

#[test]
fn the_newest_record_of_each_key_stays_and_the_others_go_whatever_is_killed_when() {
    let mut node = start_node();
    create_topic(&node.kafka_address(), TOPIC, 1, &CONFIGS);
    let mut written = 0;
    for round in 0..6 {
        write(&node.kafka_address(), written..written + 3000);
        written += 3000;
        // At another moment of the pass each time.
        eventually("some of it is compacted", WITHIN, || {
            let removed = node.metric("polylogue_compacted_bytes_total").unwrap().unwrap_or_default();
            (removed > f64::from(round) * 20_000.0).then_some(())
        });
        kill_and_start(&mut node);
        assert_newest(&read_all(&node.kafka_address(), TOPIC, 0), written);
    }
    write(&node.kafka_address(), written..written + 500);
    written += 500;
    // The segment that is written is never compacted, and one before it may wait for the next checkpoint.
    eventually("most of it is gone", WITHIN, || (stored_bytes(&node, TOPIC, 0) < 150_000).then_some(()));
    let left = read_all(&node.kafka_address(), TOPIC, 0);
    assert_newest(&left, written);
    assert!(left.len() < 1500, "{} of {written} are left", left.len());
    assert_eq!(node.metric("polylogue_corrupt_batches_total").unwrap(), Some(0.0));
}

#[test]
fn a_compacted_topic_refuses_records_without_a_key_and_their_deletion() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("keyed", 1, &[("cleanup.policy", "compact")]);
    let refused = peer.produce("keyed", batch_of(1));
    assert_eq!(refused.error_code, ErrorCode::InvalidRecord);
    assert!(refused.record_errors.len() <= 1, "{refused:?}");
    assert_eq!(peer.delete_records("keyed", 0).error_code, ErrorCode::PolicyViolation);
}
