//! `polylogue bench consume`.

use std::{collections::BTreeMap, time::Duration};

use anyhow::bail;
use clap::Args;
use serde_json::json;
use tokio::select;

use super::report::Report;
use crate::{
    cli::{
        connect::{Connect, Output, explain},
        consume::{ends, start_at},
        progress::{Progress, count},
        topic_name,
    },
    client::{
        Consumer, ConsumerConfig, StartAt,
        consumer::{Assignment, Polled},
    },
    clock::{Clock, SystemClock},
    model::{Offset, PartitionIndex, TopicName},
};

#[derive(Args, Debug)]
pub(in crate::cli) struct Flags {
    /// The topic to read.
    #[arg(long = "topic", value_name = "NAME", default_value = "bench", value_parser = topic_name)]
    name: TopicName,
    /// How many records to read [default: all that there are when it begins]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// Where to begin: beginning, end, offset:N, or time: with an RFC 3339 time or milliseconds since 1970.
    #[arg(long, value_name = "WHERE", default_value = "beginning", value_parser = start_at)]
    from: StartAt,
    /// Give up when nothing has come for this time, with a unit: 500ms, 10s, 2m
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    idle: Duration,
    /// The most bytes of one partition in one answer.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    partition_bytes: u32,
    /// Do not check checksums.
    #[arg(long)]
    no_check_crcs: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

pub(super) async fn run(flags: Flags) -> anyhow::Result<()> {
    let client = flags.connect.client();
    let topic = client.topic(&flags.name).await.map_err(explain)?;
    let partitions: Vec<_> = topic.partitions.iter().map(|partition| partition.index).collect();
    let ends = match flags.records {
        Some(_) => None,
        None => Some(ends(&client, &flags.name, flags.from, &partitions).await.map_err(explain)?),
    };
    if ends.as_ref().is_some_and(BTreeMap::is_empty) {
        bail!("topic {} has no records there: write some with `polylogue bench produce`", flags.name);
    }
    let config = ConsumerConfig {
        check_crcs: !flags.no_check_crcs,
        partition_max_bytes: flags.partition_bytes as usize,
        max_bytes: (flags.partition_bytes as usize).max(ConsumerConfig::default().max_bytes),
        ..ConsumerConfig::default()
    };
    let mut consumer = Consumer::new(&client, config);
    let clock = SystemClock::new();
    let assign = |partition: &PartitionIndex| Assignment {
        topic: flags.name.clone(),
        partition: *partition,
        start: flags.from,
    };
    consumer.assign(&partitions.iter().map(assign).collect::<Vec<_>>());
    let progress = match flags.records {
        Some(records) => Progress::towards("read", records),
        None => Progress::new("read"),
    };
    let mut reading = Reading { flags: &flags, ends, progress, clock, first: None, last: Duration::ZERO };
    let mut interrupted = false;
    let outcome = select! {
        outcome = reading.all(&mut consumer) => outcome,
        _ = tokio::signal::ctrl_c() => {
            interrupted = true;
            Ok(())
        }
    };
    reading.progress.finish();
    let first = reading.first.unwrap_or_default();
    let report = Report {
        what: "consume",
        records: reading.progress.records,
        bytes: reading.progress.bytes,
        // Finding the leader and the first offset is told apart.
        elapsed: reading.last.saturating_sub(first),
        failed: 0,
        interrupted,
        times: Vec::new(),
        more: vec![
            ("first_record_after_ms", json!(first.as_secs_f64() * 1000.0)),
            ("partitions", json!(partitions.len())),
        ],
    };
    report.print(flags.output)?;
    outcome
}

struct Reading<'a> {
    flags: &'a Flags,
    /// The partitions that have not been read to what was their end; none where a number is read.
    ends: Option<BTreeMap<PartitionIndex, Offset>>,
    progress: Progress,
    clock: SystemClock,
    /// When the first and the last records came.
    first: Option<Duration>,
    last: Duration,
}

impl Reading<'_> {
    async fn all(&mut self, consumer: &mut Consumer) -> anyhow::Result<()> {
        while !self.is_done() {
            match consumer.poll(self.flags.idle).await? {
                Some(Polled::Batch(batch)) => {
                    let now = self.clock.monotonic();
                    self.first.get_or_insert(now);
                    self.last = now;
                    let end = self.end_of(batch.partition);
                    for record in batch.iter() {
                        let record = record?;
                        if record.offset >= end || self.has_all() {
                            break;
                        }
                        let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
                        self.progress.add(len(record.key) + len(record.value));
                    }
                    self.reached(batch.partition, batch.next_offset);
                }
                Some(Polled::EndOfPartition { partition, offset, .. }) => self.reached(partition, offset),
                None => {
                    let (records, idle) = (count(self.progress.records), self.flags.idle);
                    bail!("nothing came for {idle:?} after {records} records (--idle)");
                }
            }
        }
        Ok(())
    }

    fn has_all(&self) -> bool {
        self.flags.records.is_some_and(|records| self.progress.records >= records)
    }

    fn is_done(&self) -> bool {
        self.ends.as_ref().map_or_else(|| self.has_all(), BTreeMap::is_empty)
    }

    /// Where counting ends in a partition: what has come since is not counted.
    fn end_of(&self, partition: PartitionIndex) -> Offset {
        self.ends.as_ref().map_or(Offset::MAX, |ends| ends.get(&partition).copied().unwrap_or(Offset::ZERO))
    }

    fn reached(&mut self, partition: PartitionIndex, offset: Offset) {
        if let Some(ends) = &mut self.ends
            && ends.get(&partition).is_some_and(|end| offset >= *end)
        {
            ends.remove(&partition);
        }
    }
}
