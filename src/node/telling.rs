//! What a node tells of itself over HTTP.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Parts, cluster};
use crate::{
    actors::{
        group_coordinator::{LagMeter, Leaders},
        membership::{MembershipHandle, member::Member},
        partition::table::Topic,
    },
    admin::{
        AdminSource, Readiness,
        cluster::{ClusterSource, Standing, cluster_source},
    },
};

impl Parts<'_> {
    pub(super) fn admin_source(
        &self,
        is_ready: watch::Receiver<bool>,
        membership: MembershipHandle,
        member: Option<Member>,
        leaders: &Leaders,
    ) -> AdminSource {
        let (topics, us) = (self.topics.clone(), self.config.node_id);
        let cluster = self.cluster_source(membership, member.clone());
        let lag = Arc::new(self.lag_meter(member.is_some().then(|| leaders.clone())));
        let ready = move || {
            let mut reasons = Vec::new();
            if !*is_ready.borrow() {
                reasons.push("the node is starting or stopping".to_owned());
            }
            if let Some(member) = &member {
                reasons.extend(cluster::reasons(member, &topics, us));
                return Readiness::unless(reasons);
            }
            let leaderless = |topic: &Arc<Topic>| {
                topic.partitions().iter().filter(|partition| partition.leader().is_none()).count()
            };
            let without: usize = topics.all().iter().map(leaderless).sum();
            if without > 0 {
                reasons.push(format!("{without} partitions have no leader"));
            }
            Readiness::unless(reasons)
        };
        AdminSource {
            ready: Arc::new(ready),
            metrics: Arc::clone(&self.metrics),
            lag,
            cluster,
            tree: self.tree.clone(),
        }
    }

    /// A node alone decides by itself.
    fn cluster_source(&self, membership: MembershipHandle, member: Option<Member>) -> ClusterSource {
        let node = self.config.node_id;
        if let Some(member) = member {
            let (topics, images) = (self.topics.clone(), member.registry.clone());
            return cluster_source(node, topics, move || images.image(), move || cluster::standing(&member));
        }
        let standing = Standing { controller: Some(node), voters: vec![node] };
        let image = move || membership.image();
        cluster_source(node, self.topics.clone(), image, move || standing.clone())
    }

    fn lag_meter(&self, elsewhere: Option<Leaders>) -> LagMeter {
        LagMeter::new(
            self.groups.clone(),
            self.topics.clone(),
            elsewhere,
            Arc::clone(&self.metrics),
            Arc::clone(&self.clock),
            self.config.groups.lag_metrics_max as usize,
        )
    }
}
