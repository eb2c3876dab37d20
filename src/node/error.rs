//! Why a node does not run.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio::task::JoinError;

use crate::{
    actors::{
        membership::{
            formation::GiveUp, joining::LeaveError, member::MemberError, offline::OfflineMetadataError,
        },
        supervise::{Exit, StartError, SupervisorError},
    },
    config::node::HostPort,
};

/// Why a node did not start, or ended otherwise than it should.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A port cannot be had.
    #[error("cannot listen on {address} ({key}): {source}")]
    Listen {
        /// The setting that names it.
        key: String,
        /// The address.
        address: HostPort,
        /// Why.
        source: io::Error,
    },
    /// Another process works in the data folder (S7).
    #[error(
        "data folder {} is in use by another process; stop it, or name another folder (--data-dir)",
        path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The data folder cannot be worked in.
    #[error("cannot work in {}: {source}", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No threads.
    #[error("cannot start threads: {0}")]
    Threads(#[source] io::Error),
    /// No signals.
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] io::Error),
    /// The root of the tree did not start.
    #[error("supervision tree did not start: {0}")]
    Start(#[from] StartError),
    /// A part of the tree did not start.
    #[error("{0}")]
    Part(#[from] SupervisorError),
    /// It was told to stop before it was part of a cluster; there is nothing to close.
    #[error("stopped before the node was part of a cluster")]
    StoppedEarly,
    /// The node's part in its cluster did not start.
    #[error(transparent)]
    Member(#[from] MemberError),
    /// No cluster can be formed with these seeds, or joined.
    #[error(transparent)]
    Formation(#[from] GiveUp),
    /// The cluster does not take this node.
    #[error(transparent)]
    Leave(#[from] LeaveError),
    /// The metadata in the data folder cannot be gone on with.
    #[error(transparent)]
    Metadata(#[from] OfflineMetadataError),
    /// The root of the tree ended by itself: what it supervises failed more often than it may.
    #[error("supervision tree ended: {0}")]
    Root(Exit),
    /// A write or a flush has failed under records that other nodes take to be in this one's memory (S13, S11).
    #[error(
        "the disk failed under {partition}, whose records are acknowledged from memory (durability=replicated): the node ends, \
         so that it is not chosen to lead with less than it had. Look at the disk, then start it again"
    )]
    DiskFailed {
        /// The first partition that was hit.
        partition: Arc<str>,
    },
    /// Stopping took longer than it may.
    #[error("did not stop within {0:?} (shutdown-grace)")]
    StopTimedOut(Duration),
    /// Logs could not be closed in time; what was acknowledged is kept, the next start has to recover.
    #[error("{partitions} logs could not be closed in order; the next start will recover them")]
    Unclean {
        /// How many.
        partitions: usize,
    },
}

impl NodeError {
    pub(super) fn thread(join: JoinError) -> Self {
        Self::Threads(io::Error::other(join))
    }
}
