//! The controller's side of deciding: one epoch of one controller.
//!
//! It decides on a state that runs ahead of the log, by its own proposals only (S19). What it says is true once
//! all that it had proposed before is applied, refusals too: they rest on it. When it is deposed, this is thrown
//! away, and whoever waits for an answer does not know the outcome.

use super::{
    apply::ApplyError,
    command::{Command, CommandAnswer, Refusal, decide},
    image::MetadataImage,
    proposal::{Applied, Proposal},
    rules::Rules,
};

/// How many proposals a controller has made up to some point. An answer rests on so many of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proposed(u64);

/// What a command has become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to append to the log, in the order in which the decisions were made; `None` where nothing changes.
    pub proposal: Option<Proposal>,
    /// The answer, to be given when so many proposals are applied.
    pub outcome: Result<CommandAnswer, Refusal>,
    /// How many.
    pub rests_on: Proposed,
}

/// Decides in one epoch; owns no I/O.
#[derive(Clone, Debug)]
pub struct Controller {
    epoch: u64,
    pending: MetadataImage,
    proposed: Proposed,
    applied: Proposed,
}

impl Controller {
    /// The controller whose `Elected` entry is the last one that changed who it is: `image` is the state at that
    /// entry or later, and nothing of this controller's is in the log yet.
    pub fn begin(image: &MetadataImage) -> Self {
        Self {
            epoch: image.controller_epoch(),
            pending: image.clone(),
            proposed: Proposed::default(),
            applied: Proposed::default(),
        }
    }

    /// The entry that made it the controller.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The state that will be.
    pub fn pending(&self) -> &MetadataImage {
        &self.pending
    }

    /// Whether an answer may be given now.
    pub fn may_answer(&self, rests_on: Proposed) -> bool {
        self.applied >= rests_on
    }

    /// Decides a command on the state that will be. An error is a defect: the controller has to end.
    pub fn decide(&mut self, rules: &Rules, command: &Command) -> Result<Decision, ApplyError> {
        let (records, outcome) = match decide(&self.pending, rules, command) {
            Ok((records, answer)) => (records, Ok(answer)),
            Err(refusal) => (Vec::new(), Err(refusal)),
        };
        let proposal =
            (!records.is_empty()).then_some(Proposal::Records { controller_epoch: self.epoch, records });
        if let Some(proposal) = &proposal {
            self.propose(proposal)?;
        }
        Ok(Decision { proposal, outcome, rests_on: self.proposed })
    }

    fn propose(&mut self, proposal: &Proposal) -> Result<(), ApplyError> {
        match self.pending.apply_entry(self.pending.index() + 1, proposal) {
            Applied::Done => {
                self.proposed.0 += 1;
                Ok(())
            }
            Applied::Broken(error) => Err(error),
            Applied::Stale => Err(ApplyError::Controller),
        }
    }

    /// The next of its proposals is applied. `false` where it is not, or where it was applied and did not hold:
    /// this controller has been deposed, and has to be thrown away.
    pub fn on_applied(&mut self, applied: &Applied) -> bool {
        match applied {
            Applied::Done => {
                self.applied.0 += 1;
                true
            }
            Applied::Stale | Applied::Broken(_) => false,
        }
    }
}
