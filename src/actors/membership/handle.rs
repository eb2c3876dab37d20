//! How others ask the registry, over all its incarnations.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    time,
};

use super::{
    core::{ConfigOwner, CreatedTopic, MetadataImage, NewTopic, TopicRef},
    error::MembershipError,
    message::{Answer, MembershipMessage},
};
use crate::{
    actors::supervise::{CallError, Slot},
    config::topic::ConfigChange,
    model::{LeaderEpoch, PartitionId, ProducerId, TopicId},
};

/// Requests that may wait at once; the next one waits for a place.
const REQUESTS_MAX: usize = 1_024;

/// How long a request may take, unless the handle says otherwise.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait between two looks for a successor of a registry that has ended.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// The registry, as others hold it. Cheap to clone, and stays good when the registry is restarted.
#[derive(Clone, Debug)]
pub struct MembershipHandle {
    slot: Slot<MembershipMessage>,
    image: watch::Receiver<Arc<MetadataImage>>,
    places: Arc<Semaphore>,
    answer_within: Duration,
    /// In a cluster, who is asked instead.
    cluster: Option<super::registry::RegistryHandle>,
}

impl MembershipHandle {
    pub(super) fn new(slot: Slot<MembershipMessage>, image: watch::Receiver<Arc<MetadataImage>>) -> Self {
        Self {
            slot,
            image,
            places: Arc::new(Semaphore::new(REQUESTS_MAX)),
            answer_within: ANSWER_WITHIN,
            cluster: None,
        }
    }

    /// The registry of a node in a cluster.
    pub fn of_cluster(registry: &super::registry::RegistryHandle) -> Self {
        Self { cluster: Some(registry.clone()), ..Self::new(Slot::new(), registry.watch()) }
    }

    /// The registry over the metadata quorum; `None` on a node of its own.
    pub fn cluster(&self) -> Option<&super::registry::RegistryHandle> {
        self.cluster.as_ref()
    }

    /// The same registry with another time for requests to be answered in (10 s otherwise).
    #[must_use]
    pub fn answering_within(&self, answer_within: Duration) -> Self {
        Self {
            answer_within,
            cluster: self.cluster.as_ref().map(|cluster| cluster.answering_within(answer_within)),
            ..self.clone()
        }
    }

    /// What is committed now; before the first start, an image with nothing in it.
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image.borrow())
    }

    /// What is committed, and each change of it. An image may be skipped, never the last one.
    pub fn watch(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.image.clone()
    }

    /// Creates a topic, or only checks whether it could be created. It is in [`Self::image`] then.
    pub async fn create_topic(
        &self,
        new: NewTopic,
        validate_only: bool,
    ) -> Result<CreatedTopic, MembershipError> {
        if let Some(cluster) = &self.cluster {
            return cluster.create_topic(new, validate_only).await;
        }
        self.ask(|answer| MembershipMessage::CreateTopic { new: new.clone(), validate_only, answer }).await
    }

    /// Lets a topic grow to `count` partitions in all.
    pub async fn create_partitions(
        &self,
        name: &str,
        count: i32,
        validate_only: bool,
    ) -> Result<(), MembershipError> {
        if let Some(cluster) = &self.cluster {
            return cluster.create_partitions(name, count, validate_only).await;
        }
        let message = |answer| MembershipMessage::CreatePartitions {
            name: name.to_owned(),
            count,
            validate_only,
            answer,
        };
        self.ask(message).await
    }

    /// Gives the leaders of these partitions back to their first replicas, where those are in sync.
    pub async fn elect_preferred(&self, which: Vec<PartitionId>) -> Result<(), MembershipError> {
        match &self.cluster {
            Some(cluster) => cluster.elect_preferred(which).await,
            // Alone, each replica is the first.
            None => Ok(()),
        }
    }

    /// Elects whoever is there for those of these partitions that have no leader, and gives up what only others have.
    pub async fn elect_unclean(&self, which: Vec<PartitionId>) -> Result<(), MembershipError> {
        match &self.cluster {
            Some(cluster) => cluster.elect_unclean(which).await,
            None => Ok(()),
        }
    }

    /// Deletes a topic; its data may go once the image says so.
    pub async fn delete_topic(&self, which: TopicRef) -> Result<TopicId, MembershipError> {
        if let Some(cluster) = &self.cluster {
            return cluster.delete_topic(which).await;
        }
        self.ask(|answer| MembershipMessage::DeleteTopic { which: which.clone(), answer }).await
    }

    /// Forgets a deleted topic whose data is gone. Fine if it is forgotten already.
    pub async fn purge_topic(&self, topic: TopicId) -> Result<(), MembershipError> {
        if let Some(cluster) = &self.cluster {
            return cluster.purge_topic(topic).await;
        }
        self.ask(|answer| MembershipMessage::PurgeTopic { topic, answer }).await
    }

    /// Changes some configs, all of the changes or none.
    pub async fn alter_configs(
        &self,
        owner: &ConfigOwner,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), MembershipError> {
        if let Some(cluster) = &self.cluster {
            return cluster.alter_configs(owner, changes, validate_only).await;
        }
        let message = |answer| MembershipMessage::AlterConfigs {
            owner: owner.clone(),
            changes: changes.to_vec(),
            validate_only,
            answer,
        };
        self.ask(message).await
    }

    /// Sets all configs of a topic, or all that are set for brokers while they run.
    pub async fn replace_configs(
        &self,
        owner: &ConfigOwner,
        configs: &BTreeMap<String, String>,
        validate_only: bool,
    ) -> Result<(), MembershipError> {
        if let Some(cluster) = &self.cluster {
            return cluster.replace_configs(owner, configs, validate_only).await;
        }
        let message = |answer| MembershipMessage::ReplaceConfigs {
            owner: owner.clone(),
            configs: configs.clone(),
            validate_only,
            answer,
        };
        self.ask(message).await
    }

    /// A leader epoch for this broker that nobody has had, on disk (S6).
    pub async fn open_epoch(&self, partition: PartitionId) -> Result<LeaderEpoch, MembershipError> {
        if let Some(cluster) = &self.cluster {
            return cluster.open_epoch(partition).await;
        }
        self.ask(|answer| MembershipMessage::OpenEpoch { partition, answer }).await
    }

    /// A producer id that nobody has had, out of a block that is on disk.
    pub async fn next_producer_id(&self) -> Result<ProducerId, MembershipError> {
        if let Some(cluster) = &self.cluster {
            return cluster.next_producer_id().await;
        }
        self.ask(|answer| MembershipMessage::NextProducerId { answer }).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        message: impl Fn(Answer<T>) -> MembershipMessage,
    ) -> Result<T, MembershipError> {
        let taken = AtomicBool::new(false);
        let answered = time::timeout(self.answer_within, self.attempt(message, &taken)).await;
        answered.unwrap_or_else(|_late| {
            let unknown = taken.load(Ordering::Relaxed);
            Err(if unknown { MembershipError::OutcomeUnknown } else { MembershipError::NotTaken })
        })
    }

    /// Asks once; again where the registry had ended before it could take the request.
    async fn attempt<T: Send + 'static>(
        &self,
        message: impl Fn(Answer<T>) -> MembershipMessage,
        taken: &AtomicBool,
    ) -> Result<T, MembershipError> {
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let place = place.map_err(|_closed| MembershipError::NotTaken)?;
            let registry = self.slot.wait(self.answer_within).await.map_err(|_| MembershipError::NotTaken)?;
            taken.store(true, Ordering::Relaxed);
            let call = registry.call(|reply| message(Answer::new(reply, place)), self.answer_within);
            match call.await {
                Ok(answer) => return answer,
                Err(CallError::Gone) => taken.store(false, Ordering::Relaxed),
                Err(CallError::Dropped | CallError::Timeout { .. }) => {
                    return Err(MembershipError::OutcomeUnknown);
                }
            }
            time::sleep(RETRY_AFTER).await;
        }
    }
}
