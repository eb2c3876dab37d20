//! The cluster as clients of one listener are told of it: the image of the metadata, read out.
//!
//! A client that came by a listener reaches other brokers by their listeners of the same name, and a broker that has
//! none of that name is no broker to it. Where nobody leads, or nobody that it could reach, it is told so and never
//! sent somewhere to be refused. Nothing here waits, and nothing but the image and what this node itself leads is
//! looked at.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    actors::{
        membership::{BrokerImage, MetadataImage},
        partition::PartitionHandle,
    },
    config::node::HostPort,
    model::{LeaderEpoch, NodeId, PartitionId},
    wire::{
        ErrorCode, Str,
        api::{
            metadata::{MetadataResponseBroker, MetadataResponsePartition},
            produce::{LeaderIdAndEpoch, NodeEndpoint},
        },
    },
};

use super::{Broker, Departed, connection::Session};
pub(crate) use crate::actors::membership::NOBODY;

/// Who is where, for clients of one listener.
#[derive(Clone, Debug)]
pub(crate) struct ClusterView {
    image: Arc<MetadataImage>,
    this: NodeId,
    listener: Arc<str>,
    advertised: Arc<HostPort>,
}

/// A broker that clients of the listener may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reachable {
    pub(crate) node: NodeId,
    pub(crate) host: Str,
    pub(crate) port: i32,
    pub(crate) rack: Option<Str>,
    /// Registered, but not to lead, and not to be turned to.
    pub(crate) fenced: bool,
}

/// Who leads a partition, as far as a client is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Led {
    /// By this node, in this term.
    Here(LeaderEpoch),
    /// By this node as soon as its log is open.
    Opening,
    /// By another one that the client can reach.
    Elsewhere(NodeId, LeaderEpoch),
    /// By one that has no listener of the client's name.
    OutOfReach,
    /// By nobody that lives, though a replica lives that has all that was acknowledged.
    Awaited,
    /// By nobody, as long as no replica comes back that has all that was acknowledged.
    Down,
}

impl ClusterView {
    /// What a client of this connection may see now.
    pub(crate) fn of(broker: &Broker, session: &Session) -> Self {
        Self {
            image: broker.membership.image(),
            this: broker.node_id,
            listener: Arc::clone(&session.listener),
            advertised: Arc::clone(&session.advertised),
        }
    }

    /// The same client's view of another image.
    pub(crate) fn at(&self, image: Arc<MetadataImage>) -> Self {
        Self { image, ..self.clone() }
    }

    /// The cluster's id; `None` until it has one.
    pub(crate) fn cluster_id(&self) -> Option<Str> {
        let id = self.image.cluster_id();
        (!id.is_nil()).then(|| id.to_string().into())
    }

    /// Whom administrators turn to: the controller, where the client can reach it. Any other would do, since every
    /// node hands commands on, so it is this one where there is none.
    pub(crate) fn controller(&self) -> NodeId {
        let controller = self.image.controller().and_then(|node| self.reachable(node));
        controller.filter(|controller| !controller.fenced).map_or(self.this, |controller| controller.node)
    }

    /// Everybody that can be reached, by id. Never empty: a node that is asked is at least there itself.
    pub(crate) fn brokers(&self, also_fenced: bool) -> Vec<Reachable> {
        let registered = self.image.brokers().keys();
        let mut all: BTreeMap<_, _> =
            registered.filter_map(|node| self.reachable(*node)).map(|broker| (broker.node, broker)).collect();
        if !all.values().any(|broker| !broker.fenced) {
            all.insert(self.this, self.this_broker());
        }
        all.into_values().filter(|broker| also_fenced || !broker.fenced).collect()
    }

    /// Everybody that `Metadata` tells of: those that can be reached, and those that could be until a moment ago.
    pub(crate) fn brokers_of_late(&self, departed: &Departed, now: Duration) -> Vec<Reachable> {
        let registered = self.image.brokers().iter();
        let fenced = registered.filter(|(_, broker)| broker.fenced).map(|(node, _)| *node);
        let told = departed.still_told(now, fenced);
        let all = self.brokers(true).into_iter();
        all.filter(|broker| !broker.fenced || told.contains(&broker.node)).collect()
    }

    /// A broker, if it is registered with a listener of the client's name.
    pub(crate) fn reachable(&self, node: NodeId) -> Option<Reachable> {
        let broker = self.image.brokers().get(&node)?;
        if node == self.this {
            return Some(Reachable { fenced: broker.fenced, ..self.this_broker() });
        }
        let endpoint = broker.endpoint(&self.listener)?;
        Some(Reachable {
            node,
            host: endpoint.host.as_str().into(),
            port: i32::from(endpoint.port),
            rack: rack(broker),
            fenced: broker.fenced,
        })
    }

    /// Told by the address that was bound, whatever was registered.
    fn this_broker(&self) -> Reachable {
        Reachable {
            node: self.this,
            host: self.advertised.host.as_str().into(),
            port: i32::from(self.advertised.port),
            rack: self.image.brokers().get(&self.this).and_then(rack),
            fenced: false,
        }
    }

    /// Who leads a partition; `here` is the term in which this node's own replica leads, if it does.
    pub(crate) fn led(&self, id: PartitionId, here: Option<LeaderEpoch>) -> Led {
        let Some(partition) = self.image.partition(id) else { return Led::Down };
        if partition.leader == self.this {
            // A replica that still leads in an earlier term is about to be told of the next.
            let here = here.filter(|epoch| *epoch >= partition.leader_epoch);
            return here.map_or(Led::Opening, Led::Here);
        }
        if self.is_down(partition.leader) {
            let mut complete = partition.in_sync.iter().chain(&*partition.electable);
            return if complete.any(|node| !self.is_down(*node)) { Led::Awaited } else { Led::Down };
        }
        match self.reachable(partition.leader) {
            Some(leader) => Led::Elsewhere(leader.node, partition.leader_epoch),
            None => Led::OutOfReach,
        }
    }

    /// The same of a partition that was looked up.
    pub(crate) fn led_now(&self, partition: &PartitionHandle) -> Led {
        self.led(partition.id(), partition.leader().map(|leader| leader.epoch))
    }

    /// A partition that was looked up, in the form of `Metadata`.
    pub(crate) fn partition_of(&self, partition: &PartitionHandle) -> MetadataResponsePartition {
        self.partition(partition.id(), partition.leader().map(|leader| leader.epoch))
    }

    fn partition(&self, id: PartitionId, here: Option<LeaderEpoch>) -> MetadataResponsePartition {
        let led = self.led(id, here);
        let mut answer = MetadataResponsePartition {
            partition_index: id.index,
            error_code: led.error_code(),
            leader_id: NOBODY,
            ..MetadataResponsePartition::default()
        };
        if let Some(partition) = self.image.partition(id) {
            answer.leader_epoch = partition.leader_epoch;
            answer.replica_nodes = partition.replicas.to_vec();
            answer.isr_nodes = partition.in_sync.to_vec();
            answer.offline_replicas =
                partition.replicas.iter().copied().filter(|node| self.is_down(*node)).collect();
        }
        if let Some((leader, epoch)) = led.leader(self.this) {
            (answer.leader_id, answer.leader_epoch) = (leader, epoch);
        }
        answer
    }

    /// Where the leader of a partition is; none where there is nobody that the client can turn to.
    pub(crate) fn leader_of(&self, partition: &PartitionHandle) -> Option<Reachable> {
        let (leader, _) = self.led_now(partition).leader(self.this)?;
        if leader == self.this { Some(self.this_broker()) } else { self.reachable(leader) }
    }

    /// Who could lead a partition although they are not in sync (KIP-966).
    pub(crate) fn eligible(&self, id: PartitionId) -> Vec<NodeId> {
        self.image.partition(id).map(|partition| partition.electable.to_vec()).unwrap_or_default()
    }

    /// Who was in sync last and may have lost its end: what KIP-966 calls the last known.
    pub(crate) fn last_known(&self, id: PartitionId) -> Vec<NodeId> {
        let uncertain = self.image.partition(id).map(|partition| partition.uncertain.iter());
        uncertain.into_iter().flatten().map(|uncertain| uncertain.node).collect()
    }

    /// Whom to turn to instead of this node (KIP-951); nothing, where the client knows as much.
    pub(crate) fn hint(&self, partition: &PartitionHandle) -> LeaderIdAndEpoch {
        self.hint_for(partition.id(), partition.leader().map(|leader| leader.epoch))
    }

    fn hint_for(&self, id: PartitionId, here: Option<LeaderEpoch>) -> LeaderIdAndEpoch {
        let leader = self.led(id, here).leader(self.this);
        leader.map_or_else(LeaderIdAndEpoch::default, |(leader_id, leader_epoch)| LeaderIdAndEpoch {
            leader_id,
            leader_epoch,
        })
    }

    /// Where the leaders of these hints are, each once.
    pub(crate) fn endpoints<'a>(
        &self,
        hints: impl IntoIterator<Item = &'a LeaderIdAndEpoch>,
    ) -> Vec<NodeEndpoint> {
        let mut leaders: Vec<_> = hints.into_iter().map(|hint| hint.leader_id).collect();
        leaders.sort_unstable();
        leaders.dedup();
        let endpoint = |node: NodeId| {
            let Reachable { node: node_id, host, port, rack, .. } = self.reachable(node)?;
            Some(NodeEndpoint { node_id, host, port, rack })
        };
        leaders.into_iter().filter_map(endpoint).collect()
    }

    /// Fenced, or not registered at all.
    fn is_down(&self, node: NodeId) -> bool {
        self.image.brokers().get(&node).is_none_or(|broker| broker.fenced)
    }
}

impl Led {
    /// Who leads, with its term, where a client may turn to them.
    fn leader(self, this: NodeId) -> Option<(NodeId, LeaderEpoch)> {
        match self {
            Self::Here(epoch) => Some((this, epoch)),
            Self::Elsewhere(node, epoch) => Some((node, epoch)),
            Self::Opening | Self::OutOfReach | Self::Awaited | Self::Down => None,
        }
    }

    fn error_code(self) -> ErrorCode {
        match self {
            Self::Here(_) | Self::Elsewhere(..) => ErrorCode::None,
            Self::OutOfReach => ErrorCode::ListenerNotFound,
            Self::Opening | Self::Awaited | Self::Down => ErrorCode::LeaderNotAvailable,
        }
    }

    /// Whether there is a leader that the client can turn to.
    pub(crate) const fn is_led(self) -> bool {
        matches!(self, Self::Here(_) | Self::Elsewhere(..))
    }

    /// Whether a leader is a matter of moments.
    pub(crate) const fn is_soon(self) -> bool {
        matches!(self, Self::Opening | Self::Awaited)
    }
}

impl From<Reachable> for MetadataResponseBroker {
    fn from(Reachable { node: node_id, host, port, rack, .. }: Reachable) -> Self {
        Self { node_id, host, port, rack }
    }
}

fn rack(broker: &BrokerImage) -> Option<Str> {
    broker.rack.as_deref().map(Str::from)
}

#[cfg(test)]
pub(super) mod tests {
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    use uuid::Uuid;

    use super::{ClusterView, Departed, Led, NOBODY};
    use crate::{
        actors::membership::{Assignment, Endpoint, MetadataImage, MetadataRecord, Uncertain},
        config::node::HostPort,
        model::{BootId, BrokerEpoch, LeaderEpoch, NodeId, PartitionId, PartitionIndex, TopicId, TopicName},
        wire::{
            ErrorCode,
            api::{
                metadata::MetadataResponsePartition,
                produce::{LeaderIdAndEpoch, NodeEndpoint},
            },
        },
    };

    pub(crate) const TOPIC: TopicId = TopicId::from_bytes([9; 16]);

    pub(crate) fn partition_id(index: i32) -> PartitionId {
        PartitionId { topic: TOPIC, index: PartitionIndex::new(index) }
    }

    pub(crate) fn apply(image: &mut MetadataImage, record: &MetadataRecord) {
        image.apply(record).unwrap();
    }

    /// A broker with one address for each of these listeners.
    pub(crate) fn register(image: &mut MetadataImage, node: i32, listeners: &[&str]) {
        let endpoint = |listener: &&str| Endpoint {
            listener: (*listener).to_owned(),
            host: format!("{listener}{node}.example"),
            port: 9000 + u16::try_from(node).unwrap(),
        };
        let record = MetadataRecord::BrokerRegistered {
            node: NodeId::new(node),
            boot: BootId::random(),
            epoch: BrokerEpoch::new(i64::try_from(image.index()).unwrap() + 1),
            endpoints: listeners.iter().map(endpoint).collect(),
        };
        apply(image, &record);
    }

    pub(crate) fn fence(image: &mut MetadataImage, node: i32) {
        let node = NodeId::new(node);
        let epoch = image.brokers()[&node].epoch;
        apply(image, &MetadataRecord::BrokerFenced { node, epoch });
    }

    pub(crate) fn lead(image: &mut MetadataImage, index: i32, node: i32, epoch: i32) {
        let record = MetadataRecord::EpochOpened {
            partition: partition_id(index),
            leader: NodeId::new(node),
            epoch: LeaderEpoch::new(epoch),
        };
        apply(image, &record);
    }

    /// Nodes 1 to 3 with the listeners `in` and `out`, 4 with `in` alone; a topic whose partition 0 is led by 1, 1 by
    /// 2, 2 by 4 and 3 by 5, which is not registered.
    pub(crate) fn image() -> MetadataImage {
        let mut image = MetadataImage::default();
        let cluster_id = Uuid::from_bytes([5; 16]);
        apply(&mut image, &MetadataRecord::ClusterCreated { cluster_id, feature_level: 1 });
        for node in 1..=3 {
            register(&mut image, node, &["in", "out"]);
        }
        register(&mut image, 4, &["in"]);
        let assigned =
            |nodes: &[i32]| Assignment { replicas: nodes.iter().copied().map(NodeId::new).collect() };
        let record = MetadataRecord::TopicCreated {
            id: TOPIC,
            name: TopicName::new("t").unwrap(),
            partitions: vec![assigned(&[1, 2, 5]), assigned(&[2, 3]), assigned(&[4, 1]), assigned(&[5])],
            configs: BTreeMap::new(),
        };
        apply(&mut image, &record);
        for (index, node) in [(0, 1), (1, 2), (2, 4)] {
            lead(&mut image, index, node, 7);
        }
        image
    }

    pub(crate) fn view(image: MetadataImage, this: i32, listener: &str) -> ClusterView {
        ClusterView {
            image: Arc::new(image),
            this: NodeId::new(this),
            listener: listener.into(),
            advertised: Arc::new(HostPort::new("bound.example", 1)),
        }
    }

    fn told(partition: &MetadataResponsePartition) -> (i16, i32, i32) {
        (partition.error_code.code(), partition.leader_id.get(), partition.leader_epoch.get())
    }

    #[test]
    fn a_broker_is_told_of_by_its_listener_of_the_clients_name() {
        let brokers = |listener| view(image(), 1, listener).brokers(false);
        let told = |listener| -> Vec<_> {
            let text = |host: &crate::wire::Str| host.as_str().to_owned();
            brokers(listener).iter().map(|one| (one.node.get(), text(&one.host), one.port)).collect()
        };
        let at = |node, host: &str, port| (node, host.to_owned(), port);
        assert_eq!(
            told("out"),
            [at(1, "bound.example", 1), at(2, "out2.example", 9002), at(3, "out3.example", 9003)]
        );
        assert_eq!(told("in").len(), 4);
        assert_eq!(told("in")[3], at(4, "in4.example", 9004));
    }

    #[test]
    fn a_node_that_no_image_knows_of_still_tells_of_itself() {
        let view = view(MetadataImage::default(), 1, "out");
        assert_eq!(view.brokers(false).len(), 1);
        assert_eq!((view.cluster_id(), view.controller()), (None, NodeId::new(1)));
    }

    #[test]
    fn a_fenced_broker_is_listed_only_for_who_asks_for_them_too_and_leads_nothing() {
        let mut image = image();
        fence(&mut image, 2);
        let seen = view(image.clone(), 3, "out");
        let listed =
            |also| seen.brokers(also).iter().map(|one| (one.node.get(), one.fenced)).collect::<Vec<_>>();
        assert_eq!(listed(false), [(1, false), (3, false)]);
        assert_eq!(listed(true), [(1, false), (2, true), (3, false)]);
        assert_eq!(seen.led(partition_id(1), None), Led::Awaited, "3 is in sync and lives");
        fence(&mut image, 3);
        let seen = view(image.clone(), 1, "out");
        assert_eq!(seen.led(partition_id(1), None), Led::Down);
        assert_eq!(told(&seen.partition(partition_id(1), None)), (5, -1, 7));
        apply(&mut image, &MetadataRecord::ControllerElected { node: NodeId::new(4) });
        assert_eq!(view(image.clone(), 1, "in").controller(), NodeId::new(4));
        assert_eq!(view(image.clone(), 1, "out").controller(), NodeId::new(1), "4 is out of reach");
        fence(&mut image, 4);
        assert_eq!(view(image, 1, "in").controller(), NodeId::new(1));
    }

    #[test]
    fn a_broker_that_died_a_moment_ago_is_listed_beside_the_new_leaders_and_leads_nothing() {
        let mut image = image();
        let departed = Departed::default();
        let listed = |image: &MetadataImage, at: u64| {
            let brokers = view(image.clone(), 1, "out").brokers_of_late(&departed, Duration::from_secs(at));
            brokers.iter().map(|broker| broker.node.get()).collect::<Vec<_>>()
        };
        assert_eq!(listed(&image, 10), [1, 2, 3]);
        fence(&mut image, 2);
        lead(&mut image, 1, 3, 8);
        assert_eq!(listed(&image, 11), [1, 2, 3]);
        assert_eq!(told(&view(image.clone(), 1, "out").partition(partition_id(1), None)), (0, 3, 8));
        assert_eq!(listed(&image, 20), [1, 3]);
    }

    #[test]
    fn who_could_lead_although_not_in_sync_keeps_a_partition_awaited() {
        let mut image = image();
        let electable = MetadataRecord::PartitionChanged {
            partition: partition_id(0),
            leader: NOBODY,
            leader_epoch: LeaderEpoch::new(8),
            in_sync: vec![NodeId::new(1)],
            electable: vec![NodeId::new(2)],
            uncertain: vec![Uncertain { node: NodeId::new(5), end: None }],
            opening: 0,
            partition_epoch: image.partition(partition_id(0)).unwrap().partition_epoch + 1,
        };
        apply(&mut image, &electable);
        fence(&mut image, 1);
        let seen = view(image.clone(), 3, "out");
        assert_eq!(seen.led(partition_id(0), None), Led::Awaited);
        assert_eq!(seen.eligible(partition_id(0)), [NodeId::new(2)]);
        assert_eq!(seen.last_known(partition_id(0)), [NodeId::new(5)]);
        fence(&mut image, 2);
        assert_eq!(view(image, 3, "out").led(partition_id(0), None), Led::Down);
    }

    #[test]
    fn a_leader_is_this_node_only_while_its_own_replica_leads() {
        let view = view(image(), 1, "out");
        let epoch = LeaderEpoch::new(8);
        assert_eq!(view.led(partition_id(0), Some(epoch)), Led::Here(epoch));
        assert_eq!(told(&view.partition(partition_id(0), Some(epoch))), (0, 1, 8));
        assert_eq!(view.led(partition_id(0), None), Led::Opening);
        assert_eq!(view.led(partition_id(0), Some(LeaderEpoch::new(6))), Led::Opening, "of an earlier term");
        let opening = view.partition(partition_id(0), None);
        assert_eq!(told(&opening), (5, -1, 7));
        let nodes = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect::<Vec<_>>();
        assert_eq!(nodes(&opening.replica_nodes), [1, 2, 5]);
        assert_eq!(nodes(&opening.isr_nodes), [1, 2, 5]);
        assert_eq!(nodes(&opening.offline_replicas), [5], "not registered");
    }

    #[test]
    fn a_leader_elsewhere_is_what_the_metadata_says_whatever_the_own_replica_believes() {
        let view = view(image(), 3, "out");
        let stale = Some(LeaderEpoch::new(6));
        assert_eq!(told(&view.partition(partition_id(1), stale)), (0, 2, 7));
        assert_eq!(told(&view.partition(partition_id(1), None)), (0, 2, 7));
    }

    #[test]
    fn a_leader_without_a_listener_of_the_clients_name_is_none_that_it_could_reach() {
        assert_eq!(told(&view(image(), 1, "out").partition(partition_id(2), None)), (72, -1, 7));
        assert_eq!(told(&view(image(), 1, "in").partition(partition_id(2), None)), (0, 4, 7));
    }

    #[test]
    fn a_partition_is_waited_for_only_while_a_complete_replica_lives() {
        let mut image = image();
        assert_eq!(view(image.clone(), 1, "out").led(partition_id(3), None), Led::Down);
        assert!(!Led::Down.is_soon());
        lead(&mut image, 0, -1, 8);
        let view = view(image, 2, "out");
        assert_eq!(view.led(partition_id(0), None), Led::Awaited);
        assert!(Led::Awaited.is_soon() && Led::Opening.is_soon());
        assert_eq!(told(&view.partition(partition_id(0), None)), (5, -1, 8));
        assert_eq!(view.led(partition_id(77), None), Led::Down, "there is no such partition");
    }

    #[test]
    fn a_refusal_names_the_leader_and_where_it_is_and_nothing_otherwise() {
        let view = view(image(), 3, "out");
        let hint = |index| view.hint_for(partition_id(index), None);
        let leader = |node, epoch| LeaderIdAndEpoch {
            leader_id: NodeId::new(node),
            leader_epoch: LeaderEpoch::new(epoch),
        };
        let hints = [hint(0), hint(1), hint(1), hint(2), hint(3)];
        let nobody = LeaderIdAndEpoch::default();
        assert_eq!(hints, [leader(1, 7), leader(2, 7), leader(2, 7), nobody.clone(), nobody.clone()]);
        assert_eq!(nobody.leader_id, NOBODY);
        let endpoint = |node: i32, host: &str, port| NodeEndpoint {
            node_id: NodeId::new(node),
            host: host.into(),
            port,
            rack: None,
        };
        let endpoints = view.endpoints(&hints);
        assert_eq!(endpoints, [endpoint(1, "out1.example", 9001), endpoint(2, "out2.example", 9002)]);
        assert_eq!(ErrorCode::None, Led::Here(LeaderEpoch::new(0)).error_code());
    }
}
