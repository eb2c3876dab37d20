use std::time::Duration;

use crate::{
    client::{ClientError, consumer::ConsumeError},
    model::{Offset, PartitionIndex, TopicName},
    wire::ErrorCode,
};

/// Why a member of a group did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GroupError {
    /// The coordinator could not be asked, or its answer was lost.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A partition is read no further; others are.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// The group will not have this member.
    #[error("group {group} refused: {}", message.as_deref().unwrap_or(code.message()))]
    Ended {
        /// The group.
        group: String,
        /// Why.
        code: ErrorCode,
        /// The coordinator's own words.
        message: Option<String>,
    },
    /// The partition is not this member's any more, or is read again from an earlier record, so what is said of this
    /// one does not count: it is delivered again, to whoever has the partition.
    #[error(
        "{topic}-{partition}: the delivery of offset {offset} is of before the partition was given up or read again"
    )]
    Outdated {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// The record's offset, or what was to be committed.
        offset: Offset,
    },
    /// The application did not ask for records for longer than it may, so the member has left its group and what is said
    /// of this record does not count: it is delivered to whoever has the partition now. The next call of
    /// [`GroupConsumer::next`](super::GroupConsumer::next) brings the member back.
    #[error(
        "{topic}-{partition}: the delivery of offset {offset} is void: nothing was polled for {limit:?} \
         (max_poll_interval), so the member has left its group"
    )]
    PollTimedOut {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// The record's offset, or what was to be committed.
        offset: Offset,
        /// How long it may take.
        limit: Duration,
    },
    /// A record cannot be refused once a later one of its partition is done: the group's position is behind both.
    #[error("{topic}-{partition}: a record behind offset {offset} is done already")]
    Passed {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// The record's offset.
        offset: Offset,
    },
    /// The coordinator refused to keep an offset.
    #[error("{topic}-{partition}: offset is not kept: {}", code.message())]
    NotKept {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// Why.
        code: ErrorCode,
    },
    /// The coordinator is a broker of another kind or an older one. The record is delivered again all the same.
    #[error("the coordinator of the group does not know nack: the failed delivery was not counted")]
    NackUnknown,
}
