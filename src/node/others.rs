//! Whether other nodes are still there: asked over the sessions with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;

use crate::{
    actors::{
        cluster_link::{ClusterLink, LinkError, Service, To},
        supervise::BoxFuture,
    },
    clock::Clock,
    kafka::Others,
    model::NodeId,
};

/// How long a node may take to say that it is there; one that is merely slow counts as there.
const ASK_WITHIN: Duration = Duration::from_millis(20);
/// For so long a node counts as lost a moment ago. Whoever only we have no connection with is not worth waiting for longer.
const A_MOMENT: Duration = Duration::from_secs(1);

/// The other members.
#[derive(Clone)]
pub(super) struct OtherMembers {
    link: ClusterLink,
    clock: Arc<dyn Clock>,
    lost_since: Arc<Mutex<BTreeMap<NodeId, Duration>>>,
}

impl fmt::Debug for OtherMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherMembers").field("lost_since", &self.lost_since).finish_non_exhaustive()
    }
}

impl OtherMembers {
    pub(super) fn new(link: ClusterLink, clock: Arc<dyn Clock>) -> Self {
        Self { link, clock, lost_since: Arc::default() }
    }

    async fn is_lost(&self, node: NodeId) -> bool {
        let answer = self.link.call(To::Node(node), Service::Link, &[], ASK_WITHIN).await;
        let mut lost_since = self.lost_since.lock().unwrap_or_else(PoisonError::into_inner);
        let is_gone = matches!(answer, Err(LinkError::NotConnected { .. } | LinkError::Lost { .. }));
        if !is_gone {
            lost_since.remove(&node);
            return false;
        }
        let now = self.clock.monotonic();
        now.saturating_sub(*lost_since.entry(node).or_insert(now)) < A_MOMENT
    }
}

impl Others for OtherMembers {
    fn lost(&self, nodes: BTreeSet<NodeId>) -> BoxFuture<BTreeSet<NodeId>> {
        let this = self.clone();
        Box::pin(async move {
            let mut asking = JoinSet::new();
            for node in nodes {
                let this = this.clone();
                asking.spawn(async move { this.is_lost(node).await.then_some(node) });
            }
            asking.join_all().await.into_iter().flatten().collect()
        })
    }
}
