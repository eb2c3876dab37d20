//! `polylogue consume --group`: as a member of a consumer group. What is printed, or worked on by a command, is committed;
//! what a command fails on is refused, which the group counts.
//!
//! The first Ctrl-C or SIGTERM ends the reading: what is under way is brought to its end, and the member leaves its group.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{self, BufWriter, Write},
    os::unix::ffi::OsStrExt,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{anyhow, bail};
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use super::{Flags, Format, QUIET};
use crate::{
    cli::connect::explain,
    client::{Delivery, GroupConfig, GroupConsumer, GroupError},
    model::PartitionIndex,
};

/// How long to wait while there is nothing.
const WAIT: Duration = Duration::from_secs(1);
/// How often what was printed is committed while there is always more.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(flags: &Flags, group: &str, format: Format) -> anyhow::Result<()> {
    let client = flags.connect.client();
    client.topic(&flags.topic).await.map_err(explain)?;
    let config = GroupConfig { start: flags.from, ..GroupConfig::new(group) };
    let consumer = GroupConsumer::join(&client, config, std::slice::from_ref(&flags.topic));
    let mut consumer = consumer.await.map_err(advise)?;
    let mut stop = Stop::new()?;
    let most = flags.max.unwrap_or(u64::MAX);
    let outcome = match &flags.exec {
        Some(command) => work(&mut consumer, &mut stop, command, most).await,
        None => Printing::new(format).run(&mut consumer, &mut stop, most).await,
    };
    let left = consumer.close().await.map_err(advise);
    outcome.and(left)
}

/// What ends the reading; one that comes while nobody waits for it is kept.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn asked_for(&mut self) {
        select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What came next.
enum Came {
    Record(Delivery),
    Nothing,
    /// It is to end.
    Stop,
}

async fn next(consumer: &mut GroupConsumer, stop: &mut Stop, within: Duration) -> anyhow::Result<Came> {
    select! {
        next = consumer.next(within) => Ok(next.map_err(advise)?.map_or(Came::Nothing, Came::Record)),
        () = stop.asked_for() => Ok(Came::Stop),
    }
}

/// Prints records, and commits those that whoever reads the output has been given.
struct Printing<W: Write> {
    format: Format,
    out: BufWriter<W>,
    /// The last of each partition that is not acknowledged.
    printed: BTreeMap<PartitionIndex, Delivery>,
    committed: Instant,
}

impl Printing<io::Stdout> {
    fn new(format: Format) -> Self {
        let out = BufWriter::with_capacity(64 * 1024, io::stdout());
        Self { format, out, printed: BTreeMap::new(), committed: Instant::now() }
    }
}

impl<W: Write> Printing<W> {
    async fn run(&mut self, consumer: &mut GroupConsumer, stop: &mut Stop, most: u64) -> anyhow::Result<()> {
        let mut left = most;
        while left > 0 {
            let within = if self.printed.is_empty() { WAIT } else { QUIET };
            match next(consumer, stop, within).await? {
                Came::Record(delivery) => {
                    self.print(delivery)?;
                    left -= 1;
                    if self.committed.elapsed() >= COMMIT_EVERY {
                        self.commit(consumer).await?;
                    }
                }
                Came::Nothing => self.commit(consumer).await?,
                Came::Stop => break,
            }
        }
        self.commit(consumer).await
    }

    fn print(&mut self, delivery: Delivery) -> io::Result<()> {
        self.format.print(&mut self.out, &delivery.topic, delivery.partition, &delivery.record)?;
        self.printed.insert(delivery.partition, delivery);
        Ok(())
    }

    async fn commit(&mut self, consumer: &mut GroupConsumer) -> anyhow::Result<()> {
        self.out.flush()?;
        for (_, delivery) in std::mem::take(&mut self.printed) {
            passable(consumer.ack(&delivery))?;
        }
        self.committed = Instant::now();
        passable(consumer.commit().await)
    }
}

/// What a member that lost its partition meanwhile has done is done again by another: that is no failure of the command.
fn passable(outcome: Result<(), GroupError>) -> anyhow::Result<()> {
    match outcome {
        Err(error @ GroupError::Outdated { .. }) => {
            eprintln!("{error}: it will be delivered again");
            Ok(())
        }
        outcome => outcome.map_err(advise),
    }
}

/// Runs the command for each record until so many are done or given up.
async fn work(consumer: &mut GroupConsumer, stop: &mut Stop, command: &str, most: u64) -> anyhow::Result<()> {
    let mut left = most;
    while left > 0 {
        let delivery = match next(consumer, stop, WAIT).await? {
            Came::Record(delivery) => delivery,
            Came::Nothing => continue,
            Came::Stop => return Ok(()),
        };
        let (status, stops) = run_command(stop, command, &delivery).await?;
        if status.success() {
            passable(consumer.ack(&delivery))?;
            passable(consumer.commit().await)?;
            left -= 1;
        } else if !stops && refuse(consumer, &delivery, status).await? {
            left -= 1;
        }
        if stops {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether the record is given up.
async fn refuse(
    consumer: &mut GroupConsumer,
    delivery: &Delivery,
    status: ExitStatus,
) -> anyhow::Result<bool> {
    let cause = format!("command ended with {status}");
    let Delivery { topic, partition, record, .. } = delivery;
    let offset = record.offset;
    match consumer.nack(delivery, &cause).await {
        Ok(nacked) if nacked.given_up => {
            eprintln!(
                "{topic}-{partition} at {offset}: {cause}; given up after {} attempts",
                nacked.attempts
            );
            Ok(true)
        }
        Ok(nacked) => {
            let counted = if nacked.attempts > 0 {
                format!("attempt {}", nacked.attempts)
            } else {
                "failed deliveries of this topic are not counted".to_owned()
            };
            let stopped =
                if nacked.dead_letters_stopped { ", dead letters of the group have stopped" } else { "" };
            eprintln!(
                "{topic}-{partition} at {offset}: {cause}; {counted}{stopped}, it will be delivered again"
            );
            Ok(false)
        }
        Err(error) => passable(Err(error)).map(|()| false),
    }
}

/// How the command ended, and whether the reading is to end.
async fn run_command(
    stop: &mut Stop,
    command: &str,
    delivery: &Delivery,
) -> anyhow::Result<(ExitStatus, bool)> {
    let (text, delivery) = (command.to_owned(), delivery.clone());
    let mut running = tokio::task::spawn_blocking(move || give_to(&text, &delivery));
    select! {
        ended = &mut running => return Ok((ended??, false)),
        () = stop.asked_for() => {}
    }
    // A terminal has told the command, too. One that was told by nobody comes to its end.
    select! {
        ended = running => Ok((ended??, true)),
        () = stop.asked_for() => bail!("interrupted while the command was running"),
    }
}

/// Runs the command with the record's value as its input.
fn give_to(command: &str, delivery: &Delivery) -> anyhow::Result<ExitStatus> {
    let Delivery { topic, partition, record, attempts, .. } = delivery;
    let mut process = Command::new("sh");
    process.arg("-c").arg(command).stdin(Stdio::piped());
    process.env("POLYLOGUE_TOPIC", topic.as_str());
    process.env("POLYLOGUE_PARTITION", partition.to_string());
    process.env("POLYLOGUE_OFFSET", record.offset.to_string());
    process.env("POLYLOGUE_TIMESTAMP", record.timestamp.to_string());
    process.env("POLYLOGUE_ATTEMPT", attempts.saturating_add(1).to_string());
    // No variable can hold a zero byte.
    match record.key.as_deref().filter(|key| !key.contains(&0)) {
        Some(key) => process.env("POLYLOGUE_KEY", OsStr::from_bytes(key)),
        None => process.env_remove("POLYLOGUE_KEY"),
    };
    let mut child = process.spawn().map_err(|error| anyhow!("cannot run sh: {error}"))?;
    if let Some(mut input) = child.stdin.take()
        && let Err(error) = input.write_all(record.value.as_deref().unwrap_or_default())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        return Err(error.into());
    }
    Ok(child.wait()?)
}

fn advise(error: GroupError) -> anyhow::Error {
    if let GroupError::Client(error) = error {
        return explain(error);
    }
    if matches!(error, GroupError::NackUnknown) {
        return anyhow!(
            "{error}\nfailed commands can be counted by nodes of this program only, all of this version or later"
        );
    }
    error.into()
}
