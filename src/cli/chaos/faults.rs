//! What is done to nodes, and what it cost.

use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use tokio::time::{Instant, sleep};

use super::load::Acks;
use crate::{
    local_cluster::LocalCluster,
    model::{NodeId, PartitionIndex, TopicName},
};

/// How long nodes may take to start or stop, and replicas to be in sync again.
pub(super) const NODE_TIME: Duration = Duration::from_mins(1);
/// How long no record may be acknowledged before it is called a failure.
const LONGEST_GAP: Duration = Duration::from_mins(1);
/// How long the cluster is left alone between two faults.
const REST: Duration = Duration::from_millis(500);
/// The partition whose leader is struck.
const STRUCK: PartitionIndex = PartitionIndex::new(0);

/// What is done to the node that leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP: it answers nothing and refuses nothing.
    Pause,
    /// Every node in turn: SIGTERM, and start again.
    Rolling,
}

impl Fault {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of the leader",
            Self::Pause => "SIGSTOP of the leader",
            Self::Rolling => "rolling restart",
        }
    }
}

/// A cluster under load.
pub(super) struct Struck<'a> {
    pub(super) cluster: &'a mut LocalCluster,
    pub(super) topic: &'a TopicName,
    pub(super) acks: &'a Acks,
}

impl Struck<'_> {
    /// One fault from beginning to end: how long no record was acknowledged. All is well again afterwards.
    pub(super) async fn run(&mut self, fault: Fault) -> anyhow::Result<Duration> {
        let gap = match fault {
            Fault::Kill => self.kill().await,
            Fault::Pause => self.pause().await,
            Fault::Rolling => self.roll().await,
        };
        let gap = gap.with_context(|| format!("{}: {}", fault.name(), self.log_tails()))?;
        sleep(REST).await;
        Ok(gap)
    }

    async fn kill(&mut self) -> anyhow::Result<Duration> {
        let leader = self.leader()?;
        let is_alone = self.cluster.nodes.len() == 1;
        let node = self.cluster.node(leader).context("the leader is none of our nodes")?;
        let fault = Instant::now();
        node.kill()?;
        if is_alone {
            node.start_again()?;
        }
        let gap = self.acks.gap_after(STRUCK, fault, LONGEST_GAP).await?;
        if !is_alone {
            self.cluster.node(leader).context("the leader is none of our nodes")?.start_again()?;
        }
        self.until_well(leader)?;
        Ok(gap)
    }

    async fn pause(&mut self) -> anyhow::Result<Duration> {
        let leader = self.leader()?;
        let is_alone = self.cluster.nodes.len() == 1;
        let node = self.cluster.node(leader).context("the leader is none of our nodes")?;
        let fault = Instant::now();
        node.pause()?;
        if is_alone {
            // Nobody can take over: it is as long as the pause.
            sleep(REST).await;
            node.resume()?;
        }
        let gap = self.acks.gap_after(STRUCK, fault, LONGEST_GAP).await;
        if !is_alone {
            self.cluster.node(leader).context("the leader is none of our nodes")?.resume()?;
        }
        self.until_well(leader)?;
        gap
    }

    async fn roll(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let ids: Vec<_> = self.cluster.nodes.iter().map(crate::local_cluster::LocalNode::id).collect();
        for id in ids {
            let node = self.cluster.node(id).context("a node has gone")?;
            node.stop(NODE_TIME)?;
            node.start_again()?;
            let back = Instant::now();
            self.until_well(id)?;
            self.acks.gap_after(STRUCK, back, LONGEST_GAP).await?;
        }
        Ok(self.acks.worst_gap_since(began))
    }

    /// Waits until a node serves again, and all replicas are in sync.
    fn until_well(&mut self, id: NodeId) -> anyhow::Result<()> {
        self.cluster.node(id).context("a node has gone")?.wait_until_ready(NODE_TIME)?;
        Ok(self.cluster.until_in_sync(self.topic.as_str(), NODE_TIME)?)
    }

    fn leader(&self) -> anyhow::Result<NodeId> {
        let leader = self.cluster.leader_of(self.topic.as_str(), STRUCK.get())?;
        leader.context("nobody leads the partition to be struck")
    }

    fn log_tails(&self) -> String {
        let tail = |node: &crate::local_cluster::LocalNode| {
            format!("the log of node {} ends with:\n{}", node.id(), node.log_tail())
        };
        self.cluster.nodes.iter().map(tail).collect::<Vec<_>>().join("\n")
    }
}
