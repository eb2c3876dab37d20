//! librdkafka, current: what it writes it reads back.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rdkafka::{
    ClientContext, Message, TopicPartitionList,
    consumer::Consumer,
    message::DeliveryResult,
    producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer},
    topic_partition_list::Offset,
};

use crate::{
    CODECS,
    samples::{assert_same, assert_stored_with, samples},
    support::{
        WITHIN,
        rdkafka::{self as client, Received, create_topic, owned_headers, read_all},
        start_node,
    },
};

/// Keeps the offset that each record was acknowledged at, in the order of the answers.
#[derive(Clone, Default)]
struct Offsets(Arc<Mutex<Vec<(usize, i64)>>>);

impl ClientContext for Offsets {}

impl ProducerContext for Offsets {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        match result {
            Ok(message) => self.0.lock().unwrap().push((number, message.offset())),
            Err((error, _)) => panic!("record {number}: {error}"),
        }
    }
}

fn connect(bootstrap: &str, settings: &[(&str, &str)], offsets: &Offsets) -> ThreadedProducer<Offsets> {
    let mut config = client::producer(bootstrap);
    config.set("linger.ms", "20");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config.create_with_context(offsets.clone()).unwrap()
}

fn send(producer: &ThreadedProducer<Offsets>, topic: &str, number: usize, record: &Received) {
    let mut message = BaseRecord::with_opaque_to(topic, number).partition(0);
    message.timestamp = record.timestamp;
    message.key = record.key.as_ref();
    message.payload = record.value.as_ref();
    if !record.headers.is_empty() {
        message = message.headers(owned_headers(&record.headers));
    }
    producer.send(message).map_err(|(error, _)| error).unwrap();
}

/// Sends records to partition 0 and gives the offset of each.
pub(crate) fn produce(
    bootstrap: &str,
    topic: &str,
    settings: &[(&str, &str)],
    records: &[Received],
) -> Vec<i64> {
    let offsets = Offsets::default();
    let producer = connect(bootstrap, settings, &offsets);
    for (number, record) in records.iter().enumerate() {
        send(&producer, topic, number, record);
    }
    producer.flush(WITHIN).unwrap();
    let mut acknowledged = offsets.0.lock().unwrap().clone();
    acknowledged.sort_unstable();
    let numbers: Vec<usize> = acknowledged.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..records.len()).collect::<Vec<_>>(), "each record is answered once");
    acknowledged.into_iter().map(|(_, offset)| offset).collect()
}

#[test]
fn every_codec_comes_back_as_it_was_written_with_and_without_idempotence() {
    let node = start_node();
    for (number, (codec, id)) in CODECS.into_iter().enumerate() {
        for idempotence in ["false", "true"] {
            let topic = format!("{codec}-{idempotence}");
            create_topic(&node.kafka_address(), &topic, 1, &[]);
            let sent = samples(number as u64, 3000);
            let settings = [("compression.type", codec), ("enable.idempotence", idempotence)];
            let offsets = produce(&node.kafka_address(), &topic, &settings, &sent);
            assert!(offsets.iter().copied().eq(0..3000), "{topic}: acknowledged in the order sent");
            assert_same(&topic, &read_all(&node.kafka_address(), &topic, 0), &sent);
            assert_stored_with(&node, &topic, id, &sent);
        }
    }
}

#[test]
fn a_fetch_from_any_offset_begins_with_that_record_also_within_a_batch() {
    let node = start_node();
    let bootstrap = node.kafka_address();
    create_topic(&bootstrap, "within", 1, &[]);
    let sent = samples(7, 500);
    produce(&bootstrap, "within", &[("compression.type", "lz4")], &sent);
    let consumer = client::consumer(&bootstrap);
    for from in [0, 1, 250, 498, 499] {
        let mut received = Vec::new();
        client::read_range(&consumer, "within", 0, (from, 500), |message| {
            received.push(Received::of(message));
        });
        assert_same(&format!("from {from}"), &received, &sent[from as usize..]);
    }
}

#[test]
fn an_offset_is_found_by_the_time_of_its_record() {
    let node = start_node();
    let bootstrap = node.kafka_address();
    create_topic(&bootstrap, "times", 1, &[]);
    let sent = samples(8, 2000);
    produce(&bootstrap, "times", &[("compression.type", "zstd")], &sent);
    let consumer = client::consumer(&bootstrap);
    for expected in [0, 1, 999, 1999] {
        let time = sent[expected as usize].timestamp.unwrap();
        // The first at or after the time asked for.
        for asked in [time, time - 3] {
            let mut times = TopicPartitionList::new();
            times.add_partition_offset("times", 0, Offset::Offset(asked)).unwrap();
            let found = consumer.offsets_for_times(times, WITHIN).unwrap();
            assert_eq!(found.elements()[0].offset(), Offset::Offset(expected), "asked for {asked}");
        }
    }
}

#[test]
fn a_consumer_that_waits_at_the_end_is_given_what_comes_at_once_and_in_order() {
    let node = start_node();
    let bootstrap = node.kafka_address();
    create_topic(&bootstrap, "tail", 1, &[]);
    let consumer = client::consumer(&bootstrap);
    client::assign(&consumer, "tail", &[(0, 0)]);
    assert!(consumer.poll(Duration::from_millis(200)).is_none(), "there is nothing yet");
    let producer = connect(&bootstrap, &[("linger.ms", "0")], &Offsets::default());
    for (number, record) in samples(9, 200).iter().enumerate() {
        send(&producer, "tail", number, record);
        let message = consumer.poll(WITHIN).unwrap().unwrap();
        assert_eq!(message.offset(), number as i64);
        assert_eq!(&Received::of(&message), record);
    }
}
