//! Taking records out of a batch, as compaction does.

use bytes::Bytes;

use super::{
    BATCH_HEADER_LEN, BatchError, BatchHeader, Compression, LENGTH_PREFIX_LEN, RecordRef, TimestampType,
    codec,
    header::{ATTRIBUTES_AT, BASE_TIMESTAMP_AT, MAX_TIMESTAMP_AT, RECORD_COUNT_AT, write_crc},
    unpack, varint,
};
use crate::model::TimestampMs;

/// What is left of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retained {
    /// All of it: its bytes are those that there were.
    Whole,
    /// Some of its records, or another time from which its tombstones may go. The batch has the offsets, the
    /// producer and the codec that it had.
    Part(Vec<u8>),
    /// No record.
    Nothing,
}

/// Keeps those records of a whole batch that `keep` holds for, each with its offset and its time. Where a
/// tombstone is among them and the batch does not say yet from when on tombstones may go, that is `horizon`
/// (KIP-534: attribute bit 6, and the base timestamp). The checksum is left to the caller.
///
/// Records are unpacked to at most `max_unpacked_bytes`.
pub fn retain(
    batch: &Bytes,
    max_unpacked_bytes: usize,
    horizon: TimestampMs,
    mut keep: impl FnMut(&RecordRef<'_>) -> bool,
) -> Result<Retained, BatchError> {
    let unpacked = unpack(batch, max_unpacked_bytes)?;
    let header = *unpacked.header();
    let (mut kept, mut dropped, mut tombstones) = (Vec::new(), false, false);
    for record in &unpacked {
        let record = record?;
        if keep(&record) {
            tombstones |= record.value.is_none();
            kept.push(record);
        } else {
            dropped = true;
        }
    }
    let sets_horizon = tombstones && !header.attributes.has_delete_horizon();
    if kept.is_empty() {
        return Ok(if dropped || header.record_count > 0 { Retained::Nothing } else { Retained::Whole });
    }
    if !dropped && !sets_horizon {
        return Ok(Retained::Whole);
    }
    let base = if sets_horizon { horizon } else { header.base_timestamp };
    rebuild(batch, &header, &kept, base, sets_horizon).map(Retained::Part)
}

fn rebuild(
    batch: &[u8],
    header: &BatchHeader,
    kept: &[RecordRef<'_>],
    base: TimestampMs,
    sets_horizon: bool,
) -> Result<Vec<u8>, BatchError> {
    let mut plain = Vec::with_capacity(batch.len());
    for record in kept {
        write(&mut plain, header, record, base)?;
    }
    let mut out = batch.get(..BATCH_HEADER_LEN).unwrap_or_default().to_vec();
    let mut attributes = header.attributes;
    if sets_horizon {
        attributes = attributes.with_delete_horizon();
    }
    match header.compression()? {
        Compression::None => out.extend_from_slice(&plain),
        packed @ (Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd) => {
            codec::pack(packed, None, &plain, &mut out)?;
        }
    }
    let length = i32::try_from(out.len() - LENGTH_PREFIX_LEN);
    let length = length.map_err(|_| BatchError::Length(i32::MAX))?;
    let newest = match header.timestamp_type() {
        TimestampType::CreateTime => kept.iter().map(|record| record.timestamp).max(),
        TimestampType::LogAppendTime => None,
    };
    put(&mut out, LENGTH_PREFIX_LEN - 4, &length.to_be_bytes());
    put(&mut out, ATTRIBUTES_AT, &attributes.bits().to_be_bytes());
    put(&mut out, BASE_TIMESTAMP_AT, &base.get().to_be_bytes());
    put(&mut out, MAX_TIMESTAMP_AT, &newest.unwrap_or(header.max_timestamp).get().to_be_bytes());
    put(&mut out, RECORD_COUNT_AT, &(kept.len() as i32).to_be_bytes());
    write_crc(&mut out);
    Ok(out)
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// One record with its length before it. Its time is counted from `base`, and wraps where that is further than
/// 63 bits, as it does for whoever reads it.
fn write(
    out: &mut Vec<u8>,
    header: &BatchHeader,
    record: &RecordRef<'_>,
    base: TimestampMs,
) -> Result<(), BatchError> {
    let mut body = Vec::with_capacity(64);
    // The record's own attributes have no bit defined.
    body.push(0);
    let time = match header.timestamp_type() {
        TimestampType::CreateTime => record.timestamp.get().wrapping_sub(base.get()),
        // Readers take the batch's.
        TimestampType::LogAppendTime => 0,
    };
    varint::write(&mut body, time);
    varint::write(&mut body, record.offset.distance_from(header.base_offset));
    field(&mut body, record.key);
    field(&mut body, record.value);
    varint::write(&mut body, record.headers.len() as i64);
    for (name, value) in record.headers.clone() {
        field(&mut body, Some(name));
        field(&mut body, value);
    }
    let length = i32::try_from(body.len()).map_err(|_| BatchError::Length(i32::MAX))?;
    varint::write(out, i64::from(length));
    out.extend_from_slice(&body);
    Ok(())
}

fn field(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    varint::write(out, bytes.map_or(-1, |bytes| bytes.len() as i64));
    out.extend_from_slice(bytes.unwrap_or_default());
}
