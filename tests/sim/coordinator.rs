//! The coordinator on the node: what its actor does, with the core, the writer and the replay that the actor has.

use std::{collections::BTreeMap, time::Duration};

use polylogue::{
    actors::group_coordinator::{
        Refusal, Writer,
        core::{Answer, Caller, Coordinator, Effect, Now, Request, Ticket, stored::Stored},
        replay,
    },
    model::Offset,
    wire::{ErrorCode, Str},
};
use uuid::Uuid;

use crate::{
    chance::chance,
    checks::{ANSWERED, Cause, DURABLE, IN_TIME, describe},
    node::{Appending, Asked, Serving, Waiting},
    plants::Plant,
    standings::{describe_consumer, one_holder},
    trial::{Checked, Violation, hold},
    world::{Event, World},
};

/// How late a timer may ring; much later now and then.
const LATE_US: u64 = 20_000;
/// What is due is done within this.
const IN_TIME_US: u64 = 600_000;
/// How long the disk may take, at its worst.
const DISK_US: u64 = 5_000_000;

impl World {
    pub(crate) fn drop_coordinator(&mut self, refusal: Refusal) {
        let Some(mut serving) = self.node.serving.take() else { return };
        self.trace.say(self.now, format_args!("the coordinator is gone: {refusal}"));
        for (waiting, _) in serving.writer.give_up() {
            self.reply(&waiting.asked, Err(refusal));
        }
        for asked in serving.tickets.into_values() {
            self.reply(&asked, Err(Refusal::OutcomeUnknown));
        }
    }

    pub(crate) fn on_load(&mut self, term: u64) -> Checked {
        if term != self.node.term || self.node.log.is_none() {
            return Ok(());
        }
        let Some((log, end)) = self.loadable() else {
            self.after(2000, Event::Load { term });
            return Ok(());
        };
        let (log_end, is_poisoned) = (log.log_end_offset(), log.is_poisoned());
        let read = replay(&log.reader(), end, self.script.given.settings.clone(), "simulated");
        let mut core = match read {
            Ok(read) => read.core,
            // Whoever flushes will find it as well.
            Err(_) if is_poisoned => return Ok(()),
            Err(_) if self.node.is_dead() => {
                self.log_failed();
                return Ok(());
            }
            Err(error) => return Err(Violation { rule: DURABLE, what: format!("not loaded: {error}") }),
        };
        let now = self.node.now(self.now);
        core.loaded(now);
        self.trace.say(self.now, format_args!("loaded up to {end}: {:?}", core.sizes()));
        if self.checks.decided() > log_end.get() as usize {
            self.note("decisions undone by a crash");
        }
        self.checks.loaded(&mut core, log_end.get() as usize)?;
        self.node.serving = Some(Serving {
            core,
            writer: Writer::default(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            appending: None,
            rings_at: None,
            heard: BTreeMap::new(),
            since: now.monotonic,
        });
        self.set_image()?;
        self.decide(&Cause::Time, Coordinator::tick)
    }

    /// The coordinator learns what topics there are.
    pub(crate) fn set_image(&mut self) -> Checked {
        let image = self.image();
        self.checks.set_image(&image);
        self.decide(&Cause::Time, |core, now, effects| core.set_image(now, image, effects))
    }

    pub(crate) fn on_request(&mut self, asked: Asked, version: i16) -> Checked {
        let monotonic = self.node.now(self.now).monotonic;
        let Some(serving) = &mut self.node.serving else {
            self.reply(&asked, Err(Refusal::Loading));
            return Ok(());
        };
        let ticket = Ticket(serving.next_ticket);
        serving.next_ticket += 1;
        let mut fresh = chance(self.script.seed, &[2, self.node.term, ticket.0]);
        let caller = Caller {
            client_id: Str::from(format!("c{}", asked.client)),
            client_host: "/127.0.0.1".into(),
            version,
            fresh: Uuid::from_u128(fresh.u128(..)),
        };
        let request = Plant::misled(self.plant, asked.request.clone(), &mut serving.core);
        let cause = Cause::Request(asked.request.clone());
        let heard = named(&asked.request).map(|(group, id)| (group.to_string(), id.to_string()));
        serving.tickets.insert(ticket, asked);
        if let Some(heard) = heard {
            serving.heard.insert(heard, monotonic);
        }
        self.decide(&cause, |core, now, effects| core.step(now, ticket, &caller, request, effects))
    }

    pub(crate) fn on_tick(&mut self, term: u64) -> Checked {
        if term != self.node.term {
            return Ok(());
        }
        let now = self.node.now(self.now).monotonic;
        let Some(serving) = &mut self.node.serving else { return Ok(()) };
        serving.rings_at = serving.rings_at.filter(|rings_at| *rings_at > now);
        self.decide(&Cause::Time, Coordinator::tick)?;
        let next = self.node.serving.as_ref().and_then(|serving| serving.core.next_tick());
        hold!(next.is_none_or(|next| next > now), IN_TIME, "a timer that never rests: {next:?} at {now:?}");
        Ok(())
    }

    pub(crate) fn decide(
        &mut self,
        cause: &Cause,
        step: impl FnOnce(&mut Coordinator, Now, &mut Vec<Effect>),
    ) -> Checked {
        let now = self.node.now(self.now);
        let Some(serving) = &mut self.node.serving else { return Ok(()) };
        let mut effects = Vec::new();
        step(&mut serving.core, now, &mut effects);
        for effect in effects {
            self.trace.say(self.now, format_args!("decided: {effect:?}"));
            match effect {
                Effect::Write(stored) => {
                    if matches!((cause, &stored), (Cause::Sweep, Stored::Offset { value: None, .. })) {
                        self.note("offset expired");
                    }
                    self.checks.write(&stored, now, cause)?;
                    if let Some(serving) = &mut self.node.serving {
                        serving.writer.write(stored);
                    }
                }
                Effect::Answer(ticket, answer) => self.on_answer(ticket, answer)?,
                other => panic!("no deliveries are counted here: {other:?}"),
            }
        }
        self.ring_in_time();
        self.append_next()?;
        let Some(serving) = &mut self.node.serving else { return Ok(()) };
        self.checks.same(&mut serving.core)?;
        one_holder(&self.members, &mut serving.core)?;
        self.in_time()
    }

    fn on_answer(&mut self, ticket: Ticket, answer: Answer) -> Checked {
        let now = self.node.now(self.now).monotonic;
        let Some(serving) = &mut self.node.serving else { return Ok(()) };
        let asked = serving.tickets.remove(&ticket);
        hold!(asked.is_some(), ANSWERED, "{ticket:?} is answered twice");
        let Some(asked) = asked else { return Ok(()) };
        *self.happened.entry(outcome(&answer)).or_default() += 1;
        self.checks.answer(&asked, &answer, &mut serving.core)?;
        let heard = match (&asked.request, &answer) {
            (Request::Join(request), Answer::Join(answer)) => Some((&request.group_id, &answer.member_id)),
            (request, _) => named(request),
        };
        if let Some((group, id)) = heard {
            serving.heard.insert((group.to_string(), id.to_string()), now);
        }
        if self.plant == Some(Plant::ForgetsAnAnswer)
            && matches!(answer, Answer::Sync(_))
            && ticket.0 % 8 == 7
        {
            serving.tickets.insert(ticket, asked);
            return Ok(());
        }
        let after = self.checks.decided();
        match serving.writer.wait((Waiting { asked, after }, answer)) {
            Some((waiting, answer)) => self.tell(&waiting, answer),
            None => Ok(()),
        }
    }

    fn tell(&mut self, waiting: &Waiting, answer: Answer) -> Checked {
        self.checks.told(&waiting.asked, waiting.after, &answer)?;
        self.reply(&waiting.asked, Ok(answer));
        Ok(())
    }

    fn append_next(&mut self) -> Checked {
        let now = self.node.now(self.now).wall;
        let Some(serving) = self.node.serving.as_mut().filter(|serving| serving.appending.is_none()) else {
            return Ok(());
        };
        let Some(batches) = serving.writer.next(now).unwrap() else { return Ok(()) };
        serving.appending = Some(Appending { batches: batches.into(), end: None });
        let early = self.plant == Some(Plant::AnswersBeforeTheDisk);
        let told = if early { serving.writer.on_written() } else { Vec::new() };
        let term = self.node.term;
        let pause = self.pause(2000);
        self.after(pause, Event::Append { term });
        told.into_iter().try_for_each(|(waiting, answer)| self.tell(&waiting, answer))
    }

    pub(crate) fn on_flushed(&mut self, flushed: Offset) -> Checked {
        let Some(serving) = &mut self.node.serving else { return Ok(()) };
        let is_there = |appending: &Appending| appending.end.is_some_and(|end| end <= flushed);
        if !serving.appending.as_ref().is_some_and(is_there) {
            return Ok(());
        }
        serving.appending = None;
        let told = serving.writer.on_written();
        told.into_iter().try_for_each(|(waiting, answer)| self.tell(&waiting, answer))?;
        self.append_next()
    }

    /// As the actor sets its timer, and no timer is early.
    fn ring_in_time(&mut self) {
        let Some(serving) = &mut self.node.serving else { return };
        let Some(due) = serving.core.next_tick() else { return };
        if serving.rings_at.is_some_and(|rings_at| rings_at <= due) {
            return;
        }
        serving.rings_at = Some(due);
        let at = self.node.when(due).max(self.now);
        let late = self.pause(LATE_US) + if self.plant == Some(Plant::RingsLate) { 2_000_000 } else { 0 };
        let term = self.node.term;
        self.push(at + late, Event::Tick { term });
    }

    /// Members that have said nothing for longer than their session are gone, and nobody waits for longer than the
    /// members' time-outs allow.
    fn in_time(&mut self) -> Checked {
        let now = self.node.now(self.now).monotonic;
        let Some(serving) = &mut self.node.serving else { return Ok(()) };
        let given = &self.script.given;
        let longest = 1000 * (3 * given.longest_rebalance_ms() + 3 * given.longest_session_ms());
        let limit = longest + DISK_US;
        for asked in serving.tickets.values() {
            let waits = self.now - asked.at;
            hold!(waits <= limit, ANSWERED, "for {waits} us: {asked:?}");
        }
        for group in &self.groups {
            for member in describe(&mut serving.core, group).members {
                let id = &member.member_id;
                let waits = serving.tickets.values().any(|asked| is_by(&asked.request, group, id));
                let session = self.sessions.get(member.client_id.as_str());
                let (Some(session), false) = (session, waits) else { continue };
                let name = (group.to_string(), id.to_string());
                let heard = serving.heard.get(&name).copied().unwrap_or(serving.since);
                let until = heard + *session + Duration::from_micros(IN_TIME_US);
                hold!(now <= until, IN_TIME, "{group}: {id} was to be gone at {until:?}, now {now:?}");
            }
            for member in describe_consumer(&mut serving.core, group).members {
                let name = (group.to_string(), member.member_id.to_string());
                let Some(session) = self.sessions.get(member.client_id.as_str()) else { continue };
                let heard = serving.heard.get(&name).copied().unwrap_or(serving.since);
                let until = heard + *session + Duration::from_micros(IN_TIME_US);
                hold!(now <= until, IN_TIME, "{name:?} was to be gone at {until:?}, now {now:?}");
            }
        }
        Ok(())
    }
}

/// What an answer is counted as.
fn outcome(answer: &Answer) -> &'static str {
    let is = |ok: bool, well, not| if ok { well } else { not };
    match answer {
        Answer::Join(answer) => is(answer.error_code == ErrorCode::None, "joined", "join refused"),
        Answer::Sync(answer) => is(answer.error_code == ErrorCode::None, "synced", "sync refused"),
        Answer::Heartbeat(answer) => {
            is(answer.error_code == ErrorCode::None, "heartbeat", "heartbeat refused")
        }
        Answer::ConsumerHeartbeat(answer) => {
            is(answer.error_code == ErrorCode::None, "reconciled", "heartbeat of a consumer refused")
        }
        Answer::Leave(answer) => is(answer.error_code == ErrorCode::None, "left", "leaving refused"),
        Answer::Commit(codes) => {
            let ok = codes.iter().flat_map(|(_, codes)| codes).all(|(_, code)| *code == ErrorCode::None);
            is(ok, "committed", "commit refused")
        }
        Answer::DeleteOffsets(outcome) => is(outcome.is_ok(), "offsets deleted", "offsets not deleted"),
        Answer::Delete(code) => is(*code == ErrorCode::None, "group deleted", "group not deleted"),
        _ => "looked",
    }
}

/// The member that a request comes from.
fn named(request: &Request) -> Option<(&Str, &Str)> {
    match request {
        Request::Join(request) => Some((&request.group_id, &request.member_id)),
        Request::Sync(request) => Some((&request.group_id, &request.member_id)),
        Request::Heartbeat(request) => Some((&request.group_id, &request.member_id)),
        Request::Commit(commit) => Some((&commit.group, &commit.member_id)),
        Request::ConsumerHeartbeat(request) => Some((&request.group_id, &request.member_id)),
        _ => None,
    }
}

/// Whether it may be this member that waits; one without an id may be any.
fn is_by(request: &Request, group: &Str, id: &Str) -> bool {
    matches!(request, Request::Join(_) | Request::Sync(_))
        && named(request).is_some_and(|(of, by)| of == group && (by == id || by.is_empty()))
}
