//! The seeds that a node was started with: whom to ask when, and what each said last.

use std::{collections::BTreeMap, time::Duration};

use super::{AskId, SeedAnswer, Timing};
use crate::config::node::HostPort;

/// The list of one node. Names are told apart without regard to case.
#[derive(Clone, Debug)]
pub(super) struct Seeds {
    entries: BTreeMap<HostPort, Entry>,
    timing: Timing,
    next_ask: u64,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    /// The question that is out, and since when.
    out: Option<(AskId, Duration)>,
    /// What it said last, and when it was asked: it may be another one since.
    last: Option<(SeedAnswer, Duration)>,
    /// How often in a row there was nothing new.
    quiet: u32,
    next: Duration,
}

impl Seeds {
    pub(super) fn new(seeds: impl IntoIterator<Item = HostPort>, timing: Timing) -> Self {
        let entries = seeds.into_iter().map(|seed| (normal(&seed), Entry::default())).collect();
        Self { entries, timing, next_ask: 0 }
    }

    /// Each once, lowest first.
    pub(super) fn list(&self) -> Vec<HostPort> {
        self.entries.keys().cloned().collect()
    }

    /// Whom to ask now, but for `us`.
    pub(super) fn due(&mut self, now: Duration, us: &HostPort) -> Vec<(AskId, HostPort)> {
        let us = normal(us);
        let mut asked = Vec::new();
        for (seed, entry) in self.entries.iter_mut().filter(|(seed, _)| **seed != us) {
            if entry.out.is_some_and(|(_, since)| now >= since + self.timing.ask_within) {
                entry.out = None;
                entry.heard(SeedAnswer::Unreachable, now, now, &self.timing);
            }
            if entry.out.is_none() && now >= entry.next {
                self.next_ask += 1;
                entry.out = Some((AskId(self.next_ask), now));
                asked.push((AskId(self.next_ask), seed.clone()));
            }
        }
        asked
    }

    /// Takes an answer; a late one, or one to a question of an earlier life, is nothing.
    pub(super) fn on_answer(&mut self, now: Duration, ask: AskId, answer: SeedAnswer) {
        let asked = |entry: &&mut Entry| entry.out.is_some_and(|(out, _)| out == ask);
        let Some(entry) = self.entries.values_mut().find(asked) else { return };
        let Some((_, since)) = entry.out.take() else { return };
        entry.heard(answer, since, now, &self.timing);
    }

    /// A seed is there, for it has asked us: it is asked without waiting for its turn, if that can bring anything.
    pub(super) fn on_sign_of_life(&mut self, now: Duration, address: &HostPort) {
        let Some(entry) = self.entries.get_mut(&normal(address)) else { return };
        if entry.out.is_none() && !matches!(entry.last, Some((SeedAnswer::Answered(_), _))) {
            entry.quiet = 0;
            entry.next = now;
        }
    }

    /// What each said that was asked lately; `None` for who has not been heard since.
    pub(super) fn fresh(&self, now: Duration) -> impl Iterator<Item = (&HostPort, Option<&SeedAnswer>)> {
        let fresh_for = self.timing.fresh_for;
        self.entries.iter().map(move |(seed, entry)| {
            let fresh = entry.last.as_ref().filter(|(_, asked)| now <= *asked + fresh_for);
            (seed, fresh.map(|(answer, _)| answer))
        })
    }

    /// When there is something to do.
    pub(super) fn next_due(&self, us: &HostPort) -> Option<Duration> {
        let us = normal(us);
        let others = self.entries.iter().filter(|(seed, _)| **seed != us);
        others
            .map(|(_, entry)| entry.out.map_or(entry.next, |(_, since)| since + self.timing.ask_within))
            .min()
    }
}

impl Entry {
    fn heard(&mut self, answer: SeedAnswer, asked: Duration, now: Duration, timing: &Timing) {
        let is_news = self.last.as_ref().is_none_or(|(last, _)| *last != answer);
        self.quiet = if is_news { 0 } else { self.quiet.saturating_add(1) };
        let wait = timing.ask_every_min.saturating_mul(1 << self.quiet.min(16)).min(timing.ask_every_max);
        self.next = now + wait;
        self.last = Some((answer, asked));
    }
}

/// An address as it is compared.
pub(super) fn normal(address: &HostPort) -> HostPort {
    HostPort::new(address.host.to_ascii_lowercase(), address.port)
}
