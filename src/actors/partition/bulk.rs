//! Workers for what moves much, so that small requests do not wait behind it.
//!
//! A produce request or an answer of a mebibyte keeps its thread for half a millisecond: copies, checksums, an append.
//! On the data runtime's workers that is what small requests of others have to wait for, and worse: the system's
//! scheduler lets a thread run at once that has mostly slept, and workers that carry out both have not. So
//! connections that move much are served by workers of their own, at a lower priority, and large appends are made by
//! threads of theirs, for as long as small requests come. When none do, a second runtime is only a detour.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};

/// More bytes in one request or answer are much.
pub const MUCH: usize = 64 << 10;
/// Small requests are counted over so long.
const WINDOW: Duration = Duration::from_millis(100);
/// So many in one window are a reason to expect more. A client that only connects sends fewer.
const SOME: u64 = 10;

/// The workers for what moves much, and whether small requests come meanwhile.
#[derive(Clone, Debug)]
pub struct Bulk {
    workers: Handle,
    small: Arc<SmallRequests>,
}

impl Bulk {
    /// These workers; no small request has come yet.
    pub fn new(workers: Handle) -> Self {
        Self { workers, small: Arc::new(SmallRequests::new()) }
    }

    /// Where connections are served that move much, and the threads that make large appends.
    pub fn workers(&self) -> &Handle {
        &self.workers
    }

    /// A small request has come.
    pub fn note_small(&self, now: Instant) {
        self.small.note(now);
    }

    /// Whether what moves much now would keep small requests waiting.
    pub fn is_to_make_way(&self, now: Instant) -> bool {
        self.small.are_expected(now)
    }
}

/// How many small requests came, on all connections.
#[derive(Debug)]
struct SmallRequests {
    since: Instant,
    /// The number of the latest window with a request.
    window: AtomicU64,
    /// How many came in it.
    count: AtomicU64,
    /// The number of the latest window that had some; 0, if none had.
    had_some: AtomicU64,
}

impl SmallRequests {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            window: AtomicU64::new(0),
            count: AtomicU64::new(0),
            had_some: AtomicU64::new(0),
        }
    }

    fn window(&self, now: Instant) -> u64 {
        let windows = now.duration_since(self.since).as_millis() / WINDOW.as_millis();
        u64::try_from(windows).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Threads that begin a window at once may lose each other's first requests. In a window that has had enough
    /// nothing is written that all threads read.
    fn note(&self, now: Instant) {
        let window = self.window(now);
        if self.had_some.load(Ordering::Relaxed) == window {
            return;
        }
        if self.window.swap(window, Ordering::Relaxed) != window {
            self.count.store(0, Ordering::Relaxed);
        }
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 >= SOME {
            self.had_some.store(window, Ordering::Relaxed);
        }
    }

    fn are_expected(&self, now: Instant) -> bool {
        match self.had_some.load(Ordering::Relaxed) {
            0 => false,
            had_some => self.window(now).saturating_sub(had_some) <= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance};

    use super::{SOME, SmallRequests, WINDOW};

    #[tokio::test(start_paused = true)]
    async fn small_requests_are_expected_while_some_come() {
        let small = SmallRequests::new();
        assert!(!small.are_expected(Instant::now()), "none ever came");
        for n in 1..=SOME {
            assert!(!small.are_expected(Instant::now()), "{n} of {SOME}");
            small.note(Instant::now());
        }
        assert!(small.are_expected(Instant::now()));
        advance(WINDOW).await;
        assert!(small.are_expected(Instant::now()), "a moment later");
        advance(WINDOW).await;
        assert!(!small.are_expected(Instant::now()), "none come any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_now_and_then_are_not_some() {
        let small = SmallRequests::new();
        for _ in 0..5 {
            for _ in 1..SOME {
                small.note(Instant::now());
            }
            assert!(!small.are_expected(Instant::now()));
            advance(WINDOW).await;
        }
        small.note(Instant::now());
        assert!(!small.are_expected(Instant::now()), "those of the window before do not count");
    }
}
