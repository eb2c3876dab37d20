//! The log over the machine's own disk.

mod model;
mod reading;
mod rules;

use std::sync::Arc;

use super::{Appended, Log, LogOptions, ReadBuffer, ReadOutcome, ReadRequest};
use crate::{
    clock::ManualClock,
    model::{BootId, LeaderEpoch, Offset, PartitionId, PartitionIndex, TimestampMs, TopicId},
    record::{BatchBuilder, BatchHeader, Compression, NewRecord, Producer},
    storage::{fs::real::RealFs, recovery::RecoveryReport},
};

pub(super) fn batch(records: usize, timestamp: i64, value: &[u8], producer: Producer) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1 << 20);
    for _ in 0..records {
        let record =
            NewRecord { timestamp: TimestampMs::new(timestamp), key: None, value: Some(value), headers: &[] };
        assert!(builder.append(&record));
    }
    builder.finish(Compression::None, None, producer).unwrap().to_vec()
}

pub(super) fn append(log: &mut Log, batch: impl AsRef<[u8]>) -> Appended {
    let batch = batch.as_ref();
    let header = BatchHeader::parse(batch).unwrap();
    log.append(batch, &header, TimestampMs::new(1)).unwrap()
}

pub(super) const PARTITION: PartitionId =
    PartitionId { topic: TopicId::from_bytes([7; 16]), index: PartitionIndex::new(0) };

fn open(dir: &std::path::Path, epoch: i32, options: LogOptions) -> (Log, RecoveryReport) {
    let clock = Arc::new(ManualClock::default());
    Log::open(RealFs::shared(), dir, PARTITION, LeaderEpoch::new(epoch), options, clock).unwrap()
}

/// Every batch's (base, next), read to the end in small pieces.
fn read_all(log: &Log) -> Vec<(i64, i64)> {
    let reader = log.reader();
    let mut from = reader.log_start_offset();
    let mut found = Vec::new();
    let mut out = ReadBuffer::new();
    while from < reader.log_end_offset() {
        out.clear();
        let request = ReadRequest { from, max_bytes: 500, ..ReadRequest::default() };
        let ReadOutcome::Read { bytes, next, skipped } = reader.read(&request, &mut out).unwrap() else {
            panic!("may block")
        };
        assert!(skipped.is_empty(), "{skipped:?}");
        assert_eq!(bytes, out.len());
        let mut rest = out.as_slice();
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).unwrap();
            found.push((header.base_offset.get(), header.next_offset().get()));
            rest = &rest[header.total_len()..];
        }
        assert!(next > from);
        from = next;
    }
    found
}

#[test]
fn what_is_appended_is_read_back_in_order_over_many_segments_and_openings() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 2000, index_interval_bytes: 200, ..LogOptions::default() };
    let mut expected = Vec::new();
    for epoch in 1..5 {
        let (mut log, report) = open(&dir.path().join("t-0"), epoch, options);
        assert_eq!(report.cut, None);
        assert_eq!(report.corrupt, []);
        assert_eq!(read_all(&log), expected);
        for i in 0..40 {
            let records = 1 + i % 3;
            let base = log.log_end_offset().get();
            append(&mut log, batch(records, i as i64, b"some value", Producer::NONE));
            expected.push((base, base + records as i64));
            assert_eq!(log.log_end_offset().get(), base + records as i64);
        }
        assert_eq!(read_all(&log), expected);
        if epoch % 2 == 0 {
            let done = log.begin_flush().run();
            assert_eq!(log.finish_flush(done), Ok(log.log_end_offset()));
            assert_eq!(log.unflushed_bytes(), 0);
            log.checkpoint_job().unwrap().run().unwrap();
        }
        if epoch == 3 {
            log.close_clean(BootId::random()).unwrap();
        }
    }
    let (log, _) = open(&dir.path().join("t-0"), 9, options);
    assert_eq!(log.reader().segments().first().map(|s| s.base), Some(Offset::ZERO));
    assert_eq!(read_all(&log), expected);
}
