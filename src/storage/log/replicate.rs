//! Appending what a leader has appended: its batches, byte for byte, with the offsets and terms in them.
//!
//! They come off a wire, so all of them are judged before any is written: length, checksum, that the first one
//! begins where this log ends and each where the one before it ended, that no term goes back or belongs to a
//! later leader than the one that sent them. What is refused leaves the log as it was.

use std::io;

use super::{
    Log, Poisoned,
    append::{is_full, sequence_of},
};
use crate::{
    model::{LeaderEpoch, Offset, TimestampMs},
    record::{BATCH_HEADER_LEN, BatchError, BatchHeader, crc_is_right, empty_batch},
};

/// What an append from a leader has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicated {
    /// The log's end afterwards.
    pub end: Offset,
    /// How many batches were appended.
    pub batches: u64,
}

/// Why nothing of what a leader sent was appended, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum ReplicateError {
    /// The log has a term of its own.
    #[error("log leads under epoch {0}, it takes no other leader's batches")]
    Leads(LeaderEpoch),
    /// The bytes end within a batch.
    #[error("batch at offset {offset} is cut short")]
    Cut {
        /// Where the batch should have stood.
        offset: Offset,
    },
    /// The header makes no sense.
    #[error("header of the batch at offset {offset} makes no sense: {source}")]
    Header {
        /// Where the batch should have stood.
        offset: Offset,
        /// What is wrong with it.
        source: BatchError,
    },
    /// The header counts offsets that no log can reach.
    #[error("batch at offset {offset} counts {last_offset_delta} offsets further")]
    Count {
        /// Where the batch stands.
        offset: Offset,
        /// What its header says.
        last_offset_delta: i32,
    },
    /// The CRC-32C does not match.
    #[error("checksum of the batch at offset {offset} does not match")]
    Checksum {
        /// Where the batch stands.
        offset: Offset,
    },
    /// It does not begin where the one before it, or the log, ends.
    #[error("batch has base offset {found} where {expected} is next")]
    Offset {
        /// The offset that comes next.
        expected: Offset,
        /// The batch's.
        found: Offset,
    },
    /// Its term is below the one before it, or above that of the leader who sent it.
    #[error("batch at offset {offset} has leader epoch {found}, not from {lowest} to {highest}")]
    Epoch {
        /// Where the batch stands.
        offset: Offset,
        /// Its term.
        found: LeaderEpoch,
        /// The lowest that it may have.
        lowest: LeaderEpoch,
        /// The highest that it may have.
        highest: LeaderEpoch,
    },
    /// The disk is full. What was appended before stays; the next append goes on there.
    #[error("disk is full")]
    DiskFull,
    /// A write or a sync has failed before: the log takes no more (S13).
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// The write failed; the log is poisoned from now on.
    #[error("log could not be written: {0}")]
    Io(io::Error),
}

impl ReplicateError {
    /// Whether the log itself is beyond use, and not what was sent.
    pub const fn is_fault(&self) -> bool {
        matches!(self, Self::Poisoned(_) | Self::Io(_))
    }
}

/// The most offsets that one batch without records covers.
const GAP_MAX: i64 = i32::MAX as i64;

impl Log {
    /// Appends whole batches, which the leader of `leader_epoch` has sent, one behind the other. Batches are
    /// judged first: where one is refused none is appended.
    ///
    /// A first batch without records that begins below the log's end is taken from there on: the leader's
    /// compaction has put it in the place of several, some of which are here.
    pub fn append_replicated(
        &mut self,
        bytes: &[u8],
        leader_epoch: LeaderEpoch,
        now: TimestampMs,
    ) -> Result<Replicated, ReplicateError> {
        self.check_follows()?;
        let mut batches = 0;
        let mut bytes = bytes;
        if let Some((rest, head)) = self.overlapping(bytes)? {
            self.judge(&head, leader_epoch)?;
            self.write_judged(&head, now)?;
            batches += 1;
            bytes = rest;
        }
        self.judge(bytes, leader_epoch)?;
        batches += self.write_judged(bytes, now)?;
        Ok(Replicated { end: self.shared.log_end(), batches })
    }

    /// Covers offsets that the leader itself has not (what it had there was hit, and could not be mended) with
    /// batches without records, up to `next`: offsets follow each other in every log.
    pub fn append_gap(&mut self, next: Offset, now: TimestampMs) -> Result<Replicated, ReplicateError> {
        self.check_follows()?;
        let epoch = self.latest_epoch().unwrap_or(LeaderEpoch::new(0));
        let mut batches = 0;
        while self.shared.log_end() < next {
            let base = self.shared.log_end();
            let count = i32::try_from(next.distance_from(base).min(GAP_MAX)).unwrap_or(i32::MAX);
            batches += self.write_judged(&empty_batch(base, count, epoch, now), now)?;
        }
        Ok(Replicated { end: self.shared.log_end(), batches })
    }

    fn check_follows(&self) -> Result<(), ReplicateError> {
        if self.shared.is_poisoned() {
            return Err(Poisoned.into());
        }
        if self.epoch == LeaderEpoch::NONE { Ok(()) } else { Err(ReplicateError::Leads(self.epoch)) }
    }

    /// The part above the log's end of a first batch without records that begins below it, and what follows.
    fn overlapping<'b>(&self, bytes: &'b [u8]) -> Result<Option<Overlap<'b>>, ReplicateError> {
        let end = self.shared.log_end();
        let Ok(header) = BatchHeader::parse(bytes) else { return Ok(None) };
        let reaches_over = header.base_offset < end && header.next_offset() > end;
        if !reaches_over || header.record_count != 0 {
            return Ok(None);
        }
        let Some((batch, rest)) = bytes.split_at_checked(header.total_len()) else {
            return Err(ReplicateError::Cut { offset: header.base_offset });
        };
        if !crc_is_right(batch, &header) {
            return Err(ReplicateError::Checksum { offset: header.base_offset });
        }
        let count = i32::try_from(header.next_offset().distance_from(end)).unwrap_or(i32::MAX);
        Ok(Some((rest, empty_batch(end, count, header.partition_leader_epoch, header.max_timestamp))))
    }

    /// Whether all of the bytes are whole batches that may stand at the log's end.
    fn judge(&self, bytes: &[u8], highest: LeaderEpoch) -> Result<(), ReplicateError> {
        let mut expected = self.shared.log_end();
        let mut lowest = self.latest_epoch().unwrap_or(LeaderEpoch::new(0));
        let mut rest = bytes;
        while !rest.is_empty() {
            let header = judge_one(rest, expected, (lowest, highest))?;
            (expected, lowest) = (header.next_offset(), header.partition_leader_epoch);
            rest = rest.get(header.total_len()..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes batches that have been judged: as many as the segment takes with one write, then a new segment.
    fn write_judged(&mut self, bytes: &[u8], now: TimestampMs) -> Result<u64, ReplicateError> {
        let mut batches = 0;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (len, count) = self.run_that_fits(rest);
            if len == 0 {
                self.roll().map_err(from_append)?;
                continue;
            }
            let (run, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            self.write_run(run)?;
            self.publish_run(run, now);
            batches += count;
            rest = behind;
        }
        Ok(batches)
    }

    /// Bytes and number of the batches that the active segment takes. An empty one takes at least one.
    fn run_that_fits(&self, bytes: &[u8]) -> (usize, u64) {
        let (mut len, mut count) = (0, 0);
        while let Ok(header) = BatchHeader::parse(bytes.get(len..).unwrap_or_default()) {
            if self.is_full_behind(len as u64, header.total_len() as u64, &header) {
                break;
            }
            len += header.total_len();
            count += 1;
        }
        (len, count)
    }

    fn write_run(&mut self, run: &[u8]) -> Result<(), ReplicateError> {
        self.remove_remains().map_err(|error| self.failed(error))?;
        let position = self.active.segment.size();
        match self.active.write([run, &[]], position, self.options.segment_bytes) {
            Ok(()) => Ok(()),
            Err(error) if is_full(&error) => {
                self.active.has_remains = true;
                let _ = self.remove_remains();
                Err(ReplicateError::DiskFull)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: io::Error) -> ReplicateError {
        self.shared.poison(&error);
        ReplicateError::Io(error)
    }

    /// Terms first: whoever sees the new end judges what stands below it by them.
    fn publish_run(&mut self, run: &[u8], now: TimestampMs) {
        let mut rest = run;
        while let Ok(header) = BatchHeader::parse(rest) {
            self.shared.assign_epoch(header.partition_leader_epoch, header.base_offset);
            let (bytes, next) = (header.total_len() as u64, header.next_offset());
            self.publish(bytes, header.base_offset, next, header.max_timestamp);
            if header.is_idempotent() {
                self.producers.record(&sequence_of(&header), now);
            }
            rest = rest.get(header.total_len()..).unwrap_or_default();
        }
    }

    /// The term of the last batch, or of whoever leads.
    pub(super) fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.shared.terms().epochs.latest().map(|latest| latest.epoch)
    }

    /// Makes a log that follows one that leads: what is appended from now on is of this term, which must be above
    /// every other that the log has, and was given for this (S6).
    pub fn begin_epoch(&mut self, epoch: LeaderEpoch) -> Result<(), EpochRefused> {
        if self.shared.is_poisoned() {
            return Err(Poisoned.into());
        }
        let latest = self.latest_epoch().unwrap_or(LeaderEpoch::NONE).max(self.epoch);
        if epoch <= latest {
            return Err(EpochRefused::GoesBack { latest, given: epoch });
        }
        self.shared.assign_epoch(epoch, self.shared.log_end());
        self.epoch = epoch;
        Ok(())
    }

    /// Makes a log that leads one that follows. Nothing is appended to it before it has been told what of it the
    /// new leader has.
    pub const fn end_epoch(&mut self) {
        self.epoch = LeaderEpoch::NONE;
    }
}

/// What follows a first batch that reaches over the log's end, and what there is to append of that.
type Overlap<'b> = (&'b [u8], [u8; BATCH_HEADER_LEN]);

/// Why a log does not begin to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpochRefused {
    /// The log has had this term, or a later one (S6).
    #[error("log has leader epoch {latest}, it cannot lead under {given}")]
    GoesBack {
        /// The highest that it has.
        latest: LeaderEpoch,
        /// The one that it was to lead under.
        given: LeaderEpoch,
    },
    /// A write or a sync has failed (S13).
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

fn judge_one(
    bytes: &[u8],
    expected: Offset,
    (lowest, highest): (LeaderEpoch, LeaderEpoch),
) -> Result<BatchHeader, ReplicateError> {
    if bytes.len() < BATCH_HEADER_LEN {
        return Err(ReplicateError::Cut { offset: expected });
    }
    let header =
        BatchHeader::parse(bytes).map_err(|source| ReplicateError::Header { offset: expected, source })?;
    let Some(batch) = bytes.get(..header.total_len()) else {
        return Err(ReplicateError::Cut { offset: expected });
    };
    let (offset, last_offset_delta) = (header.base_offset, header.last_offset_delta);
    if offset != expected {
        return Err(ReplicateError::Offset { expected, found: offset });
    }
    if last_offset_delta < 0 || header.next_offset() == Offset::MAX {
        return Err(ReplicateError::Count { offset, last_offset_delta });
    }
    let found = header.partition_leader_epoch;
    if found < lowest || found > highest {
        return Err(ReplicateError::Epoch { offset, found, lowest, highest });
    }
    if !crc_is_right(batch, &header) {
        return Err(ReplicateError::Checksum { offset });
    }
    Ok(header)
}

fn from_append(error: super::AppendError) -> ReplicateError {
    match error {
        super::AppendError::Io(error) => ReplicateError::Io(error),
        super::AppendError::Poisoned(poisoned) => ReplicateError::Poisoned(poisoned),
        // Only a write is asked of a roll.
        super::AppendError::DiskFull
        | super::AppendError::Producer(_)
        | super::AppendError::TooLarge { .. }
        | super::AppendError::Malformed
        | super::AppendError::Follows => ReplicateError::DiskFull,
    }
}
