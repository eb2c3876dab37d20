//! What the replicas of a partition decide, without a log, an actor, a stream or a clock.
//!
//! The actors append, flush, truncate and send; these cores are told what came of it, in offsets, epochs and
//! generations, and say what is to be done. [`leader`] holds the acknowledgement contract and the watermark, with
//! [`in_sync`] as its book of who counts; [`follower`] finds where its log parts from the leader's and what of it is
//! to be told; [`divergence`] is what both of them must read in the same way.
//!
//! A replica that changes its role keeps its log open and takes along what it knows of it: [`Carried`]. A leader
//! begins where the log ended when its epoch was given ([`EpochStart`]): below lies what others have written, and
//! nothing is promised before the watermark has come there (S5).

pub mod divergence;
pub mod follower;
pub mod in_sync;
pub mod leader;
#[cfg(test)]
mod tests;

pub use self::{
    divergence::{Session, Subscription, SubscriptionRefusal, Verdict},
    follower::{DataHead, FollowerCore, FollowerEffect, FollowerInput},
    in_sync::{Member, PartitionState, SetAnswer, SetChange},
    leader::{Effect, Input, LeaderCore, Term, TooFewInSync},
};
pub use crate::storage::leader_epochs::EpochStart;
use crate::{config::topic::Durability, model::Offset};

/// Which acknowledgement a producer asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// None: nobody waits for an answer (`acks=0`).
    None,
    /// The leader has appended it (`acks=1`).
    Leader,
    /// Every member of the in-sync set holds it (`acks=all`).
    All,
}

/// How often a log has been truncated since it was opened. A flush belongs to the generation in which it began (S8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u64);

impl Generation {
    /// Takes the storage's count.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// The storage's count.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// After one truncation more.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// What a replica knows of its log, and takes along when its role changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Nothing below is kept.
    pub log_start: Offset,
    /// Where the next record goes.
    pub log_end: Offset,
    /// Everything below is on disk.
    pub flushed: Offset,
    /// How far it is known to be committed; the log's start where nothing is known.
    pub high_watermark: Offset,
    /// The truncations so far.
    pub generation: Generation,
}

/// The position that an acknowledgement counts (S4).
pub(crate) fn counted(durability: Durability, appended: Offset, flushed: Offset) -> Offset {
    match durability {
        Durability::Disk => flushed.min(appended),
        Durability::Replicated => appended,
    }
}
