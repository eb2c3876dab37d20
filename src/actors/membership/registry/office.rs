//! A controller in office: what it has decided and not yet seen applied.
//!
//! One proposal is on its way to the log at a time; what is decided meanwhile becomes the next one, all of it together.
//! So decisions reach the log in the order in which they were made, and many of them cost one sync.

use std::{collections::VecDeque, mem};

use super::message::{Decided, Told};
use crate::actors::membership::core::{
    Applied, ApplyError, Command, CommandAnswer, Controller, MetadataImage, MetadataRecord, Proposal,
    Proposed, Rules,
};

/// No more is put into a proposal that has so many records: it has to fit into one call to each follower.
const RECORDS_MAX: usize = 500;

/// Who waits, and for what.
struct Waiting {
    rests_on: Proposed,
    decided: Decided,
    told: Told,
}

/// A controller, from its `Elected` entry until it is thrown away.
pub(super) struct Office {
    controller: Controller,
    /// The records of each decision that is not on its way yet.
    queued: VecDeque<Vec<MetadataRecord>>,
    /// How many decisions are on their way.
    in_flight: usize,
    waiting: VecDeque<Waiting>,
}

impl Office {
    /// Begins in a state that has the controller's `Elected` entry.
    pub(super) fn enter(image: &MetadataImage) -> Self {
        let controller = Controller::begin(image);
        Self { controller, queued: VecDeque::new(), in_flight: 0, waiting: VecDeque::new() }
    }

    /// Its epoch (S19).
    pub(super) fn epoch(&self) -> u64 {
        self.controller.epoch()
    }

    /// Before there is a cluster, nothing but its first record can follow.
    pub(super) fn may_decide(&self, command: &Command) -> bool {
        !self.controller.pending().cluster_id().is_nil() || matches!(command, Command::CreateCluster(_))
    }

    /// Decides; whoever asked is told when all that the answer rests on is applied. An error is a defect.
    pub(super) fn decide(
        &mut self,
        rules: &Rules,
        command: &Command,
        applied_index: u64,
        told: Told,
    ) -> Result<(), ApplyError> {
        let decision = self.controller.decide(rules, command)?;
        if let Some(Proposal::Records { records, .. }) = decision.proposal {
            self.queued.push_back(records);
        }
        let decided = Decided::Answered { index: applied_index, outcome: decision.outcome };
        if self.controller.may_answer(decision.rests_on) {
            told.send(decided);
        } else {
            self.waiting.push_back(Waiting { rests_on: decision.rests_on, decided, told });
        }
        Ok(())
    }

    /// What to bring into the log now, if anything, and if nothing else is on its way.
    pub(super) fn next(&mut self) -> Option<Proposal> {
        if self.in_flight > 0 {
            return None;
        }
        let mut records = self.queued.pop_front()?;
        self.in_flight = 1;
        while records.len() < RECORDS_MAX
            && let Some(more) = self.queued.pop_front()
        {
            records.extend(more);
            self.in_flight += 1;
        }
        Some(Proposal::Records { controller_epoch: self.epoch(), records })
    }

    /// What was on its way is applied, as the entry of this index. Each answer that rests on it is shown to `note`.
    pub(super) fn on_applied(&mut self, index: u64, note: impl Fn(&CommandAnswer)) {
        for _ in 0..mem::take(&mut self.in_flight) {
            self.controller.on_applied(&Applied::Done);
        }
        while let Some(first) = self.waiting.pop_front() {
            if !self.controller.may_answer(first.rests_on) {
                self.waiting.push_front(first);
                return;
            }
            let decided = match first.decided {
                Decided::Answered { outcome, .. } => Decided::Answered { index, outcome },
                other @ (Decided::NotController | Decided::StorageFull | Decided::Unknown) => other,
            };
            if let Decided::Answered { outcome: Ok(answer), .. } = &decided {
                note(answer);
            }
            first.told.send(decided);
        }
    }

    /// What was on its way is not in the log, for the disk is full; nor will be what was decided on top of it. Goes on from
    /// the state that there is.
    pub(super) fn on_full(&mut self, image: &MetadataImage) {
        let waiting = mem::replace(self, Self::enter(image)).waiting;
        for waiting in waiting {
            waiting.told.send(Decided::StorageFull);
        }
    }

    /// Leaves: nobody knows what becomes of what is on its way.
    pub(super) fn leave(self) {
        for waiting in self.waiting {
            waiting.told.send(Decided::Unknown);
        }
    }
}
