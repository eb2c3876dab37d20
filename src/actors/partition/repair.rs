//! What is hit in one replica's log is fetched from another and put back in its place.
//!
//! Whoever finds damage has the log ring (`storage::log::damage`). One stretch at a time is asked for, off the handler: first
//! of those who are in sync, one after another, then of the other replicas. While that is under way readers wait in front of
//! the damage. It is given up, and left out as where there is no other replica, once all that are in sync have said that they
//! have it not; one of them that cannot be reached is asked again until it answers or is in sync no more. What was given up
//! is tried again when the replicas that are in sync change, and by the next role that has the log.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use ractor::Message;
use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until},
};

use super::{
    core::PartitionState,
    replication::{Copied, Streams},
};
use crate::{
    actors::supervise::Address,
    metrics::Metrics,
    model::{NodeId, Offset, PartitionId},
    storage::log::{CorruptBatch, DamageBell, Log, LogReader, Mend, MendError, Mended},
};

/// How long is waited before the same is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How often a node may end the stream instead of answering until that counts as an answer: it knows no copies.
const SILENT_MOST: u32 = 3;

/// What a replica is told about its damage.
#[derive(Debug)]
pub enum RepairMessage {
    /// The log, or the own timer: there may be something to do.
    Look,
    /// The task that asked: what the others have.
    Asked(Box<Asked>),
    /// A thread: it is mended, or not.
    Mended(Box<Result<Mended, MendError>>),
}

/// What came of asking for one stretch.
#[derive(Debug)]
pub struct Asked {
    damage: CorruptBatch,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Found(Found),
    /// All that are in sync have said no.
    Nobody,
    /// Somebody who is in sync has not answered; whether any of those ended the stream on us.
    Unsure {
        silent: bool,
    },
}

#[derive(Clone, Debug)]
struct Found {
    node: NodeId,
    batches: Bytes,
}

/// Where a replica's repairs run and what they need.
#[derive(Clone)]
pub(super) struct Workshop {
    pub(super) partition: PartitionId,
    pub(super) label: Arc<str>,
    pub(super) us: NodeId,
    pub(super) streams: Streams,
    pub(super) io: Handle,
    pub(super) metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Workshop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workshop").field("label", &self.label).finish_non_exhaustive()
    }
}

/// Tells the replica.
type Post = Arc<dyn Fn(RepairMessage) + Send + Sync>;

/// What a replica does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// A flush comes first.
    Flush,
    /// Wake those who wait at the damage.
    Wake,
}

#[derive(Debug)]
enum Doing {
    Nothing,
    Asking,
    /// Batches that wait for what comes first.
    Holding(CorruptBatch, Found),
    Mending(NodeId),
}

/// The repairs of one replica.
pub(super) struct Repairs {
    shop: Workshop,
    post: Post,
    doing: Doing,
    /// Whoever reads at damage rings again and again; nobody is asked before this.
    rests_until: Option<Instant>,
    /// How often in a row a question about the same stretch ended in silence.
    silent: (Option<CorruptBatch>, u32),
}

impl std::fmt::Debug for Repairs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repairs")
            .field("shop", &self.shop)
            .field("doing", &self.doing)
            .finish_non_exhaustive()
    }
}

impl Repairs {
    /// From now on damage in this log is mended, by whichever role has it: `message` is how that role hears of it. Where
    /// nobody else keeps the partition it is left out as soon as it is found, and readers do not wait for an answer.
    pub(super) fn begin<M: Message>(
        shop: Workshop,
        log: &Log,
        state: &PartitionState,
        (me, message): (&Address<M>, fn(RepairMessage) -> M),
    ) -> Self {
        let to = me.clone();
        let post: Post = Arc::new(move |news| {
            // A replica that has ended mends nothing; the next role that has the log begins anew.
            let _ = to.cast(message(news));
        });
        let ring = Arc::clone(&post);
        let bell: DamageBell = Arc::new(move || ring(RepairMessage::Look));
        let is_alone = others(shop.us, state.replicas.iter().copied()).is_empty();
        log.set_damage_bell(Some(bell).filter(|_| !is_alone));
        Self { shop, post, doing: Doing::Nothing, rests_until: None, silent: (None, 0) }
    }

    /// Whether a file of the log is being written anew.
    pub(super) const fn is_mending(&self) -> bool {
        matches!(self.doing, Doing::Mending(_))
    }

    /// Asks for the next stretch, unless one is under way.
    pub(super) fn look(&mut self, log: &Log, state: &PartitionState, leader: Option<NodeId>) {
        let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
        if rests || !matches!(self.doing, Doing::Nothing) {
            return;
        }
        self.rests_until = None;
        let Some(damage) = log.next_damage() else { return };
        self.doing = Doing::Asking;
        let silent = if self.silent.0.as_ref() == Some(&damage) { self.silent.1 } else { 0 };
        self.silent = (Some(damage.clone()), silent);
        let asking = Asking {
            shop: self.shop.clone(),
            reader: log.reader(),
            in_sync: others(self.shop.us, leader.into_iter().chain(state.in_sync.iter().copied())),
            replicas: others(self.shop.us, state.replicas.iter().copied()),
            silent_counts: silent + 1 >= SILENT_MOST,
        };
        tracing::warn!(partition = %self.shop.label, "other replicas are asked for what is damaged: {damage}");
        let post = Arc::clone(&self.post);
        tokio::spawn(async move {
            let answer = asking.ask(&damage).await;
            post(RepairMessage::Asked(Box::new(Asked { damage, answer })));
        });
    }

    pub(super) fn on_asked(&mut self, log: &mut Log, asked: Asked, is_busy: bool) -> Next {
        self.doing = Doing::Nothing;
        let Asked { damage, answer } = asked;
        match answer {
            Answer::Found(found) => {
                self.doing = Doing::Holding(damage, found);
                self.go_on(log, is_busy)
            }
            Answer::Nobody => {
                tracing::error!(partition = %self.shop.label, "no other replica has it, it is left out: {damage}");
                log.give_up(&damage);
                (self.post)(RepairMessage::Look);
                Next::Wake
            }
            Answer::Unsure { silent } => {
                self.silent.1 += u32::from(silent);
                self.look_later();
                Next::Nothing
            }
        }
    }

    /// Puts in place what was found, unless a thread has files of the log in hand; called when that, a flush or a
    /// checkpoint has ended.
    pub(super) fn go_on(&mut self, log: &mut Log, is_busy: bool) -> Next {
        let Doing::Holding(damage, found) = &self.doing else { return Next::Nothing };
        if is_busy {
            return Next::Nothing;
        }
        match log.mend(damage, &found.batches) {
            Mend::Flush => Next::Flush,
            Mend::Later => Next::Nothing,
            Mend::Gone => {
                self.doing = Doing::Nothing;
                (self.post)(RepairMessage::Look);
                Next::Wake
            }
            Mend::Job(job) => {
                self.doing = Doing::Mending(found.node);
                let post = Arc::clone(&self.post);
                self.shop.io.spawn_blocking(move || post(RepairMessage::Mended(Box::new(job.run()))));
                Next::Nothing
            }
        }
    }

    pub(super) fn on_mended(&mut self, log: &mut Log, done: Result<Mended, MendError>) -> Next {
        let Doing::Mending(node) = self.doing else { return Next::Nothing };
        self.doing = Doing::Nothing;
        log.finish_mend();
        match done {
            Ok(Mended { damage, batches }) => {
                self.shop.metrics.repaired_batches.inc_by(batches);
                tracing::warn!(partition = %self.shop.label, %node, "repaired from node {node}: {damage}");
                (self.post)(RepairMessage::Look);
            }
            Err(error) => {
                tracing::error!(partition = %self.shop.label, "what is damaged could not be repaired: {error}");
                self.look_later();
            }
        }
        Next::Wake
    }

    fn look_later(&mut self) {
        let (until, post) = (Instant::now() + TRY_AGAIN, Arc::clone(&self.post));
        self.rests_until = Some(until);
        tokio::spawn(async move {
            sleep_until(until).await;
            post(RepairMessage::Look);
        });
    }
}

/// Each once, without ourselves.
fn others(us: NodeId, nodes: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
    let mut others = Vec::new();
    for node in nodes {
        if node != us && !others.contains(&node) {
            others.push(node);
        }
    }
    others
}

struct Asking {
    shop: Workshop,
    reader: LogReader,
    in_sync: Vec<NodeId>,
    replicas: Vec<NodeId>,
    /// Who ends the stream instead of answering has done so before.
    silent_counts: bool,
}

impl Asking {
    async fn ask(&self, damage: &CorruptBatch) -> Answer {
        let (mut all_said_no, mut any_silent, mut second_best) = (true, false, None);
        let behind = self.replicas.iter().filter(|node| !self.in_sync.contains(node));
        for node in self.in_sync.iter().chain(behind) {
            let is_in_sync = self.in_sync.contains(node);
            match self.shop.streams.copy(*node, self.shop.partition, (damage.first, damage.next)).await {
                Copied::Whole { batches, cleaned_to } => {
                    let Some(batches) = self.fit(*node, damage, batches, cleaned_to).await else { continue };
                    let found = Found { node: *node, batches };
                    if self.reader.is_compacted_there(damage, cleaned_to) {
                        return Answer::Found(found);
                    }
                    second_best = second_best.or(Some(found));
                }
                Copied::No => {}
                Copied::Silent => {
                    any_silent |= is_in_sync;
                    all_said_no &= !is_in_sync || self.silent_counts;
                }
                Copied::NotNow => all_said_no &= !is_in_sync,
            }
        }
        match second_best {
            Some(found) => Answer::Found(found),
            None if all_said_no => Answer::Nobody,
            None => Answer::Unsure { silent: any_silent },
        }
    }

    async fn fit(
        &self,
        node: NodeId,
        damage: &CorruptBatch,
        batches: Bytes,
        cleaned_to: Offset,
    ) -> Option<Bytes> {
        let (reader, damage) = (self.reader.clone(), damage.clone());
        let fitting = self.shop.io.spawn_blocking(move || reader.fit(&damage, &batches, cleaned_to)).await;
        match fitting {
            Ok(Ok(batches)) => Some(batches),
            Ok(Err(misfit)) => {
                tracing::warn!(partition = %self.shop.label, %node, "its copy does not fit: {misfit}");
                None
            }
            Err(_) => None,
        }
    }
}
