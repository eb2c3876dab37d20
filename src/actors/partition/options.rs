//! From a topic's configuration to a log's options: `storage` knows no topic.

use crate::{
    config::topic::{self, TopicConfig},
    record,
    storage::{compaction::CompactionOptions, log::LogOptions},
};

/// How the log of a topic with these configs is kept.
pub fn log_options(config: &TopicConfig) -> LogOptions {
    LogOptions {
        segment_bytes: config.segment_bytes.into(),
        segment_ms: config.segment_time,
        segment_index_bytes: config.segment_index_bytes as usize,
        index_interval_bytes: config.index_interval_bytes.into(),
        retention: config.retention_time.filter(|_| config.deletes),
        retention_bytes: config.retention_bytes.filter(|_| config.deletes),
        compaction: config.compacts.then(|| CompactionOptions {
            dirty_percent: config.dirty_percent,
            min_lag: config.min_compaction_lag,
            max_lag: config.max_compaction_lag,
            tombstones_kept: config.tombstones_kept,
            ..CompactionOptions::default()
        }),
        timestamp_type: config.timestamp_type.into(),
        ..LogOptions::default()
    }
}

impl From<topic::TimestampType> for record::TimestampType {
    fn from(config: topic::TimestampType) -> Self {
        match config {
            topic::TimestampType::CreateTime => Self::CreateTime,
            topic::TimestampType::LogAppendTime => Self::LogAppendTime,
        }
    }
}
