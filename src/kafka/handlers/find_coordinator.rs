//! `FindCoordinator`: who coordinates groups. Nobody coordinates transactions or share groups yet.
//!
//! The first question for a group makes the topic that groups are kept in, and waits for its partitions: a client
//! that is told "not yet" sleeps longer than that. For a transaction the error is final: a client that tried for
//! ever would never tell its user.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::{
    actors::{
        group_coordinator::OFFSETS_TOPIC,
        membership::{MembershipError, NewTopic, Refusal},
    },
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

use super::readiness;

/// How long the topic of the groups may take to be made and led.
const CREATION_WAIT: Duration = Duration::from_secs(5);

/// Finds, or says why there is none.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let found = match refusal(request.key_type, version) {
        None => there(broker).await,
        Some(refused) => Err(refused),
    };
    if let Err((code, _)) = found {
        broker.meters.refused(ApiKey::FindCoordinator, code);
    }
    let coordinator = match found {
        Ok(()) => Coordinator {
            node_id: broker.node_id,
            host: session.advertised.host.as_str().into(),
            port: i32::from(session.advertised.port),
            ..Coordinator::default()
        },
        Err((error_code, text)) => Coordinator {
            node_id: NodeId::new(-1),
            port: -1,
            error_code,
            error_message: Some(Str::from_static(text)),
            ..Coordinator::default()
        },
    };
    answer(request, version, &coordinator)
}

fn refusal(key_type: i8, version: i16) -> Option<(ErrorCode, &'static str)> {
    match key_type {
        KEY_TYPE_GROUP => None,
        KEY_TYPE_TRANSACTION => {
            Some((ErrorCode::TransactionalIdAuthorizationFailed, "transactions are not supported"))
        }
        KEY_TYPE_SHARE if version >= 6 => Some((ErrorCode::InvalidRequest, "share groups are not supported")),
        _ => Some((ErrorCode::InvalidRequest, "the key type is not one of this version")),
    }
}

/// Sees to it that there are coordinators.
async fn there(broker: &Broker) -> Result<(), (ErrorCode, &'static str)> {
    let not_yet = (ErrorCode::CoordinatorNotAvailable, "the topic of the groups is being made");
    let deadline = Instant::now() + CREATION_WAIT;
    if broker.topics.by_name(OFFSETS_TOPIC).is_none() {
        make_topic(broker).await.map_err(|error| {
            tracing::warn!("{OFFSETS_TOPIC} could not be made: {error}");
            (ErrorCode::CoordinatorNotAvailable, "the topic of the groups could not be made")
        })?;
        let id = broker.membership.image().topic_named(OFFSETS_TOPIC).map(|topic| topic.id);
        let led = match id {
            Some(id) => readiness::until_led(&broker.topics, id, 1, deadline).await,
            None => false,
        };
        if !led {
            return Err(not_yet);
        }
    }
    let left = deadline.saturating_duration_since(Instant::now());
    broker.groups.until_there(left).await.map_err(|_| not_yet)
}

async fn make_topic(broker: &Broker) -> Result<(), MembershipError> {
    let configs = BTreeMap::from([
        ("cleanup.policy".to_owned(), "compact".to_owned()),
        ("segment.bytes".to_owned(), (100 << 20).to_string()),
    ]);
    let new = NewTopic {
        name: OFFSETS_TOPIC.to_owned(),
        partitions: broker.settings.groups.offsets_partitions,
        replication_factor: -1,
        assignments: BTreeMap::new(),
        configs,
    };
    match broker.membership.create_topic(new, false).await {
        Ok(_) | Err(MembershipError::Refused(Refusal::TopicExists(_))) => Ok(()),
        Err(error) => Err(error),
    }
}

/// One key in its own fields up to version 3, a list of them from version 4 on (KIP-699).
fn answer(request: FindCoordinatorRequest, version: i16, found: &Coordinator) -> FindCoordinatorResponse {
    if version < 4 {
        let found = found.clone();
        return FindCoordinatorResponse {
            error_code: found.error_code,
            error_message: found.error_message,
            node_id: found.node_id,
            host: found.host,
            port: found.port,
            ..FindCoordinatorResponse::default()
        };
    }
    let coordinator = |key| Coordinator { key, ..found.clone() };
    let coordinators = request.coordinator_keys.into_iter().map(coordinator).collect();
    FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() }
}

#[cfg(test)]
mod tests {
    use super::{answer, refusal};
    use crate::{
        model::NodeId,
        wire::{
            ErrorCode,
            api::find_coordinator::{
                Coordinator, FindCoordinatorRequest, KEY_TYPE_GROUP, KEY_TYPE_SHARE, KEY_TYPE_TRANSACTION,
            },
        },
    };

    #[test]
    fn a_group_has_a_coordinator_and_a_transaction_fails_for_good() {
        assert_eq!(refusal(KEY_TYPE_GROUP, 0), None);
        for version in 1..=6 {
            for key_type in [KEY_TYPE_TRANSACTION, KEY_TYPE_SHARE, 99, -1] {
                let (code, _) = refusal(key_type, version).unwrap();
                assert!(!code.is_retriable(), "{key_type} in {version}");
            }
        }
    }

    #[test]
    fn the_answer_has_the_form_of_its_version() {
        let found =
            Coordinator { node_id: NodeId::new(3), host: "h".into(), port: 9, ..Coordinator::default() };
        let request = FindCoordinatorRequest {
            key: "g".into(),
            coordinator_keys: vec!["a".into(), "b".into()],
            ..FindCoordinatorRequest::default()
        };
        let old = answer(request.clone(), 3, &found);
        assert_eq!((old.node_id, old.port, old.coordinators.len()), (NodeId::new(3), 9, 0));
        let new = answer(request, 4, &found);
        assert_eq!((new.error_code, new.host.as_str()), (ErrorCode::None, ""));
        let told: Vec<_> = new.coordinators.iter().map(|one| (one.key.as_str(), one.port)).collect();
        assert_eq!(told, [("a", 9), ("b", 9)]);
    }
}
