//! A replica that leads: its log, what the core decided, and the work that is under way on threads.

mod appends;
pub(super) mod followers;
mod repairs;

use std::{collections::VecDeque, io, mem, sync::Arc, time::Duration};

use tokio::{runtime::Handle, sync::oneshot};

use super::{
    LeaderArgs,
    append::{HeldAnswer, Outcome, SLOW, Settled, Ticket},
    core::{Effect, Input, LeaderCore, TooFewInSync},
    error::{AppendRefusal, CommandRefusal},
    flushing::{self, FlushSchedule, Unflushed},
    message::LeaderMessage,
    opening::{Opened, OpeningError, report_recovery},
    options::log_options,
    queue::AppendRequest,
    repair::Repairs,
    view::{Leader, Published},
};
use crate::{
    actors::supervise::Address,
    config::topic::TopicConfig,
    model::{BootId, NodeId, Offset},
    storage::{
        log::{Compacted, FlushDone, Log},
        producer_state::ActiveProducer,
    },
};

/// How often a replica with something unflushed or not checkpointed looks after it. Half of what the
/// checkpoint may lie behind an acknowledgement (S14).
const MAINTAIN_EVERY: Duration = Duration::from_millis(500);

/// Why a leader ends. Its successor recovers the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeaderFault {
    #[error(transparent)]
    Opening(#[from] OpeningError),
    #[error("append failed: {0}")]
    Append(String),
    #[error("flush failed, log is poisoned: {0}")]
    Flush(String),
}

/// The log, unless it is lent.
#[derive(Debug)]
enum LogSlot {
    Here(Box<Log>),
    /// On a thread that appends to it; what needs it meanwhile waits in `deferred`.
    Away,
    /// Closed for good: the node goes down.
    Closed,
}

/// Work that a leader has on threads or timers, at most one of each kind.
#[derive(Clone, Copy, Debug)]
enum Work {
    Flush,
    Checkpoint,
    Seal,
    Compaction,
    Timer,
}

/// Which kinds of work are under way.
#[derive(Clone, Copy, Debug, Default)]
struct UnderWay([bool; 5]);

impl UnderWay {
    fn is(self, work: Work) -> bool {
        self.0[work as usize]
    }

    fn begin(&mut self, work: Work) {
        self.0[work as usize] = true;
    }

    fn end(&mut self, work: Work) {
        self.0[work as usize] = false;
    }

    /// Whether a thread has segments in hand.
    fn changes_files(self) -> bool {
        self.is(Work::Seal) || self.is(Work::Compaction)
    }
}

/// A leader with an open log.
#[derive(Debug)]
pub(super) struct Leading {
    args: LeaderArgs,
    me: Address<LeaderMessage>,
    published: Published,
    core: LeaderCore<Ticket>,
    log: LogSlot,
    deferred: Vec<LeaderMessage>,
    taken: VecDeque<AppendRequest>,
    outcome: Outcome,
    effects: Vec<Effect<Ticket>>,
    under_way: UnderWay,
    /// The last pass of compaction got nowhere: the next one waits for the reconciler's timer.
    compaction_rests: bool,
    flushes: FlushSchedule,
    slow: bool,
    repairs: Repairs,
    /// Who was in sync when damage was last hoped to be mended.
    in_sync: Vec<NodeId>,
}

impl Leading {
    /// Takes over the opened log, shows itself to everybody, and begins to flush what recovery kept.
    pub(super) fn begin(
        args: &LeaderArgs,
        me: &Address<LeaderMessage>,
        opened: Opened,
    ) -> Result<Self, LeaderFault> {
        let Opened { epoch, high_watermark, took, result } = opened;
        let (log, report) = result?;
        let config = args.config();
        if high_watermark.is_none() {
            report_recovery(&args.metrics, &args.label, &report, took);
        }
        let core = followers::begin_core(args, &config, (epoch, high_watermark), &log);
        tracing::debug!(partition = %args.label, %epoch, end = %log.log_end_offset(), "leads");
        let repairs = repairs::begin(args, me, &log);
        let leader = Leader::new(epoch, log.reader(), me.clone(), core.high_watermark());
        let published = args.partition.slot.publish(Arc::new(leader));
        me.vitals().set_epoch(epoch);
        me.vitals().set_detail(None);
        let mut this = Self {
            args: args.clone(),
            me: me.clone(),
            published,
            core,
            log: LogSlot::Here(Box::new(log)),
            deferred: Vec::new(),
            taken: VecDeque::new(),
            outcome: Outcome::default(),
            effects: Vec::new(),
            under_way: UnderWay::default(),
            compaction_rests: false,
            flushes: FlushSchedule::new(args.background_flush, &config),
            slow: false,
            repairs,
            in_sync: Vec::new(),
        };
        this.after_change();
        this.configure(&config);
        // At once: a node that dies again and again before its first turn would recover more each time.
        this.checkpoint();
        Ok(this)
    }

    pub(super) fn on_message(&mut self, message: LeaderMessage) -> Result<(), LeaderFault> {
        match message {
            LeaderMessage::AppendsWait => self.on_appends_wait(),
            LeaderMessage::AppendsDone(away) => self.on_appends_done(*away),
            other if matches!(self.log, LogSlot::Away) => {
                self.deferred.push(other);
                Ok(())
            }
            LeaderMessage::Flushed(done) => self.on_flushed(done),
            LeaderMessage::Maintain => {
                self.on_maintain();
                Ok(())
            }
            LeaderMessage::Checkpointed(done) => {
                self.on_checkpointed(done);
                Ok(())
            }
            LeaderMessage::Sealed(done) => {
                self.on_sealed(done);
                Ok(())
            }
            LeaderMessage::Compacted(done) => {
                self.on_compacted(done);
                Ok(())
            }
            LeaderMessage::Configure(config) => {
                self.configure(&config);
                Ok(())
            }
            LeaderMessage::ApplyRetention => {
                self.on_apply_retention();
                Ok(())
            }
            LeaderMessage::RetentionApplied(done) => {
                self.on_retention_applied(done);
                Ok(())
            }
            LeaderMessage::DeleteRecords { before, reply } => {
                self.on_delete_records(before, reply);
                Ok(())
            }
            LeaderMessage::StartMoved { outcome, reply } => {
                self.on_start_moved(outcome, reply);
                Ok(())
            }
            LeaderMessage::DescribeProducers { reply } => {
                self.on_describe_producers(reply);
                Ok(())
            }
            LeaderMessage::CloseClean { boot, reply } => {
                self.on_close_clean(boot, reply);
                Ok(())
            }
            LeaderMessage::Cluster(message) => {
                self.on_cluster(message);
                Ok(())
            }
            LeaderMessage::Repair(message) => {
                self.on_repair(message);
                Ok(())
            }
            // Only once per incarnation, and that one is handled before there is a leader.
            LeaderMessage::Opened(_) => Ok(()),
        }
    }

    /// Tells the core what was appended and does what it says.
    fn settle(&mut self) -> Result<(), LeaderFault> {
        let mut outcome = mem::take(&mut self.outcome);
        self.slow = outcome.longest >= SLOW;
        self.count(&outcome);
        for Settled { ticket, acks, end } in outcome.settled.drain(..) {
            self.core.step(Input::Appended { ticket, end, acks }, &mut self.effects);
        }
        if let Some(fault) = outcome.fault.take() {
            self.log_failed();
            return Err(LeaderFault::Append(fault));
        }
        outcome.reset();
        self.outcome = outcome;
        self.after_change();
        Ok(())
    }

    fn log_failed(&self) {
        self.args.metrics.poisoned_logs.inc();
        let cluster = &self.args.cluster;
        cluster.alarm.log_failed(&self.args.label, &cluster.state());
    }

    fn count(&self, outcome: &Outcome) {
        let metrics = &self.args.metrics;
        metrics.appended_batches.inc_by(outcome.batches);
        if outcome.duplicates > 0 {
            metrics.duplicate_batches.inc_by(outcome.duplicates);
        }
        if outcome.disk_full > 0 {
            metrics.disk_full_refusals.inc_by(outcome.disk_full);
            tracing::error!(partition = %self.args.label, "disk is full, appends are refused");
            self.args.cluster.proposer.give_up(self.args.partition.id());
        }
    }

    /// Lets the high watermark follow the log, and sees to flushing.
    fn after_change(&mut self) {
        if let LogSlot::Here(log) = &self.log {
            self.core.step(Input::LogEnd(log.log_end_offset()), &mut self.effects);
            // Followers read up to the log's end, consumers up to the high watermark.
            self.args.partition.slot.bells.ring();
        }
        self.carry_out();
        self.flush_if_due();
    }

    fn carry_out(&mut self) {
        let (mut moved, mut proposals, mut last) = (false, Vec::new(), None);
        for effect in self.effects.drain(..) {
            match effect {
                // Those before are answered by this.
                Effect::Acknowledge(ticket) => last = Some(HeldAnswer::new(ticket)),
                Effect::AdvanceHighWatermark(to) => {
                    self.published.leader.set_high_watermark(to);
                    moved = true;
                }
                Effect::Refuse(Ticket { reply, .. }, TooFewInSync { in_sync, required }) => {
                    drop(reply.send(Err(AppendRefusal::NotEnoughReplicasAfterAppend { in_sync, required })));
                }
                Effect::Disown(Ticket { reply, .. }) => drop(reply.send(Err(AppendRefusal::OutcomeUnknown))),
                Effect::ProposeInSync(change) => proposals.push(*change),
            }
        }
        if moved {
            self.args.partition.slot.wake_before(last.take());
        }
        drop(last);
        for change in proposals {
            self.propose(change);
        }
    }

    /// Flushes what producers wait for at once, and what nobody waits for once it is much or old.
    fn flush_if_due(&mut self) {
        let LogSlot::Here(log) = &self.log else { return };
        let unflushed = self.flushes.look(log, self.args.clock.monotonic());
        if unflushed == Unflushed::Nothing {
            return;
        }
        let is_waited_for = self.core.wants_flush();
        if !self.under_way.is(Work::Flush)
            && let Some(threads) = unflushed.threads(is_waited_for, &self.args.io, &self.args.upkeep)
        {
            self.flush(&threads);
        }
        self.maintain_soon();
    }

    fn flush(&mut self, threads: &Handle) {
        let LogSlot::Here(log) = &mut self.log else { return };
        let job = log.begin_flush();
        self.under_way.begin(Work::Flush);
        let metrics = Arc::clone(&self.args.metrics);
        let clock = Arc::clone(&self.args.clock);
        let to = self.me.clone();
        threads.spawn_blocking(move || {
            let _ = to.cast(LeaderMessage::Flushed(flushing::flush(job, &metrics, clock.as_ref())));
        });
    }

    fn on_flushed(&mut self, done: FlushDone) -> Result<(), LeaderFault> {
        self.under_way.end(Work::Flush);
        self.flushes.restart();
        let LogSlot::Here(log) = &mut self.log else { return Ok(()) };
        match log.finish_flush(done) {
            Ok(flushed) => {
                self.core.step(Input::Flushed(flushed), &mut self.effects);
                self.after_change();
                self.maintain_soon();
                self.repair();
                Ok(())
            }
            Err(poisoned) => {
                self.log_failed();
                Err(LeaderFault::Flush(poisoned.to_string()))
            }
        }
    }

    fn maintain_soon(&mut self) {
        if !self.under_way.is(Work::Timer) {
            self.under_way.begin(Work::Timer);
            self.me.actor().send_after(MAINTAIN_EVERY, || LeaderMessage::Maintain);
        }
    }

    fn on_maintain(&mut self) {
        self.under_way.end(Work::Timer);
        self.flush_if_due();
        self.checkpoint();
        self.seal();
        self.tick();
    }

    /// Block checksums for segments that are no longer written: what tells rot apart where a batch's own
    /// checksum does not reach.
    fn seal(&mut self) {
        let LogSlot::Here(log) = &self.log else { return };
        // A pass of compaction puts others in the place of segments.
        if self.under_way.changes_files() || self.repairs.is_mending() {
            return;
        }
        let Some(job) = log.seal_job() else { return };
        self.under_way.begin(Work::Seal);
        let to = self.me.clone();
        self.args.upkeep.rest.spawn_blocking(move || {
            let _ = to.cast(LeaderMessage::Sealed(job.run()));
        });
    }

    fn on_sealed(&mut self, done: io::Result<()>) {
        self.under_way.end(Work::Seal);
        self.repair();
        match done {
            Ok(()) => {
                self.seal();
                self.compact();
            }
            Err(error) => {
                tracing::warn!(partition = %self.args.label, "block checksums could not be written: {error}");
            }
        }
    }

    fn checkpoint(&mut self) {
        let LogSlot::Here(log) = &mut self.log else { return };
        if self.under_way.is(Work::Checkpoint) {
            return self.maintain_soon();
        }
        let Some(job) = log.checkpoint_job() else { return };
        self.under_way.begin(Work::Checkpoint);
        let to = self.me.clone();
        self.args.upkeep.checkpoints.spawn_blocking(move || {
            let _ = to.cast(LeaderMessage::Checkpointed(job.run()));
        });
    }

    fn on_checkpointed(&mut self, done: io::Result<()>) {
        self.under_way.end(Work::Checkpoint);
        if let Err(error) = done {
            // The one before still counts: a start after a crash has more to read, and loses nothing.
            tracing::warn!(partition = %self.args.label, "checkpoint could not be written: {error}");
            return;
        }
        self.repair();
        self.compact();
    }

    /// Lets records go that newer ones of their key have overtaken, where the topic asks for that.
    fn compact(&mut self) {
        let LogSlot::Here(log) = &mut self.log else { return };
        if self.under_way.changes_files() || self.compaction_rests || self.repairs.is_mending() {
            return;
        }
        let now = self.args.clock.settled_wall();
        let Some(job) = log.compaction_pass(now, self.core.high_watermark()) else { return };
        self.under_way.begin(Work::Compaction);
        let to = self.me.clone();
        self.args.upkeep.rest.spawn_blocking(move || {
            let _ = to.cast(LeaderMessage::Compacted(job.run()));
        });
    }

    fn on_compacted(&mut self, done: io::Result<Compacted>) {
        self.under_way.end(Work::Compaction);
        let LogSlot::Here(log) = &mut self.log else { return };
        self.compaction_rests = !log.finish_compaction(done.as_ref().ok());
        match done {
            Ok(done) => {
                let removed = done.bytes_before.saturating_sub(done.bytes_after);
                self.args.metrics.compacted_bytes.inc_by(removed);
                tracing::debug!(partition = %self.args.label, "compacted: {done:?}");
                self.repair();
                self.seal();
                // What had no room in memory, or came meanwhile.
                self.compact();
            }
            Err(error) => tracing::warn!(partition = %self.args.label, "compaction failed: {error}"),
        }
    }

    fn configure(&mut self, config: &TopicConfig) {
        let LogSlot::Here(log) = &mut self.log else { return };
        log.set_options(log_options(config));
        self.flushes.configure(config);
        self.core.step(Input::Durability(config.durability), &mut self.effects);
        self.set_minimum(config);
        self.after_change();
    }

    fn on_apply_retention(&mut self) {
        self.compaction_rests = false;
        let LogSlot::Here(log) = &mut self.log else { return };
        let now = self.args.clock.settled_wall();
        let Some(job) = log.retention_pass(now, self.core.high_watermark()) else { return self.compact() };
        let to = self.me.clone();
        self.args.upkeep.rest.spawn_blocking(move || {
            let _ = to.cast(LeaderMessage::RetentionApplied(job.run()));
        });
    }

    fn on_retention_applied(&mut self, done: io::Result<()>) {
        if let Err(error) = done {
            // Nothing is lost by files that stay; they go when the log is opened again.
            tracing::warn!(partition = %self.args.label, "retention could not delete segments: {error}");
        }
        self.compact();
    }

    fn on_delete_records(
        &mut self,
        before: Option<Offset>,
        reply: oneshot::Sender<Result<Offset, CommandRefusal>>,
    ) {
        let LogSlot::Here(log) = &mut self.log else { return };
        let high_watermark = self.core.high_watermark();
        let asked = before.unwrap_or(high_watermark);
        // What earlier leaders have acknowledged may go beyond it (S5).
        if !self.core.may_promise() && before.is_none_or(|before| before > high_watermark) {
            let _ = reply.send(Err(CommandRefusal::Unsettled));
            return;
        }
        if asked > high_watermark || asked < Offset::ZERO {
            let _ = reply.send(Err(CommandRefusal::OutOfRange { asked, high_watermark }));
            return;
        }
        let Some(job) = log.delete_records(asked) else {
            let _ = reply.send(Err(CommandRefusal::OutOfRange { asked, high_watermark }));
            return;
        };
        let start = log.log_start_offset();
        let to = self.me.clone();
        self.args.io.spawn_blocking(move || {
            let outcome = job.run().map(|()| start);
            let _ = to.cast(LeaderMessage::StartMoved { outcome, reply });
        });
    }

    fn on_start_moved(
        &mut self,
        outcome: io::Result<Offset>,
        reply: oneshot::Sender<Result<Offset, CommandRefusal>>,
    ) {
        let _ = reply.send(outcome.map_err(|error| CommandRefusal::Storage(error.to_string())));
        self.args.partition.slot.wake();
        // Whole segments below the new start can go.
        self.on_apply_retention();
    }

    fn on_describe_producers(&self, reply: oneshot::Sender<Vec<ActiveProducer>>) {
        let LogSlot::Here(log) = &self.log else { return };
        // Whoever asked may have gone.
        let _ = reply.send(log.producers().producers().collect());
    }

    fn on_close_clean(&mut self, boot: BootId, reply: oneshot::Sender<()>) {
        let LogSlot::Here(log) = mem::replace(&mut self.log, LogSlot::Closed) else { return };
        let label = Arc::clone(&self.args.label);
        self.args.io.spawn_blocking(move || match log.close_clean(boot) {
            Ok(()) => drop(reply.send(())),
            Err(error) => tracing::error!(partition = %label, "clean shutdown failed: {error}"),
        });
    }
}
