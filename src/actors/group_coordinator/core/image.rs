//! What the rest of the cluster says that groups depend on.

use std::{collections::BTreeMap, sync::Arc};

use crate::{config::topic::Delivery, model::TopicId, wire::Str};

/// The topics that there are. A coordinator is given another when something of it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// By name.
    pub topics: BTreeMap<Str, TopicImage>,
    names: BTreeMap<TopicId, Str>,
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
        Self { topics, names, limited }
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
}
