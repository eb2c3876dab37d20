use std::{
    collections::BTreeSet,
    io,
    path::Path,
    sync::{Arc, mpsc},
};

use super::{AfterFailedSync, CachedReads, Fault, FaultRates, FaultyFs, ProcessDied, SimulatedDisk};
use crate::storage::fs::{File, Fs, LockWait, Open};

const PATH: &str = "/file";

/// A disk with an empty file whose name is durable.
fn disk_with_file(seed: u64) -> (SimulatedDisk, Arc<FaultyFs>, Arc<dyn File>) {
    let disk = SimulatedDisk::new(seed);
    let fs = disk.mount();
    let file = create(&*fs, PATH);
    fs.sync_dir(Path::new("/")).unwrap();
    (disk, fs, file)
}

fn create(fs: &dyn Fs, path: &str) -> Arc<dyn File> {
    fs.open(Path::new(path), Open::CreateNew).unwrap()
}

fn has_died<T>(answer: io::Result<T>) -> bool {
    let inner = answer.err().and_then(io::Error::into_inner);
    inner.is_some_and(|error| error.is::<ProcessDied>())
}

fn from_disk(fs: &dyn Fs) -> Vec<u8> {
    let mut buf = vec![0; 10_000];
    let read = fs.read_from_disk(Path::new(PATH), 0, &mut buf).unwrap();
    buf.truncate(read);
    buf
}

fn from_cache(file: &dyn File) -> Vec<u8> {
    let mut buf = vec![0; 10_000];
    let read = file.read_at(&mut buf, 0).unwrap();
    buf.truncate(read);
    buf
}

#[test]
fn a_kill_keeps_what_was_written_and_ends_files_and_locks() {
    let (disk, fs, file) = disk_with_file(1);
    file.write_all_at(b"unsynced", 0).unwrap();
    let lock = fs.lock(Path::new("/lock"), LockWait::Fail).unwrap();
    disk.kill();
    assert!(has_died(file.read_at(&mut [0], 0)));
    assert!(has_died(file.write_all_at(b"late", 0)));
    assert!(has_died(fs.list(Path::new("/"))));
    let reborn = disk.mount();
    let held = reborn.lock(Path::new("/lock"), LockWait::Fail).unwrap();
    drop(lock);
    let refused = reborn.lock(Path::new("/lock"), LockWait::Fail).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock, "a dead process frees no lock of the living");
    drop(held);
    assert_eq!(disk.visible(PATH).unwrap(), b"unsynced");
}

#[test]
fn a_thread_that_waits_for_a_lock_ends_with_its_process() {
    let disk = SimulatedDisk::new(1);
    let fs = disk.mount();
    let _held = fs.lock(Path::new("/lock"), LockWait::Fail).unwrap();
    let (sender, started) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            sender.send(()).unwrap();
            has_died(fs.lock(Path::new("/lock"), LockWait::Block))
        });
        started.recv().unwrap();
        disk.kill();
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn a_power_cut_never_takes_what_was_synced() {
    for seed in 0..200 {
        let (disk, _fs, file) = disk_with_file(seed);
        file.write_all_at(&[1; 3000], 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(&[2; 3000], 3000).unwrap();
        disk.power_cut();
        let left = disk.visible(PATH).unwrap();
        assert_eq!(left[..3000], [1; 3000], "seed {seed}");
        assert!(left[3000..].iter().all(|byte| [0, 2].contains(byte)));
        assert_eq!(disk.durable(PATH).unwrap(), left, "what is left is on the disk");
    }
}

#[test]
fn power_cuts_keep_lose_and_tear_in_every_way() {
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let (disk, _fs, file) = disk_with_file(seed);
        file.write_all_at(&[1; 2000], 0).unwrap();
        file.write_all_at(&[2; 2000], 2000).unwrap();
        disk.power_cut();
        let left = disk.visible(PATH).unwrap();
        seen.insert(what_is_left(&left));
    }
    let all = ["all", "end without beginning", "hole within a write", "length only", "nothing", "torn end"];
    assert_eq!(seen.into_iter().filter(|what| *what != "other").collect::<Vec<_>>(), all);
}

fn what_is_left(left: &[u8]) -> &'static str {
    let first = left.get(..2000).unwrap_or(left);
    let has_both = |bytes: &[u8]| bytes.contains(&0) && bytes.contains(&1);
    match left.len() {
        0 => "nothing",
        _ if left.iter().all(|byte| *byte == 0) => "length only",
        4000 if !left.contains(&0) => "all",
        4000 if first.iter().all(|byte| *byte == 0) => "end without beginning",
        4000 if has_both(first) => "hole within a write",
        2001..4000 if !left.contains(&0) => "torn end",
        _ => "other",
    }
}

#[test]
fn a_length_that_was_lost_takes_what_followed_with_it() {
    let mut lost = 0;
    for seed in 0..100 {
        let (disk, _fs, file) = disk_with_file(seed);
        file.write_all_at(b"old old old", 0).unwrap();
        file.sync_data().unwrap();
        file.set_len(3).unwrap();
        file.write_all_at(b"new", 3).unwrap();
        disk.power_cut();
        let left = disk.visible(PATH).unwrap();
        lost += u32::from(left == b"old old old");
        assert!(left.len() <= 6 || left == b"old old old", "seed {seed}: {left:?}");
    }
    assert!(lost > 10);
}

#[test]
fn s15_a_synced_file_whose_folder_was_not_synced_may_be_lost() {
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..100 {
        let disk = SimulatedDisk::new(seed);
        let fs = disk.mount();
        let file = create(&*fs, PATH);
        file.write_all_at(b"synced", 0).unwrap();
        file.sync_data().unwrap();
        disk.power_cut();
        match disk.visible(PATH) {
            Some(bytes) => {
                assert_eq!(bytes, b"synced");
                kept += 1;
            }
            None => lost += 1,
        }
    }
    assert!(kept > 10 && lost > 10, "kept {kept}, lost {lost}");
}

#[test]
fn s15_a_folder_is_reachable_only_when_the_one_above_it_was_synced() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let fs = disk.mount();
        fs.create_dir_all(Path::new("/logs/t-0")).unwrap();
        create(&*fs, "/logs/t-0/x");
        fs.sync_dir(Path::new("/logs/t-0")).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        disk.power_cut();
        lost += u32::from(!disk.mount().exists(Path::new("/logs/t-0/x")).unwrap_or(false));
        assert!(disk.mount().exists(Path::new("/logs")).unwrap());
    }
    assert!(lost > 5);
}

#[test]
fn a_power_cut_leaves_a_rename_done_or_undone_and_never_both_names_or_none() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let (disk, fs, file) = disk_with_file(seed);
        file.write_all_at(b"old", 0).unwrap();
        file.sync_data().unwrap();
        let beside = create(&*fs, "/file.tmp");
        beside.write_all_at(b"new", 0).unwrap();
        beside.sync_data().unwrap();
        fs.rename(Path::new("/file.tmp"), Path::new(PATH)).unwrap();
        disk.power_cut();
        let (new, beside) = (disk.visible(PATH).unwrap(), disk.visible("/file.tmp"));
        assert!(new == b"old" || (new == b"new" && beside.is_none()), "seed {seed}");
        seen.insert((new, beside.is_some()));
    }
    assert_eq!(seen.len(), 3, "before the creation, before the rename, after it: {seen:?}");
}

#[test]
fn changes_of_one_folder_survive_in_their_order() {
    let mut lengths = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimulatedDisk::new(seed);
        let fs = disk.mount();
        for name in ["/0", "/1", "/2", "/3"] {
            create(&*fs, name);
        }
        disk.power_cut();
        let left: Vec<_> = disk.mount().list(Path::new("/")).unwrap();
        let left: Vec<_> = left.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(left, ["0", "1", "2", "3"][..left.len()]);
        lengths.insert(left.len());
    }
    assert_eq!(lengths.len(), 5);
}

#[test]
fn s13_after_a_failed_sync_the_cache_shows_what_the_disk_may_not_have() {
    let mut differed = 0;
    for seed in 0..50 {
        let (disk, fs, file) = disk_with_file(seed);
        file.write_all_at(&[7; 3000], 0).unwrap();
        disk.inject("file", Fault::SyncFails(AfterFailedSync::FalselyClean));
        assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
        assert_eq!(from_cache(&*file), [7; 3000]);
        file.sync_data().unwrap();
        let read = from_disk(&*fs);
        let mut durable = disk.durable(PATH).unwrap();
        durable.resize(3000, 0);
        assert_eq!(read, durable, "what the disk has, in the length that the system knows");
        differed += u32::from(read != [7; 3000]);
        disk.kill();
        assert_eq!(disk.visible(PATH).unwrap(), [7; 3000], "a falsely clean page outlives the process");
        disk.power_cut();
        assert!(durable.starts_with(&disk.visible(PATH).unwrap()));
    }
    assert!(differed > 10);
}

#[test]
fn s13_a_failed_sync_may_also_drop_what_was_written() {
    let mut dropped = 0;
    for seed in 0..50 {
        let (disk, fs, file) = disk_with_file(seed);
        file.write_all_at(&[7; 3000], 0).unwrap();
        disk.inject(PATH, Fault::SyncFails(AfterFailedSync::Dropped));
        file.sync_data().unwrap_err();
        assert_eq!(from_cache(&*file), from_disk(&*fs));
        dropped += u32::from(from_cache(&*file) != [7; 3000]);
    }
    assert!(dropped > 10);
}

#[test]
fn what_is_written_again_after_a_failed_sync_reaches_the_disk() {
    let (disk, _fs, file) = disk_with_file(3);
    file.write_all_at(b"first", 0).unwrap();
    disk.inject(PATH, Fault::SyncFails(AfterFailedSync::FalselyClean));
    file.sync_data().unwrap_err();
    file.write_all_at(b"again", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.durable(PATH).unwrap(), b"again");
}

#[test]
fn a_lying_sync_leaves_everything_pending_for_an_honest_one() {
    let (disk, _fs, file) = disk_with_file(1);
    file.write_all_at(b"bytes", 0).unwrap();
    disk.inject(PATH, Fault::SyncLies);
    file.sync_data().unwrap();
    assert_eq!(disk.durable(PATH).unwrap(), b"");
    file.sync_data().unwrap();
    assert_eq!(disk.durable(PATH).unwrap(), b"bytes");
}

#[test]
fn a_folder_whose_sync_failed_may_lose_its_names() {
    let mut lost = 0;
    for seed in 0..60 {
        let disk = SimulatedDisk::new(seed);
        let fs = disk.mount();
        create(&*fs, PATH);
        disk.inject("/", Fault::SyncDirFails);
        fs.sync_dir(Path::new("/")).unwrap_err();
        disk.power_cut();
        lost += u32::from(disk.visible(PATH).is_none());
    }
    assert!((5..55).contains(&lost), "lost {lost} of 60");
}

#[test]
fn a_full_disk_takes_what_fits_and_heals_when_there_is_space() {
    let (disk, fs, file) = disk_with_file(1);
    let other = create(&*fs, "/other");
    other.write_all_at(&[1; 100], 0).unwrap();
    disk.set_free_bytes(10);
    assert_eq!(fs.free_bytes(Path::new("/")).unwrap(), 10);
    let full = file.write_all_at(&[2; 16], 0).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(from_cache(&*file), [2; 10]);
    file.write_all_at(&[3; 10], 0).unwrap();
    drop(other);
    fs.remove_file(Path::new("/other")).unwrap();
    assert_eq!(fs.free_bytes(Path::new("/")).unwrap(), 100);
    file.write_all_at(&[4; 16], 0).unwrap();
    assert_eq!(from_cache(&*file), [4; 16]);
}

#[test]
fn space_that_was_taken_is_there_on_a_full_disk_until_the_file_is_cut() {
    let (disk, fs, file) = disk_with_file(1);
    assert_eq!(file.allocate(0, 1).unwrap_err().kind(), io::ErrorKind::Unsupported);
    disk.set_allocates(true);
    disk.set_free_bytes(10);
    assert_eq!(file.allocate(0, 11).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.allocate(2, 6).unwrap();
    assert_eq!((fs.free_bytes(Path::new("/")).unwrap(), file.len().unwrap()), (2, 0));
    create(&*fs, "/other").write_all_at(&[1; 2], 0).unwrap();
    file.write_all_at(&[2; 8], 0).unwrap();
    assert_eq!(file.write_all_at(&[3; 9], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.set_len(4).unwrap();
    assert_eq!(fs.free_bytes(Path::new("/")).unwrap(), 4);
    file.allocate(0, 8).unwrap();
    file.sync_data().unwrap();
    assert_eq!(fs.free_bytes(Path::new("/")).unwrap(), 0);
    file.set_len(4).unwrap();
    assert_eq!(fs.free_bytes(Path::new("/")).unwrap(), 4, "also where its length stays");
}

#[test]
fn a_failed_write_may_have_written_a_beginning() {
    let (disk, _fs, file) = disk_with_file(1);
    disk.inject(PATH, Fault::WriteFails { after_bytes: 2 });
    assert_eq!(file.write_all_at(b"abcd", 0).unwrap_err().raw_os_error(), Some(5));
    assert_eq!(from_cache(&*file), b"ab");
}

#[test]
fn a_bad_range_fails_each_read_that_touches_it() {
    let (disk, fs, file) = disk_with_file(1);
    file.write_all_at(&[1; 100], 0).unwrap();
    disk.fail_reads("file", 40..50);
    assert_eq!(file.read_at(&mut [0; 40], 0).unwrap(), 40);
    assert_eq!(file.read_at(&mut [0; 10], 50).unwrap(), 10);
    file.read_at(&mut [0; 41], 0).unwrap_err();
    file.map(100).unwrap_err();
    file.read_cached_at(&mut [0; 1], 49).unwrap_err();
    fs.read_from_disk(Path::new(PATH), 49, &mut [0; 1]).unwrap_err();
    disk.clear_faults();
    file.map(100).unwrap();
}

#[test]
fn a_flipped_bit_is_flipped_in_the_cache_and_on_the_disk() {
    let (disk, fs, file) = disk_with_file(1);
    file.write_all_at(b"aaaa", 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(b"bb", 2).unwrap();
    assert!(disk.flip(PATH, 1, 1));
    assert!(disk.flip(PATH, 2, 1));
    assert!(!disk.flip(PATH, 4, 1));
    assert_eq!(from_cache(&*file), b"a`cb");
    assert_eq!(from_disk(&*fs), b"a`cb");
    file.sync_data().unwrap();
    assert_eq!(disk.durable(PATH).unwrap(), b"a`cb");
}

#[test]
fn reads_of_the_cache_may_find_less_than_there_is() {
    let (disk, _fs, file) = disk_with_file(1);
    file.write_all_at(&[1; 100], 0).unwrap();
    let mut buf = [0; 200];
    assert_eq!(file.read_cached_at(&mut buf, 0).unwrap(), Some(100));
    disk.set_cached_reads(CachedReads::Nothing);
    assert_eq!(file.read_cached_at(&mut buf, 0).unwrap(), None);
    assert_eq!(file.read_cached_at(&mut buf, 100).unwrap(), Some(0), "the end needs no disk");
    disk.set_cached_reads(CachedReads::Any);
    let found: BTreeSet<_> = (0..200).map(|_| file.read_cached_at(&mut buf[..100], 0).unwrap()).collect();
    assert!(found.contains(&None) && found.contains(&Some(100)) && found.len() > 10);
}

#[test]
fn a_process_dies_after_the_planned_number_of_changes() {
    let mut left = BTreeSet::new();
    for seed in 0..40 {
        let (disk, fs, file) = disk_with_file(seed);
        disk.die_after(Some(2));
        file.write_all_at(b"one", 0).unwrap();
        file.read_at(&mut [0; 3], 0).unwrap();
        file.sync_data().unwrap();
        assert!(has_died(file.write_all_at(b"two", 3)));
        assert!(has_died(fs.exists(Path::new(PATH))));
        let bytes = disk.visible(PATH).unwrap();
        assert!(b"onetwo".starts_with(&bytes) && bytes.len() >= 3);
        left.insert(bytes.len());
        disk.mount().remove_file(Path::new(PATH)).unwrap();
    }
    assert_eq!(left.len(), 4, "any beginning of the last write: {left:?}");
}

#[test]
fn what_was_done_is_counted_by_file() {
    let (disk, fs, file) = disk_with_file(1);
    file.write_all_at(&[1; 100], 0).unwrap();
    file.write_all_at(&[1; 50], 100).unwrap();
    file.read_at(&mut [0; 500], 0).unwrap();
    fs.read_from_disk(Path::new(PATH), 140, &mut [0; 500]).unwrap();
    file.map(20).unwrap();
    file.sync_data().unwrap();
    let counted = disk.counters("file");
    assert_eq!((counted.bytes_written, counted.writes), (150, 2));
    assert_eq!((counted.bytes_read, counted.reads, counted.syncs), (180, 3, 1));
    assert_eq!(disk.counters("/").syncs, 1, "of the folder");
    disk.reset_counters();
    assert_eq!(disk.counters_in_all(), super::Counters::default());
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed: u64| {
        let disk = SimulatedDisk::new(seed);
        disk.set_fault_rates(FaultRates {
            sync_fails: 0.1,
            sync_lies: 0.1,
            sync_dir_fails: 0.1,
            write_fails: 0.1,
            read_fails: 0.1,
        });
        let mut trace = Vec::new();
        for round in 0..10_u8 {
            let fs = disk.mount();
            for step in 0..20_u8 {
                let path = format!("/{}", step % 3);
                let Ok(file) = fs.open(Path::new(&path), Open::Create) else { continue };
                let len = file.len().unwrap();
                trace.push(file.write_all_at(&[round, step, 1, 2], len).is_ok());
                trace.push(step % 4 != 0 || file.sync_data().is_ok());
                trace.push(file.read_at(&mut [0; 9], 0).is_ok());
                trace.push(step % 7 != 0 || fs.sync_dir(Path::new("/")).is_ok());
            }
            disk.power_cut();
        }
        (trace, ["/0", "/1", "/2"].map(|path| disk.visible(path)))
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).1, run(6).1);
    let (trace, _) = run(5);
    let failed = trace.iter().filter(|ok| !**ok).count();
    assert!((40..160).contains(&failed), "{failed} of {} failed", trace.len());
}
