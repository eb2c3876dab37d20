//! `uniform`: every member reads as many partitions as the next, as far as subscriptions allow.
//!
//! Everyone keeps what it has; what is free goes to the member that has the least; then whoever has the
//! most gives one away, again and again, as long as a subscriber of that topic has at least two fewer.
//! So a partition leaves its owner only for a better balance. With equal subscriptions no assignment as
//! even takes fewer moves; with mixed ones no single move is left that would improve it.
//!
//! It ends: each move lowers the sum of the squares of what members have.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use super::roster::{Kept, Partition, Roster, Share};

pub(super) fn shares(roster: &Roster<'_>) -> Vec<Share> {
    let kept = Kept::new(roster, usize::MAX);
    let mut balance = Balance::keeping(roster, &kept);
    balance.hand_out(&kept);
    while balance.level() {}
    balance.into_shares()
}

/// Members of a class by what they have, the lightest on top. An entry may be behind the times.
type Lightest = BinaryHeap<Reverse<(usize, usize)>>;

/// A partition and whether it was this member's before.
#[derive(Clone, Copy)]
struct Held {
    partition: Partition,
    kept: bool,
}

struct Balance<'a> {
    roster: &'a Roster<'a>,
    /// By member and class; what it got last is at the end, and is the first to go.
    held: Vec<BTreeMap<usize, Vec<Held>>>,
    /// By member, how many partitions it holds.
    loads: Vec<usize>,
}

impl<'a> Balance<'a> {
    fn keeping(roster: &'a Roster<'a>, kept: &Kept) -> Self {
        let members = roster.members.len();
        let mut balance = Self { roster, held: vec![BTreeMap::new(); members], loads: vec![0; members] };
        for (member, share) in kept.shares.iter().enumerate() {
            for partition in share {
                if let Some(class) = roster.class_of(*partition) {
                    balance.give(class, member, Held { partition: *partition, kept: true });
                }
            }
        }
        balance
    }

    fn give(&mut self, class: usize, member: usize, held: Held) {
        self.held[member].entry(class).or_default().push(held);
        self.loads[member] += 1;
    }

    /// Gives each free partition to the subscriber that has the least.
    fn hand_out(&mut self, kept: &Kept) {
        for (number, class) in self.roster.classes.iter().enumerate() {
            let mut lightest = self.lightest_of(number);
            for partition in class.topics.iter().flat_map(|topic| kept.free(*topic)) {
                if let Some((_, member)) = self.lightest(&mut lightest) {
                    self.give(number, member, Held { partition, kept: false });
                }
            }
        }
    }

    /// Lets the heaviest members give to the lightest that can take from them. Whether any did: it may
    /// have made room for one that found none before.
    ///
    /// Givers are taken in falling order, so none becomes light enough to be given to within one call:
    /// the heaps of the lightest need to know of those only that have become heavier.
    fn level(&mut self) -> bool {
        let mut moved = false;
        let mut lightest = vec![None; self.roster.classes.len()];
        let loads = self.loads.iter().enumerate();
        let mut heaviest = loads.map(|(member, load)| (*load, Reverse(member))).collect::<BinaryHeap<_>>();
        while let Some((load, Reverse(giver))) = heaviest.pop() {
            if load != self.loads[giver] {
                continue;
            }
            if let Some((class, taker)) = self.relief(giver, &mut lightest) {
                self.pass_on(class, giver, taker);
                heaviest.extend([giver, taker].map(|member| (self.loads[member], Reverse(member))));
                moved = true;
            }
        }
        moved
    }

    /// The lightest member that can take one of the giver's partitions and has at least two fewer, and
    /// the class to take it from: rather one whose partition was not the giver's before.
    fn relief(&self, giver: usize, lightest: &mut [Option<Lightest>]) -> Option<(usize, usize)> {
        let mut best = None;
        for (class, held) in &self.held[giver] {
            let Some(last) = held.last() else { continue };
            let of_class = lightest[*class].get_or_insert_with(|| self.lightest_of(*class));
            let Some((load, taker)) = self.lightest(of_class) else { continue };
            let candidate = (load, last.kept, *class, taker);
            if load + 2 <= self.loads[giver] && best.is_none_or(|best| candidate < best) {
                best = Some(candidate);
            }
        }
        best.map(|(_, _, class, taker)| (class, taker))
    }

    fn pass_on(&mut self, class: usize, giver: usize, taker: usize) {
        if let Some(held) = self.held[giver].get_mut(&class).and_then(Vec::pop) {
            self.loads[giver] -= 1;
            self.give(class, taker, Held { kept: false, ..held });
        }
    }

    fn lightest_of(&self, class: usize) -> Lightest {
        let members = self.roster.classes[class].members.iter();
        members.map(|member| Reverse((self.loads[*member], *member))).collect()
    }

    /// What the lightest member has, and who it is, after bringing entries on top up to date.
    fn lightest(&self, heap: &mut Lightest) -> Option<(usize, usize)> {
        loop {
            let mut top = heap.peek_mut()?;
            let Reverse((load, member)) = *top;
            if load == self.loads[member] {
                return Some((load, member));
            }
            *top = Reverse((self.loads[member], member));
        }
    }

    fn into_shares(self) -> Vec<Share> {
        let shares = self
            .held
            .into_iter()
            .map(|of_member| of_member.into_values().flatten().map(|held| held.partition).collect());
        shares.collect()
    }
}
