//! What a member of the metadata quorum has promised: its votes, its log, its snapshot, and whose they are.
//!
//! Consensus is safe only as long as nobody forgets what it said. So all of it lives and dies together, in one
//! folder: a member that has lost any of it is refused, and one that has lost all of it is a new one (S17).
//!
//! - **One block per write, one sync per block.** Entries and votes are on disk when a write returns. How far
//!   the log is committed, what was cut and what was purged [goes along](QuorumLog::later) with the next write: if
//!   it is lost, the log is as it was before, which is always allowed.
//! - **Torn and rotten are told apart**, as in the [metadata log](super::metadata_log), whose file this is
//!   under another name: what was acknowledged and is not whole is refused, what was not is cut.
//! - **The snapshot is a file of its own**, written beside the old one, synced, renamed. Only then is the log
//!   before it purged.
//! - **One writer** (S7): an exclusive lock on `lock` in the folder.
//!
//! What an entry and a snapshot say is their owner's. [`format`] draws the records.

mod format;
mod snapshot;
mod state;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use snapshot::{Snapshot, SnapshotFile};
pub use state::{Change, Entry, EntryId, LogState, OutOfOrder, Vote};

use super::{
    fs::{Fs, LockWait},
    metadata_log::{self, AppendError, MetadataLog},
    own_file::OwnFileError,
};

/// The log is not opened, and nothing of it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file of the log.
    #[error("metadata quorum: {0}")]
    Log(#[from] metadata_log::OpenError),
    /// The log is a whole file and what it says is impossible.
    #[error("metadata quorum: {} is damaged: {what}; restore the folder, or empty it to join as a new member", path.display())]
    Impossible {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The snapshot cannot be read.
    #[error("metadata quorum: {}: {source}; restore the folder, or empty it to join as a new member", path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: OwnFileError,
    },
    /// The log begins after the end of the snapshot, or there is a snapshot and no log.
    #[error("metadata quorum: {} and the snapshot beside it do not belong together; restore the folder, or empty it to join as a new member", path.display())]
    Gap {
        /// The log.
        path: PathBuf,
    },
    /// A new log cannot be written.
    #[error("metadata quorum: {0}")]
    Write(#[from] WriteError),
}

/// The changes are not on disk, or nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file did not take them.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// They cannot follow what there is. Nothing was written.
    #[error(transparent)]
    Order(#[from] OutOfOrder),
}

/// The one writer of a quorum's log. Blocking: keep it on a thread that may block.
#[derive(Debug)]
pub struct QuorumLog {
    journal: MetadataLog,
    state: LogState,
    /// Goes along with the next write.
    waiting: Vec<Change>,
}

/// What an opened log comes with.
#[derive(Debug)]
pub struct Opened {
    /// The log.
    pub log: QuorumLog,
    /// The snapshot beside it.
    pub snapshots: SnapshotFile,
    /// Bytes of a torn block that were cut from the end.
    pub cut_bytes: u64,
}

/// Whether a log is there, so that its owner can refuse to begin anew beside data that exists.
pub fn exists(fs: &dyn Fs, dir: &Path) -> io::Result<bool> {
    fs.exists(&dir.join(format::JOURNAL.file))
}

/// What the log in `dir` and the snapshot beside it say, read without a lock and without changing anything; `None` where there
/// is no log.
pub fn look(fs: &dyn Fs, dir: &Path) -> Result<Option<(LogState, Option<Snapshot>)>, OpenError> {
    let path = dir.join(format::JOURNAL.file);
    let snapshot =
        snapshot::look(fs, dir).map_err(|source| OpenError::Snapshot { path: dir.to_path_buf(), source })?;
    let Some(recovered) = metadata_log::look_at_journal(fs, dir, format::JOURNAL)? else {
        return if snapshot.is_some() { Err(OpenError::Gap { path }) } else { Ok(None) };
    };
    let state = replay(&recovered).map_err(|what| OpenError::Impossible { path: path.clone(), what })?;
    if has_gap(&state, snapshot.as_ref().map(|snapshot| snapshot.last)) {
        return Err(OpenError::Gap { path });
    }
    Ok(Some((state, snapshot)))
}

/// Whether entries are missing between the snapshot and the log, or the log itself.
fn has_gap(state: &LogState, snapshot: Option<EntryId>) -> bool {
    let lost = |purged: EntryId| snapshot.is_none_or(|last| last.index < purged.index);
    state.purged().is_some_and(lost) || (state.owner().is_none() && snapshot.is_some())
}

impl QuorumLog {
    /// Opens the log in `dir`, or makes it for a new member. `wait` is [`LockWait::Block`] where an earlier writer of this
    /// process may still be at work, [`LockWait::Fail`] where there was none.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, wait: LockWait) -> Result<Opened, OpenError> {
        let lock = metadata_log::lock_folder(fs.as_ref(), dir, wait)?;
        let path = dir.join(format::JOURNAL.file);
        let snapshots = SnapshotFile::open(Arc::clone(&fs), dir, Arc::clone(&lock))
            .map_err(|source| OpenError::Snapshot { path: dir.to_path_buf(), source })?;
        let is_missing = !fs.exists(&path).map_err(|source| metadata_log::OpenError::Io {
            action: "look for",
            path: path.clone(),
            source,
        })?;
        if is_missing && snapshots.last().is_some() {
            return Err(OpenError::Gap { path });
        }
        let (journal, recovered) = MetadataLog::open_journal(fs, dir, format::JOURNAL, lock)?;
        let state = replay(&recovered).map_err(|what| OpenError::Impossible { path: path.clone(), what })?;
        if has_gap(&state, snapshots.last()) {
            return Err(OpenError::Gap { path });
        }
        let mut log = Self { journal, state, waiting: Vec::new() };
        if recovered.must_rewrite {
            log.rewrite().map_err(WriteError::from)?;
        }
        if log.state.owner().is_none() {
            log.write(vec![Change::Owner(fastrand::u64(1..))])?;
        }
        Ok(Opened { log, snapshots, cut_bytes: recovered.cut_bytes })
    }

    /// What is on disk.
    pub fn state(&self) -> &LogState {
        &self.state
    }

    /// Writes these changes, and those that [wait](Self::later) before them, with one sync: when this returns they are
    /// on disk. After any error but a full disk and changes out of order the log has to be opened again.
    pub fn write(&mut self, changes: Vec<Change>) -> Result<(), WriteError> {
        let mut all = self.waiting.clone();
        all.extend(changes);
        if all.is_empty() {
            return Ok(());
        }
        self.state.admits(&all)?;
        let records: Vec<Vec<u8>> = all.iter().map(format::encode).collect();
        self.journal.append(&records)?;
        self.waiting.clear();
        for change in &all {
            self.state.change(change)?;
        }
        Ok(())
    }

    /// Leaves a change for the next write, before all that is in it.
    pub fn later(&mut self, change: Change) {
        // Only the last of them says anything.
        if matches!(change, Change::Committed(_)) {
            self.waiting.retain(|earlier| !matches!(earlier, Change::Committed(_)));
        }
        self.waiting.push(change);
    }

    /// How many bytes more find space on the disk even when it is full.
    pub fn allocated_ahead(&self) -> u64 {
        self.journal.allocated_ahead()
    }

    /// Whether the file has grown enough for a [`QuorumLog::rewrite`] to pay.
    pub fn wants_rewrite(&self) -> bool {
        self.journal.wants_rewrite()
    }

    /// Replaces the file by one that holds only what still counts. An error leaves the old file in use, unless no
    /// more can be written then.
    pub fn rewrite(&mut self) -> Result<(), AppendError> {
        let bytes = format::encode_all(&self.state.changes()).ok_or(AppendError::TooLarge)?;
        self.journal.rewrite(&bytes)
    }
}

fn replay(recovered: &metadata_log::Recovered) -> Result<LogState, String> {
    let mut state = LogState::default();
    let unknown = || "a record is of no kind that there is".to_owned();
    let mut changes = match &recovered.snapshot {
        Some(bytes) => format::decode_all(bytes).ok_or_else(unknown)?,
        None => Vec::new(),
    };
    for record in &recovered.records {
        changes.push(format::decode(record).ok_or_else(unknown)?);
    }
    for change in &changes {
        state.change(change).map_err(|error| error.to_string())?;
    }
    Ok(state)
}
