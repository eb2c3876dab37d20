//! How long a message is on its way: sent at a steady rate by one client, read by another, both in this
//! process, so that one clock stamps and reads. Each message carries its time of sending.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};

use super::{
    Report, Target,
    librdkafka::{Consumer, From, Message, Producer},
    now_nanos, seconds_since,
};
use crate::{latency::Latency, process::CpuMeter};

/// The consumer starts at the end of the log, and a broker that has just made the topic may take long to tell it where that
/// is: messages that do not count are sent at this pace until one has arrived.
const PROBE_EACH: Duration = Duration::from_millis(100);
const HEARD_WITHIN: Duration = Duration::from_secs(30);
/// Between them and the first that counts.
const SETTLE: Duration = Duration::from_millis(500);
/// How long those that are still on their way are waited for after the last acknowledgement.
const TRAILING: Duration = Duration::from_secs(10);
/// The stamp of a message that is sent only to see whether it arrives.
const NOT_COUNTED: u64 = 0;
/// The first messages open connections and start batches; they are not counted in longer runs.
const MESSAGES_NOT_COUNTED: usize = 200;
const RUN_TOO_SHORT_TO_SKIP: usize = 500;

/// How fast, how long, how large.
pub(super) struct Pace {
    pub(super) rate: f64,
    pub(super) seconds: u64,
    pub(super) size: usize,
}

pub(super) fn run(target: &Target, pace: &Pace) -> Result<Report> {
    let count = (pace.rate * pace.seconds as f64) as u64;
    let producer = Producer::new(&target.topic, &target.producer_settings())?;
    let receiver = Receiver::start(target, count as usize);
    probe(&producer, &receiver, pace.size)?;
    let probes = producer.delivered();
    let broker = target.broker_cpu()?;
    let own = CpuMeter::start(process::id())?;
    let start = now_nanos();
    send_all(&producer, pace, count)?;
    producer.flush(Duration::from_secs(5));
    let seconds = seconds_since(start);
    let on_the_way = receiver.stop_within(TRAILING)?;
    let delivered = producer.delivered() - probes;
    let mut report = Report::of_rate(delivered, delivered * pace.size as u64, seconds)
        .with_broker_cpu(broker.map(|m| m.seconds()).transpose()?);
    report.client_cpu_seconds = own.seconds()?;
    report.failed = count - delivered.min(on_the_way.len() as u64);
    report.first_error = producer.first_error();
    report.acknowledged = Some(Latency::of(producer.take_latencies()));
    report.end_to_end = Some(Latency::of(counted(on_the_way)));
    std::mem::forget(producer);
    Ok(report)
}

/// Returns when what is sent arrives.
fn probe(producer: &Producer, receiver: &Receiver, size: usize) -> Result<()> {
    let (start, value) = (now_nanos(), vec![0; size]);
    while !receiver.has_heard() {
        ensure!(
            seconds_since(start) < HEARD_WITHIN.as_secs_f64(),
            "nothing has arrived within {HEARD_WITHIN:?}; the producer says {:?}",
            producer.first_error()
        );
        ensure!(producer.send(0, &value, NOT_COUNTED)?.is_ok(), "the producer's queue is full of probes");
        producer.poll(PROBE_EACH);
    }
    producer.flush(HEARD_WITHIN);
    ensure!(producer.queued() == 0, "probes are not acknowledged within {HEARD_WITHIN:?}");
    thread::sleep(SETTLE);
    Ok(())
}

/// Sends each message when it is due, not a pause after the one before: a stall delays none of the
/// later ones' due times.
fn send_all(producer: &Producer, pace: &Pace, count: u64) -> Result<()> {
    producer.measure_latencies(now_nanos, count as usize);
    let mut value = vec![0; pace.size];
    let start = now_nanos();
    for index in 0..count {
        let due = start + (index as f64 * 1e9 / pace.rate) as u64;
        thread::sleep(Duration::from_nanos(due.saturating_sub(now_nanos())));
        let stamp = now_nanos();
        value[..8].copy_from_slice(&stamp.to_ne_bytes());
        ensure!(producer.send(0, &value, stamp)?.is_ok(), "the producer's queue is full at this rate");
        producer.poll(Duration::ZERO);
    }
    Ok(())
}

fn counted(mut on_the_way: Vec<u64>) -> Vec<u64> {
    if on_the_way.len() > RUN_TOO_SHORT_TO_SKIP {
        on_the_way.drain(..MESSAGES_NOT_COUNTED);
    }
    on_the_way
}

/// The consumer on a thread of its own.
struct Receiver {
    stop: Arc<AtomicBool>,
    heard: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<Vec<u64>>>,
}

impl Receiver {
    fn start(target: &Target, expected: usize) -> Self {
        let (stop, heard) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let thread = {
            let (stop, heard, target) = (Arc::clone(&stop), Arc::clone(&heard), target.clone());
            thread::spawn(move || receive_until(&stop, &heard, &target, expected))
        };
        Self { stop, heard, thread }
    }

    /// Whether a message has arrived, or none will.
    fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed) || self.thread.is_finished()
    }

    /// Nanoseconds on the way of each message that was received and counts, once all were or the time is over.
    fn stop_within(self, within: Duration) -> Result<Vec<u64>> {
        let start = now_nanos();
        while !self.thread.is_finished() && seconds_since(start) < within.as_secs_f64() {
            thread::sleep(Duration::from_millis(10));
        }
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the consumer's thread panicked"))?.context("consumer")
    }
}

fn receive_until(
    stop: &AtomicBool,
    heard: &AtomicBool,
    target: &Target,
    expected: usize,
) -> Result<Vec<u64>> {
    let consumer = Consumer::new(&target.topic, 1, From::End, &target.consumer_settings())?;
    let mut on_the_way = Vec::with_capacity(expected);
    while on_the_way.len() < expected && !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.next(Duration::from_millis(50)) else { continue };
        let Some(stamp) = value_of(&message, heard)?.and_then(<[u8]>::first_chunk) else { continue };
        let stamp = u64::from_ne_bytes(*stamp);
        if stamp != NOT_COUNTED {
            on_the_way.push(now_nanos().saturating_sub(stamp));
        }
        heard.store(true, Ordering::Relaxed);
    }
    Ok(on_the_way)
}

/// Until the first message the client may report that a topic is not there yet, which is no failure.
fn value_of<'a>(message: &'a Message<'_>, heard: &AtomicBool) -> Result<Option<&'a [u8]>> {
    match message.value() {
        Ok(value) => Ok(Some(value)),
        Err(_) if !heard.load(Ordering::Relaxed) => Ok(None),
        Err(error) => Err(error),
    }
}
