//! A node: its log, which outlives it, and the replica that it has at the moment. The cores are the program's own; what
//! the actor around them does is played here.

use std::collections::BTreeMap;

use polylogue::{
    actors::partition::core::{
        DataHead, FollowerCore, FollowerEffect, FollowerInput, LeaderCore, Session, SetAnswer,
    },
    config::topic::Durability,
    model::{BrokerEpoch, LeaderEpoch, NodeId, Offset},
};

use super::{
    checks::{Deceived, FLUSHED, SEEN},
    controller::{Image, Registration, id},
    leading::Ticket,
    log::{Flush, Log, Record},
    mistakes::Mistake,
    script::Node as Number,
    world::{Ask, Event, FollowerSays, LeaderSays, Told, World},
};
use crate::trial::{Checked, hold};

#[derive(Debug)]
pub(super) struct Following {
    pub(super) core: FollowerCore,
    pub(super) incarnation: u64,
    pub(super) stream: Option<u64>,
    arrived: Vec<Record>,
    chain: Option<u64>,
}

/// A follower as its leader's side of the stream knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fed {
    pub(super) stream: u64,
    pub(super) session: Session,
    pub(super) next: i64,
    pub(super) told: (i64, i64),
    pub(super) pumping: bool,
}

#[derive(Debug)]
pub(super) struct Leading {
    pub(super) core: LeaderCore<Ticket>,
    pub(super) incarnation: u64,
    pub(super) epoch: i32,
    pub(super) fed: BTreeMap<Number, Fed>,
}

#[derive(Debug)]
pub(super) enum Role {
    Closed,
    Following(Box<Following>),
    Leading(Box<Leading>),
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) number: Number,
    pub(super) up: bool,
    pub(super) boot: u64,
    /// The start that ended in good order last.
    clean: Option<u64>,
    pub(super) broker_epoch: Option<i64>,
    pub(super) image: Option<Image>,
    pub(super) log: Log,
    pub(super) role: Role,
    /// How far this replica knows its log to be committed.
    pub(super) high_watermark: i64,
    /// The last epoch in which this process has led.
    used_epoch: LeaderEpoch,
    flushing: bool,
    pub(super) lost_memory: bool,
    /// Its disk says that it has what it has not, until then.
    pub(super) lies_until: u64,
    /// It has lost what its disk had said to have.
    pub(super) deceived: Option<Deceived>,
    pub(super) paused_until: u64,
    pub(super) slow_disk: (u64, u64),
    pub(super) damaged_until: u64,
}

impl Node {
    pub(super) fn new(number: Number) -> Self {
        Self {
            number,
            up: false,
            boot: 0,
            clean: None,
            broker_epoch: None,
            image: None,
            log: Log::default(),
            role: Role::Closed,
            high_watermark: 0,
            used_epoch: LeaderEpoch::NONE,
            flushing: false,
            lost_memory: false,
            lies_until: 0,
            deceived: None,
            paused_until: 0,
            slow_disk: (0, 0),
            damaged_until: 0,
        }
    }

    fn durability(&self) -> Durability {
        self.image.as_ref().map_or(Durability::Disk, |image| image.durability)
    }

    /// What the metadata says, once it says anything about this start (S12).
    fn told(&self) -> Option<&Image> {
        let registered = self.broker_epoch?;
        self.image.as_ref().filter(|image| image.index as i64 >= registered)
    }
}

impl World {
    pub(super) fn boot(&mut self, node: Number) {
        let boot = self.incarnation();
        let it = &mut self.nodes[node];
        if it.up {
            return;
        }
        it.up = true;
        it.boot = boot;
        it.broker_epoch = None;
        it.used_epoch = LeaderEpoch::NONE;
        it.paused_until = 0;
        self.after(0, Event::Tick { node, boot });
    }

    pub(super) fn incarnation(&mut self) -> u64 {
        self.incarnations += 1;
        self.incarnations
    }

    pub(super) fn crash(&mut self, node: Number, power: bool, down_ms: u64) {
        if self.nodes[node].up {
            self.happens(if power { "power cut" } else { "killed" });
            self.ends(node, power);
            self.nodes[node].lost_memory |= power;
            self.nodes[node].clean = None;
            self.after(1000 * down_ms, Event::Up { node });
        }
    }

    pub(super) fn stop(&mut self, node: Number, down_ms: u64) {
        let is_cutting = matches!(&self.nodes[node].role, Role::Following(it) if !it.core.may_hand_over());
        if self.nodes[node].up && !is_cutting {
            self.happens("stopped");
            let lies = self.disk_lies(node);
            self.nodes[node].log.flush_all(lies);
            self.ends(node, false);
            self.nodes[node].clean = Some(self.nodes[node].boot);
            self.after(1000 * down_ms, Event::Up { node });
        }
    }

    fn ends(&mut self, node: Number, power: bool) {
        let mut rng = self.rng();
        let it = &mut self.nodes[node];
        it.up = false;
        it.role = Role::Closed;
        it.flushing = false;
        let (said, end) = (it.log.on_disk(), it.log.end());
        let chain = it.log.chain_at(said);
        if power {
            it.log.truth_comes_to_light(&mut rng);
        }
        it.log.crash(power, &mut rng);
        it.high_watermark = it.log.start;
        if chain.is_some() && it.log.chain_at(said) != chain {
            let before = it.deceived.unwrap_or(Deceived { upto: end, is_believed: false });
            it.deceived = Some(Deceived { upto: before.upto.max(end), ..before });
            self.happens("a lie came to light");
        }
        for stream in 0..self.streams.len() {
            let ends = [self.streams[stream].follower.0, self.streams[stream].leader.0];
            if ends.contains(&node) {
                self.end_stream(stream as u64);
            }
        }
    }

    /// The actor alone ends. On topics that count the disk, its successor may find no more than that.
    pub(super) fn restart_replica(&mut self, node: Number) {
        let on_disk = self.controller.image.partition.on_disk;
        let mut rng = self.rng();
        let it = &mut self.nodes[node];
        if !it.up || matches!(it.role, Role::Closed) {
            return;
        }
        let cuts = on_disk && it.durability() == Durability::Disk && rng.bool();
        it.role = Role::Closed;
        it.flushing = false;
        it.log.crash(cuts, &mut rng);
        it.high_watermark = it.log.start;
        if self.mistake == Some(Mistake::ReusesEpoch) {
            it.used_epoch = LeaderEpoch::NONE;
        }
        self.happens("replica restarted");
    }

    /// A node looks after what it has to do from time to time.
    pub(super) fn on_tick(&mut self, node: Number) -> Checked {
        let mut rng = self.rng();
        let it = &self.nodes[node];
        let boot = it.boot;
        self.after(rng.u64(80_000..150_000), Event::Tick { node, boot });
        let it = &self.nodes[node];
        match it.broker_epoch {
            None => {
                let tail = (it.log.last_epoch().get(), it.log.end());
                let asks = Registration { node, boot, clean: it.clean, tail };
                self.ask_controller(node, Ask::Register(asks));
            }
            Some(broker_epoch) => {
                let index = it.image.as_ref().map_or(0, |image| image.index);
                self.ask_controller(node, Ask::Heartbeat { broker_epoch, index });
            }
        }
        self.reconcile(node)?;
        self.lead_on(node)?;
        if rng.u8(0..8) == 0 {
            self.flush(node);
        }
        Ok(())
    }

    pub(super) fn on_told(&mut self, node: Number, told: Told) -> Checked {
        match told {
            Told::Registered { broker_epoch } => {
                self.nodes[node].broker_epoch.get_or_insert(broker_epoch);
            }
            Told::Image(image) => {
                let known = self.nodes[node].image.as_ref().map_or(0, |image| image.index);
                if image.index <= known && known > 0 {
                    return Ok(());
                }
                self.nodes[node].image = Some(image);
            }
            Told::Altered { incarnation, id, answer } => self.on_altered(node, incarnation, id, answer)?,
            Told::Opened { opening, epoch } => {
                let it = &self.nodes[node];
                let is_this = opening == it.boot << 20 | it.log.opening;
                let is_new = |it: &Following| it.core.epoch() <= epoch;
                // It asks until it is answered: the second answer, or one that comes late, gives no epoch.
                if is_this && epoch > it.used_epoch && matches!(&it.role, Role::Following(it) if is_new(it)) {
                    self.take_over(node, epoch)?;
                }
            }
        }
        self.reconcile(node)
    }

    /// Makes of the replica what the metadata say it is.
    pub(super) fn reconcile(&mut self, node: Number) -> Checked {
        let it = &self.nodes[node];
        let Some(image) = it.told().cloned() else { return Ok(()) };
        let epoch = image.partition.leader_epoch;
        if matches!(it.role, Role::Closed) {
            self.open(node);
        }
        if let Role::Leading(leading) = &self.nodes[node].role {
            if leading.epoch >= epoch.get() {
                return self.lead_by_image(node, &image);
            }
            self.resign(node)?;
        }
        let it = &self.nodes[node];
        if image.leader == Some(node) {
            let Role::Following(following) = &it.role else { return Ok(()) };
            if epoch > it.used_epoch {
                if following.core.may_hand_over() {
                    self.take_over(node, epoch)?;
                }
            } else if let Some(broker_epoch) = it.broker_epoch {
                // In the same term again (S6).
                let opening = it.boot << 20 | it.log.opening;
                self.ask_controller(node, Ask::OpenEpoch { broker_epoch, opening });
            }
            return Ok(());
        }
        self.follow(node, None, FollowerInput::Durability(image.durability))?;
        let leader = FollowerInput::Leader { node: image.leader.map(id), epoch };
        self.follow(node, None, leader)
    }

    fn open(&mut self, node: Number) {
        let incarnation = self.incarnation();
        let it = &mut self.nodes[node];
        let core = FollowerCore::new(
            id(node),
            BrokerEpoch::new(it.broker_epoch.unwrap_or(-1)),
            incarnation as u32,
            it.durability(),
            it.log.last_epoch(),
            &it.log.carried(it.high_watermark),
        );
        it.role = Role::Following(Box::new(Following {
            core,
            incarnation,
            stream: None,
            arrived: Vec::new(),
            chain: None,
        }));
    }

    /// A leader that is one no more becomes a follower with its log as it is.
    fn resign(&mut self, node: Number) -> Checked {
        self.happens("resigned");
        self.resign_leader(node)?;
        self.open(node);
        Ok(())
    }

    fn take_over(&mut self, node: Number, epoch: LeaderEpoch) -> Checked {
        let Role::Following(following) = &mut self.nodes[node].role else { return Ok(()) };
        if !following.core.may_hand_over() {
            return Ok(());
        }
        let carried = following.core.carried();
        if let Some(stream) = following.stream {
            self.end_stream(stream);
        }
        self.nodes[node].used_epoch = epoch;
        self.begin_to_lead(node, epoch, &carried)
    }

    /// Tells the follower's core something, and does what it says.
    pub(super) fn follow(&mut self, node: Number, incarnation: Option<u64>, input: FollowerInput) -> Checked {
        let Role::Following(following) = &mut self.nodes[node].role else { return Ok(()) };
        if incarnation.is_some_and(|incarnation| incarnation != following.incarnation) {
            return Ok(());
        }
        let mut effects = Vec::new();
        following.core.step(input, &mut effects);
        let incarnation = following.incarnation;
        for effect in effects {
            self.carry_out(node, incarnation, effect)?;
        }
        let Role::Following(following) = &self.nodes[node].role else { return Ok(()) };
        if following.core.wants_flush() {
            self.flush(node);
        }
        Ok(())
    }

    fn carry_out(&mut self, node: Number, incarnation: u64, effect: FollowerEffect) -> Checked {
        let mut rng = self.rng();
        match effect {
            FollowerEffect::Subscribe { leader, subscription } => {
                let stream = self.stream_to(node, leader, rng.bool());
                self.send(stream, Event::ToLeader { stream, says: FollowerSays::Subscribe(subscription) });
            }
            FollowerEffect::Unsubscribe { leader, .. } => {
                let stream = self.stream_to(node, leader, true);
                self.send(stream, Event::ToLeader { stream, says: FollowerSays::Unsubscribe });
            }
            FollowerEffect::Truncate { to } => {
                self.happens("truncated");
                self.nodes[node].log.truncate(to.get());
                let delay = self.disk_delay(node);
                self.after(delay, Event::Cut { node, incarnation });
            }
            FollowerEffect::StartAnew { at } => {
                self.happens("started anew");
                let Role::Following(following) = &self.nodes[node].role else { return Ok(()) };
                let chain = following.chain.unwrap();
                self.nodes[node].log.start_anew(at.get(), chain);
                let delay = self.disk_delay(node);
                self.after(delay, Event::Cut { node, incarnation });
            }
            FollowerEffect::Append => return self.append_arrived(node),
            FollowerEffect::Report { session, appended, flushed, .. } => {
                let Role::Following(following) = &self.nodes[node].role else { return Ok(()) };
                if let Some(stream) = following.stream {
                    let moved = polylogue::actors::partition::core::in_sync::FollowerMoved {
                        node: id(node),
                        session,
                        appended,
                        flushed,
                    };
                    self.send(stream, Event::ToLeader { stream, says: FollowerSays::Report(moved) });
                }
            }
            FollowerEffect::AdvanceHighWatermark(to) => {
                let it = &mut self.nodes[node];
                hold!(to.get() >= it.high_watermark, SEEN, "node {node}: {to} after {}", it.high_watermark);
                it.high_watermark = to.get();
            }
            FollowerEffect::MoveLogStart(to) => {
                self.nodes[node].log.move_start(to.get());
                return self.follow(node, Some(incarnation), FollowerInput::LogStartMoved(to));
            }
            FollowerEffect::AskLater => {
                self.after(rng.u64(1000..100_000), Event::Retry { node, incarnation });
            }
        }
        Ok(())
    }

    fn stream_to(&mut self, node: Number, leader: NodeId, again: bool) -> u64 {
        let leader = leader.get() as Number;
        let Role::Following(following) = &self.nodes[node].role else {
            return self.open_stream(node, leader);
        };
        let known = following.stream.filter(|stream| {
            let stream = &self.streams[*stream as usize];
            again && !stream.gone && stream.leader == (leader, self.nodes[leader].boot)
        });
        let stream = known.unwrap_or_else(|| self.open_stream(node, leader));
        if let Role::Following(following) = &mut self.nodes[node].role {
            following.stream = Some(stream);
        }
        stream
    }

    pub(super) fn disk_delay(&mut self, node: Number) -> u64 {
        let usual = self.rng().u64(200..5000);
        let (slow, until) = self.nodes[node].slow_disk;
        if until > self.now { usual + slow } else { usual }
    }

    /// Whoever was deceived and has what the leader has keeps its promises again.
    pub(super) fn look_at_the_deceived(&mut self) {
        let Some(leader) = self.controller.image.leader else { return };
        let end = self.nodes[leader].log.end();
        for node in (1..self.nodes.len()).filter(|node| *node != leader) {
            let it = &self.nodes[node];
            if it.deceived.is_some() && it.log.end() >= end && self.holds_what_was_seen(it).is_ok() {
                self.nodes[node].deceived = None;
                self.happens("has again what its disk lost");
            }
        }
    }

    fn disk_lies(&self, node: Number) -> bool {
        self.nodes[node].lies_until > self.now
    }

    fn append_arrived(&mut self, node: Number) -> Checked {
        let it = &mut self.nodes[node];
        let Role::Following(following) = &mut it.role else { return Ok(()) };
        let incarnation = following.incarnation;
        let damaged = it.damaged_until > self.now;
        let arrived = std::mem::take(&mut following.arrived);
        if damaged {
            self.happens("damaged data refused");
            return self.follow(node, Some(incarnation), FollowerInput::Rejected);
        }
        for record in arrived {
            it.log.append(record);
        }
        let (end, last_epoch) = (Offset::new(it.log.end()), it.log.last_epoch());
        self.follow(node, Some(incarnation), FollowerInput::Appended { end, last_epoch })
    }

    pub(super) fn on_leader_says(&mut self, stream: u64, says: LeaderSays) -> Checked {
        let node = self.streams[stream as usize].follower.0;
        let Role::Following(following) = &mut self.nodes[node].role else { return Ok(()) };
        match says {
            LeaderSays::Verdict { input: FollowerInput::Verdict { session, verdict, .. }, chain } => {
                use polylogue::actors::partition::core::Verdict;
                following.chain = chain;
                if let (Verdict::Follows, Some(chain), true) =
                    (verdict, chain, session == following.core.session())
                {
                    self.nodes[node].log.begins_after(chain);
                }
                let ours = match verdict {
                    Verdict::Diverges { epoch, .. } => self.nodes[node].log.epoch_end(epoch),
                    Verdict::Follows | Verdict::StartsAnew { .. } | Verdict::Refused(_) => None,
                };
                self.follow(node, None, FollowerInput::Verdict { session, verdict, ours })
            }
            LeaderSays::Data { head, records } => self.on_data(node, head, records),
            LeaderSays::Verdict { input, .. } | LeaderSays::Other(input) => self.follow(node, None, input),
        }
    }

    fn on_data(&mut self, node: Number, head: DataHead, records: Vec<Record>) -> Checked {
        let Role::Following(following) = &mut self.nodes[node].role else { return Ok(()) };
        following.arrived = records;
        self.follow(node, None, FollowerInput::Data(head))
    }

    pub(super) fn on_stream_gone(&mut self, node: Number, stream: u64) -> Checked {
        let it = &mut self.nodes[node];
        match &mut it.role {
            Role::Following(following) if following.stream == Some(stream) => {
                following.stream = None;
                let session = following.core.session();
                self.follow(node, None, FollowerInput::Broken { session })
            }
            Role::Leading(_) => self.unfeed(node, stream),
            Role::Following(_) | Role::Closed => Ok(()),
        }
    }

    pub(super) fn flush(&mut self, node: Number) {
        let it = &mut self.nodes[node];
        if it.flushing || matches!(it.role, Role::Closed) {
            return;
        }
        it.flushing = true;
        let (boot, flush) = (it.boot, it.log.begin_flush());
        let delay = self.disk_delay(node);
        self.after(delay, Event::Flushed { node, boot, flush });
    }

    pub(super) fn on_flushed(&mut self, node: Number, flush: &Flush) -> Checked {
        let lies = self.disk_lies(node);
        let it = &mut self.nodes[node];
        if flush.opening != it.log.opening {
            return Ok(());
        }
        it.flushing = false;
        it.log.flushed(flush, lies);
        let end = Offset::new(flush.end);
        match &it.role {
            Role::Following(_) => {
                let generation = match self.mistake {
                    Some(Mistake::ForgetsGeneration) => it.log.generation,
                    _ => flush.generation,
                };
                self.follow(node, None, FollowerInput::Flushed { generation, end })
            }
            Role::Leading(_) if flush.generation == it.log.generation => self.leader_flushed(node, end),
            Role::Leading(_) | Role::Closed => Ok(()),
        }
    }

    pub(super) fn on_cut(&mut self, node: Number, incarnation: u64) -> Checked {
        let lies = self.disk_lies(node);
        let it = &mut self.nodes[node];
        if !matches!(&it.role, Role::Following(following) if following.incarnation == incarnation) {
            return Ok(());
        }
        it.log.cut_is_on_disk(lies);
        let (left, last_epoch) = (it.log.carried(0), it.log.last_epoch());
        it.high_watermark = it.high_watermark.min(it.log.end()).max(it.log.start);
        self.follow(node, Some(incarnation), FollowerInput::Truncated { left, last_epoch })?;
        self.reconcile(node)
    }

    pub(super) fn on_altered(
        &mut self,
        node: Number,
        incarnation: u64,
        id: u64,
        answer: SetAnswer,
    ) -> Checked {
        match &self.nodes[node].role {
            Role::Leading(leading) if leading.incarnation == incarnation => {
                self.lead_answered(node, id, answer)
            }
            Role::Leading(_) | Role::Following(_) | Role::Closed => Ok(()),
        }
    }

    /// What has to hold of each node for itself.
    pub(super) fn check_nodes(&self) -> Checked {
        for it in self.nodes.iter().filter(|it| it.up) {
            if matches!(it.role, Role::Closed) {
                continue;
            }
            let (at, node) = (it.high_watermark, it.number);
            if let Role::Following(following) = &it.role {
                let flushed = following.core.carried().flushed.get();
                let on_disk = it.log.on_disk();
                hold!(
                    !following.core.may_hand_over() || flushed <= on_disk,
                    FLUSHED,
                    "node {node}: {flushed}, {on_disk} is"
                );
            }
            if self.forgiven > 0 {
                continue;
            }
            let seen = self.promises.seen_at(at);
            hold!(
                seen.is_some(),
                SEEN,
                "node {node} has {at} for committed, {} is",
                self.promises.seen_end()
            );
            let chain = it.log.chain_at(at);
            hold!(chain.is_none() || chain == seen, SEEN, "node {node} has other records below {at}");
        }
        Ok(())
    }
}
