use std::{fmt, path::PathBuf};

use super::{CorruptReason, Hole, Segment, lock};
use crate::model::Offset;

/// A batch that is not served because it is not what was written, or a stretch of several where the way
/// on was not to be found sooner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorruptBatch {
    /// The file.
    pub file: PathBuf,
    /// Its first byte in the file.
    pub position: u64,
    /// How many bytes; 0 when they are missing altogether.
    pub len: u64,
    /// The first offset that is lost.
    pub first: Offset,
    /// The offset at which the log goes on.
    pub next: Offset,
    /// What is wrong.
    pub reason: CorruptReason,
    /// Whether this is the first time that this process has come across it: counted once, reported once.
    pub newly_found: bool,
    /// Whether nobody goes past it for now: other replicas are asked for it.
    pub is_held: bool,
    /// Whether they were, and none of them has it.
    pub is_given_up: bool,
}

impl CorruptBatch {
    /// Whether anything was lost with it: bytes may also stand where none should, between batches that follow each other.
    pub fn loses_offsets(&self) -> bool {
        self.first < self.next
    }

    /// Whether both are the same place in the same file.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        self.position == other.position && self.next == other.next && self.file == other.file
    }
}

impl Segment {
    /// Remembers a hole; says whether it was known.
    pub(crate) fn note_corrupt(&self, hole: &Hole) -> CorruptBatch {
        let found = CorruptBatch {
            file: self.path(),
            position: hole.position,
            len: hole.len,
            first: hole.first,
            next: hole.next,
            reason: hole.reason,
            newly_found: true,
            is_held: false,
            is_given_up: false,
        };
        let mut known = lock(&self.corrupt);
        if let Some(known) = known.iter().find(|known| known.is_at(&found)) {
            return CorruptBatch { reason: hole.reason, ..known.clone() };
        }
        known.push(CorruptBatch { newly_found: false, ..found.clone() });
        found
    }

    /// No other replica has it.
    pub(crate) fn give_up(&self, lost: &CorruptBatch) {
        lock(&self.corrupt)
            .iter_mut()
            .filter(|known| known.is_at(lost))
            .for_each(|known| known.is_given_up = true);
    }

    /// Others may have it now.
    pub(crate) fn hope_again(&self) {
        lock(&self.corrupt).iter_mut().for_each(|known| known.is_given_up = false);
    }

    /// Takes over what is known of the bytes that it has from another segment.
    pub(crate) fn adopt_corrupt(&self, known: Vec<CorruptBatch>) {
        *lock(&self.corrupt) = known;
    }

    /// Whether anything is known to be corrupt.
    pub(crate) fn is_hit(&self) -> bool {
        !lock(&self.corrupt).is_empty()
    }

    /// All that is known to be corrupt.
    pub(crate) fn known_corrupt(&self) -> Vec<CorruptBatch> {
        lock(&self.corrupt).clone()
    }
}

impl fmt::Display for CorruptBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, position, len, first, next, reason, .. } = self;
        write!(
            f,
            "offsets {first} to {next} (exclusive), {len} bytes at {position} of {}: {reason}",
            file.display()
        )
    }
}
