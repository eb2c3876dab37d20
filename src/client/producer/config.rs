use std::time::Duration;

use crate::record::Compression;

/// Who must hold a record before it counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acks {
    /// Nobody: no answer is waited for, and nothing is promised.
    None,
    /// The leader.
    Leader,
    /// Every replica in sync.
    #[default]
    All,
}

impl Acks {
    /// The number that a request carries.
    pub const fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How a producer collects, packs, sends and tries again.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// Who must hold a record before it counts as written.
    pub acks: Acks,
    /// Whether the log refuses a batch that it has already: a retry then makes no duplicate. Takes
    /// [`Acks::All`]; with less there is no such guarantee and it is left off.
    pub idempotent: bool,
    /// How long a record may wait for others to share its batch.
    pub linger: Duration,
    /// The size at which a batch is sent without waiting, in bytes before it is packed.
    pub batch_bytes: usize,
    /// How batches are packed.
    pub compression: Compression,
    /// The codec's own level, its default where there is none.
    pub compression_level: Option<i32>,
    /// Bytes of records that may be unsent or unanswered; beyond, [`super::Producer::send`] waits.
    pub buffer_bytes: usize,
    /// The size that requests for several partitions are kept below, in bytes.
    pub request_bytes: usize,
    /// Batches of one partition that may be unanswered. A log remembers 5 of an idempotent producer.
    pub max_in_flight: usize,
    /// How long a record may take in all; then it fails.
    pub delivery_timeout: Duration,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            linger: Duration::from_millis(5),
            batch_bytes: 128 * 1024,
            compression: Compression::None,
            compression_level: None,
            buffer_bytes: 32 << 20,
            request_bytes: 1 << 20,
            max_in_flight: MAX_IN_FLIGHT_IDEMPOTENT,
            delivery_timeout: Duration::from_mins(2),
        }
    }
}

/// Batches of one producer that a log remembers (KIP-98 and its implementation since Kafka 1.1).
pub(super) const MAX_IN_FLIGHT_IDEMPOTENT: usize = 5;

impl ProducerConfig {
    pub(super) fn is_idempotent(&self) -> bool {
        self.idempotent && self.acks == Acks::All
    }

    pub(super) fn in_flight_limit(&self) -> usize {
        let most = if self.is_idempotent() { MAX_IN_FLIGHT_IDEMPOTENT } else { usize::MAX };
        self.max_in_flight.clamp(1, most)
    }
}
