use std::{io, sync::Arc};

use bytes::Bytes;

use super::{
    LogReader, ReadError, ReadRequest, Wait,
    slow::{scanner, trusted_start},
};
use crate::{
    model::{LeaderEpoch, Offset, TimestampMs},
    record::{BatchHeader, DEFAULT_MAX_UNPACKED_BYTES, unpack},
    storage::segment::{Segment, Step},
};

/// A record found by its time: its offset, its time, and the term that wrote it.
pub type AtTime = (Offset, TimestampMs, LeaderEpoch);

impl LogReader {
    /// The first record below `upto` whose timestamp is at or after `time`. Waits for the disk.
    pub fn offset_for_time(&self, time: TimestampMs, upto: Offset) -> Result<Option<AtTime>, ReadError> {
        let upto = self.bound(self.shared.log_start(), upto)?;
        for segment in self.shared.segments().iter().filter(|segment| segment.base() < upto) {
            let found = self.first_at(segment, time, upto).map_err(|error| self.gone(error))?;
            if let Some(found) = found.transpose()? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first of the records with the highest timestamp below `upto`. Waits for the disk.
    pub fn offset_of_max_timestamp(&self, upto: Offset) -> Result<Option<AtTime>, ReadError> {
        let upto = self.bound(self.shared.log_start(), upto)?;
        let mut newest: Option<i64> = None;
        for segment in self.shared.segments().iter().filter(|segment| segment.base() < upto) {
            let found = self.max_timestamp(segment, upto).map_err(|error| self.gone(error))?;
            newest = newest.max(found);
        }
        let Some(newest) = newest else { return Ok(None) };
        if let Some(found) = self.offset_for_time(TimestampMs::new(newest), upto)? {
            return Ok(Some(found));
        }
        // Compaction has left a batch without its records, which still says when they were.
        let mut newest = None;
        for segment in self.shared.segments().iter().filter(|segment| segment.base() < upto) {
            let found = self.newest_with_records(segment, upto).map_err(|error| self.gone(error))?;
            newest = newest.max(found);
        }
        let Some(newest) = newest else { return Ok(None) };
        self.offset_for_time(newest, upto)
    }

    fn newest_with_records(&self, segment: &Arc<Segment>, upto: Offset) -> io::Result<Option<TimestampMs>> {
        let start = self.shared.log_start();
        if segment.end() <= start {
            return Ok(None);
        }
        let mut newest = None;
        self.walk(segment, start.max(segment.base()), upto, |header, _| {
            if header.record_count > 0 {
                newest = newest.max(Some(header.max_timestamp));
            }
            None::<()>
        })?;
        Ok(newest)
    }

    /// The highest timestamp of a segment's batches that may be seen.
    fn max_timestamp(&self, segment: &Arc<Segment>, upto: Offset) -> io::Result<Option<i64>> {
        let start = self.shared.log_start();
        if segment.end() <= start {
            return Ok(None);
        }
        self.shared.make_room_for(segment);
        if segment.base() >= start && segment.end() <= upto {
            return Ok(segment.newest()?.map(|entry| entry.timestamp));
        }
        let mut newest = None;
        self.walk(segment, start, upto, |header, _| {
            newest = newest.max(Some(header.max_timestamp.get()));
            None::<()>
        })?;
        Ok(newest)
    }

    fn first_at(
        &self,
        segment: &Arc<Segment>,
        time: TimestampMs,
        upto: Offset,
    ) -> io::Result<Option<Result<AtTime, ReadError>>> {
        let start = self.shared.log_start();
        if segment.end() <= start {
            return Ok(None);
        }
        self.shared.make_room_for(segment);
        if segment.newest()?.is_some_and(|newest| newest.timestamp < time.get()) {
            return Ok(None);
        }
        let relative = segment.ask(Wait::MayBlock, |index| index.floor_time(time.get()))?.unwrap_or(0);
        let from = segment.base().plus(i64::from(relative)).max(start);
        self.walk(segment, from, upto, |header, batch| {
            if header.max_timestamp < time {
                return None;
            }
            first_record_at(header, batch, time, start).transpose()
        })
    }

    /// Shows the whole batches from the one of `from` on, until one gives an answer.
    fn walk<T>(
        &self,
        segment: &Arc<Segment>,
        from: Offset,
        upto: Offset,
        mut ask: impl FnMut(&BatchHeader, &[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let start = trusted_start(&self.shared, segment, from)?;
        let mut scanner = scanner(&self.shared, segment, start)?;
        loop {
            match scanner.look()? {
                Step::Batch(header) if header.next_offset() > upto => return Ok(None),
                Step::Batch(header) => {
                    if header.next_offset() > from
                        && let Some(answer) = ask(&header, scanner.batch(&header))
                    {
                        return Ok(Some(answer));
                    }
                    scanner.pass(&header);
                }
                Step::Bad(reason) => {
                    self.shared.note_corrupt(segment, &scanner.skip(reason)?, Offset::MAX);
                }
                Step::End => return Ok(None),
            }
        }
    }

    fn gone(&self, error: io::Error) -> ReadError {
        self.why(error, &ReadRequest::default())
    }
}

fn first_record_at(
    header: &BatchHeader,
    batch: &[u8],
    time: TimestampMs,
    start: Offset,
) -> Result<Option<AtTime>, ReadError> {
    let records = unpack(&Bytes::copy_from_slice(batch), DEFAULT_MAX_UNPACKED_BYTES)?;
    for record in &records {
        let record = record?;
        if record.timestamp >= time && record.offset >= start {
            return Ok(Some((record.offset, record.timestamp, header.partition_leader_epoch)));
        }
    }
    Ok(None)
}
