//! Records that are written while nodes fail, and the ledger of what was acknowledged.
//!
//! Each record carries its number among those that were sent to its partition, so that the logs alone show what is missing,
//! twice or out of order; and each acknowledgement told an offset, at which exactly that record must be. Several loads may write
//! to one partition: each has a name in its records.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use polylogue::{
    client::{
        Assignment, Consumer, ConsumerConfig, Polled, Producer, ProducerConfig, ProducerRecord, StartAt,
        producer::{Delivery, ProduceError, Written},
    },
    clock::{Clock, SystemClock},
    model::{Offset, PartitionIndex},
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::cluster::{Cluster, SOON, client, name};

static NAMES: AtomicU64 = AtomicU64::new(0);

/// How often a record is sent to each partition.
const EVERY: Duration = Duration::from_millis(1);
/// What a test's fault may stop the load for: the cluster's own times, and those of a machine that is busy.
pub(crate) const GOES_ON_WITHIN: Duration = Duration::from_secs(5);

/// An acknowledged record.
#[derive(Clone, Copy, Debug)]
struct Acked {
    number: u64,
    offset: Option<Offset>,
    /// When it was sent, by the ledger's clock.
    sent: Duration,
}

/// What the load was told.
#[derive(Debug, Default)]
struct Ledger {
    clock: SystemClock,
    told: Mutex<Told>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Told {
    /// By partition, in the order of sending.
    acked: Vec<Vec<Acked>>,
    failed: Vec<String>,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, partition: usize, number: u64, sent: Duration, result: Result<Written, ProduceError>) {
        let mut told = self.lock();
        match result {
            Ok(Written { offset, .. }) => told.acked[partition].push(Acked { number, offset, sent }),
            Err(error) => told.failed.push(error.to_string()),
        }
        drop(told);
        self.changed.notify_all();
    }
}

/// Our own client, idempotent and with `acks=all`, writing until it is told to stop.
pub(crate) struct Load {
    name: u64,
    topic: &'static str,
    ledger: Arc<Ledger>,
    runtime: Runtime,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Load {
    /// Begins, and waits until each partition has acknowledged something.
    #[track_caller]
    pub(crate) fn start(cluster: &Cluster, topic: &'static str, partitions: i32) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let ledger = Arc::new(Ledger::default());
        ledger.lock().acked.resize(partitions as usize, Vec::new());
        let (stop, stopped) = watch::channel(false);
        let name = NAMES.fetch_add(1, Ordering::Relaxed);
        let writing = write(cluster.bootstrap(), (name, topic), partitions, Arc::clone(&ledger), stopped);
        let task = runtime.spawn(writing);
        let load = Self { name, topic, ledger, runtime, stop, task };
        load.goes_on(SOON);
        load
    }

    /// Waits until every partition has acknowledged a record that was sent after this call, and tells how long that took.
    #[track_caller]
    pub(crate) fn goes_on(&self, within: Duration) -> Duration {
        let since = self.ledger.clock.monotonic();
        let is_after = |acked: &Vec<Acked>| acked.last().is_some_and(|last| last.sent > since);
        let told = self.ledger.lock();
        let waits = |told: &mut Told| !told.acked.iter().all(is_after) && told.failed.is_empty();
        let (told, waited) = self.ledger.changed.wait_timeout_while(told, within, waits).unwrap();
        let last: Vec<_> = told.acked.iter().map(|acked| acked.last().map(|last| last.sent)).collect();
        assert!(told.failed.is_empty(), "{:?}", told.failed.first());
        assert!(
            !waited.timed_out(),
            "not every partition went on within {within:?} of {since:?}; the last that was acknowledged was sent at \
             {last:?}"
        );
        self.ledger.clock.monotonic().saturating_sub(since)
    }

    /// A moment by the clock of the ledger.
    pub(crate) fn now(&self) -> Duration {
        self.ledger.clock.monotonic()
    }

    /// How many records have been acknowledged that were sent after this moment.
    pub(crate) fn acknowledged_since(&self, since: Duration) -> usize {
        let told = self.ledger.lock();
        told.acked.iter().flatten().filter(|acked| acked.sent > since).count()
    }

    /// Stops, waits until all replicas are in sync, and holds what was told against what is there.
    #[track_caller]
    pub(crate) fn stop_and_check(self, cluster: &Cluster) {
        self.stop.send_replace(true);
        self.runtime.block_on(self.task).unwrap();
        cluster.until_in_sync(self.topic, SOON).unwrap();
        let told = self.ledger.lock();
        assert!(
            told.failed.is_empty(),
            "{} records failed, the first: {:?}",
            told.failed.len(),
            told.failed[0]
        );
        for (partition, acked) in told.acked.iter().enumerate() {
            let end = acked.iter().filter_map(|acked| acked.offset).max().unwrap();
            let partition = PartitionIndex::new(partition as i32);
            let reading = read(cluster.bootstrap(), self.topic, partition, end);
            check((self.name, partition), acked, &self.runtime.block_on(reading));
        }
    }
}

type Sent = (u64, Duration, Delivery);

async fn write(
    bootstrap: String,
    (load, topic): (u64, &'static str),
    partitions: i32,
    ledger: Arc<Ledger>,
    mut stopped: watch::Receiver<bool>,
) {
    let config = ProducerConfig { linger: Duration::ZERO, ..ProducerConfig::default() };
    let (producer, topic) = (Producer::new(&client(&bootstrap), config), name(topic));
    let settle = |partition| {
        let (sender, receiver) = mpsc::unbounded_channel();
        (partition, sender, tokio::spawn(settle(partition as usize, receiver, Arc::clone(&ledger))))
    };
    let settling: Vec<_> = (0..partitions).map(settle).collect();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            _ = ticks.tick() => {}
        }
        for (partition, results, _) in &settling {
            let sent = ledger.clock.monotonic();
            let value = value_of((load, number));
            let partition = Some(PartitionIndex::new(*partition));
            let record = ProducerRecord { partition, value: Some(&value), ..ProducerRecord::default() };
            let delivery = producer.send(&topic, record).await.unwrap();
            results.send((number, sent, delivery)).unwrap();
        }
    }
    for (_, results, settled) in settling {
        drop(results);
        settled.await.unwrap();
    }
    producer.close().await;
}

async fn settle(partition: usize, mut results: mpsc::UnboundedReceiver<Sent>, ledger: Arc<Ledger>) {
    while let Some((number, sent, delivery)) = results.recv().await {
        ledger.tell(partition, number, sent, delivery.await);
    }
}

/// What a record says: its load and its number.
type Name = (u64, u64);

fn value_of((load, number): Name) -> [u8; 16] {
    ((u128::from(load) << 64) | u128::from(number)).to_be_bytes()
}

fn name_in(value: &[u8]) -> Option<Name> {
    let both = u128::from_be_bytes(value.try_into().ok()?);
    Some(((both >> 64) as u64, both as u64))
}

/// A record that was found: where, and what it says; nothing in one of [`try_once`].
type Found = (Offset, Option<Name>);

/// All of a partition, at least up to the record at `last`.
async fn read(bootstrap: String, topic: &str, partition: PartitionIndex, last: Offset) -> Vec<Found> {
    let mut consumer = Consumer::new(&client(&bootstrap), ConsumerConfig::default());
    consumer.assign(&[Assignment { topic: name(topic), partition, start: StartAt::BEGINNING }]);
    let mut found = Vec::new();
    let all = async {
        loop {
            match consumer.poll(SOON).await.unwrap() {
                Some(Polled::Batch(batch)) => {
                    let records = batch.iter().map(|record| record.unwrap());
                    found.extend(records.map(|record| (record.offset, record.value.and_then(name_in))));
                }
                Some(Polled::EndOfPartition { offset, .. }) if offset > last => break,
                Some(Polled::EndOfPartition { .. }) | None => {}
            }
        }
    };
    let is_whole = timeout(SOON, all).await.is_ok();
    assert!(is_whole, "{topic}-{partition} ends before {last}, which was acknowledged: {:?}", found.last());
    found
}

#[track_caller]
fn check((load, partition): (u64, PartitionIndex), acked: &[Acked], found: &[Found]) {
    for (place, (offset, _)) in found.iter().enumerate() {
        assert_eq!(offset.get(), place as i64, "partition {partition}: offsets have no gaps");
    }
    let ours = found.iter().filter_map(|(_, name)| *name).filter(|(of, _)| *of == load);
    let numbers: Vec<_> = ours.map(|(_, number)| number).collect();
    let wrong = numbers.windows(2).find(|pair| pair[0] >= pair[1]);
    assert!(wrong.is_none(), "partition {partition}: record {wrong:?} is there twice or out of order");
    assert!(!acked.is_empty(), "partition {partition}: nothing was acknowledged");
    for Acked { number, offset, .. } in acked {
        let place = offset.map(|offset| found.get(offset.get() as usize).and_then(|(_, name)| *name));
        let is_there = place
            .map_or_else(|| numbers.binary_search(number).is_ok(), |place| place == Some((load, *number)));
        assert!(is_there, "partition {partition}: record {number}, acknowledged at {offset:?}, is lost");
    }
}

/// Sends one record with `acks=all` to each partition, not again and again but for `within`, and gives what became of each.
pub(crate) fn try_once(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    within: Duration,
) -> Vec<Result<Written, ProduceError>> {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // A producer id takes a majority, and this is about the records.
        let config =
            ProducerConfig { idempotent: false, delivery_timeout: within, ..ProducerConfig::default() };
        let producer = Producer::new(&client(bootstrap), config);
        let mut deliveries = Vec::new();
        for partition in (0..partitions).map(PartitionIndex::new) {
            let record = ProducerRecord {
                partition: Some(partition),
                value: Some(b"once"),
                ..ProducerRecord::default()
            };
            deliveries.push(producer.send(&name(topic), record).await);
        }
        let mut results = Vec::new();
        for delivery in deliveries {
            results.push(match delivery {
                Ok(delivery) => delivery.await,
                Err(error) => Err(error),
            });
        }
        results
    })
}
