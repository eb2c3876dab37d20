//! What is in one file of tests is told at its head; this one has what they share.

mod captured;
mod codecs;
mod properties;
mod rules;

use bytes::Bytes;

use super::{BatchBuilder, Compression, NewRecord, ProduceRules, Producer};
use crate::model::TimestampMs;

/// When the test batches' records were made, and when they are checked.
const NOW: TimestampMs = TimestampMs::new(1_700_000_000_000);

fn rules() -> ProduceRules {
    ProduceRules::defaults(NOW)
}

/// A batch of `count` records with a key and a value of `value_len` bytes.
fn batch_of(count: usize, value_len: usize, compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new(usize::MAX);
    for index in 0..count {
        let key = index.to_string();
        let value = vec![b'v'; value_len];
        let record =
            NewRecord { timestamp: NOW, key: Some(key.as_bytes()), value: Some(&value), headers: &[] };
        assert!(builder.append(&record));
    }
    finish(builder, compression).to_vec()
}

fn finish(builder: BatchBuilder, compression: Compression) -> Bytes {
    builder.finish(compression, None, Producer::NONE).unwrap()
}

/// A batch around a payload as it stands, with the checksum right.
fn batch_around(payload: &[u8], attributes: i16, records: i32) -> Vec<u8> {
    let mut batch = batch_of(1, 0, Compression::None);
    batch.truncate(super::BATCH_HEADER_LEN);
    batch.extend_from_slice(payload);
    patch(&mut batch, |batch| {
        let length = (batch.len() - super::LENGTH_PREFIX_LEN) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[21..23].copy_from_slice(&attributes.to_be_bytes());
        batch[23..27].copy_from_slice(&(records - 1).to_be_bytes());
        batch[57..61].copy_from_slice(&records.to_be_bytes());
    });
    batch
}

/// Changes a batch and makes its checksum right again.
fn patch(batch: &mut Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) {
    change(batch);
    super::header::write_crc(batch);
}
