//! Finds offsets by time.

use crate::{
    model::{LeaderEpoch, NodeId, Offset, PartitionIndex, TimestampMs},
    wire::{ErrorCode, Str},
};

/// Asks for the end of the log as consumers see it.
pub const LATEST: TimestampMs = TimestampMs::new(-1);
/// Asks for the start of the log.
pub const EARLIEST: TimestampMs = TimestampMs::new(-2);
/// Asks for the record with the highest timestamp (KIP-734, from version 7).
pub const MAX_TIMESTAMP: TimestampMs = TimestampMs::new(-3);
/// Asks for the start of what is on local disk (KIP-405, from version 8).
pub const EARLIEST_LOCAL: TimestampMs = TimestampMs::new(-4);
/// Asks for the end of what is in tiered storage (KIP-1005, from version 9).
pub const LATEST_TIERED: TimestampMs = TimestampMs::new(-5);

wire_structs! {
    /// Asks for offsets.
    struct ListOffsetsRequest {
        /// The follower that asks; -1: a consumer.
        replica_id: NodeId [1..] = NodeId::new(-1),
        /// 0: read uncommitted, 1: read committed.
        isolation_level: i8 [2..],
        /// By topic.
        topics: Vec<ListOffsetsTopic> [1..],
        /// How long to wait for tiered storage.
        timeout_ms: i32 [10..],
    }

    /// Partitions of one topic.
    struct ListOffsetsTopic {
        /// The topic.
        name: Str [1..],
        /// The partitions.
        partitions: Vec<ListOffsetsPartition> [1..],
    }

    /// A partition and a time.
    struct ListOffsetsPartition {
        /// The partition.
        partition_index: PartitionIndex [1..],
        /// The leader's term as the client knows it; -1: unknown.
        current_leader_epoch: LeaderEpoch [4..] = LeaderEpoch::NONE,
        /// The time, or one of the negative constants of this module.
        timestamp: TimestampMs [1..],
    }

    /// Offsets.
    struct ListOffsetsResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [2..],
        /// By topic.
        topics: Vec<ListOffsetsTopicResponse> [1..],
    }

    /// Offsets in one topic.
    struct ListOffsetsTopicResponse {
        /// The topic.
        name: Str [1..],
        /// By partition.
        partitions: Vec<ListOffsetsPartitionResponse> [1..],
    }

    /// The offset in one partition.
    struct ListOffsetsPartitionResponse {
        /// The partition.
        partition_index: PartitionIndex [1..],
        /// Why there is none.
        error_code: ErrorCode [1..],
        /// The timestamp of that record; -1: none.
        timestamp: TimestampMs [1..] = TimestampMs::NONE,
        /// The first offset at or after the time; -1: there is none.
        offset: Offset [1..] = Offset::new(-1),
        /// The term of that record; -1: unknown.
        leader_epoch: LeaderEpoch [4..] = LeaderEpoch::NONE,
    }
}

wire_api!(ListOffsets: ListOffsetsRequest -> ListOffsetsResponse);
