//! The log over a disk that loses, tears and refuses.

use std::{path::Path, sync::Arc};

use fastrand::Rng;

use super::{AppendError, MetadataLog, OpenError, Recovered, codec};
use crate::storage::fs::{
    Fs, LockWait,
    faulty::{AfterFailedSync, Fault, FaultRates, FaultyFs, data_disk},
};

const DIR: &str = "/data/meta";
const FILE: &str = "/data/meta/metadata.log";

fn open(fs: &Arc<FaultyFs>) -> Result<(MetadataLog, Recovered), OpenError> {
    let fs: Arc<dyn Fs> = Arc::clone(fs) as Arc<dyn Fs>;
    MetadataLog::open(fs, Path::new(DIR), LockWait::Fail)
}

/// All records that a log stands for: those in its snapshot, which is a list here, and those since.
fn all(recovered: &Recovered) -> Vec<Vec<u8>> {
    let snapshot = recovered.snapshot.as_ref().map(|bytes| codec::decode(bytes).unwrap());
    let mut records: Vec<Vec<u8>> = snapshot.unwrap_or_default();
    records.extend(recovered.records.iter().cloned());
    records
}

/// What a test knows of a log: what was acknowledged, and the group whose outcome it was not told.
#[derive(Default)]
struct Model {
    acknowledged: Vec<Vec<u8>>,
    in_doubt: Vec<Vec<u8>>,
    made: u64,
}

impl Model {
    fn group(&mut self, rng: &mut Rng) -> Vec<Vec<u8>> {
        let count = rng.usize(1..4);
        let record = |_| {
            self.made += 1;
            let len = if rng.u8(..) < 8 { rng.usize(1000..5_000) } else { rng.usize(0..40) };
            let mut record = self.made.to_be_bytes().to_vec();
            record.resize(8 + len, rng.u8(..));
            record
        };
        (0..count).map(record).collect()
    }

    /// What is there now must be what was acknowledged, with the doubtful group whole or not at all.
    fn check(&self, seed: u64, recovered: &Recovered) {
        let found = all(recovered);
        assert_eq!(recovered.last_index, found.len() as u64, "seed {seed}");
        let with_doubtful = [self.acknowledged.as_slice(), &self.in_doubt].concat();
        let agrees = found == self.acknowledged || found == with_doubtful;
        assert!(agrees, "seed {seed}: {} found, {} known", found.len(), self.acknowledged.len());
    }

    /// From here on what was found is told to others, so it may not go again.
    fn settle(&mut self, recovered: &Recovered) {
        self.acknowledged = all(recovered);
        self.in_doubt.clear();
    }

    /// Opens, and writes until something fails or enough is done.
    fn live(&mut self, seed: u64, fs: &Arc<FaultyFs>, rng: &mut Rng) {
        let Ok((mut log, recovered)) = open(fs) else { return };
        self.check(seed, &recovered);
        if recovered.must_rewrite && log.rewrite(&codec::encode(&all(&recovered)).unwrap()).is_err() {
            return;
        }
        self.settle(&recovered);
        for _ in 0..rng.usize(1..12) {
            let group = self.group(rng);
            match log.append(&group) {
                Ok(_) => self.acknowledged.extend(group),
                Err(AppendError::Full | AppendError::TooLarge) => panic!("seed {seed}: there is space"),
                Err(AppendError::Io { .. } | AppendError::Poisoned) => {
                    self.in_doubt = group;
                    return;
                }
            }
            // Whether it works or not, nothing may be lost by it.
            if rng.u8(..) < 50 {
                let _ = log.rewrite(&codec::encode(&self.acknowledged).unwrap());
            }
        }
    }
}

/// Lives and dies ten times; the last look is on a healthy disk.
fn play(seed: u64, rates: FaultRates) -> usize {
    let (disk, mut rng, mut model) = (data_disk(seed), Rng::with_seed(seed), Model::default());
    for _ in 0..10 {
        let fs = disk.mount();
        disk.die_after(rng.bool().then(|| rng.u64(0..30)));
        disk.set_fault_rates(rates);
        model.live(seed, &fs, &mut rng);
        disk.clear_faults();
        if rng.bool() {
            disk.power_cut();
        } else {
            disk.kill();
        }
    }
    let (_, recovered) = open(&disk.mount()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    model.check(seed, &recovered);
    model.acknowledged.len()
}

fn seeds() -> std::ops::Range<u64> {
    if cfg!(feature = "long") { 0..5_000 } else { 0..400 }
}

#[test]
fn an_acknowledged_record_is_there_after_kills_and_power_cuts() {
    let records: usize = seeds().map(|seed| play(seed, FaultRates::default())).sum();
    assert!(records > 1000, "only {records} records were acknowledged in all");
}

#[test]
fn s13_an_acknowledged_record_is_there_after_failed_writes_and_syncs() {
    let rates = FaultRates {
        sync_fails: 0.05,
        sync_dir_fails: 0.05,
        write_fails: 0.05,
        read_fails: 0.02,
        ..FaultRates::default()
    };
    let records: usize = seeds().map(|seed| play(seed, rates)).sum();
    assert!(records > 1000, "only {records} records were acknowledged in all");
}

#[test]
fn s13_what_a_failed_sync_left_in_the_cache_is_written_anew_before_anything_follows() {
    for after in [AfterFailedSync::FalselyClean, AfterFailedSync::Dropped] {
        for seed in 0..50 {
            let (disk, mut model) = (data_disk(seed), Model::default());
            let fs = disk.mount();
            let (mut log, _) = open(&fs).unwrap();
            log.append(&[vec![1]]).unwrap();
            model.acknowledged.push(vec![1]);
            disk.inject(FILE, Fault::SyncFails(after));
            assert!(matches!(log.append(&[vec![2]]), Err(AppendError::Io { .. })));
            assert!(matches!(log.append(&[vec![3]]), Err(AppendError::Poisoned)));
            model.in_doubt.push(vec![2]);
            drop(log);
            // The same process, the same cache: only the file's own mark tells that it is not certain.
            let (mut log, recovered) = open(&fs).unwrap();
            model.check(seed, &recovered);
            if recovered.must_rewrite {
                log.rewrite(&codec::encode(&all(&recovered)).unwrap()).unwrap();
            }
            model.settle(&recovered);
            log.append(&[vec![4]]).unwrap();
            model.acknowledged.push(vec![4]);
            disk.power_cut();
            model.check(seed, &open(&disk.mount()).unwrap().1);
        }
    }
}

#[test]
fn a_full_disk_refuses_and_heals_by_itself() {
    let disk = data_disk(1);
    let fs = disk.mount();
    let (mut log, _) = open(&fs).unwrap();
    log.append(&[vec![1]]).unwrap();
    for free in [0, 1, 27, 28, 40] {
        disk.set_free_bytes(free);
        assert!(matches!(log.append(&[vec![2; 100]]), Err(AppendError::Full)), "{free} bytes free");
        assert!(matches!(log.rewrite(&[0; 100]), Err(AppendError::Full)), "{free} bytes free");
    }
    disk.set_capacity(None);
    log.append(&[vec![3]]).unwrap();
    disk.power_cut();
    let (_, recovered) = open(&disk.mount()).unwrap();
    assert_eq!(recovered.records, [vec![1], vec![3]]);
}

#[test]
fn one_commit_is_one_write_of_records_and_one_sync_however_many_they_are() {
    let disk = data_disk(1);
    let (mut log, _) = open(&disk.mount()).unwrap();
    disk.reset_counters();
    let group: Vec<Vec<u8>> = (0..1000_u32).map(|i| i.to_be_bytes().to_vec()).collect();
    log.append(&group).unwrap();
    let counters = disk.counters(FILE);
    // The block, and the mark behind its sync.
    assert_eq!((counters.writes, counters.syncs), (2, 1));
}

#[test]
fn s15_a_new_log_and_a_rewritten_one_survive_a_power_cut_right_after() {
    for seed in 0..50 {
        let disk = data_disk(seed);
        let (mut log, _) = open(&disk.mount()).unwrap();
        log.append(&[vec![1]]).unwrap();
        log.rewrite(b"state").unwrap();
        log.append(&[vec![2]]).unwrap();
        disk.power_cut();
        let (_, recovered) = open(&disk.mount()).unwrap();
        assert_eq!(recovered.snapshot.as_deref(), Some(b"state".as_slice()), "seed {seed}");
        assert_eq!((recovered.records, recovered.last_index), (vec![vec![2]], 2), "seed {seed}");
    }
}
