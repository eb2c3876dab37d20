//! An image as a file keeps it, in every shape that there has been.
//!
//! The encoding knows a field by its place only. So the shapes of earlier versions stand here as they were, and are
//! never changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    image::{BrokerImage, DeletedTopic, MetadataImage, PartitionImage, TopicImage},
    record::Endpoint,
};
use crate::model::{
    BootId, BrokerEpoch, LeaderEpoch, NodeId, PartitionId, ProducerId, RaftId, TopicId, TopicName,
};

type BrokerConfigs = BTreeMap<Option<NodeId>, BTreeMap<String, String>>;
type GroupConfigs = BTreeMap<String, BTreeMap<String, String>>;

/// An image as it is kept. Like a record it has no names in it: another shape of the image is another variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Snapshot {
    /// Of one broker, without configs of brokers.
    V1(ImageV1),
    /// With them.
    V2(ImageV1, BrokerConfigs),
    /// With those of groups too.
    V3(ImageV1, BrokerConfigs, GroupConfigs),
    /// Of a cluster.
    V4(MetadataImage),
    /// With partitions that are to be on disk and are not known to be; written only where there are some.
    V5(MetadataImage, BTreeSet<PartitionId>),
    /// With how many replicas brokers can keep; written only where some have said so.
    V6(MetadataImage, BTreeSet<PartitionId>, BTreeMap<NodeId, u32>),
}

impl Snapshot {
    /// What is kept of an image.
    pub(crate) fn of(image: &MetadataImage) -> Self {
        let MetadataImage { disk_demanded, replicas_max, .. } = image;
        match (disk_demanded.is_empty(), replicas_max.is_empty()) {
            (true, true) => Self::V4(image.clone()),
            (false, true) => Self::V5(image.clone(), disk_demanded.clone()),
            (_, false) => Self::V6(image.clone(), disk_demanded.clone(), replicas_max.clone()),
        }
    }

    /// The image that was kept.
    pub(crate) fn into_image(self) -> MetadataImage {
        match self {
            Self::V1(image) => image.into_image(BTreeMap::new(), BTreeMap::new()),
            Self::V2(image, broker_configs) => image.into_image(broker_configs, BTreeMap::new()),
            Self::V3(image, broker_configs, group_configs) => image.into_image(broker_configs, group_configs),
            Self::V4(image) => image,
            Self::V5(image, disk_demanded) => MetadataImage { disk_demanded, ..image },
            Self::V6(image, disk_demanded, replicas_max) => {
                MetadataImage { disk_demanded, replicas_max, ..image }
            }
        }
    }
}

/// The image of the first three versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageV1 {
    index: u64,
    cluster_id: Uuid,
    feature_level: u16,
    brokers: BTreeMap<NodeId, BrokerV1>,
    topics: BTreeMap<TopicId, TopicV1>,
    names: BTreeMap<TopicName, TopicId>,
    deleted: BTreeMap<TopicId, DeletedV1>,
    next_producer_id: ProducerId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct BrokerV1 {
    boot: BootId,
    epoch: BrokerEpoch,
    endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TopicV1 {
    id: TopicId,
    name: TopicName,
    partitions: Vec<PartitionV1>,
    configs: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PartitionV1 {
    leader: NodeId,
    leader_epoch: LeaderEpoch,
    partition_epoch: i32,
    replicas: Arc<[NodeId]>,
    in_sync: Arc<[NodeId]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct DeletedV1 {
    name: TopicName,
    partitions: i32,
}

impl ImageV1 {
    fn into_image(self, broker_configs: BrokerConfigs, group_configs: GroupConfigs) -> MetadataImage {
        // One broker had everything.
        let all: BTreeSet<NodeId> = self.brokers.keys().copied().collect();
        let deleted =
            |old: DeletedV1| DeletedTopic { name: old.name, partitions: old.partitions, on: all.clone() };
        MetadataImage {
            index: self.index,
            cluster_id: self.cluster_id,
            feature_level: self.feature_level,
            deleted: self.deleted.into_iter().map(|(id, old)| (id, deleted(old))).collect(),
            brokers: self.brokers.into_iter().map(|(node, old)| (node, old.into_image())).collect(),
            topics: self.topics.into_iter().map(|(id, old)| (id, Arc::new(old.into_image()))).collect(),
            names: self.names,
            next_producer_id: self.next_producer_id,
            broker_configs,
            group_configs: Arc::new(group_configs),
            controller: None,
            disk_demanded: BTreeSet::new(),
            replicas_max: BTreeMap::new(),
        }
    }
}

impl BrokerV1 {
    fn into_image(self) -> BrokerImage {
        BrokerImage::of_one_node(self.boot, self.epoch, self.endpoints)
    }
}

impl TopicV1 {
    fn into_image(self) -> TopicImage {
        TopicImage {
            id: self.id,
            name: self.name,
            partitions: self.partitions.into_iter().map(PartitionV1::into_image).collect(),
            configs: self.configs,
        }
    }
}

impl PartitionV1 {
    fn into_image(self) -> PartitionImage {
        PartitionImage {
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            replicas: self.replicas,
            in_sync: self.in_sync,
            electable: Arc::default(),
            uncertain: Arc::default(),
            opening: 0,
        }
    }
}

impl BrokerImage {
    /// A broker as it was registered before there was more than one.
    pub(super) fn of_one_node(boot: BootId, epoch: BrokerEpoch, endpoints: Vec<Endpoint>) -> Self {
        Self {
            boot,
            epoch,
            endpoints,
            raft_id: RaftId::UNKNOWN,
            rack: None,
            feature_level: 1,
            fenced: false,
            stopping: false,
        }
    }
}
