//! A partition's follower replica: the one writer of a log that is another's.
//!
//! **Invariants.**
//! - One incarnation owns the log, and with it the folder's lock (S7). It has no epoch of its own, and appends nothing
//!   but what its leader sent (S6).
//! - What to ask, to cut, to append and to report is decided by [`FollowerCore`](super::core::FollowerCore), never here.
//! - What comes waits in [`Arrivals`], bounded by the stream's credit, behind one doorbell. The handler
//!   appends it with plain writes to the page cache; opening, flushes, truncations and the rest run on threads, and
//!   what came of them comes back as a message.
//! - A truncation is on disk before the leader is asked again (S8); a flush that ends is reported at once (S4).
//! - A failed write or flush ends the actor (S13): its successor recovers the log.
//! - A log that is handed to a leader is handed over open, between two messages, and never in the middle of a truncation.

mod appending;
mod following;
mod message;
mod opening;
mod repairs;
mod upkeep;

use std::{
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::runtime::Handle;

use self::following::Following;
pub use self::message::FollowerMessage;
use super::{
    BackgroundFlush, DiskAlarm, Inheritance, PartitionHandle, Proposer, UpkeepThreads,
    core::PartitionState,
    replication::{Arrivals, Streams},
};
use crate::{
    actors::supervise::{Actor, ActorProcessingErr, ActorRef, Address, Vitals},
    clock::Clock,
    config::topic::TopicConfig,
    metrics::Metrics,
    model::{BrokerEpoch, LeaderEpoch, NodeId},
    storage::fs::Fs,
};

/// Who leads a partition, as the newest image has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Led {
    /// The leader, if there is one.
    pub by: Option<NodeId>,
    /// Its epoch, or that of the last one.
    pub epoch: LeaderEpoch,
}

/// What a follower needs; the same for each of its incarnations.
#[derive(Clone, Debug)]
pub struct FollowerArgs {
    /// The partition.
    pub partition: PartitionHandle,
    /// Its name in logs: `topic-index`.
    pub label: Arc<str>,
    /// Its folder.
    pub folder: PathBuf,
    /// The disk.
    pub fs: Arc<dyn Fs>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where blocking work runs that somebody waits for.
    pub io: Handle,
    /// Where blocking work runs that can wait.
    pub upkeep: UpkeepThreads,
    /// The topic's configuration, as it is now.
    pub config: Arc<RwLock<Arc<TopicConfig>>>,
    /// Limits of what a crash may leave to be read again.
    pub background_flush: BackgroundFlush,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The live figures of this incarnation.
    pub vitals: Option<Arc<Vitals>>,
    /// This node.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// Counts the followers of this partition in this process, all of them.
    pub incarnations: Arc<AtomicU32>,
    /// Whom to follow, as it is when this begins; changes come as messages.
    pub led: Arc<RwLock<Led>>,
    /// The partition as the newest image has it.
    pub state: Arc<RwLock<PartitionState>>,
    /// The streams to leaders.
    pub streams: Streams,
    /// Who asks the controller.
    pub proposer: Arc<dyn Proposer>,
    /// The log, if another role has it open.
    pub inheritance: Inheritance,
    /// Raised when the disk fails under what only memory was to keep.
    pub alarm: DiskAlarm,
}

impl FollowerArgs {
    fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn state(&self) -> PartitionState {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn led(&self) -> Led {
        *self.led.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The actor.
#[derive(Debug)]
pub struct FollowerReplica;

/// Its state: on its way, or following.
#[derive(Debug)]
pub struct FollowerState {
    args: FollowerArgs,
    me: Address<FollowerMessage>,
    /// What came before the log was open, but for what the opening itself looks up.
    early: Vec<FollowerMessage>,
    following: Option<Box<Following>>,
}

impl Actor for FollowerReplica {
    type Msg = FollowerMessage;
    type State = FollowerState;
    type Arguments = FollowerArgs;

    async fn pre_start(
        &self,
        me: ActorRef<FollowerMessage>,
        args: FollowerArgs,
    ) -> Result<FollowerState, ActorProcessingErr> {
        let vitals = args.vitals.clone().ok_or("a follower replica is started with its vitals")?;
        vitals.set_detail(Some("opening".to_owned()));
        let me = Address::new(me, vitals);
        let opening = opening::open(args.clone());
        let to = me.clone();
        tokio::spawn(async move {
            // Nobody to tell means that this incarnation was ended meanwhile; the log closes again.
            let _ = to.cast(FollowerMessage::Opened(Box::new(opening.await)));
        });
        Ok(FollowerState { args, me, early: Vec::new(), following: None })
    }

    async fn handle(
        &self,
        _me: ActorRef<FollowerMessage>,
        message: FollowerMessage,
        state: &mut FollowerState,
    ) -> Result<(), ActorProcessingErr> {
        match (message, &mut state.following) {
            (FollowerMessage::Opened(opened), _) => {
                let incarnation = state.args.incarnations.fetch_add(1, Ordering::AcqRel) + 1;
                let to = state.me.clone();
                let arrivals = Arrivals::new(move || {
                    // One that has ended has nothing to do about it.
                    let _ = to.cast(FollowerMessage::Arrived);
                });
                let mut following = Following::begin(&state.args, &state.me, *opened, incarnation, arrivals)?;
                for message in state.early.drain(..) {
                    following.on_message(message)?;
                }
                state.following = Some(Box::new(following));
                Ok(())
            }
            (message, Some(following)) => Ok(following.on_message(message)?),
            (message, None) => {
                state.early.push(message);
                Ok(())
            }
        }
    }
}
