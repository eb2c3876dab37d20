//! What a group coordinator is told.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::oneshot;

use super::{
    core::{Answer, AskServed, Buried, Caller, Coordinator, DeadLetter, Request, Survey},
    error::Refusal,
};
use crate::{
    actors::partition::{AppendRefusal, Leader},
    model::{Offset, ProducerId, TopicId},
};

/// What comes back to whoever asked. Dropped without an answer when the coordinator ends: outcome unknown.
pub(super) type Reply = oneshot::Sender<Result<Answer, Refusal>>;

/// The protocol of [`GroupCoordinator`](super::GroupCoordinator).
#[derive(Debug)]
pub enum CoordinatorMessage {
    /// A connection: carry this out. Answered when what the answer rests on is on disk; a join also waits for
    /// the others.
    Ask(Box<Ask>),
    /// The loading task: everything that was in the log is known.
    Loaded(Box<Loaded>),
    /// The appending task: what was written last is on disk, or not.
    Appended {
        /// The loading that the append belongs to.
        term: u64,
        /// What came of it.
        outcome: Result<(), AppendRefusal>,
    },
    /// The task that looks after the partition: its leader is another.
    LeaderChanged {
        /// The loading that the leader belonged to.
        term: u64,
    },
    /// Its own timer: something is due.
    Tick,
    /// Its own timer: look for offsets whose time is up.
    Sweep,
    /// The task that asked for a producer to write a dead letter by: here it is.
    Marked {
        /// The loading that the task belongs to.
        term: u64,
        /// Which.
        letter: Box<DeadLetter>,
        /// The producer.
        mark: ProducerId,
    },
    /// The task that made a dead letter of a record: it is one now, or it is not there any more.
    Buried {
        /// The loading that the task belongs to.
        term: u64,
        /// Which.
        letter: Box<DeadLetter>,
        /// What came of it.
        buried: Buried,
    },
    /// The task that asked leaders on another node: which records lost owners had been given.
    Served {
        /// The loading that the questions belong to.
        term: u64,
        /// Each question with the offset at which an attempt counts, if one does.
        told: Vec<(AskServed, Option<Offset>)>,
    },
    /// The router: the image is another.
    ImageChanged,
    /// The meter of lags: tell what is committed, `most` offsets of it. No answer while it is still reading.
    Survey {
        /// How many.
        most: usize,
        /// For the answer.
        reply: oneshot::Sender<Survey>,
    },
    /// The router: these topics are deleted.
    TopicsDeleted(Arc<BTreeSet<TopicId>>),
}

crate::actors::supervise::local_message!(CoordinatorMessage);

/// A request on its way.
#[derive(Debug)]
pub struct Ask {
    pub(super) caller: Caller,
    pub(super) request: Request,
    pub(super) reply: Reply,
}

/// What a loading task brings.
#[derive(Debug)]
pub struct Loaded {
    pub(super) term: u64,
    pub(super) leader: Arc<Leader>,
    pub(super) core: Coordinator,
}
