//! Why the quorum does not start, and why it does not do what it is asked.

use std::io;

use super::types::RaftNode;
use crate::{
    model::RaftId,
    storage::{metadata_log::codec::CodecError, quorum_log::OpenError},
};

/// Why the quorum does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// Its folder cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The snapshot is whole and of another version.
    #[error("metadata quorum: snapshot: {0}")]
    Snapshot(CodecError),
    /// The system gives no thread.
    #[error("metadata quorum: cannot start the thread of its log: {0}")]
    Thread(io::Error),
    /// The thread ended before it had opened the log.
    #[error("metadata quorum: the thread of its log has ended")]
    ThreadEnded,
    /// Consensus cannot begin with what is on disk.
    #[error("metadata quorum: {0}")]
    Raft(String),
}

/// Why something was not done, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// Another member leads; nothing was done.
    #[error("this node does not lead the metadata quorum")]
    NotLeader {
        /// Who does, where that is known.
        leader: Option<(RaftId, RaftNode)>,
    },
    /// It was not known in time whether it was done, and it may be yet.
    #[error("the metadata quorum has not answered; whether the change was made is unknown")]
    Unknown,
    /// It was refused; nothing was done.
    #[error("metadata quorum: {0}")]
    Refused(#[from] Refused),
    /// The disk is full; nothing was done.
    #[error("the metadata quorum's disk is full")]
    StorageFull,
    /// The proposal is in the log and does not follow from what was before; nothing has changed. A fault of ours.
    #[error("metadata quorum: a committed proposal cannot be applied: {0}")]
    Broken(String),
    /// This member has failed or was stopped, and does nothing until it is started again.
    #[error("the metadata quorum's member has ended: {0}")]
    Ended(String),
}

/// Why a change of the members is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The quorum has members already.
    #[error("it has been initialised before")]
    Initialised,
    /// A member is to be first among others, and is not one of them.
    #[error("the first members do not include this one")]
    NotAmongThem,
    /// Voters are an odd number (S18).
    #[error("{0} voters: their number has to be odd")]
    Even(usize),
    /// A voter has to be a learner first (S18).
    #[error("{0} is no member")]
    NoMember(RaftId),
    /// A voter has to have the log before it votes (S18).
    #[error("{0} has not caught up with the log")]
    Behind(RaftId),
    /// A voter is swapped or made a learner before it is removed.
    #[error("{0} votes")]
    Votes(RaftId),
    /// Another change of the members is under way.
    #[error("another change of the members is under way")]
    InProgress,
}
