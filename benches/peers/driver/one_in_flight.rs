//! One message at a time: what an acknowledgement takes when nothing waits in front of it.

use std::{process, time::Duration};

use anyhow::{Result, ensure};

use super::{Report, Target, letters, librdkafka::Producer, now_nanos, produce, seconds_since};
use crate::{latency::Latency, process::CpuMeter};

pub(super) fn run(target: &Target, size: usize, count: u64) -> Result<Report> {
    let producer = Producer::new(&target.topic, &target.producer_settings())?;
    let value = letters(size);
    produce::connect(&producer, &value, 1)?;
    producer.measure_latencies(now_nanos, count as usize);
    let broker = target.broker_cpu()?;
    let own = CpuMeter::start(process::id())?;
    let start = now_nanos();
    for _ in 0..count {
        send_and_wait(&producer, &value)?;
    }
    let seconds = seconds_since(start);
    let delivered = count - producer.failed();
    let mut report = Report::of_rate(delivered, delivered * size as u64, seconds)
        .with_broker_cpu(broker.map(|m| m.seconds()).transpose()?);
    report.client_cpu_seconds = own.seconds()?;
    report.failed = producer.failed();
    report.first_error = producer.first_error();
    report.acknowledged = Some(Latency::of(producer.take_latencies()));
    std::mem::forget(producer);
    Ok(report)
}

/// Sends a message and waits until it is acknowledged or has failed.
fn send_and_wait(producer: &Producer, value: &[u8]) -> Result<()> {
    let before = producer.delivered() + producer.failed();
    ensure!(producer.send(0, value, now_nanos())?.is_ok(), "the queue holds not even one message");
    while producer.delivered() + producer.failed() == before {
        producer.poll(Duration::from_millis(10));
    }
    Ok(())
}
