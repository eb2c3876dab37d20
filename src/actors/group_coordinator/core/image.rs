//! What the rest of the cluster says that groups depend on.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    config::{group::GroupConfig, topic::Delivery},
    model::TopicId,
    wire::Str,
};

/// The topics that there are, and what is configured of groups. A coordinator is given another when something of
/// it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// By name.
    pub topics: BTreeMap<Str, TopicImage>,
    names: BTreeMap<TopicId, Str>,
    /// Of those that set something themselves, by id.
    groups: BTreeMap<Str, GroupConfig>,
    /// Of all others.
    of_others: GroupConfig,
    limited: bool,
}

/// A topic as groups see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicImage {
    /// Its id.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
    /// How often a delivery of its records may fail.
    pub delivery: Arc<Delivery>,
}

impl Image {
    /// Of these topics.
    pub fn new(topics: BTreeMap<Str, TopicImage>) -> Self {
        let names = topics.iter().map(|(name, topic)| (topic.id, name.clone())).collect();
        let limited = topics.values().any(|topic| topic.delivery.is_limited());
        Self { topics, names, limited, ..Self::default() }
    }

    /// The same with these configs of single groups, and of all others.
    #[must_use]
    pub fn with_groups(self, groups: BTreeMap<Str, GroupConfig>, of_others: GroupConfig) -> Self {
        Self { groups, of_others, ..self }
    }

    /// How many partitions a topic has; none if there is no such topic.
    pub fn partitions_of(&self, id: TopicId) -> i32 {
        let topic = self.name_of(id).and_then(|name| self.topics.get(name));
        topic.map_or(0, |topic| topic.partitions)
    }

    /// Whether failed deliveries are counted of any topic.
    pub fn is_limited(&self) -> bool {
        self.limited
    }

    /// The topics of which they are.
    pub fn limited(&self) -> impl Iterator<Item = (&Str, &TopicImage)> {
        self.topics.iter().filter(|(_, topic)| topic.delivery.is_limited())
    }

    /// The name of a topic that there is.
    pub fn name_of(&self, id: TopicId) -> Option<&Str> {
        self.names.get(&id)
    }

    /// What is configured of a group, whether it exists or not.
    pub fn group(&self, id: &Str) -> GroupConfig {
        self.groups.get(id).copied().unwrap_or(self.of_others)
    }
}
