//! A partition's leader replica: the one writer of one log.
//!
//! **Invariants.**
//! - One incarnation owns the log, and with it the folder's lock (S7); it leads under an epoch of
//!   its own (S6). A restart is a new epoch.
//! - Batches come through a bounded queue and one doorbell; the handler appends all that waits with
//!   plain writes to the page cache. Nothing else in a handler blocks: opening, flushing, checkpoints
//!   and deletions run on threads, and what came of them comes back as a message.
//! - Who is answered, and what consumers may read, is decided by [`core`], never here.
//! - A failed write or flush ends the actor (S13): its successor recovers the log. Whoever waits for an
//!   acknowledgement at that moment is told that its outcome is unknown.

mod alarm;
mod append;
mod bulk;
mod cluster;
pub mod core;
pub mod ends;
mod error;
mod fence;
mod flushing;
pub mod follower;
mod handle;
mod leading;
mod message;
mod on_disk;
mod opening;
mod options;
pub mod partitions;
mod queue;
mod repair;
pub mod replication;
pub mod scrubber;
mod served;
pub mod table;
mod view;
mod waiters;

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::runtime::Handle;

use self::leading::Leading;
pub use self::{
    alarm::DiskAlarm,
    append::HeldAnswer,
    bulk::{Bulk, MUCH},
    cluster::{Answer, ClusterMessage, HandedOver, InCluster, Inheritance, Proposer},
    core::Acks,
    error::{AppendRefusal, CommandRefusal},
    fence::{Fence, Fences},
    handle::PartitionHandle,
    message::LeaderMessage,
    on_disk::bytes_on_disk,
    options::log_options,
    queue::{AppendReply, Appended, InFlight},
    repair::RepairMessage,
    served::{ClientKey, Served, ServedQuery},
    view::Leader,
    waiters::{SignedIn, Waiter},
};
use super::{
    membership::MembershipHandle,
    supervise::{Actor, ActorProcessingErr, ActorRef, Address, Vitals},
};
pub use crate::storage::log::{
    AtTime, CorruptBatch, FileRange, LogReader, ReadBuffer, ReadError, ReadOutcome, ReadRequest, Verify, Wait,
};
pub use crate::storage::{
    fs::{Fs, real::RealFs},
    producer_state::{ActiveProducer, ProducerError},
};
use crate::{clock::Clock, config::topic::TopicConfig, metrics::Metrics};

/// When what was appended to a `replicated` topic is flushed in the background. It bounds what a start
/// after a crash has to read again.
#[derive(Clone, Copy, Debug)]
pub struct BackgroundFlush {
    /// As soon as so many bytes are not flushed.
    pub bytes: u64,
    /// At the latest after this time.
    pub after: Duration,
}

/// Threads for blocking work that nobody waits for.
#[derive(Clone, Debug)]
pub struct UpkeepThreads {
    /// Checkpoints. They are short and wait for nothing longer: what is acknowledged is ahead of them by a second at most (S14).
    pub checkpoints: Handle,
    /// Flushes of what is due by its size or its age alone.
    pub flushes: Handle,
    /// Block checksums, compaction, retention, deletions and the scrub.
    pub rest: Handle,
}

#[cfg(test)]
impl UpkeepThreads {
    /// The same ones for everything.
    pub(crate) fn all_by(threads: &Handle) -> Self {
        Self { checkpoints: threads.clone(), flushes: threads.clone(), rest: threads.clone() }
    }
}

/// What a replica needs; the same for each of its incarnations.
#[derive(Clone, Debug)]
pub struct LeaderArgs {
    /// The partition, and where its leader is published.
    pub partition: PartitionHandle,
    /// Its name in logs: `topic-index`.
    pub label: Arc<str>,
    /// Its folder, which is there.
    pub folder: PathBuf,
    /// The disk.
    pub fs: Arc<dyn Fs>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where blocking work runs that somebody waits for.
    pub io: Handle,
    /// Where blocking work runs that can wait.
    pub upkeep: UpkeepThreads,
    /// Where much is appended while small requests come.
    pub bulk: Bulk,
    /// Who gives out leader epochs.
    pub membership: MembershipHandle,
    /// The topic's configuration, as it is now.
    pub config: Arc<RwLock<Arc<TopicConfig>>>,
    /// What it has to know of the partition's other replicas, be there any or none.
    pub cluster: InCluster,
    /// Limits of what a crash may leave to be read again.
    pub background_flush: BackgroundFlush,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The live figures of this incarnation.
    pub vitals: Option<Arc<Vitals>>,
}

impl LeaderArgs {
    /// The topic's configuration as it is now.
    pub fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The actor.
#[derive(Debug)]
pub struct LeaderReplica;

/// Its state: on its way to lead, or leading.
#[derive(Debug)]
pub struct LeaderState {
    args: LeaderArgs,
    me: Address<LeaderMessage>,
    leading: Option<Box<Leading>>,
    /// That came before the log was open.
    close: Option<LeaderMessage>,
}

impl Actor for LeaderReplica {
    type Msg = LeaderMessage;
    type State = LeaderState;
    type Arguments = LeaderArgs;

    async fn pre_start(
        &self,
        me: ActorRef<LeaderMessage>,
        args: LeaderArgs,
    ) -> Result<LeaderState, ActorProcessingErr> {
        let vitals = args.vitals.clone().ok_or("a leader replica is started with its vitals")?;
        vitals.set_detail(Some("opening".to_owned()));
        let me = Address::new(me, vitals);
        let opening = opening::open(args.clone());
        let to = me.clone();
        tokio::spawn(async move {
            // Nobody to tell means that this incarnation was ended meanwhile; the log closes again.
            let _ = to.cast(LeaderMessage::Opened(Box::new(opening.await)));
        });
        Ok(LeaderState { args, me, leading: None, close: None })
    }

    async fn handle(
        &self,
        _me: ActorRef<LeaderMessage>,
        message: LeaderMessage,
        state: &mut LeaderState,
    ) -> Result<(), ActorProcessingErr> {
        if let LeaderMessage::Opened(opened) = message {
            let mut leading = Leading::begin(&state.args, &state.me, *opened)?;
            if let Some(close) = state.close.take() {
                leading.on_message(close)?;
            }
            state.leading = Some(Box::new(leading));
            return Ok(());
        }
        match (&mut state.leading, &message) {
            (Some(leading), _) => return Ok(leading.on_message(message)?),
            // Asked once: a node that stops in the middle of an election has leaders that are not there yet.
            (None, LeaderMessage::CloseClean { .. }) => state.close = Some(message),
            // Opening reads the configuration itself; all else is asked again by whoever asks.
            (None, _) => {}
        }
        Ok(())
    }
}
