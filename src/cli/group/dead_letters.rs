//! `polylogue group dead-letters`: what groups have given up, and back to where it came from.

use std::{collections::BTreeMap, io, time::Duration};

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};

use crate::{
    actors::group_coordinator::dead_letters::HEADER_PREFIX,
    cli::{
        connect::{Connect, explain},
        consume, table, topic_name,
    },
    client::{
        Admin, Client, Consumer, ConsumerConfig, Polled, Producer, ProducerConfig, ProducerRecord, StartAt,
    },
    model::{Offset, PartitionIndex, TimestampMs, TopicName},
    record::{NewHeader, Record},
};

/// The header of a record that was a dead letter and has been written again: when.
const REPLAYED: &str = "polylogue.replayed";
/// How long a poll waits.
const POLL: Duration = Duration::from_secs(1);
/// Characters of a key or a value in a table.
const PREVIEW: usize = 40;

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// List dead letters: where they come from, which group gave them up, and why.
    List(List),
    /// Write dead letters again to the topic that they come from, or to another; they stay where they are.
    Replay(Replay),
}

#[derive(Args, Debug)]
struct Chosen {
    /// The topic that the records come from.
    #[arg(long, value_parser = topic_name)]
    topic: TopicName,
    /// The topic of dead letters [default: the name of --topic followed by .dead-letter]
    #[arg(long, value_name = "TOPIC", value_parser = topic_name)]
    dead_letter_topic: Option<TopicName>,
    /// Only of this group.
    #[arg(long)]
    group: Option<String>,
    /// Only of this partition of the topic that they come from.
    #[arg(long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Only the record of this offset there.
    #[arg(long, requires = "partition", value_parser = clap::value_parser!(i64).range(0..))]
    offset: Option<i64>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct List {
    #[command(flatten)]
    chosen: Chosen,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Replay {
    #[command(flatten)]
    chosen: Chosen,
    /// The topic to write to [default: the one that they come from, into the same partition]
    #[arg(long, value_name = "TOPIC", value_parser = topic_name)]
    to: Option<TopicName>,
    /// Print what would be written, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Table,
    Json,
}

/// A dead letter as its headers tell.
#[derive(Clone, Debug)]
struct Letter {
    record: Record,
    told: BTreeMap<String, String>,
}

pub(super) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(flags) => list(flags).await,
        Command::Replay(flags) => replay(flags).await,
    }
}

async fn list(flags: List) -> anyhow::Result<()> {
    let letters = read(&flags.chosen.connect.client(), &flags.chosen).await?;
    let out = &mut io::stdout().lock();
    match flags.output {
        Output::Table => print(out, &letters)?,
        Output::Json => {
            let letters: Vec<_> = letters.iter().map(Letter::json).collect();
            table::print_json(out, &serde_json::Value::Array(letters))?;
        }
    }
    Ok(())
}

async fn replay(flags: Replay) -> anyhow::Result<()> {
    let client = flags.chosen.connect.client();
    let letters = read(&client, &flags.chosen).await?;
    let to = flags.to.as_ref().unwrap_or(&flags.chosen.topic);
    if flags.dry_run {
        print(&mut io::stdout().lock(), &letters)?;
        println!("{} record(s) would be written to {to}", letters.len());
        return Ok(());
    }
    let now = wall_clock();
    let producer = Producer::new(&client, ProducerConfig::default());
    let mut written = 0;
    for letter in &letters {
        let headers = letter.headers_again(&now);
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| NewHeader { name, value: value.as_deref() }).collect();
        let record = ProducerRecord {
            partition: if flags.to.is_none() { letter.origin_partition() } else { None },
            key: letter.record.key.as_deref(),
            value: letter.record.value.as_deref(),
            headers: &headers,
            timestamp: Some(letter.record.timestamp),
        };
        if let Err(error) = producer.send(to, record).await?.await {
            bail!("{written} of {} record(s) were written to {to}, then: {error}", letters.len());
        }
        written += 1;
    }
    producer.close().await;
    println!("{written} record(s) written to {to}");
    Ok(())
}

fn wall_clock() -> String {
    use crate::clock::{Clock, SystemClock};
    SystemClock::new().wall().get().to_string()
}

/// The dead letters that are meant, those of a partition in order.
async fn read(client: &Client, chosen: &Chosen) -> anyhow::Result<Vec<Letter>> {
    let topic = match &chosen.dead_letter_topic {
        Some(topic) => topic.clone(),
        None => TopicName::new(&format!("{}.dead-letter", chosen.topic))?,
    };
    let known = Admin::new(client).list_topics().await.map_err(explain)?;
    let Some(found) = known.into_iter().find(|known| known.name == topic) else {
        bail!("there is no topic {topic}: nothing has become a dead letter, or it goes to another topic");
    };
    let partitions: Vec<_> = found.partitions.iter().map(|partition| partition.index).collect();
    let mut ends = consume::ends(client, &topic, StartAt::BEGINNING, &partitions).await.map_err(explain)?;
    let mut consumer = Consumer::new(client, ConsumerConfig::default());
    consumer.assign_topic(&topic, StartAt::BEGINNING).await.map_err(explain)?;
    let mut letters = Vec::new();
    while !ends.is_empty() {
        let (partition, reached) = match consumer.poll(POLL).await? {
            Some(Polled::Batch(batch)) => {
                let (partition, next) = (batch.partition, batch.next_offset);
                let end = ends.get(&partition).copied();
                for record in batch.into_records() {
                    let letter = Letter::new(record?);
                    if end.is_some_and(|end| letter.record.offset < end) && letter.is(chosen) {
                        letters.push(letter);
                    }
                }
                (partition, next)
            }
            Some(Polled::EndOfPartition { partition, offset, .. }) => (partition, offset),
            None => continue,
        };
        if ends.get(&partition).is_some_and(|end| reached >= *end) {
            ends.remove(&partition);
        }
    }
    letters.sort_by_key(|letter| (letter.origin_partition(), letter.origin_offset()));
    Ok(letters)
}

fn print(out: &mut impl io::Write, letters: &[Letter]) -> io::Result<()> {
    let head =
        ["topic", "partition", "offset", "group", "attempts", "first", "last", "cause", "key", "value"];
    let rows: Vec<_> = letters.iter().map(Letter::row).collect();
    table::print(out, &head, &rows)
}

impl Letter {
    fn new(record: Record) -> Self {
        let ours = record.headers.iter().filter_map(|header| {
            let name = std::str::from_utf8(&header.name).ok()?.strip_prefix(HEADER_PREFIX)?;
            let value = String::from_utf8_lossy(header.value.as_deref().unwrap_or_default());
            Some((name.to_owned(), value.into_owned()))
        });
        Self { told: ours.collect(), record }
    }

    fn told(&self, name: &str) -> &str {
        self.told.get(name).map_or("", String::as_str)
    }

    fn origin_partition(&self) -> Option<PartitionIndex> {
        self.told("partition").parse().ok().map(PartitionIndex::new)
    }

    fn origin_offset(&self) -> Option<Offset> {
        self.told("offset").parse().ok().map(Offset::new)
    }

    fn is(&self, chosen: &Chosen) -> bool {
        self.told("topic") == chosen.topic.as_str()
            && chosen.group.as_ref().is_none_or(|group| self.told("group") == group)
            && chosen
                .partition
                .is_none_or(|index| self.origin_partition() == Some(PartitionIndex::new(index)))
            && chosen.offset.is_none_or(|offset| self.origin_offset() == Some(Offset::new(offset)))
    }

    fn time(&self, name: &str) -> String {
        let time = self.told(name).parse().ok().map(TimestampMs::new);
        let since = time.and_then(|time| u64::try_from(time.get()).ok()).map(Duration::from_millis);
        since.map_or_else(String::new, |since| {
            humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string()
        })
    }

    fn row(&self) -> Vec<String> {
        let told =
            ["topic", "partition", "offset", "group", "attempts"].map(|name| self.told(name).to_owned());
        let rest = [
            self.time("first-attempt"),
            self.time("last-attempt"),
            self.told("cause").to_owned(),
            preview(self.record.key.as_deref()),
            preview(self.record.value.as_deref()),
        ];
        told.into_iter().chain(rest).collect()
    }

    fn json(&self) -> serde_json::Value {
        let number = |name: &str| self.told(name).parse::<i64>().ok();
        serde_json::json!({
            "topic": self.told("topic"),
            "partition": number("partition"),
            "offset": number("offset"),
            "group": self.told("group"),
            "attempts": number("attempts"),
            "first_attempt_ms": number("first-attempt"),
            "last_attempt_ms": number("last-attempt"),
            "cause": self.told("cause"),
            "key": consume::format::text(self.record.key.as_deref()),
            "value": consume::format::text(self.record.value.as_deref()),
        })
    }

    /// Its headers, and one that says that it is not new.
    fn headers_again(&self, now: &str) -> Vec<(String, Option<Vec<u8>>)> {
        let kept = self.record.headers.iter().map(|header| {
            let name = String::from_utf8_lossy(&header.name).into_owned();
            (name, header.value.as_ref().map(|value| value.to_vec()))
        });
        kept.filter(|(name, _)| name != REPLAYED)
            .chain([(REPLAYED.to_owned(), Some(now.as_bytes().to_vec()))])
            .collect()
    }
}

/// The beginning of a key or a value, in one line.
fn preview(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".to_owned() };
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(PREVIEW).flat_map(char::escape_debug).collect();
    if text.chars().nth(PREVIEW).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Letter, REPLAYED, preview};
    use crate::{
        model::{Offset, PartitionIndex, TimestampMs},
        record::{Record, RecordHeader},
    };

    fn header(name: &'static str, value: &'static str) -> RecordHeader {
        RecordHeader { name: Bytes::from_static(name.as_bytes()), value: Some(value.into()) }
    }

    #[test]
    fn a_letter_is_read_from_its_headers_and_keeps_them_when_it_is_written_again() {
        let record = Record {
            offset: Offset::new(0),
            timestamp: TimestampMs::new(1),
            key: None,
            value: Some("v".into()),
            headers: vec![
                header("own", "1"),
                header("polylogue.dead-letter.partition", "3"),
                header("polylogue.dead-letter.offset", "7"),
                header("polylogue.dead-letter.last-attempt", "1500"),
                header(REPLAYED, "earlier"),
            ],
        };
        let letter = Letter::new(record);
        assert_eq!(letter.origin_partition(), Some(PartitionIndex::new(3)));
        assert_eq!(letter.origin_offset(), Some(Offset::new(7)));
        assert_eq!((letter.told("group"), letter.time("first-attempt")), ("", String::new()));
        assert_eq!(letter.time("last-attempt"), "1970-01-01T00:00:01Z");
        let again = letter.headers_again("now");
        assert_eq!(again.first(), Some(&("own".to_owned(), Some(b"1".to_vec()))));
        assert_eq!(again.len(), 5);
        assert_eq!(again.last(), Some(&(REPLAYED.to_owned(), Some(b"now".to_vec()))));
    }

    #[test]
    fn a_preview_is_one_short_line() {
        assert_eq!(preview(None), "null");
        assert_eq!(preview(Some(b"a\nb")), "a\\nb");
        assert_eq!(preview(Some(&[b'x'; 41])), "x".repeat(40) + "...");
    }
}
