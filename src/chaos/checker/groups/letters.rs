//! Records of a partition that members of a group refused, and those that became dead letters.
//!
//! A delivery fails where a member refuses the record, and where one is lost with it. Whether a member was lost is not in the
//! history for certain, since one may be thought dead that is not; but each is followed by another one that takes the
//! partition, or by itself in another generation. So a dead letter is owed as many refusals and such takings as its topic's
//! limit says, between the record before it and the one behind it.

use std::collections::BTreeMap;

use super::Now;
use crate::{
    chaos::{checker::paged::Paged, history::Membership},
    model::Offset,
};

/// A record that is a dead letter.
#[derive(Clone, Copy, Debug)]
struct Letter {
    copies: u32,
    /// The fewest attempts that one of them names.
    attempts: u32,
}

#[derive(Debug, Default)]
pub(super) struct Letters {
    /// How often a record was refused.
    refused: BTreeMap<u64, u32>,
    found: BTreeMap<u64, Letter>,
    /// Who took the partition last, and the lines at which it was taken.
    taker: Option<(String, i32)>,
    taken: Vec<u32>,
    /// The records before this one were looked for among the dead letters.
    looked_until: u64,
}

impl Letters {
    /// A member says that it holds the partition.
    pub(super) fn held(&mut self, by: &Membership, now: Now) {
        let taker = (by.member.clone(), by.generation);
        if self.taker.as_ref() != Some(&taker) {
            self.taker = Some(taker);
            self.taken.push(now.line);
        }
    }

    /// A member refuses the record at this offset.
    pub(super) fn refused(&mut self, offset: Offset) {
        let Ok(index) = u64::try_from(offset.get()) else { return };
        *self.refused.entry(index).or_default() += 1;
    }

    /// The record at this offset is a dead letter. Whether that is new.
    pub(super) fn found(&mut self, index: u64, attempts: u32) -> bool {
        let letter = self.found.entry(index).or_insert(Letter { copies: 0, attempts });
        letter.copies += 1;
        letter.attempts = letter.attempts.min(attempts);
        letter.copies == 1
    }

    pub(super) fn has(&self, index: u64) -> bool {
        self.found.contains_key(&index)
    }

    pub(super) fn count(&self) -> u64 {
        self.found.len() as u64
    }

    /// All dead letters are known that were there when the position was `passed`: the records that it has passed and that are
    /// neither consumed nor among them.
    pub(super) fn looked(&mut self, passed: Offset, consumed_at: &Paged<u32>) -> Vec<u64> {
        let until = u64::try_from(passed.get()).unwrap_or(0);
        let from = self.looked_until;
        self.looked_until = from.max(until);
        (from..until).filter(|index| consumed_at.get(*index) == 0 && !self.has(*index)).collect()
    }

    /// What is wrong with the dead letters, where `limit` attempts make one.
    pub(super) fn judge(&self, limit: u32, consumed_at: &Paged<u32>) -> Vec<(u64, Wrong)> {
        let mut wrong = Vec::new();
        let consumed: Vec<(u64, u32)> =
            consumed_at.iter().map(|(at, line)| (at, *line)).filter(|(_, line)| *line != 0).collect();
        for (index, letter) in &self.found {
            let at = consumed.partition_point(|(other, _)| other < index);
            let from = at.checked_sub(1).and_then(|at| consumed.get(at)).map_or(0, |(_, line)| *line);
            let behind = consumed.get(at..).unwrap_or_default().iter().find(|(other, _)| other > index);
            let until = behind.map_or(u32::MAX, |(_, line)| *line);
            let times = self.refused.get(index).copied().unwrap_or(0);
            let taken = self.taken.iter().filter(|line| (from..=until).contains(*line)).count() as u32;
            if letter.attempts < limit || times.saturating_add(taken) < limit {
                let Letter { attempts, .. } = letter;
                let text = format!(
                    "it names {attempts} attempts; the record was refused {times} times, and its partition taken {taken} times \
                     meanwhile (lines {from} to {until}), where {limit} attempts make one"
                );
                wrong.push((*index, Wrong::Unearned(text)));
            }
            if letter.copies > 1 {
                wrong.push((*index, Wrong::Repeated(format!("{} times", letter.copies))));
            }
        }
        wrong
    }
}

/// What is wrong with a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Too few deliveries had failed.
    Unearned(String),
    /// It is there too often.
    Repeated(String),
}
