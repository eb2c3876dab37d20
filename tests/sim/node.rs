//! The node: its process, its disk, and the real log of its partition of `__consumer_offsets`.
//!
//! What the actor of a partition does is done here by events: appends, flushes and their completions are apart, so that
//! a crash can come between any two of them.

use std::{collections::BTreeMap, collections::VecDeque, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use polylogue::{
    actors::group_coordinator::{
        Refusal, Writer,
        core::{Answer, Coordinator, Now, Request, Ticket},
    },
    clock::ManualClock,
    model::{LeaderEpoch, Offset, PartitionId, PartitionIndex, TimestampMs, TopicId},
    record::BatchHeader,
    storage::{
        compaction::CompactionOptions,
        fs::{
            Fs as _,
            faulty::{AfterFailedSync, CachedReads, Fault, FaultyFs, SimulatedDisk},
        },
        log::{AppendError, Appended, FlushDone, FlushJob, Log, LogOptions},
    },
};

use crate::{
    chance::chance,
    checks::{REPLAY, WHOLE_LOG},
    plants::Plant,
    trial::{Checked, Violation, hold},
    world::{Event, World},
};

const DIR: &str = "/data/__consumer_offsets-0";
const PARTITION: PartitionId =
    PartitionId { topic: TopicId::from_bytes([9; 16]), index: PartitionIndex::new(0) };
/// The wall clock when the world begins.
const EPOCH_MS: i64 = 1_700_000_000_000;
const MAINTAIN_US: u64 = 5_000_000;

/// A request that the coordinator has been given, and who asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) client: usize,
    pub(crate) connection: u64,
    pub(crate) number: u64,
    pub(crate) at: u64,
    pub(crate) request: Request,
}

/// Who waits, and how many records the answer rests on.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) asked: Asked,
    pub(crate) after: usize,
}

/// A coordinator that has read its log.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) core: Coordinator,
    pub(crate) writer: Writer<(Waiting, Answer)>,
    pub(crate) tickets: BTreeMap<Ticket, Asked>,
    pub(crate) next_ticket: u64,
    pub(crate) appending: Option<Appending>,
    pub(crate) rings_at: Option<Duration>,
    /// When whom was last heard of, by group and id.
    pub(crate) heard: BTreeMap<(String, String), Duration>,
    pub(crate) since: Duration,
}

#[derive(Debug)]
pub(crate) struct Appending {
    pub(crate) batches: VecDeque<Bytes>,
    /// Where the last of them ends, once it is in the log.
    pub(crate) end: Option<Offset>,
}

#[derive(Debug)]
enum Flushing {
    Begun(FlushJob),
    Done(FlushDone),
}

#[derive(Debug)]
pub(crate) struct Node {
    disk: SimulatedDisk,
    process: Arc<FaultyFs>,
    options: LogOptions,
    pub(crate) log: Option<Log>,
    flushing: Option<Flushing>,
    epoch: i32,
    /// Counts openings of the log.
    pub(crate) opening: u64,
    /// Counts processes.
    pub(crate) boot: u64,
    pub(crate) is_up: bool,
    /// Counts loadings of the coordinator.
    pub(crate) term: u64,
    load_end: Offset,
    pub(crate) serving: Option<Serving>,
    clock_ppm: u64,
    booted_at: Duration,
    pub(crate) wall_off_ms: i64,
    down_ms: u64,
}

impl Node {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = chance(seed, &[1]);
        let disk = SimulatedDisk::new(rng.u64(..));
        disk.set_cached_reads(CachedReads::Any);
        let options = LogOptions {
            segment_bytes: 4000 + rng.u64(0..20_000),
            index_interval_bytes: rng.u64(0..400),
            snapshot_bytes: 500 + rng.u64(0..4000),
            open_segments_max: rng.usize(1..4),
            retention: None,
            compaction: rng.bool().then(CompactionOptions::default),
            ..LogOptions::default()
        };
        Self {
            process: disk.mount(),
            disk,
            options,
            log: None,
            flushing: None,
            epoch: 0,
            opening: 0,
            boot: 0,
            is_up: false,
            term: 0,
            load_end: Offset::ZERO,
            serving: None,
            clock_ppm: rng.u64(990_000..1_010_000),
            booted_at: Duration::from_secs(rng.u64(1..100_000)),
            wall_off_ms: 0,
            down_ms: 500,
        }
    }

    /// Both clocks at this time of the world.
    pub(crate) fn now(&self, at: u64) -> Now {
        let monotonic = self.booted_at + Duration::from_micros(at * self.clock_ppm / 1_000_000);
        Now { monotonic, wall: TimestampMs::new(EPOCH_MS + (at / 1000) as i64 + self.wall_off_ms) }
    }

    /// The first time of the world at which the monotonic clock has reached this.
    pub(crate) fn when(&self, due: Duration) -> u64 {
        let mut at = due.saturating_sub(self.booted_at).as_micros() as u64 * 1_000_000 / self.clock_ppm;
        while self.now(at).monotonic < due {
            at += 1;
        }
        at
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.process.exists(Path::new("/")).is_err()
    }

    pub(crate) fn fail_sync(&self, dropped: bool) {
        let after = if dropped { AfterFailedSync::Dropped } else { AfterFailedSync::FalselyClean };
        self.disk.inject("", Fault::SyncFails(after));
    }

    pub(crate) fn leave_room(&self, bytes: Option<u64>) {
        match bytes {
            Some(bytes) => self.disk.set_free_bytes(bytes),
            None => self.disk.set_capacity(None),
        }
    }

    pub(crate) fn heal(&self) {
        self.disk.clear_faults();
        self.disk.set_capacity(None);
        self.disk.set_cached_reads(CachedReads::Any);
    }
}

impl World {
    /// The process is gone, with the power or without.
    pub(crate) fn node_dies(&mut self, power: bool, down_ms: u64) {
        if power {
            self.note("power cut");
            self.node.disk.power_cut();
        } else if self.node.is_up {
            self.node.disk.kill();
        }
        if self.node.is_up {
            self.node_is_gone(down_ms);
        }
    }

    fn node_is_gone(&mut self, down_ms: u64) {
        self.node.boot += 1;
        self.node.is_up = false;
        self.node.booted_at += Duration::from_secs(1);
        self.trace.say(self.now, format_args!("the node is gone for {down_ms} ms"));
        self.close_log();
        self.break_connections();
        let boot = self.node.boot;
        self.after(1000 * down_ms, Event::Up { boot });
    }

    pub(crate) fn die_after(&mut self, changes: u64, down_ms: u64) {
        if self.node.is_up {
            self.node.down_ms = down_ms;
            self.node.disk.die_after(Some(changes));
        }
    }

    fn close_log(&mut self) {
        self.node.opening += 1;
        self.node.term += 1;
        self.node.flushing = None;
        self.node.log = None;
        self.drop_coordinator(Refusal::OutcomeUnknown);
    }

    /// The partition is opened: its process has begun, or its log was poisoned.
    pub(crate) fn on_up(&mut self, boot: u64) -> Checked {
        if boot != self.node.boot {
            return Ok(());
        }
        if !self.node.is_up {
            self.node.disk.die_after(None);
            self.node.process = self.node.disk.mount();
            self.node.is_up = true;
            self.after(60_000_000, Event::Sweep { boot });
        }
        self.node.epoch += 1;
        let (fs, epoch) = (Arc::clone(&self.node.process), LeaderEpoch::new(self.node.epoch));
        let clock = Arc::new(ManualClock::at(self.node.now(self.now).wall));
        match Log::open(fs, Path::new(DIR), PARTITION, epoch, self.node.options, clock) {
            Ok((log, report)) => {
                self.trace.say(self.now, format_args!("opened up to {}: {report:?}", log.log_end_offset()));
                hold!(report.corrupt.is_empty(), WHOLE_LOG, "{report:?}");
                self.node.log = Some(log);
                let opening = self.node.opening;
                self.after(MAINTAIN_US, Event::Maintain { opening });
                self.begin_loading();
            }
            Err(error) => {
                self.trace.say(self.now, format_args!("not opened: {error}"));
                if self.node.is_dead() {
                    self.node_is_gone(self.node.down_ms);
                } else {
                    self.after(300_000, Event::Up { boot });
                }
            }
        }
        Ok(())
    }

    /// A write or a sync has failed: the partition is opened anew, in the same process if it lives.
    pub(crate) fn log_failed(&mut self) {
        if self.node.is_dead() {
            self.note("died in the middle");
            self.node_is_gone(self.node.down_ms);
            return;
        }
        self.note("log opened anew");
        self.trace.say(self.now, format_args!("the log is opened anew"));
        self.close_log();
        let boot = self.node.boot;
        let pause = self.pause(20_000);
        self.after(pause, Event::Up { boot });
    }

    pub(crate) fn begin_loading(&mut self) {
        self.node.term += 1;
        self.drop_coordinator(Refusal::OutcomeUnknown);
        let Some(log) = &self.node.log else { return };
        self.node.load_end = log.log_end_offset();
        let term = self.node.term;
        let pause = self.pause(50_000);
        self.after(pause, Event::Load { term });
        self.flush_if_needed();
    }

    /// How far a loading may read, once it may.
    pub(crate) fn loadable(&self) -> Option<(&Log, Offset)> {
        let log = self.node.log.as_ref()?;
        let waits = log.flushed_end() < self.node.load_end && self.plant != Some(Plant::LoadsTooEarly);
        (!waits).then(|| (log, log.flushed_end()))
    }

    pub(crate) fn on_append(&mut self, term: u64) -> Checked {
        if term != self.node.term {
            return Ok(());
        }
        let now = self.node.now(self.now).wall;
        let Some(appending) = self.node.serving.as_mut().and_then(|serving| serving.appending.as_mut())
        else {
            return Ok(());
        };
        let (Some(batch), Some(log)) = (appending.batches.pop_front(), &mut self.node.log) else {
            return Ok(());
        };
        let header = BatchHeader::parse(&batch).unwrap();
        let outcome = log.append(&batch, &header, now);
        let end = log.log_end_offset();
        let is_last = appending.batches.is_empty();
        appending.end = is_last.then_some(end);
        self.trace.say(self.now, format_args!("append {} bytes: {outcome:?}", batch.len()));
        match outcome {
            Ok(Appended::New { .. }) => {
                let decided = self.checks.decided();
                hold!(end.get() as usize <= decided, REPLAY, "the log ends at {end}, {decided} were decided");
                if is_last {
                    self.flush_if_needed();
                } else {
                    let pause = self.pause(2000);
                    self.after(pause, Event::Append { term });
                }
            }
            Err(AppendError::DiskFull) => {
                self.note("disk full");
                self.drop_coordinator(Refusal::Storage);
                self.begin_loading();
            }
            Err(AppendError::Io(_) | AppendError::Poisoned(_)) => self.log_failed(),
            other => return Err(Violation { rule: REPLAY, what: format!("appending: {other:?}") }),
        }
        Ok(())
    }

    fn flush_if_needed(&mut self) {
        let Some(log) = &self.node.log else { return };
        if self.node.flushing.is_some() || log.flushed_end() >= log.log_end_offset() {
            return;
        }
        self.node.flushing = Some(Flushing::Begun(log.begin_flush()));
        let opening = self.node.opening;
        let pause = self.pause(5000);
        self.after(pause, Event::Flush { opening });
    }

    /// A flush comes back from the disk in two steps: it is done, and then it is known to be.
    pub(crate) fn on_flush(&mut self, opening: u64) -> Checked {
        if opening != self.node.opening {
            return Ok(());
        }
        match self.node.flushing.take() {
            Some(Flushing::Begun(job)) => {
                self.node.flushing = Some(Flushing::Done(job.run()));
                let pause = self.pause(3000);
                self.after(pause, Event::Flush { opening });
                Ok(())
            }
            Some(Flushing::Done(done)) => {
                let Some(log) = &mut self.node.log else { return Ok(()) };
                let Ok(flushed) = log.finish_flush(done) else {
                    self.log_failed();
                    return Ok(());
                };
                self.trace.say(self.now, format_args!("flushed up to {flushed}"));
                self.flush_if_needed();
                self.on_flushed(flushed)
            }
            None => Ok(()),
        }
    }

    /// What a partition does now and then.
    pub(crate) fn on_maintain(&mut self, opening: u64) {
        if opening != self.node.opening {
            return;
        }
        let wall = self.node.now(self.now).wall;
        let Some(log) = &mut self.node.log else { return };
        let sealed = log.seal_job().map(|job| job.run().is_ok());
        let stored = log.checkpoint_job().map(|job| job.run().is_ok());
        let flushed = log.flushed_end();
        let compacted = log.compaction_pass(wall, flushed).map(|job| job.run().ok());
        if let Some(done) = &compacted {
            log.finish_compaction(done.as_ref());
        }
        let is_poisoned = log.is_poisoned();
        if compacted.as_ref().is_some_and(|done| done.is_some_and(|done| done.segments > 0)) {
            *self.happened.entry("compacted").or_default() += 1;
        }
        self.trace.say(
            self.now,
            format_args!("sealed {sealed:?}, checkpointed {stored:?}, compacted {compacted:?}"),
        );
        if is_poisoned || self.node.is_dead() {
            self.log_failed();
        } else {
            self.after(MAINTAIN_US, Event::Maintain { opening });
        }
    }
}
