//! When a failed child is started again, and when that is no longer the answer.
//!
//! A pure decision over failure times: no clock, no actor. Waiting doubles with each failure within the
//! window, so that a child that cannot start does not turn its supervisor into a spin loop; and when
//! the window holds too many failures, the fault is probably not the child's own, so its supervisor
//! fails in turn and everything below starts afresh.

use std::{collections::VecDeque, time::Duration};

/// How often and how fast a child is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// The wait before the first restart; doubled for each further failure within the window.
    pub backoff_min: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// How many failures within `window` are answered with a restart; one more escalates. `None`
    /// never escalates.
    pub failures_max: Option<u32>,
    /// How long a failure counts.
    pub window: Duration,
}

impl RestartPolicy {
    /// The policy that tries for ever: for children whose failure says nothing about their siblings,
    /// such as the partitions of one broker.
    pub const PATIENT: Self = Self {
        backoff_min: Duration::from_millis(50),
        backoff_max: Duration::from_secs(5),
        failures_max: None,
        window: Duration::from_mins(1),
    };
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self { failures_max: Some(10), ..Self::PATIENT }
    }
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start the child again after this wait.
    Restart {
        /// How long to wait first.
        after: Duration,
    },
    /// Too many failures within the window: the supervisor fails in its turn.
    Escalate,
}

/// The most failures remembered: past it the wait has long reached any sensible maximum.
const REMEMBERED: usize = 64;

/// The failures of one child that still count.
#[derive(Clone, Debug, Default)]
pub struct RestartHistory {
    failures: VecDeque<Duration>,
}

impl RestartHistory {
    /// Takes note of a failure at `now` (monotonic) and says what follows it.
    pub fn on_failure(&mut self, policy: &RestartPolicy, now: Duration) -> Verdict {
        self.failures.retain(|at| now.saturating_sub(*at) < policy.window);
        self.failures.push_back(now);
        let count = self.failures.len();
        let remembered = policy.failures_max.map_or(REMEMBERED, |max| max as usize + 1);
        if count > remembered {
            self.failures.pop_front();
        }
        match policy.failures_max {
            Some(max) if count > max as usize => Verdict::Escalate,
            Some(_) | None => Verdict::Restart { after: backoff(policy, count) },
        }
    }

    /// How many failures within the window are known.
    pub fn recent(&self) -> usize {
        self.failures.len()
    }
}

fn backoff(policy: &RestartPolicy, failures: usize) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(31);
    policy.backoff_min.saturating_mul(1 << doublings).min(policy.backoff_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn verdicts(policy: RestartPolicy, failures_at: &[u64]) -> Vec<Option<u64>> {
        let mut history = RestartHistory::default();
        failures_at
            .iter()
            .map(|at| match history.on_failure(&policy, ms(*at)) {
                Verdict::Restart { after } => Some(after.as_millis() as u64),
                Verdict::Escalate => None,
            })
            .collect()
    }

    #[test]
    fn the_wait_doubles_up_to_its_maximum() {
        let expected = [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000].map(Some);
        assert_eq!(verdicts(RestartPolicy::default(), &[0; 10]), expected);
    }

    #[test]
    fn one_failure_more_than_allowed_within_the_window_escalates() {
        let policy = RestartPolicy { failures_max: Some(2), window: ms(1000), ..RestartPolicy::default() };
        let table: [(&[u64], &[Option<u64>]); 4] = [
            (&[0, 0, 0], &[Some(50), Some(100), None]),
            (&[0, 500, 999], &[Some(50), Some(100), None]),
            (&[0, 500, 1000], &[Some(50), Some(100), Some(100)]),
            (&[0, 5000, 10_000], &[Some(50), Some(50), Some(50)]),
        ];
        for (failures_at, expected) in table {
            assert_eq!(verdicts(policy, failures_at), expected, "failures at {failures_at:?}");
        }
    }

    #[test]
    fn none_allowed_escalates_at_once() {
        let policy = RestartPolicy { failures_max: Some(0), ..RestartPolicy::default() };
        assert_eq!(verdicts(policy, &[7]), [None]);
    }

    #[test]
    fn the_patient_policy_never_escalates_and_remembers_a_bounded_number() {
        let mut history = RestartHistory::default();
        for at in 0..10_000 {
            let verdict = history.on_failure(&RestartPolicy::PATIENT, ms(at));
            assert_ne!(verdict, Verdict::Escalate, "at {at}");
        }
        assert_eq!(history.recent(), REMEMBERED);
        let verdict = history.on_failure(&RestartPolicy::PATIENT, ms(10_000));
        assert_eq!(verdict, Verdict::Restart { after: Duration::from_secs(5) });
    }
}
