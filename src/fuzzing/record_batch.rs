//! Bytes as a producer sends them for one partition, and as a consumer gets them.

use bytes::Bytes;

use super::input::Input;
use crate::{
    model::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs},
    record::{
        BATCH_HEADER_LEN, BatchBuilder, BatchError, BatchHeader, Compression, LENGTH_PREFIX_LEN, NewHeader,
        NewRecord, ProduceRules, Producer, Record, TimestampType, batches, records, stamp_log_append_time,
        unpack, validate_produced, write_crc,
    },
};

/// What records may unpack to: little, so that the fuzzer reaches it.
const MAX_UNPACKED: usize = 256 * 1024;
/// The time at which all is checked.
const NOW: TimestampMs = TimestampMs::new(1_700_000_000_000);

/// The first byte of the input: what is done with the bytes behind it.
#[derive(Clone, Copy, Debug)]
struct Choice(u8);

impl Choice {
    /// Length and checksum are made right first, or nothing behind them would ever be looked at.
    const SEAL: u8 = 1;
    const REQUIRE_KEYS: u8 = 1 << 1;
    const LOG_APPEND_TIME: u8 = 1 << 2;
    const IDEMPOTENT: u8 = 1 << 3;

    const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    /// The codec in which what was read is built again.
    fn codec(self) -> Compression {
        Compression::ALL[usize::from(self.0 >> 4) % Compression::ALL.len()]
    }

    fn rules(self) -> ProduceRules {
        let timestamp_type = if self.has(Self::LOG_APPEND_TIME) {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        };
        ProduceRules {
            max_unpacked_bytes: MAX_UNPACKED,
            require_keys: self.has(Self::REQUIRE_KEYS),
            timestamp_type,
            ..ProduceRules::defaults(NOW)
        }
    }

    fn producer(self) -> Producer {
        if self.has(Self::IDEMPOTENT) {
            let (id, epoch) = (ProducerId::new(7), ProducerEpoch::new(1));
            Producer { id, epoch, base_sequence: Sequence::new(i32::MAX - 1) }
        } else {
            Producer::NONE
        }
    }
}

/// Takes bytes, the first of which chooses what is done with the others, for a batch: validates it and takes it
/// apart. A batch that is taken has exactly the records that it counts, each with its offset; every other ends
/// with a named error. What was read is built again, and then is the same.
pub fn record_batch(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = Choice(input.u8());
    let mut batch = input.rest().to_vec();
    if choice.has(Choice::SEAL) {
        seal(&mut batch);
    }
    let found = match validate_produced(&batch, &choice.rules()) {
        Ok(header) => taken(batch, &header, choice),
        Err(_) => refused(batch.into()),
    };
    if !found.is_empty() {
        build_again(&found, choice);
    }
}

fn seal(batch: &mut [u8]) {
    let Some(len) = batch.len().checked_sub(LENGTH_PREFIX_LEN) else { return };
    if batch.len() >= BATCH_HEADER_LEN {
        batch[8..12].copy_from_slice(&(len as i32).to_be_bytes());
        write_crc(batch);
    }
}

fn taken(mut batch: Vec<u8>, header: &BatchHeader, choice: Choice) -> Vec<Record> {
    assert_eq!(header.total_len(), batch.len(), "exactly one batch is taken");
    if choice.has(Choice::LOG_APPEND_TIME) {
        stamp_log_append_time(&mut batch, NOW);
    }
    let unpacked = unpack(&batch.clone().into(), MAX_UNPACKED).expect("what was walked can be unpacked");
    let found: Result<Vec<Record>, BatchError> = unpacked.clone().into_records().collect();
    let found = found.expect("every record was walked");
    assert_eq!(found.len() as i32, header.record_count);
    let borrowed = unpacked.iter().map(|record| record.expect("every record was walked"));
    for (index, (record, borrowed)) in found.iter().zip(borrowed).enumerate() {
        assert_eq!(record.offset, header.base_offset.plus(index as i64));
        assert_eq!((record.offset, record.timestamp), (borrowed.offset, borrowed.timestamp));
        assert_eq!((record.key.as_deref(), record.value.as_deref()), (borrowed.key, borrowed.value));
        let names: Vec<_> = record.headers.iter().map(|h| (&h.name[..], h.value.as_deref())).collect();
        assert_eq!(names, borrowed.headers.collect::<Vec<_>>());
        assert!(record.key.is_some() || !choice.has(Choice::REQUIRE_KEYS));
        assert!(record.timestamp <= unpacked.header().max_timestamp);
    }
    found
}

/// What a consumer makes of bytes that no broker would have taken.
fn refused(bytes: Bytes) -> Vec<Record> {
    let mut before = 0;
    for (header, batch) in batches(bytes.clone()).flatten() {
        assert_eq!(header.total_len(), batch.len());
        before += batch.len();
        if let Ok(read) = unpack(&batch, MAX_UNPACKED) {
            bounded(read.into_records(), &header);
        }
    }
    assert!(before <= bytes.len());
    match (BatchHeader::parse(&bytes), unpack(&bytes, MAX_UNPACKED)) {
        (Ok(header), Ok(read)) => {
            let found = bounded(read.into_records(), &header);
            let plain = matches!(header.compression(), Ok(Compression::None));
            if plain {
                assert_eq!(bounded(records(bytes).expect("it was unpacked before"), &header), found);
            }
            found
        }
        (Ok(_) | Err(_), _) => Vec::new(),
    }
}

/// The records up to the first error, which ends them.
fn bounded(
    mut records: impl Iterator<Item = Result<Record, BatchError>>,
    header: &BatchHeader,
) -> Vec<Record> {
    let mut found = Vec::new();
    for record in records.by_ref() {
        match record {
            Ok(record) => found.push(record),
            Err(_) => break,
        }
    }
    assert!(records.next().is_none(), "something follows the end");
    assert!(found.len() <= usize::try_from(header.record_count).unwrap_or_default());
    found
}

/// Builds a batch of these records as far as a client could have written them, and reads it back.
fn build_again(found: &[Record], choice: Choice) {
    let mut builder = BatchBuilder::new(MAX_UNPACKED);
    let mut kept = Vec::new();
    for record in found {
        let Some(headers) = headers_of(record) else { continue };
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        if !builder.append(&NewRecord { timestamp: record.timestamp, key, value, headers: &headers }) {
            break;
        }
        kept.push(record);
    }
    if kept.is_empty() {
        return;
    }
    let batch = builder.finish(choice.codec(), None, choice.producer()).expect("it has a record");
    let rules = ProduceRules {
        max_batch_bytes: usize::MAX,
        max_unpacked_bytes: 2 * MAX_UNPACKED,
        after_max_ms: i64::MAX,
        ..ProduceRules::defaults(NOW)
    };
    let header = validate_produced(&batch, &rules).expect("what was built is taken");
    assert_eq!((header.base_offset, header.record_count), (Offset::ZERO, kept.len() as i32));
    let read: Vec<Record> = records(batch).expect("it was walked").flatten().collect();
    assert_eq!(read.len(), kept.len());
    for (index, (read, kept)) in read.iter().zip(kept).enumerate() {
        let expected = Record { offset: Offset::new(index as i64), ..kept.clone() };
        assert_eq!(*read, expected);
    }
}

/// The headers as a builder takes them, if their names are texts.
fn headers_of(record: &Record) -> Option<Vec<NewHeader<'_>>> {
    let headers = record.headers.iter().map(|header| {
        let name = std::str::from_utf8(&header.name).ok()?;
        Some(NewHeader { name, value: header.value.as_deref() })
    });
    headers.collect()
}
