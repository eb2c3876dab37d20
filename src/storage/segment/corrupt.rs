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
        };
        let mut known = lock(&self.corrupt);
        let is_known = known.iter().any(|known| known.position == hole.position && known.next == hole.next);
        if is_known {
            return CorruptBatch { newly_found: false, ..found };
        }
        known.push(CorruptBatch { newly_found: false, ..found.clone() });
        found
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
