//! Consuming from the beginning as fast as librdkafka can.

use std::{process, time::Duration};

use anyhow::Result;

use super::{
    Report, Target,
    librdkafka::{Consumer, From},
    now_nanos, seconds_since,
};
use crate::process::CpuMeter;

/// Messages taken from librdkafka at a time.
const MESSAGES_AT_A_TIME: usize = 1000;
/// A load that takes longer is given up, and what is missing counts as failed.
const SECONDS_MAX: f64 = 120.0;

/// Reads the same messages with one consumer after the other, until this process is ended or one fails.
pub(super) fn run_again_and_again(target: &Target, count: u64) -> Result<Report> {
    loop {
        let (report, consumer) = read(target, count)?;
        if report.failed > 0 {
            return Ok(report);
        }
        drop(consumer);
    }
}

pub(super) fn run(target: &Target, count: u64) -> Result<Report> {
    let (report, consumer) = read(target, count)?;
    // The process ends: nobody waits for the connections to be closed.
    std::mem::forget(consumer);
    Ok(report)
}

fn read(target: &Target, count: u64) -> Result<(Report, Consumer)> {
    let broker = target.broker_cpu()?;
    let own = CpuMeter::start(process::id())?;
    let start = now_nanos();
    let consumer =
        Consumer::new(&target.topic, target.partitions, From::Beginning, &target.consumer_settings())?;
    let (mut messages, mut bytes) = (0, 0);
    let (mut seconds, mut first_after) = (0.0, None);
    let mut first_error = None;
    let mut batch = Vec::with_capacity(MESSAGES_AT_A_TIME);
    while messages < count && seconds_since(start) < SECONDS_MAX {
        consumer.receive(&mut batch, Duration::from_secs(1));
        if batch.is_empty() {
            continue;
        }
        first_after.get_or_insert_with(|| seconds_since(start));
        for message in batch.drain(..) {
            match message.value() {
                Ok(value) => {
                    messages += 1;
                    bytes += value.len() as u64;
                }
                Err(error) => {
                    first_error.get_or_insert_with(|| error.to_string());
                }
            }
        }
        seconds = seconds_since(start);
    }
    let mut report =
        Report::of_rate(messages, bytes, seconds).with_broker_cpu(broker.map(|m| m.seconds()).transpose()?);
    let flowing = seconds - first_after.unwrap_or(seconds);
    report.messages_per_second_once_flowing = (flowing > 0.0).then(|| messages as f64 / flowing);
    report.client_cpu_seconds = own.seconds()?;
    report.failed = count.saturating_sub(messages);
    report.first_error = first_error;
    drop(batch);
    Ok((report, consumer))
}
