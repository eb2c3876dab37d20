//! What a reader gets, and how.

use std::sync::Arc;

use super::{PARTITION, append, batch};
use crate::{
    clock::ManualClock,
    model::{LeaderEpoch, Offset, TimestampMs},
    record::{BatchHeader, Producer, TimestampType},
    storage::{
        fs::real::RealFs,
        log::{Appended, Log, LogOptions, ReadBuffer, ReadError, ReadOutcome, ReadRequest, Verify, Wait},
    },
};

fn open(dir: &std::path::Path, options: LogOptions) -> Log {
    let clock = Arc::new(ManualClock::default());
    Log::open(RealFs::shared(), dir, PARTITION, LeaderEpoch::new(1), options, clock).unwrap().0
}

/// Batches of three records; the times of each batch begin at ten times its base offset.
fn filled(dir: &std::path::Path, batches: i64) -> Log {
    let options = LogOptions { segment_bytes: 1500, index_interval_bytes: 300, ..LogOptions::default() };
    let mut log = open(dir, options);
    for i in 0..batches {
        append(&mut log, batch(3, i * 30, b"value", Producer::NONE));
    }
    log
}

fn bases(mut bytes: &[u8]) -> Vec<i64> {
    let mut bases = Vec::new();
    while !bytes.is_empty() {
        let header = BatchHeader::parse(bytes).unwrap();
        bases.push(header.base_offset.get());
        bytes = &bytes[header.total_len()..];
    }
    bases
}

fn read(log: &Log, request: &ReadRequest) -> (Vec<i64>, i64) {
    let mut out = ReadBuffer::new();
    match log.reader().read(request, &mut out).unwrap() {
        ReadOutcome::Read { next, .. } => (bases(out.as_slice()), next.get()),
        ReadOutcome::NeedsDisk => panic!("may block"),
    }
}

#[test]
fn a_read_in_the_middle_of_a_batch_returns_the_whole_batch() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), 10);
    for from in 6..9 {
        let request = ReadRequest { from: Offset::new(from), max_bytes: 1, ..ReadRequest::default() };
        assert_eq!(read(&log, &request), (vec![6], 9));
    }
}

#[test]
fn nothing_at_or_above_the_bound_is_returned_not_even_a_part_of_a_batch() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), 10);
    for (upto, expected, next) in [(0, vec![], 0), (2, vec![], 0), (3, vec![0], 3), (8, vec![0, 3], 6)] {
        let request = ReadRequest { upto: Offset::new(upto), ..ReadRequest::default() };
        assert_eq!(read(&log, &request), (expected, next), "below {upto}");
    }
}

#[test]
fn the_first_batch_comes_over_the_limit_only_when_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), 10);
    let small = ReadRequest { max_bytes: 1, ..ReadRequest::default() };
    assert_eq!(read(&log, &small), (vec![0], 3));
    assert_eq!(read(&log, &ReadRequest { at_least_one: false, ..small }), (vec![], 0));
    let len = batch(3, 0, b"value", Producer::NONE).len();
    let two = ReadRequest { max_bytes: 3 * len - 1, at_least_one: false, ..small };
    assert_eq!(read(&log, &two), (vec![0, 3], 6));
}

#[test]
fn an_offset_outside_the_log_is_out_of_range_and_the_end_itself_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), 2);
    let mut out = ReadBuffer::new();
    let mut at = |from| {
        log.reader().read(&ReadRequest { from: Offset::new(from), ..ReadRequest::default() }, &mut out)
    };
    assert!(matches!(at(7), Err(ReadError::OutOfRange { .. })));
    assert!(matches!(at(-1), Err(ReadError::OutOfRange { .. })));
    assert!(matches!(at(6), Ok(ReadOutcome::Read { bytes: 0, .. })));
}

#[test]
fn readers_of_a_dropped_log_are_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), 2);
    let reader = log.reader();
    drop(log);
    let read = reader.read(&ReadRequest::default(), &mut ReadBuffer::new());
    assert!(matches!(read, Err(ReadError::Closed)));
}

#[test]
fn a_range_to_send_is_whole_batches_and_the_same_bytes_as_a_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), 30);
    let reader = log.reader();
    for from in 0..90 {
        for (upto, max_bytes) in [(90, 1), (90, 700), (90, 1 << 20), (45, 400), (45, 1 << 20)] {
            let request = ReadRequest {
                from: Offset::new(from),
                upto: Offset::new(upto),
                max_bytes,
                verify: Verify::Never,
                ..ReadRequest::default()
            };
            let range = reader.file_range(&request).unwrap();
            let Some(range) = range else {
                assert!(from >= upto, "{request:?}");
                continue;
            };
            let mut bytes = vec![0; range.len];
            assert_eq!(range.file.read_at(&mut bytes, range.position).unwrap(), range.len);
            let sent = bases(&bytes);
            assert_eq!(sent.first(), Some(&(from - from % 3)));
            assert_eq!(sent.last().map(|last| last + 3), Some(range.next.get()));
            assert!(range.next.get() <= upto && (range.len <= max_bytes || sent.len() == 1));
        }
    }
}

/// How many files of this process lie in a folder.
fn open_files(dir: &std::path::Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
        .filter(|file| file.starts_with(dir))
        .count()
}

#[test]
fn only_so_many_segments_are_open_however_many_there_are_and_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = filled(dir.path(), 1500);
    let segments = log.reader().segments().len();
    let bound = log.options().open_segments_max + 5;
    assert!(segments > 4 * bound);
    let done = log.begin_flush().run();
    log.finish_flush(done).unwrap();
    log.checkpoint_job().unwrap().run().unwrap();
    for from in (0..4500).step_by(3) {
        let request = ReadRequest { from: Offset::new(from), max_bytes: 1, ..ReadRequest::default() };
        assert_eq!(read(&log, &request), (vec![from], from + 3));
    }
    assert!(open_files(dir.path()) <= bound, "{} of {segments}", open_files(dir.path()));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let maps = maps.lines().filter(|line| line.contains(dir.path().to_str().unwrap())).count();
    assert!(maps <= 2 * bound, "{maps} of {segments}");
    drop(log);
    assert_eq!(open_files(dir.path()), 0);
}

#[test]
fn what_was_checked_once_is_sent_unchecked_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), 30);
    let reader = log.reader();
    let request = |from| ReadRequest {
        from: Offset::new(from),
        max_bytes: 1 << 20,
        verify: Verify::First,
        ..ReadRequest::default()
    };
    let is_sent = |from| reader.file_range(&request(from)).unwrap().is_some();
    let check = |from| match reader.read(&request(from), &mut ReadBuffer::new()).unwrap() {
        ReadOutcome::Read { next, .. } => next.get(),
        ReadOutcome::NeedsDisk => panic!("the request may wait"),
    };
    assert!(!is_sent(0), "nobody has checked it");
    let next = check(0);
    assert!(is_sent(0) && is_sent(3), "to the end of its segment it was checked");
    assert!(!is_sent(next), "the next segment is unchecked");
    check(next + 3);
    assert!(!is_sent(next) && !is_sent(next + 3), "what stands before it in its segment is unchecked");
}

#[test]
fn a_time_leads_to_the_first_record_at_or_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = filled(dir.path(), 30);
    let reader = log.reader();
    let find = |time, upto| {
        let found = reader.offset_for_time(TimestampMs::new(time), Offset::new(upto)).unwrap();
        found.map(|(offset, at, epoch)| (offset.get(), at.get(), epoch.get()))
    };
    assert_eq!(find(-5, 90), Some((0, 0, 1)));
    for i in 1..30 {
        assert_eq!(find(i * 30, 90), Some((i * 3, i * 30, 1)));
        assert_eq!(find(i * 30 - 29, 90), Some((i * 3, i * 30, 1)));
    }
    assert_eq!(find(29 * 30 + 1, 90), None);
    assert_eq!(find(300, 30), None, "what is not committed is not found");
    let newest = reader.offset_of_max_timestamp(Offset::new(90)).unwrap();
    assert_eq!(newest.map(|(offset, ..)| offset.get()), Some(87));
    let newest = reader.offset_of_max_timestamp(Offset::new(30)).unwrap();
    assert_eq!(newest.map(|(offset, ..)| offset.get()), Some(27));
}

#[test]
fn with_log_append_time_the_record_carries_the_time_of_the_append() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { timestamp_type: TimestampType::LogAppendTime, ..LogOptions::default() };
    let mut log = open(dir.path(), options);
    let bytes = batch(2, 5, b"value", Producer::NONE);
    let header = BatchHeader::parse(&bytes).unwrap();
    log.append(&bytes, &header, TimestampMs::new(777)).unwrap();
    let found = log.reader().offset_for_time(TimestampMs::new(700), Offset::MAX).unwrap().unwrap();
    assert_eq!((found.0, found.1), (Offset::new(0), TimestampMs::new(777)));
}

#[test]
fn what_is_cached_is_read_without_waiting_by_many_readers_while_the_writer_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 100_000, ..LogOptions::default() };
    let mut log = open(dir.path(), options);
    let total = 3000;
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let reader = log.reader();
            std::thread::spawn(move || {
                let mut out = ReadBuffer::new();
                let mut from = Offset::ZERO;
                while from.get() < total {
                    out.clear();
                    let cached = ReadRequest { from, wait: Wait::OnlyCached, ..ReadRequest::default() };
                    let answer = match reader.read(&cached, &mut out).unwrap() {
                        ReadOutcome::NeedsDisk => {
                            reader.read(&ReadRequest { wait: Wait::MayBlock, ..cached }, &mut out).unwrap()
                        }
                        read @ ReadOutcome::Read { .. } => read,
                    };
                    let ReadOutcome::Read { next, skipped, .. } = answer else { panic!("may block") };
                    assert!(skipped.is_empty(), "{skipped:?}");
                    for base in bases(out.as_slice()) {
                        assert_eq!(base, from.get());
                        from = from.plus(1);
                    }
                    assert_eq!(from, next);
                }
            })
        })
        .collect();
    for i in 0..total {
        let appended = append(&mut log, batch(1, i, &[3; 200], Producer::NONE));
        assert_eq!(appended, Appended::New { base: Offset::new(i), last: Offset::new(i) });
    }
    for reader in readers {
        reader.join().unwrap();
    }
}
