//! `CreateTopics`: topics that somebody asks for by name, to be used as soon as they are answered.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::{
    actors::membership::{CreatedTopic, MembershipHandle, NewTopic},
    config::topic::TopicDefaults,
    kafka::{Broker, connection::Session},
    model::{NodeId, TopicId},
    wire::{
        ApiKey, ErrorCode, Str,
        api::create_topics::{
            CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
            CreateTopicsResponse,
        },
    },
};

use super::{at_once, once_each::once_each, readiness, refusals::Refused};

/// The most partitions of one request in all; Kafka's bound.
const MOST_PARTITIONS: i64 = 10_000;

/// Makes each topic on its own; what fails of one leaves the others alone.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: CreateTopicsRequest,
    _version: i16,
) -> CreateTopicsResponse {
    let deadline = readiness::deadline(request.timeout_ms);
    let validate_only = request.validate_only;
    let too_many = total(&request.topics, broker.auto_create.partitions) > MOST_PARTITIONS;
    let (names, prepared): (Vec<_>, Vec<_>) = once_each(request.topics, |topic| topic.name.clone())
        .into_iter()
        .map(|(topic, once)| (topic.name.clone(), prepare(topic, once, too_many)))
        .unzip();
    let outcomes =
        at_once::each(prepared, |prepared| create(broker.membership.clone(), prepared, validate_only));
    let outcomes: Vec<_> = outcomes.await.into_iter().map(|outcome| outcome.unwrap_or_else(ended)).collect();
    if !validate_only {
        wait_for_leaders(broker, session, &outcomes, deadline).await;
    }
    let defaults = broker.topic_defaults();
    let results = names.into_iter().zip(outcomes).map(|(name, outcome)| match outcome {
        Ok(created) => made(name, created, &defaults, validate_only),
        Err(refused) => {
            broker.meters.refused(ApiKey::CreateTopics, refused.code);
            not_made(name, refused)
        }
    });
    CreateTopicsResponse { topics: results.collect(), ..CreateTopicsResponse::default() }
}

fn ended<T>() -> Result<T, Refused> {
    Err(ErrorCode::UnknownServerError.into())
}

/// How many partitions are asked for, counting a default where no number is given.
fn total(topics: &[CreatableTopic], default: i32) -> i64 {
    let of = |topic: &CreatableTopic| {
        if topic.assignments.is_empty() {
            let count = if topic.num_partitions == -1 { default } else { topic.num_partitions };
            i64::from(count.max(0))
        } else {
            topic.assignments.len() as i64
        }
    };
    topics.iter().map(of).sum()
}

/// What the registry is asked for, if the request is sound.
fn prepare(topic: CreatableTopic, once: bool, too_many: bool) -> Result<NewTopic, Refused> {
    if !once {
        return Err(Refused::invalid_request("the topic is named more than once"));
    }
    if too_many {
        let text = format!("the request asks for more than {MOST_PARTITIONS} partitions in all");
        return Err(Refused::new(ErrorCode::PolicyViolation, text));
    }
    let mut assignments: BTreeMap<i32, Vec<NodeId>> = BTreeMap::new();
    for assignment in topic.assignments {
        let index = assignment.partition_index.get();
        if assignments.insert(index, assignment.broker_ids).is_some() {
            let text = format!("partition {index} is assigned more than once");
            return Err(Refused::new(ErrorCode::InvalidReplicaAssignment, text));
        }
    }
    let mut configs = BTreeMap::new();
    for config in topic.configs {
        let name = config.name.as_str().to_owned();
        let Some(value) = config.value else {
            let text = format!("config {name:?} is given no value");
            return Err(Refused::new(ErrorCode::InvalidConfig, text));
        };
        configs.insert(name, value.as_str().to_owned());
    }
    Ok(NewTopic {
        name: topic.name.as_str().to_owned(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments,
        configs,
    })
}

async fn create(
    membership: MembershipHandle,
    prepared: Result<NewTopic, Refused>,
    validate_only: bool,
) -> Result<CreatedTopic, Refused> {
    Ok(membership.create_topic(prepared?, validate_only).await?)
}

/// The topics are made, whatever comes of this: who finds a partition without a leader asks again.
async fn wait_for_leaders(
    broker: &Broker,
    session: &Session,
    outcomes: &[Result<CreatedTopic, Refused>],
    deadline: Instant,
) {
    for created in outcomes.iter().flatten() {
        let partitions = usize::try_from(created.partitions).unwrap_or(0);
        if !readiness::until_led(broker, session, created.id, partitions, deadline).await {
            tracing::debug!(topic = %created.name, "topic is made and has no leader in time");
        }
    }
}

/// A topic that was only checked has no id: there is no such topic.
fn made(
    name: Str,
    created: CreatedTopic,
    defaults: &TopicDefaults,
    validate_only: bool,
) -> CreatableTopicResult {
    let configs = defaults.describe(&created.configs).into_iter().map(|entry| CreatableTopicConfigs {
        name: Str::from_static(entry.name),
        value: Some(entry.value.into()),
        read_only: entry.read_only,
        config_source: entry.source.code(),
        is_sensitive: entry.sensitive,
    });
    CreatableTopicResult {
        name,
        topic_id: if validate_only { TopicId::default() } else { created.id },
        num_partitions: created.partitions,
        replication_factor: created.replication_factor,
        configs: Some(configs.collect()),
        ..CreatableTopicResult::default()
    }
}

fn not_made(name: Str, refused: Refused) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code: refused.code,
        error_message: Some(refused.into_text()),
        configs: Some(Vec::new()),
        ..CreatableTopicResult::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{made, not_made, prepare, total};
    use crate::{
        actors::membership::CreatedTopic,
        config::topic::{ConfigSource, TopicDefaults},
        kafka::handlers::refusals::Refused,
        model::{PartitionIndex, TopicId, TopicName},
        wire::{
            ErrorCode,
            api::create_topics::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig},
        },
    };

    fn topic(name: &str, num_partitions: i32) -> CreatableTopic {
        CreatableTopic { name: name.into(), num_partitions, ..CreatableTopic::default() }
    }

    fn assigned(indexes: &[i32]) -> CreatableTopic {
        let assignment = |index: &i32| CreatableReplicaAssignment {
            partition_index: PartitionIndex::new(*index),
            ..CreatableReplicaAssignment::default()
        };
        CreatableTopic { assignments: indexes.iter().map(assignment).collect(), ..topic("a", -1) }
    }

    fn with_config(value: Option<&str>) -> CreatableTopic {
        let config = CreatableTopicConfig { name: "retention.ms".into(), value: value.map(Into::into) };
        CreatableTopic { configs: vec![config], ..topic("a", 1) }
    }

    #[test]
    fn a_topic_that_is_named_twice_is_refused() {
        assert_eq!(prepare(topic("a", 1), false, false).unwrap_err().code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn partitions_are_counted_with_defaults_and_assignments() {
        assert_eq!(total(&[topic("a", 3), topic("b", -1), topic("c", -9), assigned(&[0, 1])], 4), 9);
        assert_eq!(total(&[topic("a", i32::MAX), topic("b", i32::MAX)], 1), 2 * i64::from(i32::MAX));
        assert_eq!(prepare(topic("a", 1), true, true).unwrap_err().code, ErrorCode::PolicyViolation);
    }

    #[test]
    fn a_partition_that_is_assigned_twice_and_a_config_without_a_value_are_refused() {
        let code = |topic| prepare(topic, true, false).map(|_| ()).map_err(|refused| refused.code);
        assert_eq!(code(assigned(&[0, 1, 0])), Err(ErrorCode::InvalidReplicaAssignment));
        assert_eq!(code(assigned(&[0, 1])), Ok(()));
        assert_eq!(code(with_config(None)), Err(ErrorCode::InvalidConfig));
        assert_eq!(code(with_config(Some("1"))), Ok(()));
    }

    #[test]
    fn what_was_made_is_told_with_all_configs_and_where_they_come_from() {
        let created = CreatedTopic {
            id: TopicId::random(),
            name: TopicName::new("a").unwrap(),
            partitions: 4,
            replication_factor: 1,
            configs: BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]),
        };
        let result = made("a".into(), created.clone(), &TopicDefaults::default(), false);
        assert_eq!((result.topic_id, result.num_partitions), (created.id, 4));
        let configs = result.configs.unwrap();
        let retention = configs.iter().find(|config| config.name == "retention.ms").unwrap();
        assert_eq!(retention.value, Some("5".into()));
        assert_eq!(retention.config_source, ConfigSource::Topic.code());
        assert!(configs.len() > 10);
        assert!(made("a".into(), created, &TopicDefaults::default(), true).topic_id.is_nil());
    }

    #[test]
    fn what_was_not_made_has_neither_numbers_nor_configs() {
        let result = not_made("a".into(), Refused::from(ErrorCode::TopicAlreadyExists));
        assert_eq!((result.num_partitions, result.replication_factor), (-1, -1));
        assert_eq!(result.configs, Some(vec![]));
        assert_eq!(result.error_code.code(), 36);
    }
}
