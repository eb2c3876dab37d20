//! Batches whose checksums are right and which say what is not so, or stand where they do not belong.

use std::{path::Path, sync::Arc};

use super::{
    append, batch,
    rules::{BATCH, DIR, Machine, consume, flush, one, with_batches, with_tail},
};
use crate::{
    model::{BootId, LeaderEpoch, Offset, TimestampMs},
    record::{Producer, assign, write_crc},
    storage::{
        fs::{Fs, Open},
        inspect::verify,
        log::{ReadRequest, Verify},
        scrub::Scrubber,
    },
};

#[test]
fn a_batch_that_claims_offsets_beyond_its_segment_is_left_out_though_its_checksum_is_right() {
    // The first batch is in a sealed segment, the second one in that which is written.
    for (hit, claimed) in [(1, 2), (1, 100), (4, 2), (4, 100), (4, i32::MAX)] {
        let mut machine = Machine::new();
        machine.options.segment_bytes = 3 * BATCH;
        let (mut log, _) = machine.open();
        for _ in 0..6 {
            one(&mut log, b"flushed");
        }
        flush(&mut log);
        let (segment, position) = (hit / 3 * 3, (hit % 3) as usize * BATCH as usize);
        let mut forged = machine.disk.visible(Machine::path(segment)).unwrap();
        let batch = &mut forged[position..position + BATCH as usize];
        batch[23..27].copy_from_slice(&i32::to_be_bytes(claimed));
        write_crc(batch);
        let file = machine.disk.mount().open(Path::new(&Machine::path(segment)), Open::ReadWrite).unwrap();
        file.write_all_at(&forged, 0).unwrap();
        let others: Vec<_> = (0..6).filter(|base| *base != hit).collect();
        assert_eq!(consume(&log, 0), (others, vec![(hit, hit + 1)]), "{hit} claims {claimed} more");
        let above = ReadRequest { from: Offset::new(hit), verify: Verify::Never, ..ReadRequest::default() };
        assert!(log.reader().file_range(&above).unwrap().is_none(), "{hit} claims {claimed} more");
    }
}

/// Has the second batch of the log's first file count so many offsets more, under a checksum that is right.
fn forge_second(machine: &Machine, claimed: i32) {
    let path = Machine::path(0);
    let mut forged = machine.disk.visible(&path).unwrap();
    let batch = &mut forged[BATCH as usize..2 * BATCH as usize];
    batch[23..27].copy_from_slice(&claimed.to_be_bytes());
    write_crc(batch);
    let file = machine.disk.mount().open(Path::new(&path), Open::ReadWrite).unwrap();
    file.write_all_at(&forged, 0).unwrap();
    file.sync_data().unwrap();
}

#[test]
fn a_batch_that_claims_offsets_beyond_the_end_at_which_the_log_was_opened_is_left_out_however_long_it_becomes()
 {
    // Nobody comes upon it before the log is longer, not even recovery: it lies below the producers' snapshot.
    let mut machine = Machine::new();
    (machine.options.snapshot_bytes, machine.options.index_interval_bytes) = (1, 1);
    with_batches(&mut machine, 4, 0);
    forge_second(&machine, 4);
    let (mut log, report) = machine.open();
    assert_eq!((report.log_end, report.corrupt), (Offset::new(4), vec![]));
    for end in [9, 10, 11] {
        while log.log_end_offset() < Offset::new(end) {
            one(&mut log, b"more");
        }
        let above = ReadRequest { from: Offset::new(1), verify: Verify::Never, ..ReadRequest::default() };
        assert!(log.reader().file_range(&above).unwrap().is_none());
        let others: Vec<_> = (0..end).filter(|base| *base != 1).collect();
        assert_eq!(consume(&log, 0), (others, vec![(1, 2)]));
        flush(&mut log);
        machine.disk.kill();
        (log, _) = machine.open();
    }
}

#[test]
fn a_segment_in_which_damage_was_found_takes_no_more_so_that_it_always_ends_where_it_did() {
    // The log follows another, whose terms do not change; the damage is found while it is open, or by an opening.
    for is_opened_again in [false, true] {
        let mut machine = Machine::new();
        let (mut log, _) = machine.open();
        for _ in 0..4 {
            one(&mut log, b"flushed");
        }
        flush(&mut log);
        log.checkpoint_job().unwrap().run().unwrap();
        log.end_epoch();
        forge_second(&machine, 4);
        for end in 4..10 {
            if is_opened_again {
                machine.disk.kill();
                drop(log);
                log = machine.open_to_follow();
            }
            let others: Vec<_> = (0..end).filter(|base| *base != 1).collect();
            assert_eq!(consume(&log, 0), (others, vec![(1, 2)]), "opened again: {is_opened_again}");
            let mut more = batch(1, 5, b"more", Producer::NONE);
            assign(&mut more, Offset::new(end), LeaderEpoch::new(1));
            log.append_replicated(&more, LeaderEpoch::new(1), TimestampMs::new(5)).unwrap();
            flush(&mut log);
        }
        let bases: Vec<_> = log.reader().segments().iter().map(|segment| segment.base.get()).collect();
        assert_eq!(bases, [0, 4], "opened again: {is_opened_again}");
    }
}

#[test]
fn a_hit_batch_that_counts_beyond_what_is_known_to_follow_takes_no_other_with_it() {
    // Its magic or its length is hit besides.
    for byte in [16, 8] {
        let mut machine = Machine::new();
        with_tail(&mut machine, 0);
        let path = Machine::path(0);
        let mut forged = machine.disk.visible(&path).unwrap();
        let batch = &mut forged[BATCH as usize..2 * BATCH as usize];
        batch[23..27].copy_from_slice(&1_000_i32.to_be_bytes());
        write_crc(batch);
        batch[byte] = 9;
        let file = machine.disk.mount().open(Path::new(&path), Open::ReadWrite).unwrap();
        file.write_all_at(&forged, 0).unwrap();
        for end in 3..6 {
            let (mut log, report) = machine.open();
            assert_eq!((report.log_end, report.cut), (Offset::new(end), None));
            let others: Vec<_> = (0..end).filter(|base| *base != 1).collect();
            assert_eq!(consume(&log, 0), (others, vec![(1, 2)]));
            one(&mut log, b"more");
            log.close_clean(BootId::random()).unwrap();
        }
    }
}

#[test]
fn what_is_appended_behind_a_run_of_batches_of_another_place_is_never_taken_for_a_part_of_it() {
    let mut machine = Machine::new();
    machine.options.segment_bytes = 4 * BATCH;
    let (mut log, _) = machine.open();
    // Of three records each, so that counting them leads too far.
    for records in [3, 3, 3, 3, 1, 1] {
        append(&mut log, batch(records, 5, b"v", Producer::NONE));
    }
    log.close_clean(BootId::random()).unwrap();
    let elsewhere = machine.disk.visible(Machine::path(0)).unwrap();
    let path = Machine::path(machine.open().0.reader().segments()[1].base.get());
    let file = machine.disk.mount().open(Path::new(&path), Open::ReadWrite).unwrap();
    let len = file.len().unwrap();
    file.write_all_at(&elsewhere[..len as usize], 0).unwrap();
    let (mut log, report) = machine.open();
    let (flushed, before) = (report.log_end.get(), consume(&log, 0));
    for more in 0..3 {
        one(&mut log, b"more");
        log.close_clean(BootId::random()).unwrap();
        (log, _) = machine.open();
        let expected: Vec<_> = before.0.iter().copied().chain(flushed..=flushed + more).collect();
        assert_eq!(consume(&log, 0), (expected, before.1.clone()), "after {more}");
    }
}

/// Seven batches, of which the second and the fourth are hit in these bytes, each time the log is opened with an index
/// of entries so far apart.
fn hit_twice(interval: u64, hits: [&[u64]; 2]) -> (Vec<i64>, Vec<(i64, i64)>) {
    let mut machine = Machine::new();
    machine.options.index_interval_bytes = interval;
    with_batches(&mut machine, 7, 0);
    for (batch, bytes) in [1, 3].into_iter().zip(hits) {
        for byte in bytes {
            assert!(machine.disk.flip(Machine::path(0), batch * BATCH + byte, 1));
        }
    }
    consume(&machine.open().0, 0)
}

#[test]
fn what_is_served_around_damage_does_not_depend_on_what_the_index_holds() {
    // Offset, length, magic, count, records: one of them, or two.
    let bytes = [7, 11, 16, 26, 70];
    let mut sets: Vec<Vec<u64>> = bytes.iter().map(|byte| vec![*byte]).collect();
    for (at, one) in bytes.iter().enumerate() {
        sets.extend(bytes[at + 1..].iter().map(|other| vec![*one, *other]));
    }
    for first in &sets {
        for second in &sets {
            let hits = [first.as_slice(), second];
            let (dense, sparse) = (hit_twice(0, hits), hit_twice(u64::MAX / 2, hits));
            assert_eq!(dense, sparse, "hit at {hits:?}");
            // Not even the one between them, which only its own word may place.
            assert_eq!(dense.0, [0, 2, 4, 5, 6], "hit at {hits:?}");
        }
    }
}

#[test]
fn bytes_where_none_should_be_hide_nothing_and_are_not_mended() {
    // The second batch counts up to the log's end, and those that it hides are whole.
    let mut machine = Machine::new();
    (machine.options.snapshot_bytes, machine.options.index_interval_bytes) = (1, 1);
    with_batches(&mut machine, 4, 0);
    forge_second(&machine, 2);
    let (mut log, _) = machine.open();
    log.set_damage_bell(Some(Arc::new(|| {})));
    one(&mut log, b"more");
    assert_eq!(consume(&log, 0), (vec![0, 1, 4], vec![]));
    flush(&mut log);
    let found = Scrubber::new(log.reader()).step(u64::MAX).unwrap().found;
    assert_eq!(found.iter().map(|found| (found.first.get(), found.next.get())).collect::<Vec<_>>(), [(4, 4)]);
    assert_eq!(log.next_damage(), None);
    assert_eq!(consume(&log, 0), (vec![0, 1, 4], vec![]));
    let fs: Arc<dyn Fs> = machine.disk.mount();
    let report = verify(&fs, Path::new(DIR), &mut |_| {}).unwrap();
    assert!(!report.is_sound() && !report.findings.iter().any(|finding| finding.flaw.loses_records()));
    drop(log);
    machine.disk.kill();
    // Recovery comes upon it where no index leads it past: what was flushed behind it stays.
    for kind in ["index", "timeindex"] {
        let fs = machine.disk.mount();
        fs.remove_file(Path::new(&format!("{DIR}/{:020}.{kind}", 0))).unwrap();
    }
    let (log, report) = machine.open();
    assert_eq!((report.log_end, report.cut), (Offset::new(5), None));
    assert_eq!(consume(&log, 0), (vec![0, 1, 4], vec![]));
}

#[test]
fn batches_behind_a_gap_are_served_where_they_are() {
    let mut machine = Machine::new();
    machine.options.segment_bytes = 4 * BATCH;
    let (mut log, _) = machine.open();
    for _ in 0..6 {
        one(&mut log, b"flushed");
    }
    let path = Machine::path(0);
    let mut bytes = machine.disk.visible(&path).unwrap();
    bytes[BATCH as usize..].rotate_left(BATCH as usize);
    bytes[3 * BATCH as usize..].fill(0);
    let file = machine.disk.mount().open(Path::new(&path), Open::ReadWrite).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    assert_eq!(consume(&log, 0), (vec![0, 2, 3, 4, 5], vec![(1, 2)]));
}

#[test]
fn a_term_is_found_again_in_its_batches_whatever_offset_a_batch_before_it_claims() {
    // Batch 1 is hit in its records, batch 2 in its offset alone, and batch 3, which could contradict that, or not.
    for (hits, whole) in
        [(&[(1, 70), (2, 0)][..], vec![0, 3, 4, 5]), (&[(1, 70), (2, 0), (3, 70)], vec![0, 4, 5])]
    {
        for is_poisoned in [false, true] {
            let mut machine = Machine::new();
            for records in [4, 2] {
                let (mut log, _) = machine.open();
                for _ in 0..records {
                    one(&mut log, b"flushed");
                }
                flush(&mut log);
                log.checkpoint_job().unwrap().run().unwrap();
            }
            machine.disk.kill();
            for (batch, byte) in hits {
                assert!(machine.disk.flip(Machine::path(0), batch * BATCH + byte, 0x10));
            }
            let fs = machine.disk.mount();
            fs.remove_file(Path::new(&format!("{DIR}/leader-epochs"))).unwrap();
            if is_poisoned {
                fs.open(Path::new(&format!("{DIR}/poisoned")), Open::Create).unwrap();
            }
            let skipped = (1, whole[1]);
            for opening in 0..3 {
                let (log, report) = machine.open();
                assert_eq!((report.log_end, report.cut), (Offset::new(6), None));
                let (served, skips) = consume(&log, 0);
                assert_eq!(served, whole, "poisoned: {is_poisoned}, opening {opening}");
                assert_eq!((skips[0].0, skips[skips.len() - 1].1), skipped, "{skips:?}");
                assert_eq!(log.reader().epoch_at(Offset::new(3)), Some(LeaderEpoch::new(1)));
                assert_eq!(log.reader().epoch_at(Offset::new(4)), Some(LeaderEpoch::new(2)));
            }
        }
    }
}

#[test]
fn s14_a_term_to_come_that_a_hit_batch_tells_of_is_not_believed_once_it_has_come_to_pass() {
    // No checksum covers a batch's term, and the file that would contradict it is gone or damaged.
    for is_gone in [true, false] {
        let mut machine = Machine::new();
        with_batches(&mut machine, 4, 0);
        // Of term 1 becomes of term 3, to which the log is opened next but one.
        assert!(machine.disk.flip(Machine::path(0), BATCH + 15, 2));
        let epochs = format!("{DIR}/leader-epochs");
        if is_gone {
            machine.disk.mount().remove_file(Path::new(&epochs)).unwrap();
        } else {
            assert!(machine.disk.flip(&epochs, 9, 1));
        }
        for opening in 2..6 {
            let (log, report) = machine.open();
            assert_eq!(report.epochs_rebuilt, opening == 2, "gone: {is_gone}, opening {opening}");
            assert_eq!((report.log_end, report.cut), (Offset::new(4), None));
            let served = (vec![0, 2, 3], vec![(1, 2)]);
            assert_eq!(consume(&log, 0), served, "gone: {is_gone}, opening {opening}");
            assert_eq!(log.reader().epoch_at(Offset::new(3)), Some(LeaderEpoch::new(1)));
            // Before it has written a checkpoint.
            machine.disk.kill();
        }
    }
}

#[test]
fn batches_that_agree_are_served_behind_a_hit_one_although_others_are_missing_at_the_end_of_their_segment() {
    // The file is cut short, or it is whole and the next one is gone, so that the log goes on far behind it.
    for (is_cut, whole, lost) in [(true, vec![0, 2, 3, 5, 6], 4..5), (false, vec![0, 2, 3, 4], 5..7)] {
        let mut machine = Machine::new();
        machine.options.segment_bytes = 5 * BATCH;
        with_batches(&mut machine, 7, 0);
        assert!(machine.disk.flip(Machine::path(0), BATCH + 70, 1));
        let fs = machine.disk.mount();
        if is_cut {
            let file = fs.open(Path::new(&Machine::path(0)), Open::ReadWrite).unwrap();
            file.set_len(4 * BATCH).unwrap();
            file.sync_data().unwrap();
        } else {
            fs.remove_file(Path::new(&Machine::path(5))).unwrap();
        }
        for opening in 0..3 {
            let (log, report) = machine.open();
            assert_eq!((report.log_end, report.cut), (Offset::new(7), None));
            let skips = vec![(1, 2), (lost.start, lost.end)];
            assert_eq!(consume(&log, 0), (whole.clone(), skips), "opening {opening}");
        }
    }
}

#[test]
fn a_lone_batch_behind_a_hit_one_stays_where_it_is_although_the_end_of_its_file_is_lost() {
    let mut machine = Machine::new();
    with_batches(&mut machine, 7, 0);
    assert!(machine.disk.flip(Machine::path(0), 70, 1));
    let file = machine.disk.mount().open(Path::new(&Machine::path(0)), Open::ReadWrite).unwrap();
    file.set_len(2 * BATCH).unwrap();
    file.sync_data().unwrap();
    let mut served = vec![1];
    for opening in 0..4 {
        let (mut log, report) = machine.open();
        assert_eq!((report.log_end, report.cut), (Offset::new(7 + opening), None));
        assert_eq!(consume(&log, 0), (served.clone(), vec![(0, 1), (2, 7)]), "opening {opening}");
        served.push(7 + opening);
        one(&mut log, b"more");
        // In the end the checkpoint names another segment than the one that was cut.
        log.close_clean(BootId::random()).unwrap();
    }
}

/// Of three batches the first is hit in what its checksum covers, and the third one's offset is raised, which no checksum
/// covers. What is known to be on disk ends behind the first, and the checkpoint that says where is lost.
fn raised_behind_a_hit_one(machine: &mut Machine, raised_by: u8, hit: u64) {
    machine.options.snapshot_bytes = 1;
    let (mut log, _) = machine.open();
    for _ in 0..3 {
        one(&mut log, b"flushed");
        if log.log_end_offset() == Offset::new(1) {
            flush(&mut log);
            log.checkpoint_job().unwrap().run().unwrap();
        }
    }
    flush(&mut log);
    drop(log);
    machine.disk.kill();
    // The highest byte of the third batch's offset that `raised_by` names; the first one's byte.
    assert!(machine.disk.flip(
        Machine::path(0),
        2 * BATCH + 7 - u64::from(raised_by / 8),
        1 << (raised_by % 8)
    ));
    assert!(machine.disk.flip(Machine::path(0), hit, 1));
    for slot in [0, 4096] {
        assert!(machine.disk.flip(format!("{DIR}/checkpoint"), slot + 20, 1));
    }
}

#[test]
fn s14_an_offset_that_is_raised_behind_a_hit_batch_takes_the_end_nowhere() {
    // A little and very much; the first batch is hit in its records, or in what it counts, which could contradict the third.
    for (raised_by, hit) in [(3, 70), (20, 70), (34, 70), (34, 26), (62, 26)] {
        for is_poisoned in [false, true] {
            let mut machine = Machine::new();
            raised_behind_a_hit_one(&mut machine, raised_by, hit);
            if is_poisoned {
                machine.disk.mount().open(Path::new(&format!("{DIR}/poisoned")), Open::Create).unwrap();
            }
            for opening in 0..3 {
                let (log, report) = machine.open();
                let place = format!(
                    "raised by 2^{raised_by}, hit at {hit}, poisoned: {is_poisoned}, opening {opening}"
                );
                assert_eq!(report.log_end, Offset::new(2), "{place}");
                assert_eq!(consume(&log, 0), (vec![1], vec![(0, 1)]), "{place}");
                // What nobody can place is kept beside the log.
                assert_eq!(report.set_aside.len(), usize::from(opening == 0), "{place}");
            }
        }
    }
}

#[test]
fn s13_what_the_disk_holds_behind_damage_is_found_at_the_same_offsets_once_it_has_been_moved() {
    // Nobody knows which of the two offsets is right: the second batch's own, or that which the third one tells.
    let mut machine = Machine::new();
    raised_behind_a_hit_one(&mut machine, 20, 26);
    machine.disk.mount().open(Path::new(&format!("{DIR}/poisoned")), Open::Create).unwrap();
    let (log, report) = machine.open();
    assert!(report.was_poisoned);
    let first = (report.log_end, consume(&log, 0));
    drop(log);
    for opening in 1..4 {
        let (log, report) = machine.open();
        assert_eq!((report.log_end, consume(&log, 0)), first, "opening {opening}");
        assert!(!report.was_poisoned && report.cut.is_none(), "opening {opening}: {report:?}");
    }
}
