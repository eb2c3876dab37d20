//! Keeps the newest record of each key, and lets the others go.
//!
//! A pass reads what has been written since the last one and notes the newest offset of each key there; then it
//! writes all segments from the log's start to there anew, without the records that a newer one of their key
//! has overtaken. Tombstones (records without a value) stay until a time that their batch carries (KIP-534), so
//! that readers who are behind still see them.
//!
//! **Offsets follow each other in a compacted log too.** Where all records of batches have gone, one empty batch
//! covers their offsets: that the next batch follows is how damage outside of a batch's checksum is found, and
//! needs no second rule. The last batch of each idempotent producer is kept, if need be without records, since it
//! says which sequence comes next.
//!
//! **A crash leaves the old segments or the new one.** Several old segments become one. It is written beside them
//! and synced, and renamed to `<base>-<next>.compacted`, from where on it counts: whoever opens the log finishes
//! what is left to do: the old segments above the first are removed, the folder is synced, and the new
//! file takes the first one's name. Readers of the old segments keep their files until they are done.

mod clean;
mod keys;
mod swap;

#[cfg(test)]
mod tests;

use std::{io, path::Path, time::Duration};

pub(crate) use clean::{CleanError, CleanRules, clean};
pub(crate) use keys::LatestOffsets;
pub(crate) use swap::{commit, committed, finish, finish_all};

use super::{
    fs::Fs,
    own_file::{self, Fields, FormatError, Kind, OwnFileError},
};
use crate::model::Offset;

/// Up to where a log is compacted: one offset, eight bytes.
const KIND: Kind = Kind { magic: *b"PLco", version: 1, max_body: 8 };
pub(crate) const CLEANED_TO_FILE: &str = "compacted-to";

/// Up to where the log in a folder is compacted; its beginning where nothing says so, or nothing that is to be
/// believed: the next pass then takes all of it.
pub(crate) fn load_cleaned_to(fs: &dyn Fs, dir: &Path) -> io::Result<Offset> {
    let loaded = own_file::load(fs, &dir.join(CLEANED_TO_FILE), KIND).and_then(|body| {
        let Some(body) = body else { return Ok(Offset::ZERO) };
        let mut fields = Fields::new(&body);
        let offset = fields.i64()?;
        fields.end()?;
        if offset < 0 { Err(FormatError::Field("offset").into()) } else { Ok(Offset::new(offset)) }
    });
    match loaded {
        Ok(offset) => Ok(offset),
        Err(OwnFileError::Io(error)) => Err(error),
        Err(OwnFileError::Format(flaw)) => {
            tracing::warn!(dir = %dir.display(), %flaw, "compaction begins anew");
            Ok(Offset::ZERO)
        }
    }
}

pub(crate) fn store_cleaned_to(fs: &dyn Fs, dir: &Path, offset: Offset) -> io::Result<()> {
    own_file::replace(fs, &dir.join(CLEANED_TO_FILE), KIND, &offset.get().to_be_bytes())
}

/// How a log is compacted; the topic's configs, typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionOptions {
    /// The share of bytes not compacted yet from which on a pass is worth it (`min.cleanable.dirty.ratio`), in
    /// hundredths.
    pub dirty_percent: u8,
    /// Records younger than this are left as they are (`min.compaction.lag.ms`).
    pub min_lag: Duration,
    /// Records older than this are compacted whatever the share (`max.compaction.lag.ms`); `None`: never for
    /// that reason.
    pub max_lag: Option<Duration>,
    /// How long tombstones stay (`delete.retention.ms`).
    pub tombstones_kept: Duration,
    /// The most memory for keys in one pass, in bytes; what has no room is left to the next one.
    pub key_bytes: usize,
}

impl Default for CompactionOptions {
    /// Kafka's defaults, but for the memory, of which it takes 128 MiB.
    fn default() -> Self {
        Self {
            dirty_percent: 50,
            min_lag: Duration::ZERO,
            max_lag: None,
            tombstones_kept: Duration::from_hours(24),
            key_bytes: 32 << 20,
        }
    }
}
