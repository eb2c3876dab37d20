//! Forgets committed offsets of topics that a group does not consume (KIP-496).

use crate::{
    model::PartitionIndex,
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Forgets offsets.
    struct OffsetDeleteRequest {
        /// The group.
        group_id: Str [0..],
        /// By topic.
        topics: Vec<OffsetDeleteRequestTopic> [0..],
    }

    /// Of one topic.
    struct OffsetDeleteRequestTopic {
        /// The topic.
        name: Str [0..],
        /// By partition.
        partitions: Vec<OffsetDeleteRequestPartition> [0..],
    }

    /// Of one partition.
    struct OffsetDeleteRequestPartition {
        /// The partition.
        partition_index: PartitionIndex [0..],
    }

    /// What came of it.
    struct OffsetDeleteResponse {
        /// Why nothing was forgotten.
        error_code: ErrorCode [0..],
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [0..],
        /// By topic.
        topics: Vec<OffsetDeleteResponseTopic> [0..],
    }

    /// Of one topic.
    struct OffsetDeleteResponseTopic {
        /// The topic.
        name: Str [0..],
        /// By partition.
        partitions: Vec<OffsetDeleteResponsePartition> [0..],
    }

    /// Of one partition.
    struct OffsetDeleteResponsePartition {
        /// The partition.
        partition_index: PartitionIndex [0..],
        /// Why it was not forgotten.
        error_code: ErrorCode [0..],
    }
}

wire_api!(OffsetDelete: OffsetDeleteRequest -> OffsetDeleteResponse);
