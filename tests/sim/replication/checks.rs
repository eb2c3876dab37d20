//! What has to hold in the world of replicas after every step. Somebody outside remembers what was promised: which
//! records consumers have seen, and which producers were told that all is well.

use std::collections::BTreeMap;

use crate::trial::{Checked, hold};

/// S1, S2, S3, S10, S11: whoever may lead next has all that was acknowledged or seen, and on `disk` topics (S4) a power
/// cut takes none of it.
pub(super) const COMPLETE: &str = "whoever may lead next has all that was promised";
/// S5: what one consumer has seen, no other sees otherwise, and no watermark goes back within an epoch.
pub(super) const SEEN: &str = "what was seen is what all see";
/// S6: an epoch has one leader, and one record for an offset.
pub(super) const ONE_LEADER: &str = "an epoch has one leader";
/// S8: what a follower says to be flushed is on its disk.
pub(super) const FLUSHED: &str = "flushed is on disk";
/// S9: an idempotent producer's record is there once.
pub(super) const ONCE: &str = "a record is there once, in order";
pub(super) const SETTLES: &str = "after all is healed, all are in sync and equal";

/// What a node has come back with less than it was believed to have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deceived {
    /// It may lack what was promised up to here.
    pub(super) upto: i64,
    /// It has come back while the disk counted: it stays in the set, whatever the topic is altered to before it has all again.
    pub(super) is_believed: bool,
}

/// What was promised.
#[derive(Debug)]
pub(super) struct Promises {
    /// The chains of what consumers have seen: of everything below offset `n` at `n`.
    pub(super) seen: Vec<u64>,
    /// The records that producers with `acks=all` were told to be safe, by offset.
    pub(super) acknowledged: BTreeMap<i64, u64>,
    /// Who leads in an epoch, and what was written under it.
    leaders: BTreeMap<i32, (usize, u64)>,
    written: BTreeMap<(i32, i64), u64>,
    /// Leaders of earlier epochs promise nothing any more.
    counts_from: i32,
}

impl Promises {
    pub(super) fn new() -> Self {
        Self {
            seen: vec![0],
            acknowledged: BTreeMap::new(),
            leaders: BTreeMap::new(),
            written: BTreeMap::new(),
            counts_from: 0,
        }
    }

    pub(super) fn seen_end(&self) -> i64 {
        self.seen.len() as i64 - 1
    }

    pub(super) fn seen_at(&self, offset: i64) -> Option<u64> {
        self.seen.get(usize::try_from(offset).ok()?).copied()
    }

    /// A replica leads, with this number among all that ever did.
    pub(super) fn leads(&mut self, epoch: i32, node: usize, number: u64) -> Checked {
        let other = *self.leaders.entry(epoch).or_insert((node, number));
        hold!(other == (node, number), ONE_LEADER, "node {node} in epoch {epoch} after node {}", other.0);
        Ok(())
    }

    pub(super) fn writes(&mut self, epoch: i32, offset: i64, id: u64) -> Checked {
        let other = *self.written.entry((epoch, offset)).or_insert(id);
        hold!(other == id, ONE_LEADER, "records {other} and {id} at {offset} of epoch {epoch}");
        Ok(())
    }

    /// A leader has begun from less than was promised: what an earlier one promises yet rests on the same lie.
    pub(super) fn count_from(&mut self, epoch: i32) {
        self.counts_from = self.counts_from.max(epoch);
    }

    pub(super) fn counts(&self, epoch: i32) -> bool {
        epoch >= self.counts_from
    }

    /// Who might have known has lost it, as the topic's owner has allowed: what is kept counts from here on.
    pub(super) fn forgive(&mut self, kept: i64) {
        self.seen.truncate(usize::try_from(kept + 1).unwrap_or(1).max(1));
        self.acknowledged.retain(|offset, _| *offset < kept);
    }
}
