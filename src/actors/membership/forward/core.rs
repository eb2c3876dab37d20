//! The way of one command, without a clock or a socket.

use std::{hash::Hash, time::Duration};

/// Pauses, for when nobody is known to lead, or two name each other.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// How many hints are followed without a pause.
const HOPS_AT_ONCE: u32 = 2;
/// How much of its time a command may spend on one attempt: a frozen leader must not have all of it.
const SHARE_OF_ONE: u32 = 2;

/// Who is the controller, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Leadership<P> {
    /// Nobody.
    None,
    /// This node.
    Us,
    /// A peer.
    Peer(P),
}

/// Where a command goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target<P> {
    /// It is decided here.
    Us,
    /// It is sent there.
    Peer(P),
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt<A, P> {
    /// The controller answered: done, or refused.
    Answered(A),
    /// Who got it is not the controller, and has done nothing.
    NotController {
        /// Who is, as far as it knows.
        hint: Option<P>,
    },
    /// It has reached nobody.
    NotSent,
    /// It may have been taken.
    Unknown,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<P> {
    /// Try this.
    Try {
        /// Where.
        target: Target<P>,
        /// For how long.
        within: Duration,
    },
    /// Wait for a change of leadership, at most until then.
    Wait {
        /// By the same clock.
        until: Duration,
    },
    /// The time is over.
    Over(ForwardError),
}

/// Why a command has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// It reached no controller in its time, and nothing was done.
    #[error("no controller could be reached in time")]
    NoController,
    /// It may have been carried out, or be yet.
    #[error("the controller has not answered; whether the change was made is unknown")]
    OutcomeUnknown,
}

/// One command on its way.
#[derive(Clone, Debug)]
pub struct Forwarding<P> {
    is_idempotent: bool,
    deadline: Duration,
    /// The most that one attempt may take.
    one_within: Duration,
    hint: Option<P>,
    /// Attempts in a row that led nowhere.
    failures: u32,
    /// Nothing is tried before, unless leadership changes.
    not_before: Duration,
    /// What leadership was when the last attempt was made.
    tried_under: Option<Leadership<P>>,
    may_have_been_taken: bool,
}

impl<P: Clone + Eq + Hash> Forwarding<P> {
    /// A command that has this much time from `now` on.
    pub fn new(is_idempotent: bool, now: Duration, within: Duration) -> Self {
        Self {
            is_idempotent,
            deadline: now + within,
            one_within: if is_idempotent { within / SHARE_OF_ONE } else { within },
            hint: None,
            failures: 0,
            not_before: Duration::ZERO,
            tried_under: None,
            may_have_been_taken: false,
        }
    }

    /// What to do now.
    pub fn next(&mut self, now: Duration, leadership: &Leadership<P>) -> Next<P> {
        if now >= self.deadline {
            return Next::Over(self.failure());
        }
        let is_news = self.tried_under.as_ref().is_none_or(|before| before != leadership);
        if now < self.not_before && !is_news {
            return Next::Wait { until: self.not_before.min(self.deadline) };
        }
        // What this node hears of the quorum itself is newer than what a peer said before that.
        let hint = self.hint.take().filter(|_| !is_news || *leadership == Leadership::None);
        let target = match (hint, leadership) {
            (Some(peer), _) => Target::Peer(peer),
            (None, Leadership::Peer(peer)) => Target::Peer(peer.clone()),
            (None, Leadership::Us) => Target::Us,
            (None, Leadership::None) => {
                self.tried_under = Some(Leadership::None);
                self.not_before = now + PAUSE_MAX;
                return Next::Wait { until: self.not_before.min(self.deadline) };
            }
        };
        self.tried_under = Some(leadership.clone());
        Next::Try { target, within: self.one_within.min(self.deadline.saturating_sub(now)) }
    }

    /// Takes the outcome of an attempt; the end of it, if this is one.
    pub fn on_attempt<A>(
        &mut self,
        now: Duration,
        attempt: Attempt<A, P>,
    ) -> Option<Result<A, ForwardError>> {
        match attempt {
            Attempt::Answered(answer) => return Some(Ok(answer)),
            Attempt::Unknown if !self.is_idempotent => return Some(Err(ForwardError::OutcomeUnknown)),
            Attempt::Unknown => self.may_have_been_taken = true,
            Attempt::NotController { hint } => self.hint = hint,
            Attempt::NotSent => {}
        }
        self.failures += 1;
        let follows_at_once = self.hint.is_some() && self.failures <= HOPS_AT_ONCE;
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(8)).min(PAUSE_MAX);
        self.not_before = if follows_at_once { now } else { now + pause };
        None
    }

    fn failure(&self) -> ForwardError {
        if self.may_have_been_taken { ForwardError::OutcomeUnknown } else { ForwardError::NoController }
    }
}
