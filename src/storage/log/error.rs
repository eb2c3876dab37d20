use std::{io, path::PathBuf};

use crate::{
    model::{LeaderEpoch, Offset},
    record::BatchError,
    storage::producer_state::ProducerError,
};

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system failed.
    #[error("log in {dir} could not be opened: {source}")]
    Io {
        /// The partition's folder.
        dir: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The leader epoch is not above all that the log has (S6).
    #[error("log in {dir} has leader epoch {latest}, it cannot be opened with {given}")]
    EpochGoesBack {
        /// The partition's folder.
        dir: PathBuf,
        /// The highest epoch of the log.
        latest: LeaderEpoch,
        /// The one that it was to be opened with.
        given: LeaderEpoch,
    },
}

/// Why a batch was not appended. Nothing of it is visible.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The producer's sequence or epoch is refused.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// The batch is larger than a segment (Kafka's code 18).
    #[error("batch has {bytes} bytes, a segment at most {max}")]
    TooLarge {
        /// The batch.
        bytes: u64,
        /// `segment.bytes`.
        max: u64,
    },
    /// The header is not that of the bytes, or its offsets do not count up.
    #[error("batch is not the one its header describes")]
    Malformed,
    /// The log follows another's: only that leader's batches are appended.
    #[error("log follows a leader, it has no epoch of its own")]
    Follows,
    /// The disk is full. The next append tries again at the same place.
    #[error("disk is full")]
    DiskFull,
    /// A write or a sync has failed before: the log takes no more (S13).
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The write failed; the log is poisoned from now on.
    #[error("log could not be written: {0}")]
    Io(io::Error),
}

/// A write or a sync has failed: until recovery has read the disk itself, the log takes nothing more and
/// serves nothing above what was flushed (S13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log is poisoned by a failed write or sync")]
pub struct Poisoned;

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is below the log's start or above its end.
    #[error("offset {offset} is not between {start} and {end}")]
    OutOfRange {
        /// The one asked for.
        offset: Offset,
        /// Log start offset.
        start: Offset,
        /// Log end offset.
        end: Offset,
    },
    /// What was asked for may not be on disk, and never will be (S13).
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The log was cut while it was read: what was asked for may be gone.
    #[error("log was truncated while it was read")]
    Truncated,
    /// The log is closed.
    #[error("log is closed")]
    Closed,
    /// The disk could not be read.
    #[error("log could not be read: {0}")]
    Io(#[from] io::Error),
    /// Records with the right checksum could not be unpacked.
    #[error("records could not be read: {0}")]
    Records(#[from] BatchError),
}
