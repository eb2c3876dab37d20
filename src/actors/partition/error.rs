//! What a partition refuses, and why; one table upstairs maps each to Kafka's error codes.

use crate::{
    model::{Offset, PartitionId},
    storage::producer_state::ProducerError,
};

/// Why a batch was not appended. The log is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendRefusal {
    /// No replica of this partition leads here now: it starts, restarts, or its log cannot be opened.
    #[error("partition {0} has no leader on this node")]
    NotLeader(PartitionId),
    /// Somebody else has come in the place of whoever appends; nothing was appended.
    #[error("another has come in the place of whoever appends")]
    Fenced,
    /// `acks=all`, and fewer replicas are in sync than `min.insync.replicas`.
    #[error("{in_sync} replicas are in sync, {required} are required")]
    NotEnoughReplicas {
        /// Members of the in-sync set.
        in_sync: usize,
        /// `min.insync.replicas`.
        required: usize,
    },
    /// The batch was appended, and then the in-sync set became smaller than `min.insync.replicas` (S10): it may be
    /// kept or not.
    #[error("appended, but {in_sync} replicas are in sync, {required} are required")]
    NotEnoughReplicasAfterAppend {
        /// Members of the in-sync set.
        in_sync: usize,
        /// `min.insync.replicas`.
        required: usize,
    },
    /// The producer's sequence or epoch does not follow what the log has of it.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// The header is not that of the bytes.
    #[error("batch is not the one that its header describes")]
    Malformed,
    /// The batch is larger than a segment may be.
    #[error("batch of {bytes} bytes is larger than a segment of {limit}")]
    LargerThanSegment {
        /// The batch.
        bytes: usize,
        /// `segment.bytes`.
        limit: u64,
    },
    /// The disk is full. Reads go on; writes do again when there is space.
    #[error("disk is full")]
    DiskFull,
    /// The log takes no more writes until it has been recovered.
    #[error("log is poisoned after a failed write or flush")]
    Poisoned,
    /// The batch was taken and the replica died before it could answer: it may be in the log or not.
    #[error("replica ended before it answered: outcome unknown")]
    OutcomeUnknown,
    /// The wait for the acknowledgement was longer than the producer's time-out: outcome unknown.
    #[error("not acknowledged in time: outcome unknown")]
    TimedOut,
}

/// Why an administrative command on a partition failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandRefusal {
    /// No replica of this partition leads here now.
    #[error("partition {0} has no leader on this node")]
    NotLeader(PartitionId),
    /// The offset is above the high watermark.
    #[error("offset {asked} is above the high watermark {high_watermark}")]
    OutOfRange {
        /// What was asked for.
        asked: Offset,
        /// The high watermark.
        high_watermark: Offset,
    },
    /// The leader has just taken office, and does not know yet how far its predecessors have acknowledged (S5).
    #[error("high watermark is not known yet")]
    Unsettled,
    /// The disk did not take it.
    #[error("log could not be changed: {0}")]
    Storage(String),
    /// No answer in time: outcome unknown.
    #[error("no answer in time: outcome unknown")]
    TimedOut,
}
