//! The cluster as this node sees it: for `polylogue cluster`, and for whoever draws it.
//!
//! It is one node's view, told as such: the image of the metadata that it has, with the image's index, so that two
//! nodes that say different things can be told apart by which of them is behind. Partitions are named one by one only
//! where something is wrong with them, and not more of them than a person reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    actors::{
        membership::{BrokerImage, Endpoint, MetadataImage, PartitionImage, TopicImage},
        partition::table::TopicTable,
    },
    model::{NodeId, PartitionId, TopicId},
};

/// The listener under which nodes register their admin ports.
pub const ADMIN_LISTENER: &str = "admin";
/// The most partitions that are named in each list.
const MOST_NAMED: usize = 100;

/// Who decides, and who votes for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The controller, where there is one.
    pub controller: Option<NodeId>,
    /// The voters of the metadata's quorum.
    pub voters: Vec<NodeId>,
}

/// The cluster, as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterReport {
    /// The cluster's id; none until it is formed.
    pub cluster_id: Option<String>,
    /// Who says all this.
    pub told_by: i32,
    /// How far its metadata is.
    pub metadata_index: u64,
    /// Who decides; none during an election.
    pub controller: Option<i32>,
    /// Who votes: those whose votes are known to count. A node that is just becoming a voter is not among them.
    pub voters: Vec<i32>,
    /// All registered nodes, by id.
    pub nodes: Vec<NodeReport>,
    /// All partitions together.
    pub partitions: PartitionsReport,
    /// The partitions of the topic that was asked for, in order; none, where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<Vec<PartitionReport>>,
}

/// A registered node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its id.
    pub id: i32,
    /// How it stands with the others.
    pub state: NodeState,
    /// Its ports by the names of their listeners, `host:port`.
    pub endpoints: BTreeMap<String, String>,
    /// How many partitions it leads.
    pub leads: usize,
    /// How many partitions it keeps.
    pub replicas: usize,
    /// How many it can keep, where it has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas_max: Option<u32>,
}

/// How a node stands with the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Registered, and taken to live.
    #[default]
    Live,
    /// Registered, and not to lead: it is starting, or taken to be dead.
    Fenced,
    /// About to stop: it is given nothing to lead any more.
    Stopping,
}

/// One partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionReport {
    /// Its index.
    pub index: i32,
    /// Who leads; none while nobody does.
    pub leader: Option<i32>,
    /// The leader's term.
    pub leader_epoch: i32,
    /// Who keeps it.
    pub replicas: Vec<i32>,
    /// Who counts for what is acknowledged.
    pub in_sync: Vec<i32>,
    /// Who could lead although they do not count.
    pub electable: Vec<i32>,
    /// Who had all that was acknowledged and may have lost its end.
    #[serde(default)]
    pub uncertain: Vec<i32>,
    /// Whom it waits for, while nobody leads.
    #[serde(default)]
    pub waits_for: Vec<i32>,
}

/// Partitions, and those with which something is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionsReport {
    /// All there are.
    pub total: usize,
    /// Nobody serves them.
    pub without_leader: Named,
    /// The nodes that partitions without a leader wait for.
    #[serde(default)]
    pub waiting_for: Vec<i32>,
    /// A replica is not in sync.
    pub under_replicated: Named,
    /// Fewer replicas are in sync than writes with `acks=all` need.
    pub below_minimum: Named,
}

/// So many partitions, the first of them by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// How many.
    pub count: usize,
    /// `topic-partition`, the first hundred.
    pub first: Vec<String>,
}

impl Named {
    fn add(&mut self, topic: &TopicImage, id: PartitionId) {
        self.count += 1;
        if self.first.len() < MOST_NAMED {
            self.first.push(format!("{}-{}", topic.name, id.index));
        }
    }
}

impl NodeReport {
    /// Where its admin port is, as it registered it.
    pub fn admin(&self) -> Option<&str> {
        self.endpoints.get(ADMIN_LISTENER).map(String::as_str)
    }

    fn of(id: NodeId, broker: &BrokerImage, replicas_max: Option<u32>) -> Self {
        let endpoint = |Endpoint { listener, host, port }: &Endpoint| {
            let bare_v6 = host.contains(':') && !host.starts_with('[');
            let address = if bare_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            (listener.clone(), address)
        };
        let endpoints = broker.endpoints.iter().map(endpoint).collect();
        let state = match broker {
            BrokerImage { fenced: true, .. } => NodeState::Fenced,
            BrokerImage { stopping: true, .. } => NodeState::Stopping,
            BrokerImage { .. } => NodeState::Live,
        };
        Self { id: id.get(), state, endpoints, leads: 0, replicas: 0, replicas_max }
    }
}

impl ClusterReport {
    /// What `told_by` sees in an image. `minimum` says how many replicas of a topic must be in sync.
    pub fn of(
        image: &MetadataImage,
        told_by: NodeId,
        standing: &Standing,
        minimum: impl Fn(TopicId) -> usize,
    ) -> Self {
        let report = |id, broker| (id, NodeReport::of(id, broker, image.replicas_max(id)));
        let nodes = image.brokers().iter().map(|(id, broker)| report(*id, broker));
        let mut nodes: BTreeMap<NodeId, NodeReport> = nodes.collect();
        let mut partitions = PartitionsReport::default();
        let mut waiting_for = BTreeSet::new();
        for topic in image.topics_by_name() {
            let minimum = minimum(topic.id);
            for (partition, id) in topic.partitions.iter().zip(topic.partition_ids()) {
                partitions.total += 1;
                waiting_for.extend(partition.waits_for().into_iter().map(NodeId::get));
                count(&mut nodes, partition);
                if nodes.get(&partition.leader).is_none_or(|leader| leader.state == NodeState::Fenced) {
                    partitions.without_leader.add(topic, id);
                }
                if partition.in_sync.len() < partition.replicas.len() {
                    partitions.under_replicated.add(topic, id);
                }
                if partition.in_sync.len() < minimum {
                    partitions.below_minimum.add(topic, id);
                }
            }
        }
        partitions.waiting_for = waiting_for.into_iter().collect();
        let cluster_id = image.cluster_id();
        Self {
            cluster_id: (!cluster_id.is_nil()).then(|| cluster_id.to_string()),
            told_by: told_by.get(),
            metadata_index: image.index(),
            controller: standing.controller.map(NodeId::get),
            voters: standing.voters.iter().map(|node| node.get()).collect(),
            nodes: nodes.into_values().collect(),
            partitions,
            topic: None,
        }
    }

    /// The same with all that is known of a topic's partitions.
    #[must_use]
    pub fn with_topic(self, image: &MetadataImage, topic: &str) -> Self {
        let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect();
        let of = |(partition, id): (&PartitionImage, PartitionId)| PartitionReport {
            index: id.index.get(),
            leader: partition.leader().map(NodeId::get),
            leader_epoch: partition.leader_epoch.get(),
            replicas: numbers(&partition.replicas),
            in_sync: numbers(&partition.in_sync),
            electable: numbers(&partition.electable),
            uncertain: partition.uncertain.iter().map(|uncertain| uncertain.node.get()).collect(),
            waits_for: numbers(&partition.waits_for()),
        };
        let topic = image.topic_named(topic);
        let topic = topic.map(|topic| topic.partitions.iter().zip(topic.partition_ids()).map(of).collect());
        Self { topic, ..self }
    }
}

fn count(nodes: &mut BTreeMap<NodeId, NodeReport>, partition: &PartitionImage) {
    for node in partition.replicas.iter() {
        if let Some(node) = nodes.get_mut(node) {
            node.replicas += 1;
        }
    }
    if let Some(leader) = nodes.get_mut(&partition.leader) {
        leader.leads += 1;
    }
}

/// Asked for each `/cluster`, with the topic that is asked for; must not block.
pub type ClusterSource = Arc<dyn Fn(Option<&str>) -> ClusterReport + Send + Sync>;

/// Reports what `image` says when it is asked, with the topics' own minimums.
pub fn cluster_source(
    node: NodeId,
    topics: TopicTable,
    image: impl Fn() -> Arc<MetadataImage> + Send + Sync + 'static,
    standing: impl Fn() -> Standing + Send + Sync + 'static,
) -> ClusterSource {
    Arc::new(move |topic: Option<&str>| {
        let image = image();
        let minimum = |id| topics.by_id(id).map_or(1, |topic| topic.config().min_in_sync_replicas as usize);
        let report = ClusterReport::of(&image, node, &standing(), minimum);
        match topic {
            Some(topic) => report.with_topic(&image, topic),
            None => report,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{ClusterReport, NodeState, Standing};
    use crate::{
        actors::membership::{Assignment, Endpoint, MetadataImage, MetadataRecord},
        model::{BootId, BrokerEpoch, LeaderEpoch, NodeId, PartitionId, PartitionIndex, TopicId, TopicName},
    };

    fn image(records: &[MetadataRecord]) -> MetadataImage {
        let mut image = MetadataImage::default();
        let cluster_id = uuid::Uuid::from_bytes([5; 16]);
        image.apply(&MetadataRecord::ClusterCreated { cluster_id, feature_level: 1 }).unwrap();
        for record in records {
            image.apply(record).unwrap();
        }
        image
    }

    fn registered(node: i32) -> MetadataRecord {
        let at = |listener: &str, host: &str, port| Endpoint {
            listener: listener.to_owned(),
            host: host.to_owned(),
            port,
        };
        MetadataRecord::BrokerRegistered {
            node: NodeId::new(node),
            boot: BootId::random(),
            epoch: BrokerEpoch::new(1),
            endpoints: vec![at("kafka", "::1", 9092), at("admin", "h", 8092)],
        }
    }

    fn topic() -> MetadataRecord {
        let kept_by =
            |nodes: &[i32]| Assignment { replicas: nodes.iter().copied().map(NodeId::new).collect() };
        MetadataRecord::TopicCreated {
            id: TopicId::from_bytes([9; 16]),
            name: TopicName::new("t").unwrap(),
            partitions: vec![kept_by(&[1, 2]), kept_by(&[2]), kept_by(&[7])],
            configs: BTreeMap::new(),
        }
    }

    #[test]
    fn nodes_are_told_with_what_they_lead_and_keep_and_where_they_are() {
        let standing = Standing { controller: Some(NodeId::new(2)), voters: vec![NodeId::new(1)] };
        let image = image(&[registered(1), registered(2), topic()]);
        let report = ClusterReport::of(&image, NodeId::new(1), &standing, |_| 1);
        assert_eq!((report.told_by, report.controller, &report.voters[..]), (1, Some(2), &[1][..]));
        let nodes: Vec<_> = report.nodes.iter().map(|node| (node.id, node.leads, node.replicas)).collect();
        assert_eq!(nodes, [(1, 1, 1), (2, 1, 2)]);
        assert_eq!(report.nodes[0].admin(), Some("h:8092"));
        assert_eq!(report.nodes[0].endpoints["kafka"], "[::1]:9092");
    }

    #[test]
    fn what_a_node_can_keep_is_told_where_it_has_said_so() {
        let (node, epoch) = (NodeId::new(2), BrokerEpoch::new(1));
        let told = MetadataRecord::ReplicasMaxTold { node, epoch, max: 170 };
        let image = image(&[registered(1), registered(2), told]);
        let report = ClusterReport::of(&image, NodeId::new(1), &Standing::default(), |_| 1);
        let can_keep: Vec<_> = report.nodes.iter().map(|node| node.replicas_max).collect();
        assert_eq!(can_keep, [None, Some(170)]);
    }

    #[test]
    fn what_a_fenced_node_leads_is_without_a_leader() {
        let mut image = image(&[registered(1), registered(2), topic()]);
        let (node, epoch) = (NodeId::new(2), BrokerEpoch::new(1));
        image.apply(&MetadataRecord::BrokerFenced { node, epoch }).unwrap();
        let report = ClusterReport::of(&image, NodeId::new(1), &Standing::default(), |_| 1);
        assert_eq!(report.nodes[1].state, NodeState::Fenced);
        assert_eq!(report.partitions.without_leader.first, ["t-1", "t-2"]);
    }

    #[test]
    fn partitions_are_named_where_something_is_wrong_with_them() {
        let mut image = image(&[registered(1), registered(2), topic()]);
        let partition = PartitionId { topic: TopicId::from_bytes([9; 16]), index: PartitionIndex::new(1) };
        let nobody = NodeId::new(-1);
        let epoch = LeaderEpoch::new(1);
        image.apply(&MetadataRecord::EpochOpened { partition, leader: nobody, epoch }).unwrap();
        let report = ClusterReport::of(&image, NodeId::new(1), &Standing::default(), |_| 2);
        let partitions = &report.partitions;
        assert_eq!((partitions.total, partitions.under_replicated.count), (3, 0));
        assert_eq!(partitions.without_leader.first, ["t-1", "t-2"], "node 7 is not registered");
        assert_eq!(partitions.below_minimum.first, ["t-1", "t-2"]);
        let of_topic = report.clone().with_topic(&image, "t").topic.unwrap();
        assert_eq!((of_topic[0].leader, &of_topic[0].in_sync[..]), (Some(1), &[1, 2][..]));
        assert_eq!((of_topic[1].leader, of_topic[1].leader_epoch), (None, 1));
        assert_eq!(report.clone().with_topic(&image, "other").topic, None);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<ClusterReport>(&text).unwrap(), report);
    }
}
