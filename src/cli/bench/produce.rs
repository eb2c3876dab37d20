//! `polylogue bench produce`.

use std::{
    future::pending,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::bail;
use clap::Args;
use serde_json::json;
use tokio::{
    select,
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Topic,
    payload::{Payload, Values},
    rate,
    report::{Report, Times},
};
use crate::{
    cli::{
        connect::{Output, explain},
        produce::Promise,
        progress::{Progress, count},
    },
    client::{
        Producer, ProducerConfig, ProducerRecord,
        producer::{Delivery, ProduceError},
    },
    clock::{Clock, SystemClock},
    model::PartitionIndex,
};

/// How much later than asked for a timer may ring.
const TIMER: Duration = Duration::from_millis(2);
/// Deliveries that may wait to be timed, of each partition.
const WAITING: usize = 64 * 1024;

#[derive(Args, Debug)]
pub(in crate::cli) struct Flags {
    /// How many records to write [default: 1000000, or without limit where a duration is given]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// End after this time, with a unit: 500ms, 10s, 2m [default: when all records are written]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    /// Bytes of each value, 0 to 10,000,000.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000_000))]
    size: u32,
    /// Records a second at most, 0.1 to 10,000,000 [default: as fast as possible]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// What values are made of.
    #[arg(long, value_enum, default_value_t)]
    payload: Payload,
    #[command(flatten)]
    promise: Promise,
    /// How long a record may wait for others to share its batch, with a unit.
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = humantime::parse_duration)]
    linger: Duration,
    /// Bytes at which a batch is sent without waiting, before it is packed.
    #[arg(long, value_name = "BYTES", default_value_t = 128 * 1024, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    batch_bytes: u32,
    /// Batches of one partition that may be unanswered; at most 5 with idempotence.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
    /// How long a record may take in all before it counts as failed, which ends the run; with a unit.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    delivery_timeout: Duration,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    topic: Topic,
}

impl Flags {
    fn config(&self) -> ProducerConfig {
        ProducerConfig {
            linger: self.linger,
            batch_bytes: self.batch_bytes as usize,
            max_in_flight: self.in_flight.into(),
            delivery_timeout: self.delivery_timeout,
            ..self.promise.config()
        }
    }

    /// How many records there are to be, as far as that is known. At a rate no more than are due before the end, which
    /// is told by a timer that may ring late.
    fn wanted(&self) -> u64 {
        let limit = self.records.unwrap_or(if self.duration.is_some() { u64::MAX } else { 1_000_000 });
        let due = self.duration.zip(self.rate).map(|(time, rate)| (time.as_secs_f64() * rate).ceil() as u64);
        due.map_or(limit, |due| due.max(1).min(limit))
    }
}

/// What the tasks that wait for acknowledgements share.
#[derive(Debug)]
struct Timed {
    clock: SystemClock,
    times: Mutex<Times>,
    acknowledged: AtomicU64,
    failed: AtomicU64,
    first_failure: Mutex<Option<ProduceError>>,
    /// When the last one came, in nanoseconds of the clock.
    last: AtomicU64,
}

impl Timed {
    async fn each(self: Arc<Self>, mut deliveries: mpsc::Receiver<(Delivery, Duration)>) {
        while let Some((delivery, since)) = deliveries.recv().await {
            let outcome = delivery.await;
            let now = self.clock.monotonic();
            self.last.fetch_max(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
            match outcome {
                Ok(_) => {
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
                    times.record(now.saturating_sub(since));
                }
                Err(error) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    let mut first = self.first_failure.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(error);
                }
            }
        }
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed) > 0
    }
}

pub(super) async fn run(flags: Flags) -> anyhow::Result<()> {
    let client = flags.topic.connect.client();
    let partitions = flags.topic.prepare(&client).await?;
    let timed = Arc::new(Timed {
        clock: SystemClock::new(),
        times: Mutex::new(Times::new()),
        acknowledged: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        first_failure: Mutex::new(None),
        last: AtomicU64::new(0),
    });
    let mut sending = Sending::new(&flags, Producer::new(&client, flags.config()), &partitions, &timed);
    let began = timed.clock.monotonic();
    let deadline = flags.duration.map(|duration| Instant::now() + duration);
    let over = async move {
        match deadline {
            Some(deadline) => sleep_until(deadline).await,
            None => pending().await,
        }
    };
    let mut interrupted = false;
    let outcome = select! {
        outcome = sending.all(flags.wanted()) => outcome,
        () = over => Ok(()),
        _ = tokio::signal::ctrl_c() => {
            interrupted = true;
            Ok(())
        }
    };
    sending.finish().await;
    outcome?;
    let last = Duration::from_nanos(timed.last.load(Ordering::Relaxed));
    let records = timed.acknowledged.load(Ordering::Relaxed);
    let report = Report {
        what: "produce",
        records,
        bytes: records * u64::from(flags.size),
        elapsed: last.saturating_sub(began),
        failed: timed.failed.load(Ordering::Relaxed),
        interrupted,
        times: vec![("acknowledged", timed.times.lock().unwrap_or_else(PoisonError::into_inner).clone())],
        more: vec![("partitions", json!(partitions.len()))],
    };
    report.print(flags.output)?;
    let first = timed.first_failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(first) = first {
        bail!("{} records were not written, the first because: {first}", count(report.failed));
    }
    Ok(())
}

/// A partition and those who wait for its acknowledgements, which come in order.
struct Lane {
    partition: PartitionIndex,
    deliveries: mpsc::Sender<(Delivery, Duration)>,
}

/// Records on their way.
struct Sending<'a> {
    flags: &'a Flags,
    producer: Producer,
    timed: &'a Arc<Timed>,
    values: Values,
    lanes: Vec<Lane>,
    waiting: Vec<JoinHandle<()>>,
    progress: Progress,
}

impl<'a> Sending<'a> {
    fn new(
        flags: &'a Flags,
        producer: Producer,
        partitions: &[PartitionIndex],
        timed: &'a Arc<Timed>,
    ) -> Self {
        let (mut lanes, mut waiting) = (Vec::new(), Vec::new());
        for partition in partitions {
            let (deliveries, to_time) = mpsc::channel(WAITING);
            waiting.push(tokio::spawn(Arc::clone(timed).each(to_time)));
            lanes.push(Lane { partition: *partition, deliveries });
        }
        let progress = match flags.records {
            Some(records) => Progress::towards("sent", records),
            None => Progress::new("sent"),
        };
        let values = Values::new(flags.payload, flags.size as usize);
        Self { flags, producer, timed, values, lanes, waiting, progress }
    }

    /// Sends records to each partition in turns of about a batch.
    async fn all(&mut self, records: u64) -> anyhow::Result<()> {
        let turn = u64::from((self.flags.batch_bytes / (self.flags.size + 10)).max(1));
        let began = self.timed.clock.monotonic();
        for number in 0..records {
            if self.timed.has_failed() {
                return Ok(());
            }
            let mut since = None;
            if let Some(rate) = self.flags.rate {
                let due = began + Duration::from_secs_f64(number as f64 / rate);
                let wait = due.saturating_sub(self.timed.clock.monotonic());
                if !wait.is_zero() {
                    sleep(wait).await;
                }
                // A record that is held up counts from when it was due; that a timer is late is not the cluster's doing.
                let late = self.timed.clock.monotonic().saturating_sub(due);
                since = (late > TIMER).then_some(due);
            }
            let lane = usize::try_from(number / turn).unwrap_or(0) % self.lanes.len().max(1);
            self.one(lane, since).await?;
        }
        Ok(())
    }

    async fn one(&mut self, lane: usize, due: Option<Duration>) -> anyhow::Result<()> {
        let Some(lane) = self.lanes.get(lane) else { return Ok(()) };
        let since = due.unwrap_or_else(|| self.timed.clock.monotonic());
        let value = Some(self.values.next());
        let record = ProducerRecord { partition: Some(lane.partition), value, ..ProducerRecord::default() };
        let delivery = match self.producer.send(&self.flags.topic.name, record).await {
            Ok(delivery) => delivery,
            Err(ProduceError::Client(error)) => return Err(explain(error)),
            Err(error) => return Err(error.into()),
        };
        // Who times them lives for as long as this does.
        let _ = lane.deliveries.send((delivery, since)).await;
        self.progress.add(self.flags.size as usize);
        Ok(())
    }

    /// Waits for what is on its way.
    async fn finish(&mut self) {
        self.producer.close().await;
        self.lanes.clear();
        for waiting in self.waiting.drain(..) {
            // A panic of it has been printed.
            let _ = waiting.await;
        }
        self.progress.finish();
    }
}
