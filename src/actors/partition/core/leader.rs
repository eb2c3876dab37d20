//! What a leader replica decides.
//!
//! The actor appends and flushes; this core is told what came of it and of what the followers report, and says which
//! producers may be answered, how far consumers may read, and who is to be in the in-sync set. It holds the
//! acknowledgement contract:
//!
//! - `acks=1` is answered once the leader has appended;
//! - `acks=all` is answered once the high watermark has passed the batch (S1), a duplicate no sooner
//!   than its original (S9);
//! - the high watermark is what every member of the maximal in-sync set holds (S2): on `disk` topics its flushed
//!   position, on `replicated` ones its appended one, the leader's own like any other's (S4);
//! - it never goes back within an epoch (S5), and stands still below the minimum (S10): whoever waits is then told
//!   that there are too few.
//!
//! A replica that is alone is a leader of a set of one. Its appends touch no more than they did without followers.

use std::{collections::VecDeque, time::Duration};

use super::{
    Acks, Carried, EpochStart, Session, Subscription, SubscriptionRefusal, Verdict, counted,
    divergence::compare,
    in_sync::{FollowerMoved, FollowerPosition, InSync, Measure, PartitionState, SetAnswer, SetChange},
};
use crate::{
    config::topic::Durability,
    model::{LeaderEpoch, NodeId, Offset},
};

/// A leader's beginning.
#[derive(Clone, Debug)]
pub struct Term {
    /// This node.
    pub node: NodeId,
    /// The epoch, and the log's end when it was given.
    pub begins: EpochStart,
    /// The topic's `durability`.
    pub durability: Durability,
    /// `min.insync.replicas`.
    pub min_in_sync: usize,
    /// The partition as it was when the epoch was given. An older state is waited out: the watermark stands still
    /// until one of this epoch comes.
    pub partition: PartitionState,
    /// `cluster.replica-lag-time-max`.
    pub lag_time_max: Duration,
    /// The monotonic clock.
    pub now: Duration,
}

/// What happened, as far as the core has to know.
#[derive(Debug)]
pub enum Input<T> {
    /// A batch stands in the log, newly or from an earlier try of an idempotent producer.
    Appended {
        /// Whom to answer; handed back in [`Effect::Acknowledge`].
        ticket: T,
        /// The offset after the batch's last record.
        end: Offset,
        /// What the producer asked for.
        acks: Acks,
    },
    /// The log's end moved to here. Comes once after all batches of one wake-up.
    LogEnd(Offset),
    /// Everything below is on disk.
    Flushed(Offset),
    /// The topic's `durability` was changed.
    Durability(Durability),
    /// `min.insync.replicas` was changed.
    MinInSync(usize),
    /// A follower has more.
    Follower {
        /// How far it is.
        at: FollowerMoved,
        /// The monotonic clock.
        now: Duration,
    },
    /// A follower's subscription is over.
    Silent {
        /// Whose.
        node: NodeId,
        /// Which.
        session: Session,
    },
    /// An image has the partition like this. What is older than what is known changes nothing.
    Partition {
        /// The partition.
        state: PartitionState,
        /// The monotonic clock.
        now: Duration,
    },
    /// A proposal was answered, or will not be.
    Answered {
        /// Which.
        id: u64,
        /// What came of it.
        answer: SetAnswer,
        /// The monotonic clock.
        now: Duration,
    },
    /// Some time has passed; asked for by [`LeaderCore::wants_tick`].
    Tick {
        /// The monotonic clock.
        now: Duration,
    },
}

/// What the actor has to do about it.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<T> {
    /// Answer this producer with success.
    Acknowledge(T),
    /// Let consumers read up to here, and wake those that wait.
    AdvanceHighWatermark(Offset),
    /// Tell this producer that its batch was appended and too few are in sync (S10).
    Refuse(T, TooFewInSync),
    /// Tell this producer that this replica leads no more: its batch may be kept or not.
    Disown(T),
    /// Ask the controller for another in-sync set, once.
    ProposeInSync(Box<SetChange>),
}

/// Fewer members than `min.insync.replicas`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{in_sync} replicas are in sync, {required} are required")]
pub struct TooFewInSync {
    /// Members of the committed set.
    pub in_sync: usize,
    /// The minimum.
    pub required: usize,
}

/// The state of one leader in one epoch.
#[derive(Debug)]
pub struct LeaderCore<T> {
    begins: EpochStart,
    durability: Durability,
    min_in_sync: usize,
    log_end: Offset,
    flushed: Offset,
    high_watermark: Offset,
    /// Kept up to date where the set changes, so that an append has nothing to compute.
    may_advance: bool,
    resigned: bool,
    in_sync: InSync,
    /// Producers that wait for the high watermark, by the offset that it has to reach, ascending.
    parked: VecDeque<(Offset, T)>,
}

impl<T> LeaderCore<T> {
    /// A leader that takes over an open log, as a follower or an earlier leader left it, or as recovery did.
    pub fn lead(term: Term, carried: &Carried) -> Self {
        let Term { node, begins, durability, min_in_sync, partition, lag_time_max, now } = term;
        let mut core = Self {
            begins,
            durability,
            min_in_sync,
            log_end: carried.log_end,
            flushed: carried.flushed,
            high_watermark: carried.high_watermark.min(carried.log_end),
            may_advance: false,
            resigned: false,
            in_sync: InSync::new(node, begins.epoch, partition, lag_time_max, (carried.log_end, now)),
            parked: VecDeque::new(),
        };
        core.may_advance = core.in_sync.may_advance(min_in_sync);
        if core.may_advance {
            core.high_watermark = core.high_watermark.max(core.held_by_all());
        }
        core
    }

    /// The epoch and where it began.
    pub const fn begins(&self) -> EpochStart {
        self.begins
    }

    /// How far consumers may read.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Whether the watermark is known to be no lower than any earlier leader's: until then nobody is told where
    /// the log ends (S5).
    pub fn may_promise(&self) -> bool {
        self.high_watermark >= self.begins.start
    }

    /// Whether a batch may be appended, or there are too few in sync for what its producer asks.
    pub fn admits(&self, acks: Acks) -> Result<(), TooFewInSync> {
        match acks {
            Acks::All => self.enough(),
            Acks::None | Acks::Leader => Ok(()),
        }
    }

    /// Whether a flush would let the high watermark advance.
    pub fn wants_flush(&self) -> bool {
        self.durability == Durability::Disk && self.flushed < self.log_end
    }

    /// Whether time alone may change something: a follower is behind, or a proposal has to be made again.
    pub fn wants_tick(&self) -> bool {
        !self.resigned && self.in_sync.wants_tick(&self.measure())
    }

    /// How many producers wait.
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// How far each follower is.
    pub fn followers(&self) -> impl Iterator<Item = FollowerPosition> + '_ {
        self.in_sync.positions()
    }

    /// The partition's epoch, as far as it is known here.
    pub fn partition_epoch(&self) -> i32 {
        self.in_sync.partition_epoch()
    }

    /// Takes one input; what is to be done is put behind what `effects` already holds.
    pub fn step(&mut self, input: Input<T>, effects: &mut Vec<Effect<T>>) {
        match input {
            Input::Appended { ticket, end, acks } => self.on_appended(ticket, end, acks, effects),
            Input::LogEnd(end) => {
                self.log_end = self.log_end.max(end);
                self.advance(effects);
            }
            Input::Flushed(end) => {
                self.flushed = self.flushed.max(end);
                self.advance(effects);
            }
            Input::Durability(durability) => {
                self.durability = durability;
                self.advance(effects);
            }
            Input::MinInSync(min_in_sync) => {
                self.min_in_sync = min_in_sync;
                self.set_changed(effects);
            }
            Input::Follower { at, now } => self.on_follower(&at, now, effects),
            Input::Silent { node, session } => self.in_sync.silent(node, session),
            Input::Partition { state, now } => {
                if self.in_sync.adopt(state, (self.log_end, now)) {
                    self.set_changed(effects);
                    self.propose(None, effects);
                }
            }
            Input::Answered { id, answer, now } => {
                self.in_sync.answered(id, answer, (self.log_end, now));
                self.set_changed(effects);
                self.propose(None, effects);
            }
            Input::Tick { now } => {
                let measure = self.measure();
                self.in_sync.tick(&measure, now);
                self.propose(Some(now), effects);
            }
        }
    }

    /// A follower asks to be fed. `found` is what this log's epochs say to the follower's last one: the largest at or
    /// below it and where it ends, `None` where it is above all of them.
    pub fn subscribe(
        &mut self,
        asked: &Subscription,
        found: Option<(LeaderEpoch, Offset)>,
        log_start: Offset,
        now: Duration,
        effects: &mut Vec<Effect<T>>,
    ) -> Verdict {
        if self.resigned || asked.leader_epoch > self.begins.epoch {
            return Verdict::Refused(SubscriptionRefusal::UnknownLeaderEpoch);
        }
        if asked.leader_epoch < self.begins.epoch {
            return Verdict::Refused(SubscriptionRefusal::StaleLeaderEpoch);
        }
        if !self.in_sync.is_replica(asked.node) {
            return Verdict::Refused(SubscriptionRefusal::NotReplica);
        }
        let may_lead = self.in_sync.may_lead(asked.node);
        let verdict = compare(asked, may_lead, found, self.begins.epoch, (log_start, self.log_end));
        let follows = verdict == Verdict::Follows;
        if !self.in_sync.subscribed(asked, follows, (self.log_end, now)) {
            return Verdict::Refused(SubscriptionRefusal::Stale);
        }
        if follows {
            let Subscription { node, session, end, flushed, .. } = *asked;
            self.on_follower(&FollowerMoved { node, session, appended: end, flushed }, now, effects);
        }
        verdict
    }

    /// Leads no more: whoever waits is told so, and nothing is acknowledged afterwards. What is known of the log goes
    /// on with it; its start and generation are the log's own to say.
    pub fn resign(&mut self, effects: &mut Vec<Effect<T>>) -> Offset {
        self.resigned = true;
        self.may_advance = false;
        effects.extend(self.parked.drain(..).map(|(_, ticket)| Effect::Disown(ticket)));
        self.high_watermark
    }

    fn on_appended(&mut self, ticket: T, end: Offset, acks: Acks, effects: &mut Vec<Effect<T>>) {
        let now = match acks {
            Acks::None | Acks::Leader => true,
            Acks::All => end <= self.high_watermark,
        };
        if self.resigned {
            effects.push(Effect::Disown(ticket));
            return;
        }
        if now {
            effects.push(Effect::Acknowledge(ticket));
            return;
        }
        if let Err(too_few) = self.enough() {
            effects.push(Effect::Refuse(ticket, too_few));
            return;
        }
        // Almost always at the back; a duplicate of an unacknowledged batch may belong further ahead.
        let at = self.parked.partition_point(|(waits_for, _)| *waits_for <= end);
        self.parked.insert(at, (end, ticket));
    }

    fn on_follower(&mut self, at: &FollowerMoved, now: Duration, effects: &mut Vec<Effect<T>>) {
        let measure = self.measure();
        if self.in_sync.moved(at, &measure, now) {
            self.advance(effects);
            self.propose(None, effects);
        }
    }

    fn set_changed(&mut self, effects: &mut Vec<Effect<T>>) {
        self.may_advance = !self.resigned && self.in_sync.may_advance(self.min_in_sync);
        self.advance(effects);
        if let Err(too_few) = self.enough() {
            effects.extend(self.parked.drain(..).map(|(_, ticket)| Effect::Refuse(ticket, too_few)));
        }
    }

    fn propose(&mut self, now: Option<Duration>, effects: &mut Vec<Effect<T>>) {
        if self.resigned {
            return;
        }
        let measure = self.measure();
        if let Some(change) = self.in_sync.propose(&measure, now) {
            effects.push(Effect::ProposeInSync(Box::new(change)));
        }
    }

    fn enough(&self) -> Result<(), TooFewInSync> {
        let (in_sync, required) = (self.in_sync.committed(), self.min_in_sync);
        if in_sync < required { Err(TooFewInSync { in_sync, required }) } else { Ok(()) }
    }

    fn measure(&self) -> Measure {
        let join_at = self.high_watermark.max(self.begins.start);
        let own = counted(self.durability, self.log_end, self.flushed);
        Measure { durability: self.durability, log_end: self.log_end, own, join_at }
    }

    /// The position that every member of the maximal in-sync set holds.
    fn held_by_all(&self) -> Offset {
        let own = counted(self.durability, self.log_end, self.flushed);
        own.min(self.in_sync.held_by_others(self.durability)).min(self.log_end)
    }

    fn advance(&mut self, effects: &mut Vec<Effect<T>>) {
        if !self.may_advance {
            return;
        }
        let held = self.held_by_all();
        if held <= self.high_watermark {
            return;
        }
        self.high_watermark = held;
        effects.push(Effect::AdvanceHighWatermark(held));
        while self.parked.front().is_some_and(|(waits_for, _)| *waits_for <= held) {
            if let Some((_, ticket)) = self.parked.pop_front() {
                effects.push(Effect::Acknowledge(ticket));
            }
        }
    }
}
