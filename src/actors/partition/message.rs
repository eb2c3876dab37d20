//! What a leader replica is told.

use std::{io, sync::Arc};

use tokio::sync::oneshot;

use super::{
    append::AwayAppends, cluster::ClusterMessage, error::CommandRefusal, opening::Opened,
    repair::RepairMessage,
};
use crate::{
    config::topic::TopicConfig,
    model::{BootId, Offset},
    storage::{
        log::{Compacted, FlushDone},
        producer_state::ActiveProducer,
    },
};

/// The protocol of [`LeaderReplica`](super::LeaderReplica).
#[derive(Debug)]
pub enum LeaderMessage {
    /// The opening thread: the log is open under a new epoch, or could not be opened.
    Opened(Box<Opened>),
    /// A connection: batches wait in the queue. Answered through each batch's own reply.
    AppendsWait,
    /// The blocking pool: the log is back from an append that was expected to be slow.
    AppendsDone(Box<AwayAppends>),
    /// A flush thread: what was appended before the flush began is on disk, or the flush failed.
    Flushed(FlushDone),
    /// Its own timer, while there is something unflushed or not yet checkpointed.
    Maintain,
    /// A flush thread: the checkpoint is on disk, or not.
    Checkpointed(io::Result<()>),
    /// A flush thread: the block checksums of a sealed segment are on disk, or not.
    Sealed(io::Result<()>),
    /// A flush thread: a pass of compaction has ended.
    Compacted(io::Result<Compacted>),
    /// The reconciler: the topic's configuration changed.
    Configure(Arc<TopicConfig>),
    /// The reconciler's timer: delete what retention lets go.
    ApplyRetention,
    /// A flush thread: the segments that retention let go are gone from the disk, or not.
    RetentionApplied(io::Result<()>),
    /// An administrator: move the log start offset up; `None` means to the high watermark.
    DeleteRecords {
        /// The new log start offset.
        before: Option<Offset>,
        /// Answered once the new start is on disk.
        reply: oneshot::Sender<Result<Offset, CommandRefusal>>,
    },
    /// A flush thread: the new log start offset is on disk, or not.
    StartMoved {
        /// The new start, or why it may be lost by a crash.
        outcome: io::Result<Offset>,
        /// Who asked.
        reply: oneshot::Sender<Result<Offset, CommandRefusal>>,
    },
    /// An administrator: which producers the log remembers.
    DescribeProducers {
        /// Answered at once.
        reply: oneshot::Sender<Vec<ActiveProducer>>,
    },
    /// Of damage in its log.
    Repair(RepairMessage),
    /// Of its followers, and of the partition in the cluster.
    Cluster(ClusterMessage),
    /// The node on its way down: flush, mark the shutdown as clean, and stop. Answered when it is on
    /// disk; the sender is dropped where it could not be done.
    CloseClean {
        /// The boot that the mark names.
        boot: BootId,
        /// Answered when the mark is on disk.
        reply: oneshot::Sender<()>,
    },
}

crate::actors::supervise::local_message!(LeaderMessage);
