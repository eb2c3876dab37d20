//! Which leader wrote which part of a log: the first offset of each leader epoch.
//!
//! A replica that comes back finds with it where its log parts from the leader's (KIP-101, KIP-279),
//! and a client finds out that a log was truncated under it (KIP-320). Semantics are those of Kafka's
//! `LeaderEpochFileCache`. An epoch that wrote nothing is forgotten with the next assignment, so there
//! are never more entries than epochs with records.
//!
//! The file's body, inside the envelope of [`own_file`], magic `PLle`, version 1:
//!
//! ```text
//! offset size
//!      0    4  number of entries
//!      4   12  each: leader epoch (4), start offset (8); both strictly ascending
//! ```

use std::{io, path::Path};

use super::{
    fs::Fs,
    own_file::{self, Fields, FormatError, Kind, OwnFileError},
};
use crate::model::{LeaderEpoch, Offset};

const KIND: Kind = Kind { magic: *b"PLle", version: 1, max_body: 64 << 20 };
const ENTRY_LEN: usize = 12;

/// The first offset that a leader wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The leader's epoch.
    pub epoch: LeaderEpoch,
    /// The offset of its first record, or where that will be.
    pub start: Offset,
}

/// A leader epoch below one that the log already has: whoever assigns it is no longer the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("leader epoch {given} is below {latest}, which the log already has")]
pub struct EpochGoesBack {
    /// The highest epoch of the log.
    pub latest: LeaderEpoch,
    /// The one that was to be assigned.
    pub given: LeaderEpoch,
}

/// The leader epochs of one log with their start offsets, both strictly ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochStart>,
}

impl LeaderEpochs {
    /// No epoch yet.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// All epochs, the oldest first.
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// The epoch that was assigned last.
    pub fn latest(&self) -> Option<EpochStart> {
        self.entries.last().copied()
    }

    /// Notes that `epoch` begins at `start`; says whether that changed anything, and so has to be stored.
    ///
    /// Cheap for each append: an epoch that is already known to begin there or earlier changes nothing.
    /// An earlier epoch that turns out to have written nothing below `start` is forgotten.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> Result<bool, EpochGoesBack> {
        if let Some(latest) = self.latest() {
            if epoch < latest.epoch {
                return Err(EpochGoesBack { latest: latest.epoch, given: epoch });
            }
            if epoch == latest.epoch && start >= latest.start {
                return Ok(false);
            }
        }
        while self.entries.pop_if(|entry| entry.epoch >= epoch || entry.start >= start).is_some() {}
        self.entries.push(EpochStart { epoch, start });
        Ok(true)
    }

    /// The epoch that wrote `offset`; `None` below the oldest known start.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let above = self.entries.partition_point(|entry| entry.start <= offset);
        above.checked_sub(1).and_then(|at| self.entries.get(at)).map(|entry| entry.epoch)
    }

    /// The log was cut: nothing at or above `end` is left. Says whether anything changed.
    pub fn truncate_from(&mut self, end: Offset) -> bool {
        let kept = self.entries.partition_point(|entry| entry.start < end);
        let changed = kept < self.entries.len();
        self.entries.truncate(kept);
        changed
    }

    /// The log now begins at `log_start`. The epoch that wrote `log_start` stays, and now begins there.
    /// Says whether anything changed.
    pub fn truncate_to_start(&mut self, log_start: Offset) -> bool {
        let covered = self.entries.partition_point(|entry| entry.start <= log_start);
        let Some(gone) = covered.checked_sub(1) else { return false };
        let moved = self.entries.get(gone).is_some_and(|entry| entry.start < log_start);
        self.entries.drain(..gone);
        if let Some(first) = self.entries.first_mut() {
            first.start = log_start;
        }
        moved || gone > 0
    }

    /// The answer to `OffsetForLeaderEpoch`: the largest epoch at or below the one asked for, and the
    /// offset where the next one begins (`log_end` for the latest). `None`, which the protocol answers as
    /// epoch -1 and offset -1, for an epoch above all that this log has, and for -1 itself. For one below
    /// the oldest known, that very epoch with the start of the oldest.
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let latest = self.latest()?;
        if epoch == LeaderEpoch::NONE || epoch > latest.epoch {
            return None;
        }
        if epoch == latest.epoch {
            return Some((epoch, log_end));
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let next = self.entries.get(above)?;
        let floor = above.checked_sub(1).and_then(|at| self.entries.get(at));
        Some((floor.map_or(epoch, |entry| entry.epoch), next.start))
    }

    /// Reads the file; `None` when there is none. A damaged one is rebuilt by its owner from the batches,
    /// each of which carries its epoch.
    pub fn load(fs: &dyn Fs, path: &Path) -> Result<Option<Self>, OwnFileError> {
        let Some(body) = own_file::load(fs, path, KIND)? else { return Ok(None) };
        Ok(Some(Self::decode(&body)?))
    }

    /// Replaces the file durably.
    pub fn store(&self, fs: &dyn Fs, path: &Path) -> io::Result<()> {
        own_file::replace(fs, path, KIND, &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(4 + self.entries.len() * ENTRY_LEN);
        body.extend_from_slice(&(self.entries.len() as u32).to_be_bytes());
        for entry in &self.entries {
            body.extend_from_slice(&entry.epoch.get().to_be_bytes());
            body.extend_from_slice(&entry.start.get().to_be_bytes());
        }
        body
    }

    fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::new(body);
        let count = fields.count(ENTRY_LEN)?;
        let mut entries: Vec<EpochStart> = Vec::with_capacity(count);
        for _ in 0..count {
            let epoch = LeaderEpoch::new(fields.i32()?);
            let start = Offset::new(fields.i64()?);
            if entries.last().is_some_and(|last| last.epoch >= epoch || last.start >= start) {
                return Err(FormatError::Field("leader epoch"));
            }
            entries.push(EpochStart { epoch, start });
        }
        fields.end()?;
        Ok(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::{EpochGoesBack, LeaderEpochs, own_file};
    use crate::{
        model::{LeaderEpoch, Offset},
        storage::fs::real::RealFs,
    };

    fn epochs(pairs: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::new();
        for &(epoch, start) in pairs {
            epochs.assign(LeaderEpoch::new(epoch), Offset::new(start)).unwrap();
        }
        epochs
    }

    fn pairs(epochs: &LeaderEpochs) -> Vec<(i32, i64)> {
        epochs.entries().iter().map(|entry| (entry.epoch.get(), entry.start.get())).collect()
    }

    fn end_for(epochs: &LeaderEpochs, epoch: i32, log_end: i64) -> Option<(i32, i64)> {
        let answer = epochs.end_offset_for(LeaderEpoch::new(epoch), Offset::new(log_end));
        answer.map(|(epoch, end)| (epoch.get(), end.get()))
    }

    #[test]
    fn the_end_of_an_epoch_is_where_the_next_one_begins() {
        let epochs = epochs(&[(2, 6), (4, 10), (5, 20)]);
        assert_eq!(end_for(&epochs, 5, 33), Some((5, 33)), "the latest ends with the log");
        assert_eq!(end_for(&epochs, 4, 33), Some((4, 20)));
        assert_eq!(end_for(&epochs, 3, 33), Some((2, 10)), "a gap falls to the epoch below");
        assert_eq!(end_for(&epochs, 1, 33), Some((1, 6)), "below all: itself, with the oldest start");
        assert_eq!(end_for(&epochs, 6, 33), None, "above all");
        assert_eq!(end_for(&epochs, -1, 33), None);
        assert_eq!(end_for(&LeaderEpochs::new(), 0, 0), None);
    }

    #[test]
    fn an_epoch_without_records_is_forgotten() {
        assert_eq!(pairs(&epochs(&[(0, 0), (1, 5), (2, 5), (3, 5)])), [(0, 0), (3, 5)]);
    }

    #[test]
    fn a_lower_epoch_is_refused_and_a_known_one_changes_nothing() {
        let mut epochs = epochs(&[(3, 10)]);
        let refused = epochs.assign(LeaderEpoch::new(2), Offset::new(20));
        assert_eq!(refused, Err(EpochGoesBack { latest: LeaderEpoch::new(3), given: LeaderEpoch::new(2) }));
        assert_eq!(epochs.assign(LeaderEpoch::new(3), Offset::new(11)), Ok(false));
        assert_eq!(pairs(&epochs), [(3, 10)]);
    }

    #[test]
    fn truncation_from_the_end_drops_epochs_that_begin_there_or_later() {
        let mut epochs = epochs(&[(1, 0), (2, 10), (3, 20)]);
        assert!(!epochs.truncate_from(Offset::new(21)));
        assert!(epochs.truncate_from(Offset::new(20)));
        assert_eq!(pairs(&epochs), [(1, 0), (2, 10)]);
        assert!(epochs.truncate_from(Offset::new(0)));
        assert!(epochs.entries().is_empty());
    }

    #[test]
    fn truncation_to_a_new_start_keeps_the_epoch_that_wrote_it() {
        let mut epochs = epochs(&[(1, 0), (2, 10), (3, 20)]);
        assert!(epochs.truncate_to_start(Offset::new(15)));
        assert_eq!(pairs(&epochs), [(2, 15), (3, 20)]);
        assert!(!epochs.truncate_to_start(Offset::new(15)));
        assert!(!epochs.truncate_to_start(Offset::new(3)));
        assert!(epochs.truncate_to_start(Offset::new(20)));
        assert_eq!(pairs(&epochs), [(3, 20)]);
        assert!(epochs.truncate_to_start(Offset::new(99)));
        assert_eq!(pairs(&epochs), [(3, 99)]);
    }

    #[test]
    fn what_is_stored_is_loaded_and_damage_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("leader-epochs");
        assert!(LeaderEpochs::load(&RealFs, &path).unwrap().is_none());
        let written = epochs(&[(1, 0), (2, 10)]);
        written.store(&RealFs, &path).unwrap();
        epochs(&[(1, 0), (2, 10), (7, 11)]).store(&RealFs, &path).unwrap();
        assert_eq!(pairs(&LeaderEpochs::load(&RealFs, &path).unwrap().unwrap()), [(1, 0), (2, 10), (7, 11)]);
        assert_eq!(names(dir.path()), ["leader-epochs"], "nothing is left beside it");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[25] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(
            LeaderEpochs::load(&RealFs, &path),
            Err(own_file::OwnFileError::Format(own_file::FormatError::Checksum))
        ));
    }

    fn names(dir: &Path) -> Vec<String> {
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    proptest! {
        /// A log as a plain list of epochs, one per record, and what Kafka would answer on it.
        #[test]
        fn answers_are_those_of_a_log_that_knows_the_epoch_of_each_record(
            runs in prop::collection::vec((0_i32..4, 1_usize..5), 1..12),
            cut in 0_usize..40,
            asked in 0_i32..40,
        ) {
            let (mut log, mut epochs, mut epoch) = (Vec::new(), LeaderEpochs::new(), 0);
            for (step, records) in runs {
                epoch += step;
                for _ in 0..records {
                    epochs.assign(LeaderEpoch::new(epoch), Offset::new(log.len() as i64)).unwrap();
                    log.push(epoch);
                }
            }
            log.truncate(cut);
            epochs.truncate_from(Offset::new(log.len() as i64));
            for (offset, epoch) in log.iter().enumerate() {
                prop_assert_eq!(epochs.epoch_at(Offset::new(offset as i64)), Some(LeaderEpoch::new(*epoch)));
            }
            let expected = match log.last() {
                Some(&latest) if asked <= latest => {
                    let end = log.iter().position(|e| *e > asked).unwrap_or(log.len());
                    let floor = log.iter().rev().find(|e| **e <= asked);
                    Some((*floor.unwrap_or(&asked), end as i64))
                }
                _ => None,
            };
            prop_assert_eq!(end_for(&epochs, asked, log.len() as i64), expected);
        }
    }
}
