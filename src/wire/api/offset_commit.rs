//! How far a group has come.

use crate::{
    model::{LeaderEpoch, Offset, PartitionIndex},
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Commits offsets.
    struct OffsetCommitRequest {
        /// The group.
        group_id: Str [2..],
        /// The member's generation, or its epoch (KIP-848); -1: a client that is no member.
        generation_id_or_member_epoch: i32 [2..] = -1,
        /// The member; empty for a client that is none.
        member_id: Str [2..],
        /// What a static member is known by.
        group_instance_id: Option<Str> [7..; null 7..],
        /// How long to keep them, in ms; -1: as the node says. Of old clients.
        retention_time_ms: i64 [2..=4] = -1,
        /// By topic.
        topics: Vec<OffsetCommitRequestTopic> [2..],
    }

    /// Offsets of one topic.
    struct OffsetCommitRequestTopic {
        /// The topic.
        name: Str [2..],
        /// By partition.
        partitions: Vec<OffsetCommitRequestPartition> [2..],
    }

    /// One partition's offset.
    struct OffsetCommitRequestPartition {
        /// The partition.
        partition_index: PartitionIndex [2..],
        /// The offset after the last record that was consumed.
        committed_offset: Offset [2..],
        /// The leader epoch of that record; -1: unknown.
        committed_leader_epoch: LeaderEpoch [6..] = LeaderEpoch::NONE,
        /// Whatever the client wants to keep with it.
        committed_metadata: Option<Str> [2..; null 2..] = Some(Str::default()),
    }

    /// What came of it.
    struct OffsetCommitResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [3..],
        /// By topic.
        topics: Vec<OffsetCommitResponseTopic> [2..],
    }

    /// Of one topic.
    struct OffsetCommitResponseTopic {
        /// The topic.
        name: Str [2..],
        /// By partition.
        partitions: Vec<OffsetCommitResponsePartition> [2..],
    }

    /// Of one partition.
    struct OffsetCommitResponsePartition {
        /// The partition.
        partition_index: PartitionIndex [2..],
        /// Why the offset was not kept.
        error_code: ErrorCode [2..],
    }
}

wire_api!(OffsetCommit: OffsetCommitRequest -> OffsetCommitResponse);
