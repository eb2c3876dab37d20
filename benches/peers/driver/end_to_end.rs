//! How long a message is on its way: sent at a steady rate by one client, read by another, both in this
//! process, so that one clock stamps and reads. Each message carries its time of sending.

use std::{
    process,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};

use super::{
    Report, Target,
    librdkafka::{Consumer, From, Producer},
    now_nanos, seconds_since,
};
use crate::{latency::Latency, process::CpuMeter};

/// The consumer starts at the end of the log: it must have found it before the first message.
const SETTLE: Duration = Duration::from_millis(1500);
/// After the last message, for those still on their way.
const TRAILING: Duration = Duration::from_millis(500);
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
    let receiver = Receiver::start(target, count as usize);
    let broker = target.broker_cpu()?;
    let own = CpuMeter::start(process::id())?;
    let start = now_nanos();
    let producer = send_all(target, pace, count)?;
    producer.flush(Duration::from_secs(5));
    let seconds = seconds_since(start);
    thread::sleep(TRAILING);
    let on_the_way = receiver.stop()?;
    let delivered = producer.delivered();
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

/// Sends each message when it is due, not a pause after the one before: a stall delays none of the
/// later ones' due times.
fn send_all(target: &Target, pace: &Pace, count: u64) -> Result<Producer> {
    let producer = Producer::new(&target.topic, &target.producer_settings())?;
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
    Ok(producer)
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
    thread: thread::JoinHandle<Result<Vec<u64>>>,
}

impl Receiver {
    /// Returns when the consumer has settled at the end of the log.
    fn start(target: &Target, expected: usize) -> Self {
        let (stop, settled) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(2)));
        let thread = {
            let (stop, settled, target) = (Arc::clone(&stop), Arc::clone(&settled), target.clone());
            thread::spawn(move || receive_until(&stop, &settled, &target, expected))
        };
        settled.wait();
        Self { stop, thread }
    }

    /// Nanoseconds on the way of each message that was received.
    fn stop(self) -> Result<Vec<u64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the consumer's thread panicked"))?.context("consumer")
    }
}

fn receive_until(stop: &AtomicBool, settled: &Barrier, target: &Target, expected: usize) -> Result<Vec<u64>> {
    let consumer = Consumer::new(&target.topic, 1, From::End, &target.consumer_settings());
    if let Ok(consumer) = &consumer {
        let start = now_nanos();
        while seconds_since(start) < SETTLE.as_secs_f64() {
            drop(consumer.next(Duration::from_millis(50)));
        }
    }
    settled.wait();
    let consumer = consumer?;
    let mut on_the_way = Vec::with_capacity(expected);
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.next(Duration::from_millis(50)) else { continue };
        if let Some(stamp) = message.value()?.first_chunk() {
            on_the_way.push(now_nanos().saturating_sub(u64::from_ne_bytes(*stamp)));
        }
    }
    Ok(on_the_way)
}
