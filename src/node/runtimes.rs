//! Three runtimes, so that a stalled disk does not look like a dead node.
//!
//! *Data* runs connections and replicas, with more workers than cores: an append that stalls holds one
//! of them. *Control* runs membership, supervisors, timers and the admin port. *Io* is only a pool of
//! threads that may block: flushes, openings, deletions; reads from disk use the data runtime's own
//! pool, so that a storm of cold reads does not hold up a flush.

use std::{io, thread, time::Duration};

use tokio::runtime::{Builder, Handle, Runtime};

use super::NodeError;

/// Workers of the data runtime beyond the number of cores.
const SPARE_WORKERS: usize = 2;
const CONTROL_WORKERS: usize = 2;
/// Threads that flush, open, recover and delete, at most.
const IO_THREADS: usize = 32;
/// Threads that read from disk for connections, at most.
const READ_THREADS: usize = 32;
/// How long threads that are still at work may take when the node ends.
const END_WITHIN: Duration = Duration::from_secs(2);

/// The runtimes of one node.
#[derive(Debug)]
pub(super) struct Runtimes {
    data: Runtime,
    control: Runtime,
    io: Runtime,
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
        let control = Builder::new_multi_thread()
            .worker_threads(CONTROL_WORKERS)
            .thread_name("control")
            .enable_all()
            .build()?;
        let io = Builder::new_current_thread().max_blocking_threads(IO_THREADS).thread_name("io").build()?;
        Ok(Self { data, control, io })
    }

    pub(super) fn data(&self) -> &Handle {
        self.data.handle()
    }

    pub(super) fn control(&self) -> &Handle {
        self.control.handle()
    }

    pub(super) fn io(&self) -> &Handle {
        self.io.handle()
    }

    pub(super) fn end(self) {
        self.data.shutdown_timeout(END_WITHIN);
        self.io.shutdown_timeout(END_WITHIN);
        self.control.shutdown_timeout(END_WITHIN);
    }
}
