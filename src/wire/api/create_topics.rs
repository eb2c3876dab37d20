//! Makes topics.

use crate::{
    model::{NodeId, PartitionIndex, TopicId},
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Topics to make.
    struct CreateTopicsRequest {
        /// The topics.
        topics: Vec<CreatableTopic> [2..],
        /// How long to wait until they are made.
        timeout_ms: i32 [2..] = 60_000,
        /// Whether to check only.
        validate_only: bool [2..],
    }

    /// A topic to make.
    struct CreatableTopic {
        /// Its name.
        name: Str [2..],
        /// How many partitions; -1: the node's default, or as the assignments say.
        num_partitions: i32 [2..],
        /// How many replicas of each; -1: the node's default, or as the assignments say.
        replication_factor: i16 [2..],
        /// Which nodes hold which partition; empty: the cluster chooses.
        assignments: Vec<CreatableReplicaAssignment> [2..],
        /// Its configs.
        configs: Vec<CreatableTopicConfig> [2..],
    }

    /// The nodes of one partition.
    struct CreatableReplicaAssignment {
        /// The partition.
        partition_index: PartitionIndex [2..],
        /// The nodes.
        broker_ids: Vec<NodeId> [2..],
    }

    /// A config of a topic to make.
    struct CreatableTopicConfig {
        /// Its name.
        name: Str [2..],
        /// Its value.
        value: Option<Str> [2..; null 2..],
    }

    /// What became of the topics.
    struct CreateTopicsResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [2..],
        /// By topic.
        topics: Vec<CreatableTopicResult> [2..],
    }

    /// What became of one topic.
    struct CreatableTopicResult {
        /// Its name.
        name: Str [2..],
        /// Its id.
        topic_id: TopicId [7..],
        /// Why it was not made.
        error_code: ErrorCode [2..],
        /// The same, for a person.
        error_message: Option<Str> [2..; null 2..],
        /// Why its configs are not told.
        topic_config_error_code: ErrorCode [5..; tag 0],
        /// How many partitions it has; -1: not told.
        num_partitions: i32 [5..] = -1,
        /// How many replicas each has; -1: not told.
        replication_factor: i16 [5..] = -1,
        /// Its configs; null: not told.
        configs: Option<Vec<CreatableTopicConfigs>> [5..; null 5..],
    }

    /// A config of a topic that was made.
    struct CreatableTopicConfigs {
        /// Its name.
        name: Str [5..],
        /// Its value.
        value: Option<Str> [5..; null 5..],
        /// Whether it cannot be changed.
        read_only: bool [5..],
        /// Where the value comes from ([`super::describe_configs::source`]).
        config_source: i8 [5..] = -1,
        /// Whether the value is a secret.
        is_sensitive: bool [5..],
    }
}

wire_api!(CreateTopics: CreateTopicsRequest -> CreateTopicsResponse);
