//! What a client may ask for, and why it is refused.

use std::collections::BTreeMap;

use super::{
    image::{MetadataImage, TopicImage},
    record::{Assignment, MetadataRecord},
    registry::Rules,
};
use crate::{
    config::{
        broker::{self, BrokerConfigError, DynamicConfigs},
        group::{self, GroupConfigError},
        topic::{self, ConfigChange, TopicConfigError},
    },
    model::{LeaderEpoch, NodeId, PartitionId, PartitionIndex, TopicId, TopicName, TopicNameError},
};

/// The most partitions of one topic.
pub const PARTITIONS_MAX: i32 = 10_000;

/// The most groups with configs of their own: each is kept in memory, and nothing says that there is such a group.
const CONFIGURED_GROUPS_MAX: usize = 100_000;

/// An expected refusal; nothing has changed. The number is Kafka's code for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 17
    #[error("{0}")]
    InvalidName(#[from] TopicNameError),
    /// 36
    #[error("topic {0} already exists")]
    TopicExists(TopicName),
    /// 3
    #[error("there is no topic {0:?}")]
    UnknownTopic(String),
    /// 100
    #[error("there is no topic with id {0}")]
    UnknownTopicId(TopicId),
    /// 3
    #[error("there is no partition {0}")]
    UnknownPartition(PartitionId),
    /// 37
    #[error("partition count {asked} is not from {min} to {max}", max = PARTITIONS_MAX)]
    InvalidPartitions {
        /// The count asked for.
        asked: i32,
        /// The least that would do.
        min: i32,
    },
    /// 44
    #[error("{existing} partitions are there and {asked} more would be over the limit of {max}")]
    TooManyPartitions {
        /// In all topics.
        existing: usize,
        /// How many more were asked for.
        asked: usize,
        /// The most there may be.
        max: usize,
    },
    /// 38
    #[error("replication factor {asked} is not from 1 to the number of brokers, {brokers}")]
    InvalidReplicationFactor {
        /// The factor asked for.
        asked: i16,
        /// How many brokers there are.
        brokers: usize,
    },
    /// 39
    #[error("replica assignment: {0}")]
    InvalidAssignment(&'static str),
    /// 40
    #[error("{0}")]
    InvalidConfig(#[from] TopicConfigError),
    /// 40
    #[error(transparent)]
    InvalidBrokerConfig(#[from] BrokerConfigError),
    /// 40
    #[error(transparent)]
    InvalidGroupConfig(#[from] GroupConfigError),
    /// 44
    #[error("{max} groups have configs of their own, and no more may", max = CONFIGURED_GROUPS_MAX)]
    TooManyGroups,
    /// 42
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// 6
    #[error("broker {node} keeps no replica of {partition}")]
    NotReplica {
        /// Who asked.
        node: NodeId,
        /// For which.
        partition: PartitionId,
    },
    /// 56: a number that must never be used twice has come to its end.
    #[error("leader epochs of {0} are used up")]
    EpochsUsedUp(PartitionId),
}

/// A topic to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// The name, unchecked.
    pub name: String,
    /// How many partitions; -1: the default.
    pub partitions: i32,
    /// How many replicas of each; -1: the default.
    pub replication_factor: i16,
    /// Instead of both numbers: the replicas of each partition.
    pub assignments: BTreeMap<i32, Vec<NodeId>>,
    /// The topic's own configs, unchecked.
    pub configs: BTreeMap<String, String>,
}

/// A topic as it was created, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many replicas each of them has.
    pub replication_factor: i16,
    /// Its own configs.
    pub configs: BTreeMap<String, String>,
}

/// A topic by name or by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicRef {
    /// By name, unchecked.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// Whose configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOwner {
    /// A topic's, by its name, unchecked.
    Topic(String),
    /// A broker's, set while it runs.
    Broker(NodeId),
    /// Those of all brokers that set nothing themselves.
    AllBrokers,
    /// A group's, by its id. It need not exist.
    Group(String),
}

/// The record that creates the topic under `id`.
pub(super) fn create_topic(
    image: &MetadataImage,
    rules: &Rules,
    new: &NewTopic,
    id: TopicId,
) -> Result<(CreatedTopic, MetadataRecord), Refusal> {
    let name = TopicName::new(&new.name)?;
    if image.names.contains_key(&name) {
        return Err(Refusal::TopicExists(name));
    }
    let partitions = if new.assignments.is_empty() {
        let count = if new.partitions == -1 { rules.default_partitions } else { new.partitions };
        check_replication_factor(image, new.replication_factor)?;
        spread(image, rules, count, 1)?
    } else if new.partitions != -1 || new.replication_factor != -1 {
        return Err(Refusal::InvalidRequest("both a replica assignment and a count are given"));
    } else {
        assigned(image, &new.assignments)?
    };
    check_room(image, rules, partitions.len())?;
    let configs = topic::checked(&new.configs)?;
    let created = CreatedTopic {
        id,
        name: name.clone(),
        partitions: count_of(&partitions),
        replication_factor: replication_factor_of(&partitions),
        configs: configs.clone(),
    };
    Ok((created, MetadataRecord::TopicCreated { id, name, partitions, configs }))
}

/// The record that lets the topic grow to `count` partitions in all.
pub(super) fn create_partitions(
    image: &MetadataImage,
    rules: &Rules,
    name: &str,
    count: i32,
) -> Result<MetadataRecord, Refusal> {
    let topic = named(image, name)?;
    let existing = topic.partition_count();
    if count <= existing || count > PARTITIONS_MAX {
        return Err(Refusal::InvalidPartitions { asked: count, min: existing.saturating_add(1) });
    }
    let partitions = spread(image, rules, count - existing, 1)?;
    check_room(image, rules, partitions.len())?;
    Ok(MetadataRecord::PartitionsAdded { topic: topic.id, first: PartitionIndex::new(existing), partitions })
}

pub(super) fn delete_topic(
    image: &MetadataImage,
    which: &TopicRef,
) -> Result<(TopicId, MetadataRecord), Refusal> {
    let topic = match which {
        TopicRef::Name(name) => named(image, name)?.id,
        TopicRef::Id(id) => image.topic(*id).ok_or(Refusal::UnknownTopicId(*id))?.id,
    };
    Ok((topic, MetadataRecord::TopicDeleted { topic }))
}

/// `None` where all of the topic's data is known to be gone already.
pub(super) fn purge_topic(image: &MetadataImage, topic: TopicId) -> Option<MetadataRecord> {
    image.deleted.contains_key(&topic).then_some(MetadataRecord::TopicPurged { topic })
}

/// `None` where nothing would change.
pub(super) fn alter_configs(
    image: &MetadataImage,
    rules: &Rules,
    owner: &ConfigOwner,
    changes: &[ConfigChange],
) -> Result<Option<MetadataRecord>, Refusal> {
    let dynamic = image.dynamic_configs(rules.node);
    match owner {
        ConfigOwner::Topic(name) => {
            let topic = named(image, name)?;
            let inherited = rules.topic_defaults.with(dynamic).values();
            Ok(replaced(topic, topic::alter(&topic.configs, &inherited, changes)?))
        }
        ConfigOwner::Broker(node) => {
            let of_one = DynamicConfigs::NONE.of_one;
            let defaults = rules.topic_defaults.with(DynamicConfigs { of_one, ..dynamic });
            let overrides = image.dynamic_configs(*node).of_one;
            replaced_for(image, Some(*node), broker::alter(overrides, &defaults, changes)?)
        }
        ConfigOwner::AllBrokers => {
            replaced_for(image, None, broker::alter(dynamic.of_all, &rules.topic_defaults, changes)?)
        }
        ConfigOwner::Group(id) => {
            let after = group::alter(&rules.group_defaults, image.configs_of_group(id), changes)?;
            replaced_of_group(image, id, after)
        }
    }
}

/// `None` where nothing would change.
pub(super) fn replace_configs(
    image: &MetadataImage,
    rules: &Rules,
    owner: &ConfigOwner,
    configs: &BTreeMap<String, String>,
) -> Result<Option<MetadataRecord>, Refusal> {
    match owner {
        ConfigOwner::Topic(name) => Ok(replaced(named(image, name)?, topic::checked(configs)?)),
        ConfigOwner::Broker(node) => replaced_for(image, Some(*node), broker::checked(configs)?),
        ConfigOwner::AllBrokers => replaced_for(image, None, broker::checked(configs)?),
        ConfigOwner::Group(id) => {
            replaced_of_group(image, id, group::checked(&rules.group_defaults, configs)?)
        }
    }
}

pub(super) fn open_epoch(
    image: &MetadataImage,
    rules: &Rules,
    id: PartitionId,
) -> Result<(LeaderEpoch, MetadataRecord), Refusal> {
    let partition = image.partition(id).ok_or(Refusal::UnknownPartition(id))?;
    if !partition.replicas.contains(&rules.node) {
        return Err(Refusal::NotReplica { node: rules.node, partition: id });
    }
    let epoch = partition.leader_epoch.next();
    if epoch == partition.leader_epoch {
        return Err(Refusal::EpochsUsedUp(id));
    }
    Ok((epoch, MetadataRecord::EpochOpened { partition: id, leader: rules.node, epoch }))
}

fn named<'a>(image: &'a MetadataImage, name: &str) -> Result<&'a TopicImage, Refusal> {
    image.topic_named(name).map(AsRef::as_ref).ok_or_else(|| Refusal::UnknownTopic(name.to_owned()))
}

fn replaced(topic: &TopicImage, configs: BTreeMap<String, String>) -> Option<MetadataRecord> {
    (topic.configs != configs).then_some(MetadataRecord::ConfigsReplaced { topic: topic.id, configs })
}

fn replaced_for(
    image: &MetadataImage,
    broker: Option<NodeId>,
    configs: BTreeMap<String, String>,
) -> Result<Option<MetadataRecord>, Refusal> {
    if broker.is_some_and(|node| !image.brokers.contains_key(&node)) {
        return Err(Refusal::InvalidRequest("there is no such broker"));
    }
    let none = BTreeMap::new();
    let changed = *image.broker_configs.get(&broker).unwrap_or(&none) != configs;
    Ok(changed.then_some(MetadataRecord::BrokerConfigsReplaced { broker, configs }))
}

fn replaced_of_group(
    image: &MetadataImage,
    id: &str,
    configs: BTreeMap<String, String>,
) -> Result<Option<MetadataRecord>, Refusal> {
    let before = image.configs_of_group(id);
    if before.is_empty() && !configs.is_empty() && image.group_configs.len() >= CONFIGURED_GROUPS_MAX {
        return Err(Refusal::TooManyGroups);
    }
    let changed = *before != configs;
    Ok(changed.then(|| MetadataRecord::GroupConfigsReplaced { group: id.to_owned(), configs }))
}

/// One broker carries one replica; more than one broker there is not yet.
fn check_replication_factor(image: &MetadataImage, asked: i16) -> Result<(), Refusal> {
    if asked == -1 || asked == 1 {
        return Ok(());
    }
    Err(Refusal::InvalidReplicationFactor { asked, brokers: image.brokers.len() })
}

fn check_room(image: &MetadataImage, rules: &Rules, asked: usize) -> Result<(), Refusal> {
    let (existing, max) = (image.partition_count(), rules.partitions_max);
    if existing.saturating_add(asked) > max {
        return Err(Refusal::TooManyPartitions { existing, asked, max });
    }
    Ok(())
}

fn spread(image: &MetadataImage, rules: &Rules, count: i32, min: i32) -> Result<Vec<Assignment>, Refusal> {
    if count < min || count > PARTITIONS_MAX {
        return Err(Refusal::InvalidPartitions { asked: count, min });
    }
    if !image.brokers.contains_key(&rules.node) {
        return Err(Refusal::InvalidReplicationFactor { asked: 1, brokers: image.brokers.len() });
    }
    Ok((0..count).map(|_| Assignment { replicas: vec![rules.node] }).collect())
}

fn assigned(
    image: &MetadataImage,
    assignments: &BTreeMap<i32, Vec<NodeId>>,
) -> Result<Vec<Assignment>, Refusal> {
    let count = i32::try_from(assignments.len()).unwrap_or(i32::MAX);
    if count > PARTITIONS_MAX {
        return Err(Refusal::InvalidPartitions { asked: count, min: 1 });
    }
    // Keys are ordered and distinct: these are all from 0 on only if each is its own place.
    if (0..count).ne(assignments.keys().copied()) {
        return Err(Refusal::InvalidAssignment("partitions are not numbered from 0 on"));
    }
    assignments.values().map(|replicas| assignment(image, replicas)).collect()
}

fn assignment(image: &MetadataImage, replicas: &[NodeId]) -> Result<Assignment, Refusal> {
    if replicas.is_empty() {
        return Err(Refusal::InvalidAssignment("a partition has no replica"));
    }
    if replicas.iter().enumerate().any(|(at, node)| replicas.iter().take(at).any(|earlier| earlier == node)) {
        return Err(Refusal::InvalidAssignment("a broker is named twice for one partition"));
    }
    if !replicas.iter().all(|node| image.brokers.contains_key(node)) {
        return Err(Refusal::InvalidAssignment("a replica's broker is not there"));
    }
    Ok(Assignment { replicas: replicas.to_vec() })
}

fn count_of(partitions: &[Assignment]) -> i32 {
    i32::try_from(partitions.len()).unwrap_or(i32::MAX)
}

fn replication_factor_of(partitions: &[Assignment]) -> i16 {
    let replicas = partitions.first().map_or(0, |partition| partition.replicas.len());
    i16::try_from(replicas).unwrap_or(i16::MAX)
}
