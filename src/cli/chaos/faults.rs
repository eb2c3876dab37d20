//! What is done to nodes, and what it cost.

use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};

use super::load::Acks;
use crate::{
    clock::{Clock, SystemClock},
    local_cluster::{LocalCluster, LocalNode, LocalNodeError, Wires},
    model::{NodeId, PartitionIndex, TopicName},
};

/// How long nodes may take to start or stop, and replicas to be in sync again.
pub(super) const NODE_TIME: Duration = Duration::from_mins(1);
/// How long no record may be acknowledged before it is called a failure.
const LONGEST_GAP: Duration = Duration::from_mins(1);
/// How long a node that is alone is paused or cut off.
const PAUSE: Duration = Duration::from_millis(500);
/// How long is waited in one piece: a Ctrl-C is heard between two.
const SLICE: Duration = Duration::from_millis(200);
/// How often is looked whether the node that is to be struck leads something.
const POLL: Duration = Duration::from_millis(20);
/// The partition whose leader is struck, where it is not said that the controller is.
pub(super) const FIRST: PartitionIndex = PartitionIndex::new(0);

/// What is done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP: it answers nothing and refuses nothing.
    Pause,
    /// Nothing passes between it and the others, clients among them, and nobody is told. Needs root, `ip` (iproute2),
    /// `unshare` and `nsenter` (util-linux): all nodes of the run get network namespaces of their own.
    Cut,
    /// SIGTERM: it gives away what it leads, and ends.
    Term,
    /// Every node in turn: SIGTERM, and start again.
    Rolling,
}

/// To whom it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Target {
    /// The node that leads the first partition.
    #[default]
    Leader,
    /// The cluster's controller, which leads a partition as well.
    Controller,
}

impl Fault {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of the leader",
            Self::Pause => "SIGSTOP of the leader",
            Self::Cut => "cut of the leader's network",
            Self::Term => "SIGTERM to the leader",
            Self::Rolling => "rolling restart",
        }
    }
}

/// What one fault cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub(super) time: Duration,
    /// The node that was struck was the controller: its successor had to be elected first.
    pub(super) of_controller: bool,
}

/// Who is struck, and where that is felt.
#[derive(Clone, Copy, Debug)]
struct Victim {
    node: NodeId,
    leads: PartitionIndex,
    is_controller: bool,
}

/// A cluster under load.
pub(super) struct Struck<'a> {
    pub(super) cluster: &'a mut LocalCluster,
    /// Where nodes are at the ends of wires.
    pub(super) wires: Option<&'a Wires>,
    pub(super) topic: &'a TopicName,
    pub(super) acks: &'a Acks,
    pub(super) target: Target,
    /// Between two nodes that are restarted.
    pub(super) rest: Duration,
}

impl Struck<'_> {
    /// One fault from beginning to end: how long no record was acknowledged. All is well again afterwards.
    pub(super) async fn run(&mut self, fault: Fault) -> anyhow::Result<Gap> {
        let gap = match fault {
            Fault::Kill => self.kill().await,
            Fault::Pause => self.pause().await,
            Fault::Cut => self.cut().await,
            Fault::Term => self.terminate().await,
            Fault::Rolling => self.roll().await,
        };
        gap.with_context(|| format!("{}: {}", fault.name(), self.log_tails()))
    }

    async fn kill(&mut self) -> anyhow::Result<Gap> {
        let victim = self.victim().await?;
        let is_alone = self.cluster.nodes.len() == 1;
        let node = self.node(victim.node)?;
        let fault = Instant::now();
        node.kill()?;
        if is_alone {
            node.start_again()?;
        }
        let time = self.acks.gap_after(victim.leads, fault, LONGEST_GAP).await?;
        if !is_alone {
            self.node(victim.node)?.start_again()?;
        }
        self.until_well(victim.node).await?;
        Ok(Gap { time, of_controller: victim.is_controller })
    }

    async fn pause(&mut self) -> anyhow::Result<Gap> {
        let victim = self.victim().await?;
        let is_alone = self.cluster.nodes.len() == 1;
        let node = self.node(victim.node)?;
        let fault = Instant::now();
        node.pause()?;
        if is_alone {
            // Nobody can take over: it is as long as the pause.
            sleep(PAUSE).await;
            node.resume()?;
        }
        let time = self.acks.gap_after(victim.leads, fault, LONGEST_GAP).await;
        if !is_alone {
            self.node(victim.node)?.resume()?;
        }
        self.until_well(victim.node).await?;
        Ok(Gap { time: time?, of_controller: victim.is_controller })
    }

    async fn cut(&mut self) -> anyhow::Result<Gap> {
        let wires = self.wires.context("the nodes have no wires that can be cut")?;
        let victim = self.victim().await?;
        let is_alone = self.cluster.nodes.len() == 1;
        let began = Instant::now();
        wires.cut(victim.node)?;
        // Until here a record may still have come through, so it would end no gap; the time counts.
        let is_cut = Instant::now();
        if is_alone {
            // Nobody can take over: it is as long as the cut.
            sleep(PAUSE).await;
            wires.mend(victim.node)?;
        }
        let time = self.acks.gap_after(victim.leads, is_cut, LONGEST_GAP).await;
        if !is_alone {
            // The others go on alone for a while, as behind a switch that somebody has to come to.
            sleep(self.rest).await;
            wires.mend(victim.node)?;
        }
        self.until_well(victim.node).await?;
        Ok(Gap { time: time? + (is_cut - began), of_controller: victim.is_controller })
    }

    async fn terminate(&mut self) -> anyhow::Result<Gap> {
        let victim = self.victim().await?;
        let began = Instant::now();
        self.restart(victim.node).await?;
        Ok(Gap { time: self.acks.worst_gap_since(began), of_controller: victim.is_controller })
    }

    async fn roll(&mut self) -> anyhow::Result<Gap> {
        let began = Instant::now();
        let ids: Vec<_> = self.cluster.nodes.iter().map(LocalNode::id).collect();
        for (place, id) in ids.into_iter().enumerate() {
            if place > 0 {
                sleep(self.rest).await;
            }
            self.restart(id).await?;
        }
        // The controller's node is among them, so there is nothing to be told apart.
        Ok(Gap { time: self.acks.worst_gap_since(began), of_controller: false })
    }

    async fn restart(&mut self, id: NodeId) -> anyhow::Result<()> {
        let node = self.node(id)?;
        node.stop(NODE_TIME)?;
        node.start_again()?;
        let back = Instant::now();
        self.until_well(id).await?;
        self.acks.gap_after(FIRST, back, LONGEST_GAP).await?;
        Ok(())
    }

    /// Waits until a node serves again, and all replicas are in sync.
    async fn until_well(&mut self, id: NodeId) -> anyhow::Result<()> {
        let deadline = Instant::now() + NODE_TIME;
        loop {
            let ready = self.node(id)?.wait_until_ready(SLICE);
            match ready.and_then(|()| self.cluster.until_in_sync(self.topic.as_str(), SLICE)) {
                Err(LocalNodeError::TooLate { .. } | LocalNodeError::Topic { .. })
                    if Instant::now() < deadline =>
                {
                    yield_now().await;
                }
                well => return well.with_context(|| format!("for {NODE_TIME:?}")),
            }
        }
    }

    fn node(&mut self, id: NodeId) -> anyhow::Result<&mut LocalNode> {
        self.cluster.node(id).context("the node is none of ours")
    }

    /// Waits until somebody is what the target says, and leads something.
    async fn victim(&self) -> anyhow::Result<Victim> {
        let clock = SystemClock::new();
        let deadline = clock.monotonic() + NODE_TIME;
        loop {
            if let Some(victim) = self.victim_now()? {
                return Ok(victim);
            }
            anyhow::ensure!(
                clock.monotonic() < deadline,
                "nobody is there to be struck who leads a partition"
            );
            sleep(POLL).await;
        }
    }

    fn victim_now(&self) -> anyhow::Result<Option<Victim>> {
        let controller = self.cluster.report()?.controller.map(NodeId::new);
        let partitions = self.cluster.partitions(self.topic.as_str())?;
        let mut led = partitions.iter().filter_map(|partition| {
            let node = NodeId::new(partition.leader?);
            let leads = PartitionIndex::new(partition.index);
            Some(Victim { node, leads, is_controller: Some(node) == controller })
        });
        let is_meant = |victim: &Victim| match self.target {
            Target::Leader => victim.leads == FIRST,
            Target::Controller => victim.is_controller,
        };
        Ok(led.find(is_meant))
    }

    fn log_tails(&self) -> String {
        let tail =
            |node: &LocalNode| format!("the log of node {} ends with:\n{}", node.id(), node.log_tail());
        self.cluster.nodes.iter().map(tail).collect::<Vec<_>>().join("\n")
    }
}
