//! The state at one record: what every other actor and every request handler looks at.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::record::{Endpoint, Uncertain};
use crate::{
    config::{broker::DynamicConfigs, topic::name},
    model::{
        BootId, BrokerEpoch, LeaderEpoch, NodeId, PartitionId, PartitionIndex, ProducerId, RaftId, TopicId,
        TopicName,
    },
};

/// No broker: the leader of a partition that has none.
pub const NOBODY: NodeId = NodeId::new(-1);

/// The state after some record. A copy shares every topic that has not changed since.
///
/// Its encoding is that of a snapshot's fourth version: another shape needs another version. What is skipped stands beside it
/// in the fifth and sixth.
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
    pub(super) broker_configs: BrokerConfigs,
    pub(super) group_configs: Arc<GroupConfigs>,
    pub(super) controller: Option<Controlled>,
    /// Partitions of topics that have become `disk`, until their leaders say that everybody who may lead has all on disk (S11).
    #[serde(skip)]
    pub(super) disk_demanded: BTreeSet<PartitionId>,
    /// How many replicas brokers can keep that have said so.
    #[serde(skip)]
    pub(super) replicas_max: BTreeMap<NodeId, u32>,
}

/// What was set while brokers run: for each, and under none for all.
pub(super) type BrokerConfigs = BTreeMap<Option<NodeId>, BTreeMap<String, String>>;

/// What groups set themselves, by their ids.
pub type GroupConfigs = BTreeMap<String, BTreeMap<String, String>>;

/// Who decides, and since which entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Controlled {
    pub(super) node: NodeId,
    pub(super) epoch: u64,
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
    /// Its data folder; 0 where that is not known.
    pub raft_id: RaftId,
    /// What it shares power, network or a building with.
    pub rack: Option<String>,
    /// The highest feature level that it understands.
    pub feature_level: u16,
    /// Whether it is registered and no more: it leads nothing and is not listed.
    pub fenced: bool,
    /// Whether it is about to stop: it gets nothing to lead any more.
    pub stopping: bool,
}

impl BrokerImage {
    /// Whether it can be made a leader, and be taken into an in-sync set.
    pub fn is_live(&self) -> bool {
        !self.fenced && !self.stopping
    }

    /// Where it is reached through a listener.
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.listener == listener)
    }
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
    /// Who leads; [`NOBODY`] while no one can.
    pub leader: NodeId,
    /// The last epoch handed out; [`LeaderEpoch::NONE`] until the log is opened for the first time.
    pub leader_epoch: LeaderEpoch,
    /// Raised with each change of the partition.
    pub partition_epoch: i32,
    /// Who keeps it, in order of preference.
    pub replicas: Arc<[NodeId]>,
    /// Who counts for what is acknowledged, and has all that was. Empty only where all of them have lost
    /// something (S11, S17).
    pub in_sync: Arc<[NodeId]>,
    /// Who does not count, and has all that was acknowledged too (KIP-966): it left while the set was below its
    /// minimum, and nothing has been acknowledged since (S10).
    pub electable: Arc<[NodeId]>,
    /// Who had all that was acknowledged and may have lost its end (S11). Looked at when nobody is left above.
    pub uncertain: Arc<[Uncertain]>,
    /// The opening of the leader's log that the epoch was given to (S6); 0: its election.
    pub opening: u64,
}

impl PartitionImage {
    /// Who leads, if somebody does.
    pub fn leader(&self) -> Option<NodeId> {
        (self.leader != NOBODY).then_some(self.leader)
    }

    /// Whether all that had everything may have lost something, and the one with most is looked for (S11).
    pub fn is_in_doubt(&self) -> bool {
        self.in_sync.is_empty() && self.electable.is_empty() && !self.uncertain.is_empty()
    }

    /// Whom a partition without a leader waits for: any of those who have all, else each of those who have not said what
    /// they have, else one of those with most.
    pub fn waits_for(&self) -> Vec<NodeId> {
        if self.leader().is_some() {
            return Vec::new();
        }
        if !self.is_in_doubt() {
            return self.in_sync.iter().chain(&*self.electable).copied().collect();
        }
        let most = self.uncertain.iter().filter_map(|uncertain| uncertain.end).max();
        let all_have_looked = self.uncertain.iter().all(|uncertain| uncertain.end.is_some());
        let wanted = if all_have_looked { most } else { None };
        let waited_for = self.uncertain.iter().filter(|uncertain| uncertain.end == wanted);
        waited_for.map(|uncertain| uncertain.node).collect()
    }
}

/// A topic whose deletion is committed and whose data may still be on disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedTopic {
    /// Its name, which may be in use again.
    pub name: TopicName,
    /// How many partitions it had.
    pub partitions: i32,
    /// Whose disk it may still be on.
    pub on: BTreeSet<NodeId>,
}

impl MetadataImage {
    /// The last entry that led here; in a log of single records, how many there were.
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

    /// Who decides, if somebody was ever elected to.
    pub fn controller(&self) -> Option<NodeId> {
        self.controller.map(|controlled| controlled.node)
    }

    /// The entry that made it the controller (S19); 0 before the first one.
    pub fn controller_epoch(&self) -> u64 {
        self.controller.map_or(0, |controlled| controlled.epoch)
    }

    /// All registered brokers, by id.
    pub fn brokers(&self) -> &BTreeMap<NodeId, BrokerImage> {
        &self.brokers
    }

    /// The most replicas that a broker can keep, where it has said so: it may not open files for more.
    pub fn replicas_max(&self, node: NodeId) -> Option<u32> {
        self.replicas_max.get(&node).copied()
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

    /// Whether everybody who may lead a partition has on disk what was acknowledged, and so stays who he is over a power cut
    /// (S11). Of a topic that has become `disk` its leader says when it is so.
    pub fn is_on_disk(&self, id: PartitionId) -> bool {
        let durability = self.topic(id.topic).and_then(|topic| topic.configs.get(name::DURABILITY));
        durability.is_none_or(|durability| durability == "disk") && !self.disk_demanded.contains(&id)
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

    /// Whether a broker is registered and can be made a leader.
    pub fn is_live(&self, node: NodeId) -> bool {
        self.brokers.get(&node).is_some_and(BrokerImage::is_live)
    }

    /// Every partition, by topic id and index.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionId, &Arc<TopicImage>, &PartitionImage)> {
        self.topics.values().flat_map(|topic| {
            topic.partition_ids().zip(&topic.partitions).map(move |(id, partition)| (id, topic, partition))
        })
    }

    /// How many partitions there are in all topics.
    pub fn partition_count(&self) -> usize {
        self.topics.values().map(|topic| topic.partitions.len()).sum()
    }
}
