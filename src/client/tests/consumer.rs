use bytes::Bytes;
use tokio::time::timeout;

use super::{PATIENCE, broker::FakeBroker, config, topic, world::World};
use crate::{
    client::{
        Assignment, Client, Consumer, ConsumerConfig, OffsetSpec, Polled, Producer, ProducerConfig,
        ProducerRecord, StartAt,
        consumer::{ConsumeError, OutOfRange},
    },
    model::{NodeId, Offset, PartitionIndex, TimestampMs},
    record::{BatchBuilder, Compression, NewRecord, Producer as Mark, Record},
    wire::ApiKey,
};

const FIRST: PartitionIndex = PartitionIndex::new(0);

/// Appends batches of so many records each, the value being the offset and the time ten times that.
fn fill(world: &World, batches: &[usize]) {
    let mut next = world.lock().logs[0].end.get();
    for count in batches {
        let mut builder = BatchBuilder::new(usize::MAX);
        for _ in 0..*count {
            let value = next.to_string();
            let timestamp = TimestampMs::new(next * 10);
            let value = Some(value.as_bytes());
            assert!(builder.append(&NewRecord { timestamp, value, ..NewRecord::default() }));
            next += 1;
        }
        let batch = builder.finish(Compression::None, None, Mark::NONE).unwrap();
        world.lock().logs[0].append(&batch).unwrap();
    }
}

fn consumer(broker: &FakeBroker, config_: ConsumerConfig, start: StartAt) -> Consumer {
    let mut consumer = Consumer::new(&Client::new(config(broker)), config_);
    consumer.assign(&[Assignment { topic: topic(), partition: FIRST, start }]);
    consumer
}

/// All records up to the end of the partition, and where that was.
async fn read_to_end(consumer: &mut Consumer) -> Result<(Vec<Record>, Offset), ConsumeError> {
    let mut records = Vec::new();
    loop {
        match consumer.poll(PATIENCE).await?.expect("in time") {
            Polled::Batch(batch) => records.extend(batch.into_records().map(Result::unwrap)),
            Polled::EndOfPartition { offset, .. } => return Ok((records, offset)),
        }
    }
}

fn assert_run(records: &[Record], from: i64, to: i64) {
    let expected: Vec<_> =
        (from..to).map(|offset| (Offset::new(offset), Bytes::from(offset.to_string()))).collect();
    let found: Vec<_> = records.iter().map(|record| (record.offset, record.value.clone().unwrap())).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn reading_begins_in_the_middle_of_a_batch_and_ends_at_the_high_watermark() {
    let world = World::new(1);
    let broker = world.node(|_, _| None).await;
    fill(&world, &[10, 10, 10]);
    let start = StartAt::Offset(Offset::new(13));
    let mut consumer = consumer(&broker, ConsumerConfig::default(), start);
    let (records, end) = read_to_end(&mut consumer).await.unwrap();
    assert_run(&records, 13, 30);
    assert_eq!(end, Offset::new(30));
    assert_eq!(consumer.position(&topic(), FIRST), Some(Offset::new(30)));
    fill(&world, &[1]);
    let (records, end) = read_to_end(&mut consumer).await.unwrap();
    assert_run(&records, 30, 31);
    assert_eq!(end, Offset::new(31));
}

#[tokio::test]
async fn a_batch_that_is_cut_at_the_end_of_an_answer_is_fetched_again_whole() {
    let world = World::new(1);
    let broker = world.node(|_, _| None).await;
    fill(&world, &[5; 40]);
    let size = world.lock().logs[0].batches[0].1.len();
    // Two batches and a half; then not even one.
    for partition_max_bytes in [size * 5 / 2, size / 3] {
        let config_ = ConsumerConfig { partition_max_bytes, ..ConsumerConfig::default() };
        let mut consumer = consumer(&broker, config_, StartAt::BEGINNING);
        let (records, _) = timeout(PATIENCE, read_to_end(&mut consumer)).await.unwrap().unwrap();
        assert_run(&records, 0, 200);
    }
}

#[tokio::test]
async fn a_batch_with_a_wrong_checksum_is_reported_and_none_of_it_is_handed_out() {
    let world = World::new(1);
    let broker = world.node(|_, _| None).await;
    fill(&world, &[3, 3, 3]);
    {
        let mut state = world.lock();
        let (_, batch) = &mut state.logs[0].batches[1];
        let mut rotten = batch.to_vec();
        *rotten.last_mut().unwrap() ^= 1;
        *batch = rotten.into();
    }
    let mut consumer = consumer(&broker, ConsumerConfig::default(), StartAt::BEGINNING);
    let Some(Polled::Batch(first)) = consumer.poll(PATIENCE).await.unwrap() else { panic!("no batch") };
    assert_eq!(first.iter().count(), 3);
    let error = consumer.poll(PATIENCE).await.unwrap_err();
    assert!(matches!(error, ConsumeError::Corrupt { offset, .. } if offset == Offset::new(3)), "{error}");
}

#[tokio::test]
async fn an_offset_out_of_range_is_an_error_or_where_the_policy_says() {
    let world = World::new(1);
    let broker = world.node(|_, _| None).await;
    fill(&world, &[10, 10]);
    world.lock().logs[0].start = Offset::new(10);
    let start = StartAt::Offset(Offset::new(3));
    let error = read_to_end(&mut consumer(&broker, ConsumerConfig::default(), start)).await.unwrap_err();
    let named = matches!(error, ConsumeError::OutOfRange { offset, log_start, .. }
        if offset == Offset::new(3) && log_start == Offset::new(10));
    assert!(named, "{error}");
    for (out_of_range, first) in [(OutOfRange::Earliest, 10), (OutOfRange::Latest, 20)] {
        let config_ = ConsumerConfig { out_of_range, ..ConsumerConfig::default() };
        let (records, _) = read_to_end(&mut consumer(&broker, config_, start)).await.unwrap();
        assert_run(&records, first, 20);
    }
}

#[tokio::test]
async fn reading_begins_at_a_time_and_at_the_end() {
    let world = World::new(1);
    let broker = world.node(|_, _| None).await;
    fill(&world, &[10, 10]);
    let at = |time| StartAt::Spec(OffsetSpec::AtTime(TimestampMs::new(time)));
    for (start, first) in [(at(0), 0), (at(75), 8), (at(190), 19), (at(191), 20), (StartAt::END, 20)] {
        let mut consumer = consumer(&broker, ConsumerConfig::default(), start);
        let (records, end) = read_to_end(&mut consumer).await.unwrap();
        assert_run(&records, first, 20);
        assert_eq!(end, Offset::new(20));
    }
}

#[tokio::test]
async fn reading_goes_on_at_the_new_leader() {
    let world = World::new(1);
    let mut fetches = 0;
    let first = world
        .node(move |world, call| {
            fetches += usize::from(call.api() == ApiKey::Fetch);
            if fetches == 2 {
                world.move_leader(0, 1, 1);
            }
            Some(world.reply(NodeId::new(0), call))
        })
        .await;
    let _second = world.node(|_, _| None).await;
    fill(&world, &[5; 20]);
    let size = world.lock().logs[0].batches[0].1.len();
    let config_ = ConsumerConfig { partition_max_bytes: size * 3, ..ConsumerConfig::default() };
    let mut consumer = consumer(&first, config_, StartAt::BEGINNING);
    let (records, _) = read_to_end(&mut consumer).await.unwrap();
    assert_run(&records, 0, 100);
}

#[tokio::test]
async fn what_was_sent_comes_back_from_every_partition_and_codec_in_order() {
    let world = World::new(3);
    let broker = world.node(|_, _| None).await;
    let client = Client::new(config(&broker));
    for compression in Compression::ALL {
        let config_ = ProducerConfig { compression, batch_bytes: 2000, ..ProducerConfig::default() };
        let producer = Producer::new(&client, config_);
        for number in 0..1000 {
            let (key, value) = (format!("key {}", number % 17), format!("{compression:?} {number}"));
            let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
            let _ = producer.send(&topic(), ProducerRecord { key, value, ..ProducerRecord::default() }).await;
        }
        timeout(PATIENCE, producer.close()).await.unwrap();
    }
    let mut consumer = Consumer::new(&client, ConsumerConfig::default());
    assert_eq!(consumer.assign_topic(&topic(), StartAt::BEGINNING).await.unwrap(), 3);
    let mut by_key: std::collections::HashMap<Bytes, Vec<String>> = std::collections::HashMap::new();
    let mut ends = 0;
    while ends < 3 {
        match consumer.poll(PATIENCE).await.unwrap().expect("in time") {
            Polled::Batch(batch) => {
                for record in batch.into_records().map(Result::unwrap) {
                    let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                    by_key.entry(record.key.unwrap()).or_default().push(value);
                }
            }
            Polled::EndOfPartition { .. } => ends += 1,
        }
    }
    for (key, values) in &by_key {
        let number = std::str::from_utf8(key).unwrap().trim_start_matches("key ").parse::<i32>().unwrap();
        let all = Compression::ALL.into_iter().flat_map(|codec| (0..1000).map(move |number| (codec, number)));
        let expected = all.filter(|(_, each)| each % 17 == number);
        let expected: Vec<String> = expected.map(|(codec, each)| format!("{codec:?} {each}")).collect();
        assert_eq!(*values, expected);
    }
    assert_eq!(by_key.len(), 17);
}

#[tokio::test]
async fn a_partition_is_read_again_from_elsewhere_and_another_comes_and_goes_without_a_trace() {
    let world = World::new(2);
    fill(&world, &[3, 3]);
    let broker = world.node(|_, _| None).await;
    let mut consumer = consumer(&broker, ConsumerConfig::default(), StartAt::BEGINNING);
    let (records, end) = read_to_end(&mut consumer).await.unwrap();
    assert_run(&records, 0, 6);
    assert_eq!(end.get(), 6);
    let second = PartitionIndex::new(1);
    consumer.add(&[Assignment { topic: topic(), partition: second, start: StartAt::BEGINNING }]);
    let Some(Polled::EndOfPartition { partition, .. }) = consumer.poll(PATIENCE).await.unwrap() else {
        panic!("there is nothing in it")
    };
    assert_eq!(partition, second);
    // What was fetched and not polled is forgotten with the first turn.
    for from in [1, 4] {
        consumer.add(&[Assignment {
            topic: topic(),
            partition: FIRST,
            start: StartAt::Offset(Offset::new(from)),
        }]);
    }
    let (records, _) = read_to_end(&mut consumer).await.unwrap();
    assert_run(&records, 4, 6);
    consumer.remove(&topic(), FIRST);
    assert_eq!(consumer.position(&topic(), FIRST), None);
    fill(&world, &[3]);
    assert!(consumer.poll(std::time::Duration::from_millis(700)).await.unwrap().is_none());
}
