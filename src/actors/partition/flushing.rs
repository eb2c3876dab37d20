//! When a replica flushes what nobody waits for, and a flush as a thread carries it out.

use std::time::Duration;

use tokio::runtime::Handle;

use super::{BackgroundFlush, UpkeepThreads};
use crate::{
    clock::Clock,
    config::topic::TopicConfig,
    metrics::Metrics,
    storage::log::{FlushDone, FlushJob, Log},
};

/// What of a log is not known to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unflushed {
    Nothing,
    /// Neither much nor old.
    Little,
    /// To be flushed although nobody waits for it.
    Due,
}

impl Unflushed {
    /// Who flushes it now, if anybody is to: a flush that is waited for never stands behind one that is not.
    pub(super) fn threads(self, is_waited_for: bool, io: &Handle, upkeep: &UpkeepThreads) -> Option<Handle> {
        match (self, is_waited_for) {
            (Self::Nothing, _) | (Self::Little, false) => None,
            (Self::Little | Self::Due, true) => Some(io.clone()),
            (Self::Due, false) => Some(upkeep.flushes.clone()),
        }
    }
}

/// How much may be unflushed and for how long: the node's limits and the topic's own.
#[derive(Debug)]
pub(super) struct FlushSchedule {
    node: BackgroundFlush,
    records: Option<u64>,
    after: Duration,
    /// Since when something is not flushed, by the monotonic clock.
    since: Option<Duration>,
}

impl FlushSchedule {
    pub(super) fn new(node: BackgroundFlush, config: &TopicConfig) -> Self {
        let mut schedule = Self { node, records: None, after: node.after, since: None };
        schedule.configure(config);
        schedule
    }

    pub(super) fn configure(&mut self, config: &TopicConfig) {
        self.records = config.flush_messages;
        self.after = config.flush_time.map_or(self.node.after, |time| time.min(self.node.after));
    }

    /// Counts the time anew: a flush has ended, or the log was cut.
    pub(super) fn restart(&mut self) {
        self.since = None;
    }

    pub(super) fn look(&mut self, log: &Log, now: Duration) -> Unflushed {
        let records = log.log_end_offset().distance_from(log.flushed_end()).cast_unsigned();
        self.judge(log.unflushed_bytes(), records, now)
    }

    fn judge(&mut self, bytes: u64, records: u64, now: Duration) -> Unflushed {
        if bytes == 0 {
            self.since = None;
            return Unflushed::Nothing;
        }
        let since = *self.since.get_or_insert(now);
        let many = bytes >= self.node.bytes || self.records.is_some_and(|most| records >= most);
        let old = now.saturating_sub(since) >= self.after;
        if many || old { Unflushed::Due } else { Unflushed::Little }
    }
}

/// Carries a flush out and counts it. It blocks.
pub(super) fn flush(job: FlushJob, metrics: &Metrics, clock: &dyn Clock) -> FlushDone {
    let began = clock.monotonic();
    let done = job.run();
    metrics.flushes.inc();
    metrics.flush_seconds.observe(clock.monotonic().saturating_sub(began).as_secs_f64());
    done
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::{BackgroundFlush, FlushSchedule, TopicConfig, Unflushed};

    const NODE: BackgroundFlush = BackgroundFlush { bytes: 1_000, after: Duration::from_secs(5) };

    fn config() -> TopicConfig {
        TopicConfig::resolve(&BTreeMap::new()).unwrap()
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn much_is_due_at_once_and_little_when_it_is_old() {
        let mut schedule = FlushSchedule::new(NODE, &config());
        assert_eq!(schedule.judge(0, 0, at(0)), Unflushed::Nothing);
        assert_eq!(schedule.judge(999, 1 << 40, at(1)), Unflushed::Little);
        assert_eq!(schedule.judge(1_000, 1, at(2)), Unflushed::Due);
        assert_eq!(schedule.judge(1, 1, at(5_000)), Unflushed::Little);
        assert_eq!(schedule.judge(1, 1, at(5_001)), Unflushed::Due);
        schedule.restart();
        assert_eq!(
            schedule.judge(1, 1, at(6_000)),
            Unflushed::Little,
            "what was appended meanwhile has its own time"
        );
        assert_eq!(schedule.judge(0, 0, at(7_000)), Unflushed::Nothing);
        assert_eq!(schedule.judge(1, 1, at(11_999)), Unflushed::Little, "nothing was unflushed in between");
    }

    #[test]
    fn a_topic_may_ask_for_less_and_never_for_more() {
        let mut config = TopicConfig { flush_messages: Some(10), ..config() };
        config.flush_time = Some(at(100));
        let mut schedule = FlushSchedule::new(NODE, &config);
        assert_eq!(schedule.judge(1, 9, at(0)), Unflushed::Little);
        assert_eq!(schedule.judge(1, 10, at(1)), Unflushed::Due);
        assert_eq!(schedule.judge(1, 1, at(100)), Unflushed::Due);
        config.flush_messages = None;
        config.flush_time = Some(at(3_600_000));
        schedule.configure(&config);
        assert_eq!(schedule.judge(1, 10, at(4_999)), Unflushed::Little);
        assert_eq!(schedule.judge(1, 10, at(5_000)), Unflushed::Due, "no later than the node says");
    }
}
