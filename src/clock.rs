//! The only place that asks for the time.
//!
//! Wall time stamps records and decides retention; it may jump. Monotonic time measures waits and
//! decides time-outs; it never does. Whoever needs either takes a [`Clock`], so that tests and the
//! simulator can hold the hands.
//!
//! A machine's wall clock that is hours wrong for a while must not cost data: a [`GuardedClock`] compares both kinds of time,
//! and says of a jump what the time was before it, for an hour.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
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
    /// Wall time for what cannot be taken back, such as deleting what is old: a jump forward counts only once it has stood
    /// for a while.
    fn settled_wall(&self) -> TimestampMs {
        self.wall()
    }
    /// Wall time for judging the clocks of others: a jump back does not make theirs wrong.
    fn latest_wall(&self) -> TimestampMs {
        self.wall()
    }
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

/// What a time server sets right without anybody's notice is less.
const JUMP_MS: i64 = 60_000;
/// How long a jump has to stand before it counts: somebody who reads logs can set the clock right before.
const DOUBTED_FOR: Duration = Duration::from_hours(1);

/// A clock whose wall time may jump, and what is known of that.
#[derive(Debug)]
pub struct GuardedClock {
    inner: Arc<dyn Clock>,
    known: Mutex<Known>,
}

/// Where both kinds of time stood when they last agreed.
#[derive(Clone, Copy, Debug)]
struct Known {
    wall: TimestampMs,
    monotonic: Duration,
    /// When they were first seen not to agree.
    doubted_since: Option<Duration>,
}

impl Known {
    /// What the wall clock would say had it not jumped.
    fn expected(&self, monotonic: Duration) -> TimestampMs {
        let passed = monotonic.saturating_sub(self.monotonic).as_millis();
        TimestampMs::new(self.wall.get().saturating_add(i64::try_from(passed).unwrap_or(i64::MAX)))
    }
}

impl GuardedClock {
    /// Takes the wall time to be right as it is.
    pub fn new(inner: Arc<dyn Clock>) -> Self {
        let known = Known { wall: inner.wall(), monotonic: inner.monotonic(), doubted_since: None };
        Self { inner, known: Mutex::new(known) }
    }

    /// The machine's clock, ready to be shared.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self::new(SystemClock::shared()))
    }

    /// The wall time, and what it would be had it not jumped; the same where it has not, or the jump has stood.
    fn both(&self) -> (TimestampMs, TimestampMs) {
        let (wall, monotonic) = (self.inner.wall(), self.inner.monotonic());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = known.expected(monotonic);
        let jump_ms = wall.get().saturating_sub(expected.get());
        let agrees = jump_ms.abs() < JUMP_MS;
        let doubted_since = known.doubted_since;
        match doubted_since {
            None if !agrees => {
                tracing::warn!(
                    jump_ms,
                    "the wall clock has jumped; what it says counts in an hour for deleting what is old"
                );
                known.doubted_since = Some(monotonic);
            }
            Some(_) if agrees => tracing::warn!("the wall clock has jumped back"),
            Some(since) if monotonic.saturating_sub(since) >= DOUBTED_FOR => {
                tracing::warn!(jump_ms, "the wall clock's jump counts from now on");
                *known = Known { wall, monotonic, doubted_since: None };
                return (wall, wall);
            }
            None | Some(_) => {}
        }
        if agrees {
            *known = Known { wall, monotonic, doubted_since: None };
            return (wall, wall);
        }
        (wall, expected)
    }
}

impl Clock for GuardedClock {
    fn wall(&self) -> TimestampMs {
        self.inner.wall()
    }

    fn monotonic(&self) -> Duration {
        self.inner.monotonic()
    }

    fn settled_wall(&self) -> TimestampMs {
        let (wall, expected) = self.both();
        wall.min(expected)
    }

    fn latest_wall(&self) -> TimestampMs {
        let (wall, expected) = self.both();
        wall.max(expected)
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

/// A clock whose monotonic time goes on by as much with each look at it; wall time stands still.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct TickingClock {
    hands: ManualClock,
    tick: Duration,
}

#[cfg(test)]
impl TickingClock {
    pub(crate) fn new(tick: Duration) -> Self {
        Self { hands: ManualClock::default(), tick }
    }
}

#[cfg(test)]
impl Clock for TickingClock {
    fn wall(&self) -> TimestampMs {
        self.hands.wall()
    }

    fn monotonic(&self) -> Duration {
        let tick = u64::try_from(self.tick.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.hands.monotonic_ns.fetch_add(tick, Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Clock, DOUBTED_FOR, Duration, GuardedClock, ManualClock, TimestampMs};

    const START: TimestampMs = TimestampMs::new(1_000_000_000);
    const HOURS: i64 = 6 * 3_600_000;
    const A_WHILE: Duration = Duration::from_mins(5);

    fn guarded() -> (Arc<ManualClock>, GuardedClock) {
        let hands = Arc::new(ManualClock::at(START));
        let inner: Arc<dyn Clock> = Arc::<ManualClock>::clone(&hands);
        (hands, GuardedClock::new(inner))
    }

    fn jump(hands: &ManualClock, by: i64) {
        hands.set_wall(TimestampMs::new(hands.wall().get() + by));
    }

    #[test]
    fn a_clock_that_goes_a_little_wrong_is_believed_however_much_that_is_in_the_end() {
        let (hands, clock) = guarded();
        for _ in 0..100 {
            hands.advance(A_WHILE);
            jump(&hands, 30_000);
            assert_eq!(clock.settled_wall(), hands.wall());
            assert_eq!(clock.latest_wall(), hands.wall());
        }
    }

    #[test]
    fn a_jump_forward_makes_nothing_old_before_it_has_stood_for_an_hour() {
        let (hands, clock) = guarded();
        jump(&hands, HOURS);
        assert_eq!(clock.settled_wall(), START);
        assert_eq!((clock.wall(), clock.latest_wall()), (hands.wall(), hands.wall()));
        hands.advance(A_WHILE);
        assert_eq!(clock.settled_wall().get(), hands.wall().get() - HOURS, "time goes on all the same");
        hands.advance(DOUBTED_FOR);
        assert_eq!(clock.settled_wall(), hands.wall());
        assert_eq!(clock.settled_wall(), hands.wall());
    }

    #[test]
    fn a_jump_back_makes_the_clocks_of_others_not_wrong_before_it_has_stood_for_an_hour() {
        let (hands, clock) = guarded();
        jump(&hands, -HOURS);
        assert_eq!(clock.latest_wall(), START);
        assert_eq!(clock.settled_wall(), hands.wall());
        hands.advance(DOUBTED_FOR);
        assert_eq!(clock.latest_wall(), hands.wall());
    }

    #[test]
    fn a_jump_that_is_set_right_was_none_and_the_next_one_is_doubted_for_as_long() {
        let (hands, clock) = guarded();
        jump(&hands, HOURS);
        assert_eq!(clock.settled_wall(), START);
        jump(&hands, -HOURS);
        hands.advance(DOUBTED_FOR);
        assert_eq!(clock.settled_wall(), hands.wall());
        jump(&hands, HOURS);
        hands.advance(A_WHILE);
        assert_eq!(clock.settled_wall().get(), hands.wall().get() - HOURS);
    }
}
