//! `FindCoordinator`: who coordinates groups. Nobody coordinates transactions or share groups yet.
//!
//! A group's coordinator is where the group's partition of `__consumer_offsets` is led. The first question for a group
//! makes that topic, and waits for its partitions: a client that is told "not yet" sleeps longer than that. For a transaction the error is final: a client that tried for
//! ever would never tell its user.

use std::{collections::BTreeMap, iter, slice, time::Duration};

use tokio::time::Instant;

use crate::{
    actors::{
        group_coordinator::{OFFSETS_TOPIC, home_of},
        membership::{MembershipError, NewTopic, Refusal},
    },
    kafka::{
        Broker,
        cluster_view::{ClusterView, NOBODY, Reachable},
        connection::Session,
    },
    wire::{
        ApiKey, ErrorCode, Str,
        api::find_coordinator::{
            Coordinator, FindCoordinatorRequest, FindCoordinatorResponse, KEY_TYPE_GROUP, KEY_TYPE_SHARE,
            KEY_TYPE_TRANSACTION,
        },
    },
};

use super::{metadata::LEADER_WAIT, readiness};

/// How long the topic of the groups may take to be made and led.
const CREATION_WAIT: Duration = Duration::from_secs(5);

/// Why there is none, in two forms.
type NotFound = (ErrorCode, &'static str);

const NOT_YET: NotFound = (ErrorCode::CoordinatorNotAvailable, "the topic of the groups is being made");
const NO_LEADER: NotFound =
    (ErrorCode::CoordinatorNotAvailable, "nobody leads the partition of the group now");

/// Finds, or says why there is none.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let refused = refusal(request.key_type, version);
    // One key in a field of its own up to version 3, a list of them from version 4 on (KIP-699).
    let keys = if version < 4 { vec![request.key] } else { request.coordinator_keys };
    let deadline = Instant::now() + CREATION_WAIT;
    let there = match refused {
        None => made(broker, session, deadline).await,
        Some(refused) => Err(refused),
    };
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let one = match there {
            Ok(()) => find(broker, session, &key, deadline).await,
            Err(refused) => Err(refused),
        };
        if let Err((code, _)) = one {
            broker.meters.refused(ApiKey::FindCoordinator, code);
        }
        found.push(told(key, one));
    }
    answer(version, found)
}

/// The node that leads the group's partition. Where that is this one, its coordinator is at work.
async fn find(
    broker: &Broker,
    session: &Session,
    group: &str,
    deadline: Instant,
) -> Result<Reachable, NotFound> {
    let topic = broker.topics.by_name(OFFSETS_TOPIC).ok_or(NOT_YET)?;
    let home = home_of(group, topic.partitions().len()).and_then(|index| topic.partition(index));
    let partition = home.ok_or(NOT_YET)?;
    readiness::succeeded(broker, iter::once(partition)).await;
    readiness::settled(broker, session, slice::from_ref(partition), Instant::now() + LEADER_WAIT).await;
    let view = ClusterView::of(broker, session);
    let leader = view.leader_of(partition).ok_or(NO_LEADER)?;
    if leader.node == broker.node_id {
        let left = deadline.saturating_duration_since(Instant::now());
        let index = partition.id().index;
        broker.groups.until_coordinating(index, left).await.map_err(|_| NO_LEADER)?;
    }
    Ok(leader)
}

fn told(key: Str, found: Result<Reachable, NotFound>) -> Coordinator {
    match found {
        Ok(Reachable { node: node_id, host, port, .. }) => {
            Coordinator { key, node_id, host, port, ..Coordinator::default() }
        }
        Err((error_code, text)) => Coordinator {
            key,
            node_id: NOBODY,
            port: -1,
            error_code,
            error_message: Some(Str::from_static(text)),
            ..Coordinator::default()
        },
    }
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

/// Sees to it that there is a topic for groups, of which this node knows.
async fn made(broker: &Broker, session: &Session, deadline: Instant) -> Result<(), NotFound> {
    if broker.topics.by_name(OFFSETS_TOPIC).is_some() {
        return Ok(());
    }
    make_topic(broker).await.map_err(|error| {
        tracing::warn!("{OFFSETS_TOPIC} could not be made: {error}");
        (ErrorCode::CoordinatorNotAvailable, "the topic of the groups could not be made")
    })?;
    let id = broker.membership.image().topic_named(OFFSETS_TOPIC).map(|topic| topic.id).ok_or(NOT_YET)?;
    let led = readiness::until_led(broker, session, id, 1, deadline).await;
    if led { Ok(()) } else { Err(NOT_YET) }
}

/// As many as there are brokers, up to what is set: with fewer of them groups are to work as well.
fn replicas(broker: &Broker) -> i16 {
    let image = broker.membership.image();
    let live = image.brokers().values().filter(|broker| broker.is_live()).count();
    let brokers = i16::try_from(live).unwrap_or(i16::MAX);
    broker.settings.groups.offsets_replication_factor.min(brokers).max(1)
}

async fn make_topic(broker: &Broker) -> Result<(), MembershipError> {
    let configs = BTreeMap::from([
        ("cleanup.policy".to_owned(), "compact".to_owned()),
        ("segment.bytes".to_owned(), (100 << 20).to_string()),
    ]);
    let new = NewTopic {
        name: OFFSETS_TOPIC.to_owned(),
        partitions: broker.settings.groups.offsets_partitions,
        replication_factor: replicas(broker),
        assignments: BTreeMap::new(),
        configs,
    };
    match broker.membership.create_topic(new, false).await {
        Ok(_) | Err(MembershipError::Refused(Refusal::TopicExists(_))) => Ok(()),
        Err(error) => Err(error),
    }
}

fn answer(version: i16, mut found: Vec<Coordinator>) -> FindCoordinatorResponse {
    if version >= 4 {
        return FindCoordinatorResponse { coordinators: found, ..FindCoordinatorResponse::default() };
    }
    let found = found.pop().unwrap_or_default();
    FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..FindCoordinatorResponse::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{NO_LEADER, Reachable, answer, refusal, told};
    use crate::{
        model::NodeId,
        wire::{
            ErrorCode,
            api::find_coordinator::{KEY_TYPE_GROUP, KEY_TYPE_SHARE, KEY_TYPE_TRANSACTION},
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
        let at = |node, port| Reachable {
            node: NodeId::new(node),
            host: "h".into(),
            port,
            rack: None,
            fenced: false,
        };
        let old = answer(3, vec![told("a".into(), Ok(at(3, 9)))]);
        assert_eq!((old.node_id, old.port, old.coordinators.len()), (NodeId::new(3), 9, 0));
        let found = vec![told("a".into(), Ok(at(3, 9))), told("b".into(), Err(NO_LEADER))];
        let new = answer(4, found);
        assert_eq!((new.error_code, new.host.as_str()), (ErrorCode::None, ""));
        let told: Vec<_> =
            new.coordinators.iter().map(|one| (one.key.as_str(), one.port, one.error_code.code())).collect();
        assert_eq!(told, [("a", 9, 0), ("b", -1, 15)], "each group has a coordinator of its own");
    }
}
