//! The state at one record: what every other actor and every request handler looks at.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::record::Endpoint;
use crate::{
    config::broker::DynamicConfigs,
    model::{
        BootId, BrokerEpoch, LeaderEpoch, NodeId, PartitionId, PartitionIndex, ProducerId, TopicId, TopicName,
    },
};

/// The state after some record. A copy shares every topic that has not changed since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataImage {
    pub(super) index: u64,
    pub(super) cluster_id: Uuid,
    pub(super) feature_level: u16,
    pub(super) brokers: BTreeMap<NodeId, BrokerImage>,
    pub(super) topics: BTreeMap<TopicId, Arc<TopicImage>>,
    pub(super) names: BTreeMap<TopicName, TopicId>,
    pub(super) deleted: BTreeMap<TopicId, DeletedTopic>,
    pub(super) next_producer_id: ProducerId,
    /// Beside the image in a snapshot, whose first version knew nothing of it.
    #[serde(skip)]
    pub(super) broker_configs: BrokerConfigs,
    /// Beside the image too, since the third version.
    #[serde(skip)]
    pub(super) group_configs: Arc<GroupConfigs>,
}

/// What was set while brokers run: for each, and under none for all.
pub(super) type BrokerConfigs = BTreeMap<Option<NodeId>, BTreeMap<String, String>>;

/// What groups set themselves, by their ids.
pub type GroupConfigs = BTreeMap<String, BTreeMap<String, String>>;

/// An image as the metadata log keeps it. Like a record it has no names in it: another shape of the image
/// is another variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Snapshot {
    /// Without configs of brokers.
    V1(MetadataImage),
    /// With them.
    V2(MetadataImage, BTreeMap<Option<NodeId>, BTreeMap<String, String>>),
    /// With those of groups too.
    V3(
        MetadataImage,
        BTreeMap<Option<NodeId>, BTreeMap<String, String>>,
        BTreeMap<String, BTreeMap<String, String>>,
    ),
}

impl Snapshot {
    /// What is kept of an image.
    pub(crate) fn of(image: &MetadataImage) -> Self {
        Self::V3(image.clone(), image.broker_configs.clone(), GroupConfigs::clone(&image.group_configs))
    }

    /// The image that was kept.
    pub(crate) fn into_image(self) -> MetadataImage {
        match self {
            Self::V1(image) => image,
            Self::V2(image, broker_configs) => MetadataImage { broker_configs, ..image },
            Self::V3(image, broker_configs, group_configs) => {
                MetadataImage { broker_configs, group_configs: Arc::new(group_configs), ..image }
            }
        }
    }
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerImage {
    /// Its last registered start.
    pub boot: BootId,
    /// Fences earlier starts.
    pub epoch: BrokerEpoch,
    /// Where it is reached.
    pub endpoints: Vec<Endpoint>,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicImage {
    /// Its id for its whole life.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionImage>,
    /// What it sets itself; the rest is inherited.
    pub configs: BTreeMap<String, String>,
}

impl TopicImage {
    /// One partition.
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionImage> {
        self.partitions.get(usize::try_from(index.get()).ok()?)
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    /// Every partition's id.
    pub fn partition_ids(&self) -> impl Iterator<Item = PartitionId> + '_ {
        (0..self.partition_count())
            .map(|index| PartitionId { topic: self.id, index: PartitionIndex::new(index) })
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionImage {
    /// Who leads.
    pub leader: NodeId,
    /// The last epoch handed out; [`LeaderEpoch::NONE`] until the log is opened for the first time.
    pub leader_epoch: LeaderEpoch,
    /// Raised with each change of the partition.
    pub partition_epoch: i32,
    /// Who keeps it, in order of preference.
    pub replicas: Arc<[NodeId]>,
    /// Who has all that was acknowledged.
    pub in_sync: Arc<[NodeId]>,
}

/// A topic whose deletion is committed and whose data may still be on disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedTopic {
    /// Its name, which may be in use again.
    pub name: TopicName,
    /// How many partitions it had.
    pub partitions: i32,
}

impl MetadataImage {
    /// How many records have led here.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The cluster; nil before its first record.
    pub fn cluster_id(&self) -> Uuid {
        self.cluster_id
    }

    /// What all members understand; 0 before the first record.
    pub fn feature_level(&self) -> u16 {
        self.feature_level
    }

    /// All registered brokers, by id.
    pub fn brokers(&self) -> &BTreeMap<NodeId, BrokerImage> {
        &self.brokers
    }

    /// All topics, by id.
    pub fn topics(&self) -> &BTreeMap<TopicId, Arc<TopicImage>> {
        &self.topics
    }

    /// All topics, ordered by name.
    pub fn topics_by_name(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.names.values().filter_map(|id| self.topics.get(id))
    }

    /// One topic.
    pub fn topic(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.topics.get(&id)
    }

    /// One topic, by name.
    pub fn topic_named(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(self.names.get(name)?)
    }

    /// One partition.
    pub fn partition(&self, id: PartitionId) -> Option<&PartitionImage> {
        self.topic(id.topic)?.partition(id.index)
    }

    /// Topics whose data is to be deleted where it still is: the only ones whose data may be.
    pub fn deleted_topics(&self) -> &BTreeMap<TopicId, DeletedTopic> {
        &self.deleted
    }

    /// The first producer id that is in no block.
    pub fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// What was set for a broker, and for all, while they run.
    pub fn dynamic_configs(&self, broker: NodeId) -> DynamicConfigs<'_> {
        let of = |broker| self.broker_configs.get(&broker);
        DynamicConfigs {
            of_one: of(Some(broker)).unwrap_or(DynamicConfigs::NONE.of_one),
            of_all: of(None).unwrap_or(DynamicConfigs::NONE.of_all),
        }
    }

    /// What groups set themselves. Shared by all images until one of them changes.
    pub fn group_configs(&self) -> &Arc<GroupConfigs> {
        &self.group_configs
    }

    /// What a group sets itself; nothing, if it does not exist.
    pub fn configs_of_group(&self, group: &str) -> &BTreeMap<String, String> {
        self.group_configs.get(group).unwrap_or(DynamicConfigs::NONE.of_one)
    }

    /// How many partitions there are in all topics.
    pub fn partition_count(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions.len()).sum()
    }
}
