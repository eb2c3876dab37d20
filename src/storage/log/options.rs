use std::time::Duration;

use crate::{
    record::TimestampType,
    storage::{compaction::CompactionOptions, producer_state::ProducerLimits},
};

/// How a log is kept; the topic's configs, typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The most bytes of a segment (`segment.bytes`). A batch that is larger is refused.
    pub segment_bytes: u64,
    /// The most time between the first and the last timestamp of a segment (`segment.ms`).
    pub segment_ms: Duration,
    /// The most bytes of a segment's offset index (`segment.index.bytes`).
    pub segment_index_bytes: usize,
    /// Bytes of batches for each index entry (`index.interval.bytes`).
    pub index_interval_bytes: u64,
    /// How old a segment's newest record may become; `None`: any age (`retention.ms`).
    pub retention: Option<Duration>,
    /// How many bytes are kept; `None`: any number (`retention.bytes`).
    pub retention_bytes: Option<u64>,
    /// Whether and how the log is compacted (`cleanup.policy`).
    pub compaction: Option<CompactionOptions>,
    /// Whose time the records carry (`message.timestamp.type`).
    pub timestamp_type: TimestampType,
    /// How much is remembered of idempotent producers.
    pub producers: ProducerLimits,
    /// Bytes that are flushed before the producers' state is stored again: with what is not flushed, the
    /// most that recovery reads.
    pub snapshot_bytes: u64,
    /// Sealed segments that are kept open at the same time.
    pub open_segments_max: usize,
}

impl Default for LogOptions {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: Duration::from_hours(7 * 24),
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention: Some(Duration::from_hours(7 * 24)),
            retention_bytes: None,
            compaction: None,
            timestamp_type: TimestampType::CreateTime,
            producers: ProducerLimits::default(),
            snapshot_bytes: 4 << 20,
            open_segments_max: 8,
        }
    }
}
