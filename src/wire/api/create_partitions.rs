//! Adds partitions to topics (KIP-195).

use crate::{
    model::NodeId,
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Topics to grow.
    struct CreatePartitionsRequest {
        /// The topics.
        topics: Vec<CreatePartitionsTopic> [0..],
        /// How long to wait until the partitions are made.
        timeout_ms: i32 [0..],
        /// Whether to check only.
        validate_only: bool [0..],
    }

    /// A topic to grow.
    struct CreatePartitionsTopic {
        /// Its name.
        name: Str [0..],
        /// How many partitions it shall have in all.
        count: i32 [0..],
        /// Which nodes hold each new partition; null: the cluster chooses.
        assignments: Option<Vec<CreatePartitionsAssignment>> [0..; null 0..],
    }

    /// The nodes of one new partition.
    struct CreatePartitionsAssignment {
        /// The nodes.
        broker_ids: Vec<NodeId> [0..],
    }

    /// What became of the topics.
    struct CreatePartitionsResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [0..],
        /// By topic.
        results: Vec<CreatePartitionsTopicResult> [0..],
    }

    /// What became of one topic.
    struct CreatePartitionsTopicResult {
        /// Its name.
        name: Str [0..],
        /// Why it was not grown.
        error_code: ErrorCode [0..],
        /// The same, for a person.
        error_message: Option<Str> [0..; null 0..],
    }
}

wire_api!(CreatePartitions: CreatePartitionsRequest -> CreatePartitionsResponse);
