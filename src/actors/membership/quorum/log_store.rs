//! The log as `openraft` sees it: in memory for those who read, on the thread `quorum-log` for what must last.

use std::{
    fmt::Debug,
    ops::RangeBounds,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use openraft::{
    OptionalSend, RaftLogReader,
    storage::{LogFlushed, LogState, RaftLogStorage},
};

use super::{
    convert::{any, entry, entry_id, kept_entry, kept_vote, log_id, vote},
    disk::{Disk, Job, Waiter},
    types::{Entry, LogId, StorageError, StorageIoError, TypeConfig, Vote},
};
use crate::storage::quorum_log::{self, Change};

/// The most bytes of entries in one request to a follower, unless a single one has more.
const APPEND_BYTES_MAX: usize = 1 << 20;

/// What is in the log, whether it is on disk yet or not.
type Shared = Arc<Mutex<quorum_log::LogState>>;

/// The log; its one writer is `openraft`'s core.
pub(super) struct LogStore {
    disk: Disk,
    shared: Shared,
}

/// Reads the log, in any number of tasks.
pub(super) struct LogReader {
    shared: Shared,
}

impl LogStore {
    pub(super) fn new(disk: Disk, state: quorum_log::LogState) -> Self {
        Self { disk, shared: Arc::new(Mutex::new(state)) }
    }

    /// In memory at once, so that it can be read.
    fn change(&self, change: &Change) -> Result<(), StorageError> {
        Ok(lock(&self.shared).change(change).map_err(|error| StorageIoError::write_logs(any(&error)))?)
    }

    fn later(&self, change: Change) -> Result<(), StorageError> {
        self.change(&change)?;
        if self.disk.send(Job::Later(change)) { Ok(()) } else { Err(thread_ended().into()) }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, quorum_log::LogState> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn thread_ended() -> StorageIoError {
    StorageIoError::write_logs(openraft::AnyError::error("the thread of the quorum's log has ended"))
}

/// The entries of the range, as many as fit; at least one, where there is one.
fn read(shared: &Shared, range: impl RangeBounds<u64>, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
    let mut bytes = 0;
    // Cheap copies first: nobody decodes under the lock.
    let found: Vec<quorum_log::Entry> = {
        let state = lock(shared);
        let fits = |kept: &&quorum_log::Entry| {
            let is_first = bytes == 0;
            bytes += kept.payload.len().max(1);
            is_first || bytes <= bytes_max
        };
        state.entries().range(range).map(|(_, kept)| kept).take_while(fits).cloned().collect()
    };
    found.iter().map(entry).collect()
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        read(&self.shared, range, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        read(&self.shared, start..end, APPEND_BYTES_MAX)
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        read(&self.shared, range, usize::MAX)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let state = lock(&self.shared);
        Ok(LogState { last_purged_log_id: state.purged().map(log_id), last_log_id: state.last().map(log_id) })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader { shared: Arc::clone(&self.shared) }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let kept = kept_vote(vote);
        self.disk.write_vote(kept).await.map_err(|error| StorageIoError::write_vote(any(&error)))?;
        self.change(&Change::Vote(kept))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(lock(&self.shared).vote().map(vote))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        match committed {
            Some(id) => self.later(Change::Committed(entry_id(&id))),
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(lock(&self.shared).committed().map(log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut changes = Vec::new();
        for entry in entries {
            let kept = kept_entry(&entry)
                .map_err(|error| StorageIoError::write_log_entry(entry.log_id, any(&error)))?;
            let change = Change::Append(kept);
            self.change(&change)?;
            changes.push(change);
        }
        if self.disk.send(Job::Write(changes, Waiter::Flushed(callback))) {
            Ok(())
        } else {
            Err(thread_ended().into())
        }
    }

    async fn truncate(&mut self, from: LogId) -> Result<(), StorageError> {
        self.later(Change::Truncate(from.index))
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        self.later(Change::Purge(entry_id(&upto)))
    }
}
