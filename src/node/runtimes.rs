//! Several runtimes, so that a stalled disk does not look like a dead node.
//!
//! *Data* runs connections and replicas, with more workers than cores: an append that stalls holds one
//! of them. *Bulk* serves the connections that move much while small requests come. *Control* runs membership,
//! supervisors, timers and the admin port. *Io* is only a pool of threads that may block, for what somebody
//! waits for: flushes, openings. Reads from disk use the data runtime's own pool, and what can wait has three more,
//! one of them for checkpoints and one for flushes: neither a storm of cold reads nor the checkpoints of thousands of
//! partitions hold up a flush that is waited for, and no compaction a checkpoint.
//!
//! Bulk and what can wait leave one core to the others, where there are two.

use std::{io, thread, time::Duration};

use tokio::runtime::{Builder, Handle, Runtime};

use super::NodeError;
use crate::{
    actors::partition::{Bulk, UpkeepThreads},
    sys::{self, Cores},
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
/// Threads that flush what nobody waits for, at most.
const FLUSH_THREADS: usize = 8;
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
    flushes: Runtime,
    upkeep: Runtime,
}

impl Runtimes {
    pub(super) fn start() -> Result<Self, NodeError> {
        Self::build().map_err(NodeError::Threads)
    }

    fn build() -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let leave_one = LeaveOneCore::new();
        let data = Builder::new_multi_thread()
            .worker_threads(cores + SPARE_WORKERS)
            .max_blocking_threads(READ_THREADS)
            .thread_name("data")
            .enable_all()
            .build()?;
        let bulk_workers = Builder::new_multi_thread()
            .worker_threads(cores.saturating_sub(1).max(1))
            .max_blocking_threads(READ_THREADS)
            .thread_name("bulk")
            .on_thread_start(move || {
                leave_one.apply();
                stand_back();
            })
            .enable_all()
            .build()?;
        let bulk = Bulk::new(bulk_workers.handle().clone());
        let control = Builder::new_multi_thread()
            .worker_threads(CONTROL_WORKERS)
            .thread_name("control")
            .enable_all()
            .build()?;
        let pool = |name: &str, threads| {
            let mut builder = Builder::new_current_thread();
            builder.max_blocking_threads(threads).thread_name(name);
            builder
        };
        let io = pool("io", IO_THREADS).build()?;
        let can_wait = |name, threads| pool(name, threads).on_thread_start(move || leave_one.apply()).build();
        let checkpoints = can_wait("checkpoints", CHECKPOINT_THREADS)?;
        let flushes = can_wait("flushes", FLUSH_THREADS)?;
        let upkeep = can_wait("upkeep", UPKEEP_THREADS)?;
        Ok(Self { data, bulk_workers, bulk, control, io, checkpoints, flushes, upkeep })
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
        UpkeepThreads {
            checkpoints: self.checkpoints.handle().clone(),
            flushes: self.flushes.handle().clone(),
            rest: self.upkeep.handle().clone(),
        }
    }

    pub(super) fn end(self) {
        self.data.shutdown_timeout(END_WITHIN);
        self.bulk_workers.shutdown_timeout(END_WITHIN);
        self.io.shutdown_timeout(END_WITHIN);
        self.checkpoints.shutdown_timeout(END_WITHIN);
        self.flushes.shutdown_timeout(END_WITHIN);
        self.upkeep.shutdown_timeout(END_WITHIN);
        self.control.shutdown_timeout(END_WITHIN);
    }
}

/// Keeps threads off one core. A thread that has just been woken may have to wait, on every core where one is at work that
/// does not end soon, until the system's scheduler looks there again: some milliseconds.
#[derive(Clone, Copy, Debug)]
struct LeaveOneCore(Option<Cores>);

impl LeaveOneCore {
    /// Once, from a thread that may run everywhere: those that it is applied to may begin others.
    fn new() -> Self {
        Self(Cores::all_but_one().unwrap_or_else(|error| {
            tracing::debug!("no core is left to small requests: {error}");
            None
        }))
    }

    /// Without it small requests wait longer behind large ones, and nothing else is lost.
    fn apply(self) {
        if let Some(Err(error)) = self.0.map(|cores| cores.confine_this_thread()) {
            tracing::debug!("a thread may run on every core: {error}");
        }
    }
}

/// Without it small requests wait longer behind large ones, and nothing else is lost.
fn stand_back() {
    if let Err(error) = sys::set_thread_niceness(BULK_NICENESS) {
        tracing::debug!("threads that move much keep their priority: {error}");
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::{Cores, Runtimes};

    /// On how many cores the calling thread may run.
    fn cores() -> usize {
        1 + Cores::all_but_one().unwrap().map_or(0, |others| others.count())
    }

    #[test]
    fn who_moves_much_and_what_can_wait_leave_one_core_to_the_others() {
        let runtimes = Runtimes::start().unwrap();
        let (bulk, upkeep) = (runtimes.bulk(), runtimes.upkeep());
        let cores_of = |threads: &Handle| {
            let begun = threads.spawn_blocking(cores);
            runtimes.control().block_on(begun).unwrap()
        };
        let all = cores();
        let worker = bulk.workers().spawn(async { cores() });
        assert_eq!(runtimes.control().block_on(worker).unwrap(), (all - 1).max(1));
        for threads in [runtimes.data(), runtimes.control(), runtimes.io()] {
            assert_eq!(cores_of(threads), all);
        }
        for threads in [bulk.workers(), &upkeep.checkpoints, &upkeep.flushes, &upkeep.rest] {
            assert_eq!(cores_of(threads), (all - 1).max(1));
        }
        runtimes.end();
    }
}
