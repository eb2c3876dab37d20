//! What is known of brokers, topics and leaders: one answer of the cluster, read out.

use std::{collections::HashMap, sync::Arc};

use tokio::time::Instant;

use crate::{
    model::{LeaderEpoch, NodeId, PartitionIndex, TopicId, TopicName},
    wire::{
        ErrorCode,
        api::{
            metadata::{
                MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
            },
            produce::{LeaderIdAndEpoch, NodeEndpoint},
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

/// A leader that a broker named when it refused to be it (KIP-951).
#[derive(Clone, Debug)]
pub(super) struct Hint {
    pub(super) topic: TopicName,
    pub(super) partition: PartitionIndex,
    pub(super) leader: LeaderIdAndEpoch,
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

    /// The same with leaders that are newer than those known, if any of the hints is of use.
    pub(super) fn with_hints(&self, hints: &[Hint], endpoints: &[NodeEndpoint]) -> Option<Self> {
        let mut next = self.clone();
        for endpoint in endpoints {
            let NodeEndpoint { node_id, host, port, rack } = endpoint.clone();
            let broker = read_broker(&MetadataResponseBroker { node_id, host, port, rack });
            next.brokers.insert(node_id, broker);
        }
        let mut is_newer = false;
        for hint in hints {
            is_newer |= next.learn(hint);
        }
        next.generation += 1;
        is_newer.then_some(next)
    }

    fn learn(&mut self, Hint { topic, partition, leader }: &Hint) -> bool {
        if !self.brokers.contains_key(&leader.leader_id) {
            return false;
        }
        let at = usize::try_from(partition.get()).unwrap_or(usize::MAX);
        let Some(topic) = self.topics.get_mut(topic) else { return false };
        let known = topic.partitions.get(at).filter(|known| known.index == *partition);
        let is_newer = known.is_some_and(|known| known.leader_epoch < leader.leader_epoch);
        if let Some(known) = Arc::make_mut(topic).partitions.get_mut(at).filter(|_| is_newer) {
            (known.leader, known.leader_epoch) = (Some(leader.leader_id), leader.leader_epoch);
        }
        is_newer
    }

    /// Keeps what is known of partitions from later terms than this answer tells of: who answered is behind.
    pub(super) fn keep_newer(&mut self, known: &Self) {
        for (name, topic) in &mut self.topics {
            let Some(known) = known.topics.get(name).filter(|known| known.id == topic.id) else { continue };
            for (partition, known) in Arc::make_mut(topic).partitions.iter_mut().zip(&known.partitions) {
                let reachable = known.leader.is_some_and(|leader| self.brokers.contains_key(&leader));
                if partition.index == known.index && partition.leader_epoch < known.leader_epoch && reachable
                {
                    partition.clone_from(known);
                }
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Str;

    fn answer(nodes: &[i32], leader: i32, epoch: i32) -> MetadataResponse {
        let broker = |node: &i32| MetadataResponseBroker {
            node_id: NodeId::new(*node),
            host: Str::from_static("h"),
            port: 9000 + node,
            ..MetadataResponseBroker::default()
        };
        let partition = MetadataResponsePartition {
            leader_id: NodeId::new(leader),
            leader_epoch: LeaderEpoch::new(epoch),
            ..MetadataResponsePartition::default()
        };
        let topic = MetadataResponseTopic {
            name: Some("t".into()),
            partitions: vec![partition],
            ..MetadataResponseTopic::default()
        };
        MetadataResponse {
            brokers: nodes.iter().map(broker).collect(),
            topics: vec![topic],
            ..MetadataResponse::default()
        }
    }

    fn leader(of: &Metadata) -> Option<(i32, i32)> {
        let leader = of.leader(&TopicName::new("t").unwrap(), PartitionIndex::new(0))?;
        Some((leader.node.get(), leader.epoch.get()))
    }

    fn hint(node: i32, epoch: i32) -> Hint {
        let leader = LeaderIdAndEpoch { leader_id: NodeId::new(node), leader_epoch: LeaderEpoch::new(epoch) };
        Hint { topic: TopicName::new("t").unwrap(), partition: PartitionIndex::new(0), leader }
    }

    #[test]
    fn a_leader_that_a_refusal_names_is_taken_if_it_is_newer_and_can_be_reached() {
        let known = Metadata::read(&answer(&[1, 2], 1, 5), 7);
        let learned = known.with_hints(&[hint(2, 6)], &[]).unwrap();
        assert_eq!((leader(&learned), learned.generation), (Some((2, 6)), 8));
        assert!(known.with_hints(&[hint(2, 5)], &[]).is_none(), "of the same term");
        assert!(known.with_hints(&[hint(2, 4)], &[]).is_none(), "of an earlier term");
        assert!(known.with_hints(&[hint(3, 9)], &[]).is_none(), "nobody knows where it is");
        let endpoint = NodeEndpoint { node_id: NodeId::new(3), host: "x".into(), port: 1, rack: None };
        let learned = known.with_hints(&[hint(3, 9)], &[endpoint]).unwrap();
        assert_eq!(leader(&learned), Some((3, 9)));
        assert_eq!(learned.brokers[&NodeId::new(3)].address, "x:1");
    }

    #[test]
    fn an_answer_of_a_broker_that_is_behind_takes_no_newer_leader_away() {
        let known = Metadata::read(&answer(&[1, 2], 2, 6), 1);
        let mut behind = Metadata::read(&answer(&[1, 2], 1, 5), 2);
        behind.keep_newer(&known);
        assert_eq!(leader(&behind), Some((2, 6)));
        let mut ahead = Metadata::read(&answer(&[1, 2], 1, 7), 2);
        ahead.keep_newer(&known);
        assert_eq!(leader(&ahead), Some((1, 7)));
        let mut gone = Metadata::read(&answer(&[1], 1, 5), 2);
        gone.keep_newer(&known);
        assert_eq!(leader(&gone), Some((1, 5)), "the newer leader is no broker any more");
    }
}
