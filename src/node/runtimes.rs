//! Several runtimes, so that a stalled disk does not look like a dead node.
//!
//! *Data* runs connections and replicas, with more workers than cores: an append that stalls holds one
//! of them. *Bulk* serves the connections that move much while small requests come. *Control* runs membership,
//! supervisors, timers and the admin port. *Io* is only a pool of threads that may block, for what somebody
//! waits for: flushes, openings. Reads from disk use the data runtime's own pool, and what can wait has two more,
//! one of them for checkpoints: neither a storm of cold reads nor the checkpoints of thousands of partitions hold
//! up a flush, and no compaction a checkpoint.

use std::{io, thread, time::Duration};

use tokio::runtime::{Builder, Handle, Runtime};

use super::NodeError;
use crate::{
    actors::partition::{Bulk, UpkeepThreads},
    sys,
};

/// Workers of the data runtime beyond the number of cores.
const SPARE_WORKERS: usize = 2;
const CONTROL_WORKERS: usize = 2;
/// How much the threads of the bulk runtime stand back behind others, as `nice` counts it. Threads at 5 get a third of
/// what those at 0 get while both want the same core.
const BULK_NICENESS: i32 = 5;
/// Threads that flush, open and recover, at most.
const IO_THREADS: usize = 32;
/// Threads that write checkpoints, at most. Each of them has the disk write something, as flushes do.
const CHECKPOINT_THREADS: usize = 8;
/// Threads that compact, scrub and delete, at most.
const UPKEEP_THREADS: usize = 8;
/// Threads that read from disk for connections, at most.
const READ_THREADS: usize = 32;
/// How long threads that are still at work may take when the node ends.
const END_WITHIN: Duration = Duration::from_secs(2);

/// The runtimes of one node.
#[derive(Debug)]
pub(super) struct Runtimes {
    data: Runtime,
    bulk_workers: Runtime,
    bulk: Bulk,
    control: Runtime,
    io: Runtime,
    checkpoints: Runtime,
    upkeep: Runtime,
}

impl Runtimes {
    pub(super) fn start() -> Result<Self, NodeError> {
        Self::build().map_err(NodeError::Threads)
    }

    fn build() -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let data = Builder::new_multi_thread()
            .worker_threads(cores + SPARE_WORKERS)
            .max_blocking_threads(READ_THREADS)
            .thread_name("data")
            .enable_all()
            .build()?;
        let bulk_workers = Builder::new_multi_thread()
            .worker_threads(cores)
            .max_blocking_threads(READ_THREADS)
            .thread_name("bulk")
            .on_thread_start(stand_back)
            .enable_all()
            .build()?;
        let bulk = Bulk::new(bulk_workers.handle().clone());
        let control = Builder::new_multi_thread()
            .worker_threads(CONTROL_WORKERS)
            .thread_name("control")
            .enable_all()
            .build()?;
        let pool = |name: &str, threads| {
            Builder::new_current_thread().max_blocking_threads(threads).thread_name(name).build()
        };
        let io = pool("io", IO_THREADS)?;
        let (checkpoints, upkeep) =
            (pool("checkpoints", CHECKPOINT_THREADS)?, pool("upkeep", UPKEEP_THREADS)?);
        Ok(Self { data, bulk_workers, bulk, control, io, checkpoints, upkeep })
    }

    pub(super) fn data(&self) -> &Handle {
        self.data.handle()
    }

    pub(super) fn bulk(&self) -> Bulk {
        self.bulk.clone()
    }

    pub(super) fn control(&self) -> &Handle {
        self.control.handle()
    }

    pub(super) fn io(&self) -> &Handle {
        self.io.handle()
    }

    pub(super) fn upkeep(&self) -> UpkeepThreads {
        UpkeepThreads { checkpoints: self.checkpoints.handle().clone(), rest: self.upkeep.handle().clone() }
    }

    pub(super) fn end(self) {
        self.data.shutdown_timeout(END_WITHIN);
        self.bulk_workers.shutdown_timeout(END_WITHIN);
        self.io.shutdown_timeout(END_WITHIN);
        self.checkpoints.shutdown_timeout(END_WITHIN);
        self.upkeep.shutdown_timeout(END_WITHIN);
        self.control.shutdown_timeout(END_WITHIN);
    }
}

/// Without it small requests wait longer behind large ones, and nothing else is lost.
fn stand_back() {
    if let Err(error) = sys::set_thread_niceness(BULK_NICENESS) {
        tracing::debug!("threads that move much keep their priority: {error}");
    }
}
