//! Where appends are carried out: in the handler, on threads for a slow disk, or on those of who moves much.

use std::{mem, sync::Arc, time::Duration};

use tokio::{runtime::Handle, time::Instant};

use super::{
    super::{
        append::{AwayAppends, Outcome, SLOW, append_waiting},
        core::Acks,
        message::LeaderMessage,
    },
    LeaderFault, Leading, LogSlot,
};

/// To append so many bytes keeps a worker for some hundred microseconds.
const MUCH_TO_APPEND: usize = 256 << 10;

impl Leading {
    /// Appends all that waits, here or on a thread that may take its time.
    pub(super) fn on_appends_wait(&mut self) -> Result<(), LeaderFault> {
        if !matches!(self.log, LogSlot::Here(_)) {
            return Ok(());
        }
        self.published.leader.queue.take_all(&mut self.taken);
        if self.taken.is_empty() {
            return Ok(());
        }
        let bytes = self.taken.iter().map(|request| request.batch.len()).sum();
        if let Some(threads) = self.threads_to_append(bytes) {
            self.append_away(&threads);
            return Ok(());
        }
        let LogSlot::Here(log) = &mut self.log else { return Ok(()) };
        let too_few = self.core.admits(Acks::All).err();
        append_waiting(log, &mut self.taken, self.args.clock.as_ref(), too_few, SLOW, &mut self.outcome);
        self.settle()?;
        if !self.taken.is_empty() {
            // Others wait for this worker too.
            let io = self.args.io.clone();
            self.append_away(&io);
        }
        Ok(())
    }

    /// Where so much is appended, if not here.
    fn threads_to_append(&self, bytes: usize) -> Option<Handle> {
        let bulk = &self.args.bulk;
        if bytes >= MUCH_TO_APPEND && bulk.is_to_make_way(Instant::now()) {
            // Also on a slow disk: those threads may take their time as well.
            self.args.metrics.bulk_appends.inc();
            Some(bulk.workers().clone())
        } else if self.slow {
            Some(self.args.io.clone())
        } else {
            None
        }
    }

    /// Lends the log to a thread that may block, together with all that waits.
    fn append_away(&mut self, threads: &Handle) {
        let LogSlot::Here(mut log) = mem::replace(&mut self.log, LogSlot::Away) else { return };
        let mut taken = mem::take(&mut self.taken);
        let clock = Arc::clone(&self.args.clock);
        let to = self.me.clone();
        let too_few = self.core.admits(Acks::All).err();
        threads.spawn_blocking(move || {
            let mut outcome = Outcome::default();
            append_waiting(&mut log, &mut taken, clock.as_ref(), too_few, Duration::MAX, &mut outcome);
            let _ = to.cast(LeaderMessage::AppendsDone(Box::new(AwayAppends { log, taken, outcome })));
        });
    }

    /// Takes the log back, and does what had to wait for it.
    pub(super) fn on_appends_done(&mut self, away: AwayAppends) -> Result<(), LeaderFault> {
        self.log = LogSlot::Here(away.log);
        self.taken = away.taken;
        self.outcome = away.outcome;
        self.settle()?;
        for message in mem::take(&mut self.deferred) {
            self.on_message(message)?;
        }
        // The doorbell may have rung while nobody could answer it.
        self.on_appends_wait()
    }
}
