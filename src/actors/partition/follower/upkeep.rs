//! What a follower does for its log in the background, as a leader does for its.

use std::{io, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::{
    FollowerMessage,
    following::{FollowerFault, Following, LogSlot},
};
use crate::{
    actors::partition::{
        core::FollowerInput,
        flushing::{self, Unflushed},
    },
    model::Offset,
    storage::log::Compacted,
};

/// As a leader's: half of what the checkpoint may lie behind (S14).
const MAINTAIN_EVERY: Duration = Duration::from_millis(500);

/// Which kinds of work are under way, at most one of each.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one kind of work")]
pub(super) struct UnderWay {
    pub(super) flush: bool,
    checkpoint: bool,
    seal: bool,
    compaction: bool,
    timer: bool,
    /// The last pass of compaction got nowhere: the next one waits for the reconciler's timer.
    compaction_rests: bool,
}

impl UnderWay {
    /// Whether a thread has segments in hand.
    pub(super) const fn changes_files(self) -> bool {
        self.seal || self.compaction
    }
}

impl Following {
    /// Flushes at once what the leader's watermark may wait for, the rest once it is much or old.
    pub(super) fn flush_if_due(&mut self) {
        let LogSlot::Here(log) = &self.log else { return };
        let unflushed = self.flushes.look(log, self.args.clock.monotonic());
        if unflushed == Unflushed::Nothing {
            return;
        }
        let is_waited_for = self.core.wants_flush();
        if !self.under_way.flush
            && let Some(threads) = unflushed.threads(is_waited_for, &self.args.io, &self.args.upkeep)
        {
            self.flush(&threads);
        }
        self.maintain_soon();
    }

    pub(super) fn flush(&mut self, threads: &Handle) {
        let LogSlot::Here(log) = &mut self.log else { return };
        let job = log.begin_flush();
        self.under_way.flush = true;
        let (metrics, clock) = (Arc::clone(&self.args.metrics), Arc::clone(&self.args.clock));
        let to = self.me.clone();
        threads.spawn_blocking(move || {
            let _ = to.cast(FollowerMessage::Flushed(flushing::flush(job, &metrics, clock.as_ref())));
        });
    }

    pub(super) fn maintain_soon(&mut self) {
        if !self.under_way.timer {
            self.under_way.timer = true;
            self.me.actor().send_after(MAINTAIN_EVERY, || FollowerMessage::Maintain);
        }
    }

    pub(super) fn on_maintain(&mut self) {
        self.under_way.timer = false;
        self.flush_if_due();
        self.checkpoint();
        self.seal();
        self.show();
    }

    pub(super) fn checkpoint(&mut self) {
        let LogSlot::Here(log) = &mut self.log else { return };
        if self.under_way.checkpoint {
            return self.maintain_soon();
        }
        let Some(job) = log.checkpoint_job() else { return };
        self.under_way.checkpoint = true;
        let to = self.me.clone();
        self.args.upkeep.checkpoints.spawn_blocking(move || {
            let _ = to.cast(FollowerMessage::Checkpointed(job.run()));
        });
    }

    pub(super) fn on_checkpointed(&mut self, done: io::Result<()>) {
        self.under_way.checkpoint = false;
        if let Err(error) = done {
            tracing::warn!(partition = %self.args.label, "checkpoint could not be written: {error}");
            return;
        }
        self.repair();
        self.compact();
    }

    pub(super) fn seal(&mut self) {
        let LogSlot::Here(log) = &self.log else { return };
        // A pass of compaction puts others in the place of segments.
        if self.under_way.changes_files() || self.repairs.is_mending() {
            return;
        }
        let Some(job) = log.seal_job() else { return };
        self.under_way.seal = true;
        let to = self.me.clone();
        self.args.upkeep.rest.spawn_blocking(move || {
            let _ = to.cast(FollowerMessage::Sealed(job.run()));
        });
    }

    pub(super) fn on_sealed(&mut self, done: io::Result<()>) {
        self.under_way.seal = false;
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

    /// Each replica compacts by itself: they are the same by content.
    fn compact(&mut self) {
        let LogSlot::Here(log) = &mut self.log else { return };
        let work = self.under_way;
        if work.changes_files() || work.compaction_rests || self.repairs.is_mending() {
            return;
        }
        let committed = self.core.carried().high_watermark;
        let Some(job) = log.compaction_pass(self.args.clock.settled_wall(), committed) else { return };
        self.under_way.compaction = true;
        let to = self.me.clone();
        self.args.upkeep.rest.spawn_blocking(move || {
            let _ = to.cast(FollowerMessage::Compacted(job.run()));
        });
    }

    pub(super) fn on_compacted(&mut self, done: io::Result<Compacted>) {
        self.under_way.compaction = false;
        let LogSlot::Here(log) = &mut self.log else { return };
        self.under_way.compaction_rests = !log.finish_compaction(done.as_ref().ok());
        match done {
            Ok(done) => {
                let removed = done.bytes_before.saturating_sub(done.bytes_after);
                self.args.metrics.compacted_bytes.inc_by(removed);
                self.repair();
                self.seal();
                self.compact();
            }
            Err(error) => tracing::warn!(partition = %self.args.label, "compaction failed: {error}"),
        }
    }

    /// What the leader no longer keeps goes here too.
    pub(super) fn move_log_start(&mut self, to: Offset) -> Result<(), FollowerFault> {
        let LogSlot::Here(log) = &mut self.log else { return Ok(()) };
        let Some(job) = log.delete_records(to) else { return Ok(()) };
        let (start, me) = (log.log_start_offset(), self.me.clone());
        self.args.upkeep.rest.spawn_blocking(move || {
            let _ = me.cast(FollowerMessage::RetentionApplied(job.run()));
        });
        self.step(FollowerInput::LogStartMoved(start))?;
        self.on_apply_retention()
    }

    /// As in Kafka each replica keeps to the topic's retention by itself, below what is committed.
    pub(super) fn on_apply_retention(&mut self) -> Result<(), FollowerFault> {
        self.under_way.compaction_rests = false;
        let committed = self.core.carried().high_watermark;
        let LogSlot::Here(log) = &mut self.log else { return Ok(()) };
        let Some(job) = log.retention_pass(self.args.clock.settled_wall(), committed) else {
            self.compact();
            return Ok(());
        };
        let (start, me) = (log.log_start_offset(), self.me.clone());
        self.args.upkeep.rest.spawn_blocking(move || {
            let _ = me.cast(FollowerMessage::RetentionApplied(job.run()));
        });
        self.step(FollowerInput::LogStartMoved(start))
    }

    pub(super) fn on_retention_applied(&mut self, done: io::Result<()>) {
        if let Err(error) = done {
            tracing::warn!(partition = %self.args.label, "retention could not delete segments: {error}");
        }
        self.compact();
    }
}
