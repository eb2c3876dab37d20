//! `polylogue bench latency`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use tokio::{runtime::Handle, select};
use uuid::Uuid;

use super::{
    Topic, rate,
    report::{Report, Times},
};
use crate::{
    cli::{
        connect::{Output, explain},
        produce::Promise,
        progress::{Progress, count},
    },
    client::{
        Client, Consumer, ConsumerConfig, OffsetSpec, Producer, ProducerConfig, ProducerRecord, StartAt,
        consumer::{Assignment, Polled},
    },
    clock::{Clock, SystemClock},
    model::{PartitionIndex, TopicName},
};

/// The run and the record's number, before what fills it up.
const HEAD_BYTES: usize = 24;
/// How long the last records may be on their way before they count as lost.
const TRAILING: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

#[derive(Args, Debug)]
pub(in crate::cli) struct Flags {
    /// Records a second, 0.1 to 10,000,000.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = rate)]
    rate: f64,
    /// How long to measure, with a unit: 500ms, 10s, 2m
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// How long to write before that without counting, with a unit.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// Bytes of each value, 24 to 10,000,000.
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(24..=10_000_000))]
    size: u32,
    #[command(flatten)]
    promise: Promise,
    /// How long a record may wait for others to share its batch, with a unit.
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = humantime::parse_duration)]
    linger: Duration,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    topic: Topic,
}

/// When each record is due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    began: Duration,
    rate: f64,
    /// Records before those that count.
    warm_up: u64,
    records: u64,
}

impl Schedule {
    fn new(began: Duration, flags: &Flags) -> Self {
        let within = |time: Duration| (time.as_secs_f64() * flags.rate).round() as u64;
        let warm_up = within(flags.warm_up);
        Self { began, rate: flags.rate, warm_up, records: warm_up + within(flags.duration).max(1) }
    }

    fn due(&self, number: u64) -> Duration {
        self.began + Duration::from_secs_f64(number as f64 / self.rate)
    }

    fn counts(&self, number: u64) -> bool {
        (self.warm_up..self.records).contains(&number)
    }
}

/// What sender and receiver share.
#[derive(Debug)]
struct Run {
    id: Uuid,
    clock: SystemClock,
    sent: AtomicU64,
    stop: AtomicBool,
}

pub(super) async fn run(flags: Flags) -> anyhow::Result<()> {
    let client = flags.topic.connect.client();
    let partitions = flags.topic.prepare(&client).await?;
    let mut consumer = at_the_ends(&client, &flags.topic.name, &partitions).await?;
    let producer = Producer::new(&client, flags.config());
    let shared = Arc::new(Run {
        id: Uuid::new_v4(),
        clock: SystemClock::new(),
        sent: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    // The fetches that find nothing yet are under way by then.
    let settled = shared.clock.monotonic() + Duration::from_millis(500);
    let schedule = Schedule::new(settled, &flags);
    let sender = Sender {
        run: Arc::clone(&shared),
        schedule,
        topic: flags.topic.name.clone(),
        size: flags.size as usize,
        partitions,
        runtime: Handle::current(),
    };
    let sending = thread::Builder::new().name("bench-sender".to_owned());
    let sending = sending.spawn(move || sender.all(&producer)).context("cannot start a thread")?;
    let mut receiver = Receiver {
        run: &shared,
        schedule,
        times: Times::new(),
        received: 0,
        progress: Progress::towards("received", schedule.records),
    };
    let mut interrupted = false;
    let outcome = select! {
        outcome = receiver.all(&mut consumer) => outcome,
        _ = tokio::signal::ctrl_c() => {
            interrupted = true;
            Ok(())
        }
    };
    shared.stop.store(true, Ordering::Relaxed);
    let sent = tokio::task::spawn_blocking(move || sending.join()).await?;
    let sent = sent.map_err(|_| anyhow::anyhow!("the sender's thread panicked"))?;
    receiver.progress.finish();
    let counted = receiver.times.len();
    let missing = shared.sent.load(Ordering::Relaxed).saturating_sub(receiver.received);
    let failed = if interrupted { 0 } else { missing };
    let report = Report {
        what: "latency",
        records: counted,
        bytes: counted * u64::from(flags.size),
        elapsed: flags.duration,
        failed,
        interrupted,
        times: vec![("end_to_end", receiver.times)],
        more: vec![("rate", json!(flags.rate)), ("warm_up_records", json!(schedule.warm_up))],
    };
    report.print(flags.output)?;
    outcome?;
    sent?;
    if failed > 0 {
        bail!("{} of {} records did not arrive", count(failed), count(schedule.records));
    }
    Ok(())
}

impl Flags {
    fn config(&self) -> ProducerConfig {
        ProducerConfig {
            linger: self.linger,
            delivery_timeout: Duration::from_secs(30),
            ..self.promise.config()
        }
    }
}

/// A consumer that reads what is written from now on.
async fn at_the_ends(
    client: &Client,
    topic: &TopicName,
    partitions: &[PartitionIndex],
) -> anyhow::Result<Consumer> {
    let ask: Vec<_> = partitions.iter().map(|partition| (*partition, OffsetSpec::Latest)).collect();
    let ends = client.offsets(topic, &ask).await.map_err(explain)?;
    let assign = ends.into_iter().map(|end| Assignment {
        topic: topic.clone(),
        partition: end.partition,
        start: StartAt::Offset(end.offset),
    });
    let mut consumer = Consumer::new(client, ConsumerConfig::default());
    consumer.assign(&assign.collect::<Vec<_>>());
    Ok(consumer)
}

/// Sends each record when it is due, from a thread of its own: timers of the runtime are a millisecond apart.
struct Sender {
    run: Arc<Run>,
    schedule: Schedule,
    topic: TopicName,
    size: usize,
    partitions: Vec<PartitionIndex>,
    runtime: Handle,
}

impl Sender {
    fn all(self, producer: &Producer) -> anyhow::Result<()> {
        let mut value = vec![b'.'; self.size.max(HEAD_BYTES)];
        if let Some(id) = value.get_mut(..16) {
            id.copy_from_slice(self.run.id.as_bytes());
        }
        for number in 0..self.schedule.records {
            let due = self.schedule.due(number);
            // Until then, a tenth of a second at a time, so that an interruption is soon seen.
            while let Some(wait) = due.checked_sub(self.run.clock.monotonic()).filter(|wait| !wait.is_zero())
            {
                if self.run.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                thread::sleep(wait.min(Duration::from_millis(100)));
            }
            if let Some(at) = value.get_mut(16..HEAD_BYTES) {
                at.copy_from_slice(&number.to_be_bytes());
            }
            let lane = usize::try_from(number).unwrap_or(0) % self.partitions.len().max(1);
            let partition = self.partitions.get(lane).copied();
            let record = ProducerRecord { partition, value: Some(&value), ..ProducerRecord::default() };
            // Whether it is written shows when it is received.
            let delivery = self.runtime.block_on(producer.send(&self.topic, record))?;
            self.run.sent.fetch_add(1, Ordering::Relaxed);
            drop(delivery);
        }
        self.runtime.block_on(producer.close());
        Ok(())
    }
}

struct Receiver<'a> {
    run: &'a Run,
    schedule: Schedule,
    times: Times,
    received: u64,
    progress: Progress,
}

impl Receiver<'_> {
    async fn all(&mut self, consumer: &mut Consumer) -> anyhow::Result<()> {
        let over = self.schedule.due(self.schedule.records) + TRAILING;
        while self.received < self.schedule.records && self.run.clock.monotonic() < over {
            let Some(Polled::Batch(batch)) = consumer.poll(POLL).await? else {
                self.progress.tick();
                continue;
            };
            let now = self.run.clock.monotonic();
            for record in batch.iter() {
                let record = record?;
                let Some(number) = record.value.and_then(|value| number_of(value, self.run.id)) else {
                    continue;
                };
                self.received += 1;
                self.progress.add(record.value.map_or(0, <[u8]>::len));
                if self.schedule.counts(number) {
                    self.times.record(now.saturating_sub(self.schedule.due(number)));
                }
            }
        }
        Ok(())
    }
}

/// The number of a record of this run; `None` for anybody else's.
fn number_of(value: &[u8], run: Uuid) -> Option<u64> {
    let (id, rest) = value.split_first_chunk::<16>()?;
    let number = rest.first_chunk::<8>()?;
    (id == run.as_bytes()).then(|| u64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::{Schedule, number_of};

    #[test]
    fn records_are_due_at_even_intervals_and_the_first_ones_do_not_count() {
        let schedule = Schedule { began: Duration::from_secs(5), rate: 200.0, warm_up: 100, records: 300 };
        assert_eq!(schedule.due(0), Duration::from_secs(5));
        assert_eq!(schedule.due(200), Duration::from_secs(6));
        assert_eq!([99, 100, 299, 300].map(|number| schedule.counts(number)), [false, true, true, false]);
    }

    #[test]
    fn records_of_another_run_are_nobodys() {
        let run = Uuid::new_v4();
        let value = [run.as_bytes().as_slice(), &7_u64.to_be_bytes(), b"..."].concat();
        assert_eq!(number_of(&value, run), Some(7));
        assert_eq!(number_of(&value, Uuid::new_v4()), None);
        assert_eq!(number_of(&value[..20], run), None);
    }
}
