//! `FindCoordinator`: nobody coordinates groups, transactions or share groups here yet.
//!
//! It is served nevertheless: librdkafka takes its absence for a broker so old that it sends gzip,
//! snappy and lz4 uncompressed. For a group the error is one that clients try again after. For a
//! transaction it is final: a client that tried for ever would never tell its user.

use crate::{
    kafka::{Broker, connection::Session},
    model::NodeId,
    wire::{
        ApiKey, ErrorCode, Str,
        api::find_coordinator::{
            Coordinator, FindCoordinatorRequest, FindCoordinatorResponse, KEY_TYPE_GROUP, KEY_TYPE_SHARE,
            KEY_TYPE_TRANSACTION,
        },
    },
};

/// Says why there is no coordinator.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let (error_code, text) = refusal(request.key_type, version);
    broker.meters.refused(ApiKey::FindCoordinator, error_code);
    answer(request, version, error_code, text)
}

fn refusal(key_type: i8, version: i16) -> (ErrorCode, &'static str) {
    match key_type {
        KEY_TYPE_GROUP => {
            (ErrorCode::CoordinatorNotAvailable, "this version of polylogue coordinates no consumer groups")
        }
        KEY_TYPE_TRANSACTION => {
            (ErrorCode::TransactionalIdAuthorizationFailed, "transactions are not supported")
        }
        KEY_TYPE_SHARE if version >= 6 => (ErrorCode::InvalidRequest, "share groups are not supported"),
        _ => (ErrorCode::InvalidRequest, "the key type is not one of this version"),
    }
}

/// One key in its own fields up to version 3, a list of them from version 4 on (KIP-699).
fn answer(
    request: FindCoordinatorRequest,
    version: i16,
    error_code: ErrorCode,
    text: &'static str,
) -> FindCoordinatorResponse {
    let (nobody, error_message) = (NodeId::new(-1), Some(Str::from_static(text)));
    if version < 4 {
        return FindCoordinatorResponse {
            error_code,
            error_message,
            node_id: nobody,
            port: -1,
            ..FindCoordinatorResponse::default()
        };
    }
    let coordinator = |key| Coordinator {
        key,
        node_id: nobody,
        port: -1,
        error_code,
        error_message: error_message.clone(),
        ..Coordinator::default()
    };
    let coordinators = request.coordinator_keys.into_iter().map(coordinator).collect();
    FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() }
}

#[cfg(test)]
mod tests {
    use super::{answer, refusal};
    use crate::wire::{
        ErrorCode,
        api::find_coordinator::{
            FindCoordinatorRequest, KEY_TYPE_GROUP, KEY_TYPE_SHARE, KEY_TYPE_TRANSACTION,
        },
    };

    #[test]
    fn a_group_may_be_asked_for_again_and_a_transaction_fails_for_good() {
        assert_eq!(refusal(KEY_TYPE_GROUP, 0).0, ErrorCode::CoordinatorNotAvailable);
        assert!(refusal(KEY_TYPE_GROUP, 6).0.is_retriable());
        for version in 1..=6 {
            for key_type in [KEY_TYPE_TRANSACTION, KEY_TYPE_SHARE, 99, -1] {
                assert!(!refusal(key_type, version).0.is_retriable(), "{key_type} in {version}");
            }
        }
    }

    #[test]
    fn the_answer_has_the_form_of_its_version() {
        let (code, text) = refusal(KEY_TYPE_GROUP, 4);
        let request = FindCoordinatorRequest {
            key: "g".into(),
            coordinator_keys: vec!["a".into(), "b".into()],
            ..FindCoordinatorRequest::default()
        };
        let one = answer(request.clone(), 3, code, text);
        assert_eq!((one.error_code, one.node_id.get(), one.coordinators.len()), (code, -1, 0));
        let many = answer(request, 4, code, text);
        let keys: Vec<_> = many.coordinators.iter().map(|found| found.key.as_str()).collect();
        assert_eq!(keys, ["a", "b"]);
        assert!(many.coordinators.iter().all(|found| found.error_code == code && found.port == -1));
        assert!(many.error_code.is_none());
    }
}
