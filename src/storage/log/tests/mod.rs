//! The log over the machine's own disk.

mod followed;
mod mended;
mod misled;
mod model;
mod reading;
mod replicated;
mod room;
mod rules;
mod start;

use std::sync::Arc;

use super::{Appended, Log, LogOptions, ReadBuffer, ReadOutcome, ReadRequest};
use crate::{
    clock::ManualClock,
    model::{BootId, LeaderEpoch, Offset, PartitionId, PartitionIndex, TimestampMs, TopicId},
    record::{BatchBuilder, BatchHeader, Compression, NewRecord, Producer},
    storage::{
        block_checksums::BlockChecksums,
        fs::{Fs, Open, real::RealFs},
        recovery::RecoveryReport,
        segment::FileKind,
    },
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

#[test]
fn a_log_closes_in_order_while_its_checkpoint_is_being_written() {
    let options = LogOptions { snapshot_bytes: 1, ..LogOptions::default() };
    for _ in 0..32 {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = open(&dir.path().join("t-0"), 1, options);
        append(&mut log, batch(1, 1, b"some value", Producer::NONE));
        let done = log.begin_flush().run();
        log.finish_flush(done).unwrap();
        // With the producers' state at the very end that closing stores it at.
        let job = log.checkpoint_job().unwrap();
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| job.run());
            log.close_clean(BootId::random()).unwrap();
            writing.join().unwrap().unwrap();
        });
    }
}

/// Rolls a log into its second segment, gives the first one's file to `hit`, and stores its checksums; what
/// they say of the file.
fn changed_before_the_seal(open_again: bool, hit: impl FnOnce(&std::path::Path)) -> Option<bool> {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("t-0");
    let options = LogOptions { segment_bytes: 2000, ..LogOptions::default() };
    let (mut log, _) = open(&folder, 1, options);
    append(&mut log, batch(3, 1, b"some value", Producer::NONE));
    if open_again {
        log.close_clean(BootId::random()).unwrap();
        log = open(&folder, 2, options).0;
    }
    while log.shared.segments().len() < 2 {
        append(&mut log, batch(3, 1, b"some value", Producer::NONE));
    }
    let done = log.begin_flush().run();
    log.finish_flush(done).unwrap();
    let segment = Arc::clone(&log.shared.segments()[0]);
    hit(&segment.path());
    log.seal_job().unwrap().run().unwrap();
    assert!(log.seal_job().is_none(), "one sealed segment");
    let path = segment.folder().file(segment.base(), FileKind::Checksums);
    let sums = BlockChecksums::load(&RealFs, &path).unwrap()?;
    assert_eq!(sums.file_len(), segment.size());
    Some(!sums.mismatches(&*segment.open_file().unwrap(), 0..segment.size()).unwrap().is_empty())
}

fn flip_byte(position: u64) -> impl FnOnce(&std::path::Path) {
    move |path| {
        let file = RealFs.open(path, Open::ReadWrite).unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, position).unwrap();
        file.write_all_at(&[byte[0] ^ 1], position).unwrap();
    }
}

#[test]
fn block_checksums_are_of_what_was_written_also_where_the_file_was_hit_before_they_were_stored() {
    assert_eq!(changed_before_the_seal(false, |_| ()), Some(false));
    // The leader epoch: no checksum of a batch reaches there.
    assert_eq!(changed_before_the_seal(false, flip_byte(14)), Some(true));
}

#[test]
fn block_checksums_of_a_segment_that_was_begun_before_the_opening_are_read_from_its_file() {
    assert_eq!(changed_before_the_seal(true, |_| ()), Some(false));
    assert_eq!(changed_before_the_seal(true, flip_byte(70)), None, "what is hit already gets none");
}

#[test]
fn a_closed_log_whose_only_segment_is_gone_says_so_and_begins_behind_what_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("t-0");
    let (mut log, _) = open(&folder, 1, LogOptions::default());
    append(&mut log, batch(3, 1, b"some value", Producer::NONE));
    let path = log.shared.segments()[0].path();
    log.close_clean(BootId::random()).unwrap();
    std::fs::remove_file(path).unwrap();
    let (mut log, report) = open(&folder, 2, LogOptions::default());
    let missing: Vec<_> = report.corrupt.iter().map(|batch| (batch.first.get(), batch.next.get())).collect();
    assert_eq!(missing, [(0, 3)]);
    assert_eq!(log.log_start_offset(), Offset::new(3));
    append(&mut log, batch(1, 1, b"after", Producer::NONE));
    assert_eq!(read_all(&log), [(3, 4)], "offsets are not given out twice");
}
