//! What an entry of the quorum's log asks for, and what came of it.

use serde::{Deserialize, Serialize};

use super::super::core::MetadataRecord;
use crate::model::NodeId;

/// The payload of an entry. The encoding knows a variant by its place: variants are added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proposal {
    /// A controller begins: the entry's index is its epoch (S19).
    Elected {
        /// Who.
        node: NodeId,
    },
    /// Decided by the controller of this epoch; applied only if it is the controller still, all or none.
    Records {
        /// The epoch in which they were decided.
        controller_epoch: u64,
        /// What was decided.
        records: Vec<MetadataRecord>,
    },
}

/// What came of a committed entry, the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// It counts.
    Done,
    /// Another controller had begun before it: nothing has changed.
    Stale,
    /// It does not follow from what there was: nothing has changed. A fault of ours.
    Broken(String),
}
