//! Folders that were hit, over a disk that keeps nothing that was not synced.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Finding, Flaw, FolderReport, Mended, RepairError, RepairOptions, repair, segments, verify};
use crate::{
    clock::ManualClock,
    model::{BootId, LeaderEpoch, Offset, PartitionId, PartitionIndex, TimestampMs, TopicId},
    record::{BatchBuilder, BatchHeader, Compression, NewRecord, Producer},
    storage::{
        fs::{Fs, Open, faulty::SimulatedDisk, folder_of},
        log::{Log, LogOptions, ReadBuffer, ReadOutcome, ReadRequest},
    },
};

const DIR: &str = "/data/logs/t-0";
const COPY: &str = "/copy/t-0";
const PARTITION: PartitionId =
    PartitionId { topic: TopicId::from_bytes([7; 16]), index: PartitionIndex::new(0) };

fn batch(number: u8) -> Vec<u8> {
    let mut builder = BatchBuilder::new(1 << 20);
    for _ in 0..=number % 3 {
        let (timestamp, value) = (TimestampMs::new(i64::from(number)), [number; 100]);
        assert!(builder.append(&NewRecord { timestamp, key: None, value: Some(&value), headers: &[] }));
    }
    builder.finish(Compression::None, None, Producer::NONE).unwrap().to_vec()
}

fn open(disk: &SimulatedDisk, epoch: i32) -> Log {
    let options = LogOptions { segment_bytes: 2000, index_interval_bytes: 300, ..LogOptions::default() };
    let clock = Arc::new(ManualClock::default());
    let (fs, epoch): (Arc<dyn Fs>, _) = (disk.mount(), LeaderEpoch::new(epoch));
    Log::open(fs, Path::new(DIR), PARTITION, epoch, options, clock).unwrap().0
}

/// A log of several segments that was closed in order, and a copy of its folder.
fn closed_log() -> SimulatedDisk {
    let disk = SimulatedDisk::new(3);
    let fs = disk.mount();
    for dir in ["/data/logs", COPY] {
        fs.create_dir_all(Path::new(dir)).unwrap();
    }
    fs.sync_dir(Path::new("/")).unwrap();
    fs.sync_dir(Path::new("/data")).unwrap();
    fs.sync_dir(Path::new("/copy")).unwrap();
    let mut log = open(&disk, 1);
    for number in 0..30 {
        let bytes = batch(number);
        let header = BatchHeader::parse(&bytes).unwrap();
        log.append(&bytes, &header, TimestampMs::new(1)).unwrap();
    }
    let done = log.begin_flush().run();
    log.finish_flush(done).unwrap();
    while let Some(job) = log.seal_job() {
        job.run().unwrap();
    }
    log.close_clean(BootId::random()).unwrap();
    copy(&disk);
    disk
}

fn copy(disk: &SimulatedDisk) {
    let fs = disk.mount();
    for entry in fs.list(Path::new(DIR)).unwrap() {
        let bytes = disk.visible(Path::new(DIR).join(&entry.name)).unwrap();
        let file = fs.open(&Path::new(COPY).join(&entry.name), Open::CreateNew).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        file.sync_data().unwrap();
    }
    fs.sync_dir(Path::new(COPY)).unwrap();
}

fn verified(disk: &SimulatedDisk) -> FolderReport {
    let fs: Arc<dyn Fs> = disk.mount();
    verify(&fs, Path::new(DIR), &mut |_| ()).unwrap()
}

fn repaired(disk: &SimulatedDisk, options: RepairOptions<'_>) -> Result<Vec<Mended>, RepairError> {
    let fs: Arc<dyn Fs> = disk.mount();
    repair(&fs, Path::new(DIR), options, &mut |_| ()).map(|(_, mended)| mended)
}

/// The segments' paths.
fn files(disk: &SimulatedDisk) -> Vec<PathBuf> {
    segments(&*disk.mount(), Path::new(DIR)).unwrap().into_iter().map(|segment| segment.path).collect()
}

fn contents(disk: &SimulatedDisk) -> Vec<Vec<u8>> {
    files(disk).iter().map(|path| disk.visible(path).unwrap()).collect()
}

/// Each batch that is served: its base, the offset behind it, its records.
fn read_all(disk: &SimulatedDisk, epoch: i32) -> (Vec<(i64, i64, i32)>, usize) {
    let log = open(disk, epoch);
    let reader = log.reader();
    let (mut from, mut found, mut holes) = (reader.log_start_offset(), Vec::new(), 0);
    let mut out = ReadBuffer::new();
    while from < reader.log_end_offset() {
        out.clear();
        let request = ReadRequest {
            from,
            max_bytes: 500,
            wait: super::super::log::Wait::MayBlock,
            ..ReadRequest::default()
        };
        let ReadOutcome::Read { next, skipped, .. } = reader.read(&request, &mut out).unwrap() else {
            panic!()
        };
        holes += skipped.len();
        let mut rest = out.as_slice();
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).unwrap();
            found.push((header.base_offset.get(), header.next_offset().get(), header.record_count));
            rest = &rest[header.total_len()..];
        }
        assert!(next > from);
        from = next;
    }
    (found, holes)
}

fn lost(report: &FolderReport) -> Vec<(i64, i64)> {
    let damage = |flaw: &Flaw| {
        let Flaw::Damaged(damage) = flaw else { return None };
        Some((damage.first.get(), damage.next.get()))
    };
    report.findings.iter().filter_map(|finding| damage(&finding.flaw)).collect()
}

/// Hits the second batch of the first segment, the first of the second, and both at the end of the last but
/// one, over its border.
fn hit(disk: &SimulatedDisk) -> Vec<(i64, i64)> {
    let files = files(disk);
    let batches = |path: &Path| {
        let bytes = disk.visible(path).unwrap();
        let (mut at, mut found) = (0, Vec::new());
        while at < bytes.len() {
            let header = BatchHeader::parse(&bytes[at..]).unwrap();
            found.push((at as u64, header.base_offset.get(), header.next_offset().get()));
            at += header.total_len();
        }
        found
    };
    let (first, second, third) = (batches(&files[0]), batches(&files[1]), batches(&files[2]));
    let hits = [(&files[0], first[1]), (&files[1], second[0]), (&files[2], *third.last().unwrap())];
    for (path, (position, ..)) in &hits {
        assert!(disk.flip(path, position + 70, 1));
    }
    hits.iter().map(|(_, (_, base, next))| (*base, *next)).collect()
}

#[test]
fn a_log_that_was_closed_in_order_is_sound_and_its_figures_are_those_of_its_batches() {
    let report = verified(&closed_log());
    assert!(report.findings.iter().all(|finding| finding.flaw.is_note()), "{:?}", report.findings);
    assert_eq!((report.batches, report.records), (30, 60));
    assert_eq!((report.log_start, report.log_end), (Offset::ZERO, Offset::new(60)));
    assert!(report.segments > 3);
}

#[test]
fn exactly_the_batches_that_were_hit_are_named() {
    let disk = closed_log();
    let hits = hit(&disk);
    let report = verified(&disk);
    assert_eq!(lost(&report), hits);
    assert!(!report.is_sound());
    assert_eq!(report.batches, 27);
}

#[test]
fn an_index_and_checksums_that_lead_astray_are_found_and_made_anew() {
    let disk = closed_log();
    let first = files(&disk)[0].clone();
    let index = first.with_extension("index");
    let len = disk.visible(&index).unwrap().len() as u64;
    assert!(len > 8);
    assert!(disk.flip(&index, len - 1, 4), "a position that is no batch's");
    assert!(disk.flip(first.with_extension("checksums"), 34, 1));
    let report = verified(&disk);
    let flaws: Vec<_> = report.findings.iter().map(|finding| &finding.flaw).collect();
    assert!(flaws.contains(&&Flaw::Index), "{flaws:?}");
    assert!(flaws.iter().any(|flaw| matches!(flaw, Flaw::OwnFile(_))), "{flaws:?}");
    assert!(lost(&report).is_empty());
    repaired(&disk, RepairOptions::default()).unwrap();
    assert!(verified(&disk).is_sound());
    assert_eq!(read_all(&disk, 2).0.len(), 30);
}

#[test]
fn what_was_never_acknowledged_at_the_end_is_no_damage() {
    let disk = closed_log();
    let last = files(&disk).pop().unwrap();
    let file = disk.mount().open(&last, Open::ReadWrite).unwrap();
    let len = file.len().unwrap();
    file.write_all_at(&batch(9)[..50], len).unwrap();
    let report = verified(&disk);
    assert!(report.is_sound(), "{:?}", report.findings);
    let torn = Flaw::TornEnd { position: len, bytes: 50, holds_batches: false };
    assert!(report.findings.iter().any(|finding| finding.flaw == torn));
    assert_eq!(report.log_end, Offset::new(60));
}

/// Writes batches of the same term behind the end of the log, which no checkpoint knows; the first of them is hit.
fn with_torn_tail(disk: &SimulatedDisk) -> (PathBuf, u64) {
    let last = files(disk).pop().unwrap();
    let file = disk.mount().open(&last, Open::ReadWrite).unwrap();
    let begin = file.len().unwrap();
    let (mut at, mut offset) = (begin, Offset::new(60));
    for number in [7, 8, 9] {
        let mut bytes = batch(number);
        crate::record::assign(&mut bytes, offset, LeaderEpoch::new(1));
        offset = BatchHeader::parse(&bytes).unwrap().next_offset();
        file.write_all_at(&bytes, at).unwrap();
        at += bytes.len() as u64;
    }
    file.sync_data().unwrap();
    assert!(disk.flip(&last, begin + 70, 1));
    (last, begin)
}

#[test]
fn s14_what_is_hit_above_the_flushed_end_is_torn_and_not_lost_whatever_is_whole_behind_it() {
    let disk = closed_log();
    let (last, position) = with_torn_tail(&disk);
    let behind = Path::new(DIR).join("00000000000000000067.log");
    let file = disk.mount().open(&behind, Open::CreateNew).unwrap();
    file.write_all_at(&batch(1), 0).unwrap();
    let bytes = disk.visible(&last).unwrap().len() as u64 - position;
    let torn = [
        (last, Flaw::TornEnd { position, bytes, holds_batches: true }),
        (behind, Flaw::TornEnd { position: 0, bytes: file.len().unwrap(), holds_batches: true }),
    ];
    let report = verified(&disk);
    assert!(report.is_sound(), "{:?}", report.findings);
    for (file, flaw) in torn {
        assert!(report.findings.contains(&Finding { file, flaw }), "{:?}", report.findings);
    }
    assert_eq!((report.batches, report.log_end), (30, Offset::new(60)));
    assert!(report.is_hit() && report.flushed == Some(Offset::new(60)), "{report:?}");
    assert!(
        repaired(&disk, RepairOptions { drop_damaged: true, ..RepairOptions::default() }).unwrap().is_empty()
    );
    // It is what the next opening does.
    assert_eq!(open(&disk, 2).log_end_offset(), report.log_end);
    let set_aside = |finding: &&Finding| finding.flaw == Flaw::SetAside;
    assert_eq!(verified(&disk).findings.iter().filter(set_aside).count(), 2);
}

#[test]
fn rot_at_the_flushed_end_is_told_from_the_torn_batches_behind_it_and_mended_without_them() {
    let disk = closed_log();
    let whole = read_all(&closed_log(), 2).0;
    let (last, position) = with_torn_tail(&disk);
    let (base, next, _) = *whole.last().unwrap();
    let mut begins = 0;
    while let Ok(header) = BatchHeader::parse(&disk.visible(&last).unwrap()[begins..])
        && header.base_offset.get() < base
    {
        begins += header.total_len();
    }
    assert!(disk.flip(&last, begins as u64 + 70, 1));
    let report = verified(&disk);
    assert_eq!(lost(&report), [(base, next)]);
    assert_eq!(report.log_end, Offset::new(60));
    let options = RepairOptions { from: Some(Path::new(COPY)), ..RepairOptions::default() };
    assert_eq!(repaired(&disk, options).unwrap().len(), 1);
    let report = verified(&disk);
    assert!(report.is_sound(), "{:?}", report.findings);
    let is_torn = |flaw: &Flaw| matches!(flaw, Flaw::TornEnd { position: at, holds_batches: true, .. } if *at == position);
    assert!(report.findings.iter().any(|finding| is_torn(&finding.flaw)), "{:?}", report.findings);
    assert_eq!(read_all(&disk, 2), (whole, 0));
}

#[test]
fn a_log_that_lost_its_flushed_end_is_short_and_comes_back_from_a_copy() {
    let disk = closed_log();
    let last = files(&disk).pop().unwrap();
    let whole = contents(&disk);
    disk.mount().open(&last, Open::ReadWrite).unwrap().set_len(30).unwrap();
    assert!(verified(&disk).findings.iter().any(|finding| finding.flaw.loses_records()));
    let from = Some(Path::new(COPY));
    repaired(&disk, RepairOptions { from, ..RepairOptions::default() }).unwrap();
    assert_eq!(contents(&disk), whole);
    assert!(verified(&disk).is_sound());
}

#[test]
fn lost_batches_come_back_from_a_copy_byte_for_byte() {
    let disk = closed_log();
    let whole = contents(&disk);
    hit(&disk);
    let options = RepairOptions { from: Some(Path::new(COPY)), ..RepairOptions::default() };
    let mended = repaired(&disk, options).unwrap();
    assert_eq!(mended.iter().filter(|mended| matches!(mended, Mended::Restored { .. })).count(), 3);
    assert_eq!(contents(&disk), whole);
    assert!(verified(&disk).is_sound(), "{:?}", verified(&disk).findings);
    assert_eq!(read_all(&disk, 2), (read_all(&closed_log(), 2).0, 0));
}

#[test]
fn what_is_given_up_is_passed_over_without_another_word_and_its_bytes_are_kept() {
    let disk = closed_log();
    let hits = hit(&disk);
    let (before, holes) = read_all(&disk, 2);
    assert_eq!(holes, 3);
    let mended = repaired(&disk, RepairOptions { drop_damaged: true, ..RepairOptions::default() }).unwrap();
    let kept: Vec<_> = mended
        .iter()
        .filter_map(|mended| {
            let Mended::Dropped { kept, .. } = mended else { return None };
            kept.clone()
        })
        .collect();
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().all(|path| disk.durable(path).is_some_and(|bytes| bytes.len() > 100)));
    assert!(verified(&disk).is_sound());
    let (after, holes) = read_all(&disk, 3);
    assert_eq!(holes, 0);
    let empty: Vec<_> = hits.iter().map(|(base, next)| (*base, *next, 0)).collect();
    assert!(empty.iter().all(|each| after.contains(each)), "{after:?}");
    let kept: Vec<_> = after.into_iter().filter(|each| !empty.contains(each)).collect();
    assert_eq!(kept, before);
}

#[test]
fn nothing_is_changed_by_a_dry_run_nor_without_leave_to_give_up() {
    let disk = closed_log();
    hit(&disk);
    let names = |disk: &SimulatedDisk| disk.mount().list(Path::new(DIR)).unwrap();
    let before = (names(&disk), contents(&disk));
    let dry = RepairOptions { from: Some(Path::new(COPY)), drop_damaged: true, dry_run: true };
    let planned = repaired(&disk, dry).unwrap();
    assert_eq!(planned.iter().filter(|mended| matches!(mended, Mended::Restored { .. })).count(), 3);
    let left = repaired(&disk, RepairOptions::default()).unwrap();
    assert_eq!(left.iter().filter(|mended| matches!(mended, Mended::Left(_))).count(), 3);
    assert_eq!((names(&disk), contents(&disk)), before);
}

#[test]
fn another_log_is_not_taken_for_a_copy() {
    let disk = closed_log();
    hit(&disk);
    let file = PathBuf::from(COPY).join(files(&disk)[0].file_name().unwrap());
    // Another record in the batch before the one that is lost, and a checksum that is right.
    let mut bytes = disk.visible(&file).unwrap();
    let header = BatchHeader::parse(&bytes).unwrap();
    crate::record::stamp_log_append_time(&mut bytes[..header.total_len()], TimestampMs::new(5));
    disk.mount().open(&file, Open::ReadWrite).unwrap().write_all_at(&bytes, 0).unwrap();
    let options = RepairOptions { from: Some(Path::new(COPY)), ..RepairOptions::default() };
    assert!(matches!(repaired(&disk, options), Err(RepairError::NotACopy { .. })));
}

#[test]
fn s15_death_at_any_step_of_a_repair_loses_no_batch_that_was_whole() {
    let whole = contents(&closed_log());
    for from in [Some(Path::new(COPY)), None] {
        let options = RepairOptions { from, drop_damaged: true, dry_run: false };
        let mut finished = 0;
        for steps in 0..120 {
            let disk = closed_log();
            hit(&disk);
            disk.die_after(Some(steps));
            finished += u32::from(repaired(&disk, options).is_ok());
            disk.power_cut();
            disk.die_after(None);
            let (found, _) = read_all(&disk, 2);
            assert!(found.iter().filter(|(.., records)| *records > 0).count() >= 27, "{steps}");
            repaired(&disk, options).unwrap();
            assert!(verified(&disk).is_sound(), "{steps}: {:?}", verified(&disk).findings);
            if from.is_some() {
                let same = contents(&disk).iter().zip(&whole).filter(|(now, then)| now == then).count();
                assert!(same >= whole.len() - 1, "{steps}: all but the segment that an opening appended to");
            }
        }
        assert!((1..119).contains(&finished), "{finished} repairs came to their end");
    }
}

#[test]
fn a_batch_with_a_wrong_offset_is_not_served_where_the_one_before_cannot_vouch_for_it() {
    let disk = closed_log();
    let (whole, _) = read_all(&closed_log(), 2);
    let first = files(&disk)[0].clone();
    let bytes = disk.visible(&first).unwrap();
    let one = BatchHeader::parse(&bytes).unwrap();
    let two = BatchHeader::parse(&bytes[one.total_len()..]).unwrap();
    // The first one's number of offsets, which its checksum covers, and the second one's offset, which its own
    // does not: it would be whole at offset 3 + 4.
    assert!(disk.flip(&first, 26, 1));
    assert!(disk.flip(&first, one.total_len() as u64 + 7, 4));
    for file in ["index", "timeindex", "checksums"] {
        disk.mount().remove_file(&first.with_extension(file)).unwrap();
    }
    let report = verified(&disk);
    let (one, two) = (one.next_offset().get(), two.next_offset().get());
    assert_eq!(lost(&report), [(0, one), (one, two)]);
    let (served, _) = read_all(&disk, 2);
    assert_eq!(served, whole[2..], "each at its own offset");
}

#[test]
fn how_far_a_log_was_on_disk_for_certain_is_what_its_checkpoint_says() {
    let disk = closed_log();
    let report = verified(&disk);
    assert!(!report.is_hit() && report.flushed == Some(Offset::new(60)), "{report:?}");
    // What has been lost since is no less promised.
    disk.mount().open(&files(&disk)[1], Open::ReadWrite).unwrap().set_len(0).unwrap();
    let report = verified(&disk);
    assert!(report.is_hit() && report.flushed == Some(Offset::new(60)), "{report:?}");
    disk.mount().remove_file(&Path::new(DIR).join("checkpoint")).unwrap();
    assert_eq!(verified(&disk).flushed, None);
}

#[test]
fn a_folder_without_segments_has_nothing_wrong() {
    let disk = closed_log();
    let empty = folder_of(Path::new(DIR)).join("u-0");
    let fs: Arc<dyn Fs> = disk.mount();
    fs.create_dir_all(&empty).unwrap();
    let report = verify(&fs, &empty, &mut |_| ()).unwrap();
    assert_eq!((report.segments, report.findings.len()), (0, 0));
}
