//! Raises log start offsets (KIP-107).

use crate::{
    model::{Offset, PartitionIndex},
    wire::{ErrorCode, Str},
};

/// Asks to delete up to the high watermark.
pub const HIGH_WATERMARK: Offset = Offset::new(-1);

wire_structs! {
    /// Records to delete.
    struct DeleteRecordsRequest {
        /// By topic.
        topics: Vec<DeleteRecordsTopic> [0..],
        /// How long to wait until they are deleted.
        timeout_ms: i32 [0..],
    }

    /// Records of one topic.
    struct DeleteRecordsTopic {
        /// The topic.
        name: Str [0..],
        /// By partition.
        partitions: Vec<DeleteRecordsPartition> [0..],
    }

    /// Records of one partition.
    struct DeleteRecordsPartition {
        /// The partition.
        partition_index: PartitionIndex [0..],
        /// The first offset to keep, or [`HIGH_WATERMARK`].
        offset: Offset [0..],
    }

    /// What became of the records.
    struct DeleteRecordsResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [0..],
        /// By topic.
        topics: Vec<DeleteRecordsTopicResult> [0..],
    }

    /// What became of one topic's records.
    struct DeleteRecordsTopicResult {
        /// The topic.
        name: Str [0..],
        /// By partition.
        partitions: Vec<DeleteRecordsPartitionResult> [0..],
    }

    /// What became of one partition's records.
    struct DeleteRecordsPartitionResult {
        /// The partition.
        partition_index: PartitionIndex [0..],
        /// The log start offset now; -1 with an error.
        low_watermark: Offset [0..],
        /// Why they were not deleted.
        error_code: ErrorCode [0..],
    }
}

wire_api!(DeleteRecords: DeleteRecordsRequest -> DeleteRecordsResponse);
