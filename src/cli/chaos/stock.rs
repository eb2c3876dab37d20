//! A program that somebody wrote with another client, measured as ours is.
//!
//! It is started with the bootstrap addresses, the topic and the number of partitions behind its own arguments, and
//! writes a record to each partition every millisecond or so, with `acks=all` and idempotence, until its standard input
//! ends; then it waits for what is on its way and ends with 0. A record's value is its number, counted from 0 in each
//! partition, as 8 bytes, the highest first. For each acknowledged record it prints a line at once: partition, number,
//! offset, and the microseconds since it was sent; for one that failed, `failed` and why.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use tokio::time::Instant;

use super::load::{Acked, Acks};
use crate::model::{Offset, PartitionIndex, TopicName};

/// A running program.
pub(super) struct Stock {
    pub(super) acks: Arc<Acks>,
    child: Ends,
    input: ChildStdin,
    reader: JoinHandle<anyhow::Result<()>>,
}

/// A child that does not outlive the measurement, however that ends.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // It has ended where all went well; nothing else can go wrong with a child of our own.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stock {
    /// Starts `command`, words parted by spaces.
    pub(super) fn start(
        command: &str,
        bootstrap: &str,
        topic: &TopicName,
        partitions: i32,
    ) -> anyhow::Result<Self> {
        let mut words = command.split_whitespace();
        let program = words.next().context("the program has no name")?;
        let child = Command::new(program)
            .args(words)
            .args([bootstrap, topic.as_str(), &partitions.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let mut child = Ends(child);
        let input = child.0.stdin.take().context("the program has no input")?;
        let output = BufReader::new(child.0.stdout.take().context("the program has no output")?);
        let acks = Arc::new(Acks::default());
        let told = Arc::clone(&acks);
        let reader = thread::spawn(move || read(output, &told));
        Ok(Self { acks, child, input, reader })
    }

    /// Lets it end, and waits for that.
    pub(super) fn stop(mut self) -> anyhow::Result<Arc<Acks>> {
        drop(self.input);
        let status = self.child.0.wait()?;
        let read = self.reader.join();
        match read {
            Ok(read) => read?,
            Err(_) => bail!("the thread that reads the program's output ended"),
        }
        ensure!(status.success(), "the program ended with {status}");
        Ok(self.acks)
    }
}

fn read(output: impl BufRead, acks: &Acks) -> anyhow::Result<()> {
    for line in output.lines() {
        let line = line?;
        let now = Instant::now();
        if let Some(why) = line.strip_prefix("failed") {
            acks.fail(why.trim().to_owned());
        } else {
            let (partition, acked) =
                parse(&line, now).with_context(|| format!("{line:?} is no line of such a program"))?;
            acks.add(partition, acked);
        }
    }
    Ok(())
}

fn parse(line: &str, now: Instant) -> Option<(PartitionIndex, Acked)> {
    let mut words = line.split_whitespace();
    let partition = PartitionIndex::new(words.next()?.parse().ok()?);
    let number = words.next()?.parse().ok()?;
    let offset = Some(Offset::new(words.next()?.parse().ok()?)).filter(|offset| offset.get() >= 0);
    let took = Duration::from_micros(words.next()?.parse().ok()?);
    let sent = now.checked_sub(took)?;
    Some((partition, Acked { number, offset, sent, at: now }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Acks, parse, read};
    use crate::model::{Offset, PartitionIndex};

    #[test]
    fn a_line_is_partition_number_offset_and_the_time_it_took() {
        let now = Instant::now();
        let (partition, acked) = parse("2 17 40 1500", now).unwrap();
        assert_eq!((partition.get(), acked.number, acked.offset), (2, 17, Some(Offset::new(40))));
        assert_eq!(acked.at - acked.sent, Duration::from_micros(1500));
        assert_eq!(parse("2 17 -1 1500", now).unwrap().1.offset, None);
        assert!(parse("2 17 40", now).is_none());
        assert!(parse("ready", now).is_none());
    }

    #[test]
    fn what_failed_is_counted_with_the_first_reason() {
        let acks = Acks::default();
        read(&b"0 0 0 10\nfailed timed out\nfailed again\n"[..], &acks).unwrap();
        let state = acks.lock();
        assert_eq!((state.failed, state.first_failure.as_deref()), (2, Some("timed out")));
        assert_eq!(state.of[&PartitionIndex::new(0)].len(), 1);
        drop(state);
        assert!(read(&b"hello\n"[..], &acks).is_err());
    }
}
