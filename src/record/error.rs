use super::Compression;
use crate::model::TimestampMs;

/// Why bytes are not a batch that can be taken, stored or read.
///
/// Each variant names the Kafka error code that a producer should get for it; the table that answers
/// with it belongs to whoever speaks the protocol. Code 2 is retriable (the bytes may have been hurt on
/// their way), all others are the client's own doing and are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the batch says it has. Code 2.
    #[error("batch is cut short: {needed} bytes needed, {available} there")]
    Truncated {
        /// How many bytes the header, or the length within it, asks for.
        needed: usize,
        /// How many there are.
        available: usize,
    },
    /// The length field is less than a header's rest, or more than any batch can have. Code 2.
    #[error("batch length {0} is not possible")]
    Length(i32),
    /// Message sets of magic 0 and 1. Code 43; Apache Kafka answers 87 to produce requests from version 3.
    #[error("message format {0} is no longer supported")]
    OldMagic(i8),
    /// A format that nobody has defined. Code 2.
    #[error("message format {0} is unknown")]
    Magic(i8),
    /// Something follows the one batch that a partition may be sent. Code 87.
    #[error("{0} bytes follow the batch")]
    TrailingBytes(usize),
    /// The batch has more bytes than the topic takes (`max.message.bytes`). Code 10.
    #[error("batch has {bytes} bytes, more than {max}")]
    TooLarge {
        /// Its whole length, compressed as it is.
        bytes: usize,
        /// The topic's limit.
        max: usize,
    },
    /// The records unpack to more bytes than the node is willing to walk. Code 10.
    #[error("records unpack to more than {max} bytes")]
    UnpackedTooLarge {
        /// The limit.
        max: usize,
    },
    /// The CRC-32C does not match. Code 2.
    #[error("batch checksum does not match")]
    Checksum,
    /// The attributes name a codec that nobody has defined. Code 76.
    #[error("compression codec {0} is unknown")]
    Codec(u8),
    /// The codec cannot make sense of the bytes, whose checksum is right. Code 87.
    #[error("records cannot be unpacked with {}", .0.name())]
    Unpack(Compression),
    /// The codec's library refused to pack what was given to it; no produced batch leads here.
    #[error("records cannot be packed with {}", .0.name())]
    Pack(Compression),
    /// Clients do not write control records. Code 87.
    #[error("batch is a control batch")]
    Control,
    /// Transactions are not served. Code 87, or what the handler prefers; never a retriable one.
    #[error("batch is transactional")]
    Transactional,
    /// A producer id without an epoch or a sequence, or a negative one other than -1. Code 87.
    #[error(
        "producer id {producer_id}, epoch {producer_epoch} and sequence {base_sequence} contradict each other"
    )]
    ProducerFields {
        /// As in the header.
        producer_id: i64,
        /// As in the header.
        producer_epoch: i16,
        /// As in the header.
        base_sequence: i32,
    },
    /// No records, or not as many as there are offsets. Code 87.
    #[error("batch claims {records} records and a last offset delta of {last_offset_delta}")]
    Count {
        /// The header's record count.
        records: i32,
        /// The header's last offset delta.
        last_offset_delta: i32,
    },
    /// A record is not well formed. Code 87.
    #[error("record {index}: {flaw}")]
    Record {
        /// Which record of the batch, from 0.
        index: i32,
        /// What is wrong with it.
        flaw: RecordFlaw,
    },
    /// The records end before or after the bytes do. Code 87.
    #[error("bytes follow the last record")]
    BytesAfterRecords,
    /// A producer says that the leader gave the timestamps. Code 32.
    #[error("producer claims log append time")]
    TimestampType,
    /// A record's time is further from now than the topic allows. Code 32.
    #[error("timestamp {timestamp} is too far from {now}")]
    Timestamp {
        /// The record's time, or the header's highest.
        timestamp: TimestampMs,
        /// When it was checked.
        now: TimestampMs,
    },
    /// The header's highest timestamp is below that of a record, so that no search by time would find it.
    /// Code 32.
    #[error("highest timestamp is given as {claimed} and is {actual}")]
    MaxTimestamp {
        /// The header's.
        claimed: TimestampMs,
        /// The records'.
        actual: TimestampMs,
    },
}

/// What is wrong with one record. All are code 87.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFlaw {
    /// The bytes end within it.
    #[error("is cut short")]
    Truncated,
    /// A number of variable length that does not end, or is out of its range.
    #[error("has a number out of range")]
    Varint,
    /// Its fields end before or after its length says.
    #[error("does not have the length that it claims")]
    Length,
    /// Its offset is not the one that follows its predecessor's.
    #[error("is not in the order of offsets")]
    OffsetDelta,
    /// A negative length other than -1, which stands for null.
    #[error("has a field of negative length")]
    NegativeLength,
    /// It has no key, and the topic is compacted by key.
    #[error("has no key, which a compacted topic needs")]
    KeyMissing,
    /// A header without a name.
    #[error("has a header without a name")]
    HeaderName,
    /// The time overflows.
    #[error("has a timestamp out of range")]
    Timestamp,
}
