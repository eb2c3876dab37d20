//! A log that follows, on a disk that dies in the middle of things, beside a plain list of what must be in it.
//!
//! Everything is decided by the seed: batches as a leader sends them, flushes, checkpoints and other jobs whose
//! completions come late, truncations, deaths between any two operations of the disk, power cuts. Kept after every
//! step and every opening: the log is what was appended and not cut, or a beginning of it that holds all that was
//! flushed and not about to be cut; nothing of it is called corrupt; its terms and its producers are those of its
//! batches.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use fastrand::Rng;

use super::{PARTITION, batch};
use crate::{
    clock::ManualClock,
    model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs},
    record::{Producer, assign},
    storage::{
        fs::{
            Fs as _,
            faulty::{FaultyFs, SimulatedDisk},
        },
        log::{
            CheckpointJob, FlushDone, Log, LogOptions, ReadBuffer, ReadOutcome, ReadRequest, RetentionJob,
            SealJob,
        },
    },
};

const DIR: &str = "/data/logs/t-0";

#[derive(Clone, Debug)]
struct Kept {
    base: i64,
    next: i64,
    epoch: i32,
    bytes: Vec<u8>,
    producer: Option<(i64, i32)>,
}

struct World {
    seed: u64,
    rng: Rng,
    disk: SimulatedDisk,
    process: Arc<FaultyFs>,
    options: LogOptions,
    log: Option<Log>,
    batches: Vec<Kept>,
    /// What was being appended when the process died: a beginning of it may be there.
    doubtful: Vec<Kept>,
    epoch: i32,
    start: i64,
    end: i64,
    flushed: i64,
    /// Where a truncation that died was to cut, and whether that was to empty the log.
    cutting: Option<(i64, bool)>,
    flushes: Vec<FlushDone>,
    checkpoints: Vec<CheckpointJob>,
    retentions: Vec<RetentionJob>,
    seals: Vec<SealJob>,
    /// What the cut that is under way was asked for.
    cut_target: i64,
    cuts: u64,
    deaths_in_cuts: u64,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let disk = SimulatedDisk::new(rng.u64(..));
        let options = LogOptions {
            segment_bytes: 500 + rng.u64(0..2500),
            index_interval_bytes: rng.u64(0..400),
            snapshot_bytes: 300 + rng.u64(0..3000),
            open_segments_max: rng.usize(1..4),
            retention: None,
            ..LogOptions::default()
        };
        disk.set_allocates(seed.is_multiple_of(2));
        let process = disk.mount();
        let mut world = Self {
            seed,
            rng,
            disk,
            process,
            options,
            log: None,
            batches: Vec::new(),
            doubtful: Vec::new(),
            epoch: 1,
            start: 0,
            end: 0,
            flushed: 0,
            cutting: None,
            flushes: Vec::new(),
            checkpoints: Vec::new(),
            retentions: Vec::new(),
            seals: Vec::new(),
            cut_target: 0,
            cuts: 0,
            deaths_in_cuts: 0,
            trace: Vec::new(),
        };
        world.open(0);
        world
    }

    fn say(&mut self, what: String) {
        self.trace.push(what);
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    fn is_dead(&self) -> bool {
        self.process.exists(Path::new("/")).is_err()
    }

    /// Opens the log, which must hold all below `lowest`.
    fn open(&mut self, lowest: i64) {
        self.log = None;
        self.flushes.clear();
        self.checkpoints.clear();
        self.retentions.clear();
        self.seals.clear();
        self.disk.die_after(None);
        self.process = self.disk.mount();
        let (fs, clock) = (Arc::clone(&self.process), Arc::new(ManualClock::default()));
        let latest = LeaderEpoch::new(self.epoch);
        let (log, report) =
            Log::open_to_follow(fs, Path::new(DIR), PARTITION, latest, self.options, clock).unwrap();
        self.say(format!("opened, at least {lowest}: {report:?}"));
        assert_eq!(report.corrupt, [], "nothing was hit");
        assert!(!report.epochs_rebuilt && !report.was_poisoned);
        let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
        assert_eq!(log.flushed_end(), log.log_end_offset());
        // A batch that began below may be gone with the segments before the start, or not: then the log ends at it.
        let may_be = |at: i64| (at.min(self.cut_target)..=self.cut_target).contains(&end);
        let emptied_at = self.cutting.filter(|(at, empties)| *empties && start == end && may_be(*at));
        if let Some((at, _)) = emptied_at {
            // What lies below a cut and below the start was deleted and not cut: its producers may be remembered.
            self.batches.retain(|batch| at < start && batch.next <= at);
        } else {
            assert!(end >= lowest, "{end} is below {lowest}");
            assert!(start <= self.start, "{start} is above {}", self.start);
            self.batches.append(&mut self.doubtful);
            let kept = self.batches.partition_point(|batch| batch.next <= end);
            self.batches.truncate(kept);
            let known = self.batches.last().map_or(start, |last| last.next);
            assert!(known == end || start == end, "the log ends within a batch");
        }
        self.doubtful.clear();
        (self.start, self.end, self.flushed, self.cutting) = (start, end, end, None);
        self.log = Some(log);
        self.check();
    }

    fn die(&mut self) {
        let lowest = match self.cutting {
            Some((_, true)) => self.start.min(self.flushed),
            Some((at, false)) => at.min(self.flushed),
            None => self.flushed,
        };
        if self.rng.bool() {
            self.disk.power_cut();
            self.say("power cut".to_owned());
            self.open(lowest);
        } else {
            self.disk.kill();
            self.say("kill".to_owned());
            let lowest = if self.cutting.is_some() { lowest } else { self.end };
            self.open(lowest);
        }
    }

    fn last_sequence(&self, id: i64) -> Option<i32> {
        let all = self.batches.iter().chain(&self.doubtful).rev();
        all.filter_map(|batch| batch.producer).find(|(other, _)| *other == id).map(|(_, last)| last)
    }

    fn make(&mut self) -> Kept {
        let records = 1 + self.rng.usize(0..4);
        if self.rng.u8(0..8) == 0 {
            self.epoch += self.rng.i32(1..3);
        }
        let base = self.doubtful.last().map_or(self.end, |last| last.next);
        let id = self.rng.i64(0..4);
        let first = self.last_sequence(id).map_or(0, |last| last + 1);
        let (producer, remembered) = if id == 0 {
            (Producer::NONE, None)
        } else {
            let base_sequence = Sequence::new(first);
            let producer = Producer { id: ProducerId::new(id), epoch: ProducerEpoch::new(0), base_sequence };
            (producer, Some((id, first + records as i32 - 1)))
        };
        let value = vec![b'v'; self.rng.usize(0..120)];
        let mut bytes = batch(records, base, &value, producer);
        assign(&mut bytes, Offset::new(base), LeaderEpoch::new(self.epoch));
        Kept { base, next: base + records as i64, epoch: self.epoch, bytes, producer: remembered }
    }

    fn append(&mut self) {
        for _ in 0..self.rng.usize(1..5) {
            let made = self.make();
            self.doubtful.push(made);
        }
        let bytes = self.doubtful.iter().map(|batch| batch.bytes.as_slice()).collect::<Vec<_>>().concat();
        let epoch = LeaderEpoch::new(self.epoch);
        if self.log().append_replicated(&bytes, epoch, TimestampMs::new(1)).is_err() {
            assert!(self.is_dead());
            return self.die();
        }
        let appended = std::mem::take(&mut self.doubtful);
        self.batches.extend(appended);
        self.end = self.batches.last().unwrap().next;
        assert_eq!(self.log().log_end_offset().get(), self.end);
        self.say(format!("appended to {}", self.end));
    }

    fn flush(&mut self) {
        let done = self.log().begin_flush().run();
        self.flushes.push(done);
        if self.is_dead() {
            return self.die();
        }
        if self.rng.u8(0..3) == 0 {
            return;
        }
        let at = self.rng.usize(0..self.flushes.len());
        let done = self.flushes.swap_remove(at);
        let is_stale = done.generation() != self.log().generation();
        let flushed = self.log().finish_flush(done).unwrap().get();
        assert!(flushed <= self.end && flushed >= self.flushed);
        assert!(!is_stale || flushed == self.flushed, "s08: a flush from before a truncation says nothing");
        self.flushed = flushed;
        self.say(format!("flushed {flushed}"));
    }

    /// Makes a job of some kind, and runs some of those that were made.
    fn upkeep(&mut self) {
        match self.rng.u8(0..4) {
            0 | 1 => {
                let made = self.log().checkpoint_job();
                self.checkpoints.extend(made);
            }
            2 => {
                let made = self.log().seal_job();
                self.seals.extend(made);
            }
            _ => {
                let before = self.start + self.rng.i64(0..=(self.flushed - self.start).clamp(0, 15));
                let made = self.log().delete_records(Offset::new(before));
                self.checkpoints.extend(made);
                let flushed = Offset::new(self.flushed);
                let made = self.log().retention_pass(TimestampMs::new(1), flushed);
                self.retentions.extend(made);
                self.start = self.log().log_start_offset().get();
                self.say(format!("start {}", self.start));
            }
        }
        while self.rng.bool() && !self.is_dead() {
            if self.rng.bool() && !self.checkpoints.is_empty() {
                let at = self.rng.usize(0..self.checkpoints.len());
                let _ = self.checkpoints.swap_remove(at).run();
            } else if let Some(job) = self.retentions.pop() {
                let _ = job.run();
            } else if let Some(job) = self.seals.pop() {
                let _ = job.run();
            }
        }
        if self.is_dead() {
            self.die();
        }
    }

    fn cut(&mut self) {
        let target = self.rng.i64((self.start - 4).max(0)..self.end + 3);
        let is_to_empty = self.rng.u8(0..10) == 0;
        let target = if is_to_empty { target + self.rng.i64(0..20) } else { target };
        let boundary = self.batches.iter().map(|batch| batch.base).rfind(|base| *base <= target);
        let boundary = if target >= self.end { self.end } else { boundary.unwrap_or(target) };
        let empties = is_to_empty || boundary < self.start;
        if self.rng.u8(0..3) == 0 {
            self.disk.die_after(Some(self.rng.u64(0..40)));
        }
        self.say(format!("cut to {target}, {} to {}, empties {empties}", self.start, self.end));
        let (now, at) = (TimestampMs::new(1), Offset::new(target));
        self.cut_target = target;
        self.cutting = Some((if is_to_empty { target } else { boundary.min(target) }, empties));
        let done = if is_to_empty {
            self.log().truncate_fully_and_start_at(at, now)
        } else {
            self.log().truncate_to(at, now)
        };
        self.cuts += 1;
        let Ok(done) = done else {
            assert!(self.is_dead());
            self.deaths_in_cuts += 1;
            return self.die();
        };
        self.cutting = None;
        let (start, end) = (done.start.get(), done.end.get());
        if empties {
            assert_eq!(start, end);
            self.batches.clear();
        } else {
            assert_eq!((start, end), (self.start, boundary));
            self.batches.retain(|batch| batch.next <= end);
        }
        (self.start, self.end, self.flushed) = (start, end, end);
        self.say(format!("cut to {end}"));
        self.check();
        if self.rng.bool() {
            // It was reported as done, so a power cut leaves it (S8).
            self.die();
        }
    }

    fn check(&mut self) {
        let log = self.log.as_ref().unwrap();
        let ends = (log.log_start_offset().get(), log.flushed_end().get(), log.log_end_offset().get());
        assert_eq!(ends, (self.start, self.flushed, self.end));
        let visible: Vec<&Kept> = self.batches.iter().filter(|batch| batch.next > self.start).collect();
        let expected: Vec<u8> = visible.iter().flat_map(|batch| batch.bytes.iter().copied()).collect();
        assert!(read_all(log) == expected, "the log is not what was appended");
        let terms = log.reader();
        for batch in &visible {
            assert_eq!(terms.epoch_at(Offset::new(batch.base.max(self.start))).unwrap().get(), batch.epoch);
        }
        if let Some(last) = visible.last() {
            assert_eq!(log.last_epoch().unwrap().get(), last.epoch, "a term of what was cut is left");
        }
        let mut remembered: BTreeMap<i64, i32> =
            log.producers().producers().map(|p| (p.producer_id.get(), p.last_sequence.get())).collect();
        for batch in visible.iter().rev() {
            let Some((id, _)) = batch.producer else { continue };
            if let Some(last) = remembered.remove(&id) {
                assert_eq!(Some(last), self.last_sequence(id), "s09: producer {id}");
            }
        }
        // Those whose batches have all gone by retention are remembered as they were.
        for (id, last) in remembered {
            assert_eq!(Some(last), self.last_sequence(id), "s09: producer {id} of what was cut is left");
        }
        for id in 1..4 {
            let is_there = visible.iter().any(|batch| batch.producer.is_some_and(|(other, _)| other == id));
            let known = log.producers().producers().any(|producer| producer.producer_id.get() == id);
            assert!(!is_there || known, "s09: producer {id} is forgotten");
        }
    }

    fn step(&mut self) {
        match self.rng.u8(0..100) {
            0..50 => self.append(),
            50..65 => self.flush(),
            65..83 => self.upkeep(),
            83..92 => self.cut(),
            92..95 => self.disk.die_after(Some(self.rng.u64(0..30))),
            95..97 => self.die(),
            _ if self.is_dead() => self.die(),
            _ => self.check(),
        }
    }
}

/// All bytes from the batch that holds the log's start on.
fn read_all(log: &Log) -> Vec<u8> {
    let reader = log.reader();
    let mut out = ReadBuffer::new();
    let mut from = reader.log_start_offset();
    while from < reader.log_end_offset() {
        let request = ReadRequest { from, max_bytes: 700, ..ReadRequest::default() };
        match reader.read(&request, &mut out).unwrap() {
            ReadOutcome::Read { next, skipped, .. } => {
                assert!(skipped.is_empty() && next > from, "{skipped:?} at {from}, then {next}");
                from = next;
            }
            ReadOutcome::NeedsDisk => panic!("may block"),
        }
    }
    out.as_slice().to_vec()
}

fn run(seed: u64, steps: usize) -> (u64, u64) {
    let mut world = World::new(seed);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for _ in 0..steps {
            world.step();
        }
        world.die();
    }));
    if let Err(panic) = result {
        for line in world.trace.iter().rev().take(60).rev() {
            eprintln!("{line}");
        }
        eprintln!("seed {} failed", world.seed);
        std::panic::resume_unwind(panic);
    }
    (world.cuts, world.deaths_in_cuts)
}

#[test]
fn s08_s09_a_log_that_was_cut_is_cut_whatever_the_disk_does_and_never_has_a_hole() {
    let (mut cuts, mut deaths) = (0, 0);
    for seed in super::model::seeds(300) {
        let (cut, died) = run(seed, 150);
        cuts += cut;
        deaths += died;
    }
    assert!(cuts > 500 && deaths > 100, "{cuts} cuts, {deaths} deaths in the middle of one");
}
