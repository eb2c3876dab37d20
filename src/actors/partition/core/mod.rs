//! What a leader replica decides, without a log, an actor or a clock.
//!
//! The actor appends and flushes; this core is told what came of it and says which producers may be
//! answered and how far consumers may read. It holds the acknowledgement contract:
//!
//! - `acks=1` is answered once the leader has appended;
//! - `acks=all` is answered once the high watermark has passed the batch (S1), a duplicate no sooner
//!   than its original (S9);
//! - on `disk` topics the high watermark follows the flushed position, on `replicated` ones the
//!   appended one (S4), and it never goes back within an epoch (S5).

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::{config::topic::Durability, model::Offset};

/// Which acknowledgement a producer asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// None: nobody waits for an answer (`acks=0`).
    None,
    /// The leader has appended it (`acks=1`).
    Leader,
    /// Every member of the in-sync set holds it (`acks=all`).
    All,
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
}

/// What the actor has to do about it.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<T> {
    /// Answer this producer with success.
    Acknowledge(T),
    /// Let consumers read up to here, and wake those that wait.
    AdvanceHighWatermark(Offset),
}

/// The state of one leader in one epoch.
#[derive(Debug)]
pub struct LeaderCore<T> {
    durability: Durability,
    log_end: Offset,
    flushed: Offset,
    high_watermark: Offset,
    /// Producers that wait for the high watermark, by the offset that it has to reach, ascending.
    parked: VecDeque<(Offset, T)>,
}

impl<T> LeaderCore<T> {
    /// A leader that has just opened its log. With one replica, what recovery kept is all there is,
    /// so the high watermark starts at the position that the topic's durability counts.
    pub fn new(durability: Durability, log_end: Offset, flushed: Offset) -> Self {
        let mut core =
            Self { durability, log_end, flushed, high_watermark: Offset::ZERO, parked: VecDeque::new() };
        core.high_watermark = core.held_by_all();
        core
    }

    /// How far consumers may read.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Whether a flush would let the high watermark advance.
    pub fn wants_flush(&self) -> bool {
        self.durability == Durability::Disk && self.flushed < self.log_end
    }

    /// How many producers wait.
    pub fn parked(&self) -> usize {
        self.parked.len()
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
        }
    }

    fn on_appended(&mut self, ticket: T, end: Offset, acks: Acks, effects: &mut Vec<Effect<T>>) {
        let now = match acks {
            Acks::None | Acks::Leader => true,
            Acks::All => end <= self.high_watermark,
        };
        if now {
            effects.push(Effect::Acknowledge(ticket));
            return;
        }
        // Almost always at the back; a duplicate of an unacknowledged batch may belong further ahead.
        let at = self.parked.partition_point(|(waits_for, _)| *waits_for <= end);
        self.parked.insert(at, (end, ticket));
    }

    /// The position that every member of the in-sync set holds; so far the leader is its only member.
    fn held_by_all(&self) -> Offset {
        match self.durability {
            Durability::Disk => self.flushed.min(self.log_end),
            Durability::Replicated => self.log_end,
        }
    }

    fn advance(&mut self, effects: &mut Vec<Effect<T>>) {
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
