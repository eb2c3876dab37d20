//! What a supervisor is told.

use ractor::RpcReplyPort;

use super::{ChildSpec, StartedChild, SupervisorError};
use crate::actors::supervise::StartError;

/// An answer that may be a refusal.
pub(super) type Answer = RpcReplyPort<Result<(), SupervisorError>>;

/// Sent through [`SupervisorHandle`](super::SupervisorHandle), or by the supervisor to itself.
#[derive(Debug)]
pub enum SupervisorMessage {
    /// From the handle. Answered when the child has started for the first time, or has failed to, or
    /// at once with a refusal.
    Add {
        /// The new child.
        spec: ChildSpec,
        /// Where the answer goes.
        answer: RpcReplyPort<Result<(), SupervisorError>>,
    },
    /// From the handle. Answered when the child has ended and is forgotten.
    Remove {
        /// The child's name.
        name: String,
        /// Where the answer goes.
        answer: RpcReplyPort<Result<(), SupervisorError>>,
    },
    /// From the handle. Answered at once: the children's names in the order they were added.
    List {
        /// Where the answer goes.
        answer: RpcReplyPort<Vec<String>>,
    },
    /// From a start's task: this incarnation started, or did not.
    Started {
        /// The child's name.
        name: String,
        /// Which of its incarnations.
        incarnation: u64,
        /// What came of it.
        outcome: Result<StartedChild, StartError>,
    },
    /// From a timer: the wait before this incarnation is over.
    BackoffOver {
        /// The child's name.
        name: String,
        /// Which child of that name: one that was removed may have a successor.
        number: u64,
        /// Which of its incarnations is to start.
        incarnation: u64,
    },
    /// From a timer: this incarnation has had its time to stop.
    StopTimeOver {
        /// The child's name.
        name: String,
        /// Which child of that name: one that was removed may have a successor.
        number: u64,
        /// Which of its incarnations.
        incarnation: u64,
    },
}

crate::actors::supervise::local_message!(SupervisorMessage);
