//! What nodes ask and tell each other before they are a cluster, and while one joins.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    config::node::HostPort,
    model::{NodeId, RaftId},
};

/// A node as a member of the quorum, or one to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// The operator's name for it.
    pub node: NodeId,
    /// Its disk.
    pub raft_id: RaftId,
    /// Where other nodes reach it.
    pub address: HostPort,
}

/// What a node says when it asks a seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who asks.
    pub from: Member,
    /// Which cluster it belongs to, if any.
    pub cluster_id: Option<Uuid>,
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloAnswer {
    /// The quorum's log of the node that answers has neither an entry nor a snapshot. A vote alone does not count: whoever
    /// got it has committed nothing without an entry on a majority of disks.
    Blank {
        /// Who answers.
        who: Member,
        /// The seeds that it was started with, each once, in order.
        seeds: Vec<HostPort>,
    },
    /// The node that answers belongs to a cluster.
    Member {
        /// Who answers.
        who: Member,
        /// Which.
        cluster: ClusterView,
    },
    /// The node that answers wants nothing to do with the one that asks.
    Refused(HelloRefusal),
}

/// A cluster as one of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// Its id.
    pub id: Uuid,
    /// Where the leader of its quorum is reached, as far as the member knows.
    pub leader: Option<HostPort>,
    /// The epoch of the last controller that it has heard of: of two views the higher one is newer.
    pub controller_epoch: u64,
    /// Voters and learners of its quorum.
    pub members: Vec<Member>,
}

/// Why a node is not spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum HelloRefusal {
    /// Both have the same node id, and not the same disk.
    #[error("it has the node id {0} too")]
    SameNodeId(NodeId),
    /// The one that asks belongs to another cluster.
    #[error("it belongs to cluster {0}")]
    ForeignCluster(Uuid),
    /// It did not prove that it belongs here, or speaks another version of the protocol.
    #[error("{0}")]
    NotTaken(String),
}

/// What became of asking one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeedAnswer {
    /// It answered.
    Answered(HelloAnswer),
    /// It did not.
    Unreachable,
}

/// What became of asking a cluster to take a node in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinAnswer {
    /// The node is a learner now, or is a member already; the quorum's log will reach it.
    Taken,
    /// The one that was asked does not lead the quorum.
    NotLeader {
        /// Who may.
        leader: Option<HostPort>,
    },
    /// A node that is alive has this node's id: it holds a lease, and is no predecessor.
    DuplicateNode,
    /// The cluster that was asked is not the one that was meant.
    ForeignCluster(Uuid),
    /// No answer, or nobody to ask.
    Unreachable,
}
