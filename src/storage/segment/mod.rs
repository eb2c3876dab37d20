//! One file of record batches, the way to a batch within it, and what is known to be wrong with it.
//!
//! The last segment of a log is active: the writer appends to it and publishes its size afterwards, so
//! that no reader ever looks at bytes that are still being written. All others are sealed and never
//! change. Sealed segments are opened on first use and closed again when too many are open: a node with
//! thousands of partitions pays for those that are read.

mod corrupt;
mod epochs;
mod files;
mod folder;
mod locate;
mod scan;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

pub use corrupt::CorruptBatch;
pub(crate) use epochs::EpochRule;
pub(crate) use files::with_suffix;
pub(crate) use folder::{DELETED_SUFFIX, FileKind, Folder, SET_ASIDE, UNFINISHED_SUFFIX, parse_name};
pub(crate) use locate::{Located, read_with};
pub use scan::CorruptReason;
pub(crate) use scan::{Hole, Scanner, Source, Step, is_unreadable, read_around};

use super::{block_checksums::BlockChecksums, fs::File, index::SegmentIndex};
use crate::model::Offset;

/// Whether a call may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Only what is in memory; else the caller comes back from a thread that may block.
    OnlyCached,
    /// The thread may block.
    MayBlock,
}

/// One segment, shared by the writer, the readers and the jobs.
#[derive(Debug)]
pub(crate) struct Segment {
    folder: Arc<Folder>,
    base: Offset,
    /// Bytes that may be read.
    size: AtomicU64,
    /// The offset after the last batch; of a sealed segment the next one's base.
    end: AtomicI64,
    sealed: AtomicBool,
    /// Whether its creation is durable (S15).
    in_folder: AtomicBool,
    /// Whether there are block checksums, or cannot be.
    checksummed: AtomicBool,
    /// Its block checksums, where the writer has computed them and nobody has stored them yet.
    checksums: Mutex<Option<BlockChecksums>>,
    handles: Mutex<Handles>,
    /// Held while index files are written.
    writing: Mutex<()>,
    recent: Mutex<locate::Recent>,
    corrupt: Mutex<Vec<CorruptBatch>>,
    /// Bytes from the beginning whose batches this process has checked while it served them.
    verified: AtomicU64,
    /// Another file has its name: what is open stays open, and nothing is written.
    retired: AtomicBool,
}

/// What is open. `None` until the first use, and again when others need the room.
#[derive(Debug)]
struct Handles {
    file: Option<Arc<dyn File>>,
    index: Option<SegmentIndex>,
    /// The highest timestamp, kept when the index is closed.
    max_timestamp: Option<i64>,
    /// The index was built from the batches by this process: it cannot be what is wrong.
    index_is_right: bool,
}

impl Segment {
    /// A new, empty segment that will be written.
    pub(crate) fn created(folder: Arc<Folder>, base: Offset, file: Arc<dyn File>) -> Self {
        let segment = Self::unopened(folder, base, 0, base);
        segment.sealed.store(false, Ordering::Relaxed);
        segment.in_folder.store(false, Ordering::Relaxed);
        *segment.handles() = Handles {
            file: Some(file),
            index: Some(SegmentIndex::empty()),
            max_timestamp: None,
            index_is_right: true,
        };
        segment
    }

    /// A segment that is in the folder: `size` bytes, and the next one begins at `end`.
    pub(crate) fn unopened(folder: Arc<Folder>, base: Offset, size: u64, end: Offset) -> Self {
        Self {
            folder,
            base,
            size: AtomicU64::new(size),
            end: AtomicI64::new(end.get()),
            sealed: AtomicBool::new(true),
            in_folder: AtomicBool::new(true),
            checksummed: AtomicBool::new(false),
            checksums: Mutex::default(),
            handles: Mutex::new(Handles {
                file: None,
                index: None,
                max_timestamp: None,
                index_is_right: false,
            }),
            writing: Mutex::default(),
            recent: Mutex::default(),
            corrupt: Mutex::default(),
            verified: AtomicU64::new(0),
            retired: AtomicBool::new(false),
        }
    }

    /// The offset of its first batch.
    pub(crate) const fn base(&self) -> Offset {
        self.base
    }

    /// Bytes that may be read.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// The offset after its last batch.
    pub(crate) fn end(&self) -> Offset {
        Offset::new(self.end.load(Ordering::Acquire))
    }

    /// Whether every batch below this position was checked when it was served before.
    pub(crate) fn is_verified(&self, to: u64) -> bool {
        to <= self.verified.load(Ordering::Relaxed)
    }

    /// The batches of this range are right. Only what joins on to the part that is known counts: who
    /// reads from the middle is checked each time.
    pub(crate) fn note_verified(&self, from: u64, to: u64) {
        if self.is_verified(from) {
            self.verified.fetch_max(to, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.file(self.base, FileKind::Log)
    }

    pub(crate) fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    /// Whether its creation is durable (S15).
    pub(crate) fn is_in_folder(&self) -> bool {
        self.in_folder.load(Ordering::Acquire)
    }

    pub(crate) fn set_in_folder(&self) {
        self.in_folder.store(true, Ordering::Release);
    }

    /// Whether its block checksums need not be computed.
    pub(crate) fn is_checksummed(&self) -> bool {
        self.checksummed.load(Ordering::Acquire)
    }

    pub(crate) fn set_checksummed(&self) {
        self.checksummed.store(true, Ordering::Release);
    }

    /// Keeps the checksums that its writer has computed until they are stored.
    pub(crate) fn keep_checksums(&self, checksums: Option<BlockChecksums>) {
        *lock(&self.checksums) = checksums;
    }

    pub(crate) fn take_checksums(&self) -> Option<BlockChecksums> {
        lock(&self.checksums).take()
    }

    /// What the offset is counted from the base in its index, `None` past the last that it can hold.
    pub(crate) fn relative(&self, offset: Offset) -> Option<u32> {
        u32::try_from(offset.distance_from(self.base)).ok()
    }

    /// Takes note of a batch that has just been written at the published end. The writer alone calls this.
    pub(crate) fn note(&self, interval: u64, base: Offset, len: u64, next: Offset, max_timestamp: i64) {
        let position = self.size.load(Ordering::Relaxed);
        let mut handles = self.handles();
        if let Some(relative) = self.relative(base)
            && let Some(index) = &mut handles.index
        {
            index.note(interval, relative, position as u32, max_timestamp);
        }
        // The bytes first: whoever sees an end, and then the size, sees all bytes below that end.
        self.size.store(position + len, Ordering::Release);
        self.end.store(next.get(), Ordering::Release);
    }

    /// The end and the size that belong together.
    pub(crate) fn published(&self) -> (Offset, u64) {
        let _writer_waits = self.handles();
        (self.end(), self.size())
    }

    /// Nothing is written here any more: the next batch goes to a segment that begins at `next`.
    pub(crate) fn seal(&self, next: Offset) {
        let mut handles = self.handles();
        if let Some(index) = &mut handles.index {
            index.seal();
        }
        self.end.store(next.get(), Ordering::Release);
        self.sealed.store(true, Ordering::Release);
    }

    /// Opens what is in the folder as the active segment, with the index that recovery has made.
    pub(crate) fn reopen(&self, file: Arc<dyn File>, index: SegmentIndex, size: u64, end: Offset) {
        let mut handles = self.handles();
        handles.file = Some(file);
        handles.index = Some(index);
        self.end.store(end.get(), Ordering::Release);
        self.size.store(size, Ordering::Release);
        self.sealed.store(false, Ordering::Release);
    }

    /// Whether another segment has taken its place.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Opens all that its readers will need, before another file takes its name. Blocks.
    pub(crate) fn retire(&self) -> std::io::Result<()> {
        // First: from here on nothing that is open is closed.
        self.retired.store(true, Ordering::Release);
        drop(lock(&self.writing));
        self.open_file()?;
        self.ask(Wait::MayBlock, |_| ()).map(drop)
    }

    /// What lies behind `size` is no longer part of it.
    pub(crate) fn cut(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    /// Takes the index that recovery has completed.
    pub(crate) fn adopt_index(&self, index: SegmentIndex) {
        self.handles().index = Some(index);
    }

    /// Bytes that its offset index takes once it is written.
    pub(crate) fn offset_index_bytes(&self) -> usize {
        self.handles().index.as_ref().map_or(0, SegmentIndex::offset_index_bytes)
    }

    fn handles(&self) -> MutexGuard<'_, Handles> {
        lock(&self.handles)
    }
}

/// What a panicking thread held is still whole: no critical section leaves anything half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
