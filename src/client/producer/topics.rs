//! The queues of all partitions, by topic, and the list of those that have something in them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use super::{Delivery, ProducerRecord, queue::PartitionQueue};
use crate::{
    client::{
        metadata::Metadata,
        partitioner::{Sticky, partition_of_key},
    },
    model::{PartitionIndex, TopicName},
};

/// The queues of one topic.
#[derive(Debug)]
pub(super) struct TopicQueues {
    pub(super) name: TopicName,
    partitions: RwLock<Vec<Arc<PartitionQueue>>>,
    sticky: Sticky,
}

impl TopicQueues {
    fn new(name: &TopicName) -> Self {
        Self { name: name.clone(), partitions: RwLock::default(), sticky: Sticky::new() }
    }

    /// Where a record goes, and whether that was free to choose.
    pub(super) fn choose(&self, record: &ProducerRecord<'_>) -> (PartitionIndex, bool) {
        let count = || self.partitions.read().unwrap_or_else(PoisonError::into_inner).len();
        match (record.partition, record.key) {
            (Some(partition), _) => (partition, false),
            (None, Some(key)) => (partition_of_key(key, count()), false),
            (None, None) => (self.sticky.current(count()), true),
        }
    }

    /// The keyless records go elsewhere from now on.
    pub(super) fn move_on(&self, from: PartitionIndex) {
        let count = self.partitions.read().unwrap_or_else(PoisonError::into_inner).len();
        self.sticky.move_on(from, count);
    }

    pub(super) fn partition(&self, index: PartitionIndex) -> Option<Arc<PartitionQueue>> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.get(usize::try_from(index.get()).ok()?).cloned()
    }

    /// Partitions are only ever added.
    fn grow(&self, count: usize) {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        while partitions.len() < count {
            let index = PartitionIndex::new(partitions.len() as i32);
            partitions.push(PartitionQueue::new(self.name.clone(), index));
        }
    }
}

/// All queues of a producer.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: RwLock<HashMap<TopicName, Arc<TopicQueues>>>,
    /// Queues that have something in them and that the sender does not know of yet.
    listed: Mutex<Vec<Arc<PartitionQueue>>>,
}

impl Topics {
    pub(super) fn get(&self, topic: &TopicName) -> Option<Arc<TopicQueues>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned()
    }

    /// The queues of a topic that has so many partitions.
    pub(super) fn open(&self, topic: &TopicName, partitions: usize) -> Arc<TopicQueues> {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let queues = by_name.entry(topic.clone()).or_insert_with(|| Arc::new(TopicQueues::new(topic)));
        queues.grow(partitions);
        Arc::clone(queues)
    }

    /// Adds queues for partitions that have come since.
    pub(super) fn follow(&self, metadata: &Metadata) {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        for (name, queues) in by_name.iter() {
            if let Some(topic) = metadata.topics.get(name) {
                queues.grow(topic.partitions.len());
            }
        }
    }

    pub(super) fn list(&self, queue: Arc<PartitionQueue>) {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).push(queue);
    }

    pub(super) fn take_listed(&self) -> Vec<Arc<PartitionQueue>> {
        std::mem::take(&mut *self.listed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A delivery for each batch that has no result.
    pub(super) fn deliveries(&self) -> Vec<Delivery> {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        let partitions = by_name
            .values()
            .flat_map(|queues| queues.partitions.read().unwrap_or_else(PoisonError::into_inner).clone());
        partitions.flat_map(|partition| partition.promises()).collect()
    }
}
