//! Topics and their partitions.

use std::collections::BTreeMap;

use super::{
    CommandAnswer, CreatedTopic, Decided, NewTopic, PARTITIONS_MAX, Refusal, TopicRef,
    configs::with_what_elections_need,
};
use crate::{
    actors::membership::core::{
        image::{MetadataImage, TopicImage},
        placement::{self, Placed},
        record::{Assignment, MetadataRecord},
        rules::Rules,
    },
    config::topic,
    model::{NodeId, PartitionIndex, TopicId, TopicName},
};

/// The replicas of a topic where nobody says how many, and where there are as many brokers.
const DEFAULT_REPLICATION_FACTOR: usize = 3;

/// The same topic under the same id is what an earlier sending of this command has created.
pub(super) fn create(
    image: &MetadataImage,
    rules: &Rules,
    new: &NewTopic,
    id: TopicId,
) -> Result<Decided, Refusal> {
    if let Some(topic) = image.topic(id).filter(|topic| topic.name.as_str() == new.name) {
        return Ok((Vec::new(), CommandAnswer::TopicCreated(created_before(topic))));
    }
    if id.is_nil() || image.topics.contains_key(&id) {
        return Err(Refusal::InvalidRequest("a new topic needs an id of its own"));
    }
    // It was created, deleted since, and comes late.
    if image.deleted.contains_key(&id) {
        return Err(Refusal::UnknownTopicId(id));
    }
    let (created, record) = create_topic(image, rules, new, id)?;
    Ok((vec![record], CommandAnswer::TopicCreated(created)))
}

fn created_before(topic: &TopicImage) -> CreatedTopic {
    let factor = topic.partitions.first().map_or(0, |partition| partition.replicas.len());
    CreatedTopic {
        id: topic.id,
        name: topic.name.clone(),
        partitions: topic.partition_count(),
        replication_factor: i16::try_from(factor).unwrap_or(i16::MAX),
        configs: topic.configs.clone(),
    }
}

/// The record that creates the topic under `id`.
pub(in crate::actors::membership) fn create_topic(
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
        spread(image, rules, count, replication_factor(image, rules, new.replication_factor)?)?
    } else if new.partitions != -1 || new.replication_factor != -1 {
        return Err(Refusal::InvalidRequest("both a replica assignment and a count are given"));
    } else {
        assigned(image, &new.assignments)?
    };
    check_room(image, rules, &partitions)?;
    let configs = topic::checked(&new.configs)?;
    let configs = with_what_elections_need(image, rules, configs, factor_of(&partitions));
    let created = CreatedTopic {
        id,
        name: name.clone(),
        partitions: count_of(&partitions),
        replication_factor: i16::try_from(factor_of(&partitions)).unwrap_or(i16::MAX),
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
    let factor = topic.partitions.first().map_or(1, |partition| partition.replicas.len());
    let partitions = spread(image, rules, count - existing, factor)?;
    check_room(image, rules, &partitions)?;
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

/// `None` where the topic's data is known to be gone from there already.
pub(super) fn purge_topic(image: &MetadataImage, topic: TopicId, node: NodeId) -> Option<MetadataRecord> {
    let deleted = image.deleted.get(&topic)?;
    deleted.on.contains(&node).then_some(MetadataRecord::TopicPurgedOn { topic, node })
}

pub(super) fn named<'a>(image: &'a MetadataImage, name: &str) -> Result<&'a TopicImage, Refusal> {
    image.topic_named(name).map(AsRef::as_ref).ok_or_else(|| Refusal::UnknownTopic(name.to_owned()))
}

/// Brokers that do not run count: they come back.
fn replication_factor(image: &MetadataImage, rules: &Rules, asked: i16) -> Result<usize, Refusal> {
    let brokers = image.brokers.len();
    let of_default =
        rules.default_replication_factor.map_or(DEFAULT_REPLICATION_FACTOR.min(brokers), usize::from);
    let factor = if asked == -1 { of_default } else { usize::try_from(asked).unwrap_or_default() };
    if factor == 0 || factor > brokers {
        let asked = if asked == -1 { i16::try_from(factor).unwrap_or(i16::MAX) } else { asked };
        return Err(Refusal::InvalidReplicationFactor { asked, brokers });
    }
    Ok(factor)
}

fn check_room(image: &MetadataImage, rules: &Rules, partitions: &[Assignment]) -> Result<(), Refusal> {
    let (existing, asked, max) = (image.partition_count(), partitions.len(), rules.partitions_max);
    if existing.saturating_add(asked) > max {
        return Err(Refusal::TooManyPartitions { existing, asked, max });
    }
    check_room_of_brokers(image, rules, partitions)
}

/// Of a broker that has not said how many it can keep that is not known: it says so when it cannot open one.
fn check_room_of_brokers(
    image: &MetadataImage,
    rules: &Rules,
    partitions: &[Assignment],
) -> Result<(), Refusal> {
    let mut all_asked: BTreeMap<NodeId, usize> = BTreeMap::new();
    for node in partitions.iter().flat_map(|partition| &partition.replicas) {
        *all_asked.entry(*node).or_default() += 1;
    }
    for (node, asked) in all_asked {
        let Some(max) = rules.replicas_max_of(image, node) else { continue };
        let existing =
            image.partitions().filter(|(_, _, partition)| partition.replicas.contains(&node)).count();
        if existing.saturating_add(asked) > max {
            return Err(Refusal::TooManyReplicas { node, existing, asked, max });
        }
    }
    Ok(())
}

fn spread(
    image: &MetadataImage,
    rules: &Rules,
    count: i32,
    factor: usize,
) -> Result<Vec<Assignment>, Refusal> {
    const MIN: i32 = 1;
    if !(MIN..=PARTITIONS_MAX).contains(&count) {
        return Err(Refusal::InvalidPartitions { asked: count, min: MIN });
    }
    let count = usize::try_from(count).unwrap_or_default();
    placement::place(&Placed::of(image, rules), count, factor).ok_or_else(|| {
        Refusal::InvalidReplicationFactor {
            asked: i16::try_from(factor).unwrap_or(i16::MAX),
            brokers: image.brokers.len(),
        }
    })
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
    let assigned: Vec<Assignment> =
        assignments.values().map(|replicas| assignment(image, replicas)).collect::<Result<_, _>>()?;
    if assigned.iter().any(|partition| partition.replicas.len() != factor_of(&assigned)) {
        return Err(Refusal::InvalidAssignment("partitions have different numbers of replicas"));
    }
    Ok(assigned)
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
    if !replicas.iter().any(|node| image.is_live(*node)) {
        return Err(Refusal::InvalidAssignment("no replica's broker is running"));
    }
    Ok(Assignment { replicas: replicas.to_vec() })
}

fn count_of(partitions: &[Assignment]) -> i32 {
    i32::try_from(partitions.len()).unwrap_or(i32::MAX)
}

/// Of all of them: it is the same.
fn factor_of(partitions: &[Assignment]) -> usize {
    partitions.first().map_or(0, |partition| partition.replicas.len())
}
