//! What a follower takes from its leader, and what becomes of its log.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{PARTITION, append, batch};
use crate::{
    clock::ManualClock,
    model::{LeaderEpoch, Offset, TimestampMs},
    record::{BatchHeader, Producer, assign, empty_batch},
    storage::{
        fs::real::RealFs,
        log::{
            AppendError, EpochRefused, Log, LogOptions, ReadBuffer, ReadError, ReadOutcome, ReadRequest,
            ReplicateError,
        },
    },
};

const NOW: TimestampMs = TimestampMs::new(1);
const LEADER: LeaderEpoch = LeaderEpoch::new(5);

fn follow(dir: &std::path::Path, options: LogOptions) -> Log {
    let clock = Arc::new(ManualClock::default());
    Log::open_to_follow(RealFs::shared(), dir, PARTITION, LEADER, options, clock).unwrap().0
}

fn at(base: i64, epoch: i32, records: usize) -> Vec<u8> {
    let mut bytes = batch(records, base, b"some value", Producer::NONE);
    assign(&mut bytes, Offset::new(base), LeaderEpoch::new(epoch));
    bytes
}

fn all(log: &Log) -> Vec<u8> {
    let mut out = ReadBuffer::new();
    let reader = log.reader();
    let mut from = reader.log_start_offset();
    while from < reader.log_end_offset() {
        let request = ReadRequest { from, ..ReadRequest::default() };
        let ReadOutcome::Read { next, .. } = reader.read(&request, &mut out).unwrap() else { panic!() };
        from = next;
    }
    out.as_slice().to_vec()
}

#[test]
fn what_a_leader_has_appended_is_taken_byte_for_byte_over_many_segments_with_its_terms() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 400, index_interval_bytes: 100, ..LogOptions::default() };
    let mut log = follow(dir.path(), options);
    let mut sent = Vec::new();
    for i in 0..20 {
        sent.extend(at(i * 2, 1 + i as i32 / 7, 2));
    }
    let done = log.append_replicated(&sent, LEADER, NOW).unwrap();
    assert_eq!((done.end, done.batches), (Offset::new(40), 20));
    assert!(log.reader().segments().len() > 3);
    assert_eq!(all(&log), sent);
    let terms: Vec<_> = log.reader().leader_epochs().iter().map(|e| (e.epoch.get(), e.start.get())).collect();
    assert_eq!(terms, [(1, 0), (2, 14), (3, 28)]);
    drop(log);
    assert_eq!(all(&follow(dir.path(), options)), sent);
}

/// Whether an error is the one that was expected.
type Expected = fn(&ReplicateError) -> bool;

#[test]
fn a_follower_refuses_by_name_whatever_is_not_the_next_whole_batch_and_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = follow(dir.path(), LogOptions::default());
    log.append_replicated(&at(0, 3, 2), LEADER, NOW).unwrap();
    let good = at(2, 3, 1);
    let (mut huge, mut negative, mut counts, mut hit) =
        (good.clone(), good.clone(), good.clone(), good.clone());
    huge[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    negative[8..12].copy_from_slice(&(-1_i32).to_be_bytes());
    counts[23..27].copy_from_slice(&(-5_i32).to_be_bytes());
    *hit.last_mut().unwrap() ^= 1;
    let behind = |bad: &[u8]| [good.as_slice(), bad].concat();
    let refused: Vec<(Vec<u8>, Expected)> = vec![
        (good[..good.len() - 1].to_vec(), |e| matches!(e, ReplicateError::Cut { .. })),
        (good[..30].to_vec(), |e| matches!(e, ReplicateError::Cut { .. })),
        (huge, |e| matches!(e, ReplicateError::Cut { .. } | ReplicateError::Header { .. })),
        (negative, |e| matches!(e, ReplicateError::Header { .. })),
        (counts, |e| matches!(e, ReplicateError::Count { .. })),
        (hit, |e| matches!(e, ReplicateError::Checksum { .. })),
        (at(1, 3, 1), |e| matches!(e, ReplicateError::Offset { .. })),
        (at(3, 3, 1), |e| matches!(e, ReplicateError::Offset { .. })),
        (at(i64::MAX - 1, 3, 1), |e| matches!(e, ReplicateError::Offset { .. })),
        (at(2, 2, 1), |e| matches!(e, ReplicateError::Epoch { .. })),
        (at(2, 6, 1), |e| matches!(e, ReplicateError::Epoch { .. })),
        (behind(&at(2, 3, 1)), |e| matches!(e, ReplicateError::Offset { .. })),
        (behind(&at(3, 3, 1)[..70]), |e| matches!(e, ReplicateError::Cut { .. })),
        (behind(&[7; 200]), |e| matches!(e, ReplicateError::Header { .. })),
    ];
    for (at, (bytes, is_named)) in refused.iter().enumerate() {
        let error = log.append_replicated(bytes, LEADER, NOW).unwrap_err();
        assert!(is_named(&error), "{at}: {error:?}");
        assert_eq!(log.log_end_offset(), Offset::new(2), "{at}");
    }
    log.append_replicated(&good, LEADER, NOW).unwrap();
    assert_eq!(all(&log), [at(0, 3, 2), good].concat());
}

#[test]
fn any_bytes_at_all_are_refused_without_harm() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = follow(dir.path(), LogOptions::default());
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..3000 {
        let mut bytes = at(0, 1, 1);
        for _ in 0..rng.usize(1..5) {
            let at = rng.usize(0..bytes.len());
            bytes[at] ^= 1 << rng.u8(0..8);
        }
        bytes.truncate(rng.usize(1..=bytes.len()));
        if bytes != at(0, 1, 1) && log.append_replicated(&bytes, LEADER, NOW).is_ok() {
            // The term is outside of a batch's checksum.
            assert_eq!(bytes[16..], at(0, 1, 1)[16..]);
            log.truncate_to(Offset::ZERO, NOW).unwrap();
        }
    }
    assert_eq!(log.log_end_offset(), Offset::ZERO);
}

#[test]
fn offsets_that_the_leader_lost_or_compacted_are_covered_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = follow(dir.path(), LogOptions::default());
    log.append_replicated(&at(0, 1, 4), LEADER, NOW).unwrap();
    // Compaction at the leader: one batch without records from 2 to 9, of which 2 and 3 are here.
    let compacted = empty_batch(Offset::new(2), 8, LeaderEpoch::new(1), NOW);
    let sent = [compacted.as_slice(), &at(10, 1, 1)].concat();
    assert_eq!(log.append_replicated(&sent, LEADER, NOW).unwrap().end, Offset::new(11));
    // One with records that begins below is another log's.
    assert!(matches!(log.append_replicated(&at(10, 1, 3), LEADER, NOW), Err(ReplicateError::Offset { .. })));
    assert_eq!(log.append_gap(Offset::new(20), NOW).unwrap().end, Offset::new(20));
    log.append_replicated(&at(20, 2, 1), LEADER, NOW).unwrap();
    let kept = all(&log);
    drop(log);
    let log = follow(dir.path(), LogOptions::default());
    assert_eq!(all(&log), kept);
    assert_eq!(log.log_end_offset(), Offset::new(21));
}

#[test]
fn s06_a_log_that_follows_appends_under_no_term_and_one_that_leads_takes_no_other_leaders_batches() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = follow(dir.path(), LogOptions::default());
    log.append_replicated(&at(0, 3, 1), LEADER, NOW).unwrap();
    let bytes = batch(1, 1, b"v", Producer::NONE);
    let header = BatchHeader::parse(&bytes).unwrap();
    assert!(matches!(log.append(&bytes, &header, NOW), Err(AppendError::Follows)));
    let goes_back = |given| EpochRefused::GoesBack { latest: LeaderEpoch::new(3), given };
    for given in [LeaderEpoch::NONE, LeaderEpoch::new(2), LeaderEpoch::new(3)] {
        assert_eq!(log.begin_epoch(given), Err(goes_back(given)));
    }
    log.begin_epoch(LeaderEpoch::new(7)).unwrap();
    append(&mut log, &bytes);
    assert_eq!(log.reader().epoch_at(Offset::new(1)), Some(LeaderEpoch::new(7)));
    assert!(matches!(
        log.append_replicated(&at(2, 7, 1), LeaderEpoch::new(8), NOW),
        Err(ReplicateError::Leads(_))
    ));
    log.end_epoch();
    log.append_replicated(&at(2, 8, 1), LeaderEpoch::new(8), NOW).unwrap();
    assert!(log.begin_epoch(LeaderEpoch::new(8)).is_err(), "a term is for one opening");
}

#[test]
fn s08_a_flush_that_began_before_a_truncation_says_nothing_of_what_came_after() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = follow(dir.path(), LogOptions::default());
    for i in 0..10 {
        log.append_replicated(&at(i * 10, 1, 10), LEADER, NOW).unwrap();
    }
    let under_way = log.begin_flush();
    assert_eq!(under_way.end(), Offset::new(100));
    assert_eq!(log.truncate_to(Offset::new(85), NOW).unwrap().end, Offset::new(80));
    assert_eq!(log.flushed_end(), Offset::new(80));
    log.append_replicated(&[at(80, 2, 10), at(90, 2, 10)].concat(), LEADER, NOW).unwrap();
    let done = under_way.run();
    assert_eq!(log.finish_flush(done), Ok(Offset::new(80)), "not 100");
    let done = log.begin_flush().run();
    assert_eq!(log.finish_flush(done), Ok(Offset::new(100)));
}

#[test]
fn a_term_that_wrote_nothing_goes_with_a_cut_at_the_very_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = follow(dir.path(), LogOptions::default());
    log.append_replicated(&at(0, 3, 4), LEADER, NOW).unwrap();
    log.begin_epoch(LeaderEpoch::new(9)).unwrap();
    log.end_epoch();
    assert_eq!(log.last_epoch(), Some(LeaderEpoch::new(9)));
    assert_eq!(log.truncate_to(Offset::new(4), NOW).unwrap().end, Offset::new(4));
    assert_eq!(log.last_epoch(), Some(LeaderEpoch::new(3)));
    log.append_replicated(&at(4, 4, 1), LEADER, NOW).unwrap();
    assert_eq!(all(&log), [at(0, 3, 4), at(4, 4, 1)].concat());
}

/// One thread reads while another cuts and appends other batches in the place of what it cut.
#[test]
fn readers_at_work_while_a_log_is_cut_see_old_batches_or_new_ones_and_call_nothing_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 3000, index_interval_bytes: 200, ..LogOptions::default() };
    let mut log = follow(dir.path(), options);
    let reader = log.reader();
    let stop = Arc::new(AtomicBool::new(false));
    let reading = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let (mut out, mut read) = (ReadBuffer::new(), 0_usize);
            let mut rng = fastrand::Rng::with_seed(1);
            while !stop.load(Ordering::Relaxed) {
                out.clear();
                let from = Offset::new(rng.i64(0..200));
                let request = ReadRequest { from, max_bytes: 2000, ..ReadRequest::default() };
                match reader.read(&request, &mut out) {
                    Ok(ReadOutcome::Read { skipped, bytes, .. }) => {
                        assert!(skipped.is_empty(), "{skipped:?}");
                        read += bytes;
                        check_batches(out.as_slice());
                    }
                    Ok(ReadOutcome::NeedsDisk) => panic!("may block"),
                    Err(ReadError::Truncated | ReadError::OutOfRange { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            assert_eq!(reader.known_corrupt(), []);
            read
        }
    });
    let mut rng = fastrand::Rng::with_seed(2);
    for round in 0..150 {
        while log.log_end_offset() < Offset::new(200) {
            let next = at(log.log_end_offset().get(), 1 + round, 1 + rng.usize(0..4));
            log.append_replicated(&next, LeaderEpoch::new(1 + round), NOW).unwrap();
        }
        log.truncate_to(Offset::new(rng.i64(0..200)), NOW).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reading.join().unwrap() > 0);
}

fn check_batches(mut bytes: &[u8]) {
    let mut next = None;
    while !bytes.is_empty() {
        let header = BatchHeader::parse(bytes).unwrap();
        assert!(next.is_none_or(|next| header.base_offset == next));
        assert!(crate::record::crc_is_right(&bytes[..header.total_len()], &header));
        next = Some(header.next_offset());
        bytes = &bytes[header.total_len()..];
    }
}
