//! Who a node is to other nodes.

use std::fmt;

use uuid::Uuid;

use crate::{
    config::node::HostPort,
    model::{BootId, NodeId, RaftId},
};

/// One start of one node, as it proves itself at the head of each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The operator's number for it.
    pub node: NodeId,
    /// Its data folder's id in the metadata quorum.
    pub raft_id: RaftId,
    /// This start of its process.
    pub boot: BootId,
    /// The cluster it belongs to; `None` before it belongs to one.
    pub cluster_id: Option<Uuid>,
    /// Where other nodes reach it.
    pub address: HostPort,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} at {}", self.node, self.address)
    }
}

/// Whom a call is for: by number once it is known, by address before that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum To {
    /// The node of this number, wherever it is.
    Node(NodeId),
    /// The node with this data folder, under whatever number: another folder is another member (S17).
    Member(RaftId),
    /// The node that is reached at this address.
    Address(HostPort),
}

impl To {
    pub(super) fn is(&self, peer: &Peer, dialled: Option<&HostPort>) -> bool {
        match self {
            Self::Node(node) => peer.node == *node,
            Self::Member(raft_id) => peer.raft_id == *raft_id,
            Self::Address(address) => peer.address == *address || dialled == Some(address),
        }
    }
}

impl From<NodeId> for To {
    fn from(node: NodeId) -> Self {
        Self::Node(node)
    }
}

impl From<RaftId> for To {
    fn from(raft_id: RaftId) -> Self {
        Self::Member(raft_id)
    }
}

impl From<&HostPort> for To {
    fn from(address: &HostPort) -> Self {
        Self::Address(address.clone())
    }
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::Member(raft_id) => write!(f, "member {raft_id}"),
            Self::Address(address) => address.fmt(f),
        }
    }
}
