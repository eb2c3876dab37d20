//! Where a leader epoch ends, so that a log that left the leader's is found out (KIP-101, KIP-320).

use crate::{
    model::{LeaderEpoch, NodeId, Offset, PartitionIndex},
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Asks where epochs end.
    struct OffsetForLeaderEpochRequest {
        /// The follower that asks; -1: a consumer; -2: not told.
        replica_id: NodeId [3..] = NodeId::new(-2),
        /// By topic.
        topics: Vec<OffsetForLeaderTopic> [2..],
    }

    /// Partitions of one topic.
    struct OffsetForLeaderTopic {
        /// The topic.
        topic: Str [2..],
        /// The partitions.
        partitions: Vec<OffsetForLeaderPartition> [2..],
    }

    /// A partition and an epoch.
    struct OffsetForLeaderPartition {
        /// The partition.
        partition: PartitionIndex [2..],
        /// The leader's term as the client knows it; -1: unknown.
        current_leader_epoch: LeaderEpoch [2..] = LeaderEpoch::NONE,
        /// The epoch asked for.
        leader_epoch: LeaderEpoch [2..],
    }

    /// Where the epochs end.
    struct OffsetForLeaderEpochResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [2..],
        /// By topic.
        topics: Vec<OffsetForLeaderTopicResult> [2..],
    }

    /// Ends in one topic.
    struct OffsetForLeaderTopicResult {
        /// The topic.
        topic: Str [2..],
        /// By partition.
        partitions: Vec<EpochEndOffset> [2..],
    }

    /// The end in one partition.
    struct EpochEndOffset {
        /// Why there is none.
        error_code: ErrorCode [2..],
        /// The partition.
        partition: PartitionIndex [2..],
        /// The highest epoch of the log that is not above the one asked for; -1: none.
        leader_epoch: LeaderEpoch [2..] = LeaderEpoch::NONE,
        /// Where it ends; -1: unknown.
        end_offset: Offset [2..] = Offset::new(-1),
    }
}

wire_api!(OffsetForLeaderEpoch: OffsetForLeaderEpochRequest -> OffsetForLeaderEpochResponse);
