//! The record batch, format 2: the unit that clients send, that is stored, and that is served, always as
//! the same bytes.
//!
//! What is in a batch is the producer's; a leader writes only the two fields that the checksum leaves out,
//! so that nothing is copied or packed again on its way. This module reads the header, decides whether a
//! batch may be taken at all ([`validate_produced`]), and for clients builds batches ([`BatchBuilder`])
//! and takes them apart ([`records`]). It does no I/O. No bytes make it panic, and nothing is allocated
//! because a length in them says so.
//!
//! ```text
//!  0        8        12       16    17     21           23                  27              35
//!  +--------+--------+--------+-----+------+------------+-------------------+---------------+---
//!  | base   | batch  | leader |magic| CRC- | attributes | last offset delta | base          |
//!  | offset | length | epoch  | = 2 | 32C  |            |                   | timestamp     |
//!  | i64    | i32    | i32    | i8  | u32  | i16        | i32               | i64           |
//!  +--------+--------+--------+-----+------+------------+-------------------+---------------+---
//!                    |<- counted by the length          |<- covered by the CRC, to the end ...
//!  35              43           51              53              57             61
//!  +---------------+------------+---------------+---------------+--------------+-----------------
//!  | max timestamp | producer   | producer      | base sequence | record count | records, packed
//!  | i64           | id i64     | epoch i16     | i32           | i32          | as attributes say
//!  +---------------+------------+---------------+---------------+--------------+-----------------
//!
//!  record:  length, attributes i8, timestamp delta, offset delta, key length, key, value length, value,
//!           header count, headers            (numbers: zigzag varints; length -1: null)
//!  header:  name length, name, value length, value
//! ```
//!
//! Integers are big-endian. The source is KIP-98 and the record section of Kafka's protocol guide.

mod attributes;
mod builder;
mod codec;
mod error;
mod header;
mod read;
mod retain;
mod source;
mod validate;
mod varint;
mod walk;

#[cfg(test)]
mod tests;

pub use attributes::{Attributes, Compression, TimestampType};
pub use builder::{BatchBuilder, NewHeader, NewRecord, Producer};
pub use error::{BatchError, RecordFlaw};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use header::write_crc;
pub use header::{
    BATCH_HEADER_LEN, BatchHeader, LENGTH_PREFIX_LEN, MAGIC, assign, crc_is_right, detach, empty_batch,
    stamp_log_append_time, without_records,
};
pub use read::{
    Batches, Record, RecordHeader, RecordHeaders, RecordIter, RecordRef, RecordRefs, UnpackedBatch, batches,
    records, unpack,
};
pub use retain::{Retained, retain};
pub use validate::{DEFAULT_MAX_UNPACKED_BYTES, ProduceRules, validate_produced};
