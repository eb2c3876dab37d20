//! The one walk over records that checks each field's bounds, and what a produced batch must keep.

use super::{
    BatchError, Compression, RecordFlaw,
    source::{Source, Stop},
};

/// What the walk needs to know of the batch.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    pub(super) records: i32,
    pub(super) keys: bool,
    pub(super) compression: Compression,
    pub(super) max_unpacked: usize,
}

/// What the walk found: the lowest and the highest of the records' timestamp deltas, and of those that
/// are not the delta of "no timestamp" the lowest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deltas {
    pub(super) min: i64,
    pub(super) max: i64,
}

enum Halt {
    Stop(Stop),
    Flaw(RecordFlaw),
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// Walks all records of a batch to the very end of the bytes. `absent` is the timestamp delta that stands
/// for "no timestamp" and counts only towards the highest.
pub(super) fn walk<S: Source>(mut source: S, expected: Expected, absent: i64) -> Result<Deltas, BatchError> {
    let mut deltas = Deltas { min: i64::MAX, max: i64::MIN };
    for index in 0..expected.records {
        match record(&mut source, index, expected.keys) {
            Ok(delta) => {
                deltas.max = deltas.max.max(delta);
                deltas.min = deltas.min.min(if delta == absent { i64::MAX } else { delta });
            }
            Err(halt) => return Err(failure(&halt, index, expected)),
        }
    }
    match source.is_at_end() {
        Ok(true) => Ok(deltas),
        Ok(false) => Err(BatchError::BytesAfterRecords),
        Err(stop) => Err(failure(&Halt::Stop(stop), expected.records, expected)),
    }
}

#[cold]
fn failure(halt: &Halt, index: i32, expected: Expected) -> BatchError {
    let flaw = match halt {
        Halt::Flaw(flaw) => *flaw,
        Halt::Stop(Stop::End) => RecordFlaw::Truncated,
        Halt::Stop(Stop::Varint) => RecordFlaw::Varint,
        Halt::Stop(Stop::Unpack) => return BatchError::Unpack(expected.compression),
        Halt::Stop(Stop::Bound) => return BatchError::UnpackedTooLarge { max: expected.max_unpacked },
    };
    BatchError::Record { index, flaw }
}

/// Walks one record and returns its timestamp delta. The fields may run over the record's own end, which the
/// comparison at the end notices; they never run over the bytes.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "the hot path of a produce: a call per record is a tenth of its cost"
)]
fn record<S: Source>(source: &mut S, index: i32, keys: bool) -> Result<i64, Halt> {
    let length = length(source.varint()?, RecordFlaw::Length)?;
    let end = source.position() + length as u64;
    // The record's own attributes have no bit defined.
    source.byte()?;
    let timestamp_delta = source.varlong()?;
    if source.varint()? != index {
        return Err(Halt::Flaw(RecordFlaw::OffsetDelta));
    }
    if !nullable(source)? && keys {
        return Err(Halt::Flaw(RecordFlaw::KeyMissing));
    }
    nullable(source)?;
    let headers = source.varint()?;
    if headers != 0 {
        source.rarely(|source| walk_headers(source, headers))?;
    }
    if source.position() != end {
        return Err(Halt::Flaw(RecordFlaw::Length));
    }
    Ok(timestamp_delta)
}

/// Passes over bytes or null; whether there were any bytes.
#[inline(always)]
#[expect(clippy::inline_always, reason = "the hot path of a produce")]
fn nullable<S: Source>(source: &mut S) -> Result<bool, Halt> {
    let count = source.varint()?;
    if count == -1 {
        return Ok(false);
    }
    source.skip(length(count, RecordFlaw::NegativeLength)?)?;
    Ok(true)
}

#[inline(never)]
fn walk_headers<S: Source>(source: &mut S, headers: i32) -> Result<(), Halt> {
    for _ in 0..length(headers, RecordFlaw::NegativeLength)? {
        let name = length(source.varint()?, RecordFlaw::HeaderName)?;
        source.skip(name)?;
        nullable(source)?;
    }
    Ok(())
}

#[inline]
fn length(value: i32, flaw: RecordFlaw) -> Result<usize, Halt> {
    usize::try_from(value).map_err(|_| Halt::Flaw(flaw))
}
