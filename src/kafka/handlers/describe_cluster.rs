//! `DescribeCluster`: the brokers and their cluster's id (KIP-700).

use crate::{
    kafka::{
        Broker,
        cluster_view::{ClusterView, Reachable},
        connection::Session,
    },
    wire::{
        ApiKey, ErrorCode, Str,
        api::{
            describe_cluster::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse},
            metadata::OPERATIONS_NOT_ASKED,
        },
    },
};

/// `endpoint_type` of brokers.
const BROKERS: i8 = 1;
/// `endpoint_type` of controllers.
const CONTROLLERS: i8 = 2;

/// Bits of what anybody may do to the cluster while there is no authorisation, as Kafka tells them:
/// create, alter, describe, cluster action, describe and alter configs, idempotent write.
pub(super) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// Tells who is in the cluster.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: DescribeClusterRequest,
    _version: i16,
) -> DescribeClusterResponse {
    if let Err(error_code) = check(request.endpoint_type) {
        broker.meters.refused(ApiKey::DescribeCluster, error_code);
        return refused(&request, error_code);
    }
    let view = ClusterView::of(broker, session);
    let brokers = view.brokers(request.include_fenced_brokers);
    DescribeClusterResponse {
        endpoint_type: request.endpoint_type,
        cluster_id: view.cluster_id().unwrap_or_default(),
        controller_id: view.controller(),
        brokers: brokers.into_iter().map(described).collect(),
        cluster_authorized_operations: operations(request.include_cluster_authorized_operations),
        ..DescribeClusterResponse::default()
    }
}

fn described(broker: Reachable) -> DescribeClusterBroker {
    let Reachable { node: broker_id, host, port, rack, fenced: is_fenced } = broker;
    DescribeClusterBroker { broker_id, host, port, rack, is_fenced }
}

pub(super) fn operations(asked: bool) -> i32 {
    if asked { CLUSTER_OPERATIONS } else { OPERATIONS_NOT_ASKED }
}

fn check(endpoint_type: i8) -> Result<(), ErrorCode> {
    match endpoint_type {
        BROKERS => Ok(()),
        CONTROLLERS => Err(ErrorCode::MismatchedEndpointType),
        _ => Err(ErrorCode::UnsupportedEndpointType),
    }
}

fn refused(request: &DescribeClusterRequest, error_code: ErrorCode) -> DescribeClusterResponse {
    DescribeClusterResponse {
        error_code,
        error_message: Some(Str::from_static(error_code.message())),
        endpoint_type: request.endpoint_type,
        ..DescribeClusterResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn only_brokers_are_told_of_here() {
        let code = |endpoint_type| check(endpoint_type).map_err(crate::wire::ErrorCode::code);
        assert_eq!(code(1), Ok(()));
        assert_eq!(code(2), Err(114));
        assert_eq!(code(0), Err(115));
        assert_eq!(code(3), Err(115));
    }
}
