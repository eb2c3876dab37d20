//! What may go wrong, and the count of what was done.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

use fastrand::Rng;

/// What the cache holds after a failed sync. Either way the system takes it for clean from then on, and
/// the next sync succeeds without writing it (S13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailedSync {
    /// What was written, though the disk may not have it (ext4).
    FalselyClean,
    /// What the disk has.
    Dropped,
}

/// One thing that goes wrong once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A sync of a file fails with EIO; any part of what was pending is on the disk.
    SyncFails(AfterFailedSync),
    /// A sync of a file says that it succeeded, and did nothing.
    SyncLies,
    /// A sync of a folder fails with EIO, and did nothing.
    SyncDirFails,
    /// A write fails with EIO after this many bytes.
    WriteFails {
        /// How many bytes are taken first.
        after_bytes: usize,
    },
}

/// The kind of operation that a fault can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hit {
    Sync,
    SyncDir,
    Write { len: usize },
}

impl Fault {
    fn hits(self, hit: Hit) -> bool {
        match self {
            Self::SyncFails(_) | Self::SyncLies => hit == Hit::Sync,
            Self::SyncDirFails => hit == Hit::SyncDir,
            Self::WriteFails { .. } => matches!(hit, Hit::Write { .. }),
        }
    }
}

/// How often things go wrong by themselves, each from 0 (never) to 1 (always), decided by the seed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FaultRates {
    /// A sync of a file fails, with either of [`AfterFailedSync`].
    pub sync_fails: f64,
    /// A sync of a file lies.
    pub sync_lies: f64,
    /// A sync of a folder fails.
    pub sync_dir_fails: f64,
    /// A write fails with EIO part of the way.
    pub write_fails: f64,
    /// A read fails with EIO.
    pub read_fails: f64,
}

/// What [`File::read_cached_at`](crate::storage::fs::File::read_cached_at) finds in the page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CachedReads {
    /// Everything.
    #[default]
    All,
    /// Nothing.
    Nothing,
    /// Nothing, everything or a beginning, by the seed.
    Any,
}

/// What was done to one file, or to all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes that were read, in any way.
    pub bytes_read: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// Calls that read.
    pub reads: u64,
    /// Calls that wrote.
    pub writes: u64,
    /// Syncs of the file, failed ones and lies included; of a folder, under the folder's path.
    pub syncs: u64,
}

impl Counters {
    fn add(&mut self, other: Self) {
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.reads += other.reads;
        self.writes += other.writes;
        self.syncs += other.syncs;
    }
}

/// All that is planned to go wrong, and all that was counted.
#[derive(Debug, Default)]
pub(super) struct Faults {
    scripted: Vec<(PathBuf, Fault)>,
    bad_ranges: Vec<(PathBuf, Range<u64>)>,
    counters: BTreeMap<PathBuf, Counters>,
    pub(super) rates: FaultRates,
    pub(super) cached_reads: CachedReads,
    pub(super) capacity: Option<u64>,
    /// Whether space can be taken ahead.
    pub(super) allocates: bool,
    /// How many more changes the process makes before it dies.
    pub(super) changes_left: Option<u64>,
}

impl Faults {
    pub(super) fn script(&mut self, path: &Path, fault: Fault) {
        self.scripted.push((path.to_path_buf(), fault));
    }

    pub(super) fn fail_reads(&mut self, path: &Path, range: Range<u64>) {
        self.bad_ranges.push((path.to_path_buf(), range));
    }

    /// Nothing goes wrong any more. What went wrong stays; what the disk is and the counters too.
    pub(super) fn clear(&mut self) {
        self.scripted.clear();
        self.bad_ranges.clear();
        self.rates = FaultRates::default();
        self.cached_reads = CachedReads::default();
        self.changes_left = None;
    }

    /// The fault that hits this operation, if one does: a scripted one, which is then used up, or one by
    /// chance.
    pub(super) fn strike(&mut self, path: &Path, hit: Hit, rng: &mut Rng) -> Option<Fault> {
        let planned = self.scripted.iter().position(|(at, fault)| path.ends_with(at) && fault.hits(hit));
        if let Some(at) = planned {
            return Some(self.scripted.remove(at).1);
        }
        match hit {
            Hit::Sync if chance(rng, self.rates.sync_lies) => Some(Fault::SyncLies),
            Hit::Sync if chance(rng, self.rates.sync_fails) => {
                let options = [AfterFailedSync::FalselyClean, AfterFailedSync::Dropped];
                rng.choice(options).map(Fault::SyncFails)
            }
            Hit::SyncDir if chance(rng, self.rates.sync_dir_fails) => Some(Fault::SyncDirFails),
            Hit::Write { len } if chance(rng, self.rates.write_fails) => {
                Some(Fault::WriteFails { after_bytes: rng.usize(0..=len) })
            }
            Hit::Sync | Hit::SyncDir | Hit::Write { .. } => None,
        }
    }

    /// Whether a read of these bytes fails.
    pub(super) fn read_fails(&self, path: &Path, range: &Range<u64>, rng: &mut Rng) -> bool {
        let overlaps = |bad: &Range<u64>| bad.start < range.end && range.start < bad.end;
        self.bad_ranges.iter().any(|(at, bad)| path.ends_with(at) && overlaps(bad))
            || chance(rng, self.rates.read_fails)
    }

    pub(super) fn count(&mut self, path: &Path, done: Counters) {
        self.counters.entry(path.to_path_buf()).or_default().add(done);
    }

    pub(super) fn counted(&self, path: &Path) -> Counters {
        let mut sum = Counters::default();
        self.counters.iter().filter(|(at, _)| at.ends_with(path)).for_each(|(_, done)| sum.add(*done));
        sum
    }

    pub(super) fn counted_in_all(&self) -> Counters {
        let mut sum = Counters::default();
        self.counters.values().for_each(|done| sum.add(*done));
        sum
    }

    pub(super) fn forget_counts(&mut self) {
        self.counters.clear();
    }
}

/// Draws only where there is something to draw, so that adding a kind of fault leaves old seeds alone.
fn chance(rng: &mut Rng, rate: f64) -> bool {
    rate > 0.0 && rng.f64() < rate
}
