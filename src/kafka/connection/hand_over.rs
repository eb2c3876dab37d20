//! Who watches the sockets while a worker carries out something large.
//!
//! A runtime's workers take turns at its sockets: the one that has nothing to do waits for all of them, and when one is
//! readable carries out what came of it, before any worker watches again. Others only do when they are woken for
//! a second task. So whoever has some hundred microseconds of work (a large request: its copy, its checks, its
//! append) keeps small requests of other connections waiting for as long, whatever the number of workers and cores.
//!
//! Here it wakes another worker first. That costs a switch of threads for each large request, so it is only
//! done while there is somebody to be kept waiting.

use std::{
    future,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// For so long after a small request another is expected.
const EXPECTED_FOR: Duration = Duration::from_millis(20);

/// When a small request last came, on any connection.
#[derive(Debug)]
pub(crate) struct SmallRequests {
    since: Instant,
    /// Milliseconds after that, and one.
    latest: AtomicU64,
}

impl Default for SmallRequests {
    fn default() -> Self {
        Self { since: Instant::now(), latest: AtomicU64::new(0) }
    }
}

impl SmallRequests {
    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.since).as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// One came at this time.
    pub(super) fn note(&self, now: Instant) {
        let now = self.millis(now);
        // Most requests come within the millisecond of another, and need not write what all threads read.
        if self.latest.load(Ordering::Relaxed) < now {
            self.latest.store(now, Ordering::Relaxed);
        }
    }

    /// Whether one may come while something else is carried out.
    pub(super) fn are_expected(&self, now: Instant) -> bool {
        match self.latest.load(Ordering::Relaxed) {
            0 => false,
            latest => u128::from(self.millis(now).saturating_sub(latest)) <= EXPECTED_FOR.as_millis(),
        }
    }
}

/// Has another worker of this runtime watch the sockets, if one has nothing to do.
///
/// A worker is woken when a second task becomes ready on this one. So two are made that end at once: the first that it
/// is to run next, and the second in its queue, from where a worker that is woken takes it, to have nothing to do after
/// it and watch.
pub(super) fn hand_over_sockets() {
    for _ in 0..2 {
        drop(tokio::spawn(future::ready(())));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread,
        time::Duration,
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        time::Instant,
    };

    use super::{EXPECTED_FOR, SmallRequests, hand_over_sockets};

    #[tokio::test(start_paused = true)]
    async fn small_requests_are_expected_for_a_while_after_one() {
        let small = SmallRequests::default();
        assert!(!small.are_expected(Instant::now()), "none ever came");
        small.note(Instant::now());
        assert!(small.are_expected(Instant::now()));
        tokio::time::advance(EXPECTED_FOR).await;
        assert!(small.are_expected(Instant::now()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!small.are_expected(Instant::now()));
        small.note(Instant::now());
        assert!(small.are_expected(Instant::now()));
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (here, listener.accept().await.unwrap().0)
    }

    #[test]
    fn a_small_request_is_carried_out_while_a_large_one_keeps_its_worker() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let is_served = Arc::new(AtomicBool::new(false));
        let (is_busy, busy) = std::sync::mpsc::channel();
        let ((mut large_peer, mut large), (mut small_peer, mut small)) =
            runtime.block_on(async { (pair().await, pair().await) });
        let serves = Arc::clone(&is_served);
        let small = runtime.spawn(async move {
            small.read_u8().await.unwrap();
            serves.store(true, Ordering::SeqCst);
        });
        let waits = Arc::clone(&is_served);
        let large = runtime.spawn(async move {
            large.read_u8().await.unwrap();
            hand_over_sockets();
            is_busy.send(()).unwrap();
            let begun = Instant::now();
            while !waits.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_secs(30) {
                thread::yield_now();
            }
            waits.load(Ordering::SeqCst)
        });
        // Sent by another runtime: a task of this one would wake its workers.
        let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
        other.block_on(large_peer.write_u8(1)).unwrap();
        busy.recv_timeout(Duration::from_secs(30)).unwrap();
        other.block_on(small_peer.write_u8(1)).unwrap();
        let was_served = runtime.block_on(large).unwrap();
        assert!(was_served, "nobody looked after the other connection");
        runtime.block_on(small).unwrap();
    }
}
