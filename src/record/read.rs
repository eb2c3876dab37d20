//! Taking batches apart, on the side that consumes them.

use bytes::Bytes;

use super::{
    BATCH_HEADER_LEN, BatchError, BatchHeader, Compression, DEFAULT_MAX_UNPACKED_BYTES, RecordFlaw,
    TimestampType, codec,
    source::{SliceSource, Source, Stop},
};
use crate::model::{Offset, TimestampMs};

/// The batches of a fetch's answer, back to back, of which the last may be cut short.
///
/// Checksums are left to the caller ([`super::crc_is_right`]), who knows whether they have been checked.
pub fn batches(bytes: Bytes) -> Batches {
    Batches { rest: bytes }
}

/// See [`batches`]. Ends after the first error, since nothing says where the next batch begins.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

impl Iterator for Batches {
    type Item = Result<(BatchHeader, Bytes), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        match BatchHeader::parse(&self.rest) {
            Ok(header) if header.total_len() <= self.rest.len() => {
                Some(Ok((header, self.rest.split_to(header.total_len()))))
            }
            Ok(_) | Err(BatchError::Truncated { .. }) => None,
            Err(error) => {
                self.rest.clear();
                Some(Err(error))
            }
        }
    }
}

/// The records of one whole batch, unpacked to at most [`DEFAULT_MAX_UNPACKED_BYTES`]. The checksum is left
/// to the caller.
#[expect(clippy::needless_pass_by_value, reason = "the records keep the batch's memory")]
pub fn records(batch: Bytes) -> Result<RecordIter, BatchError> {
    Ok(unpack(&batch, DEFAULT_MAX_UNPACKED_BYTES)?.into_records())
}

/// Unpacks one whole batch to at most `max_unpacked_bytes`; an uncompressed one is only sliced. The checksum
/// is left to the caller.
pub fn unpack(batch: &Bytes, max_unpacked_bytes: usize) -> Result<UnpackedBatch, BatchError> {
    let header = BatchHeader::parse(batch)?;
    let (needed, available) = (header.total_len(), batch.len());
    if needed > available {
        return Err(BatchError::Truncated { needed, available });
    }
    let packed = batch.slice(BATCH_HEADER_LEN..needed);
    let payload = match header.compression()? {
        Compression::None => packed,
        codec @ (Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd) => {
            codec::unpack(codec, &packed, max_unpacked_bytes)?
        }
    };
    Ok(UnpackedBatch { header, payload })
}

/// A batch whose records lie open in memory.
#[derive(Clone, Debug)]
pub struct UnpackedBatch {
    header: BatchHeader,
    payload: Bytes,
}

impl UnpackedBatch {
    /// The batch's header, as it was packed.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records, borrowed.
    pub fn iter(&self) -> RecordRefs<'_> {
        RecordRefs::new(self.header, &self.payload)
    }

    /// The records, each holding its share of the memory.
    pub fn into_records(self) -> RecordIter {
        RecordIter { batch: self, cursor: Cursor::default() }
    }
}

impl<'a> IntoIterator for &'a UnpackedBatch {
    type Item = Result<RecordRef<'a>, BatchError>;
    type IntoIter = RecordRefs<'a>;

    fn into_iter(self) -> RecordRefs<'a> {
        self.iter()
    }
}

/// One record, borrowed from its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its offset in the partition.
    pub offset: Offset,
    /// Its time, by whichever clock the batch's attributes say.
    pub timestamp: TimestampMs,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: RecordHeaders<'a>,
}

/// The headers of one record, in the order they were given; names may repeat. They have been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeaders<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl RecordHeaders<'_> {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        let mut source = SliceSource::new(self.bytes);
        let header = header(&mut source).ok()?;
        self.bytes = self.bytes.get(source.at()..).unwrap_or_default();
        Some(header)
    }
}

/// One record with its share of the batch's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its offset in the partition.
    pub offset: Offset,
    /// Its time, by whichever clock the batch's attributes say.
    pub timestamp: TimestampMs,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; none is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in the order they were given; names may repeat.
    pub headers: Vec<RecordHeader>,
}

/// One header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// UTF-8 by the protocol's word, which no broker enforces.
    pub name: Bytes,
    /// Anything, or nothing.
    pub value: Option<Bytes>,
}

/// The records of a batch, borrowed. Ends after the first error.
#[derive(Clone, Debug)]
pub struct RecordRefs<'a> {
    header: BatchHeader,
    payload: &'a [u8],
    cursor: Cursor,
}

impl<'a> RecordRefs<'a> {
    fn new(header: BatchHeader, payload: &'a [u8]) -> Self {
        Self { header, payload, cursor: Cursor::default() }
    }
}

impl<'a> Iterator for RecordRefs<'a> {
    type Item = Result<RecordRef<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.next(&self.header, self.payload)
    }
}

/// The records of a batch, each holding its share of the memory. Ends after the first error.
#[derive(Clone, Debug)]
pub struct RecordIter {
    batch: UnpackedBatch,
    cursor: Cursor,
}

impl RecordIter {
    /// The header of the batch.
    pub const fn header(&self) -> &BatchHeader {
        &self.batch.header
    }
}

impl Iterator for RecordIter {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let payload = &self.batch.payload;
        let record = match self.cursor.next(&self.batch.header, payload)? {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        let share = |slice: &[u8]| payload.slice_ref(slice);
        let headers = record
            .headers
            .map(|(name, value)| RecordHeader { name: share(name), value: value.map(share) })
            .collect();
        Some(Ok(Record {
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(share),
            value: record.value.map(share),
            headers,
        }))
    }
}

/// How far a batch has been read.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    records: i32,
    at: usize,
}

impl Cursor {
    #[inline]
    fn next<'a>(
        &mut self,
        header: &BatchHeader,
        payload: &'a [u8],
    ) -> Option<Result<RecordRef<'a>, BatchError>> {
        if self.records >= header.record_count {
            return None;
        }
        let index = self.records;
        let mut source = SliceSource::new(payload.get(self.at..).unwrap_or_default());
        match record(&mut source, header) {
            Ok(record) => {
                self.records += 1;
                self.at += source.at();
                Some(Ok(record))
            }
            Err(flaw) => {
                self.records = i32::MAX;
                Some(Err(BatchError::Record { index, flaw }))
            }
        }
    }
}

impl From<Stop> for RecordFlaw {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Varint => Self::Varint,
            // A slice has no decoder that could stop otherwise.
            Stop::End | Stop::Unpack | Stop::Bound => Self::Truncated,
        }
    }
}

#[inline]
fn record<'a>(source: &mut SliceSource<'a>, header: &BatchHeader) -> Result<RecordRef<'a>, RecordFlaw> {
    let length = length(source.varint()?, RecordFlaw::Length)?;
    let mut body = SliceSource::new(source.take(length)?);
    body.byte()?;
    let timestamp_delta = body.varlong()?;
    let offset_delta = body.varint()?;
    let key = nullable(&mut body)?;
    let value = nullable(&mut body)?;
    let headers = headers(&mut body)?;
    let timestamp = match header.timestamp_type() {
        TimestampType::LogAppendTime => header.max_timestamp,
        TimestampType::CreateTime => {
            let time = header.base_timestamp.get().checked_add(timestamp_delta);
            TimestampMs::new(time.ok_or(RecordFlaw::Timestamp)?)
        }
    };
    Ok(RecordRef { offset: header.base_offset.plus(i64::from(offset_delta)), timestamp, key, value, headers })
}

#[inline]
fn headers<'a>(body: &mut SliceSource<'a>) -> Result<RecordHeaders<'a>, RecordFlaw> {
    let count = length(body.varint()?, RecordFlaw::NegativeLength)?;
    let bytes = body.rest();
    for _ in 0..count {
        header(body)?;
    }
    if body.is_at_end()? { Ok(RecordHeaders { count, bytes }) } else { Err(RecordFlaw::Length) }
}

fn header<'a>(source: &mut SliceSource<'a>) -> Result<(&'a [u8], Option<&'a [u8]>), RecordFlaw> {
    let name = length(source.varint()?, RecordFlaw::HeaderName)?;
    Ok((source.take(name)?, nullable(source)?))
}

#[inline]
fn nullable<'a>(source: &mut SliceSource<'a>) -> Result<Option<&'a [u8]>, RecordFlaw> {
    match source.varint()? {
        -1 => Ok(None),
        count => Ok(Some(source.take(length(count, RecordFlaw::NegativeLength)?)?)),
    }
}

#[inline]
fn length(value: i32, flaw: RecordFlaw) -> Result<usize, RecordFlaw> {
    usize::try_from(value).map_err(|_| flaw)
}
