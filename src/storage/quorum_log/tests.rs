use std::{fs, path::Path};

use bytes::Bytes;

use super::{
    Change, Entry, EntryId, OpenError, Opened, OutOfOrder, QuorumLog, Snapshot, Vote, WriteError, format,
};
use crate::storage::fs::{LockWait, real::RealFs};

fn open(dir: &Path) -> Result<Opened, OpenError> {
    QuorumLog::open(RealFs::shared(), &dir.join("quorum"), LockWait::Fail)
}

pub(super) fn id(term: u64, index: u64) -> EntryId {
    EntryId { term, node: 7, index }
}

pub(super) fn entry(term: u64, index: u64, payload: &str) -> Change {
    Change::Append(Entry { id: id(term, index), payload: Bytes::copy_from_slice(payload.as_bytes()) })
}

fn payloads(log: &QuorumLog) -> Vec<(u64, String)> {
    let text = |entry: &Entry| String::from_utf8(entry.payload.to_vec()).unwrap();
    log.state().entries().values().map(|entry| (entry.id.index, text(entry))).collect()
}

fn snapshot(index: u64) -> Snapshot {
    Snapshot { last: id(1, index), meta: b"meta".to_vec(), payload: b"state".to_vec() }
}

#[test]
fn every_change_is_there_after_opening_again_also_from_a_rewritten_file() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { mut log, snapshots, .. } = open(dir.path()).unwrap();
    log.write((0..6).map(|index| entry(1, index, "old")).collect()).unwrap();
    let vote = Vote { term: 2, node: 9, committed: true };
    log.later(Change::Truncate(4));
    log.write(vec![Change::Vote(vote), entry(2, 4, "new"), entry(2, 5, "")]).unwrap();
    snapshots.save(&snapshot(1)).unwrap();
    log.later(Change::Committed(id(2, 3)));
    log.later(Change::Committed(id(2, 4)));
    log.later(Change::Purge(id(1, 1)));
    log.write(vec![]).unwrap();
    let state = log.state().clone();
    assert_eq!(
        (state.vote(), state.committed(), state.purged()),
        (Some(vote), Some(id(2, 4)), Some(id(1, 1)))
    );
    let expected = [(2, "old"), (3, "old"), (4, "new"), (5, "")].map(|(at, text)| (at, text.to_owned()));
    assert_eq!(payloads(&log), expected);
    drop((log, snapshots));
    let mut opened = open(dir.path()).unwrap();
    assert_eq!(opened.log.state(), &state);
    opened.log.rewrite().unwrap();
    assert_eq!(opened.snapshots.load().unwrap().unwrap(), snapshot(1));
    drop(opened);
    assert_eq!(open(dir.path()).unwrap().log.state(), &state);
}

#[test]
fn s17_the_owner_is_random_never_zero_and_stays() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let owner = open(one.path()).unwrap().log.state().owner().unwrap();
    assert_ne!(owner, 0);
    assert_eq!(open(one.path()).unwrap().log.state().owner(), Some(owner));
    assert_ne!(open(other.path()).unwrap().log.state().owner(), Some(owner));
}

#[test]
fn s17_a_snapshot_without_its_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap().snapshots.save(&snapshot(3)).unwrap();
    fs::remove_file(dir.path().join("quorum/quorum.log")).unwrap();
    let refused = open(dir.path()).unwrap_err();
    assert!(matches!(refused, OpenError::Gap { .. }), "{refused}");
    assert!(refused.to_string().contains("quorum.log"), "{refused}");
}

#[test]
fn s17_a_purged_log_without_its_snapshot_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { mut log, snapshots, .. } = open(dir.path()).unwrap();
    log.write(vec![entry(1, 0, "a"), entry(1, 1, "b")]).unwrap();
    snapshots.save(&snapshot(1)).unwrap();
    log.write(vec![Change::Purge(id(1, 1))]).unwrap();
    let path = snapshots.path().to_path_buf();
    drop((log, snapshots));
    open(dir.path()).unwrap();
    fs::remove_file(path).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Gap { .. })));
}

#[test]
fn rot_in_the_snapshot_is_refused_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).unwrap();
    opened.snapshots.save(&snapshot(3)).unwrap();
    let path = opened.snapshots.path().to_path_buf();
    drop(opened);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut rotten = whole.clone();
        rotten[at] ^= 4;
        fs::write(&path, &rotten).unwrap();
        let refused = open(dir.path()).err();
        // Two bytes of the envelope's head are zero and checked by its sum like the rest.
        assert!(matches!(refused, Some(OpenError::Snapshot { .. })), "byte {at}: {refused:?}");
    }
}

#[test]
fn rot_in_the_log_is_refused_and_never_forgets_a_vote() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path()).unwrap();
    let vote = Vote { term: 3, node: 7, committed: false };
    opened.log.write(vec![Change::Vote(vote)]).unwrap();
    opened.log.write(vec![entry(3, 0, "a")]).unwrap();
    drop(opened);
    let path = dir.path().join("quorum/quorum.log");
    let whole = fs::read(&path).unwrap();
    for at in 4096..whole.len() {
        let mut rotten = whole.clone();
        rotten[at] ^= 1;
        fs::write(&path, &rotten).unwrap();
        let refused = open(dir.path()).unwrap_err();
        assert!(matches!(refused, OpenError::Log(_)), "byte {at}: {refused}");
        assert!(refused.to_string().contains("damaged"), "{refused}");
    }
}

#[test]
fn an_older_snapshot_never_replaces_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path()).unwrap();
    assert!(opened.snapshots.save(&snapshot(5)).unwrap());
    assert!(!opened.snapshots.save(&snapshot(4)).unwrap());
    assert_eq!(opened.snapshots.load().unwrap().unwrap().last, id(1, 5));
}

#[test]
fn s07_a_second_writer_is_refused_as_long_as_log_or_snapshot_are_held() {
    let dir = tempfile::tempdir().unwrap();
    let Opened { log, snapshots, .. } = open(dir.path()).unwrap();
    assert!(open(dir.path()).is_err());
    drop(log);
    assert!(open(dir.path()).is_err());
    drop(snapshots);
    open(dir.path()).unwrap();
}

#[test]
fn an_entry_is_not_written_over_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap().log;
    log.write(vec![entry(1, 0, "a"), entry(1, 1, "b")]).unwrap();
    let refused = |log: &mut QuorumLog, changes| {
        let error = log.write(changes).unwrap_err();
        assert!(matches!(error, WriteError::Order(OutOfOrder::Entry { .. })), "{error}");
    };
    refused(&mut log, vec![entry(2, 1, "c")]);
    refused(&mut log, vec![entry(2, 2, "c"), entry(2, 2, "d")]);
    log.write(vec![Change::Truncate(1), entry(2, 1, "c")]).unwrap();
    assert_eq!(payloads(&log), [(0, "a".to_owned()), (1, "c".to_owned())]);
    drop(log);
    assert_eq!(payloads(&open(dir.path()).unwrap().log).len(), 2);
}

#[test]
fn a_record_comes_back_and_one_that_is_cut_or_longer_is_refused() {
    let vote = Vote { term: 1, node: 2, committed: true };
    let changes = [
        Change::Owner(9),
        Change::Vote(vote),
        Change::Committed(id(1, 2)),
        Change::Truncate(3),
        Change::Purge(id(4, 5)),
    ];
    for change in &changes {
        let record = format::encode(change);
        assert_eq!(format::decode(&record).as_ref(), Some(change));
        assert_eq!(format::decode(&record[..record.len() - 1]), None);
        assert_eq!(format::decode(&[record.as_slice(), &[0]].concat()), None);
    }
    let appended = entry(1, 2, "payload");
    assert_eq!(format::decode(&format::encode(&appended)), Some(appended));
    assert_eq!(format::decode(&[99, 0]), None);
    let all = format::encode_all(&changes).unwrap();
    assert_eq!(format::decode_all(&all).as_deref(), Some(changes.as_slice()));
    assert_eq!(format::decode_all(&all[..all.len() - 1]), None);
}

#[test]
fn there_is_space_on_the_disk_for_more_than_is_written_also_in_a_rewritten_file() {
    use std::os::unix::fs::MetadataExt as _;

    let dir = tempfile::tempdir().unwrap();
    let on_disk = || {
        let file = fs::metadata(dir.path().join("quorum").join(format::JOURNAL.file)).unwrap();
        (file.len(), file.blocks() * 512)
    };
    let Opened { mut log, .. } = open(dir.path()).unwrap();
    let payload = "p".repeat(500_000);
    for index in 0..10 {
        let (len, allocated) = on_disk();
        assert!(allocated >= len + format::AHEAD_BYTES / 2, "{allocated} bytes for {len}");
        assert!(log.allocated_ahead() >= format::AHEAD_BYTES / 2);
        log.write(vec![entry(1, index, &payload)]).unwrap();
    }
    log.write(vec![Change::Purge(id(1, 8))]).unwrap();
    log.rewrite().unwrap();
    let (len, allocated) = on_disk();
    assert!(len < 1 << 20 && allocated >= len + format::AHEAD_BYTES / 2, "{allocated} bytes for {len}");
}
