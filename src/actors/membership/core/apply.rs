//! One record applied to the state. The same records give the same state, on every node.

use std::sync::Arc;

use super::{
    image::{BrokerImage, DeletedTopic, MetadataImage, PartitionImage, TopicImage},
    record::{Assignment, MetadataRecord},
};
use crate::model::{LeaderEpoch, NodeId, PartitionId, PartitionIndex, ProducerId, TopicId};

/// A record that does not follow from those before it: the log is not what was committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A second first record, or none.
    #[error("cluster is created twice, or used before it is created")]
    Cluster,
    /// The members are of a newer level than this program.
    #[error("cluster has feature level {0}, newer than this program")]
    FeatureLevel(u16),
    /// A registration that is older than the one there is.
    #[error("registration of broker {0} is out of order")]
    Broker(NodeId),
    /// The topic is there already, by id or by name.
    #[error("topic {0} is created twice")]
    TopicTwice(TopicId),
    /// There is no such topic.
    #[error("topic {0} is not there")]
    NoTopic(TopicId),
    /// There is no such partition, or the one added is not the next.
    #[error("partition {0} is not there or not the next")]
    Partition(PartitionId),
    /// An epoch that is not the next.
    #[error("leader epoch {epoch} of partition {partition} is out of order")]
    Epoch {
        /// The partition.
        partition: PartitionId,
        /// The epoch.
        epoch: LeaderEpoch,
    },
    /// A block of producer ids that overlaps an earlier one.
    #[error("producer ids from {0} are allocated out of order")]
    ProducerIds(ProducerId),
}

impl MetadataImage {
    /// Changes the state by one record, or leaves it as it was.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        self.change(record)?;
        self.index += 1;
        Ok(())
    }

    fn change(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        if self.cluster_id.is_nil() != matches!(record, MetadataRecord::ClusterCreated { .. }) {
            return Err(ApplyError::Cluster);
        }
        match record {
            MetadataRecord::ClusterCreated { cluster_id, feature_level } => {
                if *feature_level > super::FEATURE_LEVEL {
                    return Err(ApplyError::FeatureLevel(*feature_level));
                }
                (self.cluster_id, self.feature_level) = (*cluster_id, *feature_level);
                Ok(())
            }
            MetadataRecord::BrokerRegistered { node, boot, epoch, endpoints } => {
                let broker = BrokerImage { boot: *boot, epoch: *epoch, endpoints: endpoints.clone() };
                self.register(*node, broker)
            }
            MetadataRecord::TopicCreated { id, name, partitions, configs } => self.create(TopicImage {
                id: *id,
                name: name.clone(),
                partitions: partitions.iter().map(new_partition).collect(),
                configs: configs.clone(),
            }),
            MetadataRecord::PartitionsAdded { topic, first, partitions } => {
                self.add_partitions(*topic, *first, partitions)
            }
            MetadataRecord::ConfigsReplaced { topic, configs } => {
                self.topic_mut(*topic)?.configs.clone_from(configs);
                Ok(())
            }
            MetadataRecord::BrokerConfigsReplaced { broker, configs } => {
                if configs.is_empty() {
                    self.broker_configs.remove(broker);
                } else {
                    self.broker_configs.insert(*broker, configs.clone());
                }
                Ok(())
            }
            MetadataRecord::GroupConfigsReplaced { group, configs } => {
                let all = Arc::make_mut(&mut self.group_configs);
                if configs.is_empty() {
                    all.remove(group);
                } else {
                    all.insert(group.clone(), configs.clone());
                }
                Ok(())
            }
            MetadataRecord::TopicDeleted { topic } => self.delete(*topic),
            MetadataRecord::TopicPurged { topic } => {
                self.deleted.remove(topic).map(|_| ()).ok_or(ApplyError::NoTopic(*topic))
            }
            MetadataRecord::EpochOpened { partition, leader, epoch } => {
                self.open_epoch(*partition, *leader, *epoch)
            }
            MetadataRecord::ProducerIdsAllocated { first, count, .. } => {
                if *first != self.next_producer_id {
                    return Err(ApplyError::ProducerIds(*first));
                }
                let next = first.get().checked_add(i64::from(*count));
                self.next_producer_id = ProducerId::new(next.ok_or(ApplyError::ProducerIds(*first))?);
                Ok(())
            }
        }
    }

    fn register(&mut self, node: NodeId, broker: BrokerImage) -> Result<(), ApplyError> {
        if self.brokers.get(&node).is_some_and(|earlier| earlier.epoch >= broker.epoch) {
            return Err(ApplyError::Broker(node));
        }
        self.brokers.insert(node, broker);
        Ok(())
    }

    fn create(&mut self, topic: TopicImage) -> Result<(), ApplyError> {
        let known = self.topics.contains_key(&topic.id) || self.deleted.contains_key(&topic.id);
        if known || topic.id.is_nil() || self.names.contains_key(&topic.name) {
            return Err(ApplyError::TopicTwice(topic.id));
        }
        self.names.insert(topic.name.clone(), topic.id);
        self.topics.insert(topic.id, Arc::new(topic));
        Ok(())
    }

    fn add_partitions(
        &mut self,
        topic: TopicId,
        first: PartitionIndex,
        added: &[Assignment],
    ) -> Result<(), ApplyError> {
        let image = self.topic_mut(topic)?;
        if image.partition_count() != first.get() {
            return Err(ApplyError::Partition(PartitionId { topic, index: first }));
        }
        image.partitions.extend(added.iter().map(new_partition));
        Ok(())
    }

    fn delete(&mut self, id: TopicId) -> Result<(), ApplyError> {
        let topic = self.topics.remove(&id).ok_or(ApplyError::NoTopic(id))?;
        self.names.remove(&topic.name);
        let partitions = topic.partition_count();
        self.deleted.insert(id, DeletedTopic { name: topic.name.clone(), partitions });
        Ok(())
    }

    fn open_epoch(&mut self, id: PartitionId, leader: NodeId, epoch: LeaderEpoch) -> Result<(), ApplyError> {
        let topic = self.topic_mut(id.topic)?;
        let index = usize::try_from(id.index.get()).unwrap_or(usize::MAX);
        let partition = topic.partitions.get_mut(index).ok_or(ApplyError::Partition(id))?;
        if epoch <= partition.leader_epoch {
            return Err(ApplyError::Epoch { partition: id, epoch });
        }
        partition.leader = leader;
        partition.leader_epoch = epoch;
        partition.partition_epoch = partition.partition_epoch.saturating_add(1);
        Ok(())
    }

    fn topic_mut(&mut self, id: TopicId) -> Result<&mut TopicImage, ApplyError> {
        self.topics.get_mut(&id).map(Arc::make_mut).ok_or(ApplyError::NoTopic(id))
    }
}

fn new_partition(assignment: &Assignment) -> PartitionImage {
    let replicas: Arc<[NodeId]> = assignment.replicas.as_slice().into();
    PartitionImage {
        leader: replicas.first().copied().unwrap_or(NodeId::new(-1)),
        leader_epoch: LeaderEpoch::NONE,
        partition_epoch: 0,
        in_sync: Arc::clone(&replicas),
        replicas,
    }
}
