use std::{fs, path::Path, sync::Arc};

use super::{AppendError, FILE, MetadataLog, OpenError, Recovered, format::BLOCKS};
use crate::storage::fs::{Fs, LockWait, real::RealFs};

fn open(dir: &Path) -> Result<(MetadataLog, Recovered), OpenError> {
    MetadataLog::open(RealFs::shared(), &dir.join("meta"), LockWait::Fail)
}

fn record(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn file_of(dir: &Path) -> std::path::PathBuf {
    dir.join("meta").join(FILE)
}

/// Every byte that means something, and some of the padding between.
fn places(len: usize) -> impl Iterator<Item = usize> {
    (0..len).filter(|at| !(64..4032).contains(at) || (512..560).contains(at) || (1024..1072).contains(at))
}

/// A log with two commits: `a`, then `b` and `c` together.
fn two_commits(dir: &Path) -> Vec<Vec<u8>> {
    let (mut log, _) = open(dir).unwrap();
    assert_eq!(log.append(&[record("a")]).unwrap(), 1);
    assert_eq!(log.append(&[record("b"), record("c")]).unwrap(), 3);
    vec![record("a"), record("b"), record("c")]
}

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let written = two_commits(dir.path());
    let (_, recovered) = open(dir.path()).unwrap();
    assert_eq!((recovered.records, recovered.last_index), (written, 3));
    assert!(!recovered.created && !recovered.must_rewrite && recovered.cut_bytes == 0);
}

#[test]
fn a_new_log_says_that_it_is_new_once() {
    let dir = tempfile::tempdir().unwrap();
    assert!(open(dir.path()).unwrap().1.created);
    assert!(!open(dir.path()).unwrap().1.created);
}

#[test]
fn a_rewrite_keeps_the_snapshot_the_index_and_what_follows() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    log.append(&[record("a"), record("b")]).unwrap();
    log.rewrite(b"state").unwrap();
    log.append(&[record("c")]).unwrap();
    log.append(&[record("d")]).unwrap();
    drop(log);
    let (_, recovered) = open(dir.path()).unwrap();
    assert_eq!(recovered.snapshot.as_deref(), Some(b"state".as_slice()));
    assert_eq!(recovered.records, [record("c"), record("d")]);
    assert_eq!(recovered.last_index, 4);
    assert!(!recovered.must_rewrite);
}

#[test]
fn a_log_asks_to_be_rewritten_by_what_it_holds_beyond_its_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    assert!(!log.wants_rewrite());
    log.append(&[vec![1; 1 << 20]]).unwrap();
    assert!(log.wants_rewrite());
    log.rewrite(&vec![2; 3 << 20]).unwrap();
    log.append(&[vec![1; 2 << 20]]).unwrap();
    assert!(!log.wants_rewrite(), "a snapshot of 3 MiB is not written again for 2 MiB of records");
    log.append(&[vec![1; 2 << 20]]).unwrap();
    assert!(log.wants_rewrite());
}

#[test]
fn s07_a_second_process_is_refused_with_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let (_held, _) = open(dir.path()).unwrap();
    let refused = open(dir.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    assert!(refused.to_string().contains("lock"), "{refused}");
}

#[test]
fn a_flipped_bit_anywhere_never_makes_a_committed_record_disappear() {
    let dir = tempfile::tempdir().unwrap();
    let written = two_commits(dir.path());
    let path = file_of(dir.path());
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for at in places(whole.len()) {
        let mut rotten = whole.clone();
        rotten[at] ^= 1 << (at % 8);
        fs::write(&path, &rotten).unwrap();
        match open(dir.path()) {
            Ok((_, recovered)) => assert_eq!(recovered.records, written, "bit of byte {at}"),
            Err(OpenError::Corrupt { .. } | OpenError::NotOurs { .. } | OpenError::Version { .. }) => {
                refused += 1;
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    // All of the header and all of the blocks.
    assert_eq!(refused, whole.len() - usize::try_from(BLOCKS).unwrap() + super::format::HEADER_LEN);
}

#[test]
fn a_file_that_is_cut_short_of_what_was_committed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    two_commits(dir.path());
    let path = file_of(dir.path());
    let whole = fs::read(&path).unwrap();
    for len in places(whole.len()) {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(open(dir.path()).is_err(), "{len} of {} bytes", whole.len());
    }
}

#[test]
fn a_torn_commit_is_cut_at_every_length_and_a_whole_one_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = two_commits(dir.path());
    let path = file_of(dir.path());
    let before = fs::read(&path).unwrap();
    let (mut log, _) = open(dir.path()).unwrap();
    log.append(&[record("d")]).unwrap();
    drop(log);
    let after = fs::read(&path).unwrap();
    // The process died before the mark: the blocks are the new ones, the marks the old ones.
    let blocks = usize::try_from(BLOCKS).unwrap();
    for len in before.len()..=after.len() {
        let torn = [&before[..blocks], &after[blocks..len]].concat();
        fs::write(&path, &torn).unwrap();
        let (mut log, recovered) = open(dir.path()).unwrap();
        if len == after.len() {
            written.push(record("d"));
        }
        assert_eq!(recovered.records, written, "{len}");
        assert_eq!(recovered.must_rewrite, len > before.len(), "{len}");
        if recovered.must_rewrite {
            assert!(matches!(log.append(&[record("x")]), Err(AppendError::Poisoned)));
            log.rewrite(b"all").unwrap();
            log.append(&[record("x")]).unwrap();
            drop(log);
            let (_, again) = open(dir.path()).unwrap();
            assert_eq!(
                (again.snapshot.as_deref(), again.records),
                (Some(b"all".as_slice()), vec![record("x")])
            );
        }
    }
}

#[test]
fn a_broken_block_before_a_whole_one_is_rot_even_where_the_mark_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path()).unwrap();
    drop(log);
    let path = file_of(dir.path());
    let marks = fs::read(&path).unwrap();
    two_commits(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let blocks = usize::try_from(BLOCKS).unwrap();
    bytes[..blocks].copy_from_slice(&marks[..blocks]);
    bytes[blocks + 30] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let refused = open(dir.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
}

#[test]
fn a_file_of_a_newer_version_or_of_another_kind_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    two_commits(dir.path());
    let path = file_of(dir.path());
    let mut newer = fs::read(&path).unwrap();
    newer[9] = 2;
    fs::write(&path, &newer).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Version { found: 2, .. })));
    assert_eq!(fs::read(&path).unwrap(), newer);
    for strange in [b"".as_slice(), b"hello".as_slice(), [0; 9000].as_slice()] {
        fs::write(&path, strange).unwrap();
        assert!(matches!(open(dir.path()), Err(OpenError::NotOurs { .. })));
        assert_eq!(fs::read(&path).unwrap(), strange);
    }
}

#[test]
fn a_start_that_died_before_its_rename_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("meta")).unwrap();
    fs::write(dir.path().join("meta").join("metadata.log.new"), b"half").unwrap();
    let (mut log, recovered) = open(dir.path()).unwrap();
    assert!(recovered.created);
    log.append(&[record("a")]).unwrap();
    let fs: Arc<dyn Fs> = RealFs::shared();
    let names: Vec<String> =
        fs.list(&dir.path().join("meta")).unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["lock", "metadata.log"]);
}
