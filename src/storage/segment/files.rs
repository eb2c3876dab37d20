//! Opening, closing, mapping and writing what belongs to a segment.

use std::{io, path::Path, sync::Arc};

use super::{
    DELETED_SUFFIX, EpochRule, FileKind, Scanner, Segment, Source, Step, UNFINISHED_SUFFIX, Wait, lock,
};
use crate::{
    model::Offset,
    storage::{
        fs::{File, Mapped, Open, create_anew},
        index::{Entries, Entry, OffsetEntry, SegmentIndex, TimeEntry},
    },
};

impl Segment {
    /// The file of batches; `None` when it would have to be opened and that may block.
    pub(crate) fn file(&self, wait: Wait) -> io::Result<Option<Arc<dyn File>>> {
        if let Some(file) = &self.handles().file {
            return Ok(Some(Arc::clone(file)));
        }
        if wait == Wait::OnlyCached {
            return Ok(None);
        }
        let file = self.folder.fs.open(&self.path(), Open::Read)?;
        Ok(Some(Arc::clone(self.handles().file.get_or_insert(file))))
    }

    /// The file of batches, opened if need be.
    pub(crate) fn open_file(&self) -> io::Result<Arc<dyn File>> {
        let file = self.file(Wait::MayBlock)?;
        file.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    /// Whether anything that can be closed is open.
    pub(crate) fn is_open(&self) -> bool {
        self.handles().file.is_some()
    }

    /// Closes what a sealed segment has open; whoever uses it keeps it until done. An index that has not
    /// been written yet stays.
    pub(crate) fn close(&self) {
        if !self.is_sealed() || self.is_retired() {
            return;
        }
        let mut handles = self.handles();
        handles.file = None;
        if handles.index.as_ref().is_some_and(SegmentIndex::is_written) {
            handles.max_timestamp =
                handles.index.as_ref().and_then(SegmentIndex::newest).map(|e| e.timestamp);
            handles.index = None;
        }
    }

    /// Answers a question to the index; `None` when it would have to be read and that may block.
    pub(crate) fn ask<T>(&self, wait: Wait, question: impl Fn(&SegmentIndex) -> T) -> io::Result<Option<T>> {
        if let Some(index) = &self.handles().index {
            return Ok(Some(question(index)));
        }
        if wait == Wait::OnlyCached {
            return Ok(None);
        }
        let Some(index) = self.stored_index()? else {
            self.rebuild_index()?;
            return Ok(self.handles().index.as_ref().map(question));
        };
        Ok(Some(question(self.handles().index.get_or_insert(index))))
    }

    /// The index as its files hold it, `None` when they are missing or wrong.
    pub(crate) fn stored_index(&self) -> io::Result<Option<SegmentIndex>> {
        let offsets = self.stored_entries::<OffsetEntry>(FileKind::OffsetIndex)?;
        let times = self.stored_entries::<TimeEntry>(FileKind::TimeIndex)?;
        let both = offsets.zip(times);
        Ok(both.and_then(|(offsets, times)| SegmentIndex::stored(offsets, times, self.size())))
    }

    fn stored_entries<E: Entry>(&self, kind: FileKind) -> io::Result<Option<Entries<E>>> {
        let Some(map) = map_whole(self, &self.folder.file(self.base, kind))? else { return Ok(None) };
        Ok(Entries::mapped(map))
    }

    /// Builds the index from the batches and, if the segment is sealed, writes it. Where a batch is hit, the
    /// index goes on behind it.
    pub(crate) fn rebuild_index(&self) -> io::Result<()> {
        let (end, size) = self.published();
        let source = Source::Cached(self.open_file()?);
        let scanner = Scanner::new(source, (0, self.base), (size, Some(end)), EpochRule::any());
        let mut scanner = scanner.over_bad_sectors();
        let mut index = SegmentIndex::empty();
        loop {
            match scanner.look()? {
                Step::Batch(header) => {
                    if let Some(relative) = self.relative(header.base_offset) {
                        let position = scanner.position() as u32;
                        index.note(INTERVAL, relative, position, header.max_timestamp.get());
                    }
                    scanner.pass(&header);
                }
                Step::Bad(reason) => {
                    scanner.skip(reason)?;
                }
                Step::End => break,
            }
        }
        tracing::info!(file = %self.path().display(), "index rebuilt from the batches");
        self.replace_index(index, scanner.position());
        if self.is_sealed()
            && !self.is_retired()
            && let Err(error) = self.write_index(self.end())
        {
            // Whoever reads has what is needed in memory.
            tracing::warn!(file = %self.path().display(), %error, "rebuilt index could not be written");
        }
        Ok(())
    }

    /// Puts a rebuilt index, which covers the batches below `position`, in the place of the one there is.
    fn replace_index(&self, mut index: SegmentIndex, position: u64) {
        let mut handles = self.handles();
        if let Some(old) = handles.index.as_ref().filter(|_| !self.is_sealed()) {
            index.adopt(old, position);
        }
        if self.is_sealed() {
            index.seal();
        }
        handles.index = Some(index);
        handles.index_is_right = true;
    }

    /// Whether the index was built from the batches by this process.
    pub(crate) fn index_is_right(&self) -> bool {
        self.handles().index_is_right
    }

    /// Writes the index entries below `below` that are not on disk yet, and syncs them. The folder is left
    /// to the caller (S15); says whether a file was made.
    pub(crate) fn write_index(&self, below: Offset) -> io::Result<bool> {
        let _one_writer = lock(&self.writing);
        if self.is_retired() {
            return Ok(false);
        }
        let below = self.relative(below).unwrap_or(u32::MAX);
        let offsets = |entry: &OffsetEntry| entry.relative < below;
        let times = |entry: &TimeEntry| entry.relative < below;
        let made = self.write_entries(FileKind::OffsetIndex, SegmentIndex::offsets, offsets)?;
        Ok(self.write_entries(FileKind::TimeIndex, SegmentIndex::times, times)? || made)
    }

    fn write_entries<E: Entry>(
        &self,
        kind: FileKind,
        part: impl Fn(&mut SegmentIndex) -> &mut Entries<E>,
        below: impl Fn(&E) -> bool,
    ) -> io::Result<bool> {
        let (bytes, count, stored) = {
            let mut handles = self.handles();
            let Some(index) = &mut handles.index else { return Ok(false) };
            let entries = part(index);
            let (bytes, count) = entries.pending(below);
            (bytes, count, entries.stored())
        };
        if count == 0 {
            return Ok(false);
        }
        let path = self.folder.file(self.base, kind);
        let at = (stored * E::SIZE) as u64;
        let end = at + bytes.len() as u64;
        let file =
            if stored == 0 { self.new_file(&path)? } else { self.folder.fs.open(&path, Open::ReadWrite)? };
        file.write_all_at(&bytes, at)?;
        file.sync_data()?;
        if stored == 0 {
            self.folder.fs.rename(&unfinished(&path), &path)?;
        }
        let map = file.map(end)?;
        if let Some(index) = &mut self.handles().index {
            part(index).set_stored(count, map);
        }
        Ok(stored == 0)
    }

    /// A file beside `path` that will take its place; the old one may be mapped.
    fn new_file(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        create_anew(&*self.folder.fs, &unfinished(path))
    }

    /// The highest timestamp of a segment, if it is known without the disk.
    pub(crate) fn known_max_timestamp(&self) -> Option<i64> {
        let handles = self.handles();
        let newest = handles.index.as_ref().and_then(SegmentIndex::newest);
        newest.map(|entry| entry.timestamp).or(handles.max_timestamp)
    }

    /// The batch that has the highest timestamp.
    pub(crate) fn newest(&self) -> io::Result<Option<TimeEntry>> {
        Ok(self.ask(Wait::MayBlock, SegmentIndex::newest)?.flatten())
    }

    /// First step of deletion: its files are renamed, so that no opening takes them for the log's.
    pub(crate) fn rename_deleted(&self) -> io::Result<()> {
        for kind in FileKind::OF_SEGMENT {
            let path = self.folder.file(self.base, kind);
            if self.folder.fs.exists(&path)? {
                self.folder.fs.rename(&path, &with_suffix(&path, DELETED_SUFFIX))?;
            }
        }
        Ok(())
    }

    /// Last step of deletion.
    pub(crate) fn remove_deleted(&self) -> io::Result<()> {
        for kind in FileKind::OF_SEGMENT {
            let path = with_suffix(&self.folder.file(self.base, kind), DELETED_SUFFIX);
            if self.folder.fs.exists(&path)? {
                self.folder.fs.remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// Bytes between the entries of an index that is built anew (Kafka's default of `index.interval.bytes`).
const INTERVAL: u64 = 4096;

fn map_whole(segment: &Segment, path: &Path) -> io::Result<Option<Box<dyn Mapped>>> {
    let file = match segment.folder.fs.open(path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let len = file.len()?;
    file.map(len).map(Some)
}

fn unfinished(path: &Path) -> std::path::PathBuf {
    with_suffix(path, UNFINISHED_SUFFIX)
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
