//! Producing as fast as librdkafka can: from the first message handed over to the last acknowledged.

use std::{process, time::Duration};

use anyhow::{Result, ensure};

use super::{Report, Target, letters, librdkafka::Producer, now_nanos, seconds_since};
use crate::process::CpuMeter;

/// A partition gets as many messages in a row as a batch holds.
const MESSAGES_PER_TURN: u64 = 1000;
/// Delivery reports are served every so many messages.
const POLL_EVERY: u64 = 1024;
/// A load that takes longer is given up.
const SECONDS_MAX: f64 = 300.0;

pub(super) fn run(target: &Target, size: usize, count: u64) -> Result<Report> {
    let producer = Producer::new(&target.topic, &target.producer_settings())?;
    let value = letters(size);
    let warmed_up = connect(&producer, &value, target.partitions)?;
    let broker = target.broker_cpu()?;
    let own = CpuMeter::start(process::id())?;
    let start = now_nanos();
    for sent in 0..count {
        let partition = (sent / MESSAGES_PER_TURN) as i32 % target.partitions;
        while producer.send(partition, &value, 0)?.is_err() {
            producer.poll(Duration::from_millis(5));
        }
        if sent.is_multiple_of(POLL_EVERY) {
            producer.poll(Duration::ZERO);
        }
    }
    while producer.queued() > 0 && seconds_since(start) < SECONDS_MAX {
        producer.poll(Duration::from_millis(20));
    }
    let seconds = seconds_since(start);
    let delivered = producer.delivered() - warmed_up;
    let mut report = Report::of_rate(delivered, delivered * size as u64, seconds)
        .with_broker_cpu(broker.map(|meter| meter.seconds()).transpose()?);
    report.client_cpu_seconds = own.seconds()?;
    report.failed = count - delivered;
    report.first_error = producer.first_error();
    std::mem::forget(producer);
    Ok(report)
}

/// Sends one message to each partition and waits for all, so that connecting to their leaders is not measured; returns how
/// many it sent.
pub(super) fn connect(producer: &Producer, value: &[u8], partitions: i32) -> Result<u64> {
    for partition in 0..partitions {
        ensure!(producer.send(partition, value, 0)?.is_ok(), "the queue holds not even these messages");
    }
    producer.flush(Duration::from_secs(10));
    let sent = u64::try_from(partitions)?;
    ensure!(producer.delivered() == sent, "not acknowledged within 10 s: {:?}", producer.first_error());
    Ok(sent)
}
