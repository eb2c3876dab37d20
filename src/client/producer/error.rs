use std::time::Duration;

use crate::{
    client::{ClientError, ConnectionError},
    model::{PartitionIndex, TopicName},
    record::BatchError,
    wire::ErrorCode,
};

/// What stood in the way of a batch when it was last tried.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Obstacle {
    /// It was not tried: the partition had no leader that could be reached, or others were before it.
    #[error("it could not be sent yet")]
    NotTried,
    /// A broker refused it for then.
    #[error("{0}")]
    Refused(ErrorCode),
    /// The connection failed.
    #[error(transparent)]
    Connection(ConnectionError),
}

/// Why a record was not written, or may not have been.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProduceError {
    /// It was not taken, since its topic or partition cannot be found.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It was not taken, since it is larger than all records together may be.
    #[error("record of {bytes} bytes is larger than the buffer of {limit}")]
    TooLarge {
        /// The record.
        bytes: usize,
        /// All records together.
        limit: usize,
    },
    /// Its batch could not be packed; it is not written.
    #[error(transparent)]
    Pack(#[from] BatchError),
    /// The broker refused it for good; it is not written.
    #[error("{topic}-{partition} refused the batch: {}", message.as_deref().unwrap_or(code.message()))]
    Refused {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// Why.
        code: ErrorCode,
        /// The broker's own words.
        message: Option<String>,
    },
    /// It could not be written in time; it is not written.
    #[error("not written to {topic}-{partition} within {after:?}: {last}")]
    TimedOut {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// How long was tried.
        after: Duration,
        /// How the last try failed.
        last: Obstacle,
    },
    /// It was sent and no answer says what became of it: it may be written.
    #[error("outcome unknown, the batch for {topic}-{partition} may be written: {last}")]
    OutcomeUnknown {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// How the last try failed.
        last: Obstacle,
    },
    /// The producer was closed. What had been sent may be written.
    #[error("producer is closed")]
    Closed,
}

impl ProduceError {
    /// Whether the record may be in the log all the same.
    pub const fn outcome_is_unknown(&self) -> bool {
        match self {
            Self::OutcomeUnknown { .. } | Self::Closed => true,
            Self::Client(_)
            | Self::TooLarge { .. }
            | Self::Pack(_)
            | Self::Refused { .. }
            | Self::TimedOut { .. } => false,
        }
    }
}
