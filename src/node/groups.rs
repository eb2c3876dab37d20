//! Consumer groups: who keeps their coordinators at work, and how these and those of other nodes reach leaders.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;

use super::{NodeError, OPENING_TIME, Parts, cluster};
use crate::{
    actors::{
        cluster_link::{ClusterLink, Service, ServiceHandler, To},
        group_coordinator::{GroupPeers, GroupRouter, Leaders, LeadersArgs, OFFSETS_TOPIC, RouterArgs},
        membership::{MetadataImage, member::Member},
        supervise::{BoxFuture, ChildSpec, Placement, Slot, SupervisorHandle, SupervisorOptions},
    },
    model::NodeId,
};

/// Where coordinators of other nodes ask this one: the link takes their calls from before there are leaders.
#[derive(Clone, Default)]
pub(super) struct Desk(Arc<OnceLock<Leaders>>);

impl Desk {
    /// Answers with nothing until it is open.
    pub(super) fn handler(&self) -> ServiceHandler {
        let desk = Arc::clone(&self.0);
        Arc::new(move |_peer, body| {
            let leaders = desk.get().cloned();
            Box::pin(async move {
                match leaders {
                    Some(leaders) => leaders.serve(&body).await,
                    None => Bytes::new(),
                }
            })
        })
    }

    fn open(&self, leaders: Leaders) {
        let _only_the_first_counts = self.0.set(leaders);
    }
}

/// The way to other nodes.
struct OverLink(ClusterLink);

impl GroupPeers for OverLink {
    fn call(&self, to: NodeId, body: Bytes, within: Duration) -> BoxFuture<Option<Bytes>> {
        let link = self.0.clone();
        Box::pin(async move {
            let answer = link.call(To::Node(to), Service::Groups, &body, within).await;
            answer.inspect_err(|error| tracing::debug!(node = %to, %error, "no answer about groups")).ok()
        })
    }
}

impl Parts<'_> {
    /// Starts who keeps the coordinators of groups at work.
    pub(super) async fn start_groups(
        &self,
        member: &Member,
        leaders: Leaders,
        image: &MetadataImage,
    ) -> Result<(), NodeError> {
        let control = || Placement::on(self.runtimes.control().clone());
        let supervisor = SupervisorHandle::new(SupervisorOptions::default());
        self.root.add(supervisor.child_spec("coordinators", control())).await?;
        let node = self.config.node_id;
        let args = RouterArgs {
            supervisor,
            node,
            groups: self.groups.clone(),
            topics: self.topics.clone(),
            leaders,
            membership: member.registry.clone(),
            data: self.runtimes.data().clone(),
            io: self.runtimes.io().clone(),
            clock: Arc::clone(&self.clock),
            settings: self.config.groups.clone(),
            metrics: Arc::clone(&self.metrics),
            leases: cluster::leases(member, node),
        };
        let make = move |_| (GroupRouter, args.clone());
        self.root.add(ChildSpec::actor("group-router", control(), Slot::new(), make)).await?;
        // So that members of a node that comes back find their coordinators, be they loading.
        let there = image.topic_named(OFFSETS_TOPIC).is_some();
        if there && self.groups.until_there(OPENING_TIME).await.is_err() {
            tracing::error!("coordinators of groups were not started within {OPENING_TIME:?}");
        }
        Ok(())
    }

    /// Leaders as they are reached from here; those of this node can be asked by others from now on.
    pub(super) fn open_desk(&self, member: &Member) -> Leaders {
        let leaders = Leaders::new(LeadersArgs {
            node: self.config.node_id,
            topics: self.topics.clone(),
            membership: member.registry.clone(),
            io: self.runtimes.io().clone(),
            clock: Arc::clone(&self.clock),
            peers: Some(Arc::new(OverLink(member.link.clone()))),
        });
        self.desk.open(leaders.clone());
        leaders
    }
}
