//! What is known of brokers, topics and leaders: one answer of the cluster, read out.

use std::{collections::HashMap, sync::Arc};

use tokio::time::Instant;

use crate::{
    model::{LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName},
    wire::{
        ErrorCode,
        api::metadata::{
            MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
        },
    },
};

/// A broker that clients may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its id.
    pub id: NodeId,
    /// Where it is, `host:port`.
    pub address: String,
    /// Its rack, where it has one.
    pub rack: Option<String>,
}

/// A topic as the cluster described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its name.
    pub name: TopicName,
    /// Its id; nil where the broker is too old to tell.
    pub id: TopicId,
    /// Whether it is the cluster's own.
    pub is_internal: bool,
    /// Its partitions, in the order of their indexes.
    pub partitions: Vec<PartitionMetadata>,
}

/// A partition as the cluster described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Its index.
    pub index: PartitionIndex,
    /// Its leader, where it has one.
    pub leader: Option<NodeId>,
    /// The leader's term.
    pub leader_epoch: LeaderEpoch,
    /// Who holds it.
    pub replicas: Vec<NodeId>,
    /// Who holds all of it.
    pub in_sync: Vec<NodeId>,
    /// Who holds it and is down.
    pub offline: Vec<NodeId>,
}

impl TopicMetadata {
    /// The partition of this index.
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionMetadata> {
        self.partitions.get(usize::try_from(index.get()).ok()?).filter(|found| found.index == index)
    }

    fn read(topic: &MetadataResponseTopic) -> Option<Self> {
        let name = TopicName::new(topic.name.as_ref()?.as_str()).ok()?;
        let mut partitions: Vec<_> = topic.partitions.iter().map(PartitionMetadata::read).collect();
        partitions.sort_by_key(|partition| partition.index);
        Some(Self { name, id: topic.topic_id, is_internal: topic.is_internal, partitions })
    }
}

impl PartitionMetadata {
    fn read(partition: &MetadataResponsePartition) -> Self {
        // An error such as 5 comes with a leader of -1, one such as 9 with a leader to use.
        let leader = partition.leader_id;
        Self {
            index: partition.partition_index,
            leader: (leader.get() >= 0).then_some(leader),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes.clone(),
            in_sync: partition.isr_nodes.clone(),
            offline: partition.offline_replicas.clone(),
        }
    }
}

/// Where to turn for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Who leads.
    pub node: NodeId,
    /// The leader's term.
    pub epoch: LeaderEpoch,
    /// The topic's id; nil where it is unknown.
    pub topic_id: TopicId,
}

/// The cluster as one answer told it, with topics of earlier answers.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// Counts the answers; higher is newer.
    pub generation: u64,
    /// The cluster's id, where it has one.
    pub cluster_id: Option<String>,
    /// The controller, where there is one.
    pub controller: Option<NodeId>,
    /// The brokers that are up.
    pub brokers: HashMap<NodeId, Broker>,
    /// The topics that were asked for and exist.
    pub topics: HashMap<TopicName, Arc<TopicMetadata>>,
    pub(super) read_at: Instant,
}

impl Metadata {
    /// Nothing is known yet.
    pub(super) fn unknown() -> Self {
        Self {
            generation: 0,
            cluster_id: None,
            controller: None,
            brokers: HashMap::new(),
            topics: HashMap::new(),
            read_at: Instant::now(),
        }
    }

    /// What an answer says, as of now.
    pub(super) fn read(response: &MetadataResponse, generation: u64) -> Self {
        let topics = response.topics.iter().filter(|topic| exists(topic));
        let topics = topics.filter_map(TopicMetadata::read);
        Self {
            generation,
            cluster_id: response.cluster_id.as_ref().map(|id| id.as_str().to_owned()),
            controller: Some(response.controller_id).filter(|id| id.get() >= 0),
            brokers: response.brokers.iter().map(|broker| (broker.node_id, read_broker(broker))).collect(),
            topics: topics.map(|topic| (topic.name.clone(), Arc::new(topic))).collect(),
            read_at: Instant::now(),
        }
    }

    /// Who leads a partition, where that is known.
    pub fn leader(&self, topic: &TopicName, partition: PartitionIndex) -> Option<Leader> {
        let topic = self.topics.get(topic)?;
        let partition = topic.partition(partition)?;
        let node = partition.leader.filter(|leader| self.brokers.contains_key(leader))?;
        Some(Leader { node, epoch: partition.leader_epoch, topic_id: topic.id })
    }
}

/// 5 names a topic that exists, some of its partitions being without a leader.
fn exists(topic: &MetadataResponseTopic) -> bool {
    matches!(topic.error_code, ErrorCode::None | ErrorCode::LeaderNotAvailable)
}

fn read_broker(broker: &MetadataResponseBroker) -> Broker {
    let host = broker.host.as_str();
    // An IPv6 address needs brackets in front of a port.
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    let address =
        if bare_v6 { format!("[{host}]:{}", broker.port) } else { format!("{host}:{}", broker.port) };
    let rack = broker.rack.as_ref().map(|rack| rack.as_str().to_owned());
    Broker { id: broker.node_id, address, rack }
}
