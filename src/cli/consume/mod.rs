//! `polylogue consume`: records go to standard output, or each to a command.

mod command;
pub(super) mod format;
mod group;

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, IsTerminal, Write},
    time::Duration,
};

use clap::{Args, ValueEnum};
use tokio::select;

use self::format::Format;
use super::{
    connect::{Connect, explain},
    progress::Progress,
    topic_name,
};
use crate::{
    client::{
        Assignment, Client, ClientError, Consumer, ConsumerConfig, OffsetSpec, Polled, StartAt,
        consumer::ConsumedBatch,
    },
    model::{Offset, PartitionIndex, TimestampMs, TopicName},
};

/// How long nothing must come before what was printed is shown.
const QUIET: Duration = Duration::from_millis(20);
/// How long a poll waits while there is nothing.
const POLL: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(super) struct Flags {
    /// The topic to read.
    #[arg(value_parser = topic_name)]
    topic: TopicName,
    /// A partition to read; may be given several times [default: all]
    #[arg(long = "partition", value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partitions: Vec<i32>,
    /// Where to begin: beginning, end, offset:N, or time: with an RFC 3339 time or milliseconds since 1970.
    #[arg(long, value_name = "WHERE", default_value = "beginning", value_parser = start_at)]
    from: StartAt,
    /// End after so many records [default: do not]
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// Read as a member of this consumer group: from where it stands, or from --from where it has committed nothing. What
    /// was printed is committed.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["partitions", "until_end"])]
    group: Option<String>,
    /// Run a command of the shell for each record rather than print it: its value on standard input; topic, partition, offset,
    /// timestamp, key and attempt as `POLYLOGUE_TOPIC` and so on. Where it fails, that is counted (max.delivery.attempts).
    #[arg(long, value_name = "COMMAND", requires = "group", conflicts_with_all = ["format", "output", "print_partition", "print_key", "print_headers", "print_offset", "print_timestamp", "null_marker"])]
    exec: Option<String>,
    /// How long a member may work before it comes back for more, with a unit: 30s, 5m. Then it leaves its group and others read on,
    /// until it is back. A command that runs for so long is ended, and the record counts as failed.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = poll_interval)]
    max_poll_interval: Duration,
    /// End at what is the end of each partition now, rather than wait for more.
    #[arg(long)]
    until_end: bool,
    /// How to print: lines of text, or one JSON object for each record.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// A template for text: %t topic, %p partition, %o offset, %T time in ms, %k key, %s value, %h headers,
    /// %% percent, \n, \t [default: the value and \n, behind what --print-... ask for]
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["print_partition", "print_key", "print_headers", "print_offset", "print_timestamp"])]
    format: Option<String>,
    /// Print the partition before the value.
    #[arg(long)]
    print_partition: bool,
    /// Print the offset before the value.
    #[arg(long)]
    print_offset: bool,
    /// Print the time before the value, in ms since 1970.
    #[arg(long)]
    print_timestamp: bool,
    /// Print the headers before the value, as name=value parted by commas.
    #[arg(long)]
    print_headers: bool,
    /// Print the key before the value.
    #[arg(long)]
    print_key: bool,
    /// How null is printed as text.
    #[arg(long, value_name = "TEXT", default_value = "null")]
    null_marker: String,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Text,
    Json,
}

pub(super) fn start_at(text: &str) -> Result<StartAt, String> {
    match text.split_once(':') {
        None if text == "beginning" => Ok(StartAt::BEGINNING),
        None if text == "end" => Ok(StartAt::END),
        Some(("offset", number)) => {
            let offset = number.parse::<i64>().ok().filter(|offset| *offset >= 0);
            offset.map(|offset| StartAt::Offset(Offset::new(offset))).ok_or(format!("{number} is no offset"))
        }
        Some(("time", time)) => Ok(StartAt::Spec(OffsetSpec::AtTime(parse_time(time)?))),
        Some(_) | None => Err("beginning, end, offset:N or time:T is expected".to_owned()),
    }
}

/// A member without any time would never be one.
fn poll_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval.is_zero() { Err("longer than nothing is expected".to_owned()) } else { Ok(interval) }
}

pub(super) fn parse_time(text: &str) -> Result<TimestampMs, String> {
    if let Some(millis) = text.parse::<i64>().ok().filter(|millis| *millis >= 0) {
        return Ok(TimestampMs::new(millis));
    }
    let time = humantime::parse_rfc3339_weak(text).map_err(|error| {
        format!("{text} is neither milliseconds nor a time such as 2026-03-01T12:00:00Z: {error}")
    })?;
    let since =
        time.duration_since(std::time::UNIX_EPOCH).map_err(|_| "the time is before 1970".to_owned())?;
    Ok(TimestampMs::new(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

impl Flags {
    fn printed(&self) -> Result<Format, String> {
        if self.output == Output::Json {
            return Ok(Format::Json);
        }
        let prefixes = [
            (self.print_partition, "%p\\t"),
            (self.print_offset, "%o\\t"),
            (self.print_timestamp, "%T\\t"),
            (self.print_headers, "%h\\t"),
            (self.print_key, "%k\\t"),
        ];
        let prefix: String = prefixes.iter().filter(|(wanted, _)| *wanted).map(|(_, text)| *text).collect();
        let template = self.format.clone().unwrap_or(prefix + "%s\\n");
        Format::template(&template, &self.null_marker)
    }
}

pub(super) async fn run(flags: Flags) -> anyhow::Result<()> {
    let format = flags.printed().map_err(|error| anyhow::anyhow!("--format: {error}"))?;
    if let Some(group) = &flags.group {
        return group::run(&flags, group, format).await;
    }
    let client = flags.connect.client();
    let partitions = partitions(&client, &flags).await.map_err(explain)?;
    let ends = if flags.until_end {
        ends(&client, &flags.topic, flags.from, &partitions).await.map_err(explain)?
    } else {
        BTreeMap::new()
    };
    let mut consumer = Consumer::new(&client, ConsumerConfig::default());
    let assign = |partition: &PartitionIndex| Assignment {
        topic: flags.topic.clone(),
        partition: *partition,
        start: flags.from,
    };
    consumer.assign(&partitions.iter().map(assign).collect::<Vec<_>>());
    let mut reading = Reading {
        format,
        out: BufWriter::with_capacity(64 * 1024, io::stdout()),
        left: flags.max.unwrap_or(u64::MAX),
        until_end: flags.until_end,
        ends,
        progress: if io::stdout().is_terminal() { None } else { Some(Progress::new("consumed")) },
    };
    let outcome = select! {
        outcome = reading.read(&mut consumer) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    reading.out.flush()?;
    if let Some(progress) = &reading.progress {
        progress.finish();
    }
    outcome
}

async fn partitions(client: &Client, flags: &Flags) -> Result<Vec<PartitionIndex>, ClientError> {
    let topic = client.topic(&flags.topic).await?;
    if flags.partitions.is_empty() {
        return Ok(topic.partitions.iter().map(|partition| partition.index).collect());
    }
    let wanted = flags.partitions.iter().map(|partition| PartitionIndex::new(*partition));
    wanted
        .map(|partition| match topic.partition(partition) {
            Some(_) => Ok(partition),
            None => Err(ClientError::UnknownPartition { topic: flags.topic.clone(), partition }),
        })
        .collect()
}

/// Where each partition ends now; those that begin there already are not among them.
pub(super) async fn ends(
    client: &Client,
    topic: &TopicName,
    from: StartAt,
    partitions: &[PartitionIndex],
) -> Result<BTreeMap<PartitionIndex, Offset>, ClientError> {
    let ask = |spec| partitions.iter().map(|partition| (*partition, spec)).collect::<Vec<_>>();
    let ends = client.offsets(topic, &ask(OffsetSpec::Latest)).await?;
    let starts = match from {
        StartAt::Offset(offset) => vec![offset; partitions.len()],
        StartAt::Spec(spec) => {
            let starts = client.offsets(topic, &ask(spec)).await?;
            starts.into_iter().map(|start| start.offset).collect()
        }
    };
    let ahead = ends.into_iter().zip(starts).filter(|(end, start)| end.offset > *start);
    Ok(ahead.map(|(end, _)| (end.partition, end.offset)).collect())
}

/// What is left to do.
struct Reading<W: Write> {
    format: Format,
    out: W,
    left: u64,
    until_end: bool,
    /// The partitions that have not been read to their end.
    ends: BTreeMap<PartitionIndex, Offset>,
    progress: Option<Progress>,
}

impl<W: Write> Reading<W> {
    async fn read(&mut self, consumer: &mut Consumer) -> anyhow::Result<()> {
        while self.left > 0 && !(self.until_end && self.ends.is_empty()) {
            let mut polled = consumer.poll(QUIET).await?;
            if polled.is_none() {
                self.show()?;
                polled = consumer.poll(POLL).await?;
            }
            match polled {
                Some(Polled::Batch(batch)) => self.print(&batch)?,
                Some(Polled::EndOfPartition { partition, offset, .. }) => self.reached(partition, offset),
                None => {}
            }
        }
        Ok(())
    }

    /// Shows what was printed, as nothing comes for now.
    fn show(&mut self) -> io::Result<()> {
        if let Some(progress) = &mut self.progress {
            progress.tick();
        }
        self.out.flush()
    }

    fn print(&mut self, batch: &ConsumedBatch) -> anyhow::Result<()> {
        let end = if self.until_end { self.ends.get(&batch.partition).copied() } else { Some(Offset::MAX) };
        let Some(end) = end else { return Ok(()) };
        for record in batch.iter() {
            let record = record?;
            if self.left == 0 || record.offset >= end {
                break;
            }
            self.left -= 1;
            self.format.print(&mut self.out, &batch.topic, batch.partition, &record)?;
            if let Some(progress) = &mut self.progress {
                progress.add(record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len));
            }
        }
        self.reached(batch.partition, batch.next_offset);
        Ok(())
    }

    fn reached(&mut self, partition: PartitionIndex, offset: Offset) {
        if self.ends.get(&partition).is_some_and(|end| offset >= *end) {
            self.ends.remove(&partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_time, poll_interval, start_at};
    use crate::{
        client::{OffsetSpec, StartAt},
        model::{Offset, TimestampMs},
    };

    #[test]
    fn where_to_begin_is_read_in_every_form_and_nothing_else_is_taken() {
        assert_eq!(start_at("beginning"), Ok(StartAt::BEGINNING));
        assert_eq!(start_at("end"), Ok(StartAt::END));
        assert_eq!(start_at("offset:12"), Ok(StartAt::Offset(Offset::new(12))));
        let at = |millis| Ok(StartAt::Spec(OffsetSpec::AtTime(TimestampMs::new(millis))));
        assert_eq!(start_at("time:1500"), at(1500));
        assert_eq!(start_at("time:1970-01-01T00:01:00Z"), at(60_000));
        for wrong in ["", "offset:-1", "offset:x", "time:x", "start", "begin:1"] {
            assert!(start_at(wrong).is_err(), "{wrong}");
        }
        assert!(poll_interval("0s").is_err() && poll_interval("5").is_err());
        assert!(parse_time("1969-12-31T00:00:00Z").is_err());
    }
}
