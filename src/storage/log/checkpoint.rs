//! What is written behind the log's back so that recovery has little to do: the checkpoint, the producers'
//! state and the index entries that belong to it.

use std::{
    io,
    sync::{Arc, Mutex},
};

use super::{Log, Poisoned, flush::LogPosition, shared::Shared};
use crate::{
    model::{BootId, Offset},
    storage::{
        checkpoint::{Checkpoint, CheckpointFile},
        producer_state::write_snapshot,
        segment::{FileKind, Folder, lock, parse_name},
    },
};

/// The file of [`CheckpointFile`].
pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";
/// The file of [`LeaderEpochs`](crate::storage::leader_epochs::LeaderEpochs).
pub(crate) const EPOCHS_FILE: &str = "leader-epochs";

/// Writes the checkpoint. Shared by the jobs, which take turns; it never lets one that was made earlier
/// and runs later take anything back.
#[derive(Debug)]
pub(crate) struct Keeper {
    file: CheckpointFile,
    written: Option<Checkpoint>,
}

impl Keeper {
    pub(crate) const fn new(file: CheckpointFile, written: Option<Checkpoint>) -> Self {
        Self { file, written }
    }

    /// The segment that the newest checkpoint names; below all others where there is none.
    pub(super) fn segment_base(&self) -> Offset {
        self.written.map_or(Offset::ZERO, |written| written.segment_base)
    }

    /// Writes the newest checkpoint once more, so that both slots have it.
    fn write_again(&mut self) -> io::Result<()> {
        self.written.map_or(Ok(()), |written| self.file.write(&written))
    }

    /// The newest that is on disk.
    pub(super) const fn written(&self) -> Option<Checkpoint> {
        self.written
    }

    /// Writes one that may take back what the last one said, into both slots.
    pub(super) fn set_back(&mut self, checkpoint: Checkpoint) -> io::Result<()> {
        for _slot in 0..2 {
            self.file.write(&checkpoint)?;
            self.written = Some(checkpoint);
        }
        Ok(())
    }

    fn write(&mut self, mut checkpoint: Checkpoint) -> io::Result<()> {
        if let Some(written) = self.written {
            checkpoint.log_start = checkpoint.log_start.max(written.log_start);
            if written.flushed > checkpoint.flushed {
                checkpoint = Checkpoint { log_start: checkpoint.log_start, ..written };
            }
        }
        if self.written != Some(checkpoint) {
            self.file.write(&checkpoint)?;
            self.written = Some(checkpoint);
        }
        Ok(())
    }
}

/// The producers' state at some end of the log.
#[derive(Debug)]
struct Snapshot {
    end: Offset,
    body: Vec<u8>,
}

/// When the producers' state is stored: taken at the log's end, written once all below is on disk.
#[derive(Debug)]
pub(super) struct Snapshots {
    pending: Option<Snapshot>,
    /// What had been appended when the last one was taken; may be below zero right after opening.
    taken_at_bytes: i128,
    checkpointed: Offset,
}

impl Snapshots {
    /// `since` bytes of the log lie above the last one.
    pub(super) fn new(since: u64) -> Self {
        Self { pending: None, taken_at_bytes: -i128::from(since), checkpointed: Offset::new(-1) }
    }
}

/// Writes the checkpoint and, when they are due, producers' state and index. Run it on a thread that may
/// block, at most a second after the flush that it follows.
#[derive(Debug)]
pub struct CheckpointJob {
    shared: Arc<Shared>,
    generation: u64,
    keeper: Arc<Mutex<Keeper>>,
    checkpoint: Checkpoint,
    snapshot: Option<Snapshot>,
}

impl CheckpointJob {
    /// Writes. After an error what was written before still counts; recovery then has more to read.
    /// One that was made before a truncation does nothing: that has written down what holds since.
    pub fn run(self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let Some(_at_work) = shared.at_work(self.generation) else { return Ok(()) };
        self.store()
    }

    pub(super) fn store(self) -> io::Result<()> {
        self.write()?;
        match self.snapshot {
            Some(snapshot) => {
                // One at a time, as two would remove the same old ones: a log may be closed while another is under way.
                let _alone = lock(&self.keeper);
                store_snapshot(&self.shared, &snapshot)
            }
            None => Ok(()),
        }
    }

    /// Writes it into both slots: one that is hit later does not make files that are about to go look lost.
    pub(super) fn write_twice(&self) -> io::Result<()> {
        self.write()?;
        lock(&self.keeper).write_again()
    }

    /// The terms of batches are on disk before a checkpoint says that the batches are: recovery checks what
    /// is flushed against them.
    pub(super) fn write(&self) -> io::Result<()> {
        let mut keeper = lock(&self.keeper);
        if let Some(terms) = self.shared.take_unstored_terms() {
            let folder = &self.shared.folder;
            let stored = terms.epochs.store(&*folder.fs, &folder.named(EPOCHS_FILE));
            stored.inspect_err(|_| self.shared.terms_not_stored())?;
        }
        keeper.write(self.checkpoint)
    }
}

/// Index first, producers' state second: a snapshot says that the index below it is on disk.
fn store_snapshot(shared: &Shared, snapshot: &Snapshot) -> io::Result<()> {
    let folder = &shared.folder;
    let mut made = false;
    for segment in shared.segments().iter().filter(|segment| segment.base() < snapshot.end) {
        made |= segment.write_index(snapshot.end)?;
        if !segment.is_open() {
            segment.close(); // The index was kept only because it was not written.
        }
    }
    if made {
        folder.fs.sync_dir(&folder.dir)?;
    }
    let path = folder.file(snapshot.end, FileKind::Snapshot);
    write_snapshot(&*folder.fs, &path, &snapshot.body)?;
    shared.raise_snapshot_end(snapshot.end);
    remove_old_snapshots(folder)
}

/// Two are kept: should the newest be hit, the other one is there.
fn remove_old_snapshots(folder: &Folder) -> io::Result<()> {
    let entries = folder.fs.list(&folder.dir)?;
    let named = entries.iter().filter_map(|entry| Some((parse_name(&entry.name)?, &entry.name)));
    let mut snapshots: Vec<_> = named
        .filter(|((_, kind), _)| *kind == FileKind::Snapshot)
        .map(|((end, _), name)| (end, name))
        .collect();
    snapshots.sort_unstable();
    let surplus = snapshots.len().saturating_sub(2);
    snapshots.iter().take(surplus).try_for_each(|(_, name)| folder.fs.remove_file(&folder.named(name)))
}

impl Log {
    /// A checkpoint, if there is anything new to write since the last one was handed out.
    pub fn checkpoint_job(&mut self) -> Option<CheckpointJob> {
        if self.is_poisoned() {
            return None;
        }
        let appended = i128::from(self.unflushed.appended_bytes());
        if appended - self.snapshots.taken_at_bytes >= i128::from(self.options.snapshot_bytes) {
            self.take_snapshot();
        }
        let flushed = self.shared.flushed();
        let snapshot = self.snapshots.pending.take_if(|snapshot| snapshot.end <= flushed);
        if snapshot.is_none() && flushed == self.snapshots.checkpointed {
            return None;
        }
        Some(self.checkpoint_with(snapshot, None))
    }

    fn checkpoint_with(&mut self, snapshot: Option<Snapshot>, clean: Option<BootId>) -> CheckpointJob {
        let (flushed, LogPosition { segment, byte }) = self.unflushed.flushed;
        self.snapshots.checkpointed = flushed;
        let log_start = self.shared.log_start();
        let checkpoint = Checkpoint { flushed, segment_base: segment, position: byte, log_start, clean };
        let (shared, keeper) = (Arc::clone(&self.shared), Arc::clone(&self.keeper));
        CheckpointJob { generation: shared.generation(), shared, keeper, checkpoint, snapshot }
    }

    /// A checkpoint as of now.
    pub(super) fn checkpoint_now(&mut self) -> CheckpointJob {
        self.checkpoint_with(None, None)
    }

    /// A checkpoint with the producers' state at some offset up to which the log is on disk, if that is
    /// above the one that is stored; what it will be once the job has run, and the job.
    pub(super) fn snapshot_job(&mut self) -> (Offset, Option<CheckpointJob>) {
        let (stored, flushed) = (self.shared.snapshot_end(), self.shared.flushed());
        if stored >= flushed {
            return (stored, None);
        }
        self.take_snapshot();
        match self.snapshots.pending.take_if(|snapshot| snapshot.end <= flushed) {
            Some(snapshot) => (stored.max(snapshot.end), Some(self.checkpoint_with(Some(snapshot), None))),
            None => (stored, None),
        }
    }

    /// Takes the producers' state as of now, to be stored once all below it is flushed.
    pub(super) fn take_snapshot(&mut self) {
        // One that still waits is closer to being stored; the next one comes soon enough.
        if self.snapshots.pending.is_none() {
            let end = self.shared.log_end();
            self.snapshots.pending = Some(Snapshot { end, body: self.producers.encode(end) });
            self.snapshots.taken_at_bytes = i128::from(self.unflushed.appended_bytes());
        }
    }

    /// Flushes, stores everything that saves recovery work, and marks the log as closed by this boot.
    /// Blocks.
    pub fn close_clean(mut self, boot: BootId) -> io::Result<()> {
        self.remove_remains()?;
        let flushed = self.begin_flush().run();
        let end = self.finish_flush(flushed).map_err(|Poisoned| io::Error::other(Poisoned))?;
        if end < self.shared.log_end() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.snapshots.pending = None;
        self.take_snapshot();
        let snapshot = self.snapshots.pending.take();
        self.checkpoint_with(snapshot, None).run()?;
        self.checkpoint_with(None, Some(boot)).run()
    }

    /// Raises the log start to `before`; what lies below is gone for readers at once, and for good once the
    /// job has run: then it may be answered. `None` where `before` is above the log's end.
    pub fn delete_records(&mut self, before: Offset) -> Option<CheckpointJob> {
        if before > self.shared.log_end() || self.is_poisoned() {
            return None;
        }
        self.shared.raise_log_start(before);
        Some(self.checkpoint_now())
    }
}
