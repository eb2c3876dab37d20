//! What `openraft` is told about us.

use std::io::Cursor;

use serde::{Deserialize, Serialize};

use super::super::core::{Applied, Proposal};
use crate::model::{NodeId, RaftId};

/// A member as its entry in the membership says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftNode {
    /// The broker that it is part of.
    pub node: NodeId,
    /// Where other nodes reach it. May change.
    pub address: String,
}

openraft::declare_raft_types!(
    /// The metadata quorum's types.
    pub TypeConfig:
        D = Proposal,
        R = Applied,
        NodeId = u64,
        Node = RaftNode,
        SnapshotData = Cursor<Vec<u8>>,
);

pub(super) type Raft = openraft::Raft<TypeConfig>;
pub(super) type Entry = openraft::Entry<TypeConfig>;
pub(super) type LogId = openraft::LogId<u64>;
pub(super) type Vote = openraft::Vote<u64>;
pub(super) type Metrics = openraft::RaftMetrics<u64, RaftNode>;
pub(super) type StoredMembership = openraft::StoredMembership<u64, RaftNode>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<u64, RaftNode>;
pub(super) type StorageError = openraft::StorageError<u64>;
pub(super) type StorageIoError = openraft::StorageIOError<u64>;

/// A member's id as `openraft` keeps it, beside what its entry says.
pub(super) fn member(id: u64, node: &RaftNode) -> (RaftId, RaftNode) {
    (RaftId::new(id), node.clone())
}
