use std::time::Duration;

use crate::client::{ConsumerConfig, StartAt, consumer::OutOfRange};

/// How a member of a group behaves.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// The group.
    pub group: String,
    /// What a static member is known by: it keeps its partitions while it is away for less than its session.
    pub instance: Option<String>,
    /// The assignor of the group that it would have; none: the coordinator's own.
    pub assignor: Option<String>,
    /// How long the application may stay away between two calls of [`GroupConsumer::next`](super::GroupConsumer::next), as
    /// Kafka's `max.poll.interval.ms`. After that the member leaves its group, so that another is given its partitions, and
    /// comes back with the next call. It has that long to give a partition back, too, and the coordinator counts a record
    /// that was worked on for longer as a failed delivery (`max.delivery.attempts`).
    pub max_poll_interval: Duration,
    /// Where to begin in a partition that the group has committed nothing of.
    pub start: StartAt,
    /// How long a record is left alone after a first failed delivery; doubles with each, up to `nack_backoff_max`.
    pub nack_backoff: Duration,
    /// The longest that it is left alone.
    pub nack_backoff_max: Duration,
    /// How records are fetched.
    pub consumer: ConsumerConfig,
}

impl GroupConfig {
    /// The defaults, for this group.
    pub fn new(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            instance: None,
            assignor: None,
            max_poll_interval: Duration::from_mins(5),
            start: StartAt::BEGINNING,
            nack_backoff: Duration::from_millis(100),
            nack_backoff_max: Duration::from_secs(10),
            consumer: ConsumerConfig { out_of_range: OutOfRange::Earliest, ..ConsumerConfig::default() },
        }
    }

    /// How long a record is left alone after so many failed deliveries.
    pub(super) fn pause_after(&self, attempts: u32) -> Duration {
        let doubled = self.nack_backoff.saturating_mul(1 << attempts.saturating_sub(1).min(16));
        doubled.min(self.nack_backoff_max)
    }
}
