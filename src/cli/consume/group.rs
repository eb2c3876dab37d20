//! `polylogue consume --group`: as a member of a consumer group. What is printed, or worked on by a command, is committed;
//! what a command fails on is refused, which the group counts.
//!
//! The first Ctrl-C or SIGTERM ends the reading: what is under way is brought to its end, and the member leaves its group.

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
    time::Duration,
};

use anyhow::anyhow;
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use super::{Flags, Format, QUIET, command};
use crate::{
    cli::connect::explain,
    client::{Delivery, GroupConfig, GroupConsumer, GroupError},
    model::PartitionIndex,
};

/// How long to wait while there is nothing.
const WAIT: Duration = Duration::from_secs(1);
/// How often what was printed is committed while there is always more.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// What a member with a command has beyond the command's own limit before it counts as hanging itself: to end the command and
/// to tell the group.
const BEYOND_COMMAND: Duration = Duration::from_secs(30);

pub(super) async fn run(flags: &Flags, group: &str, format: Format) -> anyhow::Result<()> {
    let client = flags.connect.client();
    client.topic(&flags.topic).await.map_err(explain)?;
    let beyond = if flags.exec.is_some() { BEYOND_COMMAND } else { Duration::ZERO };
    let max_poll_interval = flags.max_poll_interval.saturating_add(beyond);
    let config = GroupConfig { start: flags.from, max_poll_interval, ..GroupConfig::new(group) };
    let consumer = GroupConsumer::join(&client, config, std::slice::from_ref(&flags.topic));
    let mut consumer = consumer.await.map_err(advise)?;
    let mut stop = Stop::new()?;
    let most = flags.max.unwrap_or(u64::MAX);
    let outcome = match &flags.exec {
        Some(command) => {
            let work = Work { command, limit: flags.max_poll_interval };
            work.run(&mut consumer, &mut stop, most).await
        }
        None => Printing::new(format).run(&mut consumer, &mut stop, most).await,
    };
    let left = consumer.close().await.map_err(advise);
    outcome.and(left)
}

/// What ends the reading; one that comes while nobody waits for it is kept.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(super) async fn asked_for(&mut self) {
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
        Err(error @ (GroupError::Outdated { .. } | GroupError::PollTimedOut { .. })) => {
            eprintln!("{error}: it will be delivered again");
            Ok(())
        }
        outcome => outcome.map_err(advise),
    }
}

/// Has a command work on each record.
struct Work<'a> {
    command: &'a str,
    /// How long it may take for one.
    limit: Duration,
}

impl Work<'_> {
    /// Until so many are done or given up.
    async fn run(&self, consumer: &mut GroupConsumer, stop: &mut Stop, most: u64) -> anyhow::Result<()> {
        let mut left = most;
        while left > 0 {
            let delivery = match next(consumer, stop, WAIT).await? {
                Came::Record(delivery) => delivery,
                Came::Nothing => continue,
                Came::Stop => return Ok(()),
            };
            let outcome = command::run(stop, self.command, self.limit, &delivery).await?;
            let is_over = match outcome.failure {
                None => {
                    passable(consumer.ack(&delivery))?;
                    passable(consumer.commit().await)?;
                    true
                }
                // Whoever stops us may have stopped the command, too: that says nothing of the record.
                Some(_) if outcome.stops => false,
                Some(cause) => refuse(consumer, &delivery, &cause).await?,
            };
            left -= u64::from(is_over);
            if outcome.stops {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Whether the record is given up.
async fn refuse(consumer: &mut GroupConsumer, delivery: &Delivery, cause: &str) -> anyhow::Result<bool> {
    let Delivery { topic, partition, record, .. } = delivery;
    let offset = record.offset;
    match consumer.nack(delivery, cause).await {
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
