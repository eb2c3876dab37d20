//! What a partition remembers of its idempotent producers (KIP-98): enough to tell a retry from a new
//! batch, and a gap from either.
//!
//! The last five batches of each producer are kept, as many as a client may have in flight. The log is
//! the truth: after a truncation the state is rebuilt from a snapshot below the cut and the batches
//! above it (S9), never cut itself, since what was forgotten cannot be brought back.
//!
//! Idle producers are forgotten after a time, and memory is bounded: past the limit those whose last
//! batch is the oldest go. A forgotten producer may go on with any sequence, as in Kafka.
//!
//! The snapshot's body, inside the envelope of [`own_file`](super::own_file), magic `PLps`, version 1:
//!
//! ```text
//! offset size
//!      0    8  end offset: the state is that of the log below it
//!      8    4  number of producers, each:
//!           8    producer id, strictly ascending
//!           2    producer epoch
//!           8    wall time of the last batch, ms
//!           1    number of batches, 1 to 5, the oldest first, each:
//!           4      base sequence
//!           4      last sequence
//!           8      base offset
//!           8      last offset
//!           8      maximum timestamp, ms
//! ```

mod snapshot;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

pub use snapshot::write_snapshot;

use crate::model::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// How many batches are remembered per producer: as many as the protocol lets a client have in flight.
pub const BATCHES_REMEMBERED: usize = 5;

/// How much is remembered, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerLimits {
    /// The most producers of one partition. Each takes about 300 bytes.
    pub max_producers: usize,
    /// How long an idle one is remembered (Kafka's `producer.id.expiration.ms`).
    pub expiration: Duration,
}

impl Default for ProducerLimits {
    fn default() -> Self {
        Self { max_producers: 10_000, expiration: Duration::from_hours(24) }
    }
}

/// What the header of a batch says about its producer, and where the batch lies in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSequence {
    /// Who wrote it; below 0 for a producer that is not idempotent.
    pub producer_id: ProducerId,
    /// Its incarnation.
    pub producer_epoch: ProducerEpoch,
    /// The sequence of its first record.
    pub base_sequence: Sequence,
    /// The sequence of its last record: by the last offset delta rather than the count of records, which
    /// compaction lowers.
    pub last_sequence: Sequence,
    /// The offset of its first record; without meaning to [`ProducerState::check`].
    pub base_offset: Offset,
    /// The offset of its last record; without meaning to [`ProducerState::check`].
    pub last_offset: Offset,
    /// The highest timestamp among its records.
    pub max_timestamp: TimestampMs,
}

/// What to do with a batch that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is new: append it.
    Append,
    /// It is in the log already: answer with the original's place, once the original itself may be
    /// acknowledged (S9).
    Duplicate {
        /// The original's first offset.
        base_offset: Offset,
        /// The original's last offset.
        last_offset: Offset,
        /// The original's highest timestamp.
        timestamp: TimestampMs,
    },
}

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// Records are missing between the last batch and this one, or it is a retry of one that is too old
    /// to be remembered (Kafka's code 45).
    #[error("producer {producer_id} sent sequence {found} where {expected} is next")]
    OutOfOrderSequence {
        /// Who.
        producer_id: ProducerId,
        /// The sequence that would follow.
        expected: Sequence,
        /// The batch's first sequence.
        found: Sequence,
    },
    /// A new incarnation does not begin with sequence 0 (Kafka's code 45).
    #[error("producer {producer_id} began epoch {epoch} with sequence {found} instead of 0")]
    EpochBeginsLate {
        /// Who.
        producer_id: ProducerId,
        /// Its new incarnation.
        epoch: ProducerEpoch,
        /// The batch's first sequence.
        found: Sequence,
    },
    /// A newer incarnation of the producer has written: this one is fenced (Kafka's code 47).
    #[error("producer {producer_id} sent epoch {found}, fenced by epoch {current}")]
    StaleEpoch {
        /// Who.
        producer_id: ProducerId,
        /// The newest incarnation that has written.
        current: ProducerEpoch,
        /// The batch's.
        found: ProducerEpoch,
    },
}

/// A batch in the log, as far as a retry of it must be recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remembered {
    base_sequence: Sequence,
    last_sequence: Sequence,
    base_offset: Offset,
    last_offset: Offset,
    max_timestamp: TimestampMs,
}

/// One producer. Has at least one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    /// Wall time when its last batch was appended. Not the batch's own timestamp: a client that writes
    /// history would be forgotten at once.
    last_used: TimestampMs,
    /// The oldest first.
    batches: VecDeque<Remembered>,
}

impl Producer {
    fn last_offset(&self) -> Offset {
        self.batches.back().map_or(Offset::new(-1), |batch| batch.last_offset)
    }
}

/// A producer as `DescribeProducers` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Who.
    pub producer_id: ProducerId,
    /// Its newest incarnation.
    pub producer_epoch: ProducerEpoch,
    /// The last sequence that it wrote.
    pub last_sequence: Sequence,
    /// The highest timestamp in its last batch.
    pub last_timestamp: TimestampMs,
}

/// The idempotent producers of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    limits: ProducerLimits,
    producers: BTreeMap<ProducerId, Producer>,
}

impl ProducerState {
    /// Nobody is known.
    pub const fn new(limits: ProducerLimits) -> Self {
        Self { limits, producers: BTreeMap::new() }
    }

    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// All known producers, by id.
    pub fn producers(&self) -> impl Iterator<Item = ActiveProducer> + '_ {
        self.producers.iter().filter_map(|(producer_id, producer)| {
            let last = producer.batches.back()?;
            Some(ActiveProducer {
                producer_id: *producer_id,
                producer_epoch: producer.epoch,
                last_sequence: last.last_sequence,
                last_timestamp: last.max_timestamp,
            })
        })
    }

    /// The last offset of each known producer.
    pub fn last_offsets(&self) -> impl Iterator<Item = (ProducerId, Offset)> + '_ {
        self.producers.iter().map(|(id, producer)| (*id, producer.last_offset()))
    }

    /// Decides about a batch before it is appended. Changes nothing.
    pub fn check(&self, batch: &BatchSequence) -> Result<Check, ProducerError> {
        if batch.producer_id < ProducerId::new(0) {
            return Ok(Check::Append);
        }
        let known = self.producers.get(&batch.producer_id);
        let Some((producer, last)) = known.and_then(|known| Some((known, known.batches.back()?))) else {
            return Ok(Check::Append);
        };
        if batch.producer_epoch < producer.epoch {
            return Err(ProducerError::StaleEpoch {
                producer_id: batch.producer_id,
                current: producer.epoch,
                found: batch.producer_epoch,
            });
        }
        if batch.producer_epoch > producer.epoch {
            return check_new_epoch(batch);
        }
        if let Some(original) = producer.batches.iter().find(|known| is_same(known, batch)) {
            return Ok(Check::Duplicate {
                base_offset: original.base_offset,
                last_offset: original.last_offset,
                timestamp: original.max_timestamp,
            });
        }
        let expected = last.last_sequence.plus(1);
        if batch.base_sequence == expected {
            return Ok(Check::Append);
        }
        Err(ProducerError::OutOfOrderSequence {
            producer_id: batch.producer_id,
            expected,
            found: batch.base_sequence,
        })
    }

    /// Notes a batch that is in the log now: one that was just appended, or one that is replayed while
    /// the state is rebuilt. `now` is wall time; when replaying, that of the replay, so that nobody is
    /// forgotten early.
    pub fn record(&mut self, batch: &BatchSequence, now: TimestampMs) {
        if batch.producer_id < ProducerId::new(0) {
            return;
        }
        if !self.producers.contains_key(&batch.producer_id) {
            self.make_room();
        }
        let producer = self.producers.entry(batch.producer_id).or_insert_with(|| Producer {
            epoch: batch.producer_epoch,
            last_used: now,
            batches: VecDeque::with_capacity(BATCHES_REMEMBERED),
        });
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.last_used = now;
        producer.batches.push_back(Remembered {
            base_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence,
            base_offset: batch.base_offset,
            last_offset: batch.last_offset,
            max_timestamp: batch.max_timestamp,
        });
    }

    /// Forgets producers that have been idle for the expiration time; says how many.
    pub fn expire(&mut self, now: TimestampMs) -> usize {
        let before = self.producers.len();
        let deadline = now.earlier(self.limits.expiration);
        self.producers.retain(|_, producer| producer.last_used > deadline);
        before - self.producers.len()
    }

    /// Forgets a sixteenth of the producers when there is no room for another: those whose last batch is
    /// the oldest in the log. Several at once, so that a flood of ids does not pay for a search each.
    fn make_room(&mut self) {
        let limit = self.limits.max_producers.max(1);
        if self.producers.len() < limit {
            return;
        }
        let surplus = self.producers.len() - limit + 1;
        let victims = surplus.max(limit / 16).min(self.producers.len());
        let mut by_age: Vec<Offset> = self.producers.values().map(Producer::last_offset).collect();
        let (_, newest_victim, _) = by_age.select_nth_unstable(victims - 1);
        let newest_victim = *newest_victim;
        self.producers.retain(|_, producer| producer.last_offset() > newest_victim);
    }
}

fn check_new_epoch(batch: &BatchSequence) -> Result<Check, ProducerError> {
    if batch.base_sequence == Sequence::new(0) {
        return Ok(Check::Append);
    }
    Err(ProducerError::EpochBeginsLate {
        producer_id: batch.producer_id,
        epoch: batch.producer_epoch,
        found: batch.base_sequence,
    })
}

fn is_same(known: &Remembered, batch: &BatchSequence) -> bool {
    known.base_sequence == batch.base_sequence && known.last_sequence == batch.last_sequence
}
