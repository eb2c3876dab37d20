//! The stories of `safety.md`, as far as one replica can play them.

use std::{path::Path, sync::Arc, time::Duration};

use super::{PARTITION, append, batch};
use crate::{
    clock::ManualClock,
    model::{BootId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs},
    record::{BatchHeader, Producer},
    storage::{
        fs::{
            Fs as _, Open,
            faulty::{AfterFailedSync, Fault, SimulatedDisk},
        },
        log::{
            AppendError, Appended, Log, LogOptions, OpenError, Poisoned, ReadBuffer, ReadError, ReadOutcome,
            ReadRequest,
        },
        recovery::RecoveryReport,
    },
};

pub(super) const DIR: &str = "/logs/t-0";

pub(super) struct Machine {
    pub(super) disk: SimulatedDisk,
    epoch: i32,
    pub(super) options: LogOptions,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self { disk: SimulatedDisk::new(11), epoch: 0, options: LogOptions::default() }
    }

    fn try_open(&mut self) -> Result<(Log, RecoveryReport), OpenError> {
        self.epoch += 1;
        let epoch = LeaderEpoch::new(self.epoch);
        let clock = Arc::new(ManualClock::default());
        Log::open(self.disk.mount(), Path::new(DIR), PARTITION, epoch, self.options, clock)
    }

    pub(super) fn open(&mut self) -> (Log, RecoveryReport) {
        self.try_open().unwrap()
    }

    /// To follow whoever has led last.
    pub(super) fn open_to_follow(&self) -> Log {
        let (epoch, clock) = (LeaderEpoch::new(self.epoch), Arc::new(ManualClock::default()));
        let opened =
            Log::open_to_follow(self.disk.mount(), Path::new(DIR), PARTITION, epoch, self.options, clock);
        opened.unwrap().0
    }

    pub(super) fn path(base: i64) -> String {
        format!("{DIR}/{base:020}.log")
    }
}

pub(super) fn one(log: &mut Log, value: &[u8]) -> Appended {
    append(log, batch(1, 5, value, Producer::NONE))
}

pub(super) fn flush(log: &mut Log) -> Offset {
    let done = log.begin_flush().run();
    log.finish_flush(done).unwrap()
}

/// The base offsets that a consumer gets from `from` on, and what it is told that it does not get.
pub(super) fn consume(log: &Log, from: i64) -> (Vec<i64>, Vec<(i64, i64)>) {
    let reader = log.reader();
    let mut from = Offset::new(from);
    let (mut bases, mut skips) = (Vec::new(), Vec::new());
    let mut out = ReadBuffer::new();
    while from < reader.log_end_offset() {
        out.clear();
        let request = ReadRequest { from, ..ReadRequest::default() };
        let ReadOutcome::Read { next, skipped, .. } = reader.read(&request, &mut out).unwrap() else {
            panic!("may block")
        };
        let mut rest = out.as_slice();
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).unwrap();
            bases.push(header.base_offset.get());
            rest = &rest[header.total_len()..];
        }
        skips.extend(skipped.iter().map(|skip| (skip.first.get(), skip.next.get())));
        assert!(next > from);
        from = next;
    }
    (bases, skips)
}

fn producer(sequence: i32) -> Producer {
    Producer { id: ProducerId::new(9), epoch: ProducerEpoch::new(0), base_sequence: Sequence::new(sequence) }
}

#[test]
fn s06_a_log_is_never_opened_twice_with_one_epoch() {
    let mut machine = Machine::new();
    let (mut log, _) = machine.open();
    one(&mut log, b"a");
    drop(log);
    machine.epoch -= 1;
    assert!(matches!(machine.try_open(), Err(OpenError::EpochGoesBack { .. })));
    let (log, _) = machine.open();
    assert_eq!(log.reader().epoch_at(Offset::new(0)), Some(LeaderEpoch::new(1)));
    assert_eq!(log.reader().epoch_end(LeaderEpoch::new(1)), Some((LeaderEpoch::new(1), Offset::new(1))));
}

#[test]
fn s07_opening_waits_until_the_one_writer_is_gone() {
    let mut machine = Machine::new();
    let (mut first, _) = machine.open();
    one(&mut first, b"a");
    let waiting = std::thread::spawn(move || machine.open().0.log_end_offset());
    // Whatever the first writer still does is seen by the second one: it begins only afterwards.
    one(&mut first, b"b");
    assert!(!waiting.is_finished());
    drop(first);
    assert_eq!(waiting.join().unwrap(), Offset::new(2));
}

#[test]
fn s08_a_flush_speaks_of_what_was_there_before_it_began() {
    let mut machine = Machine::new();
    let (mut log, _) = machine.open();
    one(&mut log, b"a");
    let job = log.begin_flush();
    one(&mut log, b"b");
    let done = job.run();
    assert_eq!(log.finish_flush(done), Ok(Offset::new(1)));
    assert!(log.unflushed_bytes() > 0);
    assert_eq!(log.reader().flushed_offset(), Offset::new(1));
}

#[test]
fn s08_a_flush_of_another_opening_says_nothing() {
    let mut machine = Machine::new();
    let (mut log, _) = machine.open();
    for _ in 0..5 {
        one(&mut log, b"a");
    }
    let late = log.begin_flush();
    machine.disk.power_cut();
    drop(log);
    let (mut log, report) = machine.open();
    assert_eq!(log.log_end_offset(), report.log_end);
    for _ in 0..9 {
        one(&mut log, b"b");
    }
    let before = log.flushed_end();
    assert_eq!(log.finish_flush(late.run()), Ok(before));
    assert!(!log.is_poisoned(), "the other opening's failure is not this one's");
}

#[test]
fn s09_after_a_cut_the_retry_of_what_was_cut_is_new_and_of_what_was_kept_a_duplicate() {
    let mut machine = Machine::new();
    let (mut log, _) = machine.open();
    append(&mut log, batch(2, 5, b"kept", producer(0)));
    flush(&mut log);
    append(&mut log, batch(2, 5, b"torn", producer(2)));
    drop(log);
    machine.disk.kill();
    let size = machine.disk.visible(Machine::path(0)).unwrap().len() as u64;
    assert!(machine.disk.flip(Machine::path(0), size - 3, 1));
    let (mut log, report) = machine.open();
    assert_eq!(report.log_end, Offset::new(2));
    let kept = append(&mut log, batch(2, 5, b"kept", producer(0)));
    assert_eq!(kept, Appended::Duplicate { base: Offset::new(0), last: Offset::new(1) });
    let torn = append(&mut log, batch(2, 5, b"torn", producer(2)));
    assert_eq!(torn, Appended::New { base: Offset::new(2), last: Offset::new(3) });
}

#[test]
fn s13_after_a_failed_sync_nothing_above_the_flushed_position_is_served_or_taken() {
    for after in [AfterFailedSync::FalselyClean, AfterFailedSync::Dropped] {
        let mut machine = Machine::new();
        let (mut log, _) = machine.open();
        one(&mut log, b"a");
        flush(&mut log);
        one(&mut log, b"b");
        machine.disk.inject(Machine::path(0), Fault::SyncFails(after));
        let reader = log.reader();
        let done = log.begin_flush().run();
        assert!(reader.is_poisoned(), "at once, before the completion is delivered");
        assert_eq!(log.finish_flush(done), Err(Poisoned));
        // The very next sync of the same file "succeeds".
        let done = log.begin_flush().run();
        assert_eq!(log.finish_flush(done), Err(Poisoned));
        assert_eq!(log.flushed_end(), Offset::new(1));
        let more = batch(1, 5, b"c", Producer::NONE);
        let header = BatchHeader::parse(&more).unwrap();
        let refused = log.append(&more, &header, TimestampMs::new(1));
        assert!(matches!(refused, Err(AppendError::Poisoned(Poisoned))));
        let mut out = ReadBuffer::new();
        let above = ReadRequest { from: Offset::new(1), ..ReadRequest::default() };
        assert!(matches!(reader.read(&above, &mut out), Err(ReadError::Poisoned(_))));
        let below = ReadRequest { from: Offset::new(0), ..ReadRequest::default() };
        let read = reader.read(&below, &mut out).unwrap();
        assert!(matches!(read, ReadOutcome::Read { next, .. } if next == Offset::new(1)));
    }
}

#[test]
fn s13_the_mark_outlives_the_process_and_recovery_believes_the_disk_and_not_the_cache() {
    let mut machine = Machine::new();
    let (mut log, _) = machine.open();
    one(&mut log, b"flushed");
    flush(&mut log);
    log.checkpoint_job().unwrap().run().unwrap();
    for _ in 0..20 {
        one(&mut log, &[7; 300]);
    }
    machine.disk.inject(Machine::path(0), Fault::SyncFails(AfterFailedSync::FalselyClean));
    let done = log.begin_flush().run();
    assert!(log.finish_flush(done).is_err());
    drop(log);
    machine.disk.kill();
    let (mut log, report) = machine.open();
    assert!(report.was_poisoned);
    let end = log.log_end_offset().get();
    assert!((1..=21).contains(&end));
    one(&mut log, b"after");
    flush(&mut log);
    drop(log);
    // What recovery kept, a power cut keeps: it was on disk, not in falsely clean pages.
    machine.disk.power_cut();
    let (log, report) = machine.open();
    assert!(!report.was_poisoned);
    assert_eq!(log.log_end_offset().get(), end + 1);
    assert_eq!(consume(&log, 0), ((0..=end).collect(), vec![]));
}

#[test]
fn s13_without_a_mark_recovery_still_finds_that_the_disk_does_not_hold_what_the_cache_does() {
    for seed in 0..30 {
        let mut machine = Machine::new();
        machine.disk = SimulatedDisk::new(seed);
        let (mut log, _) = machine.open();
        for _ in 0..20 {
            one(&mut log, &[7; 300]);
        }
        machine.disk.inject(Machine::path(0), Fault::SyncFails(AfterFailedSync::FalselyClean));
        // The process dies before it can leave its mark.
        machine.disk.die_after(Some(1));
        let done = log.begin_flush().run();
        assert!(log.finish_flush(done).is_err());
        drop(log);
        machine.disk.clear_faults();
        let (log, _) = machine.open();
        let end = log.log_end_offset();
        drop(log);
        machine.disk.power_cut();
        let (log, _) = machine.open();
        assert_eq!(log.log_end_offset(), end, "seed {seed}: what recovery called flushed is on disk");
    }
}

#[test]
fn s13_a_poisoned_log_that_has_lost_what_was_flushed_goes_on_behind_the_hole_at_every_opening() {
    // What is left of the second segment: all of it, or nothing that is whole.
    for (left, whole) in [(2 * BATCH, vec![4, 5]), (5, vec![])] {
        let mut machine = Machine::new();
        machine.options.segment_bytes = 4 * BATCH;
        with_tail(&mut machine, 3);
        let fs = machine.disk.mount();
        for (path, len) in [(Machine::path(0), 24), (Machine::path(4), left), (format!("{DIR}/poisoned"), 0)]
        {
            let file = fs.open(Path::new(&path), Open::Create).unwrap();
            file.set_len(len).unwrap();
            file.sync_data().unwrap();
        }
        let end = whole.last().map_or(4, |last| last + 1);
        for opening in 0..3 {
            let (log, report) = machine.open();
            assert_eq!(report.was_poisoned, opening == 0);
            assert_eq!(log.log_end_offset(), Offset::new(end), "opening {opening}");
            assert_eq!(consume(&log, 0), (whole.clone(), vec![(0, 4)]), "opening {opening}");
        }
    }
}

#[test]
fn s13_a_sync_that_fails_during_recovery_poisons_too() {
    let mut machine = Machine::new();
    let (mut log, _) = machine.open();
    one(&mut log, b"a");
    drop(log);
    machine.disk.kill();
    machine.disk.inject(Machine::path(0), Fault::SyncFails(AfterFailedSync::FalselyClean));
    assert!(machine.try_open().is_err());
    let (_, report) = machine.open();
    assert!(report.was_poisoned);
}

/// Three flushed batches, then `unflushed` ones; the machine is killed.
pub(super) fn with_tail(machine: &mut Machine, unflushed: usize) {
    with_batches(machine, 3, unflushed);
}

/// Batches that are flushed, then some that are not; the machine is killed.
pub(super) fn with_batches(machine: &mut Machine, flushed: usize, unflushed: usize) {
    let (mut log, _) = machine.open();
    for _ in 0..flushed {
        one(&mut log, b"flushed");
    }
    flush(&mut log);
    log.checkpoint_job().unwrap().run().unwrap();
    for _ in 0..unflushed {
        one(&mut log, b"not yet");
    }
    drop(log);
    machine.disk.kill();
}

pub(super) const BATCH: u64 = 61 + 14;

#[test]
fn s14_the_log_is_cut_at_the_first_hole_above_the_flushed_position_and_what_follows_is_set_aside() {
    let mut machine = Machine::new();
    with_tail(&mut machine, 3);
    // N torn, N+1 and N+2 whole.
    assert!(machine.disk.flip(Machine::path(0), 3 * BATCH + 70, 1));
    let whole = machine.disk.visible(Machine::path(0)).unwrap();
    let (mut log, report) = machine.open();
    assert_eq!(report.log_end, Offset::new(3));
    assert_eq!(report.cut.as_ref().map(|cut| (cut.position, cut.bytes)), Some((3 * BATCH, 3 * BATCH)));
    let [aside] = report.set_aside.as_slice() else { panic!("{report:?}") };
    assert_eq!(machine.disk.visible(aside).unwrap(), whole[3 * BATCH as usize..]);
    assert_eq!(report.corrupt, []);
    let Appended::New { base, .. } = one(&mut log, b"retry of N") else { panic!("not a duplicate") };
    assert_eq!(base, Offset::new(3));
    assert_eq!(consume(&log, 0), ((0..4).collect(), vec![]));
}

#[test]
fn s14_a_torn_tail_without_whole_batches_is_just_cut() {
    let mut machine = Machine::new();
    with_tail(&mut machine, 1);
    assert!(machine.disk.flip(Machine::path(0), 3 * BATCH + 70, 1));
    let (_, report) = machine.open();
    assert_eq!((report.log_end, report.set_aside.len()), (Offset::new(3), 0));
    assert!(report.cut.is_some());
}

#[test]
fn s14_a_bad_batch_below_the_flushed_position_is_rot_and_cuts_nothing() {
    for byte in 0..BATCH {
        let mut machine = Machine::new();
        with_tail(&mut machine, 2);
        assert!(machine.disk.flip(Machine::path(0), BATCH + byte, 0x10));
        let (log, report) = machine.open();
        assert_eq!(report.cut, None, "byte {byte}");
        assert_eq!(report.log_end, Offset::new(5));
        let hit: Vec<_> = report.corrupt.iter().map(|c| (c.first.get(), c.next.get())).collect();
        assert_eq!(hit, [(1, 2)], "byte {byte}");
        assert_eq!(consume(&log, 0), (vec![0, 2, 3, 4], vec![(1, 2)]), "byte {byte}");
        assert_eq!(consume(&log, 1), (vec![2, 3, 4], vec![(1, 2)]), "byte {byte}");
    }
}

#[test]
fn the_terms_of_what_was_flushed_outlive_its_batches() {
    let mut machine = Machine::new();
    with_tail(&mut machine, 0);
    let file = machine.disk.mount().open(Path::new(&Machine::path(0)), Open::ReadWrite).unwrap();
    file.set_len(BATCH / 2).unwrap();
    for epoch in 2..5 {
        let (log, report) = machine.open();
        assert_eq!(report.log_end, Offset::new(3));
        assert_eq!(log.reader().epoch_at(Offset::new(0)), Some(LeaderEpoch::new(1)));
        assert_eq!(log.reader().epoch_at(Offset::new(3)), Some(LeaderEpoch::new(epoch)));
        assert_eq!(
            log.reader().epoch_end(LeaderEpoch::new(1)),
            Some((LeaderEpoch::new(1), Offset::new(3))),
            "opening {epoch}"
        );
    }
}

#[test]
fn a_batch_that_is_hit_while_the_log_is_open_is_left_out_and_reported_once_as_new() {
    for byte in 0..BATCH {
        let mut machine = Machine::new();
        let (mut log, _) = machine.open();
        for _ in 0..5 {
            one(&mut log, b"flushed");
        }
        assert!(machine.disk.flip(Machine::path(0), 2 * BATCH + byte, 0x04));
        assert_eq!(consume(&log, 0), (vec![0, 1, 3, 4], vec![(2, 3)]), "byte {byte}");
        let known = log.reader().known_corrupt();
        assert_eq!(known.len(), 1);
        assert!(!known[0].newly_found);
        let mut out = ReadBuffer::new();
        let again =
            log.reader().read(&ReadRequest { from: Offset::new(2), ..ReadRequest::default() }, &mut out);
        let ReadOutcome::Read { skipped, .. } = again.unwrap() else { panic!("may block") };
        assert!(skipped.iter().all(|skip| !skip.newly_found));
    }
}

#[test]
fn a_sector_that_cannot_be_read_costs_the_batches_in_it_and_no_others() {
    let mut machine = Machine::new();
    let (mut log, _) = machine.open();
    for _ in 0..300 {
        one(&mut log, b"flushed");
    }
    machine.disk.fail_reads(Machine::path(0), 8192..8200);
    let (bases, skips) = consume(&log, 0);
    let (first, last) = (8192 / BATCH as i64, 12288 / BATCH as i64);
    assert_eq!((skips[0].0, skips[skips.len() - 1].1), (first, last + 1));
    assert!(skips.windows(2).all(|pair| pair[0].1 == pair[1].0), "{skips:?}");
    assert_eq!(bases, (0..first).chain(last + 1..300).collect::<Vec<_>>());
    machine.disk.clear_faults();
    assert_eq!(consume(&log, 0), ((0..300).collect(), vec![]), "a disk that recovers loses nothing");
}

#[test]
fn s15_a_flushed_batch_of_a_new_segment_survives_because_its_folder_was_synced() {
    let mut machine = Machine::new();
    machine.options.segment_bytes = 2 * BATCH;
    let (mut log, _) = machine.open();
    for _ in 0..7 {
        one(&mut log, b"flushed");
    }
    flush(&mut log);
    drop(log);
    machine.disk.power_cut();
    let (log, _) = machine.open();
    assert_eq!(consume(&log, 0), ((0..7).collect(), vec![]));
}

#[test]
fn s15_a_folder_that_cannot_be_synced_fails_the_flush() {
    let mut machine = Machine::new();
    machine.options.segment_bytes = 2 * BATCH;
    let (mut log, _) = machine.open();
    flush(&mut log);
    for _ in 0..3 {
        one(&mut log, b"flushed");
    }
    machine.disk.inject(DIR, Fault::SyncDirFails);
    let done = log.begin_flush().run();
    assert_eq!(log.finish_flush(done), Err(Poisoned));
    assert_eq!(log.flushed_end(), Offset::new(0));
}

#[test]
fn s15_deletion_is_whole_whenever_the_power_goes() {
    for changes in 0..40 {
        let mut machine = Machine::new();
        machine.options.segment_bytes = 2 * BATCH;
        machine.options.retention_bytes = Some(3 * BATCH);
        let (mut log, _) = machine.open();
        for _ in 0..9 {
            one(&mut log, b"flushed");
        }
        flush(&mut log);
        machine.disk.die_after(Some(changes));
        if let Some(job) = log.retention_pass(TimestampMs::new(1), Offset::new(9)) {
            let _ = job.run();
        }
        drop(log);
        machine.disk.power_cut();
        machine.disk.clear_faults();
        let (log, report) = machine.open();
        assert_eq!(report.corrupt, [], "after {changes} changes");
        let start = log.log_start_offset().get();
        assert!(start <= 6);
        assert_eq!(consume(&log, start), ((start..9).collect(), vec![]), "after {changes} changes");
    }
}

#[test]
fn what_recovery_reads_does_not_grow_with_what_is_stored() {
    let read_after = |batches: usize| {
        let mut machine = Machine::new();
        machine.options =
            LogOptions { segment_bytes: 20_000, snapshot_bytes: 10_000, ..LogOptions::default() };
        let (mut log, _) = machine.open();
        for _ in 0..batches {
            append(&mut log, batch(1, 5, &[1; 100], Producer::NONE));
            flush(&mut log);
            if let Some(job) = log.checkpoint_job() {
                job.run().unwrap();
            }
        }
        for _ in 0..10 {
            append(&mut log, batch(1, 5, &[1; 100], Producer::NONE));
        }
        drop(log);
        machine.disk.kill();
        machine.disk.reset_counters();
        let (log, report) = machine.open();
        assert_eq!(log.log_end_offset().get(), batches as i64 + 10);
        (report.bytes_read, machine.disk.counters_in_all().bytes_read)
    };
    let limit = 10_000 + 10 * 200 + 10_000;
    for batches in [1_000, 10_000] {
        let (of_log, in_all) = read_after(batches);
        assert!(of_log <= limit, "{of_log} of {batches} batches");
        assert!(in_all <= 2 * limit, "{in_all} of {batches} batches");
    }
}

#[test]
fn after_a_clean_close_next_to_nothing_is_read_and_the_boot_is_named() {
    let mut machine = Machine::new();
    let (mut log, _) = machine.open();
    for _ in 0..1000 {
        let sequence = log.log_end_offset().get() as i32;
        append(&mut log, batch(1, 5, &[1; 100], producer(sequence)));
    }
    let boot = BootId::random();
    log.close_clean(boot).unwrap();
    machine.disk.power_cut();
    let (mut log, report) = machine.open();
    assert_eq!((report.clean, report.log_end), (Some(boot), Offset::new(1000)));
    assert!(report.bytes_read < 2 * 4096, "{}", report.bytes_read);
    let retry = append(&mut log, batch(1, 5, &[1; 100], producer(999)));
    assert_eq!(retry, Appended::Duplicate { base: Offset::new(999), last: Offset::new(999) });
}

#[test]
fn a_full_disk_refuses_leaves_nothing_behind_and_heals_by_itself() {
    let mut machine = Machine::new();
    let (mut log, _) = machine.open();
    one(&mut log, b"flushed");
    machine.disk.set_free_bytes(BATCH / 2);
    let refused = batch(1, 5, b"refused", Producer::NONE);
    let header = BatchHeader::parse(&refused).unwrap();
    for _ in 0..3 {
        let answer = log.append(&refused, &header, TimestampMs::new(1));
        assert!(matches!(answer, Err(AppendError::DiskFull)), "{answer:?}");
        assert_eq!(consume(&log, 0), (vec![0], vec![]));
    }
    machine.disk.set_capacity(None);
    one(&mut log, b"after");
    assert_eq!(consume(&log, 0), (vec![0, 1], vec![]));
    assert_eq!(flush(&mut log), Offset::new(2));
}

#[test]
fn deleted_records_stay_deleted_once_the_job_has_run() {
    let mut machine = Machine::new();
    let (mut log, _) = machine.open();
    for _ in 0..5 {
        one(&mut log, b"flushed");
    }
    flush(&mut log);
    assert!(log.delete_records(Offset::new(6)).is_none(), "above the end");
    log.delete_records(Offset::new(3)).unwrap().run().unwrap();
    machine.disk.power_cut();
    drop(log);
    let (log, _) = machine.open();
    assert_eq!(log.log_start_offset(), Offset::new(3));
    let mut out = ReadBuffer::new();
    let below = ReadRequest { from: Offset::new(2), ..ReadRequest::default() };
    assert!(matches!(log.reader().read(&below, &mut out), Err(ReadError::OutOfRange { .. })));
    assert_eq!(consume(&log, 3), (vec![3, 4], vec![]));
}

#[test]
fn retention_by_time_removes_the_active_segment_too_and_keeps_what_is_not_committed() {
    let mut machine = Machine::new();
    machine.options.segment_bytes = 2 * BATCH;
    machine.options.retention = Some(Duration::from_secs(1));
    let (mut log, _) = machine.open();
    for _ in 0..5 {
        one(&mut log, b"flushed");
    }
    flush(&mut log);
    assert!(log.retention_pass(TimestampMs::new(900), Offset::new(5)).is_none_or(|job| job.removes().0 == 0));
    let late = TimestampMs::new(5000);
    let job = log.retention_pass(late, Offset::new(3)).unwrap();
    assert_eq!(job.removes().0, 1, "only what lies wholly below the high watermark");
    job.run().unwrap();
    log.retention_pass(late, Offset::new(5)).unwrap().run().unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset::new(5), Offset::new(5)));
    drop(log);
    let (mut log, report) = machine.open();
    assert_eq!((report.corrupt.len(), report.log_end), (0, Offset::new(5)));
    one(&mut log, b"goes on");
    assert_eq!(consume(&log, 5), (vec![5], vec![]));
}
