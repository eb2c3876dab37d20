//! Partitions page by page (KIP-966).

use super::metadata::OPERATIONS_NOT_ASKED;
use crate::{
    model::{LeaderEpoch, NodeId, PartitionIndex, TopicId},
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Asks for topics, a page at a time.
    struct DescribeTopicPartitionsRequest {
        /// The topics; empty: all.
        topics: Vec<TopicRequest> [0..],
        /// The most partitions to answer.
        response_partition_limit: i32 [0..] = 2000,
        /// Where the page begins; null: at the first.
        cursor: Option<Cursor> [0..; null 0..],
    }

    /// A topic.
    struct TopicRequest {
        /// Its name.
        name: Str [0..],
    }

    /// Where a page begins.
    struct Cursor {
        /// The first topic.
        topic_name: Str [0..],
        /// The first partition in it.
        partition_index: PartitionIndex [0..],
    }

    /// A page of topics.
    struct DescribeTopicPartitionsResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [0..],
        /// The topics.
        topics: Vec<DescribeTopicPartitionsResponseTopic> [0..],
        /// Where the next page begins; null: there is none.
        next_cursor: Option<Cursor> [0..; null 0..],
    }

    /// A topic.
    struct DescribeTopicPartitionsResponseTopic {
        /// Why there is no answer for it.
        error_code: ErrorCode [0..],
        /// Its name.
        name: Option<Str> [0..; null 0..],
        /// Its id.
        topic_id: TopicId [0..],
        /// Whether it is the cluster's own.
        is_internal: bool [0..],
        /// Its partitions.
        partitions: Vec<DescribeTopicPartitionsResponsePartition> [0..],
        /// Bits of what the client may do to it.
        topic_authorized_operations: i32 [0..] = OPERATIONS_NOT_ASKED,
    }

    /// A partition.
    struct DescribeTopicPartitionsResponsePartition {
        /// Why it cannot be used.
        error_code: ErrorCode [0..],
        /// Its number.
        partition_index: PartitionIndex [0..],
        /// Its leader; -1: none.
        leader_id: NodeId [0..],
        /// The leader's term.
        leader_epoch: LeaderEpoch [0..] = LeaderEpoch::NONE,
        /// All replicas.
        replica_nodes: Vec<NodeId> [0..],
        /// The replicas in sync.
        isr_nodes: Vec<NodeId> [0..],
        /// Replicas out of sync that may lead all the same.
        eligible_leader_replicas: Option<Vec<NodeId>> [0..; null 0..],
        /// The last such replicas known.
        last_known_elr: Option<Vec<NodeId>> [0..; null 0..],
        /// The replicas whose disk or node is down.
        offline_replicas: Vec<NodeId> [0..],
    }
}

nullable_structs!(Cursor);

wire_api!(DescribeTopicPartitions: DescribeTopicPartitionsRequest -> DescribeTopicPartitionsResponse);
