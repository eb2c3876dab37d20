use std::{io, sync::Arc};

use super::{Active, Log, Poisoned, shared::Shared};
use crate::{
    model::Offset,
    storage::{
        fs::File,
        segment::{Folder, Segment, lock},
    },
};

/// A place in the files of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogPosition {
    /// The segment.
    pub(crate) segment: Offset,
    /// The byte in its file.
    pub(crate) byte: u64,
}

/// A segment that is not known to be on disk, with the very file that was written: an error that the
/// system has for the next sync is reported there.
pub(crate) type Dirty = (Arc<Segment>, Arc<dyn File>);

/// What has been appended and is not known to be on disk.
#[derive(Debug)]
pub(super) struct Unflushed {
    /// The segments that hold it, ascending; the last one is active.
    segments: Vec<Dirty>,
    appended_bytes: u64,
    flushed_bytes: u64,
    pub(super) flushed: (Offset, LogPosition),
}

impl Unflushed {
    /// Everything is on disk, up to the end of `active`.
    pub(super) fn new(active: &Active, end: Offset) -> Self {
        let position = LogPosition { segment: active.segment.base(), byte: active.segment.size() };
        Self { segments: vec![active.dirty()], appended_bytes: 0, flushed_bytes: 0, flushed: (end, position) }
    }

    pub(super) fn appended(&mut self, bytes: u64) {
        self.appended_bytes += bytes;
    }

    pub(super) fn rolled(&mut self, active: &Active) {
        self.segments.push(active.dirty());
    }

    /// The segments that begin at or below `base`.
    pub(super) fn up_to(&self, base: Offset) -> Vec<Dirty> {
        self.segments.iter().filter(|(segment, _)| segment.base() <= base).cloned().collect()
    }

    /// Bytes appended since the log was opened.
    pub(super) const fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }
}

/// Makes durable what had been appended when it was made. Run it on a thread that may block.
#[derive(Debug)]
pub struct FlushJob {
    shared: Arc<Shared>,
    segments: Vec<Dirty>,
    mark: Mark,
}

/// What a flush covers: taken before it begins (S8).
#[derive(Clone, Copy, Debug)]
struct Mark {
    generation: u64,
    end: Offset,
    position: LogPosition,
    appended_bytes: u64,
}

/// A flush that has ended, to be given to [`Log::finish_flush`].
#[derive(Debug)]
pub struct FlushDone {
    shared: Arc<Shared>,
    mark: Mark,
    result: Result<(), Poisoned>,
}

impl FlushDone {
    /// The generation of the log that was flushed (S8).
    pub const fn generation(&self) -> u64 {
        self.mark.generation
    }
}

impl FlushJob {
    /// The offset up to which the log will be flushed.
    pub const fn end(&self) -> Offset {
        self.mark.end
    }

    /// Syncs. A failure poisons the log at once, before anybody is told (S13).
    pub fn run(self) -> FlushDone {
        let result = self.sync();
        FlushDone { shared: self.shared, mark: self.mark, result }
    }

    /// One at a time: the system reports a failure to one of those who sync a file, and the others, who are
    /// told that all is well, must learn of it first.
    fn sync(&self) -> Result<(), Poisoned> {
        let _alone = lock(&self.shared.flushing);
        if self.shared.is_poisoned() {
            return Err(Poisoned);
        }
        sync_segments(&self.shared.folder, &self.segments).map_err(|error| {
            self.shared.poison(&error);
            Poisoned
        })
    }
}

/// Makes segments durable: first that they are in their folder (S15), then what they hold.
pub(crate) fn sync_segments(folder: &Folder, segments: &[Dirty]) -> io::Result<()> {
    if segments.iter().any(|(segment, _)| !segment.is_in_folder()) {
        folder.fs.sync_dir(&folder.dir)?;
        for (segment, _) in segments {
            segment.set_in_folder();
        }
    }
    segments.iter().try_for_each(|(_, file)| file.sync_data())
}

impl Log {
    /// A flush of everything that has been appended up to now.
    pub fn begin_flush(&self) -> FlushJob {
        let active = &self.active.segment;
        let mark = Mark {
            generation: self.shared.generation(),
            end: self.shared.log_end(),
            position: LogPosition { segment: active.base(), byte: active.size() },
            appended_bytes: self.unflushed.appended_bytes,
        };
        FlushJob { shared: Arc::clone(&self.shared), segments: self.unflushed.segments.clone(), mark }
    }

    /// Takes back a flush that has ended and says up to where the log is on disk. Completions may come in any
    /// order; one that belongs to another opening, or to the time before a truncation, says nothing (S8).
    pub fn finish_flush(&mut self, done: FlushDone) -> Result<Offset, Poisoned> {
        let FlushDone { shared, mark, result } = done;
        if !Arc::ptr_eq(&shared, &self.shared) {
            return Ok(self.shared.flushed());
        }
        result?;
        if mark.generation != self.shared.generation() {
            return Ok(self.shared.flushed());
        }
        if self.shared.is_poisoned() {
            return Err(Poisoned);
        }
        self.advance_flushed(&mark);
        Ok(self.shared.flushed())
    }

    fn advance_flushed(&mut self, mark: &Mark) {
        let unflushed = &mut self.unflushed;
        // The same end may stand in a segment that was begun since.
        let is_further = mark.position.segment > unflushed.flushed.1.segment;
        if mark.end < self.shared.flushed() || (mark.end == self.shared.flushed() && !is_further) {
            return;
        }
        unflushed.flushed = (mark.end, mark.position);
        unflushed.flushed_bytes = mark.appended_bytes;
        unflushed.segments.retain(|(segment, _)| segment.base() >= mark.position.segment);
        self.shared.set_flushed(mark.end);
    }

    /// Bytes that have been appended and are not known to be on disk.
    pub const fn unflushed_bytes(&self) -> u64 {
        self.unflushed.appended_bytes - self.unflushed.flushed_bytes
    }
}
