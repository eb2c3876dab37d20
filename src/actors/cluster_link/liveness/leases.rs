//! The leases that a voter keeps: a pure core, without clock, socket or task.

use std::{collections::BTreeMap, time::Duration};

use super::Beat;
use crate::{
    actors::cluster_link::boots::Boots,
    model::{BootId, NodeId},
};

/// This process stood still if nobody looked for so many parts of a lease.
const STALL_PARTS: u32 = 3;

/// Whether a node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It holds a lease.
    Alive {
        /// Since when (monotonic).
        since: Duration,
    },
    /// It holds none.
    Dead {
        /// Since when (monotonic).
        since: Duration,
        /// How that is known.
        cause: Cause,
    },
}

/// How it is known that a node is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was silent for a whole lease.
    Silent,
    /// Its connection ended and nothing listens at its address.
    Refused,
    /// Another start of it has taken its place.
    Succeeded,
}

/// One node's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The start of the node that holds it, or held it last.
    pub boot: BootId,
    /// Whether it holds.
    pub life: Life,
    /// What the node last said.
    pub beat: Beat,
}

impl Lease {
    /// Whether it holds.
    pub fn is_alive(&self) -> bool {
        matches!(self.life, Life::Alive { .. })
    }
}

/// All leases of a voter; nodes that it never heard of are absent, and neither alive nor dead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseTable {
    /// By node.
    pub nodes: BTreeMap<NodeId, Lease>,
}

impl LeaseTable {
    /// Whether this start of the node holds a lease.
    pub fn is_alive(&self, node: NodeId, boot: BootId) -> bool {
        self.nodes.get(&node).is_some_and(|lease| lease.boot == boot && lease.is_alive())
    }

    /// Whether a start of the node other than this one holds its lease (S17: then this one bears an id that is taken).
    pub fn is_held_by_another(&self, node: NodeId, boot: BootId) -> bool {
        self.nodes.get(&node).is_some_and(|lease| lease.boot != boot && lease.is_alive())
    }

    /// Whether the node's process is known to have ended: not merely silent.
    pub fn has_ended(&self, node: NodeId) -> bool {
        let life = self.nodes.get(&node).map(|lease| lease.life);
        matches!(life, Some(Life::Dead { cause: Cause::Refused, .. }))
    }
}

/// Why a heartbeat renews nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another start of the node has been registered, or has been heard of, since.
    #[error("this start of the node has been succeeded by another")]
    StaleBoot,
    /// Another start of the node holds its lease: two nodes bear one id.
    #[error("another process holds the lease of this node id")]
    Held,
}

/// What a dial of a node's address found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Nothing listens: the process is gone.
    Refused,
    /// Somebody listens, or nothing is known.
    Inconclusive,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    lease: Lease,
    heard: Duration,
    /// The stream that its heartbeats come on; `None` when that has ended.
    stream: Option<u64>,
    /// The stream that ended last.
    lost: Option<u64>,
}

/// The leases.
#[derive(Clone, Debug)]
pub struct Leases {
    length: Duration,
    holders: BTreeMap<NodeId, Holder>,
    boots: Boots,
    looked: Option<Duration>,
}

impl Leases {
    /// Leases of this length, none of them held.
    pub fn new(length: Duration) -> Self {
        Self { length, holders: BTreeMap::new(), boots: Boots::default(), looked: None }
    }

    /// The node has been registered under this start: earlier ones renew nothing any more.
    pub fn registered(&mut self, now: Duration, node: NodeId, boot: BootId) {
        self.boots.registered(node, boot);
        if let Some(holder) = self.holders.get_mut(&node)
            && holder.lease.boot != boot
            && self.boots.is_stale(node, holder.lease.boot)
        {
            holder.die(now, Cause::Succeeded);
        }
    }

    /// A heartbeat came on a stream; streams are numbered, ever rising.
    pub fn beat(
        &mut self,
        now: Duration,
        node: NodeId,
        boot: BootId,
        stream: u64,
        beat: Beat,
    ) -> Result<(), Refused> {
        if self.boots.is_stale(node, boot) {
            return Err(Refused::StaleBoot);
        }
        let length = self.length;
        let since = match self.holders.get(&node) {
            Some(held) if held.lease.boot == boot => held.since(now),
            // The one before has ended, or its connection has: this is its successor.
            Some(held) if held.stream.is_some() && held.holds(now, length) => return Err(Refused::Held),
            Some(held) => {
                let ended = held.lease.boot;
                self.boots.registered(node, ended);
                self.boots.registered(node, boot);
                now
            }
            None => now,
        };
        let lease = Lease { boot, life: Life::Alive { since }, beat };
        self.holders.insert(node, Holder { lease, heard: now, stream: Some(stream), lost: None });
        Ok(())
    }

    /// A stream has ended. Whether to find out if anybody listens where the node was.
    pub fn lost(&mut self, node: NodeId, stream: u64) -> bool {
        let Some(holder) = self.holders.get_mut(&node) else { return false };
        if holder.stream != Some(stream) {
            return false;
        }
        holder.stream = None;
        holder.lost = Some(stream);
        holder.lease.is_alive()
    }

    /// Whether that is still to be found out: the node was not heard since.
    pub fn is_lost(&self, node: NodeId, stream: u64) -> bool {
        self.holders.get(&node).is_some_and(|holder| holder.lost == Some(stream) && holder.lease.is_alive())
    }

    /// What that found; worth nothing if the node was heard since.
    pub fn probed(&mut self, now: Duration, node: NodeId, stream: u64, probe: Probe) {
        if let Some(holder) = self.holders.get_mut(&node)
            && holder.lost == Some(stream)
            && probe == Probe::Refused
        {
            holder.die(now, Cause::Refused);
        }
    }

    /// Ends the leases whose time is over, and says whose. To be called at [`Self::next_end`] and a few times within each lease.
    pub fn look(&mut self, now: Duration) -> Vec<(NodeId, BootId)> {
        let stood_still = self.looked.map(|looked| now.saturating_sub(looked));
        let stood_still = stood_still.filter(|time| *time > self.length / STALL_PARTS).unwrap_or_default();
        self.looked = Some(now);
        let mut silent = Vec::new();
        for (node, holder) in &mut self.holders {
            holder.heard = (holder.heard + stood_still).min(now);
            if holder.lease.is_alive() && !holder.holds(now, self.length) {
                holder.die(now, Cause::Silent);
                silent.push((*node, holder.lease.boot));
            }
        }
        silent
    }

    /// When the next lease ends if nothing comes.
    pub fn next_end(&self) -> Option<Duration> {
        let alive = self.holders.values().filter(|holder| holder.lease.is_alive());
        alive.map(|holder| holder.heard + self.length).min()
    }

    /// As others see them.
    pub fn table(&self) -> LeaseTable {
        LeaseTable { nodes: self.holders.iter().map(|(node, holder)| (*node, holder.lease)).collect() }
    }
}

impl Holder {
    fn holds(&self, now: Duration, length: Duration) -> bool {
        self.lease.is_alive() && now.saturating_sub(self.heard) < length
    }

    /// Since when it lives if it is heard now.
    fn since(&self, now: Duration) -> Duration {
        match self.lease.life {
            Life::Alive { since } => since,
            Life::Dead { .. } => now,
        }
    }

    fn die(&mut self, now: Duration, cause: Cause) {
        if self.lease.is_alive() {
            self.lease.life = Life::Dead { since: now, cause };
        }
    }
}
