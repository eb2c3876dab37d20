//! Who serves connections that move much, while small requests come and while none do.

use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
    time::{Instant, sleep},
};

use super::*;
use crate::wire::api::fetch::{FetchPartition, FetchRequest, FetchTopic, Records};

const TOPIC: &str = "orders";
/// More than a leader appends in its handler while small requests come.
const LARGE: usize = 300 << 10;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn large_batch() -> Bytes {
    let value = vec![7; LARGE];
    let mut batch = BatchBuilder::new(1 << 20);
    let timestamp = TimestampMs::new(1);
    assert!(batch.append(&NewRecord { timestamp, value: Some(&value), ..NewRecord::default() }));
    batch.finish(Compression::None, None, Producer::NONE).unwrap()
}

/// Asks small things for as long as it is told to.
async fn ask_small_things(mut client: Client, mut goes_on: watch::Receiver<bool>) {
    while *goes_on.borrow_and_update() {
        client.metadata(12, Some(&[]), false).await;
    }
}

/// Reads a few hundred kibibytes from there on; how many bytes came.
async fn read(client: &mut Client, from: i64) -> usize {
    let partition = FetchPartition {
        fetch_offset: crate::model::Offset::new(from),
        partition_max_bytes: 1 << 20,
        ..FetchPartition::default()
    };
    let topic = FetchTopic { topic: TOPIC.into(), partitions: vec![partition], ..FetchTopic::default() };
    let request = FetchRequest {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![topic],
        ..FetchRequest::default()
    };
    let answer = client.ask(11, &request).await;
    let data = &answer.responses[0].partitions[0];
    assert!(data.error_code.is_none(), "{:?}", data.error_code);
    let Records::Shared(records) = &data.records else { panic!("no records: {:?}", data.records) };
    records.len()
}

#[test]
fn who_moves_much_is_served_by_others_while_small_requests_come_and_loses_nothing_on_the_way() {
    let (here, there) = (runtime(), runtime());
    let bulk = Bulk::new(there.handle().clone());
    let served_there = || there.metrics().num_alive_tasks();
    here.block_on(async {
        let (door, mut writer) = Door::open_beside(bulk, tempfile::tempdir().unwrap(), true).await;
        let (mut reader, light) = (door.client().await, door.client().await);
        writer.create(&[TOPIC], 1).await;
        let batch = large_batch();
        let mut next = 0;
        for _ in 0..5 {
            assert_eq!(writer.produce_batch(TOPIC, 0, batch.clone()).await, next);
            next += 1;
            assert!(read(&mut reader, next - 1).await > LARGE);
            assert_eq!(served_there(), 0, "nobody else is there to be kept waiting");
        }

        let (goes_on, told) = watch::channel(true);
        let light = tokio::spawn(ask_small_things(light, told));
        let deadline = Instant::now() + DEADLINE;
        // Both the writer and the reader, and each of them more than once.
        let mut rounds_there = 0;
        while rounds_there < 20 {
            assert!(Instant::now() < deadline, "{} are served there", served_there());
            assert_eq!(writer.produce_batch(TOPIC, 0, batch.clone()).await, next);
            next += 1;
            assert!(read(&mut reader, next - 1).await > LARGE);
            rounds_there += i32::from(served_there() == 2);
        }

        goes_on.send(false).unwrap();
        light.await.unwrap();
        while served_there() > 0 {
            assert!(Instant::now() < deadline, "{} are still served there", served_there());
            assert_eq!(writer.produce_batch(TOPIC, 0, batch.clone()).await, next);
            next += 1;
            assert!(read(&mut reader, next - 1).await > LARGE);
            sleep(Duration::from_millis(10)).await;
        }
        door.close().await;
    });
}

#[test]
fn a_connection_that_is_served_by_others_ends_with_its_listener() {
    let (here, there) = (runtime(), runtime());
    let bulk = Bulk::new(there.handle().clone());
    here.block_on(async {
        let (door, mut writer) = Door::open_beside(bulk, tempfile::tempdir().unwrap(), true).await;
        let light = door.client().await;
        writer.create(&[TOPIC], 1).await;
        let (goes_on, told) = watch::channel(true);
        let light = tokio::spawn(ask_small_things(light, told));
        let (batch, deadline) = (large_batch(), Instant::now() + DEADLINE);
        while there.metrics().num_alive_tasks() == 0 {
            assert!(Instant::now() < deadline, "it never moved");
            writer.produce_batch(TOPIC, 0, batch.clone()).await;
        }
        goes_on.send(false).unwrap();
        light.await.unwrap();
        door.close().await;
        let mut rest = BytesMut::new();
        while timeout(DEADLINE, writer.stream.read_buf(&mut rest)).await.unwrap().unwrap_or(0) > 0 {}
        while there.metrics().num_alive_tasks() > 0 {
            assert!(Instant::now() < deadline, "it goes on without its listener");
            sleep(Duration::from_millis(2)).await;
        }
    });
}
