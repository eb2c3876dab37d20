use std::time::Duration;

use crate::{client::OffsetSpec, model::Offset};

/// Where reading a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At this offset.
    Offset(Offset),
    /// Where a question to the leader says.
    Spec(OffsetSpec),
}

impl StartAt {
    /// At the first record there is.
    pub const BEGINNING: Self = Self::Spec(OffsetSpec::Earliest);
    /// Behind the last record there is.
    pub const END: Self = Self::Spec(OffsetSpec::Latest);
}

/// What to do where the log does not have the offset that is to be read next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutOfRange {
    /// Report it; the partition is read no further.
    #[default]
    Fail,
    /// Go on at the first record there is.
    Earliest,
    /// Go on behind the last record there is.
    Latest,
}

/// How a consumer fetches.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// How long a broker may wait for records before it answers without.
    pub max_wait: Duration,
    /// How many bytes are worth an answer before that.
    pub min_bytes: usize,
    /// The most bytes of one answer, but for a first batch that is larger.
    pub max_bytes: usize,
    /// The most bytes of one partition in one answer, but for a first batch that is larger.
    pub partition_max_bytes: usize,
    /// Bytes, as fetched, that may wait to be polled. One answer may go beyond.
    pub prefetch_bytes: usize,
    /// Whether checksums are checked.
    pub check_crcs: bool,
    /// What to do where the log does not have the offset that is next.
    pub out_of_range: OutOfRange,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 8 << 20,
            partition_max_bytes: 1 << 20,
            prefetch_bytes: 16 << 20,
            check_crcs: true,
            out_of_range: OutOfRange::Fail,
        }
    }
}
