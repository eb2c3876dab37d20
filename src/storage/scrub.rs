//! Looks for rot before a consumer comes upon it.
//!
//! Reads everything that is on disk, a little at a time: the disk itself where a segment is sealed, so
//! that a good copy in the page cache hides nothing, and nothing useful is driven out of it. Who calls
//! decides how fast.

use std::{
    io,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Weak},
};

use super::{
    block_checksums::BlockChecksums,
    log::{LogReader, ReadError},
    own_file::OwnFileError,
    segment::{CorruptBatch, FileKind, Scanner, Segment, Source, Step, is_unreadable},
};
use crate::model::Offset;

/// Checks one log, round after round.
#[derive(Debug)]
pub struct Scrubber {
    reader: LogReader,
    /// Where to go on: segment, byte, and the offset that should stand there.
    place: Option<Place>,
}

/// Where a round stands.
#[derive(Clone, Debug)]
struct Place {
    base: Offset,
    position: u64,
    expected: Offset,
    /// Another file may take the place of this one, in which batches stand elsewhere.
    segment: Weak<Segment>,
}

/// What a step has found.
#[derive(Debug, Default)]
pub struct ScrubStep {
    /// Bytes that were checked.
    pub bytes: u64,
    /// Corrupt batches that nobody had come upon before.
    pub found: Vec<CorruptBatch>,
    /// Blocks of sealed segments that are no longer what they were although every batch in them looks
    /// right.
    pub changed: Vec<(PathBuf, Range<u64>)>,
    /// Whether this step ended a round; the next one begins another.
    pub round_ended: bool,
}

impl Scrubber {
    /// Begins at the log's start.
    pub const fn new(reader: LogReader) -> Self {
        Self { reader, place: None }
    }

    /// Checks about `budget` bytes, at least one batch. Waits for the disk.
    pub fn step(&mut self, budget: u64) -> Result<ScrubStep, ReadError> {
        let shared = Arc::clone(&self.reader.shared);
        if shared.is_closed() {
            return Err(ReadError::Closed);
        }
        let cuts = shared.cuts();
        let flushed = shared.flushed();
        let segments = shared.segments();
        let base = self.place.as_ref().map_or(Offset::new(-1), |place| place.base);
        let log_start = shared.log_start();
        let at = segments.partition_point(|segment| segment.base() < base || segment.end() <= log_start);
        let mut step = ScrubStep::default();
        let Some(segment) = segments.get(at).filter(|segment| segment.base() < flushed) else {
            self.place = None;
            step.round_ended = true;
            return Ok(step);
        };
        let same = self.place.as_ref().filter(|place| place.segment.as_ptr() == Arc::as_ptr(segment));
        let start = same.map_or((0, segment.base()), |place| (place.position, place.expected));
        let checked = self.check(segment, start, budget, &mut step);
        if shared.was_cut_since(cuts) {
            // A truncation has cut what was looked at: what seems to be damage there is none.
            self.place = None;
            return Ok(ScrubStep { bytes: step.bytes, ..ScrubStep::default() });
        }
        match checked {
            Ok(Some((position, expected))) => {
                let (base, segment) = (segment.base(), Arc::downgrade(segment));
                self.place = Some(Place { base, position, expected, segment });
            }
            Ok(None) => {
                let base = segment.base().plus(1);
                self.place = Some(Place { base, position: 0, expected: base, segment: Weak::new() });
            }
            // Retention was faster: go on with what there is now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.place = None,
            Err(error) => return Err(error.into()),
        }
        Ok(step)
    }

    /// Where to go on in this segment, `None` at its end.
    fn check(
        &self,
        segment: &Arc<Segment>,
        start: (u64, Offset),
        budget: u64,
        step: &mut ScrubStep,
    ) -> io::Result<Option<(u64, Offset)>> {
        let shared = &self.reader.shared;
        let source = if segment.is_sealed() {
            Source::Disk(Arc::clone(&shared.folder.fs), segment.path())
        } else {
            Source::Cached(segment.open_file()?)
        };
        let (end, size) = segment.published();
        let scanner = Scanner::new(source, start, (size, Some(end)), shared.epoch_rule());
        let mut scanner = scanner.over_bad_sectors();
        let flushed = shared.flushed();
        let mut holes: Vec<Range<u64>> = Vec::new();
        let go_on = loop {
            if scanner.position() - start.0 >= budget {
                break Some((scanner.position(), scanner.expected()));
            }
            if scanner.expected() >= flushed {
                break None;
            }
            match scanner.look()? {
                Step::Batch(header) => scanner.pass(&header),
                Step::Bad(reason) => {
                    let hole = scanner.skip(reason)?;
                    holes.push(hole.position..hole.position + hole.len);
                    let corrupt = shared.note_corrupt(segment, &hole, flushed);
                    step.found.extend(Some(corrupt).filter(|corrupt| corrupt.newly_found));
                }
                Step::End => break None,
            }
        };
        let checked = start.0..scanner.position();
        step.bytes += checked.end - checked.start;
        let changed = self.changed_blocks(segment, checked)?;
        let unexplained = changed.into_iter().filter(|block| !holes.iter().any(|hole| overlap(hole, block)));
        step.changed.extend(unexplained.map(|block| (segment.path(), block)));
        Ok(go_on)
    }

    fn changed_blocks(&self, segment: &Segment, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        let folder = &self.reader.shared.folder;
        if !segment.is_sealed() {
            return Ok(Vec::new());
        }
        match BlockChecksums::load(&*folder.fs, &folder.file(segment.base(), FileKind::Checksums)) {
            Ok(Some(checksums)) if checksums.file_len() == segment.size() => {
                match checksums.mismatches(&*segment.open_file()?, range) {
                    // The batches there have been reported.
                    Err(error) if is_unreadable(&error) => Ok(Vec::new()),
                    changed => changed,
                }
            }
            Err(OwnFileError::Io(error)) => Err(error),
            // None yet, or hit themselves: the batches have their own.
            Ok(_) | Err(OwnFileError::Format(_)) => Ok(Vec::new()),
        }
    }
}

const fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}
