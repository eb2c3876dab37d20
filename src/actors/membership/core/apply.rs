//! One record applied to the state. The same records give the same state, on every node.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    image::{BrokerImage, Controlled, DeletedTopic, MetadataImage, NOBODY, PartitionImage, TopicImage},
    record::{Assignment, MetadataRecord},
};
use crate::model::{
    BrokerEpoch, LeaderEpoch, NodeId, PartitionId, PartitionIndex, ProducerId, RaftId, TopicId,
};

/// A record that does not follow from those before it: the log is not what was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ApplyError {
    /// A second first record, or none.
    #[error("cluster is created twice, or used before it is created")]
    Cluster,
    /// The members are of a newer level than this program.
    #[error("cluster has feature level {0}, newer than this program")]
    FeatureLevel(u16),
    /// A level that is not above the one there is.
    #[error("feature level {0} is there already")]
    FeatureLevelTwice(u16),
    /// A controller that is elected within a group of records.
    #[error("a controller is elected by an entry of its own")]
    Controller,
    /// A registration that is older than the one there is, or not the one that is spoken of.
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
    /// What a partition would be is not what follows from what it is.
    #[error("change of partition {partition} is wrong: {what}")]
    Change {
        /// The partition.
        partition: PartitionId,
        /// What is wrong with it.
        what: WrongChange,
    },
    /// A block of producer ids that overlaps an earlier one.
    #[error("producer ids from {0} are allocated out of order")]
    ProducerIds(ProducerId),
}

/// What is wrong with the change of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum WrongChange {
    /// Its epoch is not one above the last.
    #[error("partition epoch is out of order")]
    PartitionEpoch,
    /// Another leader under the epoch of one before, or an epoch that is not the next.
    #[error("leader epoch is out of order")]
    LeaderEpoch,
    /// The leader is not in sync.
    #[error("leader is not in sync")]
    Leader,
    /// A broker that keeps no replica, or one that is named twice.
    #[error("a member is no replica, or named twice")]
    Members,
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
                self.check_level(*feature_level)?;
                (self.cluster_id, self.feature_level) = (*cluster_id, *feature_level);
                Ok(())
            }
            MetadataRecord::FeatureLevelRaised { level } => self.raise_level(*level),
            MetadataRecord::ControllerElected { node } => {
                self.controller = Some(Controlled { node: *node, epoch: self.index + 1 });
                Ok(())
            }
            MetadataRecord::BrokerRegistered { .. }
            | MetadataRecord::BrokerRegisteredV2 { .. }
            | MetadataRecord::BrokerFenced { .. }
            | MetadataRecord::BrokerUnfenced { .. }
            | MetadataRecord::BrokerStopping { .. }
            | MetadataRecord::ReplicasMaxTold { .. } => self.change_broker(record),
            MetadataRecord::TopicCreated { .. }
            | MetadataRecord::PartitionsAdded { .. }
            | MetadataRecord::TopicDeleted { .. }
            | MetadataRecord::TopicPurged { .. }
            | MetadataRecord::TopicPurgedOn { .. } => self.change_topics(record),
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
            MetadataRecord::EpochOpened { partition, leader, epoch } => {
                self.open_epoch(*partition, *leader, *epoch)
            }
            MetadataRecord::PartitionChanged { partition, .. } => self.change_partition(*partition, record),
            MetadataRecord::ProducerIdsAllocated { first, count, .. } => self.allocate(*first, *count),
            MetadataRecord::DiskDemanded { topic } => self.demand_disk(*topic),
            MetadataRecord::DiskReached { partition } => {
                self.disk_demanded.remove(partition);
                Ok(())
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller has told them apart")]
    fn change_broker(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        match record {
            MetadataRecord::BrokerRegistered { node, boot, epoch, endpoints } => {
                self.register(*node, BrokerImage::of_one_node(*boot, *epoch, endpoints.clone()))
            }
            MetadataRecord::BrokerRegisteredV2 {
                node,
                boot,
                epoch,
                raft_id,
                endpoints,
                rack,
                feature_level,
            } => {
                let (endpoints, rack) = (endpoints.clone(), rack.clone());
                let (raft_id, feature_level) = (*raft_id, *feature_level);
                let (fenced, stopping) = (true, false);
                let (boot, epoch) = (*boot, *epoch);
                self.register(
                    *node,
                    BrokerImage { boot, epoch, endpoints, raft_id, rack, feature_level, fenced, stopping },
                )
            }
            MetadataRecord::BrokerFenced { node, epoch } => {
                self.broker_mut(*node, *epoch)?.fenced = true;
                Ok(())
            }
            MetadataRecord::BrokerUnfenced { node, epoch } => {
                self.broker_mut(*node, *epoch)?.fenced = false;
                Ok(())
            }
            MetadataRecord::BrokerStopping { node, epoch } => {
                self.broker_mut(*node, *epoch)?.stopping = true;
                Ok(())
            }
            MetadataRecord::ReplicasMaxTold { node, epoch, max } => {
                self.broker_mut(*node, *epoch)?;
                self.replicas_max.insert(*node, *max);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the caller has told them apart")]
    fn change_topics(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        match record {
            MetadataRecord::TopicCreated { id, name, partitions, configs } => {
                let partitions = partitions.iter().map(|assignment| self.new_partition(assignment)).collect();
                self.create(TopicImage { id: *id, name: name.clone(), partitions, configs: configs.clone() })
            }
            MetadataRecord::PartitionsAdded { topic, first, partitions } => {
                self.add_partitions(*topic, *first, partitions)
            }
            MetadataRecord::TopicDeleted { topic } => self.delete(*topic),
            MetadataRecord::TopicPurged { topic } => {
                self.deleted.remove(topic).map(|_| ()).ok_or(ApplyError::NoTopic(*topic))
            }
            MetadataRecord::TopicPurgedOn { topic, node } => {
                let deleted = self.deleted.get_mut(topic).ok_or(ApplyError::NoTopic(*topic))?;
                deleted.on.remove(node);
                if deleted.on.is_empty() {
                    self.deleted.remove(topic);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_level(&self, level: u16) -> Result<(), ApplyError> {
        if level > super::FEATURE_LEVEL {
            return Err(ApplyError::FeatureLevel(level));
        }
        if level <= self.feature_level {
            return Err(ApplyError::FeatureLevelTwice(level));
        }
        Ok(())
    }

    fn raise_level(&mut self, level: u16) -> Result<(), ApplyError> {
        self.check_level(level)?;
        self.feature_level = level;
        Ok(())
    }

    fn allocate(&mut self, first: ProducerId, count: u32) -> Result<(), ApplyError> {
        if first != self.next_producer_id {
            return Err(ApplyError::ProducerIds(first));
        }
        let next = first.get().checked_add(i64::from(count));
        self.next_producer_id = ProducerId::new(next.ok_or(ApplyError::ProducerIds(first))?);
        Ok(())
    }

    fn register(&mut self, node: NodeId, broker: BrokerImage) -> Result<(), ApplyError> {
        if self.brokers.get(&node).is_some_and(|earlier| earlier.epoch >= broker.epoch) {
            return Err(ApplyError::Broker(node));
        }
        let earlier = self.brokers.get(&node).map_or(RaftId::UNKNOWN, |earlier| earlier.raft_id);
        if earlier.is_another_than(broker.raft_id) {
            self.forget_disk_of(node);
        }
        self.brokers.insert(node, broker);
        self.replicas_max.remove(&node);
        Ok(())
    }

    /// Its folder is gone, and what was to be deleted in it (S17).
    fn forget_disk_of(&mut self, node: NodeId) {
        self.deleted.retain(|_, deleted| {
            deleted.on.remove(&node);
            !deleted.on.is_empty()
        });
    }

    fn broker_mut(&mut self, node: NodeId, epoch: BrokerEpoch) -> Result<&mut BrokerImage, ApplyError> {
        let broker = self.brokers.get_mut(&node).filter(|broker| broker.epoch == epoch);
        broker.ok_or(ApplyError::Broker(node))
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
        let added: Vec<PartitionImage> =
            added.iter().map(|assignment| self.new_partition(assignment)).collect();
        let image = self.topic_mut(topic)?;
        if image.partition_count() != first.get() {
            return Err(ApplyError::Partition(PartitionId { topic, index: first }));
        }
        image.partitions.extend(added);
        Ok(())
    }

    fn demand_disk(&mut self, id: TopicId) -> Result<(), ApplyError> {
        let topic = Arc::clone(self.topic(id).ok_or(ApplyError::NoTopic(id))?);
        self.disk_demanded.extend(topic.partition_ids());
        Ok(())
    }

    fn delete(&mut self, id: TopicId) -> Result<(), ApplyError> {
        let topic = self.topics.remove(&id).ok_or(ApplyError::NoTopic(id))?;
        self.names.remove(&topic.name);
        self.disk_demanded.retain(|partition| partition.topic != id);
        let partitions = topic.partition_count();
        let mut on: BTreeSet<NodeId> =
            topic.partitions.iter().flat_map(|partition| partition.replicas.iter().copied()).collect();
        if on.is_empty() {
            on.extend(self.brokers.keys());
        }
        self.deleted.insert(id, DeletedTopic { name: topic.name.clone(), partitions, on });
        Ok(())
    }

    fn open_epoch(&mut self, id: PartitionId, leader: NodeId, epoch: LeaderEpoch) -> Result<(), ApplyError> {
        let partition = self.partition_mut(id)?;
        if epoch <= partition.leader_epoch {
            return Err(ApplyError::Epoch { partition: id, epoch });
        }
        partition.leader = leader;
        partition.leader_epoch = epoch;
        partition.opening = 0;
        partition.partition_epoch = partition.partition_epoch.saturating_add(1);
        Ok(())
    }

    fn change_partition(&mut self, id: PartitionId, record: &MetadataRecord) -> Result<(), ApplyError> {
        let MetadataRecord::PartitionChanged {
            leader,
            leader_epoch,
            in_sync,
            electable,
            uncertain,
            opening,
            partition_epoch,
            ..
        } = record
        else {
            return Ok(());
        };
        let before = self.partition(id).ok_or(ApplyError::Partition(id))?;
        let after = PartitionImage {
            leader: *leader,
            leader_epoch: *leader_epoch,
            partition_epoch: *partition_epoch,
            replicas: Arc::clone(&before.replicas),
            in_sync: shared(&before.in_sync, in_sync),
            electable: shared(&before.electable, electable),
            uncertain: uncertain.as_slice().into(),
            opening: *opening,
        };
        check_change(before, &after).map_err(|what| ApplyError::Change { partition: id, what })?;
        *self.partition_mut(id)? = after;
        Ok(())
    }

    /// Who may lose what it has not got is not in sync with it: only who is there counts at first.
    fn new_partition(&self, assignment: &Assignment) -> PartitionImage {
        let replicas: Arc<[NodeId]> = assignment.replicas.as_slice().into();
        let is_live = |node: &&NodeId| self.brokers.get(node).is_none_or(BrokerImage::is_live);
        let live: Vec<NodeId> = replicas.iter().filter(is_live).copied().collect();
        let in_sync = if live.is_empty() { replicas.get(..1).unwrap_or_default() } else { &live };
        PartitionImage {
            leader: live.first().copied().unwrap_or(NOBODY),
            leader_epoch: LeaderEpoch::NONE,
            partition_epoch: 0,
            in_sync: shared(&replicas, in_sync),
            electable: Arc::default(),
            uncertain: Arc::default(),
            opening: 0,
            replicas,
        }
    }

    fn partition_mut(&mut self, id: PartitionId) -> Result<&mut PartitionImage, ApplyError> {
        let topic = self.topic_mut(id.topic)?;
        let index = usize::try_from(id.index.get()).unwrap_or(usize::MAX);
        topic.partitions.get_mut(index).ok_or(ApplyError::Partition(id))
    }

    fn topic_mut(&mut self, id: TopicId) -> Result<&mut TopicImage, ApplyError> {
        self.topics.get_mut(&id).map(Arc::make_mut).ok_or(ApplyError::NoTopic(id))
    }
}

/// The list that is there already, where it says the same.
fn shared(before: &Arc<[NodeId]>, after: &[NodeId]) -> Arc<[NodeId]> {
    if **before == *after { Arc::clone(before) } else { after.into() }
}

fn check_change(before: &PartitionImage, after: &PartitionImage) -> Result<(), WrongChange> {
    if before.partition_epoch.checked_add(1) != Some(after.partition_epoch) {
        return Err(WrongChange::PartitionEpoch);
    }
    let same_epoch = after.leader_epoch == before.leader_epoch;
    let next_epoch = !same_epoch && after.leader_epoch == before.leader_epoch.next();
    if !(next_epoch || same_epoch && after.leader == before.leader) {
        return Err(WrongChange::LeaderEpoch);
    }
    if after.leader().is_some_and(|leader| !after.in_sync.contains(&leader)) {
        return Err(WrongChange::Leader);
    }
    let uncertain = after.uncertain.iter().map(|uncertain| &uncertain.node);
    let mut members: Vec<&NodeId> = after.in_sync.iter().chain(&*after.electable).chain(uncertain).collect();
    let named = members.len();
    members.sort_unstable();
    members.dedup();
    if members.len() != named || !members.iter().all(|node| before.replicas.contains(node)) {
        return Err(WrongChange::Members);
    }
    Ok(())
}
