//! Nodes as child processes: real ports, real files, real signals.
//!
//! What a crash, a pause or a restart does to a node can only be seen from outside of its process.
//! The demo, the chaos runs and every test that kills a node start it here, by the flags that an
//! operator would use, so that nothing in them knows the inside of a node.
//!
//! Everything is blocking and on the caller's thread. Waiting is by polling a condition up to a
//! deadline, never by sleeping a guessed time. A [`LocalNode`] that is dropped kills the process it
//! started, by its id and no other, and removes the folder it made.
//!
//! **Not promised:** a parent that is itself killed with SIGKILL leaves its nodes running, since the
//! kernel's means against that (`PR_SET_PDEATHSIG`) needs unsafe code between fork and exec.

mod error;
mod http;
mod node;
mod options;
mod ports;
mod tail;
#[cfg(test)]
mod tests;
mod usage;
mod wires;

use std::{path::Path, thread, time::Duration};

pub use self::{
    error::LocalNodeError,
    http::Answer,
    node::LocalNode,
    options::{Folder, NodeOptions, this_program},
    ports::free_port,
    tail::Tail,
    wires::{Wires, WiresError},
};
use crate::{
    admin::cluster::{ClusterReport, PartitionReport},
    clock::{Clock, SystemClock},
    model::NodeId,
};

/// How often a condition of the whole is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(10);

/// Several nodes that know each other by a seed list; one node has none.
#[derive(Debug)]
pub struct LocalCluster {
    /// The nodes, with ids from 1.
    pub nodes: Vec<LocalNode>,
}

impl LocalCluster {
    /// Starts `count` nodes with folders of their own that go with them, and waits until each is ready.
    pub fn start(binary: &Path, count: u16, within: Duration) -> Result<Self, LocalNodeError> {
        let mut cluster = Self::launch(binary, count, |options| options)?;
        cluster.wait_until_ready(within)?;
        Ok(cluster)
    }

    /// Starts `count` nodes, each with the options that `change` makes of its own, and waits for none.
    pub fn launch(
        binary: &Path,
        count: u16,
        change: impl Fn(NodeOptions) -> NodeOptions,
    ) -> Result<Self, LocalNodeError> {
        Self::launch_these(Self::options(binary, count)?.into_iter().map(change))
    }

    /// Starts a node for each of the options, and waits for none.
    pub fn launch_these(options: impl Iterator<Item = NodeOptions>) -> Result<Self, LocalNodeError> {
        Ok(Self { nodes: options.map(LocalNode::start).collect::<Result<_, _>>()? })
    }

    /// How `count` nodes of one cluster are started, for whoever starts them in another order.
    pub fn options(binary: &Path, count: u16) -> Result<Vec<NodeOptions>, LocalNodeError> {
        let new = |id: u16| NodeOptions::new(binary, NodeId::new(id.into()));
        Ok(NodeOptions::of_one_cluster((1..=count).map(new).collect::<Result<_, _>>()?))
    }

    /// Waits until every node is ready.
    pub fn wait_until_ready(&mut self, within: Duration) -> Result<(), LocalNodeError> {
        self.nodes.iter_mut().try_for_each(|node| node.wait_until_ready(within))
    }

    /// The node of this id.
    pub fn node(&mut self, id: NodeId) -> Option<&mut LocalNode> {
        self.nodes.iter_mut().find(|node| node.id() == id)
    }

    /// The partitions of a topic, as the node says whose metadata is newest; none where it knows no such topic.
    pub fn partitions(&self, topic: &str) -> Result<Vec<PartitionReport>, LocalNodeError> {
        Ok(self.newest(&format!("/cluster?topic={topic}"))?.topic.unwrap_or_default())
    }

    /// The cluster, as the node says whose metadata is newest.
    pub fn report(&self) -> Result<ClusterReport, LocalNodeError> {
        self.newest("/cluster")
    }

    fn newest(&self, path: &str) -> Result<ClusterReport, LocalNodeError> {
        let (mut newest, mut last): (Option<ClusterReport>, _) = (None, LocalNodeError::Nobody);
        // Whoever is stopped would be waited for.
        for node in self.nodes.iter().filter(|node| !node.is_paused()) {
            match node.cluster(path) {
                Ok(report) => {
                    let is_newer = |known: &ClusterReport| known.metadata_index < report.metadata_index;
                    if newest.as_ref().is_none_or(is_newer) {
                        newest = Some(report);
                    }
                }
                Err(error) => last = error,
            }
        }
        newest.ok_or(last)
    }

    /// The node that leads a partition, if one does.
    pub fn leader_of(&self, topic: &str, partition: i32) -> Result<Option<NodeId>, LocalNodeError> {
        let partitions = self.partitions(topic)?;
        let found = partitions.iter().find(|found| found.index == partition);
        Ok(found.and_then(|found| found.leader).map(NodeId::new))
    }

    /// Waits until a topic is there and each of its partitions has a leader and all of its replicas in sync.
    pub fn until_in_sync(&self, topic: &str, within: Duration) -> Result<(), LocalNodeError> {
        let is_whole = |partition: &PartitionReport| {
            partition.leader.is_some() && partition.in_sync.len() == partition.replicas.len()
        };
        self.until(topic, "not all of its replicas were in sync", within, is_whole)
    }

    /// Waits until a topic is there and each of its partitions has a leader.
    pub fn until_led(&self, topic: &str, within: Duration) -> Result<(), LocalNodeError> {
        self.until(topic, "not all of its partitions had a leader", within, |found| found.leader.is_some())
    }

    fn until(
        &self,
        topic: &str,
        missing: &'static str,
        within: Duration,
        holds: impl Fn(&PartitionReport) -> bool,
    ) -> Result<(), LocalNodeError> {
        let clock = SystemClock::new();
        let deadline = clock.monotonic() + within;
        loop {
            // A node that is being killed or started answers later.
            let found = self.partitions(topic).unwrap_or_default();
            if !found.is_empty() && found.iter().all(&holds) {
                return Ok(());
            }
            if clock.monotonic() >= deadline {
                let tail = |node: &LocalNode| format!("node {}:\n{}", node.id(), node.log_tail());
                let log = self.nodes.iter().map(tail).collect::<Vec<_>>().join("\n");
                return Err(LocalNodeError::Topic { topic: topic.to_owned(), missing, within, log });
            }
            thread::sleep(POLL);
        }
    }

    /// SIGTERM to every node that runs, to all at the same time; an error also where one ends with a code that is not
    /// 0.
    pub fn stop(&mut self, within: Duration) -> Result<(), LocalNodeError> {
        let stop = |node: &mut LocalNode| {
            if !node.is_running() {
                return Ok(());
            }
            let status = node.stop(within)?;
            let (id, log) = (node.id(), node.log_tail());
            if status.success() { Ok(()) } else { Err(LocalNodeError::Ended { node: id, status, log }) }
        };
        let stopped: Vec<_> = thread::scope(|scope| {
            let stopping: Vec<_> =
                self.nodes.iter_mut().map(|node| scope.spawn(move || stop(node))).collect();
            stopping.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        stopped
            .into_iter()
            .try_for_each(|stopped| stopped.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked)))
    }

    /// The addresses of every node's client listener, as clients take them.
    pub fn bootstrap(&self) -> String {
        self.nodes.iter().map(LocalNode::kafka_address).collect::<Vec<_>>().join(",")
    }
}
