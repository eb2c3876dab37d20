//! After a failed sync (S13): the system calls pages clean that never reached the disk, so whatever is
//! above the flushed position is read from the disk itself and written into a new file. Until that is
//! durable the mark stays, and this can be done again.
//!
//! How far damage reaches is told by the whole batches behind it. So damage right below what is moved is moved along
//! with it, unless the checkpoint or the name of a segment says where it ends: the next opening has the same bytes to
//! tell it by, and finds the same.

use std::{io, ops::Range, sync::Arc};

use super::{Recovery, cut::copy_range};
use crate::{
    model::Offset,
    storage::{
        fs::Open,
        index::SegmentIndex,
        segment::{EpochRule, FileKind, Scanner, Segment, Source, Step, UNFINISHED_SUFFIX, is_unreadable},
    },
};

impl Recovery<'_> {
    /// Whether the disk does not hold what the cache does above the flushed position. The process may have
    /// died between the failed sync and its mark, and a disk that fails to sync may fail to take a mark.
    pub(super) fn is_falsely_clean(&mut self) -> io::Result<bool> {
        if self.contents.is_poisoned {
            return Ok(false);
        }
        let (flushed_in, position) = (self.checkpoint.segment_base, self.checkpoint.position);
        for segment in self.segments.clone().iter().filter(|segment| segment.base() >= flushed_in) {
            let from = if segment.base() == flushed_in { position } else { 0 };
            let range = from..segment.size();
            self.report.bytes_read += range.end.saturating_sub(range.start);
            if !is_same(segment, range)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Moves what the disk holds above the flushed position into a new segment that begins there.
    pub(super) fn rewrite_tail(&mut self) -> io::Result<()> {
        let Some((first, position, goes_on)) = self.replay.flushed_at else { return Ok(()) };
        let last = self.segments.len().saturating_sub(1);
        let (to_segment, to) = match self.replay.cut {
            Some((at, position, reason)) => {
                self.keep_what_is_whole(at, position, reason)?;
                (at, position)
            }
            None => (last, self.segments.get(last).map_or(0, |segment| segment.size())),
        };
        let Some(old) = self.segments.get(first).map(Arc::clone) else { return Ok(()) };
        let base = goes_on.max(old.base());
        let size = self.copy_tail(base, (first, position), (to_segment, to))?;
        self.replace_tail(&old, first, position, base)?;
        let segment = Arc::new(Segment::unopened(Arc::clone(&self.folder), base, size, self.replay.end));
        let index = self.index_anew(&segment)?;
        self.replay.last_index = Some(index);
        self.segments.push(segment);
        Ok(())
    }

    fn copy_tail(&self, base: Offset, from: (usize, u64), to: (usize, u64)) -> io::Result<u64> {
        let path = self.unfinished(base);
        let file = self.folder.fs.open(&path, Open::CreateNew)?;
        let mut size = 0;
        for (at, segment) in self.segments.iter().enumerate().take(to.0 + 1).skip(from.0) {
            let start = if at == from.0 { from.1 } else { 0 };
            let end = if at == to.0 { to.1 } else { segment.size() };
            size += copy_range(&self.source(segment)?, start..end, &*file, size)?;
        }
        file.sync_data()?;
        Ok(size)
    }

    fn unfinished(&self, base: Offset) -> std::path::PathBuf {
        let log = self.folder.file(base, FileKind::Log);
        crate::storage::segment::with_suffix(&log, UNFINISHED_SUFFIX)
    }

    /// The new file takes its place before anything of the old ones goes.
    fn replace_tail(&mut self, old: &Segment, first: usize, position: u64, base: Offset) -> io::Result<()> {
        let fs = Arc::clone(&self.folder.fs);
        fs.rename(&self.unfinished(base), &self.folder.file(base, FileKind::Log))?;
        fs.sync_dir(&self.folder.dir)?;
        for segment in self.segments.split_off(first + 1).iter().filter(|segment| segment.base() > base) {
            fs.remove_file(&segment.path())?;
            self.remove_beside(segment)?;
        }
        self.remove_beside(old)?;
        self.remove_beside(&Segment::unopened(Arc::clone(&self.folder), base, 0, base))?;
        if old.base() == base {
            self.segments.truncate(first);
        } else {
            let file = fs.open(&old.path(), Open::ReadWrite)?;
            file.set_len(position)?;
            file.sync_data()?;
            let shorter = Segment::unopened(Arc::clone(&self.folder), old.base(), position, base);
            if let Some(slot) = self.segments.get_mut(first) {
                *slot = Arc::new(shorter);
            }
        }
        fs.sync_dir(&self.folder.dir)
    }

    fn index_anew(&mut self, segment: &Arc<Segment>) -> io::Result<SegmentIndex> {
        let source = Source::Cached(segment.open_file()?);
        let rule = EpochRule::known(self.known_starts());
        let mut scanner = Scanner::new(source, (0, segment.base()), (segment.size(), None), rule);
        let mut index = SegmentIndex::empty();
        self.replay.first_timestamp = None;
        loop {
            match scanner.look()? {
                Step::Batch(header) => {
                    if let Some(relative) = segment.relative(header.base_offset) {
                        let interval = self.options.index_interval_bytes;
                        index.note(interval, relative, scanner.position() as u32, header.max_timestamp.get());
                    }
                    self.replay.first_timestamp.get_or_insert(header.max_timestamp.get());
                    scanner.pass(&header);
                }
                Step::Bad(reason) => {
                    let hole = scanner.skip(reason)?;
                    segment.note_corrupt(&hole);
                }
                Step::End => return Ok(index),
            }
        }
    }
}

/// Whether disk and cache hold the same. What the disk cannot read is not the same.
fn is_same(segment: &Arc<Segment>, range: Range<u64>) -> io::Result<bool> {
    const CHUNK: usize = 256 * 1024;
    let disk = Source::Disk(Arc::clone(&segment.folder().fs), segment.path());
    let cache = Source::Cached(segment.open_file()?);
    let (mut on_disk, mut in_cache) = (Vec::new(), Vec::new());
    let mut at = range.start;
    while at < range.end {
        let len = usize::try_from(range.end - at).unwrap_or(CHUNK).min(CHUNK);
        on_disk.resize(len, 0);
        in_cache.resize(len, 0);
        let read = match disk.read_at(&mut on_disk, at) {
            Err(error) if is_unreadable(&error) => return Ok(false),
            read => read?,
        };
        if read < len || cache.read_at(&mut in_cache, at)? < len || on_disk != in_cache {
            return Ok(false);
        }
        at += len as u64;
    }
    Ok(true)
}
