use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fastrand::Rng;

use super::{Asks, Change, MemberState, QuorumState, VotersRules, Why, due, is_duplicate};
use crate::{
    actors::membership::formation::{JoinAnswer, Member},
    config::node::HostPort,
    model::{NodeId, RaftId},
};

const LONG: Duration = Duration::from_mins(1);
const AWHILE: Duration = Duration::from_secs(3);

fn id(value: u64) -> RaftId {
    RaftId::new(value)
}

fn ids(values: &[u64]) -> BTreeSet<RaftId> {
    values.iter().map(|value| id(*value)).collect()
}

fn who(node: i32, raft_id: u64) -> Member {
    Member {
        node: NodeId::new(node),
        raft_id: id(raft_id),
        address: HostPort::new(format!("host-{node}"), 9_093),
    }
}

/// Members are (node, raft id, unreached for); node 1 with raft id 1 leads.
fn quorum(voters: &[u64], members: &[(i32, u64, Duration)]) -> QuorumState {
    let member = |&(node, raft_id, unreached_for): &(i32, u64, Duration)| {
        let Member { node, raft_id, address } = who(node, raft_id);
        (raft_id, MemberState { node, address, is_caught_up: true, unreached_for })
    };
    let members = members.iter().map(member).collect();
    QuorumState { us: id(1), voters: ids(voters), joint: None, members }
}

fn due_in(state: &QuorumState) -> Option<Change> {
    due(state, &[], &VotersRules::default())
}

const UP: Duration = Duration::ZERO;

#[test]
fn s18_one_learner_does_not_make_an_even_number_of_voters_and_two_make_three() {
    let two = quorum(&[1], &[(1, 1, UP), (2, 2, UP)]);
    assert_eq!(due_in(&two), None);
    let three = quorum(&[1], &[(1, 1, UP), (2, 2, UP), (3, 3, UP)]);
    let grown = Change::SetVoters { voters: ids(&[1, 2, 3]), keep: true, why: Why::Grow };
    assert_eq!(due_in(&three), Some(grown));
}

#[test]
fn s18_who_has_not_caught_up_does_not_vote() {
    let mut state = quorum(&[1], &[(1, 1, UP), (2, 2, UP), (3, 3, UP)]);
    state.members.get_mut(&id(3)).unwrap().is_caught_up = false;
    assert_eq!(due_in(&state), None);
}

#[test]
fn s18_an_interrupted_joint_change_is_finished_before_anything_else() {
    let mut state = quorum(&[1, 2, 3], &[(1, 1, UP), (2, 2, UP), (3, 3, LONG), (4, 4, UP)]);
    state.joint = Some(ids(&[1, 2, 4]));
    let rest = Change::SetVoters { voters: ids(&[1, 2, 4]), keep: true, why: Why::Finish };
    assert_eq!(due(&state, &[who(5, 5)], &VotersRules::default()), Some(rest));
}

#[test]
fn s17_a_lost_disk_comes_in_as_a_learner_and_is_swapped_in_by_one_joint_change() {
    let mut state = quorum(&[1, 2, 3], &[(1, 1, UP), (2, 2, UP), (3, 3, AWHILE)]);
    let asks = [who(3, 33)];
    assert_eq!(
        due(&state, &asks, &VotersRules::default()),
        Some(Change::AddLearner(who(3, 33))),
        "before it has the log it has no vote"
    );
    let Member { node, address, .. } = who(3, 33);
    let learner = MemberState { node, address, is_caught_up: true, unreached_for: UP };
    state.members.insert(id(33), learner);
    let why = Why::Swap { node: NodeId::new(3), lost: id(3), now: id(33) };
    let swap = Change::SetVoters { voters: ids(&[1, 2, 33]), keep: false, why };
    assert_eq!(due(&state, &asks, &VotersRules::default()), Some(swap));
}

#[test]
fn s17_a_voter_that_answers_is_not_swapped_for_a_second_node_of_its_id() {
    let state = quorum(&[1, 2, 3], &[(1, 1, UP), (2, 2, UP), (3, 3, UP), (3, 33, UP)]);
    assert_eq!(due_in(&state), None);
    let alive = BTreeMap::from([(NodeId::new(3), id(3))]);
    assert!(is_duplicate(&who(3, 33), &alive));
    assert!(!is_duplicate(&who(3, 3), &alive), "the node itself is no duplicate");
    assert!(!is_duplicate(&who(3, 33), &BTreeMap::new()), "without a lease it is a replacement");
}

#[test]
fn a_voter_that_is_dead_for_long_is_replaced_and_one_that_blinked_is_not() {
    let members = |unreached| [(1, 1, UP), (2, 2, UP), (3, 3, unreached), (4, 4, UP)];
    assert_eq!(due_in(&quorum(&[1, 2, 3], &members(AWHILE))), None);
    let why = Why::Replace { dead: id(3), by: id(4) };
    let replaced = Change::SetVoters { voters: ids(&[1, 2, 4]), keep: true, why };
    assert_eq!(due_in(&quorum(&[1, 2, 3], &members(LONG))), Some(replaced));
}

#[test]
fn no_change_is_due_that_a_majority_could_not_commit() {
    let state = quorum(&[1, 2, 3], &[(1, 1, UP), (2, 2, LONG), (3, 3, LONG), (4, 4, UP)]);
    assert_eq!(due_in(&state), None);
}

#[test]
fn a_member_that_is_reached_elsewhere_is_moved_without_another_vote() {
    let state = quorum(&[1, 2, 3], &[(1, 1, UP), (2, 2, UP), (3, 3, AWHILE)]);
    let moved = Member { address: HostPort::new("elsewhere", 1), ..who(3, 3) };
    let asks = [moved.clone()];
    assert_eq!(due(&state, &asks, &VotersRules::default()), Some(Change::Move(moved)));
}

#[test]
fn more_voters_than_allowed_lose_two_and_never_the_leader() {
    let members = [(1, 1, UP), (2, 2, UP), (3, 3, AWHILE), (4, 4, UP), (5, 5, UP)];
    let state = quorum(&[1, 2, 3, 4, 5], &members);
    let shrunk = Change::SetVoters { voters: ids(&[1, 2, 4]), keep: true, why: Why::Shrink };
    assert_eq!(due_in(&state), Some(shrunk));
}

#[test]
fn a_node_that_asks_is_answered_once_it_is_a_member_where_it_says() {
    let (mut asks, nobody) = (Asks::default(), BTreeMap::new());
    let mut state = quorum(&[1], &[(1, 1, UP)]);
    assert_eq!(asks.ask(UP, &who(2, 2), &state.members, &nobody), None);
    let Some(Change::AddLearner(added)) = due(&state, &asks.now(), &VotersRules::default()) else {
        panic!("nothing is due")
    };
    let Member { node, raft_id, address } = added;
    state.members.insert(raft_id, MemberState { node, address, is_caught_up: false, unreached_for: UP });
    assert_eq!(asks.ask(UP, &who(2, 2), &state.members, &nobody), Some(JoinAnswer::Taken));
    assert_eq!(asks.now(), []);
    let elsewhere = Member { address: HostPort::new("elsewhere", 1), ..who(2, 2) };
    assert_eq!(asks.ask(UP, &elsewhere, &state.members, &nobody), None);
    assert_eq!(due(&state, &asks.now(), &VotersRules::default()), Some(Change::Move(elsewhere)));
}

#[test]
fn s17_a_duplicate_is_refused_a_second_lost_disk_takes_the_place_of_the_first_and_silence_ends_an_ask() {
    let (mut asks, none) = (Asks::default(), BTreeMap::new());
    let alive = BTreeMap::from([(NodeId::new(3), id(3))]);
    assert_eq!(asks.ask(UP, &who(3, 33), &none, &alive), Some(JoinAnswer::DuplicateNode));
    assert_eq!(asks.ask(UP, &who(3, 33), &none, &BTreeMap::new()), None);
    assert_eq!(asks.ask(UP, &who(3, 34), &none, &BTreeMap::new()), None);
    assert_eq!(asks.now(), [who(3, 34)]);
    assert_eq!(asks.ask(LONG, &who(4, 4), &none, &BTreeMap::new()), None);
    assert_eq!(asks.now(), [who(4, 4)]);
}

/// A quorum whose nodes die, come back, lose disks and move, and whose controllers die between the halves of a change.
struct Walk {
    rng: Rng,
    state: QuorumState,
    /// What each node's disk is, and whether the node is up.
    nodes: BTreeMap<NodeId, (RaftId, bool, HostPort)>,
    rules: VotersRules,
    next_id: u64,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let count = rng.i32(1..=7);
        let nodes =
            (1..=count).map(|node| (NodeId::new(node), (id(node as u64), true, who(node, 0).address)));
        let rules = VotersRules { voters_max: 1 + 2 * rng.usize(..3), ..VotersRules::default() };
        Self { rng, state: quorum(&[1], &[(1, 1, UP)]), nodes: nodes.collect(), rules, next_id: 100 }
    }

    fn disturb(&mut self) {
        let at = self.rng.usize(..self.nodes.len());
        let Some(node) = self.nodes.keys().nth(at).copied() else { return };
        let (_, is_up, address) = self.nodes.get_mut(&node).unwrap();
        match self.rng.u8(..6) {
            0 | 1 => *is_up = false,
            2 | 3 => *is_up = true,
            4 => address.port = self.rng.u16(1..),
            // A disk more than a majority can do without is no cluster's to survive.
            _ if Self::can_lose(&self.state, &self.nodes, node) => {
                self.next_id += 1;
                self.nodes.insert(node, (id(self.next_id), true, who(node.get(), 0).address));
            }
            _ => {}
        }
    }

    fn can_lose(
        state: &QuorumState,
        nodes: &BTreeMap<NodeId, (RaftId, bool, HostPort)>,
        lost: NodeId,
    ) -> bool {
        let disks: BTreeSet<_> =
            nodes.iter().filter(|(node, _)| **node != lost).map(|(_, (raft_id, ..))| *raft_id).collect();
        let survives = |voters: &BTreeSet<RaftId>| (voters & &disks).len() * 2 > voters.len();
        survives(&state.voters) && state.joint.as_ref().is_none_or(survives)
    }

    fn up(&self) -> BTreeSet<RaftId> {
        self.nodes.values().filter(|(_, is_up, _)| *is_up).map(|(raft_id, ..)| *raft_id).collect()
    }

    /// Time passes: who is down gets older, who is up catches up, and a voter that is up leads if it can.
    fn observe(&mut self) -> bool {
        let up = self.up();
        for (raft_id, member) in &mut self.state.members {
            let is_up = up.contains(raft_id);
            member.is_caught_up = member.is_caught_up || (is_up && self.rng.bool());
            member.unreached_for = if is_up { UP } else { member.unreached_for + AWHILE };
        }
        let mut electable: Vec<_> =
            self.state.voters.iter().chain(self.state.joint.iter().flatten()).collect();
        electable.retain(|voter| up.contains(voter));
        let Some(leader) = self.rng.choice(electable) else { return false };
        self.state.us = *leader;
        let majority = |voters: &BTreeSet<RaftId>| (voters & &up).len() * 2 > voters.len();
        majority(&self.state.voters) && self.state.joint.as_ref().is_none_or(majority)
    }

    fn asks(&self) -> Vec<Member> {
        let up = self.nodes.iter().filter(|(_, (_, is_up, _))| *is_up);
        up.map(|(node, (raft_id, _, address))| Member {
            node: *node,
            raft_id: *raft_id,
            address: address.clone(),
        })
        .collect()
    }

    /// One change, or the half of one; `false` if none is due.
    fn change(&mut self) -> bool {
        let Some(change) = due(&self.state, &self.asks(), &self.rules) else { return false };
        match change {
            Change::AddLearner(Member { node, raft_id, address }) => {
                let is_caught_up = false;
                let member = MemberState { node, address, is_caught_up, unreached_for: UP };
                assert!(self.state.members.insert(raft_id, member).is_none());
            }
            Change::Move(Member { raft_id, address, .. }) => {
                self.state.members.get_mut(&raft_id).unwrap().address = address;
            }
            Change::SetVoters { voters, keep, why } => self.set_voters(voters, keep, why),
            Change::Forget(raft_id) => {
                assert!(!self.state.voters.contains(&raft_id));
                assert!(!self.up().contains(&raft_id), "a member that is there is not forgotten");
                self.state.members.remove(&raft_id);
            }
        }
        true
    }

    fn set_voters(&mut self, voters: BTreeSet<RaftId>, keep: bool, why: Why) {
        assert_eq!(voters.len() % 2, 1, "s18: {why:?} leaves {} voters", voters.len());
        assert!(!voters.is_subset(&self.state.voters) || why == Why::Shrink || why == Why::Finish);
        if why != Why::Finish {
            assert!(voters.contains(&self.state.us), "the leader votes itself out by {why:?}");
            assert!(voters.len() <= self.rules.voters_max.max(self.state.voters.len()));
            let (up, mut nodes) = (self.up(), BTreeSet::new());
            assert!((&voters & &up).len() * 2 > voters.len(), "{why:?} leaves no majority");
            for voter in &voters {
                let member = &self.state.members[voter];
                assert!(member.is_caught_up || self.state.voters.contains(voter), "s18: behind, and votes");
                assert!(nodes.insert(member.node), "a node votes twice");
            }
        }
        if why != Why::Finish && self.rng.bool() {
            self.state.joint = Some(voters);
            return;
        }
        if !keep {
            let gone = &self.state.voters - &voters;
            self.state.members.retain(|raft_id, _| !gone.contains(raft_id));
        }
        (self.state.voters, self.state.joint) = (voters, None);
    }

    fn calm_down(&mut self) {
        self.nodes.values_mut().for_each(|(_, is_up, _)| *is_up = true);
        for _ in 0..200 {
            assert!(self.observe(), "no leader though all are up");
            self.change();
        }
    }
}

#[test]
fn s18_a_random_walk_keeps_the_voters_odd_and_ends_with_as_many_as_may_be() {
    for seed in 0..3_000 {
        let mut walk = Walk::new(seed);
        for _ in 0..60 {
            walk.disturb();
            if walk.observe() {
                walk.change();
            }
        }
        walk.calm_down();
        let count = walk.nodes.len().min(walk.rules.voters_max);
        let most = if count.is_multiple_of(2) { count - 1 } else { count };
        assert_eq!(walk.state.voters.len(), most, "seed {seed}");
        let members: BTreeSet<_> = walk.state.members.keys().copied().collect();
        assert_eq!(members, walk.up(), "seed {seed}: all that are there, and nobody else");
        assert_eq!(due(&walk.state, &walk.asks(), &walk.rules), None, "seed {seed}: it has an end");
    }
}
