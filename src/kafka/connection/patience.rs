//! One timer for all that a connection waits for.
//!
//! A timer that is begun and is due before all others of its runtime has the runtime look at its clock again: a
//! write to an eventfd and one more `epoll_wait`. A consumer at the end of the log begins to wait with every
//! record that it gets, for a time that never comes. So here a timer that stands is left alone: it rings early,
//! now and then, and is set again.

use std::pin::{Pin, pin};

use tokio::time::{Instant, Sleep, sleep_until};

/// How long things are waited for. A wait that is given up early loses nothing.
#[derive(Debug)]
pub(crate) struct Patience(Pin<Box<Sleep>>);

impl Patience {
    pub(super) fn new() -> Self {
        Self(Box::pin(sleep_until(Instant::now())))
    }

    /// Waits for `event`, `until` then at the latest; `None` if it has not come.
    pub(crate) async fn wait<T>(&mut self, until: Instant, event: impl Future<Output = T>) -> Option<T> {
        let mut event = pin!(event);
        loop {
            if self.0.is_elapsed() || self.0.deadline() > until {
                self.0.as_mut().reset(until);
            }
            tokio::select! {
                biased;
                out = &mut event => return Some(out),
                () = &mut self.0 => {}
            }
            if Instant::now() >= until {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use tokio::time::{Instant, sleep};

    use super::Patience;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_returned_and_what_does_not_is_given_up_on_time() {
        let mut patience = Patience::new();
        let begun = Instant::now();
        assert_eq!(patience.wait(begun + SECOND, async { 7 }).await, Some(7));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(patience.wait(begun + SECOND, sleep(SECOND / 2)).await, Some(()));
        assert_eq!(begun.elapsed(), SECOND / 2);
        assert_eq!(patience.wait(begun + SECOND, pending::<()>()).await, None);
        assert_eq!(begun.elapsed(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_stands_early_or_late_changes_no_wait() {
        let mut patience = Patience::new();
        for (until, comes) in [(60, 1), (5, 9), (5, 2), (30, 40), (1, 3), (90, 80)] {
            let begun = Instant::now();
            let came = patience.wait(begun + until * SECOND, sleep(comes * SECOND)).await;
            assert_eq!(came.is_some(), comes < until, "until {until}, comes after {comes}");
            assert_eq!(begun.elapsed(), until.min(comes) * SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_is_over_gives_what_is_there_already_its_chance() {
        let mut patience = Patience::new();
        let begun = Instant::now();
        sleep(SECOND).await;
        assert_eq!(patience.wait(begun, async { 7 }).await, Some(7));
        assert_eq!(patience.wait(begun, pending::<()>()).await, None);
        assert_eq!(begun.elapsed(), SECOND);
    }
}
