//! Batches that librdkafka wrote; how they were caught is told beside them.

use bytes::Bytes;

use super::rules;
use crate::{
    model::{ProducerEpoch, ProducerId, Sequence, TimestampMs},
    record::{
        BatchHeader, Compression, ProduceRules, Record, TimestampType, records, unpack, validate_produced,
    },
};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/record_batches/", $name))
    };
}

/// When the batches were caught lies after the other tests' time.
fn captured_rules() -> ProduceRules {
    ProduceRules { after_max_ms: i64::MAX, ..rules() }
}

fn check(bytes: &'static [u8], compression: Compression) -> BatchHeader {
    let header = validate_produced(bytes, &captured_rules()).unwrap();
    assert_eq!(header.compression(), Ok(compression));
    assert_eq!(header.timestamp_type(), TimestampType::CreateTime);
    assert_eq!((header.record_count, header.last_offset_delta), (12, 11));
    assert_eq!(header.total_len(), bytes.len());
    let batch = Bytes::from_static(bytes);
    let found: Vec<Record> = records(batch.clone()).unwrap().map(Result::unwrap).collect();
    assert_eq!(found.len(), 12);
    for (index, record) in found.iter().enumerate() {
        check_record(index, record, &header);
    }
    let unpacked = unpack(&batch, 10_000).unwrap();
    let borrowed: Vec<_> = unpacked.iter().map(Result::unwrap).collect();
    assert!(borrowed.iter().zip(&found).all(|(one, other)| one.value == other.value.as_deref()));
    header
}

fn check_record(index: usize, record: &Record, header: &BatchHeader) {
    let key = (index != 5).then(|| format!("key-{index:02}"));
    let text = "of a record that a real client wrote, long enough that packing pays";
    let value = (index != 3).then(|| format!("value {index:02} {text}"));
    assert_eq!(record.offset.get(), index as i64);
    assert_eq!(record.key.as_deref(), key.as_deref().map(str::as_bytes));
    assert_eq!(record.value.as_deref(), value.as_deref().map(str::as_bytes));
    assert!(record.timestamp >= header.base_timestamp && record.timestamp <= header.max_timestamp);
    assert!(record.timestamp > TimestampMs::new(1_700_000_000_000));
    let headers: Vec<_> = record.headers.iter().map(|h| (&h.name[..], h.value.as_deref())).collect();
    assert_eq!(headers, [(&b"trace"[..], Some(&b"abc"[..])), (b"empty", Some(b"")), (b"none", None)]);
}

#[test]
fn librdkafkas_uncompressed_batch_is_taken_and_read() {
    let header = check(fixture!("none.bin"), Compression::None);
    assert!(!header.is_idempotent());
    assert_eq!((header.producer_id, header.producer_epoch), (ProducerId::NONE, ProducerEpoch::NONE));
}

#[test]
fn librdkafkas_gzip_batch_is_taken_and_read() {
    check(fixture!("gzip.bin"), Compression::Gzip);
}

#[test]
fn librdkafkas_bare_snappy_block_is_taken_and_read() {
    check(fixture!("snappy.bin"), Compression::Snappy);
}

#[test]
fn librdkafkas_lz4_batch_is_taken_and_read() {
    check(fixture!("lz4.bin"), Compression::Lz4);
}

#[test]
fn librdkafkas_zstd_batch_is_taken_and_read() {
    check(fixture!("zstd.bin"), Compression::Zstd);
}

#[test]
fn librdkafkas_idempotent_batch_carries_its_producer() {
    let header = check(fixture!("idempotent.bin"), Compression::Lz4);
    assert!(header.is_idempotent());
    assert_eq!((header.producer_id, header.producer_epoch), (ProducerId::new(4000), ProducerEpoch::new(0)));
    assert_eq!((header.base_sequence, header.last_sequence()), (Sequence::new(0), Sequence::new(11)));
}

#[test]
fn a_compacted_topic_refuses_the_captured_record_without_a_key_in_every_codec() {
    let compacted = ProduceRules { require_keys: true, ..captured_rules() };
    let all: [&[u8]; 5] = [
        fixture!("none.bin"),
        fixture!("gzip.bin"),
        fixture!("snappy.bin"),
        fixture!("lz4.bin"),
        fixture!("zstd.bin"),
    ];
    for bytes in all {
        let error = validate_produced(bytes, &compacted).unwrap_err();
        assert_eq!(error.to_string(), "record 5: has no key, which a compacted topic needs");
    }
}
