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

use std::{path::Path, thread, time::Duration};

pub use self::{
    error::LocalNodeError,
    http::Answer,
    node::LocalNode,
    options::{Folder, NodeOptions, this_program},
    ports::free_port,
    tail::Tail,
};
use crate::model::NodeId;

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
        let options: Vec<NodeOptions> = (1..=count)
            .map(|id| NodeOptions::new(binary, NodeId::new(id.into())))
            .collect::<Result<_, _>>()?;
        let seeds = options.iter().map(NodeOptions::cluster_address).collect::<Vec<_>>();
        let seeds = if count > 1 { seeds } else { Vec::new() };
        let start = |options: NodeOptions| LocalNode::start(change(options.seeds(&seeds)));
        Ok(Self { nodes: options.into_iter().map(start).collect::<Result<_, _>>()? })
    }

    /// Waits until every node is ready.
    pub fn wait_until_ready(&mut self, within: Duration) -> Result<(), LocalNodeError> {
        self.nodes.iter_mut().try_for_each(|node| node.wait_until_ready(within))
    }

    /// The node of this id.
    pub fn node(&mut self, id: NodeId) -> Option<&mut LocalNode> {
        self.nodes.iter_mut().find(|node| node.id() == id)
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
