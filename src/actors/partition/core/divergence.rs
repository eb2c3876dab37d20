//! Where a follower's log parts from its leader's.
//!
//! A follower names the epoch of its last record and its end. Within one leader epoch there was one writer (S6), so two
//! logs that have a record of the same epoch at the same offset are equal up to there. The leader answers with the
//! largest epoch that it has at or below that one, and where it ends: what the follower has beyond was never committed.
//! (KIP-101, KIP-279; as one question and answer with the subscription, as KIP-595 does it.)

use std::fmt;

use crate::model::{BrokerEpoch, LeaderEpoch, NodeId, Offset};

/// One subscription of a replica's process. Greater than each one before it, so that what belongs to an earlier one is
/// told apart on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(u64);

impl Session {
    /// Before the first of an incarnation of the follower. Incarnations count within a process: a restarted
    /// actor's sessions are above its predecessor's.
    pub const fn before_first(incarnation: u32) -> Self {
        Self((incarnation as u64) << 32)
    }

    /// Takes the number from a frame.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number for a frame.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

/// A follower wants what comes after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Who asks.
    pub node: NodeId,
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// The number of this question.
    pub session: Session,
    /// The epoch in which it believes the leader to lead.
    pub leader_epoch: LeaderEpoch,
    /// The epoch of its last record; [`LeaderEpoch::NONE`] for a log without any.
    pub last_epoch: LeaderEpoch,
    /// Its log's end.
    pub end: Offset,
    /// Up to where its log is on disk.
    pub flushed: Offset,
}

/// The leader's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that the follower has, the leader has: data come from its end on.
    Follows,
    /// The leader has nothing of the follower's last epoch beyond `end`, or nothing of that epoch at all.
    Diverges {
        /// The largest epoch of the leader's log at or below the follower's last.
        epoch: LeaderEpoch,
        /// Where it ends.
        end: Offset,
    },
    /// What would come next is no longer kept: the follower begins anew where the leader's log does.
    StartsAnew {
        /// The leader's log start.
        log_start: Offset,
    },
    /// Not here, or not like that.
    Refused(SubscriptionRefusal),
}

/// Why a subscription is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionRefusal {
    /// The follower believes in an earlier epoch than the leader's.
    #[error("the leader's epoch is later")]
    StaleLeaderEpoch,
    /// The follower knows of a later epoch: whoever leads here no longer does, or does not know it yet.
    #[error("the epoch is not known here")]
    UnknownLeaderEpoch,
    /// A later start or subscription of this follower has been here before.
    #[error("a later subscription has come before")]
    Stale,
    /// This node is not to keep the partition.
    #[error("no replica of this partition")]
    NotReplica,
}

/// What a leader's log says to a subscription. `found` is the answer of the leader's epochs to the follower's
/// last one: the largest epoch at or below it and its end; `None` where it is above all of them. `may_lead` says whether
/// the follower has all that was promised.
pub(super) fn compare(
    asked: &Subscription,
    may_lead: bool,
    found: Option<(LeaderEpoch, Offset)>,
    latest: LeaderEpoch,
    (log_start, log_end): (Offset, Offset),
) -> Verdict {
    if asked.end < log_start {
        return Verdict::StartsAnew { log_start };
    }
    if asked.last_epoch == LeaderEpoch::NONE {
        // An empty log may begin further on than ours where its records were deleted, and we have not heard of that.
        // From a follower without a promise to keep, that cannot be told from having lost what we wrote anew.
        let begins_here = asked.end == log_start || (may_lead && asked.end <= log_end);
        return if begins_here { Verdict::Follows } else { Verdict::StartsAnew { log_start } };
    }
    match found {
        // All that the follower has lies below our start, and who wrote it is not known any more: it may be something
        // else than what was here.
        Some((_, end)) if end <= log_start && asked.end == log_start && log_start > Offset::ZERO => {
            Verdict::StartsAnew { log_start }
        }
        Some((epoch, end)) if epoch == asked.last_epoch && asked.end <= end => Verdict::Follows,
        Some((epoch, end)) => Verdict::Diverges { epoch, end },
        None => Verdict::Diverges { epoch: latest, end: log_end },
    }
}

/// Where a follower cuts, after [`Verdict::Diverges`]. `ours` is the answer of its own epochs to the leader's:
/// beyond the end that both know of it, the logs have nothing in common.
pub(super) fn cut_at(end: Offset, ours: Option<(LeaderEpoch, Offset)>, log_end: Offset) -> Offset {
    ours.map_or(end, |(_, ours)| end.min(ours)).min(log_end)
}
