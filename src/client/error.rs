use std::{io, sync::Arc, time::Duration};

use crate::{
    model::{NodeId, PartitionIndex, TopicName},
    record::BatchError,
    wire::{ApiKey, DecodeError, EncodeError, ErrorCode, frame::FrameError},
};

/// What went wrong on one connection. Every request that waits on it gets a copy.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectionError {
    /// There is no connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: String,
        /// What failed.
        source: Arc<io::Error>,
    },
    /// There was none in time.
    #[error("no connection to {address} within {after:?}")]
    ConnectTimedOut {
        /// Where to.
        address: String,
        /// How long was waited.
        after: Duration,
    },
    /// The broker speaks no version of this API that we do.
    #[error("{address} serves no common version of {api:?}")]
    NoCommonVersion {
        /// Who.
        address: String,
        /// The API.
        api: ApiKey,
    },
    /// As many requests as may be are on their way; nothing was sent.
    #[error("too many requests to {address} are on their way")]
    Busy {
        /// Who.
        address: String,
    },
    /// The connection had ended before; nothing was sent.
    #[error("not sent, as the connection to {address} has ended")]
    NotSent {
        /// Who.
        address: String,
    },
    /// A request that cannot be written; nothing was sent.
    #[error("request cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
    /// The connection was closed, by either side.
    #[error("connection to {address} was closed")]
    Closed {
        /// Who.
        address: String,
    },
    /// Reading or writing failed.
    #[error("connection to {address} failed: {source}")]
    Io {
        /// Who.
        address: String,
        /// What failed.
        source: Arc<io::Error>,
    },
    /// An answer did not come in time. The connection is closed: answers come in order.
    #[error("no answer from {address} within {after:?}")]
    RequestTimedOut {
        /// Who.
        address: String,
        /// How long was waited.
        after: Duration,
    },
    /// The answer to another request came first.
    #[error("{address} answered request {answered} while {expected} was next")]
    OutOfOrder {
        /// Who.
        address: String,
        /// The request that was to be answered; -1: none was.
        expected: i32,
        /// The request that was answered.
        answered: i32,
    },
    /// What came is not a frame.
    #[error("{address}: {source}")]
    Frame {
        /// Who.
        address: String,
        /// What is wrong.
        source: FrameError,
    },
    /// What came is not the answer that was asked for.
    #[error("answer of {address} to {api:?} cannot be read: {source}")]
    Decode {
        /// Who.
        address: String,
        /// The API.
        api: ApiKey,
        /// What is wrong.
        source: DecodeError,
    },
}

impl ConnectionError {
    /// Whether the request may have been carried out although it has no answer.
    pub const fn outcome_is_unknown(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::ConnectTimedOut { .. }
            | Self::NoCommonVersion { .. }
            | Self::Busy { .. }
            | Self::NotSent { .. }
            | Self::Encode(_) => false,
            Self::Closed { .. }
            | Self::Io { .. }
            | Self::RequestTimedOut { .. }
            | Self::OutOfOrder { .. }
            | Self::Frame { .. }
            | Self::Decode { .. } => true,
        }
    }

    /// Whether another connection may do better.
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::ConnectTimedOut { .. }
            | Self::Busy { .. }
            | Self::NotSent { .. }
            | Self::Closed { .. }
            | Self::Io { .. }
            | Self::RequestTimedOut { .. } => true,
            Self::NoCommonVersion { .. }
            | Self::Encode(_)
            | Self::OutOfOrder { .. }
            | Self::Frame { .. }
            | Self::Decode { .. } => false,
        }
    }
}

/// Why a client did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// A connection failed before the request can have had any effect.
    #[error(transparent)]
    Connection(ConnectionError),
    /// A request that changes something was sent and has no answer: it may have been carried out.
    #[error("outcome unknown, the request may have been carried out: {0}")]
    OutcomeUnknown(ConnectionError),
    /// No broker could be reached.
    #[error("no broker reachable at {}: {last}", addresses.join(", "))]
    Unreachable {
        /// Where it was tried.
        addresses: Vec<String>,
        /// How the last try failed.
        last: ConnectionError,
    },
    /// No address to begin with.
    #[error("no bootstrap address is given")]
    NoBootstrap,
    /// A broker refused.
    #[error("{api:?} refused: {}", message.as_deref().unwrap_or(code.message()))]
    Refused {
        /// What was asked.
        api: ApiKey,
        /// Why.
        code: ErrorCode,
        /// The broker's own words.
        message: Option<String>,
    },
    /// There is no such topic.
    #[error("topic {0} does not exist")]
    UnknownTopic(TopicName),
    /// The topic has no such partition.
    #[error("topic {topic} has no partition {partition}")]
    UnknownPartition {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
    },
    /// A partition had no leader for too long.
    #[error("partition {topic}-{partition} had no leader within {after:?}")]
    NoLeader {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// How long was waited.
        after: Duration,
    },
    /// The metadata names no such broker.
    #[error("node {0} is not among the known brokers")]
    UnknownNode(NodeId),
    /// The answer lacks what was asked for.
    #[error("answer to {0:?} lacks what was asked for")]
    Incomplete(ApiKey),
    /// What a broker sent cannot be taken apart.
    #[error("records of {topic}-{partition} cannot be read: {source}")]
    Records {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// What is wrong.
        source: BatchError,
    },
}

impl ClientError {
    /// A refusal of a broker.
    pub(super) fn refused(api: ApiKey, code: ErrorCode, message: Option<&str>) -> Self {
        Self::Refused { api, code, message: message.map(str::to_owned) }
    }

    /// The broker's code, where one refused.
    pub const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Connection(_)
            | Self::OutcomeUnknown(_)
            | Self::Unreachable { .. }
            | Self::NoBootstrap
            | Self::UnknownTopic(_)
            | Self::UnknownPartition { .. }
            | Self::NoLeader { .. }
            | Self::UnknownNode(_)
            | Self::Incomplete(_)
            | Self::Records { .. } => None,
        }
    }

    /// Whether the same question may be answered later. Never true for [`ClientError::OutcomeUnknown`]:
    /// whether a change may be asked for twice is the caller's to know.
    pub const fn is_retriable(&self) -> bool {
        match self {
            Self::Connection(error) => error.is_retriable(),
            Self::Refused { code, .. } => code.is_retriable(),
            Self::Unreachable { .. } | Self::NoLeader { .. } | Self::UnknownNode(_) => true,
            Self::OutcomeUnknown(_)
            | Self::NoBootstrap
            | Self::UnknownTopic(_)
            | Self::UnknownPartition { .. }
            | Self::Incomplete(_)
            | Self::Records { .. } => false,
        }
    }
}

impl From<ConnectionError> for ClientError {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(error)
    }
}
