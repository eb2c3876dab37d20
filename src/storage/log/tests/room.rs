//! Space that a segment's file takes ahead of what is written.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use super::{
    append, batch, open, read_all,
    rules::{BATCH, Machine, consume, flush, one},
};
use crate::{
    model::{BootId, Offset, TimestampMs},
    record::{BatchHeader, Producer},
    storage::{
        fs::{Open, real::RealFs},
        log::{AppendError, Log, LogOptions},
    },
};

/// A segment holds so many batches; of those one in 64 is taken ahead, from the eighth part on.
const HOLDS: u64 = 8 * 64;
const AHEAD: u64 = 8 * BATCH;
const FROM: u64 = HOLDS * BATCH / 8;

fn machine() -> (Machine, Log) {
    let mut machine = Machine::new();
    machine.disk.set_allocates(true);
    machine.options.segment_bytes = HOLDS * BATCH;
    let (log, _) = machine.open();
    (machine, log)
}

/// Bytes that the first segment's file takes beyond its length.
fn ahead(machine: &Machine) -> u64 {
    let path = Machine::path(0);
    machine.disk.taken(&path).unwrap() - machine.disk.visible(&path).unwrap().len() as u64
}

#[test]
fn a_segment_that_has_become_large_takes_space_ahead_and_gives_it_back_when_it_is_full() {
    let (machine, mut log) = machine();
    for position in (0..HOLDS).map(|count| count * BATCH) {
        one(&mut log, b"flushed");
        let expected = if position < FROM {
            0
        } else {
            // What was taken with the last batch that found none, but no more than a segment may have.
            let since = (position - FROM) % (AHEAD + BATCH);
            (AHEAD - since).min((HOLDS - 1) * BATCH - position)
        };
        assert_eq!(ahead(&machine), expected, "behind {position}");
    }
    one(&mut log, b"rolled");
    assert_eq!((log.shared.segments().len(), ahead(&machine)), (2, 0));
}

#[test]
fn what_was_taken_before_the_log_was_opened_is_given_back_as_well() {
    let (mut machine, mut log) = machine();
    while ahead(&machine) == 0 {
        one(&mut log, b"flushed");
    }
    log.close_clean(BootId::random()).unwrap();
    // Too small for one more batch.
    machine.options.segment_bytes = FROM;
    let (mut log, _) = machine.open();
    assert_eq!(ahead(&machine), AHEAD);
    one(&mut log, b"rolled");
    assert_eq!((log.shared.segments().len(), ahead(&machine)), (2, 0));
}

#[test]
fn on_a_full_disk_what_was_taken_is_written_and_then_it_refuses_and_heals() {
    let (machine, mut log) = machine();
    let mut count = 0;
    while ahead(&machine) < AHEAD {
        one(&mut log, b"flushed");
        count += 1;
    }
    machine.disk.set_free_bytes(0);
    let refused = batch(1, 5, b"refused", Producer::NONE);
    let header = BatchHeader::parse(&refused).unwrap();
    let mut written = 0;
    let answer = loop {
        match log.append(&refused, &header, TimestampMs::new(1)) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(answer, AppendError::DiskFull), "{answer:?}");
    assert_eq!(written, 8);
    machine.disk.set_capacity(None);
    one(&mut log, b"after");
    assert_eq!(ahead(&machine), AHEAD);
    let end = count + written + 1;
    assert_eq!(consume(&log, 0), ((0..end).collect(), vec![]));
    assert_eq!(flush(&mut log), Offset::new(end));
}

#[test]
fn s14_after_a_power_cut_in_the_middle_of_what_was_taken_all_that_was_flushed_is_there() {
    for more in 0..20 {
        let (mut machine, mut log) = machine();
        let flushed = (FROM / BATCH) as i64 + more;
        for _ in 0..flushed {
            one(&mut log, b"flushed");
        }
        flush(&mut log);
        for _ in 0..12 {
            one(&mut log, b"not yet");
        }
        drop(log);
        machine.disk.power_cut();
        let (mut log, report) = machine.open();
        let end = log.log_end_offset().get();
        assert!((flushed..=flushed + 12).contains(&end), "{end}");
        assert_eq!(report.corrupt, []);
        one(&mut log, b"after");
        assert_eq!(consume(&log, 0), ((0..=end).collect(), vec![]));
    }
}

/// Whether files in this folder are on ext4: others take more than they are asked for, or give back later.
fn is_on_ext4(dir: &Path) -> bool {
    const EXT4_SUPER_MAGIC: u64 = 0xEF53;
    rustix::fs::statfs(dir).is_ok_and(|found| found.f_type as u64 == EXT4_SUPER_MAGIC)
}

/// The disk of the simulation is right about ext4: what the file of a segment takes beyond its length.
#[test]
fn on_ext4_a_segment_takes_space_ahead_and_its_cut_to_its_own_length_gives_it_back() {
    /// What a file may take besides: the rest of its last block, and a block to say where the others are.
    const BESIDE: u64 = 2 * 4096;
    let dir = tempfile::tempdir().unwrap();
    if !is_on_ext4(dir.path()) {
        println!("skipped: {} is not on ext4", dir.path().display());
        return;
    }
    let options = LogOptions { segment_bytes: 4 << 20, ..LogOptions::default() };
    let (mut log, _) = open(&dir.path().join("t-0"), 1, options);
    let mut most = 0;
    while log.shared.segments().len() < 2 {
        let file = fs::metadata(log.shared.segments()[0].path()).unwrap();
        most = most.max((file.blocks() * 512).saturating_sub(file.len()));
        append(&mut log, batch(1, 1, &[7; 10_000], Producer::NONE));
    }
    assert!((48 << 10..(64 << 10) + BESIDE).contains(&most), "{most} bytes ahead");
    let file = fs::metadata(log.shared.segments()[0].path()).unwrap();
    assert!(file.blocks() * 512 < file.len() + BESIDE, "{} blocks for {} bytes", file.blocks(), file.len());
    assert_eq!(read_all(&log).len(), log.log_end_offset().get() as usize);
    // As the program that a segment was taken over from may have left it.
    let path = log.shared.segments()[1].path();
    let file = RealFs::shared().open(&path, Open::ReadWrite).unwrap();
    file.allocate(0, 1 << 20).unwrap();
    file.set_len(file.len().unwrap()).unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < (64 << 10) + BESIDE);
}
