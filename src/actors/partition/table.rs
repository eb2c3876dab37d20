//! The topics of this node, as connections look them up.
//!
//! A table is replaced as a whole when topics come and go, so a look-up is a short read lock and a hash.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::sync::watch;

use super::PartitionHandle;
use crate::{
    config::topic::TopicConfig,
    metrics::{Counter, Metrics},
    model::{PartitionId, PartitionIndex, TopicId, TopicName},
};

/// What is counted of one topic.
#[derive(Clone, Debug)]
pub struct TopicMeters {
    /// Bytes of batches appended.
    pub bytes_in: Counter,
    /// Bytes of batches fetched.
    pub bytes_out: Counter,
}

impl TopicMeters {
    /// The counters of the topic of this name.
    pub fn new(metrics: &Metrics, topic: &TopicName) -> Self {
        let name = || [topic.as_str().to_owned()];
        Self { bytes_in: metrics.topic_bytes_in.of(name()), bytes_out: metrics.topic_bytes_out.of(name()) }
    }
}

/// A topic and this node's handles on its partitions.
#[derive(Debug)]
pub struct Topic {
    /// Its id, for its whole life.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// What is counted of it.
    pub meters: TopicMeters,
    pub(super) config: Arc<RwLock<Arc<TopicConfig>>>,
    pub(super) partitions: Vec<PartitionHandle>,
}

impl Topic {
    /// Its configuration as it is now.
    pub fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// One of its partitions, if it has so many.
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionHandle> {
        usize::try_from(index.get()).ok().and_then(|index| self.partitions.get(index))
    }

    /// All of its partitions, in order.
    pub fn partitions(&self) -> &[PartitionHandle] {
        &self.partitions
    }

    pub(super) fn set_config(&self, config: Arc<TopicConfig>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }
}

#[derive(Debug, Default)]
struct Topics {
    by_name: HashMap<TopicName, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
}

/// All topics of this node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TopicTable {
    topics: watch::Sender<Arc<Topics>>,
}

/// Tells that the table was replaced.
#[derive(Debug)]
pub struct TableChanges(watch::Receiver<Arc<Topics>>);

impl TableChanges {
    /// Resolves when the table was replaced since this was made or last resolved; never, once there is no
    /// table any more.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl TopicTable {
    /// The topic of this name.
    pub fn by_name(&self, name: &str) -> Option<Arc<Topic>> {
        self.now().by_name.get(name).cloned()
    }

    /// The topic of this id.
    pub fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.now().by_id.get(&id).cloned()
    }

    /// This node's replica of a partition.
    pub fn replica(&self, id: PartitionId) -> Option<PartitionHandle> {
        self.by_id(id.topic)?.partition(id.index).cloned()
    }

    /// Every topic, in no order.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.now().by_id.values().cloned().collect()
    }

    /// Replaces the table.
    pub(super) fn replace(&self, topics: impl IntoIterator<Item = Arc<Topic>>) {
        let mut next = Topics::default();
        for topic in topics {
            next.by_name.insert(topic.name.clone(), Arc::clone(&topic));
            next.by_id.insert(topic.id, topic);
        }
        self.topics.send_replace(Arc::new(next));
    }

    /// Tells of every replacement from now on. Look at the table afterwards.
    pub fn changes(&self) -> TableChanges {
        TableChanges(self.topics.subscribe())
    }

    fn now(&self) -> Arc<Topics> {
        Arc::clone(&self.topics.borrow())
    }
}
