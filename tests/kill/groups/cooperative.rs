//! The classic protocol where members keep what stays theirs (KIP-429): they say what they hold as they join, and the
//! leading one gives nobody what another still holds.

use std::collections::{BTreeMap, BTreeSet};

use polylogue::{
    actors::group_coordinator::consumer_protocol::{Subscription, TopicPartitions, subscription},
    model::PartitionIndex,
    wire::{
        Str,
        api::join_group::{JoinGroupResponse, JoinGroupResponseMember},
    },
};

use super::member::{Member, Protocol};

impl Member {
    /// What it says that it holds, and since when.
    pub(super) fn claims(&self) -> Subscription {
        if self.shared.protocol != Protocol::Cooperative || self.held.is_empty() {
            return Subscription::default();
        }
        let (topic, partitions) = (Str::from(self.shared.topic.name), self.held.keys().copied().collect());
        let owned_partitions = vec![TopicPartitions { topic, partitions }];
        Subscription { owned_partitions, generation_id: self.held_in, ..Subscription::default() }
    }

    /// Everybody keeps of what is theirs as much as they are due, and gets of what is free. What is taken from one is
    /// given to another only when it is free, in the next generation.
    pub(super) fn sticky_shares(&mut self, joined: &JoinGroupResponse) -> Vec<BTreeSet<PartitionIndex>> {
        let (held, mut free) = holders(&joined.members, self.shared.topic.partitions);
        let mut shares: Vec<_> = held.into_iter().map(BTreeSet::from_iter).collect();
        let (members, partitions) = (shares.len(), self.shared.topic.partitions as usize);
        // Those who hold the most are due the one more that some are.
        let mut order: Vec<_> = (0..members).collect();
        self.random.shuffle(&mut order);
        order.sort_by_key(|at| std::cmp::Reverse(shares[*at].len()));
        let due = |turn: usize| partitions / members + usize::from(turn < partitions % members);
        for (turn, at) in order.iter().enumerate() {
            while shares[*at].len() > due(turn) {
                let goes = shares[*at].iter().copied().nth(self.random.usize(0..shares[*at].len()));
                shares[*at].remove(&goes.unwrap());
            }
        }
        self.random.shuffle(&mut free);
        for (turn, at) in order.iter().enumerate() {
            let missing = due(turn).saturating_sub(shares[*at].len()).min(free.len());
            shares[*at].extend(free.drain(..missing));
        }
        shares
    }
}

/// What each member holds, and what nobody does. Of two that say the same the one counts that was in a later
/// generation (KIP-792).
fn holders(
    members: &[JoinGroupResponseMember],
    partitions: i32,
) -> (Vec<Vec<PartitionIndex>>, Vec<PartitionIndex>) {
    let mut newest: BTreeMap<PartitionIndex, (i32, usize)> = BTreeMap::new();
    for (at, member) in members.iter().enumerate() {
        let said = subscription(&member.metadata).unwrap();
        for partition in said.owned().into_values().flatten() {
            let claim = newest.entry(partition).or_insert((said.generation_id, at));
            *claim = (*claim).max((said.generation_id, at));
        }
    }
    let mut held = vec![Vec::new(); members.len()];
    for (partition, (_, at)) in &newest {
        held[*at].push(*partition);
    }
    let all = (0..partitions).map(PartitionIndex::new);
    (held, all.filter(|partition| !newest.contains_key(partition)).collect())
}
