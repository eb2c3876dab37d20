//! Why the metadata log cannot be opened or written.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The log is not opened, and nothing of it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A system call failed.
    #[error("metadata log: cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the folder (S7).
    #[error("metadata log: {} is held by another process", path.display())]
    Locked {
        /// The lock's file.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("metadata log: {} is not a metadata log", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version of this program.
    #[error("metadata log: {} has format version {found}, newer than {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
        /// The highest that this program reads.
        known: u16,
    },
    /// What had been committed is not there any more. Going on would forget topics, and their data
    /// with them, so an operator has to bring the file back.
    #[error(
        "metadata log: {} is damaged at byte {position}: {what}; committed metadata is missing, restore the file",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        position: u64,
        /// How it shows.
        what: &'static str,
    },
}

impl OpenError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

/// The records are not committed, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk is full. Nothing was written, and the log can be used when there is space again.
    #[error("metadata log: the disk is full")]
    Full,
    /// The records are larger than a block can hold. Nothing was written.
    #[error("metadata log: records are too large for a block")]
    TooLarge,
    /// A write or a sync failed: whether the records are there is known only after opening again.
    #[error("metadata log: cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Something failed before; the log takes nothing until it is opened again (S13).
    #[error("metadata log: a write or a sync has failed before")]
    Poisoned,
}
