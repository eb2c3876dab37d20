//! What a follower replica decides.
//!
//! It asks its leader for what comes after its own end, cuts what the leader does not have, appends what comes, and
//! reports what it has and what of it is on disk:
//!
//! - a subscription follows a truncation only once that is on disk, and raises the generation: what was flushed in an
//!   earlier one counts for nothing (S8);
//! - data count only for the subscription that they were sent for, continue the log, and bear no epoch above the leader's
//!   or below the log's last;
//! - a flush is reported at once, whatever else happens (S4);
//! - the leader's watermark is taken over as far as the log goes, for the day when this replica leads itself.
//!
//! ```text
//!              leader named                 Follows
//!   Waiting ----------------> Asking ---------------------> Fetching
//!      ^                      ^  |  ^ \ refused, broken         |
//!      | none                 |  |   \ `--> Resting (Retry)     | data that do not fit, stream broken
//!                   Truncated |  v Diverges, StartsAnew         v
//!                           Truncating                     Resting or Asking
//! ```

use super::{Carried, Generation, Session, Subscription, Verdict, divergence::cut_at};
use crate::{
    config::topic::Durability,
    model::{BrokerEpoch, LeaderEpoch, NodeId, Offset},
};

/// Bytes have come: what has to be known of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHead {
    /// The subscription that they were sent for.
    pub session: Session,
    /// From where on the leader read: where this log ends, unless something is wrong. The first batch may begin later
    /// where the leader has compacted.
    pub from: Offset,
    /// The offset after the last record.
    pub end: Offset,
    /// The epoch of the first batch.
    pub first_epoch: LeaderEpoch,
    /// The epoch of the last batch.
    pub last_epoch: LeaderEpoch,
    /// The leader's.
    pub high_watermark: Offset,
    /// The leader's.
    pub log_start: Offset,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowerInput {
    /// An image names a leader, or none.
    Leader {
        /// Who.
        node: Option<NodeId>,
        /// In which epoch; an older one than is known changes nothing.
        epoch: LeaderEpoch,
    },
    /// The leader has answered a subscription, or has changed its mind.
    Verdict {
        /// Which one.
        session: Session,
        /// The answer.
        verdict: Verdict,
        /// What our own epochs say to that of [`Verdict::Diverges`]: the largest at or below it and where it ends.
        ours: Option<(LeaderEpoch, Offset)>,
    },
    /// Data have come; [`FollowerEffect::Append`] says that they are to be appended.
    Data(DataHead),
    /// The leader has nothing new but its watermark or its start.
    Watermark {
        /// The subscription.
        session: Session,
        /// The leader's.
        high_watermark: Offset,
        /// The leader's.
        log_start: Offset,
    },
    /// What came was appended.
    Appended {
        /// The log's end.
        end: Offset,
        /// The epoch of its last record.
        last_epoch: LeaderEpoch,
    },
    /// What came was not what it should be, and the log is as it was.
    Rejected,
    /// A flush has ended.
    Flushed {
        /// The generation in which it began.
        generation: Generation,
        /// The log's end when it began.
        end: Offset,
    },
    /// A truncation is on disk.
    Truncated {
        /// What is left.
        left: Carried,
        /// The epoch of the last record of it.
        last_epoch: LeaderEpoch,
    },
    /// The log's start has moved.
    LogStartMoved(Offset),
    /// The subscription's stream is gone.
    Broken {
        /// The subscription.
        session: Session,
    },
    /// The time is up that [`FollowerEffect::AskLater`] asked for.
    Retry,
    /// The topic's `durability` was changed.
    Durability(Durability),
}

/// What the actor has to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowerEffect {
    /// Ask this leader. It takes the place of any earlier subscription.
    Subscribe {
        /// Whom.
        leader: NodeId,
        /// What.
        subscription: Subscription,
    },
    /// Nothing more is wanted from this leader.
    Unsubscribe {
        /// From whom.
        leader: NodeId,
        /// The subscription.
        session: Session,
    },
    /// Cut the log here, or at the next batch's beginning below, durably; then [`FollowerInput::Truncated`].
    Truncate {
        /// Nothing at or above is kept.
        to: Offset,
    },
    /// Throw all of the log away, durably, and begin at this offset; then [`FollowerInput::Truncated`].
    StartAnew {
        /// The new start and end.
        at: Offset,
    },
    /// Append what has just come.
    Append,
    /// Tell the leader how far the log is.
    Report {
        /// Whom.
        leader: NodeId,
        /// In which subscription.
        session: Session,
        /// The log's end.
        appended: Offset,
        /// Up to where it is on disk.
        flushed: Offset,
    },
    /// So far it is committed.
    AdvanceHighWatermark(Offset),
    /// The leader keeps nothing below.
    MoveLogStart(Offset),
    /// [`FollowerInput::Retry`] after a while.
    AskLater,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Asking(Subscription),
    Resting,
    Truncating,
    /// `None` until the leader has said it.
    Fetching {
        leader_high_watermark: Option<Offset>,
    },
}

/// The state of one follower.
#[derive(Debug)]
pub struct FollowerCore {
    node: NodeId,
    broker_epoch: BrokerEpoch,
    durability: Durability,
    leader: Option<NodeId>,
    epoch: LeaderEpoch,
    state: State,
    session: Session,
    log: Carried,
    last_epoch: LeaderEpoch,
}

impl FollowerCore {
    /// A follower of an open log that knows of no leader yet. `incarnation` is above that of each follower of
    /// this partition before it in this process.
    pub const fn new(
        node: NodeId,
        broker_epoch: BrokerEpoch,
        incarnation: u32,
        durability: Durability,
        last_epoch: LeaderEpoch,
        carried: &Carried,
    ) -> Self {
        Self {
            node,
            broker_epoch,
            durability,
            leader: None,
            epoch: LeaderEpoch::NONE,
            state: State::Waiting,
            session: Session::before_first(incarnation),
            log: *carried,
            last_epoch,
        }
    }

    /// Whom it follows.
    pub const fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// In which epoch.
    pub const fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Its last subscription.
    pub const fn session(&self) -> Session {
        self.session
    }

    /// What a next role takes along.
    pub const fn carried(&self) -> Carried {
        self.log
    }

    /// Whether the log may be handed to a leader now: not in the middle of a truncation.
    pub fn may_hand_over(&self) -> bool {
        self.state != State::Truncating
    }

    /// Whether a flush would let the leader's watermark advance.
    pub fn wants_flush(&self) -> bool {
        self.durability == Durability::Disk && self.log.flushed < self.log.log_end
    }

    /// What it is doing, in a word.
    pub const fn doing(&self) -> &'static str {
        match self.state {
            State::Waiting => "waiting for a leader",
            State::Asking(_) => "asking",
            State::Resting => "resting",
            State::Truncating => "truncating",
            State::Fetching { .. } => "fetching",
        }
    }

    /// How many records that are committed it has not, as far as its leader has said; `None` while it follows nobody.
    pub fn lag(&self) -> Option<u64> {
        let State::Fetching { leader_high_watermark } = self.state else { return None };
        leader_high_watermark.map(|there| there.distance_from(self.log.log_end).max(0).cast_unsigned())
    }

    /// Takes one input; what is to be done is put behind what `effects` already holds.
    #[expect(clippy::needless_pass_by_value, reason = "an input is used up, as the leader's are")]
    pub fn step(&mut self, input: FollowerInput, effects: &mut Vec<FollowerEffect>) {
        match input {
            FollowerInput::Leader { node, epoch } => self.on_leader(node, epoch, effects),
            FollowerInput::Verdict { session, verdict, ours } => {
                self.on_verdict(session, verdict, ours, effects);
            }
            FollowerInput::Data(head) => self.on_data(&head, effects),
            FollowerInput::Watermark { session, high_watermark, log_start } => {
                if self.is_fetching(session) {
                    self.on_leader_ends(high_watermark, log_start, effects);
                }
            }
            FollowerInput::Appended { end, last_epoch } => self.on_appended(end, last_epoch, effects),
            FollowerInput::Rejected => self.ask_later(effects),
            FollowerInput::Flushed { generation, end } => self.on_flushed(generation, end, effects),
            FollowerInput::Truncated { left, last_epoch } => self.on_truncated(left, last_epoch, effects),
            FollowerInput::LogStartMoved(start) => {
                self.log.log_start = self.log.log_start.max(start);
                self.advance(start, effects);
            }
            FollowerInput::Broken { session } => {
                if session == self.session {
                    self.ask_later(effects);
                }
            }
            FollowerInput::Retry => {
                if self.state == State::Resting {
                    self.ask(effects);
                }
            }
            FollowerInput::Durability(durability) => self.durability = durability,
        }
    }

    fn on_leader(&mut self, node: Option<NodeId>, epoch: LeaderEpoch, effects: &mut Vec<FollowerEffect>) {
        let node = node.filter(|node| *node != self.node);
        if epoch < self.epoch || (epoch == self.epoch && node == self.leader) {
            return;
        }
        let before = self.leader.filter(|leader| Some(*leader) != node);
        if let (Some(leader), State::Asking(_) | State::Fetching { .. }) = (before, self.state) {
            effects.push(FollowerEffect::Unsubscribe { leader, session: self.session });
        }
        self.leader = node;
        self.epoch = epoch;
        // What was begun to be cut was nothing that an earlier leader had: it goes on.
        if self.state != State::Truncating {
            self.ask(effects);
        }
    }

    /// Asks the leader, if there is one.
    fn ask(&mut self, effects: &mut Vec<FollowerEffect>) {
        let Some(leader) = self.leader else {
            self.state = State::Waiting;
            return;
        };
        self.session = self.session.next();
        let subscription = Subscription {
            node: self.node,
            broker_epoch: self.broker_epoch,
            session: self.session,
            leader_epoch: self.epoch,
            last_epoch: self.last_epoch,
            end: self.log.log_end,
            flushed: self.log.flushed,
        };
        self.state = State::Asking(subscription);
        effects.push(FollowerEffect::Subscribe { leader, subscription });
    }

    fn ask_later(&mut self, effects: &mut Vec<FollowerEffect>) {
        if matches!(self.state, State::Asking(_) | State::Fetching { .. }) {
            self.state = State::Resting;
            effects.push(FollowerEffect::AskLater);
        }
    }

    fn on_verdict(
        &mut self,
        session: Session,
        verdict: Verdict,
        ours: Option<(LeaderEpoch, Offset)>,
        effects: &mut Vec<FollowerEffect>,
    ) {
        let asked = match self.state {
            State::Asking(asked) if asked.session == session => Some(asked),
            State::Fetching { .. } if self.session == session => None,
            State::Asking(_)
            | State::Fetching { .. }
            | State::Waiting
            | State::Resting
            | State::Truncating => {
                return;
            }
        };
        match verdict {
            Verdict::Follows => {
                if let Some(asked) = asked {
                    self.on_follows(&asked, effects);
                }
            }
            Verdict::Diverges { epoch, end } => self.on_diverges(epoch, end, ours, effects),
            Verdict::StartsAnew { log_start } => {
                self.state = State::Truncating;
                effects.push(FollowerEffect::StartAnew { at: log_start });
            }
            Verdict::Refused(_) => self.ask_later(effects),
        }
    }

    fn on_follows(&mut self, asked: &Subscription, effects: &mut Vec<FollowerEffect>) {
        // An append of the subscription before was still under way: the answer was not about it.
        if (asked.end, asked.last_epoch) != (self.log.log_end, self.last_epoch) {
            return self.ask(effects);
        }
        self.state = State::Fetching { leader_high_watermark: None };
        if asked.flushed != self.log.flushed {
            self.report(effects);
        }
    }

    fn on_diverges(
        &mut self,
        epoch: LeaderEpoch,
        end: Offset,
        ours: Option<(LeaderEpoch, Offset)>,
        effects: &mut Vec<FollowerEffect>,
    ) {
        let to = cut_at(end, ours, self.log.log_end);
        // Cuts nothing and forgets no epoch: the same question would get the same answer.
        if to == self.log.log_end && epoch >= self.last_epoch {
            return self.ask_later(effects);
        }
        self.state = State::Truncating;
        effects.push(if to < self.log.log_start {
            FollowerEffect::StartAnew { at: end }
        } else {
            FollowerEffect::Truncate { to }
        });
    }

    fn on_truncated(&mut self, left: Carried, last_epoch: LeaderEpoch, effects: &mut Vec<FollowerEffect>) {
        let high_watermark = self.log.high_watermark.min(left.log_end).max(left.log_start);
        self.log = Carried { high_watermark, ..left };
        self.last_epoch = last_epoch;
        if self.state == State::Truncating {
            self.ask(effects);
        }
    }

    fn on_data(&mut self, head: &DataHead, effects: &mut Vec<FollowerEffect>) {
        if !self.is_fetching(head.session) {
            return;
        }
        let continues = head.from == self.log.log_end && head.end > head.from;
        let epochs = self.last_epoch <= head.first_epoch
            && head.first_epoch <= head.last_epoch
            && head.last_epoch <= self.epoch;
        if !continues || !epochs {
            return self.ask_later(effects);
        }
        // The append comes last: what follows from it may be told to this core before the other effects are carried out.
        self.on_leader_ends(head.high_watermark, head.log_start, effects);
        effects.push(FollowerEffect::Append);
    }

    fn on_leader_ends(
        &mut self,
        high_watermark: Offset,
        log_start: Offset,
        effects: &mut Vec<FollowerEffect>,
    ) {
        self.state = State::Fetching { leader_high_watermark: Some(high_watermark) };
        self.advance(high_watermark, effects);
        let start = log_start.min(self.log.high_watermark);
        if start > self.log.log_start {
            effects.push(FollowerEffect::MoveLogStart(start));
        }
    }

    fn on_appended(&mut self, end: Offset, last_epoch: LeaderEpoch, effects: &mut Vec<FollowerEffect>) {
        self.log.log_end = self.log.log_end.max(end);
        self.last_epoch = self.last_epoch.max(last_epoch);
        if let State::Fetching { leader_high_watermark } = self.state {
            self.report(effects);
            if let Some(known) = leader_high_watermark {
                self.advance(known, effects);
            }
        }
    }

    fn on_flushed(&mut self, generation: Generation, end: Offset, effects: &mut Vec<FollowerEffect>) {
        let flushed = end.min(self.log.log_end);
        if generation != self.log.generation || flushed <= self.log.flushed {
            return;
        }
        self.log.flushed = flushed;
        if matches!(self.state, State::Fetching { .. }) {
            self.report(effects);
        }
    }

    fn report(&self, effects: &mut Vec<FollowerEffect>) {
        if let Some(leader) = self.leader {
            let Carried { log_end, flushed, .. } = self.log;
            effects.push(FollowerEffect::Report {
                leader,
                session: self.session,
                appended: log_end,
                flushed,
            });
        }
    }

    fn advance(&mut self, leaders: Offset, effects: &mut Vec<FollowerEffect>) {
        let to = leaders.min(self.log.log_end);
        if to > self.log.high_watermark {
            self.log.high_watermark = to;
            effects.push(FollowerEffect::AdvanceHighWatermark(to));
        }
    }

    fn is_fetching(&self, session: Session) -> bool {
        matches!(self.state, State::Fetching { .. }) && self.session == session
    }
}
