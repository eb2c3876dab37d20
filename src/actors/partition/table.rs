//! The topics of this node, as connections look them up.
//!
//! A table is replaced as a whole when topics come and go, so a look-up is a short read lock and a hash.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::PartitionHandle;
use crate::{
    config::topic::TopicConfig,
    metrics::{Counter, Metrics},
    model::{PartitionIndex, TopicId, TopicName},
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
#[derive(Clone, Debug)]
pub struct TopicTable {
    topics: Arc<watch::Sender<Arc<Topics>>>,
}

impl Default for TopicTable {
    fn default() -> Self {
        Self { topics: Arc::new(watch::Sender::new(Arc::default())) }
    }
}

impl TopicTable {
    /// What `look` finds, looking at once and then each time that topics have come or gone, until the
    /// deadline.
    pub async fn until<T>(&self, deadline: Instant, look: impl Fn(&Self) -> Option<T>) -> Option<T> {
        let mut replaced = self.topics.subscribe();
        loop {
            replaced.mark_unchanged();
            if let Some(found) = look(self) {
                return Some(found);
            }
            timeout_at(deadline, replaced.changed()).await.ok()?.ok()?;
        }
    }

    /// The topic of this name.
    pub fn by_name(&self, name: &str) -> Option<Arc<Topic>> {
        self.now().by_name.get(name).cloned()
    }

    /// The topic of this id.
    pub fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.now().by_id.get(&id).cloned()
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

    fn now(&self) -> Arc<Topics> {
        Arc::clone(&self.topics.borrow())
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use tokio::time::{Instant, advance};

    use super::TopicTable;

    #[tokio::test(start_paused = true)]
    async fn a_look_is_taken_even_when_the_time_is_up() {
        let (topics, past) = (TopicTable::default(), Instant::now());
        advance(Duration::from_secs(1)).await;
        assert_eq!(topics.until(past, |_| Some(7)).await, Some(7));
        assert_eq!(topics.until(past, |_| None::<u8>).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_is_taken_at_once_and_for_each_change_and_no_more() {
        let (topics, looks, began) = (TopicTable::default(), Cell::new(0), Instant::now());
        let deadline = began + Duration::from_secs(9);
        let third = |_: &TopicTable| {
            looks.set(looks.get() + 1);
            (looks.get() == 3).then_some("there")
        };
        let changes = async {
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                topics.replace([]);
            }
        };
        let (found, ()) = tokio::join!(topics.until(deadline, third), changes);
        assert_eq!((found, looks.get()), (Some("there"), 3));
        assert_eq!(topics.until(deadline, |_| None::<u8>).await, None);
        assert_eq!(Instant::now(), deadline);
    }
}
