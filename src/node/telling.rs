//! What a node tells of itself over HTTP.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Parts, cluster};
use crate::{
    actors::{
        group_coordinator::{LagMeter, Leaders},
        membership::member::Member,
    },
    admin::{
        AdminSource, Readiness,
        cluster::{ClusterSource, cluster_source},
    },
};

impl Parts<'_> {
    pub(super) fn admin_source(
        &self,
        is_ready: watch::Receiver<bool>,
        member: Member,
        leaders: &Leaders,
    ) -> AdminSource {
        let (topics, us, files) = (self.topics.clone(), self.config.node_id, self.files);
        let cluster = self.cluster_source(member.clone());
        let lag = Arc::new(self.lag_meter(Some(leaders.clone())));
        let ready = move || {
            let mut reasons = Vec::new();
            if !*is_ready.borrow() {
                reasons.push("the node is starting or stopping".to_owned());
            }
            reasons.extend(cluster::reasons(&member, &topics, us));
            reasons.extend(files.shortage(&member.registry.image(), us));
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

    fn cluster_source(&self, member: Member) -> ClusterSource {
        let (topics, images) = (self.topics.clone(), member.registry.clone());
        let standing = move || cluster::standing(&member);
        cluster_source(self.config.node_id, topics, move || images.image(), standing)
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
