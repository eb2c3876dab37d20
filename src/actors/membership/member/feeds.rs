//! What the link is told of the cluster, and what heartbeats say: kept in step with the image, the quorum and the registrar.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::sync::watch;

use crate::{
    actors::{
        cluster_link::{
            ClusterLink,
            liveness::{Beat, VoterView, Voters},
        },
        membership::{
            core::{CLUSTER_LISTENER, MetadataImage},
            joining::JoinStatus,
            quorum::Members,
            registry::RegistryHandle,
        },
    },
    config::node::HostPort,
    model::{BrokerEpoch, NodeId},
};

/// Where what is found goes.
#[derive(Clone)]
pub(super) struct Feeds {
    pub(super) registry: RegistryHandle,
    pub(super) link: ClusterLink,
    pub(super) joined: watch::Receiver<JoinStatus>,
    pub(super) voters: Arc<watch::Sender<Arc<Voters>>>,
    pub(super) beat: Arc<watch::Sender<Beat>>,
    pub(super) view: Arc<watch::Sender<Arc<VoterView>>>,
}

/// Runs for as long as the node does.
pub(super) async fn run(feeds: Feeds) {
    let (mut images, mut joined) = (feeds.registry.watch(), feeds.joined.clone());
    let mut members = feeds.registry.watch_members();
    let mut told = BTreeMap::new();
    loop {
        let image = Arc::clone(&images.borrow_and_update());
        let status = joined.borrow_and_update().clone();
        let roster = Arc::clone(&members.borrow_and_update());
        feeds.tell(&image, &status, &roster, &mut told);
        tokio::select! {
            Ok(()) = images.changed() => {}
            Ok(()) = joined.changed() => {}
            Ok(()) = members.changed() => {}
            // The registry and the registrar are no more.
            else => return,
        }
    }
}

impl Feeds {
    fn tell(
        &self,
        image: &MetadataImage,
        status: &JoinStatus,
        members: &Members,
        told: &mut BTreeMap<NodeId, crate::model::BootId>,
    ) {
        if !image.cluster_id().is_nil() && self.link.me().cluster_id.is_none() {
            self.link.set_cluster_id(image.cluster_id());
        }
        for (node, broker) in image.brokers() {
            if told.insert(*node, broker.boot) != Some(broker.boot) {
                self.link.registered(*node, broker.boot);
            }
        }
        let us = self.registry.us().broker_epoch();
        if let Some(epoch) = status.broker_epoch
            && epoch != us
        {
            self.registry.us().registered(epoch);
        }
        let me = self.link.me().node;
        for address in addresses(image, members, me) {
            self.link.want(address);
        }
        set(&self.voters, Arc::new(voters(image, members)));
        set(&self.view, Arc::new(view(image)));
        let beat = Beat {
            broker_epoch: status.broker_epoch.unwrap_or(BrokerEpoch::new(-1)),
            image_index: image.index(),
            stopping: status.stopping,
        };
        set(&self.beat, beat);
    }
}

fn set<T: PartialEq>(to: &watch::Sender<T>, value: T) {
    to.send_if_modified(|before| {
        let has_changed = *before != value;
        *before = value;
        has_changed
    });
}

/// Where a broker is reached by other nodes, by its registration.
pub(super) fn cluster_address(image: &MetadataImage, node: NodeId) -> Option<HostPort> {
    let endpoint = image.brokers().get(&node)?.endpoint(CLUSTER_LISTENER)?;
    Some(HostPort::new(endpoint.host.clone(), endpoint.port))
}

/// A registration is newer than what the quorum's membership says.
fn address_of(image: &MetadataImage, node: NodeId, in_quorum: &str) -> Option<HostPort> {
    cluster_address(image, node).or_else(|| HostPort::parse(in_quorum))
}

fn addresses(image: &MetadataImage, members: &Members, me: NodeId) -> BTreeSet<HostPort> {
    let of_members = members.nodes.values().filter_map(|member| {
        let address = address_of(image, member.node, &member.address);
        address.map(|address| (member.node, address))
    });
    let of_brokers = image.brokers().keys().filter_map(|node| Some((*node, cluster_address(image, *node)?)));
    of_members.chain(of_brokers).filter(|(node, _)| *node != me).map(|(_, address)| address).collect()
}

fn voters(image: &MetadataImage, members: &Members) -> Voters {
    let ids: BTreeSet<_> = members.voters.iter().flatten().collect();
    let found = ids.into_iter().filter_map(|id| members.nodes.get(id));
    found.filter_map(|member| Some((member.node, address_of(image, member.node, &member.address)?))).collect()
}

fn view(image: &MetadataImage) -> VoterView {
    VoterView {
        controller_epoch: image.controller_epoch(),
        controller: image.controller(),
        fenced: image.brokers().iter().filter(|(_, broker)| broker.fenced).map(|(node, _)| *node).collect(),
    }
}
