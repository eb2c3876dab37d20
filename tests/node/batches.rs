//! Record batches, right ones and wrong ones.

use bytes::Bytes;
use polylogue::{
    clock::{Clock, SystemClock},
    model::{ProducerEpoch, ProducerId, Sequence, TimestampMs},
    record::{BatchBuilder, BatchHeader, Compression, NewRecord, Producer, batches, records},
};

/// Where fields of the header begin.
pub(crate) mod at {
    pub(crate) const BASE_OFFSET: usize = 0;
    pub(crate) const LENGTH: usize = 8;
    pub(crate) const LEADER_EPOCH: usize = 12;
    pub(crate) const MAGIC: usize = 16;
    pub(crate) const CRC: usize = 17;
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const LAST_OFFSET_DELTA: usize = 23;
    pub(crate) const MAX_TIMESTAMP: usize = 35;
    pub(crate) const RECORD_COUNT: usize = 57;
    pub(crate) const RECORDS: usize = 61;
}

pub(crate) fn now() -> TimestampMs {
    SystemClock::new().wall()
}

/// One batch of these values, timed now.
pub(crate) fn batch<V: AsRef<[u8]>>(values: &[V]) -> Bytes {
    build(values, now(), Compression::None, Producer::NONE)
}

/// One batch with one record of `bytes` bytes.
pub(crate) fn batch_of(bytes: usize) -> Bytes {
    batch(&[vec![b'v'; bytes]])
}

/// One batch of these values at a time.
pub(crate) fn batch_at<V: AsRef<[u8]>>(values: &[V], timestamp: i64) -> Bytes {
    build(values, TimestampMs::new(timestamp), Compression::None, Producer::NONE)
}

/// One batch of an idempotent producer.
pub(crate) fn sequenced<V: AsRef<[u8]>>(values: &[V], id: i64, epoch: i16, sequence: i32) -> Bytes {
    let producer = Producer {
        id: ProducerId::new(id),
        epoch: ProducerEpoch::new(epoch),
        base_sequence: Sequence::new(sequence),
    };
    build(values, now(), Compression::None, producer)
}

pub(crate) fn build<V: AsRef<[u8]>>(
    values: &[V],
    timestamp: TimestampMs,
    codec: Compression,
    producer: Producer,
) -> Bytes {
    let mut builder = BatchBuilder::new(64 << 20);
    for value in values {
        let record = NewRecord { timestamp, value: Some(value.as_ref()), ..NewRecord::default() };
        assert!(builder.append(&record));
    }
    builder.finish(codec, None, producer).unwrap()
}

/// The batch with bytes written over it, and its checksum made right again.
pub(crate) fn forged(batch: &Bytes, position: usize, bytes: &[u8]) -> Bytes {
    let mut forged = overwritten(batch, position, bytes).to_vec();
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &forged[at::ATTRIBUTES..]) as u32;
    forged[at::CRC..at::ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
    forged.into()
}

/// The batch with bytes written over it, whatever its checksum says.
pub(crate) fn overwritten(batch: &Bytes, position: usize, bytes: &[u8]) -> Bytes {
    let mut batch = batch.to_vec();
    batch[position..position + bytes.len()].copy_from_slice(bytes);
    batch.into()
}

/// The batches of an answer, which must all be whole.
#[track_caller]
pub(crate) fn headers(bytes: &Bytes) -> Vec<BatchHeader> {
    let found: Vec<BatchHeader> = batches(bytes.clone()).map(|batch| batch.unwrap().0).collect();
    assert_eq!(found.iter().map(BatchHeader::total_len).sum::<usize>(), bytes.len(), "only whole batches");
    found
}

/// Offset and value of each record of an answer.
#[track_caller]
pub(crate) fn values(bytes: &Bytes) -> Vec<(i64, Vec<u8>)> {
    let mut all = Vec::new();
    for found in batches(bytes.clone()) {
        for record in records(found.unwrap().1).unwrap() {
            let record = record.unwrap();
            all.push((record.offset.get(), record.value.unwrap().to_vec()));
        }
    }
    all
}
