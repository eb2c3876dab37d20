//! The only place that asks for the time.
//!
//! Wall time stamps records and decides retention; it may jump. Monotonic time measures waits and
//! decides time-outs; it never does. Whoever needs either takes a [`Clock`], so that tests and the
//! simulator can hold the hands.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::model::TimestampMs;

/// Both kinds of time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall time.
    fn wall(&self) -> TimestampMs;
    /// Monotonic time since some fixed moment of this process.
    fn monotonic(&self) -> Duration;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// The same, ready to be shared.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self::new())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place")]
    fn wall(&self) -> TimestampMs {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimestampMs::new(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that moves only when it is told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    wall_ms: AtomicI64,
    monotonic_ns: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at `wall`, its monotonic time at zero.
    pub fn at(wall: TimestampMs) -> Self {
        Self { wall_ms: AtomicI64::new(wall.get()), monotonic_ns: AtomicU64::new(0) }
    }

    /// Moves both kinds of time forward.
    pub fn advance(&self, by: Duration) {
        self.wall_ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.monotonic_ns.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Sets wall time alone, as an operator or a time server may, backwards too.
    pub fn set_wall(&self, wall: TimestampMs) {
        self.wall_ms.store(wall.get(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> TimestampMs {
        TimestampMs::new(self.wall_ms.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.monotonic_ns.load(Ordering::SeqCst))
    }
}
