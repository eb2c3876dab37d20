//! Who votes in the metadata quorum: the one change of its membership that is due now (S17, S18).
//!
//! The controller asks [`due`] again whenever something has changed, and carries out one change at a time. Nothing is
//! remembered between two questions, so the next controller goes on where one has died, in the middle of a joint change too.
//!
//! **Invariants.**
//! - The number of voters is odd before and after a change: one that leaves has another come in its place, in the
//!   same joint change, and growth is by two.
//! - Nobody votes that has not caught up.
//! - A change is due only where a majority of the voters before it and of those after it is reached: any other
//!   could not be committed, or would leave a quorum that can commit nothing.
//! - The leader does not vote itself out.
//! - A voter is taken for a lost disk only if it is not reached while its node is there under another raft id.

mod asks;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use self::asks::Asks;
use super::formation::Member;
use crate::{
    config::node::HostPort,
    model::{NodeId, RaftId},
};

/// The quorum as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumState {
    /// The leader.
    pub us: RaftId,
    /// Who votes; during a joint change, who did before it.
    pub voters: BTreeSet<RaftId>,
    /// During a joint change: who is to vote after it.
    pub joint: Option<BTreeSet<RaftId>>,
    /// Voters and learners.
    pub members: BTreeMap<RaftId, MemberState>,
}

/// One member of the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberState {
    /// Whose disk it is.
    pub node: NodeId,
    /// Where the quorum's log says that it is reached.
    pub address: HostPort,
    /// Whether it has as good as all of the log.
    pub is_caught_up: bool,
    /// How long it has not answered the leader.
    pub unreached_for: Duration,
}

/// What the operator decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VotersRules {
    /// `cluster.voters`: the most there may be; odd.
    pub voters_max: usize,
    /// Who has not answered for this long is not reached. A few heartbeats of raft.
    pub reached_within: Duration,
    /// A voter that has not been reached for this long is replaced, if another node can take its place.
    pub replace_after: Duration,
}

impl Default for VotersRules {
    fn default() -> Self {
        Self { voters_max: 3, reached_within: Duration::from_secs(1), replace_after: Duration::from_secs(10) }
    }
}

/// A change of the quorum's membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It follows the log from now on, without a vote.
    AddLearner(Member),
    /// A member is reached elsewhere.
    Move(Member),
    /// These vote from now on, by one joint change, or by the rest of one.
    SetVoters {
        /// An odd number.
        voters: BTreeSet<RaftId>,
        /// Who leaves goes on as a learner; otherwise it is forgotten.
        keep: bool,
        /// For the log.
        why: Why,
    },
    /// The learner is forgotten.
    Forget(RaftId),
}

/// Why other members vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A joint change was begun, by a predecessor perhaps.
    Finish,
    /// A node has come back with another disk.
    Swap {
        /// The node.
        node: NodeId,
        /// The disk that is lost.
        lost: RaftId,
        /// The one it has now.
        now: RaftId,
    },
    /// A voter has not been reached for long.
    Replace {
        /// Which.
        dead: RaftId,
        /// Who votes in its place.
        by: RaftId,
    },
    /// There may be more voters.
    Grow,
    /// There may not be as many voters, or not such a number.
    Shrink,
}

/// Whether a node that asks to be taken in is refused: another process is alive that is registered under its node id. Without a
/// lease it is a replacement (S17). `alive` has who holds a lease, and under which raft id it is registered.
pub fn is_duplicate(who: &Member, alive: &BTreeMap<NodeId, RaftId>) -> bool {
    alive.get(&who.node).is_some_and(|registered| *registered != who.raft_id)
}

/// The change that is due, if any. `asks` are the nodes that want to be taken in, or are elsewhere than before; duplicates are
/// not among them.
pub fn due(state: &QuorumState, asks: &[Member], rules: &VotersRules) -> Option<Change> {
    let view = View { state, rules };
    if let Some(target) = &state.joint {
        return Some(Change::SetVoters { voters: target.clone(), keep: true, why: Why::Finish });
    }
    view.moved(asks)
        .or_else(|| view.swap())
        .or_else(|| view.newcomer(asks))
        .or_else(|| view.replace())
        .or_else(|| view.grow())
        .or_else(|| view.shrink())
        .or_else(|| view.forget())
}

struct View<'a> {
    state: &'a QuorumState,
    rules: &'a VotersRules,
}

impl View<'_> {
    fn is_reached(&self, id: RaftId) -> bool {
        let answers = |member: &MemberState| member.unreached_for < self.rules.reached_within;
        id == self.state.us || self.state.members.get(&id).is_some_and(answers)
    }

    fn is_voter(&self, id: RaftId) -> bool {
        self.state.voters.contains(&id)
    }

    /// Learners that could vote at once, lowest node first.
    fn candidates(&self) -> Vec<(NodeId, RaftId)> {
        let could_vote = |(id, member): &(&RaftId, &MemberState)| {
            !self.is_voter(**id) && member.is_caught_up && self.is_reached(**id)
        };
        let able = self.state.members.iter().filter(could_vote);
        let mut found: Vec<_> = able.map(|(id, member)| (member.node, *id)).collect();
        found.sort_unstable();
        found
    }

    fn nodes_of_voters(&self) -> BTreeSet<NodeId> {
        let voters = self.state.members.iter().filter(|(id, _)| self.is_voter(**id));
        voters.map(|(_, member)| member.node).collect()
    }

    fn has_majority(&self, voters: &BTreeSet<RaftId>) -> bool {
        voters.iter().filter(|id| self.is_reached(**id)).count() * 2 > voters.len()
    }

    /// The change, if it can be committed and leaves a quorum that can commit.
    fn set(&self, voters: BTreeSet<RaftId>, keep: bool, why: Why) -> Option<Change> {
        let fine = voters.len() % 2 == 1
            && voters.contains(&self.state.us)
            && self.has_majority(&self.state.voters)
            && self.has_majority(&voters);
        fine.then_some(Change::SetVoters { voters, keep, why })
    }

    fn with(&self, leaves: RaftId, comes: RaftId) -> BTreeSet<RaftId> {
        let mut voters = self.state.voters.clone();
        voters.remove(&leaves);
        voters.insert(comes);
        voters
    }

    fn moved(&self, asks: &[Member]) -> Option<Change> {
        let is_elsewhere = |who: &&Member| {
            self.state.members.get(&who.raft_id).is_some_and(|member| member.address != who.address)
        };
        asks.iter().find(is_elsewhere).cloned().map(Change::Move)
    }

    fn newcomer(&self, asks: &[Member]) -> Option<Change> {
        let is_new = |who: &&Member| !self.state.members.contains_key(&who.raft_id);
        asks.iter().find(is_new).cloned().map(Change::AddLearner)
    }

    fn swap(&self) -> Option<Change> {
        self.candidates().into_iter().find_map(|(node, now)| {
            let is_lost = |id: &&RaftId| {
                self.state.members.get(id).is_some_and(|member| member.node == node) && !self.is_reached(**id)
            };
            let lost = *self.state.voters.iter().find(is_lost)?;
            self.set(self.with(lost, now), false, Why::Swap { node, lost, now })
        })
    }

    fn replace(&self) -> Option<Change> {
        let is_dead = |id: &&RaftId| {
            let unreached =
                self.state.members.get(id).is_none_or(|m| m.unreached_for >= self.rules.replace_after);
            unreached && **id != self.state.us
        };
        let dead = *self.state.voters.iter().find(is_dead)?;
        let (_, by) = self.newcomers_to_vote().into_iter().next()?;
        self.set(self.with(dead, by), true, Why::Replace { dead, by })
    }

    /// Candidates of nodes that do not vote under another raft id: one node has one vote.
    fn newcomers_to_vote(&self) -> Vec<(NodeId, RaftId)> {
        let mut nodes = self.nodes_of_voters();
        self.candidates().into_iter().filter(|(node, _)| nodes.insert(*node)).collect()
    }

    fn grow(&self) -> Option<Change> {
        let count = self.state.voters.len();
        let step = if count.is_multiple_of(2) { 1 } else { 2 };
        let candidates = self.newcomers_to_vote();
        if count + step > self.rules.voters_max || candidates.len() < step {
            return None;
        }
        let comes = candidates.into_iter().take(step).map(|(_, id)| id);
        self.set(self.state.voters.iter().copied().chain(comes).collect(), true, Why::Grow)
    }

    /// Those go first that are not reached.
    fn shrink(&self) -> Option<Change> {
        let count = self.state.voters.len();
        let step = match (count.is_multiple_of(2), count > self.rules.voters_max) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => return None,
        };
        let mut leaves: Vec<_> = self.state.voters.iter().filter(|id| **id != self.state.us).collect();
        leaves.sort_by_key(|id| {
            (self.is_reached(**id), std::cmp::Reverse(self.state.members.get(id).map(|m| m.node)))
        });
        let leaves: BTreeSet<_> = leaves.into_iter().take(step).copied().collect();
        self.set(&self.state.voters - &leaves, true, Why::Shrink)
    }

    /// A learner whose node is there with another disk.
    fn forget(&self) -> Option<Change> {
        let has_other = |id: RaftId, node: NodeId| {
            let mut others = self.state.members.iter().filter(|(other, _)| **other != id);
            others.any(|(other, member)| member.node == node && self.is_reached(*other))
        };
        let gone = self.state.members.iter().find(|(id, member)| {
            !self.is_voter(**id) && !self.is_reached(**id) && has_other(**id, member.node)
        });
        gone.map(|(id, _)| Change::Forget(*id))
    }
}
