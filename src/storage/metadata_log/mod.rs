//! The metadata log: what the cluster's state machine has committed, in one file.
//!
//! Topics, configs, epochs and blocks of producer ids stand here and nowhere else; what this file
//! forgets is gone. So a record counts only once it is synced, and the file can tell what it once held.
//!
//! - **One block per commit, one sync per block.** All that waited together is one block. The next
//!   block is written only after the last one was synced, so a whole block proves all before it.
//! - **Torn and rotten are told apart.** After each sync a mark says how far the file is durable. What
//!   is broken below the mark, or before a whole block, had been committed: the file is refused. What
//!   is broken at the end above the mark was never acknowledged: it is cut.
//! - **Nothing is trusted twice.** Where the mark and the end differ at opening (a kill between sync and
//!   mark, a torn block, a failed sync whose pages are falsely clean), the owner must
//!   [rewrite](MetadataLog::rewrite) before it appends: a new file, synced, then renamed over the old
//!   one, then the folder synced (S15). The same bounds the file as it grows.
//! - **One writer** (S7): an exclusive lock on `lock` beside it.
//!
//! What a record means is its owner's; [`codec`] turns values into bytes. [`format`] draws the file. The
//! metadata quorum keeps its log in a file of the same make under another name (`JournalKind`).

pub mod codec;
mod error;
mod format;
mod recover;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use error::{AppendError, OpenError};

use self::format::{BLOCKS, BlockKind, Header, MARKS};
use crate::storage::fs::{File, Fs, Lock, LockWait, Open, folder_of};

/// Bytes of blocks, beyond the snapshot's own size, after which the file should be rewritten.
const REWRITE_BYTES: u64 = 1 << 20;

/// The names and the mark of one use of this kind of file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JournalKind {
    /// The name of the file.
    pub(crate) file: &'static str,
    /// The name of its successor until that is whole.
    pub(crate) new_file: &'static str,
    /// The file's first bytes.
    pub(crate) magic: [u8; 8],
    /// How much space is taken ahead of what is written, at least half of it at any time where the disk has it: others fill
    /// the disk, and this file goes on.
    pub(crate) ahead_bytes: u64,
}

const METADATA: JournalKind =
    JournalKind { file: FILE, new_file: "metadata.log.new", magic: format::MAGIC, ahead_bytes: 0 };
const FILE: &str = "metadata.log";
const LOCK: &str = "lock";

/// The one writer of a metadata log. Blocking: keep it on a thread that may block.
pub struct MetadataLog {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    kind: JournalKind,
    file: Arc<dyn File>,
    header: Header,
    end: u64,
    /// Up to where the file has space on the disk for certain.
    allocated: u64,
    last_index: u64,
    /// Which of [`MARKS`] is written next: never the one that counts.
    next_mark: usize,
    /// Where blocks after the snapshot begin.
    snapshot_end: u64,
    state: State,
    _lock: Arc<dyn Lock>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// The end above the mark was not known to be durable, or was cut.
    MustRewrite,
    /// A write or a sync failed.
    Poisoned,
}

/// What an opened log holds.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The state at some record, encoded by its owner.
    pub snapshot: Option<Vec<u8>>,
    /// The records since, oldest first.
    pub records: Vec<Vec<u8>>,
    /// How many records have ever been committed.
    pub last_index: u64,
    /// Whether there was no log, and this one is new.
    pub created: bool,
    /// Bytes of a torn block that were cut from the end.
    pub cut_bytes: u64,
    /// Whether [`MetadataLog::rewrite`] is due before the first append.
    pub must_rewrite: bool,
}

/// What the log in `dir` holds, read without a lock and without changing it; `None` where there is none.
pub fn look(fs: &dyn Fs, dir: &Path) -> Result<Option<Recovered>, OpenError> {
    look_at_journal(fs, dir, METADATA)
}

/// The same for a file of this kind.
pub(crate) fn look_at_journal(
    fs: &dyn Fs,
    dir: &Path,
    kind: JournalKind,
) -> Result<Option<Recovered>, OpenError> {
    let path = dir.join(kind.file);
    if !fs.exists(&path).map_err(OpenError::io("look for", &path))? {
        return Ok(None);
    }
    let file = fs.open(&path, Open::Read).map_err(OpenError::io("open", &path))?;
    let content = recover::read(file.as_ref(), &path, kind)?;
    Ok(Some(Recovered {
        snapshot: content.snapshot,
        records: content.records,
        last_index: content.last_index,
        created: false,
        cut_bytes: content.cut_bytes,
        must_rewrite: !content.is_clean,
    }))
}

impl MetadataLog {
    /// Opens the log in `dir`, or makes it. `wait` is [`LockWait::Block`] where an earlier writer of this
    /// process may still be at work, [`LockWait::Fail`] where there was none.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, wait: LockWait) -> Result<(Self, Recovered), OpenError> {
        let lock = lock_folder(fs.as_ref(), dir, wait)?;
        Self::open_journal(fs, dir, METADATA, lock)
    }

    /// The same for a file of this kind in `dir`, which exists and whose lock is held.
    pub(crate) fn open_journal(
        fs: Arc<dyn Fs>,
        dir: &Path,
        kind: JournalKind,
        lock: Arc<dyn Lock>,
    ) -> Result<(Self, Recovered), OpenError> {
        let path = dir.join(kind.file);
        // An earlier rename may not be on disk yet, and what is read now must not be unsaid.
        fs.sync_dir(dir).map_err(OpenError::io("sync", dir))?;
        let created = !fs.exists(&path).map_err(OpenError::io("look for", &path))?;
        if created {
            create(fs.as_ref(), dir, kind)?;
        }
        let file = fs.open(&path, Open::ReadWrite).map_err(OpenError::io("open", &path))?;
        let content = recover::read(file.as_ref(), &path, kind)?;
        let recovered = Recovered {
            snapshot: content.snapshot,
            records: content.records,
            last_index: content.last_index,
            created,
            cut_bytes: content.cut_bytes,
            must_rewrite: !content.is_clean,
        };
        let mut log = Self {
            fs,
            path,
            kind,
            file,
            header: content.header,
            end: content.end,
            allocated: 0,
            last_index: content.last_index,
            next_mark: content.next_mark,
            snapshot_end: content.snapshot_end,
            state: if content.is_clean { State::Ready } else { State::MustRewrite },
            _lock: lock,
        };
        log.allocate_ahead();
        Ok((log, recovered))
    }

    /// Commits the records together, in order: when this returns they are on disk. What comes back is
    /// the number of records ever committed. After any error but a full disk, and records that are too
    /// large, the log has to be opened again.
    pub fn append(&mut self, records: &[Vec<u8>]) -> Result<u64, AppendError> {
        self.check_ready()?;
        if records.is_empty() {
            return Ok(self.last_index);
        }
        let count = u32::try_from(records.len()).map_err(|_| AppendError::TooLarge)?;
        let last_index = self.last_index + u64::from(count);
        let payload = format::encode_records(records).ok_or(AppendError::TooLarge)?;
        let block = format::encode_block(self.header.salt, BlockKind::Records, last_index, count, &payload)
            .ok_or(AppendError::TooLarge)?;
        self.write_block(&block)?;
        self.end += block.len() as u64;
        self.last_index = last_index;
        self.write_mark()?;
        self.allocate_ahead();
        Ok(last_index)
    }

    /// How many bytes more find space whatever happens to the disk's.
    pub(crate) fn allocated_ahead(&self) -> u64 {
        self.allocated.saturating_sub(self.end)
    }

    /// From the beginning on: the head may have a hole.
    fn allocate_ahead(&mut self) {
        let ahead = self.kind.ahead_bytes;
        // Where it is refused the next append may have to be, and says so.
        if self.allocated_ahead() < ahead / 2 && self.file.allocate(0, self.end + ahead).is_ok() {
            self.allocated = self.end + ahead;
        }
    }

    /// Whether the file has grown enough since its snapshot for a [`MetadataLog::rewrite`] to pay.
    pub fn wants_rewrite(&self) -> bool {
        let snapshot = self.snapshot_end - BLOCKS;
        self.end - self.snapshot_end > REWRITE_BYTES.max(snapshot)
    }

    /// Replaces the file by one that holds this state, which must be that of all records so far. An
    /// error leaves the old file in use, unless the log is poisoned then.
    pub fn rewrite(&mut self, snapshot: &[u8]) -> Result<(), AppendError> {
        if self.state == State::Poisoned {
            return Err(AppendError::Poisoned);
        }
        let header = Header { generation: self.header.generation + 1, salt: fresh_salt() };
        let block = format::encode_block(header.salt, BlockKind::Snapshot, self.last_index, 0, snapshot)
            .ok_or(AppendError::TooLarge)?;
        let dir = folder_of(&self.path);
        let file = write_new(self.fs.as_ref(), &dir, self.kind, header, &block)
            .map_err(failed("write a new file"))?;
        self.fs.rename(&dir.join(self.kind.new_file), &self.path).map_err(failed("rename the new file"))?;
        // From here on either name may survive a power cut: none may be written until one is certain.
        self.state = State::Poisoned;
        self.fs.sync_dir(&dir).map_err(failed("sync the folder"))?;
        self.file = file;
        self.header = header;
        self.end = BLOCKS + block.len() as u64;
        self.snapshot_end = self.end;
        self.next_mark = 1;
        self.state = State::Ready;
        self.allocated = 0;
        self.allocate_ahead();
        Ok(())
    }

    fn check_ready(&self) -> Result<(), AppendError> {
        match self.state {
            State::Ready => Ok(()),
            State::MustRewrite | State::Poisoned => Err(AppendError::Poisoned),
        }
    }

    fn write_block(&mut self, block: &[u8]) -> Result<(), AppendError> {
        if let Err(source) = self.file.write_all_at(block, self.end) {
            return Err(self.write_failed(source));
        }
        self.file.sync_data().map_err(|source| {
            self.state = State::Poisoned;
            AppendError::Io { action: "sync", source }
        })
    }

    /// A full disk is the one failure that leaves nothing in doubt, once what was begun is cut off.
    fn write_failed(&mut self, source: io::Error) -> AppendError {
        if is_full(&source) && self.file.set_len(self.end).is_ok() {
            // What was beyond is free again.
            self.allocated = 0;
            return AppendError::Full;
        }
        self.state = State::Poisoned;
        AppendError::Io { action: "write", source }
    }

    /// Not synced: the next block's sync carries it along, and a process that dies leaves it in the
    /// page cache. What it protects against is rot, not the power.
    fn write_mark(&mut self) -> Result<(), AppendError> {
        let mark = format::encode_mark(self.header.salt, self.end);
        let [first, second] = MARKS;
        let position = if self.next_mark == 0 { first } else { second };
        self.file.write_all_at(&mark, position).map_err(|source| {
            self.state = State::Poisoned;
            AppendError::Io { action: "mark the end", source }
        })?;
        self.next_mark = 1 - self.next_mark;
        Ok(())
    }
}

impl fmt::Debug for MetadataLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetadataLog")
            .field("path", &self.path)
            .field("generation", &self.header.generation)
            .field("end", &self.end)
            .field("last_index", &self.last_index)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Makes the folder and takes its lock (S7).
pub(crate) fn lock_folder(fs: &dyn Fs, dir: &Path, wait: LockWait) -> Result<Arc<dyn Lock>, OpenError> {
    fs.create_dir_all(dir).map_err(OpenError::io("make", dir))?;
    let above = folder_of(dir);
    fs.sync_dir(&above).map_err(OpenError::io("sync", &above))?;
    let path = dir.join(LOCK);
    fs.lock(&path, wait).map(Arc::from).map_err(|source| {
        if source.kind() == io::ErrorKind::WouldBlock {
            OpenError::Locked { path }
        } else {
            OpenError::Io { action: "lock", path, source }
        }
    })
}

fn create(fs: &dyn Fs, dir: &Path, kind: JournalKind) -> Result<(), OpenError> {
    let header = Header { generation: 1, salt: fresh_salt() };
    let path = dir.join(kind.file);
    write_new(fs, dir, kind, header, &[]).map_err(OpenError::io("make", &path))?;
    fs.rename(&dir.join(kind.new_file), &path).map_err(OpenError::io("make", &path))?;
    fs.sync_dir(dir).map_err(OpenError::io("sync", dir))
}

/// Writes and syncs the successor's file with at most one block; removes it again if that fails.
fn write_new(
    fs: &dyn Fs,
    dir: &Path,
    kind: JournalKind,
    header: Header,
    block: &[u8],
) -> io::Result<Arc<dyn File>> {
    let path = dir.join(kind.new_file);
    // What is there is left over from a process that died before the rename.
    if fs.exists(&path)? {
        fs.remove_file(&path)?;
    }
    let written = fs.open(&path, Open::CreateNew).and_then(|file| {
        let [first_mark, _] = MARKS;
        file.set_len(BLOCKS)?;
        file.write_all_at(&header.encode(kind.magic), 0)?;
        file.write_all_at(&format::encode_mark(header.salt, BLOCKS + block.len() as u64), first_mark)?;
        file.write_all_at(block, BLOCKS)?;
        file.sync_data()?;
        Ok(file)
    });
    if written.is_err() {
        // The error that counts is the first one; a file left here is removed by the next attempt.
        let _ = fs.remove_file(&path);
    }
    written
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> AppendError {
    move |source| if is_full(&source) { AppendError::Full } else { AppendError::Io { action, source } }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn fresh_salt() -> u64 {
    fastrand::u64(..)
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
