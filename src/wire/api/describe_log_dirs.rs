//! Shows sizes on disk (KIP-113).

use crate::{
    model::PartitionIndex,
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Asks for sizes.
    struct DescribeLogDirsRequest {
        /// The topics; null: all.
        topics: Option<Vec<DescribableLogDirTopic>> [1..; null 1..],
    }

    /// Partitions of one topic.
    struct DescribableLogDirTopic {
        /// The topic.
        topic: Str [1..],
        /// The partitions.
        partitions: Vec<PartitionIndex> [1..],
    }

    /// Sizes.
    struct DescribeLogDirsResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [1..],
        /// An error of the request as a whole.
        error_code: ErrorCode [3..],
        /// By folder.
        results: Vec<DescribeLogDirsResult> [1..],
    }

    /// Sizes in one folder.
    struct DescribeLogDirsResult {
        /// Why there are none.
        error_code: ErrorCode [1..],
        /// The folder's path.
        log_dir: Str [1..],
        /// By topic.
        topics: Vec<DescribeLogDirsTopic> [1..],
        /// Size of the file system in bytes; -1: unknown.
        total_bytes: i64 [4..] = -1,
        /// Bytes free in it; -1: unknown.
        usable_bytes: i64 [4..] = -1,
    }

    /// Sizes of one topic.
    struct DescribeLogDirsTopic {
        /// The topic.
        name: Str [1..],
        /// By partition.
        partitions: Vec<DescribeLogDirsPartition> [1..],
    }

    /// The size of one replica.
    struct DescribeLogDirsPartition {
        /// The partition.
        partition_index: PartitionIndex [1..],
        /// Bytes of its segments.
        partition_size: i64 [1..],
        /// Offsets by which it lags behind the high watermark, or behind the replica that it replaces.
        offset_lag: i64 [1..],
        /// Whether it will replace another replica of this node.
        is_future_key: bool [1..],
    }
}

wire_api!(DescribeLogDirs: DescribeLogDirsRequest -> DescribeLogDirsResponse);
