//! The thread `quorum-log`: it owns the log, so that no task ever waits for the disk.
//!
//! What is asked while it writes is its next write: one block, one sync, however many asked.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use openraft::storage::LogFlushed;
use tokio::sync::oneshot;

use super::{error::StartupError, types::TypeConfig};
use crate::storage::{
    fs::{Fs, LockWait},
    quorum_log::{Change, LogState, Opened, QuorumLog, SnapshotFile, Vote, WriteError},
};

/// With less than this, what was taken ahead for the log and what is free, the disk counts as full: proposals are
/// refused, so that what is under way can still be written.
const RESERVE_BYTES: u64 = 1 << 20;
/// The most changes of one write.
const CHANGES_MAX: usize = 4_096;

/// Who waits for a write.
pub(super) enum Waiter {
    Flushed(LogFlushed<TypeConfig>),
    Told(oneshot::Sender<io::Result<()>>),
}

/// What the thread is asked to do.
pub(super) enum Job {
    /// To be on disk before the waiter is told.
    Write(Vec<Change>, Waiter),
    /// Along with the next write.
    Later(Change),
    /// To look again whether there is space.
    Measure(oneshot::Sender<()>),
}

/// Where the log is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: PathBuf,
    pub(super) wait: LockWait,
}

/// The way to the thread. It ends when the last of these is gone.
#[derive(Clone)]
pub(super) struct Disk {
    jobs: mpsc::Sender<Job>,
    is_tight: Arc<AtomicBool>,
}

/// What the thread has opened.
pub(super) struct Started {
    pub(super) disk: Disk,
    pub(super) state: LogState,
    pub(super) snapshots: SnapshotFile,
    /// Resolves when the thread has let go of the log.
    pub(super) ended: oneshot::Receiver<()>,
}

impl Disk {
    /// `false` if the thread has ended.
    pub(super) fn send(&self, job: Job) -> bool {
        self.jobs.send(job).is_ok()
    }

    /// Writes, and resolves when it is on disk.
    pub(super) async fn write(&self, changes: Vec<Change>) -> io::Result<()> {
        let (told, on_told) = oneshot::channel();
        if !self.send(Job::Write(changes, Waiter::Told(told))) {
            return Err(ended());
        }
        on_told.await.unwrap_or_else(|_| Err(ended()))
    }

    /// The vote is on disk when this resolves.
    pub(super) async fn write_vote(&self, vote: Vote) -> io::Result<()> {
        self.write(vec![Change::Vote(vote)]).await
    }

    /// Whether there is space for more. Asks the disk only if there was none before.
    pub(super) async fn has_space(&self) -> bool {
        if self.is_tight.load(Ordering::Relaxed) {
            let (told, on_told) = oneshot::channel();
            if self.send(Job::Measure(told)) {
                let _or_the_thread_has_ended = on_told.await;
            }
        }
        !self.is_tight.load(Ordering::Relaxed)
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread of the quorum's log has ended")
}

/// Starts the thread, and resolves when it has opened the log.
pub(super) async fn start(place: Place) -> Result<Started, StartupError> {
    let (opened, on_opened) = oneshot::channel();
    let (alive, ended) = oneshot::channel();
    let (jobs, to_do) = mpsc::channel();
    let is_tight = Arc::new(AtomicBool::new(false));
    let disk = Disk { jobs, is_tight: Arc::clone(&is_tight) };
    let body = move || {
        // Dropped last, after the log and its lock.
        let _alive: oneshot::Sender<()> = alive;
        match QuorumLog::open(Arc::clone(&place.fs), &place.dir, place.wait) {
            Ok(Opened { log, snapshots, cut_bytes }) => {
                if cut_bytes > 0 {
                    tracing::warn!(bytes = cut_bytes, "a torn entry was cut from the metadata quorum's log");
                }
                let mut writer = Writer { fs: place.fs, dir: place.dir, log, is_tight };
                writer.measure();
                let _starter_may_be_gone = opened.send(Ok((writer.log.state().clone(), snapshots)));
                writer.run(&to_do);
            }
            Err(error) => {
                let _starter_may_be_gone = opened.send(Err(error));
            }
        }
    };
    thread::Builder::new().name("quorum-log".to_owned()).spawn(body).map_err(StartupError::Thread)?;
    let (state, snapshots) = on_opened.await.map_err(|_| StartupError::ThreadEnded)??;
    Ok(Started { disk, state, snapshots, ended })
}

struct Writer {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    log: QuorumLog,
    is_tight: Arc<AtomicBool>,
}

impl Writer {
    fn run(&mut self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let (mut changes, mut waiters) = (Vec::new(), Vec::new());
            let mut next = Some(first);
            while let Some(job) = next {
                match job {
                    Job::Write(asked, waiter) => {
                        changes.extend(asked);
                        waiters.push(waiter);
                    }
                    Job::Later(change) if changes.is_empty() => self.log.later(change),
                    Job::Later(change) => changes.push(change),
                    Job::Measure(told) => {
                        self.measure();
                        let _asker_may_be_gone = told.send(());
                    }
                }
                next = (changes.len() < CHANGES_MAX).then(|| jobs.try_recv().ok()).flatten();
            }
            if waiters.is_empty() {
                for change in changes {
                    self.log.later(change);
                }
            } else {
                self.write(changes, waiters);
            }
        }
        // So that the next start knows what was committed; without it, it would be told by others.
        if let Err(error) = self.log.write(Vec::new()) {
            tracing::debug!(%error, "the last words were not written");
        }
    }

    fn write(&mut self, changes: Vec<Change>, waiters: Vec<Waiter>) {
        let written = self.log.write(changes);
        if let Err(error) = &written {
            tracing::error!(%error, "the metadata quorum's log was not written");
        }
        // Before the answer: whoever gets it and asks again is refused at once.
        self.measure();
        for waiter in waiters {
            let told = match &written {
                Ok(()) => Ok(()),
                Err(error) => Err(as_io(error)),
            };
            match waiter {
                Waiter::Flushed(flushed) => flushed.log_io_completed(told),
                Waiter::Told(teller) => {
                    let _asker_may_be_gone = teller.send(told);
                }
            }
        }
        // After the answer: nobody waits for it, and it may take a while.
        if written.is_ok()
            && self.log.wants_rewrite()
            && let Err(error) = self.log.rewrite()
        {
            tracing::warn!(%error, "the metadata quorum's log was not rewritten");
        }
    }

    fn measure(&self) {
        let free = self.fs.free_bytes(&self.dir);
        let is_tight = free.is_ok_and(|free| free + self.log.allocated_ahead() < RESERVE_BYTES);
        self.is_tight.store(is_tight, Ordering::Relaxed);
    }
}

fn as_io(error: &WriteError) -> io::Error {
    io::Error::other(error.to_string())
}

/// The folder of the quorum within the data folder.
pub(super) fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join(super::QUORUM_DIR)
}
