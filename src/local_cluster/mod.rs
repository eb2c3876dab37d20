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
#[cfg(test)]
mod tests;
mod usage;

use std::{path::Path, time::Duration};

pub use self::{
    error::LocalNodeError,
    http::Answer,
    node::LocalNode,
    options::{Folder, NodeOptions, this_program},
    ports::free_port,
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
        let options: Vec<NodeOptions> = (1..=count)
            .map(|id| NodeOptions::new(binary, NodeId::new(id.into())))
            .collect::<Result<_, _>>()?;
        let seeds = options.iter().map(NodeOptions::cluster_address).collect::<Vec<_>>();
        let seeds = if count > 1 { seeds } else { Vec::new() };
        let mut nodes = Vec::new();
        for options in options {
            nodes.push(LocalNode::start(options.seeds(&seeds))?);
        }
        for node in &mut nodes {
            node.wait_until_ready(within)?;
        }
        Ok(Self { nodes })
    }

    /// The addresses of every node's client listener, as clients take them.
    pub fn bootstrap(&self) -> String {
        self.nodes.iter().map(LocalNode::kafka_address).collect::<Vec<_>>().join(",")
    }
}
