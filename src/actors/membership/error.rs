//! What the registry answers when it does not do what it was asked, and why it does not start.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::core::{ApplyError, Refusal};
use crate::{
    model::NodeId,
    storage::metadata_log::{AppendError, OpenError, codec::CodecError},
};

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum MembershipError {
    /// It was refused, and nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk is full, and nothing has changed.
    #[error("metadata cannot be written: the disk is full")]
    StorageFull,
    /// The registry is not running or has too much to do; the request was not taken.
    #[error("the membership registry does not take requests now")]
    NotTaken,
    /// The registry ended, or was too slow: the request may have been carried out, or be yet.
    #[error("the membership registry has not answered; whether the change was made is unknown")]
    OutcomeUnknown,
}

/// Why the registry does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log can be read, and what it holds is of another version.
    #[error("metadata log: record {index}: {source}")]
    Record {
        /// Which record; 0 for the snapshot.
        index: u64,
        /// What is wrong with it.
        source: CodecError,
    },
    /// The log can be read, and a record does not follow from those before it.
    #[error("metadata log: record {index}: {source}")]
    Apply {
        /// Which record.
        index: u64,
        /// What is wrong with it.
        source: ApplyError,
    },
    /// The log cannot be written.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A value of ours cannot be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The data folder is another broker's.
    #[error("data folder {} belongs to node {owner}, not to node {given}", path.display())]
    AnotherNode {
        /// The data folder.
        path: PathBuf,
        /// Whose it is.
        owner: NodeId,
        /// Who asked.
        given: NodeId,
    },
    /// There are logs and no metadata. Beginning anew would take every topic for deleted.
    #[error(
        "{} is missing and {} is not empty: restore the metadata, or move the logs away",
        metadata.display(), logs.display()
    )]
    MetadataMissing {
        /// What is missing.
        metadata: PathBuf,
        /// What is there.
        logs: PathBuf,
    },
    /// The logs' folder cannot be looked at.
    #[error("cannot look into {}: {source}", path.display())]
    Logs {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("cannot start the writer's thread: {0}")]
    Thread(io::Error),
    /// The writer's thread ended before it had opened the log.
    #[error("the writer ended while it opened the metadata log")]
    WriterEnded,
}

/// What ends a running registry; the next one reads the log again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Broken(#[from] ApplyError),
    #[error("the writer has ended")]
    WriterEnded,
}

/// Why a group is not known to be on disk.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The log did not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// It cannot be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
}
