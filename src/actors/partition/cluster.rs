//! A replica among others: what it needs to know of its partition, and what a change of role takes along.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    DiskAlarm,
    core::{PartitionState, SetAnswer, SetChange, Subscription, Verdict},
    replication::Streams,
};
use crate::{
    model::{LeaderEpoch, NodeId, Offset, PartitionId},
    storage::log::Log,
};

/// An open log on its way from one role to another.
#[derive(Debug)]
pub struct HandedOver {
    /// The log, which has no epoch of its own.
    pub log: Box<Log>,
    /// How far it is known to be committed.
    pub high_watermark: Offset,
}

/// Where the replica that begins finds the log of the one that has ended, once. Without it the log is opened.
#[derive(Clone, Debug, Default)]
pub struct Inheritance(Arc<Mutex<Option<(HandedOver, LeaderEpoch)>>>);

impl Inheritance {
    /// A log for a follower.
    pub fn of(log: HandedOver) -> Self {
        Self::to_lead(log, LeaderEpoch::NONE)
    }

    /// A log for a leader, with the epoch that an election has given for this take-over and no other (S6).
    pub fn to_lead(log: HandedOver, epoch: LeaderEpoch) -> Self {
        Self(Arc::new(Mutex::new(Some((log, epoch)))))
    }

    /// The log, for the first who asks.
    pub(super) fn take(&self) -> Option<(HandedOver, LeaderEpoch)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Asks the controller what only it may do.
pub trait Proposer: Send + Sync + fmt::Debug + 'static {
    /// Asks for another in-sync set. `answer` is to be called once, whatever comes of it: it comes back as
    /// [`ClusterMessage::Answered`].
    fn propose(&self, partition: PartitionId, change: SetChange, answer: Answer);

    /// Asks that others go on without this node's replica, which cannot write. Said each time that this is so; how often it is
    /// asked is not the replica's care.
    fn give_up(&self, partition: PartitionId);
}

/// Takes the answer to a proposal.
pub type Answer = Box<dyn FnOnce(SetAnswer) + Send>;

/// What a leader needs to know of its partition's other replicas; the same for each of its incarnations.
#[derive(Clone)]
pub struct InCluster {
    /// This node.
    pub node: NodeId,
    /// The partition as the newest image has it.
    pub state: Arc<RwLock<PartitionState>>,
    /// `cluster.replica-lag-time-max`.
    pub lag_time_max: Duration,
    /// Who asks the controller.
    pub proposer: Arc<dyn Proposer>,
    /// The log, if another role has it open.
    pub inheritance: Inheritance,
    /// Raised when the disk fails under what only memory was to keep.
    pub alarm: DiskAlarm,
    /// Opens streams to other replicas, where something is damaged.
    pub streams: Streams,
}

impl InCluster {
    pub(super) fn state(&self) -> PartitionState {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for InCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InCluster").field("node", &self.node).finish_non_exhaustive()
    }
}

/// What a leader is told of its followers, and of the partition.
#[derive(Debug)]
pub enum ClusterMessage {
    /// A stream: a follower asks to be fed.
    Subscribe {
        /// What it asks.
        subscription: Subscription,
        /// Where the first batch begins that is kept.
        kept_from: Offset,
        /// Answered at once.
        reply: oneshot::Sender<Verdict>,
    },
    /// A stream: followers have reported.
    FollowersMoved,
    /// The reconciler: the image has the partition like this.
    Partition(Box<PartitionState>),
    /// A proposal was answered.
    Answered {
        /// Which.
        id: u64,
        /// What came of it.
        answer: SetAnswer,
    },
    /// The reconciler: another leads now. Whoever waits is told so.
    Resign {
        /// Answered with the log.
        reply: oneshot::Sender<HandedOver>,
    },
}
