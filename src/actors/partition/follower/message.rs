//! What a follower replica is told.

use std::{io, sync::Arc};

use tokio::sync::oneshot;

use super::{Led, following::CutLog, opening::Opened};
use crate::{
    actors::partition::{HandedOver, RepairMessage},
    config::topic::TopicConfig,
    model::BootId,
    storage::log::{Compacted, FlushDone},
};

/// The protocol of [`FollowerReplica`](super::FollowerReplica).
#[derive(Debug)]
pub enum FollowerMessage {
    /// The opening thread: the log is open, or could not be opened.
    Opened(Box<Opened>),
    /// The reconciler: this is who leads.
    Led(Led),
    /// The stream: something waits in the arrivals.
    Arrived,
    /// A flush thread: what was appended before the flush began is on disk, or the flush failed.
    Flushed(FlushDone),
    /// A thread: the log was cut, or could not be.
    Cut(Box<CutLog>),
    /// Its own timer: ask the leader again.
    Retry,
    /// Its own timer, while there is something unflushed or not yet checkpointed.
    Maintain,
    /// A flush thread: the checkpoint is on disk, or not.
    Checkpointed(io::Result<()>),
    /// A flush thread: the block checksums of a sealed segment are on disk, or not.
    Sealed(io::Result<()>),
    /// A flush thread: a pass of compaction has ended.
    Compacted(io::Result<Compacted>),
    /// Of damage in its log.
    Repair(RepairMessage),
    /// A flush thread: the segments that retention let go are gone from the disk, or not.
    RetentionApplied(io::Result<()>),
    /// The reconciler's timer: delete what retention lets go.
    ApplyRetention,
    /// The reconciler: the topic's configuration changed.
    Configure(Arc<TopicConfig>),
    /// The reconciler: this node leads from now on, or another role is to have the log. Answered once no truncation is
    /// under way.
    HandOver {
        /// Answered with the log.
        reply: oneshot::Sender<HandedOver>,
    },
    /// The node on its way down: flush, and mark the shutdown as clean.
    CloseClean {
        /// The boot that the mark names.
        boot: BootId,
        /// Answered when the mark is on disk.
        reply: oneshot::Sender<()>,
    },
}

crate::actors::supervise::local_message!(FollowerMessage);
