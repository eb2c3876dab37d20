//! Opens a log after whatever happened to it.
//!
//! Up to the checkpointed flushed position everything was on disk: a bad batch there is rot, which stays
//! where it is and is never served. Above it the log is cut at the first batch that is not whole, because
//! a power cut leaves holes, and what lies behind a hole was never acknowledged (S14); whole batches among
//! what is cut are set aside. After a failed sync the page cache is not to be believed: the disk itself is
//! read, and what it holds is written into a new file (S13). Where the process died before it could leave
//! the mark of that, disk and cache no longer hold the same.
//!
//! The work is bounded by what was not flushed: reading begins at the newest snapshot of the producers'
//! state, which is at most `snapshot_bytes` below the flushed position.

mod cut;
mod folder;
mod poison;
mod replay;
mod report;

use std::{io, path::Path, sync::Arc};

pub use report::{Cut, RecoveryReport};

use super::{
    checkpoint::{Checkpoint, CheckpointFile, Found},
    compaction::load_cleaned_to,
    fs::{Fs, Lock, LockWait},
    leader_epochs::LeaderEpochs,
    log::{
        Active, LogOptions, OpenError,
        append::begin_segment,
        checkpoint::{CHECKPOINT_FILE, EPOCHS_FILE, Keeper},
        flush::sync_segments,
        shared::{Ends, POISONED_FILE, Shared, mark_poisoned},
    },
    producer_state::ProducerState,
    segment::{Folder, Hole, Segment},
};
use crate::{
    clock::Clock,
    model::{LeaderEpoch, Offset, PartitionId},
    storage::segment::CorruptReason,
};
use folder::Contents;
use replay::Replay;

/// The file that the writer holds a lock on (S7).
const LOCK_FILE: &str = "lock";

/// Which log.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: &'a Path,
    pub(crate) id: PartitionId,
}

/// As what a log is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opening {
    /// To lead under a new term (S6).
    Lead(LeaderEpoch),
    /// To follow others, the latest of whom led under this term: nothing in the log is of a later one.
    Follow(LeaderEpoch),
}

impl Opening {
    /// The highest term that anything in the log may be of.
    const fn highest(self) -> LeaderEpoch {
        match self {
            Self::Lead(epoch) | Self::Follow(epoch) => epoch,
        }
    }
}

/// A log that can be written.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) shared: Shared,
    pub(crate) active: Active,
    pub(crate) producers: ProducerState,
    pub(crate) keeper: Keeper,
    pub(crate) ends: Ends,
    /// Bytes of the log above the newest snapshot.
    pub(crate) since_snapshot: u64,
    /// Up to where the log is compacted.
    pub(crate) cleaned_to: Offset,
    pub(crate) lock: Box<dyn Lock>,
    pub(crate) report: RecoveryReport,
}

/// Opens and recovers.
pub(crate) fn recover(
    place: &Place<'_>,
    opening: Opening,
    options: &LogOptions,
    clock: &dyn Clock,
) -> Result<Recovered, OpenError> {
    let epoch = opening.highest();
    let (folder, lock) = enter(place).map_err(|source| place.failed(source))?;
    let begin = || {
        let folder = Arc::clone(&folder);
        let recovery = Recovery::begin(folder, epoch, options, clock);
        let mut recovery = recovery.map_err(|source| place.failed(source))?;
        recovery.refuse_old_epoch(place, opening)?;
        recovery.replay(epoch).map_err(|source| place.failed(source))?;
        recovery.refuse_old_epoch(place, opening)?;
        Ok(recovery)
    };
    let mut recovery = begin()?;
    if recovery.is_falsely_clean().map_err(|source| place.failed(source))? {
        mark_poisoned(&folder).map_err(|source| place.failed(source))?;
        let first = recovery.report;
        recovery = begin()?;
        recovery.report.bytes_read += first.bytes_read;
        recovery.report.set_aside.splice(0..0, first.set_aside);
        recovery.report.cut = recovery.report.cut.or(first.cut);
    }
    recovery.finish(place, opening, lock).map_err(|source| place.failed(source))
}

impl Place<'_> {
    fn failed(&self, source: io::Error) -> OpenError {
        OpenError::Io { dir: self.dir.to_path_buf(), source }
    }
}

/// Makes the folder if need be and becomes its one writer.
fn enter(place: &Place<'_>) -> io::Result<(Arc<Folder>, Box<dyn Lock>)> {
    make_durably(&*place.fs, place.dir)?;
    let lock = place.fs.lock(&place.dir.join(LOCK_FILE), LockWait::Block)?;
    Ok((Arc::new(Folder::new(Arc::clone(&place.fs), place.dir)), lock))
}

/// Makes a folder and those above it that are missing, each on disk in the one above it (S15).
fn make_durably(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    if fs.exists(dir)? {
        return Ok(());
    }
    let above = super::fs::folder_of(dir);
    if above != dir {
        make_durably(fs, &above)?;
    }
    fs.create_dir_all(dir)?;
    fs.sync_dir(&above)
}

/// A recovery under way.
#[derive(Debug)]
struct Recovery<'a> {
    folder: Arc<Folder>,
    options: &'a LogOptions,
    clock: &'a dyn Clock,
    contents: Contents,
    file: CheckpointFile,
    checkpoint: Checkpoint,
    snapshot_end: Offset,
    producers: ProducerState,
    epochs: LeaderEpochs,
    segments: Vec<Arc<Segment>>,
    replay: Replay,
    report: RecoveryReport,
}

impl<'a> Recovery<'a> {
    fn begin(
        folder: Arc<Folder>,
        epoch: LeaderEpoch,
        options: &'a LogOptions,
        clock: &'a dyn Clock,
    ) -> io::Result<Self> {
        let contents = folder::look(&folder)?;
        let (file, found) = CheckpointFile::open(&*folder.fs, &folder.named(CHECKPOINT_FILE))?;
        let (snapshot_end, producers) = folder::newest_snapshot(&folder, &contents, &found, options)?;
        let checkpoint = match found {
            Found::Newest(checkpoint) => checkpoint,
            Found::Blank | Found::Damaged(_) => {
                if let Found::Damaged(flaws) = found {
                    tracing::error!(dir = %folder.dir.display(), ?flaws, "checkpoint is damaged");
                }
                // A snapshot is written only when all below it is on disk.
                let segment_base = contents.base_of(snapshot_end);
                let log_start = contents.first_base();
                Checkpoint { flushed: snapshot_end, segment_base, position: 0, log_start, clean: None }
            }
        };
        let segments = contents.segments(&folder);
        let mut recovery = Self {
            folder,
            options,
            clock,
            contents,
            file,
            checkpoint,
            snapshot_end,
            producers,
            epochs: LeaderEpochs::new(),
            segments,
            replay: Replay::default(),
            report: RecoveryReport::default(),
        };
        recovery.report.was_poisoned = recovery.contents.is_poisoned;
        // Retention writes down where the log starts before it removes anything.
        let start = recovery.checkpoint.log_start;
        // Without any segment all that was flushed is missing.
        let flushed = recovery.checkpoint.flushed.max(recovery.snapshot_end);
        let first = recovery.segments.first().map_or(flushed, |segment| segment.base());
        if start < first {
            recovery.report_missing(start, first);
        }
        recovery.remove_what_expired()?;
        recovery.load_epochs(epoch)?;
        Ok(recovery)
    }

    /// Segments that retention had taken out of the log when it was interrupted.
    fn remove_what_expired(&mut self) -> io::Result<()> {
        let below = self.checkpoint.log_start.min(self.snapshot_end);
        let last = self.segments.len().saturating_sub(1);
        let gone = self.segments.iter().take(last).take_while(|segment| segment.end() <= below).count();
        if gone > 0 {
            // Into the other slot too: one that is hit later does not make these files look lost.
            self.file.write(&self.checkpoint)?;
        }
        for segment in self.segments.drain(..gone) {
            segment.rename_deleted()?;
            segment.remove_deleted()?;
            self.contents.logs.remove(0);
        }
        Ok(())
    }

    fn refuse_old_epoch(&self, place: &Place<'_>, opening: Opening) -> Result<(), OpenError> {
        let Opening::Lead(given) = opening else { return Ok(()) };
        match self.epochs.latest() {
            Some(latest) if latest.epoch >= given => {
                let dir = place.dir.to_path_buf();
                Err(OpenError::EpochGoesBack { dir, latest: latest.epoch, given })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Reads the tail, cuts it, and leaves a folder whose last segment can be appended to.
    fn replay(&mut self, epoch: LeaderEpoch) -> io::Result<()> {
        self.read_tail(epoch)?;
        if self.contents.is_poisoned {
            self.rewrite_tail()?;
        } else {
            self.cut_tail()?;
        }
        // Terms of what was flushed stay, also where it is gone: its offsets are not given out again.
        if self.epochs.truncate_from(self.replay.end.max(self.checkpoint.flushed)) {
            // Other terms may write there, and be judged by the file before it is written again.
            self.store_epochs()?;
        }
        Ok(())
    }

    fn store_epochs(&self) -> io::Result<()> {
        self.epochs.store(&*self.folder.fs, &self.folder.named(EPOCHS_FILE))
    }

    fn finish(mut self, place: &Place<'_>, opening: Opening, lock: Box<dyn Lock>) -> io::Result<Recovered> {
        let read_to = self.replay.end;
        let end = read_to.max(self.checkpoint.flushed).max(self.checkpoint.log_start);
        let active = if end == read_to { self.activate()? } else { self.bridge(read_to, end)? };
        if let Opening::Lead(epoch) = opening {
            // It was found to be above all others.
            let _ = self.epochs.assign(epoch, end);
        }
        self.sync_tail(&active, end)?;
        if end > read_to.max(self.checkpoint.flushed) {
            self.keep_end(&active, end)?;
        }
        self.keep_rebuilt_epochs();
        if self.contents.is_poisoned {
            self.folder.fs.remove_file(&self.folder.named(POISONED_FILE))?;
            self.folder.fs.sync_dir(&self.folder.dir)?;
        }
        let is_as_left = self.report.cut.is_none() && end == self.checkpoint.flushed;
        self.report.clean = self.checkpoint.clean.filter(|_| is_as_left);
        self.report.log_end = end;
        self.segments.iter().for_each(|segment| segment.close());
        let first = self.segments.first().map_or(end, |segment| segment.base());
        let start = self.checkpoint.log_start.max(first).min(end);
        // Only now that the start is durable, and by whole segments: a batch may reach over it.
        self.epochs.truncate_to_start(first.min(start));
        let ends = Ends { start, flushed: end, end };
        let written = Checkpoint { clean: None, ..self.checkpoint };
        let cleaned_to = if self.contents.is_compacted {
            load_cleaned_to(&*self.folder.fs, &self.folder.dir)?
        } else {
            Offset::ZERO
        };
        let shared = Shared::new(
            self.folder,
            place.id,
            self.segments,
            self.epochs,
            ends,
            self.options.open_segments_max,
        );
        if self.contents.has_snapshot(self.snapshot_end) {
            shared.raise_snapshot_end(self.snapshot_end);
        }
        Ok(Recovered {
            shared,
            active,
            producers: self.producers,
            keeper: Keeper::new(self.file, Some(written)),
            ends,
            since_snapshot: self.replay.bytes_since_snapshot,
            cleaned_to,
            lock,
            report: self.report,
        })
    }

    /// A later opening reads the batches again where there is no file, and believes more of them: a hit batch may tell
    /// of a term that has come to pass meanwhile. Without the file this log is as good, so it opens on a full disk.
    fn keep_rebuilt_epochs(&self) {
        if !self.report.epochs_rebuilt {
            return;
        }
        if let Err(error) = self.store_epochs() {
            let file = self.folder.named(EPOCHS_FILE);
            tracing::warn!(file = %file.display(), %error, "leader epochs that were rebuilt are not kept");
        }
    }

    /// The log is shorter than what is known to have been on disk, or than its start: it goes on in a new file. Offsets
    /// are not given out a second time; what was flushed and is gone is reported.
    fn bridge(&mut self, read_to: Offset, end: Offset) -> io::Result<Active> {
        let lost_to = end.min(self.checkpoint.flushed);
        let lost_from = read_to.max(self.checkpoint.log_start);
        if lost_from < lost_to {
            self.report_missing(lost_from, lost_to);
        }
        let goes_on = self.mark_missing(read_to, end)?;
        if let (Some(last), Some(index)) = (self.segments.last(), self.replay.last_index.take()) {
            last.adopt_index(index);
            last.seal(goes_on.as_ref().map_or(end, |missing| missing.base()));
        }
        self.segments.extend(goes_on);
        let active = begin_segment(Arc::clone(&self.folder), end)?;
        self.segments.push(Arc::clone(&active.segment));
        Ok(active)
    }

    /// The log goes on at its start, above all that was known to be on disk. What is flushed there must not look as if it
    /// stood behind a hole in what may be cut, by whichever slot (S14).
    fn keep_end(&mut self, active: &Active, end: Offset) -> io::Result<()> {
        let segment_base = active.segment.base();
        self.checkpoint =
            Checkpoint { flushed: end, segment_base, position: 0, clean: None, ..self.checkpoint };
        (0..2).try_for_each(|_slot| self.file.write(&self.checkpoint))
    }

    /// An empty segment for the offsets that are missing. Where the one before it ends stays known by its name: what
    /// stands at the end of a file is told from its place by where the next segment begins, and that would be wrong
    /// of a file that lacks its last batches.
    fn mark_missing(&self, read_to: Offset, end: Offset) -> io::Result<Option<Arc<Segment>>> {
        if self.segments.last().is_none_or(|last| last.base() >= read_to) {
            return Ok(None);
        }
        let missing = begin_segment(Arc::clone(&self.folder), read_to)?.segment;
        // Before the segment behind it, which alone would say that the last one ends there.
        self.folder.fs.sync_dir(&self.folder.dir)?;
        missing.set_in_folder();
        missing.seal(end);
        Ok(Some(missing))
    }

    fn report_missing(&mut self, first: Offset, next: Offset) {
        let nothing = || Arc::new(Segment::unopened(Arc::clone(&self.folder), first, 0, next));
        let before = self.segments.iter().rfind(|segment| segment.base() <= first);
        let place = before.map_or_else(nothing, Arc::clone);
        let reason = CorruptReason::Missing;
        let hole = Hole { position: place.size(), len: 0, first, next, reason };
        self.report.corrupt.push(place.note_corrupt(&hole));
    }

    /// The last segment goes on; a log without one gets its first.
    fn activate(&mut self) -> io::Result<Active> {
        let Some(segment) = self.segments.last().map(Arc::clone) else {
            let active = begin_segment(Arc::clone(&self.folder), self.replay.end)?;
            self.segments.push(Arc::clone(&active.segment));
            return Ok(active);
        };
        let file = self.folder.fs.open(&segment.path(), super::fs::Open::ReadWrite)?;
        if let Some(index) = self.replay.last_index.take() {
            segment.reopen(Arc::clone(&file), index, segment.size(), self.replay.end);
        }
        let first_timestamp = self.replay.first_timestamp;
        // What is there already did not pass by; it is read once the segment is sealed.
        Ok(Active { segment, file, first_timestamp, has_remains: false, checksums: None, room: 0 })
    }

    /// A sync that fails here poisons as any other does: the next opening reads the disk (S13).
    fn or_mark(&self, synced: io::Result<()>) -> io::Result<()> {
        if synced.is_err()
            && let Err(error) = mark_poisoned(&self.folder)
        {
            tracing::error!(dir = %self.folder.dir.display(), %error, "poisoned log could not be marked");
        }
        synced
    }

    /// All that was read above the flushed position is made durable: nobody has to flush what they have not
    /// written, and what is served now is still there after the next power cut.
    fn sync_tail(&self, active: &Active, end: Offset) -> io::Result<()> {
        // A cut that a kill has ended in its middle claims no more than it keeps, and a power cut would bring back what it had
        // taken away: lengths and names are on disk only once somebody has waited for them.
        let was_closed = self.checkpoint.clean.is_some();
        if was_closed && end == self.checkpoint.flushed && active.segment.is_in_folder() {
            return Ok(());
        }
        self.folder.fs.sync_dir(&self.folder.dir)?;
        active.segment.set_in_folder();
        // The one that the flushed offset is in, by whatever name the checkpoint has it: a cut to nothing names the start.
        let named = self.checkpoint.segment_base;
        let flushed_in = self.segments.iter().map(|segment| segment.base()).rfind(|base| *base <= named);
        let flushed_in = flushed_in.unwrap_or(named);
        let last = active.segment.base();
        let mut dirty = vec![(Arc::clone(&active.segment), Arc::clone(&active.file))];
        for segment in self.segments.iter().filter(|s| s.base() >= flushed_in && s.base() < last) {
            dirty.push((Arc::clone(segment), segment.open_file()?));
        }
        self.or_mark(sync_segments(&self.folder, &dirty))
    }
}
