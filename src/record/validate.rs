use super::{
    BATCH_HEADER_LEN, BatchError, BatchHeader, Compression, TimestampType, codec, crc_is_right,
    source::SliceSource,
    walk::{Deltas, Expected, walk},
};
use crate::model::TimestampMs;

/// Bytes that a produced batch may unpack to where nothing else is configured: more than any client packs
/// into the largest batch that a topic takes by default.
pub const DEFAULT_MAX_UNPACKED_BYTES: usize = 64 * 1024 * 1024;

/// What a topic asks of the batches it is sent.
#[derive(Clone, Copy, Debug)]
pub struct ProduceRules {
    /// `max.message.bytes`: the most bytes of a whole batch, compressed as it is.
    pub max_batch_bytes: usize,
    /// The most bytes that its records may unpack to.
    pub max_unpacked_bytes: usize,
    /// Whether the topic is compacted, and so needs keys.
    pub require_keys: bool,
    /// The time of the check.
    pub now: TimestampMs,
    /// `message.timestamp.type`: with log append time the records' own times do not matter.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far before `now` a record's time may be.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far after `now` a record's time may be.
    pub after_max_ms: i64,
}

impl ProduceRules {
    /// Kafka's defaults for a topic, at this time.
    pub const fn defaults(now: TimestampMs) -> Self {
        Self {
            max_batch_bytes: 1_048_588,
            max_unpacked_bytes: DEFAULT_MAX_UNPACKED_BYTES,
            require_keys: false,
            now,
            timestamp_type: TimestampType::CreateTime,
            before_max_ms: i64::MAX,
            after_max_ms: 3_600_000,
        }
    }
}

/// Checks what a client has sent for one partition: exactly one batch, whole, and every record of it.
///
/// Uncompressed records are walked where they are, without allocation; compressed ones are streamed through
/// their decoder. The rules are those of Kafka's `LogValidator` for batches of clients.
pub fn validate_produced(records: &[u8], rules: &ProduceRules) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(records)?;
    check_extent(records.len(), &header, rules)?;
    if !crc_is_right(records, &header) {
        return Err(BatchError::Checksum);
    }
    check_header(&header)?;
    let payload = records.get(BATCH_HEADER_LEN..).unwrap_or_default();
    let deltas = walk_payload(payload, &header, rules)?;
    check_timestamps(&header, deltas, rules)?;
    Ok(header)
}

fn check_extent(available: usize, header: &BatchHeader, rules: &ProduceRules) -> Result<(), BatchError> {
    let bytes = header.total_len();
    if bytes > rules.max_batch_bytes {
        return Err(BatchError::TooLarge { bytes, max: rules.max_batch_bytes });
    }
    if bytes > available {
        return Err(BatchError::Truncated { needed: bytes, available });
    }
    if bytes < available {
        return Err(BatchError::TrailingBytes(available - bytes));
    }
    Ok(())
}

fn check_header(header: &BatchHeader) -> Result<(), BatchError> {
    header.compression()?;
    if header.is_control() {
        return Err(BatchError::Control);
    }
    if header.is_transactional() {
        return Err(BatchError::Transactional);
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(BatchError::TimestampType);
    }
    let (records, last_offset_delta) = (header.record_count, header.last_offset_delta);
    if records <= 0 || last_offset_delta != records - 1 {
        return Err(BatchError::Count { records, last_offset_delta });
    }
    check_producer(header)
}

/// Without a producer id, epoch and sequence are not looked at: kafkajs and sarama leave zeros there.
fn check_producer(header: &BatchHeader) -> Result<(), BatchError> {
    let producer_id = header.producer_id.get();
    let producer_epoch = header.producer_epoch.get();
    let base_sequence = header.base_sequence.get();
    if producer_id == -1 || (producer_id >= 0 && producer_epoch >= 0 && base_sequence >= 0) {
        return Ok(());
    }
    Err(BatchError::ProducerFields { producer_id, producer_epoch, base_sequence })
}

fn walk_payload(payload: &[u8], header: &BatchHeader, rules: &ProduceRules) -> Result<Deltas, BatchError> {
    let compression = header.compression()?;
    let expected = Expected {
        records: header.record_count,
        keys: rules.require_keys,
        compression,
        max_unpacked: rules.max_unpacked_bytes,
    };
    let absent = TimestampMs::NONE.millis_since(header.base_timestamp);
    match compression {
        Compression::None => walk(SliceSource::new(payload), expected, absent),
        Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd => {
            codec::walk_packed(payload, expected, absent)
        }
    }
}

fn check_timestamps(header: &BatchHeader, deltas: Deltas, rules: &ProduceRules) -> Result<(), BatchError> {
    if rules.timestamp_type == TimestampType::LogAppendTime {
        return Ok(());
    }
    let claimed = header.max_timestamp;
    let actual = time_of(header, deltas.max)?;
    if claimed < actual {
        return Err(BatchError::MaxTimestamp { claimed, actual });
    }
    if claimed.millis_since(rules.now) > rules.after_max_ms {
        return Err(BatchError::Timestamp { timestamp: claimed, now: rules.now });
    }
    // The least delta is left at the highest integer where no record has a time.
    if deltas.min != i64::MAX {
        let earliest = time_of(header, deltas.min)?;
        if rules.now.millis_since(earliest) > rules.before_max_ms {
            return Err(BatchError::Timestamp { timestamp: earliest, now: rules.now });
        }
    }
    Ok(())
}

fn time_of(header: &BatchHeader, delta: i64) -> Result<TimestampMs, BatchError> {
    let overflow = BatchError::Record { index: 0, flaw: super::RecordFlaw::Timestamp };
    header.base_timestamp.get().checked_add(delta).map(TimestampMs::new).ok_or(overflow)
}
