//! `polylogue produce`: lines of standard input become records.

use std::{
    collections::VecDeque,
    io::{self, Read},
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use tokio::sync::mpsc;

use super::{
    connect::{Connect, explain},
    key_value,
    progress::{Progress, count},
    topic_name,
};
use crate::{
    client::{
        Producer, ProducerConfig, ProducerRecord,
        producer::{Acks, Delivery, ProduceError},
    },
    model::{PartitionIndex, TopicName},
    record::{Compression, NewHeader},
};

/// How much is read from standard input at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// The longest line that is taken.
const LINE_BYTES_MAX: usize = 256 << 20;
/// How many failures are told one by one.
const FAILURES_TOLD: u64 = 10;

#[derive(Args, Debug)]
pub(super) struct Flags {
    /// The topic to write to.
    #[arg(value_parser = topic_name)]
    topic: TopicName,
    /// What parts the key from the value in each line; \t is a tab [default: lines have no keys]
    #[arg(long, value_name = "TEXT", conflicts_with = "key", value_parser = separator)]
    key_separator: Option<String>,
    /// The key of every record.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The partition of every record [default: by the key; without a key any]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// A header of every record; may be given several times.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = key_value)]
    headers: Vec<(String, String)>,
    #[command(flatten)]
    promise: Promise,
    /// A key or value that reads exactly so is null, such as a tombstone [default: none is]
    #[arg(long, value_name = "TEXT")]
    null_marker: Option<String>,
    /// How long a record may wait for others to share its batch, with a unit.
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = humantime::parse_duration)]
    linger: Duration,
    /// How long a record may take in all before it counts as failed, with a unit.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = humantime::parse_duration)]
    delivery_timeout: Duration,
    #[command(flatten)]
    connect: Connect,
}

/// How records are packed and what is promised of them; for each command that writes.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Promise {
    /// How batches are packed.
    #[arg(long, value_enum, value_name = "CODEC", default_value_t)]
    compression: Codec,
    /// Who must hold a record before it counts as written: all in-sync replicas, the leader (1), nobody (0).
    #[arg(long, value_enum, default_value_t)]
    acks: Wanted,
    /// Let a retry write a record twice rather than have the log refuse the second.
    #[arg(long)]
    no_idempotence: bool,
}

impl Promise {
    /// The defaults of a producer, with what was asked for.
    pub(super) fn config(self) -> ProducerConfig {
        ProducerConfig {
            acks: self.acks.into(),
            idempotent: !self.no_idempotence,
            compression: self.compression.into(),
            ..ProducerConfig::default()
        }
    }
}

/// A codec by its name in Kafka's configs.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Codec {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip,
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Wanted {
    #[default]
    All,
    #[value(name = "1")]
    Leader,
    #[value(name = "0")]
    None,
}

impl From<Wanted> for Acks {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::All => Self::All,
            Wanted::Leader => Self::Leader,
            Wanted::None => Self::None,
        }
    }
}

fn separator(text: &str) -> Result<String, String> {
    let text = text.replace("\\t", "\t");
    if text.is_empty() { Err("the separator is empty".to_owned()) } else { Ok(text) }
}

pub(super) async fn run(flags: Flags) -> anyhow::Result<()> {
    let client = flags.connect.client();
    client.topic(&flags.topic).await.map_err(explain)?;
    let config = ProducerConfig {
        linger: flags.linger,
        delivery_timeout: flags.delivery_timeout,
        ..flags.promise.config()
    };
    let mut sending = Sending::new(&flags, Producer::new(&client, config));
    let mut chunks = read_lines();
    while let Some(chunk) = chunks.recv().await {
        let chunk = chunk.context("cannot read standard input")?;
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            sending.send(line.strip_suffix(b"\n").unwrap_or(line)).await?;
        }
        sending.settle(false).await;
    }
    sending.finish().await
}

/// Lines on their way, in order.
struct Sending<'a> {
    flags: &'a Flags,
    headers: Vec<NewHeader<'a>>,
    producer: Producer,
    deliveries: VecDeque<Delivery>,
    progress: Progress,
    failed: u64,
}

impl<'a> Sending<'a> {
    fn new(flags: &'a Flags, producer: Producer) -> Self {
        let headers = flags.headers.iter();
        let headers =
            headers.map(|(name, value)| NewHeader { name, value: Some(value.as_bytes()) }).collect();
        let (deliveries, progress) = (VecDeque::new(), Progress::new("produced"));
        Self { flags, headers, producer, deliveries, progress, failed: 0 }
    }

    async fn send(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let (key, value) = self.key_and_value(line);
        let partition = self.flags.partition.map(PartitionIndex::new);
        let record = ProducerRecord { partition, key, value, headers: &self.headers, timestamp: None };
        match self.producer.send(&self.flags.topic, record).await {
            Ok(delivery) => self.deliveries.push_back(delivery),
            Err(ProduceError::Client(error)) => return Err(explain(error)),
            Err(error) => self.on_failure(&error),
        }
        self.progress.add(line.len());
        if self.deliveries.len() >= 16 * 1024 {
            self.settle(false).await;
        }
        Ok(())
    }

    fn key_and_value<'l>(&'l self, line: &'l [u8]) -> (Option<&'l [u8]>, Option<&'l [u8]>) {
        let (key, value) = match &self.flags.key_separator {
            Some(separator) => split(line, separator.as_bytes()),
            None => (self.flags.key.as_deref().map(str::as_bytes), line),
        };
        let null = self.flags.null_marker.as_deref().map(str::as_bytes);
        (key.filter(|key| Some(*key) != null), Some(value).filter(|value| Some(*value) != null))
    }

    /// Takes the results that are there, or all.
    async fn settle(&mut self, all: bool) {
        while let Some(first) = self.deliveries.front_mut() {
            let result = if all {
                first.await
            } else {
                let Some(result) = first.result() else { return };
                result
            };
            self.deliveries.pop_front();
            if let Err(error) = result {
                self.on_failure(&error);
            }
        }
    }

    fn on_failure(&mut self, error: &ProduceError) {
        self.failed += 1;
        if self.failed <= FAILURES_TOLD {
            eprintln!("record not written: {error}");
        }
    }

    async fn finish(mut self) -> anyhow::Result<()> {
        let producer = &self.producer;
        producer.close().await;
        self.settle(true).await;
        self.progress.finish();
        if self.failed > 0 {
            bail!("{} of {} records were not written", count(self.failed), count(self.progress.records));
        }
        Ok(())
    }
}

/// The key before the first separator; a line without one is all value.
fn split<'l>(line: &'l [u8], separator: &[u8]) -> (Option<&'l [u8]>, &'l [u8]) {
    let at = line.windows(separator.len()).position(|window| window == separator);
    match at.and_then(|at| Some((line.get(..at)?, line.get(at + separator.len()..)?))) {
        Some((key, value)) => (Some(key), value),
        None => (None, line),
    }
}

/// Whole lines, many at a time, read by a thread of its own: standard input cannot be awaited.
fn read_lines() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let mut rest = Vec::new();
        loop {
            let chunk = next_lines(&mut rest);
            let ended = matches!(&chunk, Ok(chunk) if chunk.is_empty());
            let failed = chunk.is_err();
            if ended || sender.blocking_send(chunk).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// Reads at least one whole line, and the rest of the input at its end; nothing behind it.
fn next_lines(rest: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut input = io::stdin().lock();
    lines_of(&mut input, rest)
}

fn lines_of(input: &mut impl Read, rest: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    loop {
        let filled = rest.len();
        rest.resize(filled + CHUNK_BYTES, 0);
        let read = input.read(rest.get_mut(filled..).unwrap_or_default());
        rest.truncate(filled + *read.as_ref().unwrap_or(&0));
        if read? == 0 {
            return Ok(std::mem::take(rest));
        }
        let fresh = rest.get(filled..).unwrap_or_default();
        if let Some(end) = fresh.iter().rposition(|byte| *byte == b'\n') {
            let behind = rest.split_off(filled + end + 1);
            return Ok(std::mem::replace(rest, behind));
        }
        if rest.len() > LINE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is longer than 256 MiB"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{lines_of, split};

    #[test]
    fn a_line_is_parted_at_the_first_separator_and_stays_whole_without_one() {
        assert_eq!(split(b"k:v:w", b":"), (Some(&b"k"[..]), &b"v:w"[..]));
        assert_eq!(split(b"::v", b"::"), (Some(&b""[..]), &b"v"[..]));
        assert_eq!(split(b"value", b":"), (None, &b"value"[..]));
        assert_eq!(split(b"", b"::"), (None, &b""[..]));
    }

    #[test]
    fn chunks_hold_whole_lines_and_the_last_one_needs_no_end() {
        struct OneByOne<'a>(&'a [u8]);
        impl std::io::Read for OneByOne<'_> {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                let count = self.0.len().min(3).min(into.len());
                let (now, later) = self.0.split_at(count);
                into[..count].copy_from_slice(now);
                self.0 = later;
                Ok(count)
            }
        }
        let mut input = OneByOne(b"one\ntwo\n\nthree");
        let mut rest = Vec::new();
        let mut chunks = Vec::new();
        loop {
            let chunk = lines_of(&mut input, &mut rest).unwrap();
            if chunk.is_empty() {
                break;
            }
            chunks.push(chunk);
        }
        assert_eq!(chunks.concat(), b"one\ntwo\n\nthree");
        assert!(chunks[..chunks.len() - 1].iter().all(|chunk| chunk.ends_with(b"\n")));
    }
}
