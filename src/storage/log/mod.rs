//! One partition's log: the one writer, and what it hands to readers and to threads that may block.
//!
//! [`Log`] belongs to one actor. Appending is one positional write in its handler; everything that waits
//! for a disk is a job that it hands out ([`FlushJob`], [`CheckpointJob`], [`RetentionJob`] ...), to be run
//! on any thread, with a completion that it takes back. [`LogReader`] is for everybody else.
//!
//! ```text
//! <dir>/00000000000000000000.log         record batches, back to back, as on the wire
//!       00000000000000000000.index       offset to position
//!       00000000000000000000.timeindex   time to offset
//!       00000000000000000000.checksums   block checksums, once it is sealed
//!       00000000000000004711.snapshot    the producers' state of the log below 4711
//!       checkpoint                       what is on disk for certain, where the log starts
//!       leader-epochs                    where each leader's term begins
//!       lock                             held by the one writer (S7)
//!       poisoned                         only after a failed write or sync (S13)
//!       00000000000000004711.set-aside   only after a power cut that left holes (S14)
//!       *.deleted, *.unfinished, *.tmp   on their way out or in; removed when the log is opened
//! ```
//!
//! Always `log start <= flushed <= log end`, and only the writer moves them.

pub(crate) mod append;
mod buffer;
pub(crate) mod checkpoint;
mod compact;
mod damage;
mod error;
pub(crate) mod flush;
mod mend;
mod options;
mod range;
mod read;
mod reader;
mod replicate;
mod retire;
mod seal;
pub(crate) mod shared;
pub(crate) mod slow;
mod time;
mod truncate;

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, Weak},
};

pub use append::Appended;
pub use buffer::{ReadBuffer, ReadSpace};
pub use checkpoint::CheckpointJob;
pub use compact::{Compacted, CompactionJob};
pub use damage::DamageBell;
pub use error::{AppendError, OpenError, Poisoned, ReadError};
pub use flush::{FlushDone, FlushJob};
pub use mend::{Mend, MendError, MendJob, Mended, Misfit};
pub use options::LogOptions;
pub use read::{ReadOutcome, ReadRequest, Verify};
pub use reader::{FileRange, LogReader, SegmentInfo};
pub use replicate::{EpochRefused, ReplicateError, Replicated};
pub use retire::RetentionJob;
pub use seal::SealJob;
pub use time::AtTime;
pub use truncate::Truncated;

pub use super::segment::{CorruptBatch, CorruptReason, Wait};
use super::{
    block_checksums::RunningChecksums,
    fs::{File, Fs, Lock},
    producer_state::ProducerState,
    recovery::{self, RecoveryReport},
    segment::Segment,
};
use crate::{
    clock::Clock,
    model::{LeaderEpoch, Offset, PartitionId},
};

/// The one writer of a partition's log.
#[derive(Debug)]
pub struct Log {
    shared: Arc<shared::Shared>,
    options: LogOptions,
    epoch: LeaderEpoch,
    active: Active,
    producers: ProducerState,
    unflushed: flush::Unflushed,
    keeper: Arc<Mutex<checkpoint::Keeper>>,
    snapshots: checkpoint::Snapshots,
    /// Up to where the newest record of each key is known.
    cleaned_to: Offset,
    /// The generation in which the pass of compaction began, or the mending, that may be under way, and whether it is: a role
    /// that ends does not hear of it.
    compacting: Option<(u64, Weak<()>)>,
    lock: Arc<dyn Lock>,
}

/// The segment that is written.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<dyn File>,
    /// The highest timestamp of its first batch.
    pub(crate) first_timestamp: Option<i64>,
    /// There may be a part of a batch behind the published end.
    pub(crate) has_remains: bool,
    /// Of what was written, unless the segment was begun before the log was opened.
    pub(crate) checksums: Option<RunningChecksums>,
    /// Its file has been given space on the disk up to here, or is not to be given any.
    pub(crate) room: u64,
}

/// A segment's file takes one part in so many of `segment.bytes` ahead of what is written.
const AHEAD: u64 = 64;
/// It takes none before it holds so many times that: a node may have thousands of segments that never become large.
const HELD_BEFORE: u64 = 8;
/// The most space that is taken ahead.
const MOST_AHEAD: u64 = 16 << 20;

impl Active {
    /// Writes both parts, one behind the other, at the end of a file that may become as large as a segment.
    fn write(&mut self, parts: [&[u8]; 2], position: u64, segment_bytes: u64) -> io::Result<()> {
        let end = position + parts.iter().map(|part| part.len() as u64).sum::<u64>();
        self.make_room(position, end, segment_bytes);
        self.file.write_both_at(parts, position)?;
        if let Some(checksums) = &mut self.checksums {
            for part in parts {
                checksums.append(part);
            }
        }
        Ok(())
    }

    /// Takes space for what is about to be written and for more to come. A page that has its place on the disk costs the kernel less
    /// to write to than one that has to have a place reserved and found later: a quarter to a third less, for appends of a mebibyte.
    fn make_room(&mut self, position: u64, end: u64, segment_bytes: u64) {
        let ahead = (segment_bytes / AHEAD).min(MOST_AHEAD);
        if end <= self.room || position < ahead * HELD_BEFORE {
            return;
        }
        let room = (end + ahead).min(segment_bytes.max(end));
        // Without success it is written as it would have been; on a full disk that may still find space.
        let taken = self.file.allocate(position, room - position).is_ok();
        self.room = if taken { room } else { u64::MAX };
    }

    /// Whether its file may have space behind its end.
    fn has_room(&self) -> bool {
        // Who had it before may have taken some.
        self.room > 0 || self.checksums.is_none()
    }

    fn dirty(&self) -> flush::Dirty {
        (Arc::clone(&self.segment), Arc::clone(&self.file))
    }
}

impl Log {
    /// Opens the log in a folder, which is made if it is missing, and recovers it (S13, S14). Blocks: waits
    /// for the one who has it open (S7), reads what may not have been flushed, and syncs it.
    ///
    /// The epoch is a new one, above every other that the log was opened with (S6).
    #[expect(clippy::needless_pass_by_value, reason = "whoever opens a log shares its clock")]
    pub fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        id: PartitionId,
        epoch: LeaderEpoch,
        options: LogOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        Self::recover(&recovery::Place { fs, dir, id }, recovery::Opening::Lead(epoch), options, &*clock)
    }

    /// The same for a log that follows a leader: it takes no term of its own until [`Log::begin_epoch`].
    ///
    /// `latest` is the latest term that anybody has led under as far as is known, at least by whoever has appended to
    /// this log: what claims a later one was hit.
    #[expect(clippy::needless_pass_by_value, reason = "whoever opens a log shares its clock")]
    pub fn open_to_follow(
        fs: Arc<dyn Fs>,
        dir: &Path,
        id: PartitionId,
        latest: LeaderEpoch,
        options: LogOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        Self::recover(&recovery::Place { fs, dir, id }, recovery::Opening::Follow(latest), options, &*clock)
    }

    fn recover(
        place: &recovery::Place<'_>,
        opening: recovery::Opening,
        options: LogOptions,
        clock: &dyn Clock,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let recovered = recovery::recover(place, opening, &options, clock)?;
        let report = recovered.report;
        let epoch = match opening {
            recovery::Opening::Lead(epoch) => epoch,
            recovery::Opening::Follow(_) => LeaderEpoch::NONE,
        };
        recovered.shared.set_cleaned_to(recovered.cleaned_to);
        recovered.shared.damage.set_was_unclean(report.clean.is_none() && report.log_end > Offset::ZERO);
        let log = Self {
            unflushed: flush::Unflushed::new(&recovered.active, recovered.ends.end),
            snapshots: checkpoint::Snapshots::new(recovered.since_snapshot),
            keeper: Arc::new(Mutex::new(recovered.keeper)),
            shared: Arc::new(recovered.shared),
            options,
            epoch,
            active: recovered.active,
            producers: recovered.producers,
            cleaned_to: recovered.cleaned_to,
            compacting: None,
            lock: recovered.lock.into(),
        };
        Ok((log, report))
    }

    /// A reader of this log.
    pub fn reader(&self) -> LogReader {
        LogReader { shared: Arc::clone(&self.shared) }
    }

    /// The term in which batches are appended; [`LeaderEpoch::NONE`] of a log that follows a leader.
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The first offset that may be read.
    pub fn log_start_offset(&self) -> Offset {
        self.shared.log_start()
    }

    /// The offset that the next record will get.
    pub fn log_end_offset(&self) -> Offset {
        self.shared.log_end()
    }

    /// The end of what is on disk.
    pub fn flushed_end(&self) -> Offset {
        self.shared.flushed()
    }

    /// How often the log was truncated since it was opened (S8).
    pub fn generation(&self) -> u64 {
        self.shared.generation()
    }

    /// The term of the last batch, or of whoever leads; `None` of a log that has neither.
    pub fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.latest_epoch()
    }

    /// Whether a write or a sync has failed: the log takes no more (S13).
    pub fn is_poisoned(&self) -> bool {
        self.shared.is_poisoned()
    }

    /// The idempotent producers that the log remembers.
    pub const fn producers(&self) -> &ProducerState {
        &self.producers
    }

    /// How the log is kept.
    pub const fn options(&self) -> &LogOptions {
        &self.options
    }

    /// Keeps the log differently from now on. The number of open segments stays as it was.
    pub fn set_options(&mut self, options: LogOptions) {
        self.options = options;
    }
}

impl Drop for Log {
    /// Readers that are left learn that nobody keeps the log any more.
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[cfg(test)]
mod tests;
