//! A node that leads: what the actor around the leader's core does, and the leader's side of the streams.

use std::collections::BTreeMap;

use polylogue::{
    actors::partition::core::{
        Acks, Carried, DataHead, Effect, EpochStart, FollowerInput, Input, LeaderCore, SetAnswer,
        Subscription, Term, Verdict,
        in_sync::{FollowerMoved, FollowerPosition},
    },
    model::{LeaderEpoch, Offset},
};
use std::time::Duration;

use super::{
    checks::{COMPLETE, Deceived, ONCE, SEEN},
    controller::{Image, id},
    log::Record,
    mistakes::Mistake,
    node::{Fed, Leading, Node, Role},
    script::Node as Number,
    world::{Ask, Event, FollowerSays, LeaderSays, Produce, Produced, World},
};
use crate::trial::{Checked, hold};

/// Who is answered, and with what that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    client: usize,
    number: u64,
    id: u64,
    offset: i64,
    acks_all: bool,
}

const LAG_TIME_MAX: Duration = Duration::from_millis(1500);
const ANSWER_WITHIN: u64 = 500_000;

impl World {
    fn time(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    pub(super) fn begin_to_lead(&mut self, node: Number, epoch: LeaderEpoch, carried: &Carried) -> Checked {
        let incarnation = self.incarnation();
        let (now, mistake) = (self.time(), self.mistake);
        self.deceived_leads(node, epoch);
        let it = &mut self.nodes[node];
        let Some(image) = it.image.clone() else { return Ok(()) };
        if it.log.epochs.latest().is_some_and(|latest| latest.epoch > epoch) {
            return Ok(());
        }
        it.log.begin_epoch(epoch);
        let mut partition = image.partition;
        if mistake == Some(Mistake::TrustsOldImage) {
            partition.leader_epoch = epoch;
        }
        let start =
            if mistake == Some(Mistake::JoinsBelowEpochStart) { Offset::ZERO } else { carried.log_end };
        let term = Term {
            node: id(node),
            begins: EpochStart { epoch, start },
            durability: image.durability,
            min_in_sync: image.min_in_sync,
            partition: mistaken(partition, mistake),
            lag_time_max: LAG_TIME_MAX,
            now,
        };
        let core = LeaderCore::lead(term, carried);
        let high_watermark = core.high_watermark().get();
        let epoch = epoch.get();
        it.role = Role::Leading(Box::new(Leading { core, incarnation, epoch, fed: BTreeMap::new() }));
        self.promises.leads(epoch, node, incarnation)?;
        self.happens("took over");
        self.see(node, high_watermark)?;
        self.lead(node, |_, _| ())
    }

    /// What it was believed to have and has not is lost, if it was promised.
    fn deceived_leads(&mut self, node: Number, epoch: LeaderEpoch) {
        let Some(Deceived { upto, is_believed }) = self.nodes[node].deceived.take() else { return };
        let it = &self.nodes[node];
        let lacks_nothing = it.log.end() >= upto && self.holds_what_was_seen(it).is_ok();
        if lacks_nothing || !is_believed {
            return;
        }
        if self.forgive_what_lacks(node) {
            self.happens("lost by a lie");
        }
        // What is on its way to an earlier leader may still be believed there.
        self.promises.count_from(epoch.get());
        self.forgiven += 1;
    }

    /// Lets the core decide something, and does what it says.
    fn lead(
        &mut self,
        node: Number,
        what: impl FnOnce(&mut LeaderCore<Ticket>, &mut Vec<Effect<Ticket>>),
    ) -> Checked {
        let Role::Leading(leading) = &mut self.nodes[node].role else { return Ok(()) };
        let mut effects = Vec::new();
        what(&mut leading.core, &mut effects);
        let incarnation = leading.incarnation;
        for effect in effects {
            match effect {
                Effect::Acknowledge(ticket) => self.acknowledge(node, &ticket)?,
                Effect::AdvanceHighWatermark(to) => self.see(node, to.get())?,
                Effect::Refuse(ticket, _) => {
                    self.happens("refused after the append");
                    self.answer(&ticket, Produced::Unknown);
                }
                Effect::Disown(ticket) => self.answer(&ticket, Produced::Unknown),
                Effect::ProposeInSync(change) => self.propose(node, incarnation, *change)?,
            }
        }
        self.feed_all(node);
        let Role::Leading(leading) = &self.nodes[node].role else { return Ok(()) };
        if leading.core.wants_flush() {
            self.flush(node);
        }
        Ok(())
    }

    fn propose(
        &mut self,
        node: Number,
        incarnation: u64,
        change: polylogue::actors::partition::core::SetChange,
    ) -> Checked {
        let it = &self.nodes[node];
        let Role::Leading(leading) = &it.role else { return Ok(()) };
        let (id, epoch) = (change.id, LeaderEpoch::new(leading.epoch));
        let broker_epoch = it.broker_epoch.unwrap_or(-1);
        self.happens("set change proposed");
        self.ask_controller(node, Ask::Alter { incarnation, epoch, broker_epoch, change });
        self.after(ANSWER_WITHIN, Event::NoAnswer { node, incarnation, id });
        if self.mistake == Some(Mistake::ForgetsProposed) {
            return self.lead_answered(node, id, SetAnswer::Refused(None));
        }
        Ok(())
    }

    fn acknowledge(&mut self, node: Number, ticket: &Ticket) -> Checked {
        let found = self.nodes[node].log.get(ticket.offset).map(|record| record.id);
        hold!(found == Some(ticket.id), ONCE, "node {node} acknowledges {ticket:?}, and has {found:?} there");
        let Role::Leading(leading) = &self.nodes[node].role else { return Ok(()) };
        if ticket.acks_all && self.promises.counts(leading.epoch) {
            self.happens("acknowledged");
            let seen = self.promises.seen_end();
            hold!(ticket.offset < seen, COMPLETE, "{ticket:?} is acknowledged above {seen}");
            self.promises.acknowledged.insert(ticket.offset, ticket.id);
        }
        self.answer(ticket, Produced::Acknowledged);
        Ok(())
    }

    fn answer(&mut self, ticket: &Ticket, outcome: Produced) {
        self.answer_client(ticket.client, ticket.number, outcome);
    }

    pub(super) fn answer_client(&mut self, client: usize, number: u64, outcome: Produced) {
        let delay = self.rng().u64(50..2000);
        if self.rng().u8(0..50) != 0 {
            self.after(delay, Event::Produced { client, number, outcome });
        }
    }

    /// Consumers see this leader's log up to here.
    fn see(&mut self, node: Number, to: i64) -> Checked {
        let it = &mut self.nodes[node];
        let before = std::mem::replace(&mut it.high_watermark, to);
        hold!(to >= before, SEEN, "node {node}'s watermark goes from {before} to {to}");
        if !matches!(&it.role, Role::Leading(leading) if self.promises.counts(leading.epoch)) {
            return Ok(());
        }
        let seen = self.promises.seen_end();
        if self.forgiven == 0 {
            let at = to.min(seen);
            let ours = it.log.chain_at(at);
            hold!(
                ours.is_none() || ours == self.promises.seen_at(at),
                SEEN,
                "node {node} shows other records below {at}"
            );
        }
        for at in seen + 1..=to {
            let chain = it.log.chain_at(at);
            hold!(chain.is_some(), SEEN, "node {node} shows {at}, which it does not have");
            self.promises.seen.extend(chain);
        }
        Ok(())
    }

    pub(super) fn resign_leader(&mut self, node: Number) -> Checked {
        let mut kept = 0;
        self.lead(node, |core, effects| kept = core.resign(effects).get())?;
        let Role::Leading(leading) = &self.nodes[node].role else { return Ok(()) };
        for fed in leading.fed.clone().into_values() {
            self.end_stream(fed.stream);
        }
        self.nodes[node].high_watermark = kept;
        Ok(())
    }

    pub(super) fn lead_by_image(&mut self, node: Number, image: &Image) -> Checked {
        let (now, mistake) = (self.time(), self.mistake);
        let minimum = if mistake == Some(Mistake::AdvancesBelowMinimum) { 1 } else { image.min_in_sync };
        self.lead(node, |core, effects| {
            core.step(Input::Durability(image.durability), effects);
            core.step(Input::MinInSync(minimum), effects);
            core.step(Input::Partition { state: mistaken(image.partition.clone(), mistake), now }, effects);
        })
    }

    /// Time passes for a leader.
    pub(super) fn lead_on(&mut self, node: Number) -> Checked {
        let now = self.time();
        self.lead(node, |core, effects| {
            if core.wants_tick() {
                core.step(Input::Tick { now }, effects);
            }
        })
    }

    pub(super) fn lead_answered(&mut self, node: Number, id: u64, answer: SetAnswer) -> Checked {
        let (now, mistake) = (self.time(), self.mistake);
        let answer = match answer {
            SetAnswer::Done(state) => SetAnswer::Done(mistaken(state, mistake)),
            SetAnswer::Refused(state) => SetAnswer::Refused(state.map(|state| mistaken(state, mistake))),
            SetAnswer::Unknown => SetAnswer::Unknown,
        };
        self.lead(node, |core, effects| core.step(Input::Answered { id, answer, now }, effects))
    }

    pub(super) fn leader_flushed(&mut self, node: Number, end: Offset) -> Checked {
        self.lead(node, |core, effects| core.step(Input::Flushed(end), effects))
    }

    pub(super) fn on_follower_says(&mut self, stream: u64, says: FollowerSays) -> Checked {
        let (node, follower) = {
            let stream = &self.streams[stream as usize];
            (stream.leader.0, stream.follower.0)
        };
        match says {
            FollowerSays::Subscribe(asked) => self.on_subscribe(node, follower, stream, &asked),
            FollowerSays::Report(moved) => self.on_report(node, moved),
            FollowerSays::Unsubscribe => self.unfeed(node, stream),
        }
    }

    fn on_subscribe(&mut self, node: Number, follower: Number, stream: u64, asked: &Subscription) -> Checked {
        let (now, mistake) = (self.time(), self.mistake);
        let it = &self.nodes[node];
        let Role::Leading(leading) = &it.role else {
            // The gateway of a node that does not lead.
            let refusal = polylogue::actors::partition::core::SubscriptionRefusal::UnknownLeaderEpoch;
            return self.tell_verdict(stream, asked, Verdict::Refused(refusal), None);
        };
        let found = match mistake {
            Some(Mistake::IgnoresEpochs) => Some((asked.last_epoch, Offset::new(it.log.end()))),
            _ => it.log.epoch_end(asked.last_epoch),
        };
        let known = leading.core.followers().find(|known| known.node == asked.node);
        let log_start = Offset::new(it.log.start);
        let mut verdict = Verdict::Follows;
        let seen = self.promises.seen_end();
        self.lead(node, |core, effects| {
            verdict = core.subscribe(asked, found, log_start, now, effects);
        })?;
        let of_leader = |at| self.nodes[node].log.chain_at(at);
        let chain = Self::verdict_chain(&verdict, asked.end.get(), of_leader);
        // From here on it is counted for what it has, and not for what it said before its disk lost it.
        let asks = &self.nodes[follower];
        let is_this_start = asks.up && self.streams[stream as usize].follower.1 == asks.boot;
        let leads = self.controller.image.partition.leader_epoch == asked.leader_epoch;
        if verdict == Verdict::Follows && is_this_start && leads {
            let deceived = self.nodes[follower].deceived.iter_mut();
            deceived.for_each(|deceived| deceived.upto = deceived.upto.min(seen));
        }
        if mistake == Some(Mistake::KeepsPosition) {
            self.believe_what_was(node, asked, known)?;
        }
        if !matches!(verdict, Verdict::Follows) {
            self.happens("subscription not taken");
            return self.tell_verdict(stream, asked, verdict, chain);
        }
        let at = self.nodes[node].high_watermark;
        if mistake == Some(Mistake::WatermarkGoesBack) && asked.end.get() < at {
            self.see(node, asked.end.get())?;
        }
        if let Role::Leading(leading) = &mut self.nodes[node].role {
            let (session, next) = (asked.session, asked.end.get());
            leading.fed.insert(follower, Fed { stream, session, next, told: (-1, -1), pumping: false });
        }
        self.tell_verdict(stream, asked, verdict, chain)?;
        self.feed_all(node);
        Ok(())
    }

    fn tell_verdict(
        &mut self,
        stream: u64,
        asked: &Subscription,
        verdict: Verdict,
        chain: Option<u64>,
    ) -> Checked {
        let input = FollowerInput::Verdict { session: asked.session, verdict, ours: None };
        self.send(stream, Event::ToFollower { stream, says: LeaderSays::Verdict { input, chain } });
        Ok(())
    }

    fn on_report(&mut self, node: Number, mut moved: FollowerMoved) -> Checked {
        let now = self.time();
        if self.mistake == Some(Mistake::CountsAppended) {
            moved.flushed = moved.appended;
        }
        self.lead(node, |core, effects| core.step(Input::Follower { at: moved, now }, effects))?;
        if self.mistake == Some(Mistake::AcknowledgesAtMinimum) {
            return self.believe_the_minimum(node);
        }
        Ok(())
    }

    /// A follower that asks anew has what it had.
    fn believe_what_was(
        &mut self,
        node: Number,
        asked: &Subscription,
        known: Option<FollowerPosition>,
    ) -> Checked {
        let Some(FollowerPosition { node: follower, appended, flushed, .. }) = known else { return Ok(()) };
        let (now, session) = (self.time(), asked.session);
        let at = FollowerMoved { node: follower, session, appended, flushed };
        self.lead(node, |core, effects| core.step(Input::Follower { at, now }, effects))
    }

    /// What so many hold as have to, all are said to hold.
    fn believe_the_minimum(&mut self, node: Number) -> Checked {
        let now = self.time();
        let it = &self.nodes[node];
        let minimum = it.image.as_ref().map_or(1, |image| image.min_in_sync.max(2));
        let Role::Leading(leading) = &it.role else { return Ok(()) };
        let held = |p: &FollowerPosition| p.flushed.min(p.appended);
        let mut positions: Vec<_> = leading.core.followers().map(|p| held(&p)).collect();
        positions.sort_unstable();
        positions.reverse();
        let Some(at) = positions.get(minimum - 2).copied() else { return Ok(()) };
        let others: Vec<_> = leading.fed.iter().map(|(node, fed)| (*node, fed.session)).collect();
        for (follower, session) in others {
            let at = FollowerMoved { node: id(follower), session, appended: at, flushed: at };
            self.lead(node, |core, effects| core.step(Input::Follower { at, now }, effects))?;
        }
        Ok(())
    }

    pub(super) fn unfeed(&mut self, node: Number, stream: u64) -> Checked {
        let Role::Leading(leading) = &mut self.nodes[node].role else { return Ok(()) };
        let gone =
            leading.fed.iter().find(|(_, fed)| fed.stream == stream).map(|(node, fed)| (*node, fed.session));
        let Some((follower, session)) = gone else { return Ok(()) };
        leading.fed.remove(&follower);
        self.lead(node, |core, effects| core.step(Input::Silent { node: id(follower), session }, effects))
    }

    /// Sees to it that whoever lacks something is sent it.
    fn feed_all(&mut self, node: Number) {
        let it = &mut self.nodes[node];
        let now_is = (it.high_watermark, it.log.start);
        let end = it.log.end();
        let Role::Leading(leading) = &mut it.role else { return };
        let incarnation = leading.incarnation;
        let mut due = Vec::new();
        for (follower, fed) in &mut leading.fed {
            if !fed.pumping && (fed.next < end || fed.told != now_is) {
                fed.pumping = true;
                due.push(*follower);
            }
        }
        for follower in due {
            let delay = self.rng().u64(20..1000);
            self.after(delay, Event::Pump { node, incarnation, follower });
        }
    }

    pub(super) fn on_pump(&mut self, node: Number, incarnation: u64, follower: Number) {
        let most = self.rng().i64(1..8);
        let it = &mut self.nodes[node];
        let (log, high_watermark) = (&it.log, it.high_watermark);
        let Role::Leading(leading) = &mut it.role else { return };
        if leading.incarnation != incarnation {
            return;
        }
        let Some(fed) = leading.fed.get_mut(&follower) else { return };
        fed.pumping = false;
        let (stream, session) = (fed.stream, fed.session);
        fed.told = (high_watermark, log.start);
        let (high_watermark, log_start) = (Offset::new(high_watermark), Offset::new(log.start));
        let says = if fed.next < log.start {
            leading.fed.remove(&follower);
            let verdict = Verdict::StartsAnew { log_start };
            let chain = log.chain_at(log.start);
            LeaderSays::Verdict { input: FollowerInput::Verdict { session, verdict, ours: None }, chain }
        } else {
            let from = fed.next;
            let records: Vec<Record> = (from..from + most).map_while(|at| log.get(at)).collect();
            fed.next += records.len() as i64;
            match (records.first(), records.last()) {
                (Some(first), Some(last)) => LeaderSays::Data {
                    head: DataHead {
                        session,
                        from: Offset::new(from),
                        end: Offset::new(fed.next),
                        first_epoch: LeaderEpoch::new(first.epoch),
                        last_epoch: LeaderEpoch::new(last.epoch),
                        high_watermark,
                        log_start,
                    },
                    records,
                },
                _ => LeaderSays::Other(FollowerInput::Watermark { session, high_watermark, log_start }),
            }
        };
        self.send(stream, Event::ToFollower { stream, says });
        self.feed_all(node);
    }

    pub(super) fn on_produce(&mut self, node: Number, asks: Produce) -> Checked {
        let it = &mut self.nodes[node];
        let leader = it.image.as_ref().and_then(|image| image.leader);
        let Role::Leading(leading) = &mut it.role else {
            self.answer_client(asks.client, asks.number, Produced::NotHere { leader });
            return Ok(());
        };
        let acks = if asks.acks_all { Acks::All } else { Acks::Leader };
        if leading.core.admits(acks).is_err() {
            self.happens("refused before the append");
            self.answer_client(asks.client, asks.number, Produced::NotHere { leader });
            return Ok(());
        }
        let epoch = leading.epoch;
        let (known, last) = match asks.record.sequence {
            -1 => (None, None),
            sequence => it.log.producer(asks.record.producer, sequence),
        };
        if known.is_none()
            && asks.record.sequence != last.map_or(asks.record.sequence.min(0), |last| last + 1)
        {
            // One who leads no more and does not know it has missed what came since: its producer asks elsewhere.
            let partition = &self.controller.image.partition;
            let leads = self.controller.image.leader == Some(node) && partition.leader_epoch.get() == epoch;
            let outcome = if leads { Produced::OutOfOrder } else { Produced::Unknown };
            self.answer_client(asks.client, asks.number, outcome);
            return Ok(());
        }
        let offset = known.unwrap_or_else(|| it.log.append(Record { epoch, ..asks.record }));
        let Produce { client, number, acks_all, record } = asks;
        let ticket = Ticket { client, number, id: record.id, offset, acks_all };
        match known {
            Some(_) => self.happens("duplicate"),
            None => self.promises.writes(epoch, offset, record.id)?,
        }
        let end = Offset::new(offset + 1);
        self.lead(node, |core, effects| {
            core.step(Input::Appended { ticket, end, acks }, effects);
            core.step(Input::LogEnd(end), effects);
        })
    }

    pub(super) fn delete_records(&mut self, percent: u8) -> Checked {
        let Some(node) = self.controller.image.leader else { return Ok(()) };
        let it = &mut self.nodes[node];
        if it.up && matches!(it.role, Role::Leading(_)) {
            let to = it.log.start + (it.high_watermark - it.log.start).max(0) * i64::from(percent) / 100;
            it.log.move_start(to);
            self.deleted = true;
            self.happens("records deleted");
            self.feed_all(node);
        }
        Ok(())
    }

    /// Whoever may lead next has all that was promised.
    pub(super) fn check(&self) -> Checked {
        self.check_nodes()?;
        let partition = &self.controller.image.partition;
        let seen = self.promises.seen_end();
        for member in partition.in_sync.iter().chain(&partition.electable) {
            let it = &self.nodes[member.get() as usize];
            if it.lost_memory && !partition.on_disk {
                continue;
            }
            let excused = |it: &Deceived| (partition.on_disk || it.is_believed) && seen <= it.upto;
            let may_lack = it.deceived.as_ref().is_some_and(excused);
            if !may_lack {
                self.holds_what_was_seen(it)?;
            }
        }
        Ok(())
    }

    pub(super) fn holds_what_was_seen(&self, it: &Node) -> Checked {
        let (partition, seen, node) = (&self.controller.image.partition, self.promises.seen_end(), it.number);
        let held = if partition.on_disk { it.log.on_disk() } else { it.log.end() };
        hold!(held >= seen, COMPLETE, "node {node} holds {held}, and {seen} is seen ({partition:?})");
        let chain = it.log.chain_at(seen);
        hold!(
            chain.is_none() || chain == self.promises.seen_at(seen),
            COMPLETE,
            "node {node} has other records below {seen}"
        );
        Ok(())
    }
}

/// What a leader that makes this mistake understands.
fn mistaken(
    mut state: polylogue::actors::partition::core::PartitionState,
    mistake: Option<Mistake>,
) -> polylogue::actors::partition::core::PartitionState {
    if mistake == Some(Mistake::AdvancesBelowMinimum) {
        state.electable.clear();
    }
    state
}
