//! Damage that another replica has whole.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use bytes::Bytes;

use super::{PARTITION, append, batch};
use crate::{
    clock::ManualClock,
    model::{LeaderEpoch, Offset, TimestampMs},
    record::{BATCH_HEADER_LEN, BatchHeader, Producer, empty_batch},
    storage::{
        block_checksums::BlockChecksums,
        fs::{Fs, faulty::SimulatedDisk},
        log::{CorruptBatch, Log, LogOptions, Mend, MendError, Misfit, ReadBuffer, ReadOutcome, ReadRequest},
        segment::FileKind,
    },
};

const OURS: &str = "/data/logs/t-0";
const THEIRS: &str = "/data/others/t-0";

fn options() -> LogOptions {
    LogOptions { segment_bytes: 2000, index_interval_bytes: 200, ..LogOptions::default() }
}

fn open(disk: &SimulatedDisk, dir: &str, epoch: i32) -> Log {
    let (fs, clock): (Arc<dyn Fs>, _) = (disk.mount(), Arc::new(ManualClock::default()));
    Log::open(fs, Path::new(dir), PARTITION, LeaderEpoch::new(epoch), options(), clock).unwrap().0
}

fn flush(log: &mut Log) {
    let done = log.begin_flush().run();
    log.finish_flush(done).unwrap();
}

/// Flushed, sealed and checkpointed.
fn settle(log: &mut Log) {
    flush(log);
    while let Some(job) = log.seal_job() {
        job.run().unwrap();
    }
    if let Some(job) = log.checkpoint_job() {
        job.run().unwrap();
    }
}

fn fill(log: &mut Log, batches: usize) {
    for at in 0..batches {
        append(log, batch(1 + at % 3, at as i64, &vec![at as u8; 40 + at], Producer::NONE));
    }
}

/// Two replicas that have the same, in three segments each, and somebody who mends the first.
fn replicas(disk: &SimulatedDisk) -> (Log, Log) {
    let (mut ours, mut theirs) = (open(disk, OURS, 1), open(disk, THEIRS, 1));
    for log in [&mut ours, &mut theirs] {
        fill(log, 30);
        settle(log);
    }
    assert_eq!(ours.shared.segments().len(), 3);
    ours.set_damage_bell(Some(Arc::new(|| ())));
    (ours, theirs)
}

/// Reads from `from` on as far as it goes: bytes, where it ended, and whether damage stood in the way.
fn read(log: &Log, from: i64) -> (Vec<u8>, i64, bool) {
    let (reader, mut at, mut out) = (log.reader(), Offset::new(from), ReadBuffer::new());
    loop {
        let request = ReadRequest { from: at, ..ReadRequest::default() };
        let ReadOutcome::Read { next, skipped, .. } = reader.read(&request, &mut out).unwrap() else {
            panic!("it may wait")
        };
        let is_held = skipped.iter().any(|batch| batch.is_held);
        if is_held || next == at {
            return (out.as_slice().to_vec(), next.get(), is_held);
        }
        at = next;
    }
}

fn copy(log: &Log, damage: &CorruptBatch) -> Bytes {
    let (bytes, ..) = read(log, damage.first.get());
    let (mut len, mut found) = (0, Vec::new());
    while let Ok(header) = BatchHeader::parse(&bytes[len..]) {
        if header.base_offset >= damage.next {
            break;
        }
        found.extend_from_slice(&bytes[len..len + header.total_len()]);
        len += header.total_len();
    }
    found.into()
}

fn mend(ours: &mut Log, theirs: &Log) -> Result<u64, MendError> {
    let damage = ours.next_damage().expect("damage is known");
    let batches = ours.reader().fit(&damage, &copy(theirs, &damage), Offset::ZERO).unwrap();
    for _turn in 0..4 {
        match ours.mend(&damage, &batches) {
            Mend::Job(job) => {
                let done = job.run();
                ours.finish_mend();
                return done.map(|mended| mended.batches);
            }
            Mend::Flush => flush(ours),
            Mend::Later => ours.checkpoint_job().unwrap().run().unwrap(),
            Mend::Gone => panic!("it is still there"),
        }
    }
    panic!("nothing is left to wait for")
}

fn file(log: &Log, segment: usize) -> std::path::PathBuf {
    log.shared.segments()[segment].path()
}

fn assert_sums_are_right(log: &Log, segment: usize) {
    let segment = &log.shared.segments()[segment];
    let path = segment.folder().file(segment.base(), FileKind::Checksums);
    let sums = BlockChecksums::load(&*segment.folder().fs, &path).unwrap().expect("there are checksums");
    assert_eq!(sums.mismatches(&*segment.open_file().unwrap(), 0..segment.size()).unwrap(), []);
}

#[test]
fn whatever_bit_of_a_batch_is_hit_it_is_put_back_byte_for_byte_and_nobody_reads_past_it_before() {
    for at in (0..BATCH_HEADER_LEN as u64).chain([70, 90]) {
        let disk = SimulatedDisk::new(at);
        let (mut ours, theirs) = replicas(&disk);
        // The third batch of the first segment.
        let position = 2 * BATCH_HEADER_LEN as u64 + read_len(&theirs, 2) + at;
        let path = file(&ours, 0);
        let whole = disk.visible(&path).unwrap();
        assert!(disk.flip(&path, position, 4));
        let (_, next, is_held) = read(&ours, 0);
        assert!(is_held, "byte {at} is hit");
        assert_eq!(next, 3, "byte {at}: two batches with three records stand before it");
        let old = ours.reader();
        assert_eq!(mend(&mut ours, &theirs).unwrap(), 1, "byte {at}");
        assert_eq!(disk.visible(&path).unwrap(), whole, "byte {at}");
        assert_eq!(disk.durable(&path).unwrap(), whole, "byte {at}");
        assert_eq!(read(&ours, 0), read(&theirs, 0));
        assert_eq!(old.known_corrupt(), []);
        assert!(ours.next_damage().is_none());
        assert_sums_are_right(&ours, 0);
    }
}

/// Bytes of the first batches, without their heads.
fn read_len(log: &Log, batches: usize) -> u64 {
    let (bytes, ..) = read(log, 0);
    let (mut at, mut len) = (0, 0);
    for _batch in 0..batches {
        let header = BatchHeader::parse(&bytes[at..]).unwrap();
        at += header.total_len();
        len += header.total_len() - BATCH_HEADER_LEN;
    }
    len as u64
}

#[test]
fn what_is_hit_in_the_segment_that_is_written_is_mended_and_appends_go_on() {
    let disk = SimulatedDisk::new(1);
    let (mut ours, mut theirs) = replicas(&disk);
    let path = file(&ours, 2);
    let base = ours.shared.segments()[2].base().get();
    assert!(disk.flip(&path, 80, 1));
    assert!(read(&ours, base).2);
    for log in [&mut ours, &mut theirs] {
        append(log, batch(2, 99, b"not on disk yet", Producer::NONE));
    }
    assert_eq!(mend(&mut ours, &theirs).unwrap(), 1);
    append(&mut ours, batch(2, 100, b"behind", Producer::NONE));
    append(&mut theirs, batch(2, 100, b"behind", Producer::NONE));
    assert_eq!(read(&ours, 0), read(&theirs, 0));
    settle(&mut ours);
    let end = ours.log_end_offset();
    drop(ours);
    let ours = open(&disk, OURS, 2);
    assert_eq!((ours.log_end_offset(), read(&ours, 0)), (end, read(&theirs, 0)));
}

#[test]
fn a_file_that_lost_its_end_gets_it_back() {
    let disk = SimulatedDisk::new(2);
    let (ours, theirs) = replicas(&disk);
    let (path, end) = (file(&ours, 0), ours.log_end_offset());
    let whole = disk.visible(&path).unwrap();
    drop(ours);
    let fs: Arc<dyn Fs> = disk.mount();
    fs.open(&path, crate::storage::fs::Open::ReadWrite).unwrap().set_len(whole.len() as u64 - 300).unwrap();
    let mut ours = open(&disk, OURS, 2);
    ours.set_damage_bell(Some(Arc::new(|| ())));
    assert!(read(&ours, 0).2);
    while ours.next_damage().is_some() {
        mend(&mut ours, &theirs).unwrap();
    }
    assert_eq!(disk.visible(&path).unwrap(), whole);
    assert_eq!((ours.log_end_offset(), read(&ours, 0)), (end, read(&theirs, 0)));
}

#[test]
fn s14_a_crash_at_any_step_leaves_what_was_hit_or_what_was_mended_and_nothing_else_is_lost() {
    let (mut hit, mut mended) = (0, 0);
    for (steps, cut) in (0..40).flat_map(|steps| [(steps, false), (steps, true)]) {
        let disk = SimulatedDisk::new(steps);
        let (mut ours, theirs) = replicas(&disk);
        let (path, all, end) = (file(&ours, 1), read(&theirs, 0), ours.log_end_offset());
        let (whole, base) = (disk.visible(&path).unwrap(), ours.shared.segments()[1].base().get());
        assert!(disk.flip(&path, 70, 1));
        assert!(read(&ours, base).2);
        disk.die_after(Some(steps));
        let done = mend(&mut ours, &theirs).is_ok();
        drop(ours);
        if cut {
            disk.power_cut();
        } else {
            disk.kill();
        }
        disk.die_after(None);
        let mut ours = open(&disk, OURS, 2);
        ours.set_damage_bell(Some(Arc::new(|| ())));
        assert_eq!(ours.log_end_offset(), end, "after {steps} steps");
        let (bytes, next, is_held) = read(&ours, 0);
        assert!(!done || !is_held, "what was mended is lost after {steps} steps");
        if is_held {
            assert_eq!(next, base, "after {steps} steps");
            let theirs = open(&disk, THEIRS, 2);
            mend(&mut ours, &theirs).unwrap();
            hit += 1;
        } else {
            assert_eq!(bytes, all.0, "after {steps} steps");
            mended += 1;
        }
        assert_eq!(disk.visible(&path).unwrap(), whole, "after {steps} steps");
        assert_eq!(read(&ours, 0), all);
    }
    assert!(hit > 5 && mended > 5, "{hit} were hit afterwards, {mended} mended");
}

#[test]
fn what_does_not_belong_there_is_refused() {
    let disk = SimulatedDisk::new(3);
    let (ours, theirs) = replicas(&disk);
    assert!(disk.flip(file(&ours, 0), 70, 1));
    assert!(read(&ours, 0).2);
    let damage = ours.next_damage().unwrap();
    assert_eq!((damage.first, damage.next), (Offset::ZERO, Offset::new(1)));
    let (reader, good) = (ours.reader(), copy(&theirs, &damage));
    let fit = |bytes: &[u8]| reader.fit(&damage, &Bytes::copy_from_slice(bytes), Offset::ZERO);
    assert_eq!(fit(&good), Ok(good.clone()));
    assert_eq!(fit(&good[..good.len() - 1]), Err(Misfit::Header(Offset::ZERO)));
    assert_eq!(fit(&[]), Err(Misfit::Header(Offset::ZERO)));
    let changed = |at: usize| {
        let mut bytes = good.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    assert_eq!(fit(&changed(70)), Err(Misfit::Checksum(Offset::ZERO)));
    assert_eq!(fit(&changed(15)), Err(Misfit::Epoch(Offset::ZERO)), "another term wrote it");
    assert_eq!(fit(&changed(7)), Err(Misfit::Offset { expected: Offset::ZERO, found: Offset::new(1) }));
    let more = [&good[..], &good[..]].concat();
    assert!(matches!(fit(&more), Err(Misfit::Offset { .. })));
    let gap = empty_batch(Offset::ZERO, 1, LeaderEpoch::new(1), TimestampMs::new(1));
    assert_eq!(fit(&gap), Err(Misfit::Nothing(Offset::ZERO)), "the other has lost it too");
}

#[test]
fn in_a_compacted_log_gaps_are_cut_to_fit_and_a_replica_that_is_behind_is_known() {
    let disk = SimulatedDisk::new(4);
    let (ours, _theirs) = replicas(&disk);
    let size = disk.visible(file(&ours, 0)).unwrap().len() as u64;
    assert!(disk.flip(file(&ours, 0), size / 2, 1));
    assert!(read(&ours, 0).2);
    let damage = ours.next_damage().unwrap();
    let (first, next) = (damage.first, damage.next);
    assert!(first > Offset::ZERO);
    let count = i32::try_from(next.distance_from(Offset::ZERO)).unwrap() + 5;
    let wide = empty_batch(Offset::ZERO, count, LeaderEpoch::new(1), TimestampMs::new(7));
    let wide = Bytes::copy_from_slice(&wide);
    let reader = ours.reader();
    let fitting = reader.fit(&damage, &wide, Offset::new(1000)).unwrap();
    let header = BatchHeader::parse(&fitting).unwrap();
    assert_eq!((header.base_offset, header.next_offset()), (first, next));
    ours.shared.set_cleaned_to(next);
    assert!(!reader.is_compacted_there(&damage, first));
    assert!(reader.is_compacted_there(&damage, next));
}

#[test]
fn the_bell_rings_once_until_it_is_heard_and_what_is_given_up_is_left_out_until_there_is_hope() {
    let disk = SimulatedDisk::new(5);
    let (ours, _theirs) = replicas(&disk);
    let rings = Arc::new(AtomicU32::new(0));
    let rung = Arc::clone(&rings);
    ours.set_damage_bell(Some(Arc::new(move || {
        rung.fetch_add(1, Ordering::SeqCst);
    })));
    assert!(disk.flip(file(&ours, 0), 70, 1));
    for _reader in 0..3 {
        assert!(read(&ours, 0).2);
    }
    assert_eq!(rings.load(Ordering::SeqCst), 1);
    let damage = ours.next_damage().unwrap();
    ours.give_up(&damage);
    let (_, next, is_held) = read(&ours, 0);
    assert!(!is_held && ours.next_damage().is_none());
    assert_eq!(next, ours.log_end_offset().get(), "all but that batch is read");
    ours.hope_again();
    assert_eq!(rings.load(Ordering::SeqCst), 2);
    assert!(read(&ours, 0).2);
    ours.set_damage_bell(None);
    assert!(!read(&ours, 0).2, "nobody mends it");
}
