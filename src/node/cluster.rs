//! A node's part in its cluster, from its port for other nodes to its place in the metadata.

use std::{collections::BTreeSet, io::ErrorKind, sync::Arc};

use tokio::sync::watch;

use super::{NodeError, Parts, Stop, doors::Door, endpoints};
use crate::{
    actors::{
        cluster_link::liveness::Known,
        group_coordinator::tenure::NodeLeases,
        listener::BoundPort,
        membership::{
            Endpoint, MetadataImage, NOBODY, Rules,
            joining::JoinStatus,
            member::{self, FormationStatus, Member, MemberArgs, clean},
            quorum::Quorum,
        },
        partition::{
            ends::{self, EndsArgs},
            table::TopicTable,
        },
        supervise::{BoxFuture, ChildSpec, Placement, SupervisorHandle, task_spec},
    },
    admin::cluster::Standing,
    config::node::{HostPort, NodeConfig},
    model::{BootId, NodeId, RaftId},
};

/// The cluster's port, and what others are told of it.
pub(super) struct ClusterDoor {
    port: Arc<BoundPort>,
    advertised: HostPort,
}

impl ClusterDoor {
    /// Binds the port. Port 0 stands for the one that was bound, as for clients.
    pub(super) fn bind(config: &NodeConfig) -> Result<Self, NodeError> {
        let bind = |address: &HostPort| super::doors::bind("cluster-listen", address);
        let port = match bind(&config.cluster_listen) {
            Ok(port) => port,
            // Whoever names no port and no other node gets along beside others of that kind.
            Err(NodeError::Listen { address, source, .. })
                if config.cluster_port_may_move && source.kind() == ErrorKind::AddrInUse =>
            {
                let port = bind(&HostPort::new(address.host.clone(), 0))?;
                let at = port.address();
                tracing::info!("{address} is taken: other nodes reach this one at {at} (cluster-listen)");
                port
            }
            Err(error) => return Err(error),
        };
        let advertise = &config.cluster_advertise;
        let is_told = advertise.port != 0 && *advertise != config.cluster_listen;
        let told = if is_told { advertise.port } else { port.address().port() };
        Ok(Self { port: Arc::new(port), advertised: HostPort::new(advertise.host.clone(), told) })
    }
}

impl Parts<'_> {
    /// Starts the node's part in its cluster. `opened` says that its replicas are started.
    pub(super) async fn start_member(
        &self,
        supervisor: &SupervisorHandle,
        doors: &[Door],
        admin: Endpoint,
        door: ClusterDoor,
        opened: watch::Receiver<bool>,
    ) -> Result<Member, NodeError> {
        let failed = |source| NodeError::DataDir { path: self.config.data_dir.clone(), source };
        let args = MemberArgs {
            node: self.config.node_id,
            boot: self.boot,
            clean: clean::take(self.fs.as_ref(), &self.config.data_dir).map_err(failed)?,
            endpoints: endpoints(doors, admin),
            rack: self.config.rack.clone(),
            port: door.port,
            advertised: door.advertised,
            seeds: self.config.seeds.clone(),
            voters_max: usize::from(self.config.cluster.voters),
            settings: self.config.cluster.clone(),
            fs: Arc::clone(&self.fs),
            data_dir: self.config.data_dir.clone(),
            rules: self.rules(),
            opened,
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            io: self.runtimes.io().clone(),
            groups: self.desk.handler(),
        };
        let place = Placement::on(self.runtimes.control().clone());
        Ok(member::start(supervisor, &place, args).await?)
    }

    pub(super) fn rules(&self) -> Rules {
        Rules {
            node: self.config.node_id,
            default_partitions: self.config.default_partitions,
            default_replication_factor: self.config.default_replication_factor,
            partitions_max: self.config.limits.partitions as usize,
            replicas_max: self.files.replicas_max(),
            topic_defaults: self.config.topic_defaults.clone(),
            group_defaults: self.config.groups.consumer.clone(),
        }
    }
}

/// Says, for as long as the node runs, what its replicas have found in logs of which they may have lost the end (S11).
pub(super) fn tell_ends(member: &Member, topics: TopicTable, node: NodeId) -> ChildSpec {
    let args = EndsArgs { registry: member.registry.clone(), topics, node };
    let run = move || -> BoxFuture<()> { Box::pin(ends::run(args.clone())) };
    task_spec("ends", Placement::here(), Arc::new(run))
}

/// What this node knows of leases, its own and those of others (S20).
pub(super) fn leases(member: &Member, us: NodeId) -> NodeLeases {
    let own = member.link.own_lease();
    let (table, images, known) = (member.link.leases(), member.registry.watch(), own.clone());
    let is_over = move |node: NodeId, boot: BootId| {
        let (image, leases, voters) = (images.borrow(), table.borrow(), known.voters());
        let broker = image.brokers().get(&node);
        let is_fenced = broker.is_some_and(|broker| broker.fenced);
        let fenced_by = image.controller().filter(|_| is_fenced);
        let registered = broker.map(|broker| broker.boot);
        Known { leases: &leases, voters: &voters, us, registered, fenced_by }.is_over(node, boot)
    };
    NodeLeases { length: own.length(), is_held: Arc::new(move || own.is_held()), is_over: Arc::new(is_over) }
}

/// Waits until `is_so`; an error if the node has no place in a cluster, or is to stop.
pub(super) async fn wait_until(
    member: &Member,
    stop: &mut Stop,
    is_so: impl Fn(&JoinStatus) -> bool,
) -> Result<(), NodeError> {
    let mut joined = member.registrar.watch();
    let waiting = async {
        // The sender lives as long as the tree.
        let _tree_gone = joined.wait_for(|status| is_so(status)).await;
    };
    tokio::select! {
        () = waiting => Ok(()),
        error = failure(member.clone()) => Err(error),
        which = stop.asked_for() => {
            tracing::info!("{which}: stopping before the node was part of a cluster");
            Err(NodeError::StoppedEarly)
        }
    }
}

/// Resolves when the node has no place in its cluster any more, and why.
pub(super) async fn failure(member: Member) -> NodeError {
    let (mut formation, mut joined) = (member.formation.clone(), member.registrar.watch());
    loop {
        if let Some(why) = formation.borrow_and_update().gave_up.clone() {
            return why.into();
        }
        if let Some(why) = joined.borrow_and_update().gave_up.clone() {
            return why.into();
        }
        tokio::select! {
            Ok(()) = formation.changed() => {}
            Ok(()) = joined.changed() => {}
            else => std::future::pending().await,
        }
    }
}

/// Why a node is not ready, as far as its cluster goes.
pub(super) fn reasons(member: &Member, topics: &TopicTable, us: NodeId) -> Vec<String> {
    let status = member.registrar.status();
    let mut reasons = Vec::new();
    if !status.serves {
        let FormationStatus { waits_for, .. } = member.formation.borrow().clone();
        reasons.extend(waits_for.or(status.waits_for));
        reasons.push("the node is not served by its cluster".to_owned());
    }
    let image = member.registry.image();
    let ours = image.partitions().filter(|(_, _, partition)| partition.leader == us && us != NOBODY);
    let has_leader = |id| topics.replica(id).is_some_and(|ours| ours.leader().is_some());
    let without = ours.filter(|(id, _, _)| !has_leader(*id)).count();
    if without > 0 {
        reasons.push(format!("{without} partitions that this node is to lead have no leader"));
    }
    reasons
}

/// Who decides, and whose votes are known to count, as far as this node knows.
pub(super) fn standing(member: &Member) -> Standing {
    let image = member.registry.image();
    let voters = member.registry.quorum().map(|quorum| voters(&quorum, &image)).unwrap_or_default();
    Standing { controller: image.controller(), voters: voters.into_iter().collect() }
}

/// A node that lost its disk votes again when its new member does: the old one is there until it is replaced.
fn voters(quorum: &Quorum, image: &MetadataImage) -> BTreeSet<NodeId> {
    let is_lost = |node: NodeId, id: RaftId| {
        image.brokers().get(&node).is_some_and(|broker| broker.raft_id.is_another_than(id))
    };
    let members = quorum.members();
    let ids = quorum.committed_voters().into_iter();
    let nodes = ids.filter_map(|id| Some((members.nodes.get(&id)?.node, id)));
    nodes.filter(|(node, id)| !is_lost(*node, *id)).map(|(node, _)| node).collect()
}

/// Everything that this node says to leaders and to the controller names its registration: known before any replica begins, for a
/// leader that has heard of a later one than a follower names refuses it for good.
pub(super) fn speak_for_registration(member: &Member, image: &MetadataImage, us: NodeId) {
    if let Some(broker) = image.brokers().get(&us) {
        member.registry.us().registered(broker.epoch);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{ClusterDoor, HostPort, NodeConfig, NodeError};
    use crate::config::node::{NodeFlags, Surroundings};

    fn config(flags: &NodeFlags) -> NodeConfig {
        NodeConfig::load(flags, None, &Surroundings::default()).unwrap()
    }

    #[test]
    fn a_node_that_was_told_nothing_of_others_gets_along_where_the_port_is_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = HostPort::new("127.0.0.1", taken.local_addr().unwrap().port());
        let config = config(&NodeFlags::default());
        assert!(config.cluster_port_may_move);
        let there = NodeConfig { cluster_listen: at.clone(), cluster_advertise: at.clone(), ..config };
        let door = ClusterDoor::bind(&there).unwrap();
        assert_ne!(door.port.address().port(), at.port);
        let bound = door.port.address();
        assert_eq!(door.advertised, HostPort::new(bound.ip().to_string(), bound.port()));
        let fixed = NodeConfig { cluster_port_may_move: false, ..there };
        assert!(matches!(ClusterDoor::bind(&fixed), Err(NodeError::Listen { address, .. }) if address == at));
    }

    #[test]
    fn a_port_that_was_given_or_that_seeds_may_name_is_not_exchanged() {
        let seeds = vec!["127.0.0.1:7091".to_owned()];
        assert!(!config(&NodeFlags { seeds, ..NodeFlags::default() }).cluster_port_may_move);
        let listen = Some("127.0.0.1:7092".to_owned());
        assert!(!config(&NodeFlags { cluster_listen: listen, ..NodeFlags::default() }).cluster_port_may_move);
    }
}
