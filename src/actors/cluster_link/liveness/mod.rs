//! Who lives: heartbeats on connections of their own, and leases that they renew.
//!
//! Every node sends a heartbeat each 100 ms to every voter; they queue behind nothing, neither calls nor the quorum's disk.
//! Each voter keeps a lease for each node, by its own monotonic clock, so that leases survive a change of controller (S19). A
//! node is dead when its lease has ended (a paused process, a cut network), or at once when its heartbeats' connection
//! ended *and* nothing listens at its address any more (`kill -9`). An alarm may be false: epochs keep that safe.
//!
//! **Invariants.** Time is monotonic. A start of a node that has been succeeded renews nothing. A node whose lease is held by one
//! start cannot be spoken for by another (S17: that is a duplicate id). When this process itself stood still, leases are
//! prolonged by as long: heartbeats that wait unread are no reason to call everyone dead.

mod frames;
mod leases;
mod own;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use self::{
    leases::{Cause, Lease, LeaseTable, Leases, Life, Probe, Refused},
    own::{Known, OwnLease, is_held},
};
pub(super) use self::{
    receiver::{Receiver, watch_leases},
    sender::{SenderParts, send_heartbeats},
};
use crate::{
    config::node::HostPort,
    model::{BrokerEpoch, NodeId},
};

/// What a node says of itself with each heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Its registration; -1 before it has one.
    pub broker_epoch: BrokerEpoch,
    /// Up to where it has the metadata.
    pub image_index: u64,
    /// It wants to stop and to be relieved of what it leads.
    pub stopping: bool,
}

impl Default for Beat {
    fn default() -> Self {
        Self { broker_epoch: BrokerEpoch::new(-1), image_index: 0, stopping: false }
    }
}

/// What a voter answers heartbeats with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoterView {
    /// The controller's epoch as far as the voter's metadata goes.
    pub controller_epoch: u64,
    /// The controller; `None` while there is none.
    pub controller: Option<NodeId>,
    /// The nodes that are fenced.
    pub fenced: BTreeSet<NodeId>,
}

/// What one voter last answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The controller's epoch.
    pub controller_epoch: u64,
    /// The controller; `None` while the voter knows of none.
    pub controller: Option<NodeId>,
    /// Whether we are fenced.
    pub fenced: bool,
    /// When the heartbeat was sent that this answers (monotonic): the voter holds our lease at least until this time and the
    /// lease's length.
    pub sent: Duration,
}

/// The voters, and where each is reached.
pub type Voters = BTreeMap<NodeId, HostPort>;
/// The last answer of each voter, whatever became of the connection that it came on: what it renewed holds all the same.
pub type Answers = BTreeMap<NodeId, Answer>;
