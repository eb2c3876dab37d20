//! What a coordinator is asked and what it answers. Where the protocol's own messages say it best they are used as
//! they are.

use uuid::Uuid;

use super::{attempts::Attempted, offsets::Committed};
use crate::{
    model::{PartitionIndex, TopicId},
    wire::{
        ErrorCode, Str,
        api::{
            consumer_group_describe,
            consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse},
            describe_groups::DescribedGroup,
            heartbeat::{HeartbeatRequest, HeartbeatResponse},
            join_group::{JoinGroupRequest, JoinGroupResponse},
            leave_group::{LeaveGroupRequest, LeaveGroupResponse},
            list_groups::ListedGroup,
            offset_commit::{Nacked, OffsetCommitRequestPartition},
            sync_group::{SyncGroupRequest, SyncGroupResponse},
        },
    },
};

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The client's own name.
    pub client_id: Str,
    /// Where it comes from, as Kafka writes it: `/127.0.0.1`.
    pub client_host: Str,
    /// The version of the API that it speaks.
    pub version: i16,
    /// Nobody else has been given this one: what a new member's id is made of.
    pub fresh: Uuid,
}

/// Offsets to be kept.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The group.
    pub group: Str,
    /// The member; empty for a client that is none.
    pub member_id: Str,
    /// What a static member is known by.
    pub instance_id: Option<Str>,
    /// The member's generation; negative for a client that is no member.
    pub generation: i32,
    /// How long to keep them, in ms, where an old client says so; else negative.
    pub retention_ms: i64,
    /// By topic; all of these exist.
    pub topics: Vec<CommitTopic>,
}

/// Offsets of one topic to be kept.
#[derive(Clone, Debug, Default)]
pub struct CommitTopic {
    /// Its name.
    pub name: Str,
    /// Its id.
    pub id: TopicId,
    /// By partition.
    pub partitions: Vec<OffsetCommitRequestPartition>,
}

/// Partitions of one topic, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partitions {
    /// The topic.
    pub topic: Str,
    /// The partitions.
    pub indexes: Vec<PartitionIndex>,
}

/// What one partition of a topic came to.
pub type PerPartition<T> = Vec<(Str, Vec<(PartitionIndex, T)>)>;

/// Which offsets are wanted.
#[derive(Clone, Debug, Default)]
pub struct FetchOffsets {
    /// The group.
    pub group: Str,
    /// The member that asks and its epoch, where a client says so (KIP-848).
    pub member: Option<(Str, i32)>,
    /// Where they are wanted of; `None`: all that the group has.
    pub topics: Option<Vec<Partitions>>,
}

/// Which groups are wanted; an empty list: whatever.
#[derive(Clone, Debug, Default)]
pub struct ListFilter {
    /// In one of these states.
    pub states: Vec<Str>,
    /// Of one of these types.
    pub types: Vec<Str>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub enum Request {
    /// Join, or join again.
    Join(JoinGroupRequest),
    /// Bring or fetch the assignment.
    Sync(SyncGroupRequest),
    /// A sign of life.
    Heartbeat(HeartbeatRequest),
    /// All that a member of a group says whose partitions the coordinator assigns.
    ConsumerHeartbeat(ConsumerGroupHeartbeatRequest),
    /// Leave.
    Leave(LeaveGroupRequest),
    /// Keep offsets.
    Commit(Commit),
    /// Keep offsets, and count the deliveries that failed there.
    Nack(Commit),
    /// Tell offsets.
    FetchOffsets(FetchOffsets),
    /// Tell what was tried and failed.
    Attempts {
        /// The group.
        group: Str,
    },
    /// Forget offsets of partitions.
    DeleteOffsets {
        /// The group.
        group: Str,
        /// The partitions.
        topics: Vec<Partitions>,
    },
    /// Show a group.
    Describe {
        /// The group.
        group: Str,
    },
    /// Show a group whose partitions the coordinator assigns.
    ConsumerDescribe {
        /// The group.
        group: Str,
    },
    /// List groups.
    List(ListFilter),
    /// Forget a group that has no members.
    Delete {
        /// The group.
        group: Str,
    },
}

/// What is answered; each to the request of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Request::Join`].
    Join(JoinGroupResponse),
    /// To [`Request::Sync`].
    Sync(SyncGroupResponse),
    /// To [`Request::Heartbeat`].
    Heartbeat(HeartbeatResponse),
    /// To [`Request::ConsumerHeartbeat`].
    ConsumerHeartbeat(ConsumerGroupHeartbeatResponse),
    /// To [`Request::Leave`].
    Leave(LeaveGroupResponse),
    /// To [`Request::Commit`].
    Commit(PerPartition<ErrorCode>),
    /// To [`Request::Nack`].
    Nack(PerPartition<(ErrorCode, Option<Nacked>)>),
    /// To [`Request::FetchOffsets`]: the whole was refused, or what there is of each.
    Offsets(Result<PerPartition<Option<Committed>>, ErrorCode>),
    /// To [`Request::Attempts`].
    Attempts(PerPartition<Attempted>),
    /// To [`Request::DeleteOffsets`]: the whole was refused, or what came of each.
    DeleteOffsets(Result<PerPartition<ErrorCode>, ErrorCode>),
    /// To [`Request::Describe`].
    Describe(DescribedGroup),
    /// To [`Request::ConsumerDescribe`].
    ConsumerDescribe(consumer_group_describe::DescribedGroup),
    /// To [`Request::List`].
    List(Vec<ListedGroup>),
    /// To [`Request::Delete`].
    Delete(ErrorCode),
}
