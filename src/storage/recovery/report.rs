use std::{fmt, path::PathBuf};

use crate::{
    model::{BootId, Offset},
    storage::segment::{CorruptBatch, CorruptReason},
};

/// What opening a log found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Bytes of batches that were read: bounded by what was not flushed, not by what is stored.
    pub bytes_read: u64,
    /// The end of the log.
    pub log_end: Offset,
    /// The boot that closed the log cleanly, if nothing was touched since.
    pub clean: Option<BootId>,
    /// What was cut off the end (S14).
    pub cut: Option<Cut>,
    /// Files that hold cut bytes among which there are whole batches.
    pub set_aside: Vec<PathBuf>,
    /// Rot below the flushed position: left in place and never served.
    pub corrupt: Vec<CorruptBatch>,
    /// Segments whose index was missing or wrong.
    pub indexes_rebuilt: Vec<Offset>,
    /// Whether the leader epochs were read out of the batches because their file was missing or wrong.
    pub epochs_rebuilt: bool,
    /// Whether the log had been poisoned: the disk itself was read (S13).
    pub was_poisoned: bool,
}

/// Bytes that were never acknowledged and are no longer part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The offset at which the log now ends.
    pub offset: Offset,
    /// The file.
    pub file: PathBuf,
    /// Where it was cut.
    pub position: u64,
    /// How many bytes went, of this file and the ones behind it.
    pub bytes: u64,
    /// What stood there.
    pub reason: CorruptReason,
}

impl RecoveryReport {
    /// Whether there was nothing but batches to read again: so it is with every log after a `kill -9`.
    pub const fn is_ordinary(&self) -> bool {
        self.cut.is_none()
            && self.set_aside.is_empty()
            && self.indexes_rebuilt.is_empty()
            && !self.was_poisoned
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log end {}, {} bytes read", self.log_end, self.bytes_read)?;
        if let Some(cut) = &self.cut {
            let Cut { offset, bytes, reason, .. } = cut;
            write!(f, ", {bytes} bytes cut off at offset {offset} ({reason})")?;
        }
        if !self.set_aside.is_empty() {
            write!(f, ", {} files set aside", self.set_aside.len())?;
        }
        if !self.indexes_rebuilt.is_empty() {
            write!(f, ", {} indexes rebuilt", self.indexes_rebuilt.len())?;
        }
        if self.was_poisoned {
            f.write_str(", read from the disk itself after a failed flush")?;
        }
        Ok(())
    }
}
