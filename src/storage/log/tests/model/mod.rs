//! The real code on a disk that fails, beside a plain list of what must be in the log.
//!
//! Everything is decided by the seed. Kept after every step: what was acknowledged as flushed survives a
//! power cut, what was appended survives a kill, offsets have no gap but what is reported as corrupt, a
//! retry is a duplicate exactly when the original is there, and a reader never sees anything else than what
//! was appended.

mod checks;
mod faults;

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;

use super::{PARTITION, batch};
use crate::{
    clock::ManualClock,
    model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs},
    record::{BatchHeader, Producer, assign},
    storage::{
        fs::Fs as _,
        fs::faulty::{CachedReads, FaultRates, FaultyFs, SimulatedDisk},
        log::{AppendError, Appended, CheckpointJob, FlushDone, Log, LogOptions, RetentionJob, SealJob},
        producer_state::ProducerError,
        recovery::RecoveryReport,
    },
};

const DIR: &str = "/data/logs/t-0";

/// One batch that was appended.
#[derive(Clone, Debug)]
struct Kept {
    base: i64,
    next: i64,
    bytes: Vec<u8>,
    producer: Option<(i64, i32)>,
    /// A bit was flipped in it.
    hit: bool,
}

#[expect(clippy::struct_excessive_bools, reason = "each is one thing that has happened or not")]
struct World {
    seed: u64,
    /// Syncs lie now and then: what was flushed may go, and then has to be reported.
    lies: bool,
    process: Arc<FaultyFs>,
    /// Whether the log was poisoned before the step that failed.
    was_poisoned: bool,
    /// A sync may have failed in a process that died before it could say so.
    sync_may_have_failed: bool,
    rng: Rng,
    disk: SimulatedDisk,
    log: Option<Log>,
    epoch: i32,
    options: LogOptions,
    batches: Vec<Kept>,
    /// Every batch that was ever appended: a disk that lies may bring back what had been cut.
    ever: HashSet<Vec<u8>>,
    /// Ranges of offsets that a recovery has reported as lost.
    lost: Vec<(i64, i64)>,
    /// What the last flush that was finished has said.
    flushed: i64,
    /// Up to where a checkpoint that was written says that all is on disk.
    checkpointed: i64,
    log_start: i64,
    /// The highest that a job has made durable.
    start_on_disk: i64,
    /// A bit of the checkpoint was flipped: until the log is opened again nothing is known to be in it.
    checkpoint_is_hurt: bool,
    next_sequence: [i32; 3],
    flushes: Vec<FlushDone>,
    checkpoints: Vec<(CheckpointJob, i64)>,
    /// An append died in the middle: it may be there, as the next one.
    doubtful: Option<Kept>,
    clock_ms: i64,
    trace: Vec<String>,
}

fn options(rng: &mut Rng) -> LogOptions {
    LogOptions {
        segment_bytes: 600 + rng.u64(0..3000),
        index_interval_bytes: rng.u64(0..400),
        snapshot_bytes: 500 + rng.u64(0..4000),
        open_segments_max: rng.usize(1..4),
        retention: Some(Duration::from_hours(1)),
        ..LogOptions::default()
    }
}

impl World {
    fn new(seed: u64, lies: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let disk = SimulatedDisk::new(rng.u64(..));
        let options = options(&mut rng);
        let mut world = Self {
            seed,
            lies,
            process: disk.mount(),
            was_poisoned: false,
            sync_may_have_failed: false,
            rng,
            disk,
            log: None,
            epoch: 0,
            options,
            batches: Vec::new(),
            ever: HashSet::new(),
            lost: Vec::new(),
            flushed: 0,
            checkpointed: 0,
            log_start: 0,
            start_on_disk: 0,
            checkpoint_is_hurt: false,
            next_sequence: [0; 3],
            flushes: Vec::new(),
            checkpoints: Vec::new(),
            doubtful: None,
            clock_ms: 1_000_000,
            trace: Vec::new(),
        };
        world.disk.set_cached_reads(CachedReads::Any);
        world.disk.set_allocates(seed.is_multiple_of(2));
        world.open();
        world.expect_lies();
        world
    }

    fn expect_lies(&self) {
        let sync_lies = if self.lies { 0.2 } else { 0.0 };
        self.disk.set_fault_rates(FaultRates { sync_lies, ..FaultRates::default() });
    }

    fn is_dead(&self) -> bool {
        self.process.exists(Path::new("/")).is_err()
    }

    fn say(&mut self, what: impl Into<String>) {
        self.trace.push(what.into());
    }

    fn end(&self) -> i64 {
        let kept = self.batches.last().map_or(0, |batch| batch.next);
        kept.max(self.lost.iter().map(|(_, next)| *next).max().unwrap_or(0)).max(self.log_start)
    }

    fn open(&mut self) -> RecoveryReport {
        self.log = None;
        self.flushes.clear();
        self.checkpoints.clear();
        self.disk.die_after(None);
        (self.sync_may_have_failed, self.checkpoint_is_hurt) = (false, false);
        let fs = self.disk.mount();
        self.process = Arc::clone(&fs);
        loop {
            self.epoch += 1;
            let clock = Arc::new(ManualClock::default());
            let epoch = LeaderEpoch::new(self.epoch);
            match Log::open(fs.clone(), Path::new(DIR), PARTITION, epoch, self.options, clock) {
                Ok((log, report)) => {
                    self.say(format!("opened: {report:?}"));
                    self.log = Some(log);
                    return report;
                }
                // A fault that waited for this sync; it has struck now.
                Err(error) => {
                    self.say(format!("not opened: {error}"));
                    self.disk.clear_faults();
                    self.disk.set_capacity(None);
                    assert!(self.epoch < 1000);
                }
            }
        }
    }

    /// Opens again after `lowest` at least was to survive, and follows what the log says it has.
    fn reopen(&mut self, lowest: i64, why: &str) {
        self.say(format!("reopen after {why}, at least {lowest}, had {}", self.end()));
        let tries = self.epoch;
        let report = self.open();
        // A sync that failed meanwhile has taken what it takes.
        let lowest = if report.was_poisoned || self.epoch > tries + 1 {
            self.survivors(self.flushed).min(lowest)
        } else {
            lowest
        };
        if let Some(doubtful) = self.doubtful.take()
            && report.log_end.get() >= doubtful.next
        {
            self.batches.push(doubtful);
        }
        if self.lies {
            self.accept_losses(&report);
            return;
        }
        let end = report.log_end.get();
        assert!(end >= lowest, "{why}: {end} < {lowest}");
        assert!(end <= self.end(), "{why}: {end} > {}", self.end());
        self.batches.retain(|batch| batch.next <= end);
        let known: BTreeSet<i64> = self.batches.iter().filter(|batch| batch.hit).map(|b| b.base).collect();
        for corrupt in &report.corrupt {
            assert!(known.contains(&corrupt.first.get()), "{why}: nobody hurt {corrupt:?}");
        }
        assert_eq!(end, self.end(), "{why}: the log ends within a batch");
        let start = self.log.as_ref().unwrap().log_start_offset().get();
        assert!(start >= self.start_on_disk && start <= self.log_start, "{why}: start {start}");
        self.log_start = start;
        self.flushed = end;
        let segments = self.log.as_ref().unwrap().reader().segments();
        self.say(format!("segments {segments:?}"));
        self.resume_producers();
        self.check_readers();
    }

    /// After lies anything may be gone, but nothing else than what was appended may be there, and what was
    /// known to be flushed is reported.
    fn accept_losses(&mut self, report: &RecoveryReport) {
        let end = report.log_end.get();
        assert!(end <= self.end());
        self.batches.retain(|batch| batch.next <= end);
        let kept = self.batches.last().map_or(0, |batch| batch.next);
        if kept < end {
            self.lost.retain(|(_, next)| *next <= kept);
            self.lost.push((kept, end));
        }
        self.log_start = self.log.as_ref().unwrap().log_start_offset().get();
        self.start_on_disk = 0;
        (self.flushed, self.checkpointed) = (end, 0);
        self.next_sequence = [-1; 3];
        self.expect_lies();
        self.check_readers();
    }

    fn resume_producers(&mut self) {
        for (id, next) in self.next_sequence.iter_mut().enumerate() {
            let last = self.batches.iter().rev().find_map(|b| b.producer.filter(|(p, _)| *p == id as i64));
            // One whose batches are all gone may go on with any sequence.
            *next = last.map_or(*next, |(_, sequence)| sequence + 1);
        }
    }

    fn next_batch(&mut self) -> (Vec<u8>, Option<usize>) {
        let records = self.rng.usize(1..4);
        let value = vec![self.rng.u8(..); self.rng.usize(0..150)];
        let time = self.clock_ms + self.rng.i64(-500..500);
        let id = self.rng.usize(0..4);
        let known = self.next_sequence.get(id).copied().filter(|sequence| *sequence >= 0);
        let Some(sequence) = known else {
            return (batch(records, time, &value, Producer::NONE), None);
        };
        let producer = Producer {
            id: ProducerId::new(id as i64),
            epoch: ProducerEpoch::new(0),
            base_sequence: Sequence::new(sequence),
        };
        (batch(records, time, &value, producer), Some(id))
    }

    fn append(&mut self) {
        let (mut bytes, id) = self.next_batch();
        let header = BatchHeader::parse(&bytes).unwrap();
        let base = self.end();
        let next = base + i64::from(header.last_offset_delta) + 1;
        let log = self.log.as_mut().unwrap();
        let answer = log.append(&bytes, &header, TimestampMs::new(self.clock_ms));
        // What is to stand in the file: the log writes offset and term itself, and leaves ours alone.
        assign(&mut bytes, Offset::new(base), log.leader_epoch());
        self.trace.push(format!("append {} bytes at {base}: {answer:?}", bytes.len()));
        let last_sequence = header.last_sequence().get();
        let producer = id.map(|id| (id as i64, last_sequence));
        if self.lies {
            self.ever.insert(bytes.clone());
        }
        let kept = Kept { base, next, bytes, producer, hit: false };
        match answer {
            Ok(Appended::New { base: at, last }) => {
                assert_eq!((at.get(), last.get()), (base, next - 1));
                self.batches.push(kept);
                if let Some(id) = id {
                    self.next_sequence[id] = last_sequence + 1;
                }
            }
            Ok(Appended::Duplicate { .. }) => panic!("a new batch is no duplicate"),
            Err(AppendError::DiskFull) => {
                assert_eq!(self.log.as_ref().unwrap().log_end_offset().get(), base);
            }
            // What a hit batch said of its producer is gone with it: refused rather than written twice.
            Err(AppendError::Producer(ProducerError::OutOfOrderSequence { expected, .. })) => {
                let id = id.unwrap();
                assert!(
                    self.batches.iter().any(|b| b.hit && b.producer.is_some_and(|(p, _)| p == id as i64))
                );
                self.next_sequence[id] = expected.get();
            }
            Err(AppendError::Io(_) | AppendError::Poisoned(_)) => {
                self.doubtful = Some(kept);
                self.after_failure("a failed append");
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn after_failure(&mut self, why: &str) {
        self.disk.clear_faults();
        self.disk.set_cached_reads(CachedReads::Any);
        self.expect_lies();
        let died = self.is_dead();
        if !died {
            self.check_readers();
        }
        let mut lowest = self.flushed;
        match self.rng.u8(0..3) {
            0 => self.disk.power_cut(),
            1 => self.disk.kill(),
            _ if died && !self.was_poisoned && !self.sync_may_have_failed => {
                lowest = self.survivors(self.end());
            }
            _ => {}
        }
        self.reopen(lowest, why);
    }

    fn flush(&mut self) {
        let done = self.log.as_ref().unwrap().begin_flush().run();
        self.flushes.push(done);
    }

    fn finish_flush(&mut self) {
        if self.flushes.is_empty() {
            return;
        }
        let done = self.flushes.swap_remove(self.rng.usize(0..self.flushes.len()));
        match self.log.as_mut().unwrap().finish_flush(done) {
            Ok(flushed) => {
                self.say(format!("flushed {flushed}"));
                assert!(flushed.get() >= self.flushed && flushed.get() <= self.end());
                self.flushed = flushed.get();
            }
            Err(_) => self.after_failure("a failed flush"),
        }
    }

    fn checkpoint(&mut self) {
        let job = self.log.as_mut().unwrap().checkpoint_job();
        if let Some(job) = job {
            self.checkpoints.push((job, self.flushed));
        }
        if self.rng.bool() && !self.checkpoints.is_empty() {
            let (job, flushed) = self.checkpoints.swap_remove(self.rng.usize(0..self.checkpoints.len()));
            if job.run().is_ok() {
                self.say(format!("checkpointed {flushed}"));
                let flushed = if self.checkpoint_is_hurt { 0 } else { flushed };
                self.checkpointed = self.checkpointed.max(flushed);
            }
        }
    }

    fn delete(&mut self) {
        let before = self.log_start + self.rng.i64(0..=(self.flushed - self.log_start).clamp(0, 20));
        let Some(job) = self.log.as_mut().unwrap().delete_records(Offset::new(before)) else { return };
        self.log_start = before;
        let done = job.run();
        self.say(format!("deleted below {before}: {done:?}"));
        if done.is_ok() && !self.checkpoint_is_hurt {
            self.start_on_disk = before;
        }
    }

    fn retain(&mut self) {
        self.clock_ms += 1000;
        let keep = self.rng.u64(500..6000);
        self.options.retention_bytes = self.rng.bool().then_some(keep);
        let log = self.log.as_mut().unwrap();
        log.set_options(self.options);
        let job = log.retention_pass(TimestampMs::new(self.clock_ms), Offset::new(self.flushed));
        let start = log.log_start_offset().get();
        assert!(start <= self.flushed && start >= self.log_start);
        self.log_start = start;
        let removes = job.as_ref().is_some_and(|job| job.removes().0 > 0);
        let ran = job.map(RetentionJob::run);
        if removes && !self.checkpoint_is_hurt && matches!(ran, Some(Ok(()))) {
            self.start_on_disk = start;
        }
        self.say(format!("retention {keep}: start {start} {ran:?}"));
    }

    fn kill(&mut self) {
        self.disk.kill();
        let lowest = if self.log.as_ref().unwrap().is_poisoned() { self.flushed } else { self.end() };
        self.reopen(self.survivors(lowest), "a kill");
    }

    fn power_cut(&mut self) {
        self.disk.power_cut();
        self.reopen(self.survivors(self.flushed), "a power cut");
    }

    /// A hit batch above the checkpointed position looks like a torn one: the log is cut there (S14).
    fn survivors(&self, lowest: i64) -> i64 {
        let hit = self.batches.iter().find(|batch| batch.hit && batch.next > self.checkpointed);
        hit.map_or(lowest, |hit| hit.base.min(lowest))
    }

    fn step(&mut self) {
        if self.is_dead() {
            return self.after_failure("a death");
        }
        self.was_poisoned = self.log.as_ref().unwrap().is_poisoned();
        match self.rng.u8(0..100) {
            0..45 => self.append(),
            45..52 => self.flush(),
            52..62 => self.finish_flush(),
            62..68 => self.checkpoint(),
            68..72 => self.retry(),
            72..75 => self.delete(),
            75..78 => self.retain(),
            78..81 => self.flip(),
            81..82 => self.hurt_index(),
            82..83 => self.hurt_own_file(),
            83..85 => self.disk_full(),
            85..87 => self.fault(),
            87..89 => drop(self.log.as_ref().unwrap().seal_job().map(SealJob::run)),
            89..91 => self.scrub(),
            91..92 => self.disk.die_after(Some(self.rng.u64(0..20))),
            92..94 => self.kill(),
            94..97 => self.power_cut(),
            _ => self.check_readers(),
        }
    }
}

fn run(seed: u64, steps: usize, lies: bool) -> Vec<String> {
    let mut world = World::new(seed, lies);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..steps {
            world.step();
        }
        world.disk.clear_faults();
        world.check_readers();
    }));
    if let Err(panic) = result {
        for line in world.trace.iter().rev().take(200).rev() {
            eprintln!("{line}");
        }
        eprintln!("seed {} failed", world.seed);
        std::panic::resume_unwind(panic);
    }
    world.trace
}

/// More seeds by `POLYLOGUE_SEEDS`, from `POLYLOGUE_SEED` on.
pub(super) fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let first = number("POLYLOGUE_SEED").unwrap_or(0);
    first..first + number("POLYLOGUE_SEEDS").unwrap_or(count)
}

#[test]
fn the_log_keeps_what_it_promised_whatever_the_disk_does() {
    seeds(300).for_each(|seed| drop(run(seed, 150, false)));
}

#[test]
fn a_disk_that_lies_may_lose_what_it_was_given_but_nothing_else_is_ever_served() {
    seeds(200).for_each(|seed| drop(run(seed, 150, true)));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(7, 200, false), run(7, 200, false));
}
