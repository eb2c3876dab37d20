//! The nouns of the log, as types.
//!
//! No bare integer crosses a module: an offset is not a position, an epoch is not a count. Names
//! and ranges are those of the Kafka protocol. Nothing here does I/O or asks for the time.

mod ids;
mod offset;
mod time;
mod topic;

pub use ids::{
    BootId, BrokerEpoch, LeaderEpoch, NodeId, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, RaftId,
    Sequence, TopicId,
};
pub use offset::Offset;
pub use time::TimestampMs;
pub use topic::{TopicName, TopicNameError, is_internal};
