//! `Metadata`: brokers, topics, leaders; and topics that are made because somebody asked for them.
//!
//! A topic that this request makes is waited for, so that the client can use it with the answer in hand.
//! A partition without a leader is as a rule in the middle of a restart or of an election, so the answer waits a
//! moment for one: a client that is told "no leader" sleeps longer than that. Where no replica is left that could
//! lead, nothing is waited for.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    actors::{
        membership::{MembershipError, NewTopic, Refusal},
        partition::table::Topic,
    },
    kafka::{Broker, cluster_view::ClusterView, connection::Session},
    model::{TopicId, TopicName, is_internal},
    wire::{
        ApiKey, ErrorCode, Str,
        api::metadata::{
            MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponsePartition,
            MetadataResponseTopic, OPERATIONS_NOT_ASKED,
        },
    },
};

use super::{at_once, describe_cluster, readiness, refusals::of_membership};

/// How long all partitions together are waited for that have no leader now.
pub(super) const LEADER_WAIT: Duration = Duration::from_millis(150);
/// How long a topic is waited for that this request has made.
const CREATION_WAIT: Duration = Duration::from_secs(1);
/// The most partitions that one request makes by asking for topics; Kafka's bound for `CreateTopics`.
const MOST_CREATED: i32 = 10_000;
/// The first version with topic ids in requests that work, and with names that may be null.
const TOPIC_IDS: i16 = 12;
/// The first version whose clients know that a leader may have no listener of their name.
const LISTENERS_NOT_FOUND: i16 = 6;

/// Bits of what anybody may do to a topic while there is no authorisation, as Kafka tells them: read,
/// write, create, delete, alter, describe, describe and alter configs.
pub(super) const TOPIC_OPERATIONS: i32 =
    1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// What a client is told of one topic.
#[derive(Debug)]
enum Answer {
    Found(Arc<Topic>),
    Refused { name: Option<Str>, id: TopicId, code: ErrorCode },
}

impl Answer {
    fn found(&self) -> Option<&Arc<Topic>> {
        match self {
            Self::Found(topic) => Some(topic),
            Self::Refused { .. } => None,
        }
    }

    fn refused(name: Str, code: ErrorCode) -> Self {
        Self::Refused { name: Some(name), id: TopicId::default(), code }
    }
}

/// Tells what this node knows.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: MetadataRequest,
    version: i16,
) -> MetadataResponse {
    let mut leaders_by = Instant::now() + LEADER_WAIT;
    let may_create = request.allow_auto_topic_creation && broker.auto_create.enabled;
    let answers = match asked(request.topics, version) {
        Asked::All => all(broker),
        Asked::Refused(refused) => refused,
        Asked::Ids(ids) => ids.into_iter().map(|id| by_id(broker, id)).collect(),
        Asked::Names(names) => {
            let (answers, created) = by_names(broker, names, may_create).await;
            if created {
                leaders_by = Instant::now() + CREATION_WAIT;
            }
            answers
        }
    };
    let operations =
        if request.include_topic_authorized_operations { TOPIC_OPERATIONS } else { OPERATIONS_NOT_ASKED };
    let asked_for = answers.iter().filter_map(Answer::found).flat_map(|topic| topic.partitions());
    readiness::succeeded(broker, asked_for).await;
    for topic in answers.iter().filter_map(Answer::found) {
        readiness::settled(broker, session, topic.partitions(), leaders_by).await;
    }
    // One view for the whole answer, so that every leader it names is among its brokers.
    let view = ClusterView::of(broker, session);
    let describe = |answer| describe(broker, &view, answer, operations, version);
    let topics = answers.into_iter().map(describe).collect();
    MetadataResponse {
        brokers: view
            .brokers_of_late(&broker.departed, broker.clock.monotonic())
            .into_iter()
            .map(Into::into)
            .collect(),
        cluster_id: view.cluster_id(),
        controller_id: view.controller(),
        topics,
        cluster_authorized_operations: describe_cluster::operations(
            request.include_cluster_authorized_operations,
        ),
        ..MetadataResponse::default()
    }
}

/// What a request asks for; each name and each id once, in the order of the request.
#[derive(Debug)]
enum Asked {
    All,
    Names(Vec<Str>),
    Ids(Vec<TopicId>),
    /// Ids in a version that has the field and not the meaning, as in Kafka.
    Refused(Vec<Answer>),
}

fn asked(topics: Option<Vec<MetadataRequestTopic>>, version: i16) -> Asked {
    let Some(topics) = topics else { return Asked::All };
    if topics.is_empty() && version == 0 {
        return Asked::All;
    }
    let has_id = |topic: &MetadataRequestTopic| !topic.topic_id.is_nil();
    if version < TOPIC_IDS && topics.iter().any(|topic| has_id(topic) || topic.name.is_none()) {
        let refused = |topic: MetadataRequestTopic| Answer::Refused {
            name: Some(topic.name.unwrap_or_default()),
            id: topic.topic_id,
            code: ErrorCode::InvalidRequest,
        };
        return Asked::Refused(topics.into_iter().map(refused).collect());
    }
    // One id makes it a request by ids.
    if topics.iter().any(has_id) {
        let mut seen = HashSet::new();
        let ids = topics.into_iter().map(|topic| topic.topic_id);
        return Asked::Ids(ids.filter(|id| !id.is_nil() && seen.insert(*id)).collect());
    }
    let mut seen = HashSet::new();
    let names = topics.into_iter().filter_map(|topic| topic.name);
    Asked::Names(names.filter(|name| seen.insert(name.clone())).collect())
}

fn all(broker: &Broker) -> Vec<Answer> {
    let mut topics = broker.topics.all();
    topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    topics.into_iter().map(Answer::Found).collect()
}

fn by_id(broker: &Broker, id: TopicId) -> Answer {
    let unknown = Answer::Refused { name: None, id, code: ErrorCode::UnknownTopicId };
    broker.topics.by_id(id).map_or(unknown, Answer::Found)
}

/// Looks topics up, makes those that are missing if that is allowed, and says whether any was made.
async fn by_names(broker: &Broker, names: Vec<Str>, may_create: bool) -> (Vec<Answer>, bool) {
    let mut outcomes = if may_create { create_missing(broker, &names).await } else { HashMap::new() };
    let created = !outcomes.is_empty();
    let deadline = Instant::now() + if created { CREATION_WAIT } else { LEADER_WAIT };
    let mut answers = Vec::with_capacity(names.len());
    for name in names {
        let answer = match outcomes.remove(&name) {
            Some(Err(code)) => Answer::refused(name, code),
            Some(Ok(id)) => appearing(broker, name, id, deadline).await,
            None => by_name(broker, name, deadline).await,
        };
        answers.push(answer);
    }
    (answers, created)
}

async fn by_name(broker: &Broker, name: Str, deadline: Instant) -> Answer {
    if let Some(topic) = broker.topics.by_name(&name) {
        return Answer::Found(topic);
    }
    if TopicName::new(&name).is_err() {
        return Answer::refused(name, ErrorCode::InvalidTopic);
    }
    // Committed a moment ago, and not yet in this node's table.
    let id = broker.membership.image().topic_named(&name).map(|topic| topic.id);
    match id {
        Some(id) => appearing(broker, name, id, deadline).await,
        None => Answer::refused(name, ErrorCode::UnknownTopicOrPartition),
    }
}

async fn appearing(broker: &Broker, name: Str, id: TopicId, deadline: Instant) -> Answer {
    let topic = readiness::until_known(&broker.topics, id, 1, deadline).await;
    topic.map_or_else(|| Answer::refused(name, ErrorCode::LeaderNotAvailable), Answer::Found)
}

/// What became of each topic that is not there; the others are left to be looked up.
async fn create_missing(broker: &Broker, names: &[Str]) -> HashMap<Str, Result<TopicId, ErrorCode>> {
    let image = broker.membership.image();
    let partitions = broker.auto_create.partitions;
    let most = usize::try_from(MOST_CREATED / partitions.max(1)).unwrap_or(1).max(1);
    let missing = names.iter().filter(|name| {
        // Internal topics are made by what needs them, never because somebody asked.
        !is_internal(name)
            && TopicName::new(name).is_ok()
            && image.topic_named(name).is_none()
            && broker.topics.by_name(name).is_none()
    });
    let missing: Vec<_> = missing.take(most).cloned().collect();
    let created = at_once::each(missing.iter().cloned(), |name| {
        let membership = broker.membership.clone();
        let new = NewTopic {
            name: name.as_str().to_owned(),
            partitions,
            replication_factor: -1,
            ..NewTopic::default()
        };
        async move { membership.create_topic(new, false).await.map(|created| created.id) }
    });
    let created = created.await;
    let outcome = |(name, outcome): (Str, Option<Result<TopicId, MembershipError>>)| match outcome? {
        // Somebody else was faster, which is as good.
        Err(MembershipError::Refused(Refusal::TopicExists(_))) => None,
        Ok(id) => Some((name, Ok(id))),
        Err(error) => {
            tracing::warn!(topic = %name, "topic was not made on demand: {error}");
            Some((name, Err(of_membership(&error))))
        }
    };
    missing.into_iter().zip(created).filter_map(outcome).collect()
}

fn describe(
    broker: &Broker,
    view: &ClusterView,
    answer: Answer,
    operations: i32,
    version: i16,
) -> MetadataResponseTopic {
    match answer {
        Answer::Found(topic) => MetadataResponseTopic {
            name: Some(Str::from(&topic.name)),
            topic_id: topic.id,
            is_internal: topic.name.is_internal(),
            partitions: partitions(view, &topic, version),
            topic_authorized_operations: operations,
            ..MetadataResponseTopic::default()
        },
        Answer::Refused { name, id, code } => {
            broker.meters.refused(ApiKey::Metadata, code);
            MetadataResponseTopic { error_code: code, name, topic_id: id, ..Default::default() }
        }
    }
}

fn partitions(view: &ClusterView, topic: &Topic, version: i16) -> Vec<MetadataResponsePartition> {
    let of_version = |mut partition: MetadataResponsePartition| {
        if version < LISTENERS_NOT_FOUND && partition.error_code == ErrorCode::ListenerNotFound {
            partition.error_code = ErrorCode::LeaderNotAvailable;
        }
        partition
    };
    let describe = |partition| view.partition_of(partition);
    topic.partitions().iter().map(describe).map(of_version).collect()
}

#[cfg(test)]
mod tests {
    use super::{Answer, Asked, asked};
    use crate::{
        model::TopicId,
        wire::{ErrorCode, api::metadata::MetadataRequestTopic},
    };

    fn named(name: &str) -> MetadataRequestTopic {
        MetadataRequestTopic { name: Some(name.into()), ..MetadataRequestTopic::default() }
    }

    fn with_id(topic_id: TopicId) -> MetadataRequestTopic {
        MetadataRequestTopic { topic_id, name: None }
    }

    #[test]
    fn all_topics_are_asked_for_by_null_and_in_version_0_by_none() {
        assert!(matches!(asked(None, 13), Asked::All));
        assert!(matches!(asked(Some(vec![]), 0), Asked::All));
        assert!(matches!(asked(Some(vec![]), 1), Asked::Names(names) if names.is_empty()));
    }

    #[test]
    fn a_topic_that_is_asked_for_twice_is_answered_once() {
        let Asked::Names(names) = asked(Some(vec![named("b"), named("a"), named("b")]), 4) else {
            panic!("asked by name")
        };
        assert_eq!(names, ["b", "a"]);
        let id = TopicId::random();
        let Asked::Ids(ids) = asked(Some(vec![with_id(id), named("a"), with_id(id)]), 12) else {
            panic!("asked by id")
        };
        assert_eq!(ids, [id]);
    }

    #[test]
    fn ids_are_refused_in_the_versions_that_have_the_field_and_not_the_meaning() {
        for version in 10..12 {
            let Asked::Refused(answers) = asked(Some(vec![with_id(TopicId::random())]), version) else {
                panic!("refused")
            };
            let [Answer::Refused { name: Some(_), code: ErrorCode::InvalidRequest, .. }] = &answers[..]
            else {
                panic!("with 42 and a name that is not null, which these versions cannot write")
            };
        }
    }
}
