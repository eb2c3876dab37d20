//! When the application asked for records last.
//!
//! Heartbeats go on by themselves, so they say nothing of whether somebody works on what was delivered. That is told by
//! the application's coming back for more, as in Kafka (`max.poll.interval.ms`). It is noted for each record, so noting it
//! wakes nobody: whoever keeps the member looks when the limit may be over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// In the place of a time: a poll is under way.
const UNDER_WAY: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Polls {
    limit: Duration,
    began: Instant,
    /// Since when nobody polls, in microseconds from the beginning.
    idle_since: AtomicU64,
}

impl Polls {
    /// Nobody polls from now on.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, began: Instant::now(), idle_since: AtomicU64::new(0) }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// A poll is under way until the guard is dropped, also with the future that holds it.
    pub(super) fn begin(self: &Arc<Self>) -> Polling {
        self.idle_since.store(UNDER_WAY, Ordering::Release);
        Polling(Arc::clone(self))
    }

    /// The time that is left until the next poll, if none began from now on.
    pub(super) fn left(&self) -> Duration {
        match self.idle_since.load(Ordering::Acquire) {
            UNDER_WAY => self.limit,
            since => {
                (Duration::from_micros(since).saturating_add(self.limit)).saturating_sub(self.began.elapsed())
            }
        }
    }
}

pub(super) struct Polling(Arc<Polls>);

impl Drop for Polling {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.began.elapsed().as_micros()).unwrap_or(UNDER_WAY - 1);
        self.0.idle_since.store(now, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_runs_between_two_polls_and_not_while_one_waits() {
        let second = Duration::from_secs(1);
        let polls = Arc::new(Polls::new(10 * second));
        advance(4 * second).await;
        assert_eq!(polls.left(), 6 * second, "from the beginning on");
        let polling = polls.begin();
        advance(60 * second).await;
        assert_eq!(polls.left(), 10 * second);
        drop(polling);
        advance(9 * second).await;
        assert_eq!(polls.left(), second);
        advance(9 * second).await;
        assert_eq!(polls.left(), Duration::ZERO);
        drop(polls.begin());
        assert_eq!(polls.left(), 10 * second);
    }
}
