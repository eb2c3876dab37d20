//! The log over a disk that loses, tears and refuses, beside a model of what was promised.

use std::{path::Path, sync::Arc};

use fastrand::Rng;

use super::{
    Change, LogState, OpenError, Opened, QuorumLog, Snapshot, Vote, WriteError,
    tests::{entry, id},
};
use crate::storage::{
    fs::{
        Fs, LockWait,
        faulty::{FaultRates, FaultyFs, data_disk},
    },
    metadata_log::AppendError,
};

const DIR: &str = "/data/quorum";

fn open(fs: &Arc<FaultyFs>) -> Result<Opened, OpenError> {
    QuorumLog::open(Arc::clone(fs) as Arc<dyn Fs>, Path::new(DIR), LockWait::Fail)
}

/// What was acknowledged, and every state that what was not may have led to.
#[derive(Default)]
struct Model {
    acknowledged: LogState,
    /// Written changes whose outcome was not told, and changes that wait for a write.
    maybe: Vec<LogState>,
    snapshot: Option<Snapshot>,
    /// Those whose saving failed.
    maybe_snapshots: Vec<Snapshot>,
    term: u64,
    writes: usize,
}

impl Model {
    /// One write as consensus would ask for it: perhaps a cut of what is not committed, a vote, some entries.
    fn changes(&mut self, rng: &mut Rng, state: &LogState) -> Vec<Change> {
        let (mut changes, mut next) = (Vec::new(), state.last().map_or(0, |last| last.index + 1));
        let lowest = state.committed().max(state.purged()).map_or(0, |id| id.index + 1);
        if rng.u8(..) < 50 && next > lowest {
            next = rng.u64(lowest..next);
            changes.push(Change::Truncate(next));
        }
        if changes.len() == 1 || rng.u8(..) < 60 {
            self.term += 1;
            changes.push(Change::Vote(Vote { term: self.term, node: rng.u64(..), committed: rng.bool() }));
        }
        for _ in 0..rng.usize(0..4) {
            let len = if rng.u8(..) < 8 { rng.usize(1_000..5_000) } else { rng.usize(0..40) };
            changes.push(entry(self.term, next, &"x".repeat(len)));
            next += 1;
        }
        changes
    }

    fn after(&self, changes: &[Change]) -> LogState {
        let mut state = self.acknowledged.clone();
        for change in changes {
            state.change(change).unwrap();
        }
        state
    }

    /// Whether it could be looked at; then what was found is what counts from now on.
    fn check(&mut self, seed: u64, opened: &Opened) -> bool {
        let Ok(snapshot) = opened.snapshots.load() else { return false };
        let found = opened.log.state();
        if self.acknowledged.owner().is_none() {
            // Its first words: nobody has been told whose it is.
            self.acknowledged = found.clone();
        }
        let known = found == &self.acknowledged || self.maybe.contains(found);
        assert!(
            known,
            "seed {seed}: found {found:?}\nacknowledged {:?}\nor {:?}",
            self.acknowledged, self.maybe
        );
        let known = snapshot == self.snapshot
            || snapshot.as_ref().is_some_and(|snapshot| self.maybe_snapshots.contains(snapshot));
        assert!(known, "seed {seed}: another snapshot");
        (self.acknowledged, self.snapshot) = (found.clone(), snapshot);
        self.maybe.clear();
        self.maybe_snapshots.clear();
        true
    }

    fn live(&mut self, seed: u64, fs: &Arc<FaultyFs>, rng: &mut Rng) {
        let Ok(mut opened) = open(fs) else { return };
        if !self.check(seed, &opened) {
            return;
        }
        for _ in 0..rng.usize(1..12) {
            let mut changes = self.later(&mut opened, rng);
            let written = self.changes(rng, &self.after(&changes));
            changes.extend(written.iter().cloned());
            let (before, after) = (self.acknowledged.clone(), self.after(&changes));
            self.maybe = vec![before, after.clone()];
            match opened.log.write(written) {
                Ok(()) => {
                    self.acknowledged = after;
                    self.maybe.clear();
                    self.writes += 1;
                }
                Err(WriteError::Append(AppendError::Io { .. } | AppendError::Poisoned)) => return,
                Err(error) => panic!("seed {seed}: {error}"),
            }
            if rng.u8(..) < 40 {
                // Whether it works or not, nothing may be lost by it.
                let _ = opened.log.rewrite();
            }
        }
    }

    /// Leaves something for the next write: a commit, or a snapshot and the purge of what it holds.
    fn later(&mut self, opened: &mut Opened, rng: &mut Rng) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(last) = self.acknowledged.last() else { return changes };
        if rng.u8(..) < 80 {
            changes.push(Change::Committed(last));
        }
        if rng.u8(..) < 40 {
            let snapshot = Snapshot { last, meta: vec![1], payload: rng.u64(..).to_be_bytes().to_vec() };
            match opened.snapshots.save(&snapshot) {
                Ok(true) => {
                    self.snapshot = Some(snapshot);
                    self.maybe_snapshots.clear();
                    changes.push(Change::Purge(last));
                }
                // A newer one is there, whose saving had failed after its rename.
                Ok(false) => {}
                Err(_) => self.maybe_snapshots.push(snapshot),
            }
        }
        for change in &changes {
            opened.log.later(change.clone());
        }
        changes
    }
}

/// Lives and dies ten times; the last look is on a healthy disk.
fn play(seed: u64, rates: FaultRates) -> usize {
    let (disk, mut rng, mut model) = (data_disk(seed), Rng::with_seed(seed), Model::default());
    for _ in 0..10 {
        let fs = disk.mount();
        disk.die_after(rng.bool().then(|| rng.u64(0..40)));
        disk.set_fault_rates(rates);
        model.live(seed, &fs, &mut rng);
        disk.clear_faults();
        if rng.bool() {
            disk.power_cut();
        } else {
            disk.kill();
        }
    }
    let opened = open(&disk.mount()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    assert!(model.check(seed, &opened), "seed {seed}: the disk is healthy");
    model.writes
}

fn seeds() -> std::ops::Range<u64> {
    if cfg!(feature = "long") { 0..5_000 } else { 0..200 }
}

#[test]
fn what_was_promised_is_there_after_kills_and_power_cuts_and_nothing_is_invented() {
    let writes: usize = seeds().map(|seed| play(seed, FaultRates::default())).sum();
    assert!(writes > 1_000, "only {writes} writes were acknowledged in all");
}

#[test]
fn s13_what_was_promised_is_there_after_failed_writes_and_syncs() {
    let rates = FaultRates {
        sync_fails: 0.04,
        sync_dir_fails: 0.04,
        write_fails: 0.04,
        read_fails: 0.01,
        ..FaultRates::default()
    };
    let writes: usize = seeds().map(|seed| play(seed, rates)).sum();
    assert!(writes > 1_000, "only {writes} writes were acknowledged in all");
}

#[test]
fn one_write_is_one_block_and_one_sync_however_many_entries_it_has() {
    let disk = data_disk(1);
    let mut opened = open(&disk.mount()).unwrap();
    disk.reset_counters();
    opened.log.later(Change::Committed(id(1, 0)));
    opened.log.write((0..1_000).map(|index| entry(1, index, "x")).collect()).unwrap();
    let counters = disk.counters("/data/quorum/quorum.log");
    // The block, and the mark behind its sync.
    assert_eq!((counters.writes, counters.syncs), (2, 1));
}

#[test]
fn a_full_disk_refuses_and_heals_by_itself() {
    let disk = data_disk(1);
    let mut opened = open(&disk.mount()).unwrap();
    opened.log.write(vec![entry(1, 0, "a")]).unwrap();
    opened.log.later(Change::Committed(id(1, 0)));
    disk.set_free_bytes(10);
    let refused = opened.log.write(vec![entry(1, 1, &"b".repeat(100))]).unwrap_err();
    assert!(matches!(refused, WriteError::Append(AppendError::Full)), "{refused}");
    disk.set_capacity(None);
    opened.log.write(vec![entry(1, 1, "c")]).unwrap();
    let state = opened.log.state().clone();
    assert_eq!(state.committed(), Some(id(1, 0)));
    disk.power_cut();
    assert_eq!(open(&disk.mount()).unwrap().log.state(), &state);
}
