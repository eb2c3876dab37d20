//! A replica that follows: its log, what the core decided, and the work that is under way on threads.

use std::{io, mem, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    FollowerArgs, FollowerMessage, Led,
    appending::{append, head_of},
    opening::{Opened, OpeningError},
    repairs,
    upkeep::UnderWay,
};
use crate::{
    actors::{
        partition::{
            HandedOver,
            core::{FollowerCore, FollowerEffect, FollowerInput, Generation, Session, Verdict},
            flushing::FlushSchedule,
            leading::followers::carried,
            opening::report_recovery,
            repair::Repairs,
            replication::{Arrival, Arrivals, Data},
        },
        supervise::Address,
    },
    model::{BootId, LeaderEpoch, Offset},
    storage::log::{FlushDone, Log, ReplicateError, Truncated},
};

/// How long a follower waits before it asks again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Why a follower ends. Its successor recovers the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowerFault {
    #[error(transparent)]
    Opening(#[from] OpeningError),
    #[error("append failed: {0}")]
    Append(String),
    #[error("flush failed, log is poisoned: {0}")]
    Flush(String),
    #[error("log could not be cut: {0}")]
    Cut(#[source] io::Error),
}

/// The log, unless it is lent.
#[derive(Debug)]
pub(super) enum LogSlot {
    Here(Box<Log>),
    /// On a thread that cuts it.
    Away,
    /// Closed, or handed over.
    Gone,
}

/// A log that was lent to a thread to be cut, on its way back.
#[derive(Debug)]
pub struct CutLog {
    log: Box<Log>,
    done: io::Result<Truncated>,
}

/// A follower with an open log.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) args: FollowerArgs,
    pub(super) me: Address<FollowerMessage>,
    pub(super) core: FollowerCore,
    pub(super) log: LogSlot,
    arrivals: Arc<Arrivals>,
    effects: Vec<FollowerEffect>,
    /// What needs the log while it is lent.
    deferred: Vec<FollowerMessage>,
    pub(super) under_way: UnderWay,
    pub(super) flushes: FlushSchedule,
    pub(super) repairs: Repairs,
}

impl Following {
    pub(super) fn begin(
        args: &FollowerArgs,
        me: &Address<FollowerMessage>,
        opened: Opened,
        incarnation: u32,
        arrivals: Arc<Arrivals>,
    ) -> Result<Self, FollowerFault> {
        let (log, report) = opened.result?;
        if let Some(report) = report {
            report_recovery(&args.metrics, &args.label, &report, opened.took);
        }
        let config = args.config();
        let last_epoch = log.last_epoch().unwrap_or(LeaderEpoch::NONE);
        let known = carried(&log, opened.high_watermark);
        let (node, broker_epoch, durability) = (args.node, args.broker_epoch, config.durability);
        let core = FollowerCore::new(node, broker_epoch, incarnation, durability, last_epoch, &known);
        let (repairs, reader) = (repairs::begin(args, me, &log), log.reader());
        args.partition.slot.show_followed(reader);
        let mut this = Self {
            args: args.clone(),
            me: me.clone(),
            repairs,
            core,
            log: LogSlot::Here(log),
            arrivals,
            effects: Vec::new(),
            deferred: Vec::new(),
            under_way: UnderWay::default(),
            flushes: FlushSchedule::new(args.background_flush, &config),
        };
        this.checkpoint();
        this.on_led(args.led())?;
        Ok(this)
    }

    pub(super) fn on_message(&mut self, message: FollowerMessage) -> Result<(), FollowerFault> {
        match message {
            FollowerMessage::Cut(cut) => return self.on_cut(*cut),
            FollowerMessage::Led(led) => return self.on_led(led),
            FollowerMessage::Arrived => return self.on_arrived(),
            FollowerMessage::Retry => return self.step(FollowerInput::Retry),
            other if matches!(self.log, LogSlot::Away) => self.deferred.push(other),
            FollowerMessage::Flushed(done) => return self.on_flushed(done),
            FollowerMessage::Maintain => self.on_maintain(),
            FollowerMessage::Checkpointed(done) => self.on_checkpointed(done),
            FollowerMessage::Sealed(done) => self.on_sealed(done),
            FollowerMessage::Compacted(done) => self.on_compacted(done),
            FollowerMessage::RetentionApplied(done) => self.on_retention_applied(done),
            FollowerMessage::Repair(message) => return self.on_repair(message),
            FollowerMessage::ApplyRetention => return self.on_apply_retention(),
            FollowerMessage::Configure(config) => {
                if let LogSlot::Here(log) = &mut self.log {
                    log.set_options(crate::actors::partition::log_options(&config));
                }
                self.flushes.configure(&config);
                self.step(FollowerInput::Durability(config.durability))?;
                self.flush_if_due();
            }
            FollowerMessage::HandOver { reply } => self.on_hand_over(reply),
            FollowerMessage::CloseClean { boot, reply } => self.on_close_clean(boot, reply),
            // Only once per incarnation, and that one is handled before there is a follower.
            FollowerMessage::Opened(_) => {}
        }
        Ok(())
    }

    fn on_led(&mut self, Led { by, epoch }: Led) -> Result<(), FollowerFault> {
        if let LogSlot::Here(log) = &self.log {
            log.hope_again();
        }
        self.step(FollowerInput::Leader { node: by, epoch })?;
        self.show_end();
        Ok(())
    }

    /// Whoever follows nobody says where its log ends (S11); where there is a leader, that changes.
    fn show_end(&self) {
        let end = match (&self.log, self.core.leader()) {
            (LogSlot::Here(log), None) => {
                Some((log.last_epoch().unwrap_or(LeaderEpoch::NONE), log.log_end_offset()))
            }
            (LogSlot::Here(_) | LogSlot::Away | LogSlot::Gone, _) => None,
        };
        self.args.partition.slot.set_unled(end);
        self.args.partition.slot.set_lag(self.core.lag());
    }

    fn on_arrived(&mut self) -> Result<(), FollowerFault> {
        for (session, arrival) in self.arrivals.take() {
            match arrival {
                Arrival::Verdict(verdict) => {
                    tracing::debug!(partition = %self.args.label, ?verdict, "is answered");
                    let ours = self.own_end_of(&verdict);
                    self.step(FollowerInput::Verdict { session, verdict, ours })?;
                }
                Arrival::Data(data) => self.on_data(session, &data)?,
                Arrival::Watermark(high_watermark, log_start) => {
                    self.step(FollowerInput::Watermark { session, high_watermark, log_start })?;
                }
                Arrival::Broken => self.step(FollowerInput::Broken { session })?,
            }
        }
        self.flush_if_due();
        self.show();
        Ok(())
    }

    fn own_end_of(&self, verdict: &Verdict) -> Option<(LeaderEpoch, Offset)> {
        match (verdict, &self.log) {
            (Verdict::Diverges { epoch, .. }, LogSlot::Here(log)) => log.reader().epoch_end(*epoch),
            (_, LogSlot::Here(_) | LogSlot::Away | LogSlot::Gone) => None,
        }
    }

    /// What was under way when the log was cut belongs to no subscription any more.
    fn on_data(&mut self, session: Session, data: &Data) -> Result<(), FollowerFault> {
        let LogSlot::Here(log) = &self.log else { return Ok(()) };
        let head = head_of(session, data, log.last_epoch().unwrap_or(LeaderEpoch::NONE));
        let mut effects = mem::take(&mut self.effects);
        self.core.step(FollowerInput::Data(head), &mut effects);
        let is_wanted = effects.contains(&FollowerEffect::Append);
        let appended = if is_wanted { self.append(data)? } else { Ok(()) };
        for effect in effects.drain(..).filter(|effect| *effect != FollowerEffect::Append) {
            self.carry_out(effect)?;
        }
        self.effects = effects;
        if appended.is_err() { self.step(FollowerInput::Rejected) } else { Ok(()) }
    }

    /// The inner error: nothing is wrong with the log.
    fn append(&mut self, data: &Data) -> Result<Result<(), ()>, FollowerFault> {
        let LogSlot::Here(log) = &mut self.log else { return Ok(Err(())) };
        let before = log.log_end_offset();
        let (epoch, now) = (self.core.epoch(), self.args.clock.wall());
        let done = append(log, &data.batches, data.end, epoch, now);
        let (end, last_epoch) = (log.log_end_offset(), log.last_epoch().unwrap_or(LeaderEpoch::NONE));
        if end > before {
            self.step(FollowerInput::Appended { end, last_epoch })?;
        }
        match done {
            Ok(batches) => {
                self.args.metrics.appended_batches.inc_by(batches);
                Ok(Ok(()))
            }
            Err(error) if error.is_fault() => {
                self.log_failed();
                Err(FollowerFault::Append(error.to_string()))
            }
            Err(error) => {
                tracing::warn!(partition = %self.args.label, %error, "what the leader sent is not appended");
                if matches!(error, ReplicateError::DiskFull) {
                    self.args.proposer.give_up(self.args.partition.id());
                }
                Ok(Err(()))
            }
        }
    }

    /// Tells the core, and does what it says.
    pub(super) fn step(&mut self, input: FollowerInput) -> Result<(), FollowerFault> {
        let mut effects = mem::take(&mut self.effects);
        self.core.step(input, &mut effects);
        for effect in effects.drain(..) {
            self.carry_out(effect)?;
        }
        self.effects = effects;
        Ok(())
    }

    fn carry_out(&mut self, effect: FollowerEffect) -> Result<(), FollowerFault> {
        let (streams, id) = (&self.args.streams, self.args.partition.id());
        match effect {
            FollowerEffect::Subscribe { leader, subscription } => {
                tracing::debug!(partition = %self.args.label, %leader, ?subscription, "asks its leader");
                streams.subscribe(leader, id, subscription, &self.arrivals);
                self.show();
            }
            FollowerEffect::Unsubscribe { leader, session } => streams.unsubscribe(leader, id, session),
            FollowerEffect::Report { leader, session, appended, flushed } => {
                streams.report(leader, id, session, (appended, flushed));
            }
            FollowerEffect::Truncate { to } => self.cut(to, false),
            FollowerEffect::StartAnew { at } => self.cut(at, true),
            FollowerEffect::MoveLogStart(to) => return self.move_log_start(to),
            FollowerEffect::AskLater => {
                self.me.actor().send_after(ASK_AGAIN, || FollowerMessage::Retry);
                self.show();
            }
            // The core remembers it; data are appended where they come in.
            FollowerEffect::AdvanceHighWatermark(_) | FollowerEffect::Append => {}
        }
        Ok(())
    }

    /// Lends the log to a thread that cuts it.
    fn cut(&mut self, offset: Offset, to_begin_anew: bool) {
        let LogSlot::Here(mut log) = mem::replace(&mut self.log, LogSlot::Away) else { return };
        let end = log.log_end_offset();
        tracing::info!(partition = %self.args.label, %end, %offset, to_begin_anew, "log is cut");
        let (to, now) = (self.me.clone(), self.args.clock.wall());
        self.args.io.spawn_blocking(move || {
            let done = if to_begin_anew {
                log.truncate_fully_and_start_at(offset, now)
            } else {
                log.truncate_to(offset, now)
            };
            let _ = to.cast(FollowerMessage::Cut(Box::new(CutLog { log, done })));
        });
        self.show();
    }

    fn on_cut(&mut self, CutLog { log, done }: CutLog) -> Result<(), FollowerFault> {
        done.map_err(FollowerFault::Cut)?;
        let left = carried(&log, self.core.carried().high_watermark);
        let last_epoch = log.last_epoch().unwrap_or(LeaderEpoch::NONE);
        self.log = LogSlot::Here(log);
        self.flushes.restart();
        self.step(FollowerInput::Truncated { left, last_epoch })?;
        self.checkpoint();
        self.show_end();
        for message in mem::take(&mut self.deferred) {
            self.on_message(message)?;
        }
        Ok(())
    }

    fn on_flushed(&mut self, done: FlushDone) -> Result<(), FollowerFault> {
        self.under_way.flush = false;
        self.flushes.restart();
        let LogSlot::Here(log) = &mut self.log else { return Ok(()) };
        let generation = Generation::new(done.generation());
        match log.finish_flush(done) {
            Ok(end) => {
                self.step(FollowerInput::Flushed { generation, end })?;
                self.flush_if_due();
                self.maintain_soon();
                self.repair();
                Ok(())
            }
            Err(poisoned) => {
                self.log_failed();
                Err(FollowerFault::Flush(poisoned.to_string()))
            }
        }
    }

    fn log_failed(&self) {
        self.args.metrics.poisoned_logs.inc();
        self.args.alarm.log_failed(&self.args.label, &self.args.state());
    }

    fn on_hand_over(&mut self, reply: oneshot::Sender<HandedOver>) {
        let LogSlot::Here(log) = mem::replace(&mut self.log, LogSlot::Gone) else { return };
        self.args.partition.slot.hide_followed(&log.reader());
        self.show_end();
        let high_watermark = self.core.carried().high_watermark;
        // Whom it follows is told nothing more by this replica.
        let _ = self.step(FollowerInput::Leader { node: None, epoch: self.core.epoch().next() });
        self.me.vitals().set_detail(Some("handed over".to_owned()));
        // Nobody wants it: it closes.
        drop(reply.send(HandedOver { log, high_watermark }));
    }

    fn on_close_clean(&mut self, boot: BootId, reply: oneshot::Sender<()>) {
        let LogSlot::Here(log) = mem::replace(&mut self.log, LogSlot::Gone) else { return };
        self.show_end();
        let label = Arc::clone(&self.args.label);
        self.args.io.spawn_blocking(move || match log.close_clean(boot) {
            Ok(()) => drop(reply.send(())),
            Err(error) => tracing::error!(partition = %label, "clean shutdown failed: {error}"),
        });
    }

    /// Shows in the tree whom it follows, and how far it is.
    pub(super) fn show(&self) {
        let known = self.core.carried();
        let (doing, end, flushed) = (self.core.doing(), known.log_end, known.flushed);
        let leader = self.core.leader().map_or_else(|| "nobody".to_owned(), |node| node.to_string());
        self.me.vitals().set_epoch(self.core.epoch());
        let behind = known.high_watermark;
        let start = known.log_start;
        let detail = format!(
            "{doing}, leader {leader}, start {start}, end {end}, on disk {flushed}, committed {behind}"
        );
        self.me.vitals().set_detail(Some(detail));
        self.args.partition.slot.set_lag(self.core.lag());
    }
}

impl Drop for Following {
    /// Nothing comes to an actor that has ended, and nothing is said for it: its successor opens the log after this.
    fn drop(&mut self) {
        if let LogSlot::Here(log) = &self.log {
            self.args.partition.slot.hide_followed(&log.reader());
        }
        self.args.partition.slot.set_unled(None);
        self.args.partition.slot.set_lag(None);
        let epoch = self.core.epoch().next();
        let mut effects = Vec::new();
        self.core.step(FollowerInput::Leader { node: None, epoch }, &mut effects);
        for effect in effects {
            if let FollowerEffect::Unsubscribe { leader, session } = effect {
                self.args.streams.unsubscribe(leader, self.args.partition.id(), session);
            }
        }
    }
}
