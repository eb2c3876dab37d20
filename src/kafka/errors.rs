//! One table from our refusals to Kafka's error codes, without a wildcard: a new refusal needs a code.

use crate::{
    actors::partition::{AppendRefusal, CommandRefusal, ProducerError, ReadError},
    record::BatchError,
    wire::ErrorCode,
};

/// What a producer is told about a batch that cannot be taken.
pub(crate) fn of_batch(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::Truncated { .. }
        | BatchError::Length(_)
        | BatchError::Magic(_)
        | BatchError::Checksum => ErrorCode::CorruptMessage,
        BatchError::OldMagic(_)
        | BatchError::TrailingBytes(_)
        | BatchError::Unpack(_)
        | BatchError::Pack(_)
        | BatchError::Control
        | BatchError::Transactional
        | BatchError::ProducerFields { .. }
        | BatchError::Count { .. }
        | BatchError::Record { .. }
        | BatchError::BytesAfterRecords => ErrorCode::InvalidRecord,
        BatchError::TooLarge { .. } | BatchError::UnpackedTooLarge { .. } => ErrorCode::MessageTooLarge,
        BatchError::Codec(_) => ErrorCode::UnsupportedCompressionType,
        BatchError::TimestampType | BatchError::Timestamp { .. } | BatchError::MaxTimestamp { .. } => {
            ErrorCode::InvalidTimestamp
        }
    }
}

/// What a producer is told about a batch that was not appended, or not acknowledged.
pub(crate) fn of_append(refusal: &AppendRefusal) -> ErrorCode {
    match refusal {
        // After a replica's death a producer asks for metadata and tries again; an idempotent one makes
        // no duplicate by that.
        // Only what has a fence can be fenced off, and no client's batch has one.
        AppendRefusal::NotLeader(_) | AppendRefusal::Fenced | AppendRefusal::OutcomeUnknown => {
            ErrorCode::NotLeaderOrFollower
        }
        AppendRefusal::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
        AppendRefusal::NotEnoughReplicasAfterAppend { .. } => ErrorCode::NotEnoughReplicasAfterAppend,
        AppendRefusal::Producer(error) => match error {
            ProducerError::OutOfOrderSequence { .. } | ProducerError::EpochBeginsLate { .. } => {
                ErrorCode::OutOfOrderSequenceNumber
            }
            ProducerError::StaleEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        },
        AppendRefusal::Malformed => ErrorCode::CorruptMessage,
        AppendRefusal::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
        AppendRefusal::DiskFull | AppendRefusal::Poisoned => ErrorCode::KafkaStorageError,
        AppendRefusal::TimedOut => ErrorCode::RequestTimedOut,
    }
}

/// What a consumer is told about a partition that gives it nothing. Never 2: Java's client throws on it.
pub(crate) fn of_read(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Closed | ReadError::Truncated => ErrorCode::NotLeaderOrFollower,
        ReadError::Poisoned(_) | ReadError::Io(_) | ReadError::Records(_) => ErrorCode::KafkaStorageError,
    }
}

/// What an administrator is told about a command on a partition.
pub(crate) fn of_command(refusal: &CommandRefusal) -> ErrorCode {
    match refusal {
        CommandRefusal::NotLeader(_) => ErrorCode::NotLeaderOrFollower,
        CommandRefusal::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        // Clients look the leader up again, and ask again.
        CommandRefusal::Unsettled => ErrorCode::LeaderNotAvailable,
        CommandRefusal::Storage(_) => ErrorCode::KafkaStorageError,
        CommandRefusal::TimedOut => ErrorCode::RequestTimedOut,
    }
}
