//! The nodes that ask the leader to be taken in, until the change that does it is made.

use std::{collections::BTreeMap, time::Duration};

use super::{MemberState, is_duplicate};
use crate::{
    actors::membership::formation::{JoinAnswer, Member},
    model::{NodeId, RaftId},
};

/// The most that may ask at once; a node that asks again keeps its place.
const ASKS_MAX: usize = 64;
/// A node that has not asked again for this long does not want to come any more.
const ASK_LASTS: Duration = Duration::from_secs(30);

/// Who asks. A leader begins with nobody: whoever was not taken in by its predecessor asks again.
#[derive(Clone, Debug, Default)]
pub struct Asks {
    /// By node: one that has lost its disk again asks in the place of its former self.
    by_node: BTreeMap<NodeId, (Member, Duration)>,
}

impl Asks {
    /// A node asks. `None`: it is among those of [`Self::now`] for the next change, and is to be answered by asking here again
    /// once the membership has changed.
    pub fn ask(
        &mut self,
        now: Duration,
        who: &Member,
        members: &BTreeMap<RaftId, MemberState>,
        alive: &BTreeMap<NodeId, RaftId>,
    ) -> Option<JoinAnswer> {
        self.by_node.retain(|_, (_, asked)| now < *asked + ASK_LASTS);
        if is_duplicate(who, alive) {
            return Some(JoinAnswer::DuplicateNode);
        }
        let is_there = |member: &MemberState| member.node == who.node && member.address == who.address;
        if members.get(&who.raft_id).is_some_and(is_there) {
            self.by_node.remove(&who.node);
            return Some(JoinAnswer::Taken);
        }
        if self.by_node.len() < ASKS_MAX || self.by_node.contains_key(&who.node) {
            self.by_node.insert(who.node, (who.clone(), now));
            None
        } else {
            Some(JoinAnswer::Unreachable)
        }
    }

    /// Those that ask now, for [`due`](super::due).
    pub fn now(&self) -> Vec<Member> {
        self.by_node.values().map(|(who, _)| who.clone()).collect()
    }
}
