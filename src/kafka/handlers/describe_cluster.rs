//! `DescribeCluster`: this broker and its cluster's id (KIP-700).

use crate::{
    kafka::{Broker, connection::Session},
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
    let this = DescribeClusterBroker {
        broker_id: broker.node_id,
        host: session.advertised.host.as_str().into(),
        port: i32::from(session.advertised.port),
        ..DescribeClusterBroker::default()
    };
    DescribeClusterResponse {
        endpoint_type: request.endpoint_type,
        cluster_id: cluster_id(broker).unwrap_or_default(),
        controller_id: broker.node_id,
        brokers: vec![this],
        cluster_authorized_operations: operations(request.include_cluster_authorized_operations),
        ..DescribeClusterResponse::default()
    }
}

/// The cluster's id; `None` until it has one.
pub(super) fn cluster_id(broker: &Broker) -> Option<Str> {
    let id = broker.membership.image().cluster_id();
    (!id.is_nil()).then(|| id.to_string().into())
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
