//! The members, and their changes. Which change is due is decided elsewhere; here none is made that is not safe.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use openraft::{ChangeMembers, error::ChangeMembershipError};

use super::{
    Metrics, Quorum,
    error::{QuorumError, Refused},
    types::{RaftNode, member},
    unknown_or,
};
use crate::model::RaftId;

/// How many entries a member may lack and still be taken for one that has caught up.
const LAG_MAX: u64 = 100;
/// How long a change may take before its outcome is unknown. Its two steps need a majority of two sets.
const CHANGE_WITHIN: Duration = Duration::from_secs(10);

/// Who is a member, as far as this one knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The voters: one set, or two while a change is half made, of which each needs a majority.
    pub voters: Vec<BTreeSet<RaftId>>,
    /// All members, with those who learn only.
    pub nodes: BTreeMap<RaftId, RaftNode>,
    /// How far each has the log. Known to the leader only.
    pub matched: BTreeMap<RaftId, Option<u64>>,
    /// Where the log ends.
    pub last_index: Option<u64>,
}

impl Members {
    pub(super) fn of(metrics: &Metrics) -> Self {
        let membership = metrics.membership_config.membership();
        let ids = |set: &BTreeSet<u64>| set.iter().copied().map(RaftId::new).collect();
        let matched = metrics.replication.iter().flatten();
        Self {
            voters: membership.get_joint_config().iter().map(ids).collect(),
            nodes: membership.nodes().map(|(id, node)| member(*id, node)).collect(),
            matched: matched.map(|(id, log)| (RaftId::new(*id), log.map(|log| log.index))).collect(),
            last_index: metrics.last_log_index,
        }
    }

    /// Who is a member, without how far each has the log.
    pub(super) fn roster(metrics: &Metrics) -> Self {
        Self { matched: BTreeMap::new(), last_index: None, ..Self::of(metrics) }
    }

    /// Whether it votes, in either set.
    pub fn votes(&self, id: RaftId) -> bool {
        self.voters.iter().any(|set| set.contains(&id))
    }

    /// Whether it has all but the last few entries of the log.
    pub fn is_caught_up(&self, id: RaftId) -> bool {
        let matched = self.matched.get(&id).copied().flatten();
        matched.is_some_and(|matched| matched + LAG_MAX >= self.last_index.unwrap_or(0))
    }

    /// Whether these may be the voters (S18).
    fn check_voters(&self, wanted: &BTreeSet<RaftId>) -> Result<(), Refused> {
        if wanted.len().is_multiple_of(2) {
            return Err(Refused::Even(wanted.len()));
        }
        if self.voters.len() > 1 {
            return Err(Refused::InProgress);
        }
        for id in wanted.iter().filter(|id| !self.votes(**id)) {
            if !self.nodes.contains_key(id) {
                return Err(Refused::NoMember(*id));
            }
            if !self.is_caught_up(*id) {
                return Err(Refused::Behind(*id));
            }
        }
        Ok(())
    }
}

pub(super) fn refused(error: &ChangeMembershipError<u64>) -> Refused {
    match error {
        ChangeMembershipError::InProgress(_) => Refused::InProgress,
        ChangeMembershipError::EmptyMembership(_) => Refused::Even(0),
        ChangeMembershipError::LearnerNotFound(error) => Refused::NoMember(RaftId::new(error.node_id)),
    }
}

impl Quorum {
    /// Who is a member.
    pub fn members(&self) -> Members {
        self.metrics(Members::of)
    }

    /// Sends the log to another node from now on. It does not vote yet. What is one already stays as it is.
    pub async fn add_learner(&self, id: RaftId, node: RaftNode) -> Result<(), QuorumError> {
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(id.get(), node)])), true).await
    }

    /// A member is reached elsewhere now.
    pub async fn readdress(&self, id: RaftId, node: RaftNode) -> Result<(), QuorumError> {
        if !self.members().nodes.contains_key(&id) {
            return Err(Refused::NoMember(id).into());
        }
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(id.get(), node)])), true).await
    }

    /// Makes members voters.
    pub async fn promote(&self, learners: BTreeSet<RaftId>) -> Result<(), QuorumError> {
        let mut wanted = self.voters();
        wanted.extend(learners);
        self.change_voters(wanted).await
    }

    /// Takes one voter out and another one in with one joint change; who goes is no member any more (S17).
    pub async fn swap(&self, goes: RaftId, comes: RaftId) -> Result<(), QuorumError> {
        let mut wanted = self.voters();
        if !wanted.remove(&goes) {
            return Err(Refused::NoMember(goes).into());
        }
        wanted.insert(comes);
        self.change_voters(wanted).await
    }

    /// Makes these the voters, an odd number that have caught up (S18). Who votes no more is no member any more.
    pub async fn change_voters(&self, wanted: BTreeSet<RaftId>) -> Result<(), QuorumError> {
        self.check_leads()?;
        self.members().check_voters(&wanted)?;
        let ids = wanted.into_iter().map(RaftId::get).collect();
        self.change(ChangeMembers::ReplaceAllVoters(ids), false).await
    }

    /// Removes a member that does not vote.
    pub async fn remove_learner(&self, id: RaftId) -> Result<(), QuorumError> {
        if self.members().votes(id) {
            return Err(Refused::Votes(id).into());
        }
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id.get()])), false).await
    }

    pub(super) fn voters(&self) -> BTreeSet<RaftId> {
        self.members().voters.into_iter().next_back().unwrap_or_default()
    }

    async fn change(&self, change: ChangeMembers<u64, RaftNode>, retain: bool) -> Result<(), QuorumError> {
        self.check_leads()?;
        let changed =
            tokio::time::timeout(CHANGE_WITHIN, self.inner.raft.change_membership(change, retain)).await;
        changed.map_err(|_| QuorumError::Unknown)?.map_err(|error| unknown_or(&error))?;
        Ok(())
    }
}
