//! What a quorum's log says, as a value: changes in order give the same state, in memory and on replay.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Which entry: who wrote it as the leader of which term, and where. Ordered by term first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// The term.
    pub term: u64,
    /// The leader's raft id.
    pub node: u64,
    /// The place in the log.
    pub index: u64,
}

/// A vote: a promise that nothing older is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// For whom.
    pub node: u64,
    /// Whether a majority is known to have voted so.
    pub committed: bool,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub id: EntryId,
    /// What it says, to its owner.
    pub payload: Bytes,
}

/// One change of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Whose log this is: the first change of all, made once.
    Owner(u64),
    /// Another entry at the end.
    Append(Entry),
    /// The vote is this now.
    Vote(Vote),
    /// All up to here is committed.
    Committed(EntryId),
    /// The entries from this index on are gone: another leader wrote others.
    Truncate(u64),
    /// The entries up to here are gone: a snapshot holds what they led to.
    Purge(EntryId),
}

/// A change that does not follow from those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfOrder {
    /// The log has an owner, or none yet.
    #[error("the owner is named twice, or not before all else")]
    Owner,
    /// An index that is taken.
    #[error("entry {index} does not follow entry {last}")]
    Entry {
        /// The index.
        index: u64,
        /// The last one.
        last: u64,
    },
}

/// The state after some changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    owner: Option<u64>,
    vote: Option<Vote>,
    committed: Option<EntryId>,
    purged: Option<EntryId>,
    entries: BTreeMap<u64, Entry>,
}

impl LogState {
    /// Whose log it is; `None` if nothing was ever written.
    pub fn owner(&self) -> Option<u64> {
        self.owner
    }

    /// The last vote.
    pub fn vote(&self) -> Option<Vote> {
        self.vote
    }

    /// How far the log is known to be committed. May lag behind what was: it is written along with other things.
    pub fn committed(&self) -> Option<EntryId> {
        self.committed
    }

    /// The last entry that was purged.
    pub fn purged(&self) -> Option<EntryId> {
        self.purged
    }

    /// The last entry, or the last one purged where there is none.
    pub fn last(&self) -> Option<EntryId> {
        self.entries.last_key_value().map(|(_, entry)| entry.id).or(self.purged)
    }

    /// The entries that are there, by index.
    pub fn entries(&self) -> &BTreeMap<u64, Entry> {
        &self.entries
    }

    /// Changes the state, or leaves it as it was.
    pub fn change(&mut self, change: &Change) -> Result<(), OutOfOrder> {
        if self.owner.is_some() == matches!(change, Change::Owner(_)) {
            return Err(OutOfOrder::Owner);
        }
        match change {
            Change::Owner(owner) => self.owner = Some(*owner),
            Change::Append(entry) => self.append(entry)?,
            Change::Vote(vote) => self.vote = Some(*vote),
            Change::Committed(id) => self.committed = Some(*id),
            Change::Truncate(from) => drop(self.entries.split_off(from)),
            Change::Purge(upto) => {
                self.entries = self.entries.split_off(&upto.index.saturating_add(1));
                self.purged = self.purged.max(Some(*upto));
            }
        }
        Ok(())
    }

    /// Whether all of these may be made, one after the other.
    pub(super) fn admits(&self, changes: &[Change]) -> Result<(), OutOfOrder> {
        let mut has_owner = self.owner.is_some();
        // One more than the last entry that would be there.
        let mut next = self.entries.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        for change in changes {
            if has_owner == matches!(change, Change::Owner(_)) {
                return Err(OutOfOrder::Owner);
            }
            match change {
                Change::Owner(_) => has_owner = true,
                Change::Append(entry) if entry.id.index < next => {
                    return Err(OutOfOrder::Entry { index: entry.id.index, last: next - 1 });
                }
                Change::Append(entry) => next = entry.id.index.saturating_add(1),
                Change::Truncate(from) => next = next.min(*from),
                Change::Purge(upto) if upto.index.saturating_add(1) >= next => next = 0,
                Change::Purge(_) | Change::Vote(_) | Change::Committed(_) => {}
            }
        }
        Ok(())
    }

    /// Whether an entry may be written is for consensus to say; here only that none is written over another one that
    /// is there.
    fn append(&mut self, entry: &Entry) -> Result<(), OutOfOrder> {
        let index = entry.id.index;
        if let Some((last, _)) = self.entries.last_key_value().filter(|(last, _)| **last >= index) {
            return Err(OutOfOrder::Entry { index, last: *last });
        }
        self.entries.insert(entry.id.index, entry.clone());
        Ok(())
    }

    /// The fewest changes that lead here.
    pub(super) fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::with_capacity(self.entries.len() + 4);
        changes.extend(self.owner.map(Change::Owner));
        changes.extend(self.vote.map(Change::Vote));
        changes.extend(self.purged.map(Change::Purge));
        changes.extend(self.entries.values().cloned().map(Change::Append));
        changes.extend(self.committed.map(Change::Committed));
        changes
    }
}
