//! Configs of topics, brokers and groups.

use std::collections::BTreeMap;

use super::{CONFIGURED_GROUPS_MAX, CommandAnswer, ConfigOwner, Decided, Elections, Refusal, topics::named};
use crate::{
    actors::membership::core::{
        election::{Brokers, Draft, Policies},
        image::{MetadataImage, TopicImage},
        record::MetadataRecord,
        rules::Rules,
    },
    config::{
        broker::{self, DynamicConfigs},
        group,
        topic::{self, ConfigChange, name},
    },
    model::NodeId,
};

/// None where nothing would change.
pub(super) fn alter_configs(
    image: &MetadataImage,
    rules: &Rules,
    owner: &ConfigOwner,
    changes: &[ConfigChange],
) -> Result<Decided, Refusal> {
    let dynamic = image.dynamic_configs(rules.node);
    match owner {
        ConfigOwner::Topic(name) => {
            let topic = named(image, name)?;
            let inherited = rules.topic_defaults.with(dynamic).values();
            Ok(replaced(image, rules, topic, topic::alter(&topic.configs, &inherited, changes)?))
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

/// None where nothing would change.
pub(super) fn replace_configs(
    image: &MetadataImage,
    rules: &Rules,
    owner: &ConfigOwner,
    configs: &BTreeMap<String, String>,
) -> Result<Decided, Refusal> {
    match owner {
        ConfigOwner::Topic(name) => Ok(replaced(image, rules, named(image, name)?, topic::checked(configs)?)),
        ConfigOwner::Broker(node) => replaced_for(image, Some(*node), broker::checked(configs)?),
        ConfigOwner::AllBrokers => replaced_for(image, None, broker::checked(configs)?),
        ConfigOwner::Group(id) => {
            replaced_of_group(image, id, group::checked(&rules.group_defaults, configs)?)
        }
    }
}

/// Who may be elected is looked at again by the new configs, within the same entry. A leader that has not heard of them
/// gets no other in-sync set before it has: below a minimum that it does not know it would acknowledge alone.
fn replaced(
    image: &MetadataImage,
    rules: &Rules,
    topic: &TopicImage,
    configs: BTreeMap<String, String>,
) -> Decided {
    let factor = topic.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or_default();
    let configs = with_what_elections_need(image, rules, configs, factor);
    if topic.configs == configs {
        return (Vec::new(), CommandAnswer::Done);
    }
    let mut records = vec![MetadataRecord::ConfigsReplaced { topic: topic.id, configs: configs.clone() }];
    let policies = Policies::new(image, rules);
    // A node that is alone has nobody beside it who could have more.
    let is_cluster = image.controller().is_some();
    let becomes_disk =
        policies.of(&topic.configs, factor).in_memory && !policies.of(&configs, factor).in_memory;
    if is_cluster && becomes_disk {
        records.push(MetadataRecord::DiskDemanded { topic: topic.id });
    }
    let (brokers, mut elections) = (Brokers::of(image), Elections::default());
    for (id, partition) in topic.partition_ids().zip(&topic.partitions) {
        let factor = partition.replicas.len();
        let (before, after) = (policies.of(&topic.configs, factor), policies.of(&configs, factor));
        let mut draft = Draft::new(id, partition, after);
        let counts_otherwise = (before.min_in_sync, before.in_memory) != (after.min_in_sync, after.in_memory);
        if is_cluster && counts_otherwise {
            draft.raise_epoch();
        }
        // Somebody waits who may lead now. Who leads is left alone.
        if after.unclean && partition.leader().is_none() {
            draft.elect(&brokers, &mut elections);
        }
        records.extend(draft.record());
    }
    let answer = if elections == Elections::default() {
        CommandAnswer::Done
    } else {
        CommandAnswer::Elected(elections)
    };
    (records, answer)
}

/// The configs of a topic with more than one replica say themselves what elections rest on: who has all that was
/// acknowledged follows from them, and what they inherit can differ from node to node and change unseen.
pub(super) fn with_what_elections_need(
    image: &MetadataImage,
    rules: &Rules,
    mut configs: BTreeMap<String, String>,
    factor: usize,
) -> BTreeMap<String, String> {
    if factor > 1 {
        let policies = Policies::new(image, rules);
        for key in [name::MIN_INSYNC_REPLICAS, name::DURABILITY] {
            let default = || policies.default_of(key, factor).to_owned();
            configs.entry(key.to_owned()).or_insert_with(default);
        }
    }
    configs
}

fn replaced_for(
    image: &MetadataImage,
    broker: Option<NodeId>,
    configs: BTreeMap<String, String>,
) -> Result<Decided, Refusal> {
    if broker.is_some_and(|node| !image.brokers.contains_key(&node)) {
        return Err(Refusal::InvalidRequest("there is no such broker"));
    }
    let none = BTreeMap::new();
    let changed = *image.broker_configs.get(&broker).unwrap_or(&none) != configs;
    let record = MetadataRecord::BrokerConfigsReplaced { broker, configs };
    Ok((changed.then_some(record).into_iter().collect(), CommandAnswer::Done))
}

fn replaced_of_group(
    image: &MetadataImage,
    id: &str,
    configs: BTreeMap<String, String>,
) -> Result<Decided, Refusal> {
    let before = image.configs_of_group(id);
    if before.is_empty() && !configs.is_empty() && image.group_configs.len() >= CONFIGURED_GROUPS_MAX {
        return Err(Refusal::TooManyGroups);
    }
    let changed = *before != configs;
    let record = MetadataRecord::GroupConfigsReplaced { group: id.to_owned(), configs };
    Ok((changed.then_some(record).into_iter().collect(), CommandAnswer::Done))
}
