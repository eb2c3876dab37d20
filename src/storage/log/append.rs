use std::{io, sync::Arc};

use super::{Active, AppendError, Log, Poisoned};
use crate::{
    model::{LeaderEpoch, Offset, TimestampMs},
    record::{BATCH_HEADER_LEN, BatchHeader, TimestampType, assign, stamp_log_append_time},
    storage::{
        block_checksums::RunningChecksums,
        fs::Open,
        producer_state::{BatchSequence, Check},
        segment::{FileKind, Folder, Segment},
    },
};

/// Where a batch is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It was appended.
    New {
        /// The offset of its first record.
        base: Offset,
        /// The offset of its last record.
        last: Offset,
    },
    /// It was there already: a retry. It may be acknowledged once the original may (S9).
    Duplicate {
        /// The offset of the original's first record.
        base: Offset,
        /// The offset of the original's last record.
        last: Offset,
    },
}

impl Log {
    /// Appends one whole batch that has been validated: gives it its offsets and term on the way into the
    /// file, without a copy of the records. `header` is the batch's own. After an error nothing of it is
    /// visible.
    pub fn append(
        &mut self,
        batch: &[u8],
        header: &BatchHeader,
        now: TimestampMs,
    ) -> Result<Appended, AppendError> {
        if self.shared.is_poisoned() {
            return Err(Poisoned.into());
        }
        if self.epoch == LeaderEpoch::NONE {
            return Err(AppendError::Follows);
        }
        self.check_shape(batch, header)?;
        let mut sequence = sequence_of(header);
        if header.is_idempotent() {
            match self.producers.check(&sequence)? {
                Check::Append => {}
                Check::Duplicate { base_offset, last_offset, .. } => {
                    return Ok(Appended::Duplicate { base: base_offset, last: last_offset });
                }
            }
        }
        let max_timestamp = match self.options.timestamp_type {
            TimestampType::CreateTime => header.max_timestamp,
            TimestampType::LogAppendTime => now,
        };
        let last = self.shared.log_end().plus(i64::from(header.last_offset_delta));
        if self.is_full_for(batch.len() as u64, last, max_timestamp) {
            self.roll()?;
        }
        let base = self.shared.log_end();
        self.write(batch, base, now)?;
        let last = base.plus(i64::from(header.last_offset_delta));
        self.publish(batch.len() as u64, base, last.plus(1), max_timestamp);
        if header.is_idempotent() {
            (sequence.base_offset, sequence.last_offset) = (base, last);
            sequence.max_timestamp = max_timestamp;
            self.producers.record(&sequence, now);
        }
        Ok(Appended::New { base, last })
    }

    fn check_shape(&self, batch: &[u8], header: &BatchHeader) -> Result<(), AppendError> {
        let bytes = batch.len() as u64;
        if header.total_len() != batch.len() || header.last_offset_delta < 0 {
            return Err(AppendError::Malformed);
        }
        if bytes > self.options.segment_bytes {
            return Err(AppendError::TooLarge { bytes, max: self.options.segment_bytes });
        }
        Ok(())
    }

    /// Whether the active segment cannot take the batch: by size, by time, because its index is full,
    /// because offset or position would not fit into an entry, or because damage was found in it. How far that reaches
    /// is told by what stands around it and by where the segment ends: the next one's name says that for good, and
    /// an end that moves would say something else each time.
    fn is_full_for(&self, bytes: u64, last: Offset, max_timestamp: TimestampMs) -> bool {
        self.is_full(self.active.segment.size(), 0, bytes, last, max_timestamp)
    }

    /// The same behind `ahead` bytes of batches that are about to be written.
    pub(super) fn is_full_behind(&self, ahead: u64, bytes: u64, header: &BatchHeader) -> bool {
        let size = self.active.segment.size() + ahead;
        let entries = ahead / self.options.index_interval_bytes.max(1) + 1;
        let entries = usize::try_from(entries).unwrap_or(usize::MAX).saturating_mul(8);
        self.is_full(
            size,
            if ahead == 0 { 0 } else { entries },
            bytes,
            header.last_offset(),
            header.max_timestamp,
        )
    }

    fn is_full(
        &self,
        size: u64,
        entries_ahead: usize,
        bytes: u64,
        last: Offset,
        max_timestamp: TimestampMs,
    ) -> bool {
        if size == 0 {
            return false;
        }
        let segment = &self.active.segment;
        let age = self.active.first_timestamp.map_or(0, |first| max_timestamp.get().saturating_sub(first));
        let entries = segment.offset_index_bytes().saturating_add(entries_ahead);
        size + bytes > self.options.segment_bytes.min(u64::from(u32::MAX))
            || last.distance_from(segment.base()) > i64::from(i32::MAX)
            || i128::from(age) > self.options.segment_ms.as_millis().cast_signed()
            || entries.saturating_add(8) > self.options.segment_index_bytes
            || segment.is_hit()
    }

    fn write(&mut self, batch: &[u8], base: Offset, now: TimestampMs) -> Result<(), AppendError> {
        self.remove_remains().map_err(|error| self.fail(error))?;
        let (position, segment_bytes) = (self.active.segment.size(), self.options.segment_bytes);
        let Some((head, records)) = batch.split_first_chunk::<BATCH_HEADER_LEN>() else {
            return Err(AppendError::Malformed);
        };
        let written = match self.options.timestamp_type {
            TimestampType::CreateTime => {
                let mut head = *head;
                assign(&mut head, base, self.epoch);
                self.active.write([&head, records], position, segment_bytes)
            }
            TimestampType::LogAppendTime => {
                let mut stamped = batch.to_vec();
                assign(&mut stamped, base, self.epoch);
                stamp_log_append_time(&mut stamped, now);
                self.active.write([&stamped, &[]], position, segment_bytes)
            }
        };
        match written {
            Ok(()) => Ok(()),
            // Nothing that was written is published: the next append writes over it.
            Err(error) if is_full(&error) => {
                // All but its last zeros may be there, and a power cut may leave zeros: what was refused would
                // be whole. Where it cannot be removed now, the next append tries again.
                self.active.has_remains = true;
                let _ = self.remove_remains();
                Err(AppendError::DiskFull)
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Removes what is behind the published end: a part of a batch that an append which found the disk full has left, and space.
    pub(super) fn remove_remains(&mut self) -> io::Result<()> {
        if self.active.has_remains {
            self.active.file.set_len(self.active.segment.size())?;
            self.active.has_remains = false;
            // What it took has been given back, and what was refused may be there by now.
            self.active.room = 0;
        }
        Ok(())
    }

    fn fail(&self, error: io::Error) -> AppendError {
        self.shared.poison(&error);
        AppendError::Io(error)
    }

    pub(super) fn publish(&mut self, bytes: u64, base: Offset, next: Offset, max_timestamp: TimestampMs) {
        self.active.first_timestamp.get_or_insert(max_timestamp.get());
        let interval = self.options.index_interval_bytes;
        self.active.segment.note(interval, base, bytes, next, max_timestamp.get());
        self.unflushed.appended(bytes);
        self.shared.set_log_end(next);
    }

    /// Seals the active segment and begins the next one, which is in its folder for certain only after the
    /// next flush (S15).
    pub(super) fn roll(&mut self) -> Result<(), AppendError> {
        let base = self.shared.log_end();
        self.active.has_remains |= self.active.has_room();
        self.remove_remains().map_err(|error| self.fail(error))?;
        let active = match begin_segment(self.shared.folder.clone(), base) {
            Ok(active) => active,
            Err(error) if is_full(&error) => return Err(AppendError::DiskFull),
            Err(error) => return Err(self.fail(error)),
        };
        self.active.segment.seal(base);
        self.unflushed.rolled(&active);
        let Active { segment: sealed, checksums, .. } = std::mem::replace(&mut self.active, active);
        sealed.keep_checksums(checksums.map(RunningChecksums::finish));
        self.shared.push_segment(Arc::clone(&self.active.segment));
        self.shared.count_as_open(&sealed);
        self.take_snapshot();
        Ok(())
    }
}

/// Makes the file of a new segment.
pub(crate) fn begin_segment(folder: Arc<Folder>, base: Offset) -> io::Result<Active> {
    let path = folder.file(base, FileKind::Log);
    let file = folder.fs.open(&path, Open::CreateNew)?;
    let segment = Arc::new(Segment::created(folder, base, Arc::clone(&file)));
    let checksums = Some(RunningChecksums::default());
    Ok(Active { segment, file, first_timestamp: None, has_remains: false, checksums, room: 0 })
}

pub(crate) fn sequence_of(header: &BatchHeader) -> BatchSequence {
    BatchSequence {
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        last_sequence: header.last_sequence(),
        base_offset: header.base_offset,
        last_offset: header.last_offset(),
        max_timestamp: header.max_timestamp,
    }
}

/// Whether an error says that there is no room; it heals by itself once there is.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
