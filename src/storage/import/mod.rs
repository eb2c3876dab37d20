//! Takes over partitions that another broker has written: Apache Kafka's, or our own from a back-up.
//!
//! Both keep segments of the same batches under the same names, so what is taken over keeps its offsets, its
//! times and its records as they were packed. What means nothing here goes: leader epochs, and the producers'
//! ids, which another cluster gave out and this one may give out again. Transactions, which are not served
//! here, are brought to their end: what was committed is kept as plain records, what was aborted or never
//! ended is left out, as are the markers. Where offsets are missing then, or were missing before because of
//! compaction, the batch before reaches over them, as in a compacted log.
//!
//! First everything is read ([`survey`]), so that a source that is damaged or of an old format is refused
//! before anything is written; then it is written ([`write()`]) with the same writer that a node has, into a
//! folder that no node looks at. Whoever calls moves it into its place.

mod source;
mod survey;
mod transactions;
mod write;

#[cfg(test)]
mod tests;

use std::{io, path::PathBuf};

pub use source::{SourcePartition, find};
pub use survey::{Survey, survey};
pub use write::{Target, write};

use super::{
    inspect::Damage,
    log::{AppendError, OpenError, Poisoned},
};
use crate::model::Offset;

/// Why a partition could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A disk failed.
    #[error("{path} could not be read or written")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The disk's error.
        #[source]
        source: io::Error,
    },
    /// Its batches are of a format that Kafka has not written since version 0.11 (2017).
    #[error(
        "{file} holds messages of the old format {magic}: let a Kafka of version 3 rewrite the topic first"
    )]
    OldFormat {
        /// The segment.
        file: PathBuf,
        /// The format: 0 or 1.
        magic: u8,
    },
    /// Bytes that are no whole batch, and not the torn end of the log either.
    #[error(
        "{file} is damaged: {len} bytes at {position} ({reason})", len = damage.len, position = damage.position,
        reason = damage.reason
    )]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// What and where.
        damage: Damage,
    },
    /// More offsets are missing than one batch can reach over.
    #[error("{missing} offsets are missing behind offset {after}, more than a batch can reach over")]
    GapTooWide {
        /// The last one before.
        after: Offset,
        /// How many.
        missing: i64,
    },
    /// The new log could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A batch could not be appended to the new log.
    #[error("the batch at offset {offset} could not be written")]
    Append {
        /// Its offset.
        offset: Offset,
        /// Why.
        #[source]
        source: AppendError,
    },
    /// The new log failed.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

pub(super) fn io_error(path: &std::path::Path) -> impl FnOnce(io::Error) -> ImportError {
    let path = path.to_path_buf();
    move |source| ImportError::Io { path, source }
}
