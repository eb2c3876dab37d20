//! Decides which segments are old enough to go. Pure: the log tells it what there is.
//!
//! Data goes only by time, by size, or because the log start was raised above it, and never what a
//! consumer may still be promised: nothing at or above the high watermark or the flushed position. A
//! segment whose age is not known stays.

use std::time::Duration;

use crate::model::{Offset, TimestampMs};

/// What is known of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// The offset after its last batch.
    pub end: Offset,
    /// Bytes of batches; none where those of its offsets were lost.
    pub bytes: u64,
    /// The highest timestamp of its records; `None` when the disk would have to be asked.
    pub max_timestamp: Option<i64>,
}

/// What decides.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Wall time.
    pub now: TimestampMs,
    /// How old the newest record of a segment may become.
    pub age: Option<Duration>,
    /// How many bytes are kept at least, once there are as many.
    pub bytes: Option<u64>,
    /// Nothing below is read any more.
    pub log_start: Offset,
    /// Nothing that reaches above may go.
    pub below: Offset,
}

/// How many of the first segments may go. One without a batch goes with those before it: it would never come of age, and
/// hold all that follow. `segments` are all of them, ascending; the last, which is
/// written, never goes.
pub fn expired(segments: &[SegmentFacts], limits: &Limits) -> usize {
    let mut left: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let sealed = segments.len().saturating_sub(1);
    let mut count = 0;
    for segment in segments.iter().take(sealed) {
        let rest = left - segment.bytes;
        let has_no_age = segment.bytes == 0 && limits.age.is_some();
        let goes = segment.end <= limits.log_start
            || has_no_age
            || is_too_old(segment.max_timestamp, limits)
            || limits.bytes.is_some_and(|keep| rest >= keep);
        if segment.end > limits.below || !goes {
            break;
        }
        (left, count) = (rest, count + 1);
    }
    count
}

/// Whether records with this highest timestamp have expired. Records without a time never do.
pub fn is_too_old(max_timestamp: Option<i64>, limits: &Limits) -> bool {
    let Some((newest, age)) = max_timestamp.filter(|newest| *newest >= 0).zip(limits.age) else {
        return false;
    };
    newest < limits.now.earlier(age).get()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Limits, SegmentFacts, expired};
    use crate::model::{Offset, TimestampMs};

    const NO_LIMIT: Limits = Limits {
        now: TimestampMs::new(10_000),
        age: None,
        bytes: None,
        log_start: Offset::ZERO,
        below: Offset::MAX,
    };

    fn segments() -> Vec<SegmentFacts> {
        (1..=5)
            .map(|i| SegmentFacts { end: Offset::new(i * 10), bytes: 100, max_timestamp: Some(i * 1000) })
            .collect()
    }

    #[test]
    fn by_time_the_oldest_go_until_one_is_young_enough_or_its_age_is_not_known() {
        let limits = Limits { age: Some(Duration::from_secs(7)), ..NO_LIMIT };
        assert_eq!(expired(&segments(), &limits), 2, "3000 is exactly seven seconds ago");
        let mut unknown = segments();
        unknown[1].max_timestamp = None;
        assert_eq!(expired(&unknown, &limits), 1);
        let mut timeless = segments();
        timeless[0].max_timestamp = Some(-1);
        assert_eq!(expired(&timeless, &limits), 0);
        let all = Limits { age: Some(Duration::ZERO), ..NO_LIMIT };
        assert_eq!(expired(&segments(), &all), 4, "the last one is written");
    }

    #[test]
    fn by_time_one_whose_batches_are_lost_holds_none_that_follow_and_goes_not_before_those_that_it_follows() {
        let limits = Limits { age: Some(Duration::from_secs(7)), ..NO_LIMIT };
        let mut lost = segments();
        (lost[1].bytes, lost[1].max_timestamp) = (0, None);
        lost[2].max_timestamp = Some(2500);
        assert_eq!(expired(&lost, &limits), 3);
        lost[0].max_timestamp = Some(5000);
        assert_eq!(expired(&lost, &limits), 0);
        assert_eq!(expired(&lost[1..], &NO_LIMIT), 0, "what is lost is told of for as long as nothing goes");
    }

    #[test]
    fn by_size_at_least_the_limit_is_kept() {
        for (keep, gone) in [(500, 0), (401, 0), (400, 1), (399, 1), (150, 3), (0, 4)] {
            assert_eq!(expired(&segments(), &Limits { bytes: Some(keep), ..NO_LIMIT }), gone, "{keep}");
        }
    }

    #[test]
    fn nothing_goes_that_reaches_above_what_is_committed() {
        let limits = Limits { bytes: Some(0), below: Offset::new(25), ..NO_LIMIT };
        assert_eq!(expired(&segments(), &limits), 2);
    }

    #[test]
    fn what_lies_wholly_below_the_log_start_goes_without_any_limit() {
        assert_eq!(expired(&segments(), &Limits { log_start: Offset::new(29), ..NO_LIMIT }), 2);
        assert_eq!(expired(&segments(), &Limits { log_start: Offset::new(30), ..NO_LIMIT }), 3);
    }
}
