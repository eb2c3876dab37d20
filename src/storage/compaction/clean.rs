//! Writes segments anew without what has been overtaken.

use std::{collections::HashMap, io, sync::Arc};

use bytes::Bytes;

use super::{LatestOffsets, swap};
use crate::{
    model::{LeaderEpoch, Offset, ProducerId, TimestampMs},
    record::{
        BatchError, BatchHeader, DEFAULT_MAX_UNPACKED_BYTES, RecordRef, Retained, empty_batch, retain,
        without_records,
    },
    storage::{
        block_checksums::{BlockChecksums, RunningChecksums},
        fs::{File, create_anew},
        index::SegmentIndex,
        segment::{Folder, Scanner, Step},
    },
};

/// The most offsets that one empty batch covers.
const GAP_MAX: i64 = i32::MAX as i64;

/// What decides which records stay.
pub(crate) struct CleanRules<'a> {
    /// The newest offset of each key, as far as it is known.
    pub(crate) latest: &'a LatestOffsets,
    /// The last offset of each idempotent producer.
    pub(crate) producers: &'a HashMap<ProducerId, Offset>,
    pub(crate) now: TimestampMs,
    /// From when on tombstones may go that are compacted for the first time.
    pub(crate) horizon: TimestampMs,
    /// Below it every older record of a key has gone: a tombstone above it may not go yet, or what it took with
    /// it would come back.
    pub(crate) known_to: Offset,
    /// Bytes of batches for each entry of the new index.
    pub(crate) index_interval_bytes: u64,
}

/// A new segment, complete and synced under its unfinished name.
#[derive(Debug)]
pub(crate) struct Cleaned {
    pub(crate) size: u64,
    pub(crate) index: SegmentIndex,
    pub(crate) checksums: BlockChecksums,
}

/// Why a segment was not written anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CleanError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Damage is left to the scrub and to readers, who report it; a segment that has any stays as it is.
    #[error("a batch is damaged")]
    Damaged,
    #[error("the batch at offset {offset} cannot be taken apart: {source}")]
    Batch { offset: Offset, source: BatchError },
    #[error("the log is closed")]
    Closed,
}

/// Writes what stays of the scanned segments, which begin at `base` and end at `next`, one behind the other.
pub(crate) fn clean(
    folder: &Folder,
    (base, next): (Offset, Offset),
    scanners: &mut [Scanner],
    source: &CleanRules<'_>,
    is_over: &dyn Fn() -> bool,
) -> Result<Cleaned, CleanError> {
    let file = create_anew(&*folder.fs, &swap::unfinished(folder, base))?;
    let output = Output::new(file, base, source.index_interval_bytes);
    let cleaned = fill(output, next, scanners, source, is_over);
    if cleaned.is_err() {
        // It would take room on a disk that may be full. One that stays is removed by the next opening.
        let _ = folder.fs.remove_file(&swap::unfinished(folder, base));
    }
    cleaned
}

fn fill(
    mut output: Output,
    next: Offset,
    scanners: &mut [Scanner],
    source: &CleanRules<'_>,
    is_over: &dyn Fn() -> bool,
) -> Result<Cleaned, CleanError> {
    for scanner in scanners {
        loop {
            match scanner.look()? {
                Step::Batch(header) => {
                    let batch = Bytes::copy_from_slice(scanner.batch(&header));
                    output.take(&header, &batch, source)?;
                    scanner.pass(&header);
                }
                Step::Bad(_) => return Err(CleanError::Damaged),
                Step::End => break,
            }
            if is_over() {
                return Err(CleanError::Closed);
            }
        }
    }
    Ok(output.end(next)?)
}

/// Offsets without records, of one term.
#[derive(Clone, Copy, Debug)]
struct Gap {
    first: Offset,
    next: Offset,
    epoch: LeaderEpoch,
    /// The highest timestamp of what was there.
    newest: TimestampMs,
}

struct Output {
    file: Arc<dyn File>,
    base: Offset,
    size: u64,
    index_interval_bytes: u64,
    index: SegmentIndex,
    checksums: RunningChecksums,
    gap: Option<Gap>,
}

impl Output {
    fn new(file: Arc<dyn File>, base: Offset, index_interval_bytes: u64) -> Self {
        let (index, checksums) = (SegmentIndex::empty(), RunningChecksums::default());
        Self { file, base, size: 0, index_interval_bytes, index, checksums, gap: None }
    }

    fn take(
        &mut self,
        header: &BatchHeader,
        batch: &Bytes,
        source: &CleanRules<'_>,
    ) -> Result<(), CleanError> {
        let offset = header.base_offset;
        let tombstones_go = header.attributes.has_delete_horizon() && header.base_timestamp <= source.now;
        let stays = |record: &RecordRef<'_>| {
            let Some(key) = record.key else { return false };
            let expired = record.value.is_none() && tombstones_go && record.offset < source.known_to;
            !expired && !source.latest.is_overtaken(key, record.offset)
        };
        let retained = retain(batch, DEFAULT_MAX_UNPACKED_BYTES, source.horizon, stays);
        match retained.map_err(|source| CleanError::Batch { offset, source })? {
            Retained::Whole if header.record_count > 0 => self.put(batch)?,
            Retained::Part(part) => self.put(&part)?,
            Retained::Whole | Retained::Nothing => self.take_empty(header, batch, source)?,
        }
        Ok(())
    }

    /// A batch without records stays if it holds its producer's last sequence.
    fn take_empty(&mut self, header: &BatchHeader, batch: &[u8], source: &CleanRules<'_>) -> io::Result<()> {
        let last = source.producers.get(&header.producer_id);
        if header.is_idempotent() && last == Some(&header.last_offset()) {
            return self.put(&without_records(batch));
        }
        let (first, next, epoch) = (header.base_offset, header.next_offset(), header.partition_leader_epoch);
        let newest = header.max_timestamp;
        match &mut self.gap {
            Some(gap) if gap.epoch == epoch && next.distance_from(gap.first) <= GAP_MAX => {
                (gap.next, gap.newest) = (next, gap.newest.max(newest));
            }
            Some(_) | None => {
                self.fill_gap()?;
                self.gap = Some(Gap { first, next, epoch, newest });
            }
        }
        Ok(())
    }

    fn fill_gap(&mut self) -> io::Result<()> {
        let Some(Gap { first, next, epoch, newest }) = self.gap.take() else { return Ok(()) };
        // Never above GAP_MAX, which an i32 holds.
        let count = i32::try_from(next.distance_from(first)).unwrap_or(i32::MAX);
        self.write(&empty_batch(first, count, epoch, newest))
    }

    fn put(&mut self, batch: &[u8]) -> io::Result<()> {
        self.fill_gap()?;
        self.write(batch)
    }

    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        let header = BatchHeader::parse(batch).map_err(io::Error::other)?;
        self.file.write_all_at(batch, self.size)?;
        self.checksums.append(batch);
        let relative = u32::try_from(header.base_offset.distance_from(self.base));
        if let (Ok(relative), Ok(position)) = (relative, u32::try_from(self.size)) {
            self.index.note(self.index_interval_bytes, relative, position, header.max_timestamp.get());
        }
        self.size += batch.len() as u64;
        Ok(())
    }

    fn end(mut self, next: Offset) -> io::Result<Cleaned> {
        if let Some(gap) = &mut self.gap {
            gap.next = gap.next.max(next);
        }
        self.fill_gap()?;
        self.file.sync_data()?;
        self.index.seal();
        let checksums = self.checksums.finish();
        Ok(Cleaned { size: self.size, index: self.index, checksums })
    }
}
