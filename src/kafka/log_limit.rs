//! A bound on how often the same kind of line is logged.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::clock::Clock;

/// Lines per second.
const LINES: u32 = 10;

/// Lets so many lines through each second and counts the others.
#[derive(Debug, Default)]
pub struct LogLimit(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    second: u64,
    said: u32,
    unsaid: u64,
}

impl LogLimit {
    /// Whether a line may be logged now, and how many were not since the last that was.
    pub fn may_speak(&self, clock: &dyn Clock) -> Option<u64> {
        let second = Duration::as_secs(&clock.monotonic());
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.second != second {
            *window = Window { second, said: 0, unsaid: window.unsaid };
        }
        if window.said >= LINES {
            window.unsaid += 1;
            return None;
        }
        window.said += 1;
        Some(std::mem::take(&mut window.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LINES, LogLimit};
    use crate::{clock::ManualClock, model::TimestampMs};

    #[test]
    fn a_storm_is_counted_and_told_in_the_next_second() {
        let clock = ManualClock::at(TimestampMs::new(0));
        let limit = LogLimit::default();
        let spoken = (0..100).filter(|_| limit.may_speak(&clock).is_some()).count();
        assert_eq!(spoken, LINES as usize);
        clock.advance(Duration::from_secs(1));
        assert_eq!(limit.may_speak(&clock), Some(90));
        assert_eq!(limit.may_speak(&clock), Some(0));
    }
}
