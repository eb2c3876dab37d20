//! `exclusive`: a member reads one partition or stands by.
//!
//! As many partitions as possible have an owner: a maximum matching of members to partitions, grown from
//! what they own by shortest augmenting paths. A member that owns one always goes on with one, and
//! with another only if that lets somebody in who could not read anything otherwise.

use std::collections::{BTreeSet, VecDeque};

use super::roster::{Kept, Partition, Roster, Share};

pub(super) fn shares(roster: &Roster<'_>) -> Vec<Share> {
    let mut matching = Matching::keeping(roster, &Kept::new(roster, 1));
    for member in 0..roster.members.len() {
        if matching.seats[member].is_none() {
            matching.seat(member);
        }
    }
    matching.seats.iter().map(|seat| seat.iter().map(|seat| seat.partition).collect()).collect()
}

/// A partition in its class.
#[derive(Clone, Copy)]
struct Seat {
    class: usize,
    partition: Partition,
}

struct Matching<'a> {
    roster: &'a Roster<'a>,
    /// By member.
    seats: Vec<Option<Seat>>,
    /// By class, who sits there.
    seated: Vec<BTreeSet<usize>>,
    /// By class, the partitions that are left.
    free: Vec<VecDeque<Partition>>,
    /// Classes from which no search reached anything free. None will: what is free only gets less.
    exhausted: Vec<bool>,
}

impl<'a> Matching<'a> {
    fn keeping(roster: &'a Roster<'a>, kept: &Kept) -> Self {
        let free = roster.classes.iter().map(|class| {
            let mut free = class.topics.iter().flat_map(|topic| kept.free(*topic)).collect::<Vec<_>>();
            free.sort_unstable();
            VecDeque::from(free)
        });
        let classes = roster.classes.len();
        let mut matching = Self {
            roster,
            seats: vec![None; roster.members.len()],
            seated: vec![BTreeSet::new(); classes],
            free: free.collect(),
            exhausted: vec![false; classes],
        };
        for (member, share) in kept.shares.iter().enumerate() {
            for partition in share {
                if let Some(class) = roster.class_of(*partition) {
                    matching.sit(member, Seat { class, partition: *partition });
                }
            }
        }
        matching
    }

    /// Seats a member, and returns the seat that it leaves.
    fn sit(&mut self, member: usize, seat: Seat) -> Option<Seat> {
        let left = self.seats[member].replace(seat);
        if let Some(left) = left {
            self.seated[left.class].remove(&member);
        }
        self.seated[seat.class].insert(member);
        left
    }

    /// Looks breadth first for a free partition: in the member's own classes, then in those to which
    /// somebody who sits there could move, and so on.
    fn seat(&mut self, member: usize) {
        // By class, who would move into it.
        let mut comers = vec![None; self.roster.classes.len()];
        // What one member can reach, all with its subscription can.
        let mut followed = vec![false; self.roster.subscriptions()];
        let mut queue = VecDeque::from([member]);
        while let Some(comer) = queue.pop_front() {
            if std::mem::replace(&mut followed[self.roster.members[comer].subscription], true) {
                continue;
            }
            for class in self.roster.classes_of(comer) {
                if self.exhausted[*class] || comers[*class].is_some() {
                    continue;
                }
                comers[*class] = Some(comer);
                if let Some(partition) = self.free[*class].pop_front() {
                    return self.move_up(Seat { class: *class, partition }, &comers);
                }
                queue.extend(&self.seated[*class]);
            }
        }
        for (exhausted, comer) in self.exhausted.iter_mut().zip(&comers) {
            *exhausted |= comer.is_some();
        }
    }

    /// Each member on the path takes the seat that the one before it left; the last one had none.
    fn move_up(&mut self, free: Seat, comers: &[Option<usize>]) {
        let mut next = Some(free);
        while let Some(seat) = next {
            next = comers[seat.class].and_then(|comer| self.sit(comer, seat));
        }
    }
}
