//! What the registry is told.

use std::fmt;

use tokio::sync::OwnedSemaphorePermit;

use crate::actors::{
    membership::{
        core::{Command, CommandAnswer, Refusal},
        quorum::{Leadership, Proposed, QuorumError},
    },
    supervise::{Reply, local_message},
};

/// What became of a command on the node that it was sent to.
#[derive(Debug)]
pub(super) enum Decided {
    /// The controller's answer; all that it rests on is applied.
    Answered {
        /// The entry of the quorum's log that has to be applied wherever the answer is to be seen.
        index: u64,
        /// The answer, or why it was refused.
        outcome: Result<CommandAnswer, Refusal>,
    },
    /// This node is not the controller, and has done nothing.
    NotController,
    /// The disk is full, and nothing was done.
    StorageFull,
    /// It may have been carried out, or be yet.
    Unknown,
}

/// Who is told what became of a command. Holds the request's place in the queue until then.
pub struct Told {
    reply: Reply<Decided>,
    _place: OwnedSemaphorePermit,
}

impl Told {
    pub(super) fn new(reply: Reply<Decided>, place: OwnedSemaphorePermit) -> Self {
        Self { reply, _place: place }
    }

    pub(super) fn send(self, decided: Decided) {
        let _asker_may_be_gone = self.reply.send(decided);
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

/// The protocol of [`QuorumRegistry`](super::QuorumRegistry).
#[derive(Debug)]
pub enum RegistryMessage {
    /// From a [`RegistryHandle`](super::RegistryHandle), or from another node's over the link: decide this, if this node is the
    /// controller. Answered when all that the answer rests on is applied.
    Decide {
        /// What is asked for.
        command: Box<Command>,
        /// Who is told.
        told: Told,
    },
    /// From the task that watches the quorum: who leads has changed.
    Leadership(Leadership),
    /// From the task that proposed to be the controller.
    Elected {
        /// The term in which that was.
        term: u64,
        /// What came of it.
        outcome: Result<Proposed, QuorumError>,
    },
    /// From the task that brought a proposal into the log.
    Written {
        /// The controller whose it was.
        epoch: u64,
        /// What came of it.
        outcome: Result<Proposed, QuorumError>,
    },
    /// From the task that watches the quorum: its member has failed.
    Failed(String),
}

local_message!(RegistryMessage);
