//! Brokers and controller (KIP-700).

use super::metadata::OPERATIONS_NOT_ASKED;
use crate::{
    model::NodeId,
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Asks for the cluster.
    struct DescribeClusterRequest {
        /// Whether to tell what the client may do to it.
        include_cluster_authorized_operations: bool [0..],
        /// 1: brokers, 2: controllers.
        endpoint_type: i8 [1..] = 1,
        /// Whether to list brokers that are fenced.
        include_fenced_brokers: bool [2..],
    }

    /// The cluster.
    struct DescribeClusterResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [0..],
        /// Why there is no answer.
        error_code: ErrorCode [0..],
        /// The same, for a person.
        error_message: Option<Str> [0..; null 0..],
        /// 1: brokers, 2: controllers.
        endpoint_type: i8 [1..] = 1,
        /// The cluster's id.
        cluster_id: Str [0..],
        /// The controller; -1: none.
        controller_id: NodeId [0..] = NodeId::new(-1),
        /// The brokers.
        brokers: Vec<DescribeClusterBroker> [0..],
        /// Bits of what the client may do.
        cluster_authorized_operations: i32 [0..] = OPERATIONS_NOT_ASKED,
    }

    /// A broker.
    struct DescribeClusterBroker {
        /// Its id.
        broker_id: NodeId [0..],
        /// Where clients reach it.
        host: Str [0..],
        /// Where clients reach it.
        port: i32 [0..],
        /// Its rack.
        rack: Option<Str> [0..; null 0..],
        /// Whether it is fenced.
        is_fenced: bool [2..],
    }
}

wire_api!(DescribeCluster: DescribeClusterRequest -> DescribeClusterResponse);
