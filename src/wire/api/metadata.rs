//! Brokers, topics and who leads each partition.

use crate::{
    model::{LeaderEpoch, NodeId, PartitionIndex, TopicId},
    wire::{ErrorCode, Str},
};

/// No set of authorised operations was asked for.
pub const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

wire_structs! {
    /// Asks for topics.
    struct MetadataRequest {
        /// The topics; null asks for all. In version 0 the empty list does.
        topics: Option<Vec<MetadataRequestTopic>> [0..; null 1..] = Some(Vec::new()),
        /// Whether a topic that is missing may be made.
        allow_auto_topic_creation: bool [4..] = true,
        /// Whether to tell what the client may do to the cluster.
        include_cluster_authorized_operations: bool [8..=10],
        /// Whether to tell what the client may do to each topic.
        include_topic_authorized_operations: bool [8..],
    }

    /// A topic by name, or from version 10 by id.
    struct MetadataRequestTopic {
        /// The id; nil: by name.
        topic_id: TopicId [10..],
        /// The name; null: by id.
        name: Option<Str> [0..; null 10..],
    }

    /// The cluster as this node sees it.
    struct MetadataResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [3..],
        /// Live brokers.
        brokers: Vec<MetadataResponseBroker> [0..],
        /// The cluster's id.
        cluster_id: Option<Str> [2..; null 2..],
        /// The controller; -1: none.
        controller_id: NodeId [1..] = NodeId::new(-1),
        /// The topics asked for.
        topics: Vec<MetadataResponseTopic> [0..],
        /// Bits of what the client may do to the cluster.
        cluster_authorized_operations: i32 [8..=10] = OPERATIONS_NOT_ASKED,
        /// An error of the request as a whole.
        error_code: ErrorCode [13..],
    }

    /// A broker.
    struct MetadataResponseBroker {
        /// Its id.
        node_id: NodeId [0..],
        /// Where clients reach it.
        host: Str [0..],
        /// Where clients reach it.
        port: i32 [0..],
        /// Its rack.
        rack: Option<Str> [1..; null 1..],
    }

    /// A topic.
    struct MetadataResponseTopic {
        /// Why there is no answer for it.
        error_code: ErrorCode [0..],
        /// Its name; null only if it was asked for by an id that is unknown.
        name: Option<Str> [0..; null 12..],
        /// Its id.
        topic_id: TopicId [10..],
        /// Whether it is the cluster's own.
        is_internal: bool [1..],
        /// Its partitions.
        partitions: Vec<MetadataResponsePartition> [0..],
        /// Bits of what the client may do to it.
        topic_authorized_operations: i32 [8..] = OPERATIONS_NOT_ASKED,
    }

    /// A partition.
    struct MetadataResponsePartition {
        /// Why it cannot be used.
        error_code: ErrorCode [0..],
        /// Its number.
        partition_index: PartitionIndex [0..],
        /// Its leader; -1: none.
        leader_id: NodeId [0..],
        /// The leader's term.
        leader_epoch: LeaderEpoch [7..] = LeaderEpoch::NONE,
        /// All replicas.
        replica_nodes: Vec<NodeId> [0..],
        /// The replicas in sync.
        isr_nodes: Vec<NodeId> [0..],
        /// The replicas whose disk or node is down.
        offline_replicas: Vec<NodeId> [5..],
    }
}

wire_api!(Metadata: MetadataRequest -> MetadataResponse);
