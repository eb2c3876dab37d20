//! The world of replicas: one thread, one heap of what is going to happen, and nothing that is not decided by the script.

use std::collections::BTreeMap;

use fastrand::Rng;
use polylogue::{
    actors::partition::core::{
        DataHead, FollowerInput, SetAnswer, SetChange, Subscription, Verdict, in_sync::FollowerMoved,
    },
    model::LeaderEpoch,
};

use super::{
    checks::Promises,
    client::Producer,
    controller::{Controller, Image, Registration},
    log::{Flush, Record},
    mistakes::Mistake,
    node::Node,
    script::{Action, Node as NodeId, Replicas},
};
use crate::{
    chance::{Trace, chance},
    trial::{Checked, Happened, Script},
};

/// What a node asks the controller.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Register(Registration),
    Heartbeat { broker_epoch: i64, index: u64 },
    Alter { incarnation: u64, epoch: LeaderEpoch, broker_epoch: i64, change: SetChange },
    OpenEpoch { broker_epoch: i64, opening: u64 },
}

/// What the controller tells a node.
#[derive(Clone, Debug)]
pub(super) enum Told {
    Registered { broker_epoch: i64 },
    Altered { incarnation: u64, id: u64, answer: SetAnswer },
    Opened { opening: u64, epoch: LeaderEpoch },
    Image(Image),
}

#[derive(Clone, Debug)]
pub(super) enum FollowerSays {
    Subscribe(Subscription),
    Report(FollowerMoved),
    Unsubscribe,
}

#[derive(Clone, Debug)]
pub(super) enum LeaderSays {
    /// With the chain of the leader's log where the follower may begin anew.
    Verdict {
        input: FollowerInput,
        chain: Option<u64>,
    },
    Data {
        head: DataHead,
        records: Vec<Record>,
    },
    Other(FollowerInput),
}

/// A batch of one record on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Produce {
    pub(super) client: usize,
    pub(super) number: u64,
    pub(super) record: Record,
    pub(super) acks_all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Produced {
    Acknowledged,
    /// Nothing was appended.
    NotHere {
        leader: Option<NodeId>,
    },
    OutOfOrder,
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    Step(usize),
    Up { node: NodeId },
    Tick { node: NodeId, boot: u64 },
    ControllerTick,
    ToController { node: NodeId, boot: u64, ask: Ask },
    ToNode { node: NodeId, boot: u64, told: Told },
    ToLeader { stream: u64, says: FollowerSays },
    ToFollower { stream: u64, says: LeaderSays },
    StreamGone { node: NodeId, boot: u64, stream: u64 },
    Flushed { node: NodeId, boot: u64, flush: Flush },
    Cut { node: NodeId, incarnation: u64 },
    Pump { node: NodeId, incarnation: u64, follower: NodeId },
    Retry { node: NodeId, incarnation: u64 },
    NoAnswer { node: NodeId, incarnation: u64, id: u64 },
    Client { client: usize },
    Produce { node: NodeId, asks: Produce },
    Produced { client: usize, number: u64, outcome: Produced },
}

/// One connection from a follower to a leader: what is sent on it comes in order, or not at all.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) follower: (NodeId, u64),
    pub(super) leader: (NodeId, u64),
    pub(super) gone: bool,
    last: [u64; 2],
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) script: Script<Replicas>,
    pub(super) mistake: Option<Mistake>,
    /// Microseconds.
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pushed: u64,
    draws: u64,
    pub(super) trace: Trace,
    pub(super) events: u64,
    pub(super) happened: Happened,
    pub(super) controller: Controller,
    pub(super) nodes: Vec<Node>,
    pub(super) clients: Vec<Producer>,
    pub(super) streams: Vec<Stream>,
    pub(super) promises: Promises,
    pub(super) incarnations: u64,
    pub(super) records: u64,
    pub(super) forgiven: u64,
    /// An administrator has deleted records, and with them what is known of their producers.
    pub(super) deleted: bool,
    /// Until when two do not hear each other.
    pub(super) cuts: BTreeMap<(NodeId, NodeId), u64>,
    trouble: (u8, u64, u64),
    pub(super) calm: bool,
}

impl World {
    pub(super) fn new(script: &Script<Replicas>, mistake: Option<Mistake>, traced: bool) -> Self {
        let given = &script.given;
        let mut world = Self {
            mistake,
            now: 0,
            queue: BTreeMap::new(),
            pushed: 0,
            draws: 0,
            trace: Trace::new(traced),
            events: 0,
            happened: Happened::new(),
            controller: Controller::new(given.nodes, given.durability, given.min_in_sync, mistake),
            nodes: (0..=given.nodes).map(Node::new).collect(),
            clients: given.clients.iter().map(|client| Producer::new(*client)).collect(),
            streams: Vec::new(),
            promises: Promises::new(),
            incarnations: 0,
            records: 0,
            forgiven: 0,
            deleted: false,
            cuts: BTreeMap::new(),
            trouble: (0, 0, 0),
            calm: false,
            script: script.clone(),
        };
        for node in 1..=given.nodes {
            world.push(0, Event::Up { node });
        }
        world.push(0, Event::ControllerTick);
        for client in 0..given.clients.len() {
            world.push(300_000, Event::Client { client });
        }
        for (at, (_, step)) in script.steps.iter().enumerate() {
            world.push(step.at_ms * 1000, Event::Step(at));
        }
        world
    }

    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.pushed += 1;
        self.queue.insert((at, self.pushed), event);
    }

    pub(super) fn after(&mut self, delay: u64, event: Event) {
        self.push(self.now + delay, event);
    }

    pub(super) fn rng(&mut self) -> Rng {
        self.draws += 1;
        chance(self.script.seed, &[101, self.draws])
    }

    pub(super) fn happens(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    /// How long a message takes, or that it is lost.
    fn way(&mut self, from: NodeId, to: NodeId) -> Option<u64> {
        let (lost, delay, until) = self.trouble;
        let (now, mut rng) = (self.now, self.rng());
        let is_cut = self.cuts.get(&(from.min(to), from.max(to))).is_some_and(|until| *until > now);
        let in_trouble = until > now && !self.calm;
        if !self.calm && (is_cut || (in_trouble && rng.u8(0..100) < lost)) {
            return None;
        }
        let usual = rng.u64(50..2000);
        Some(if in_trouble { usual + rng.u64(0..=delay * 1000) } else { usual })
    }

    pub(super) fn ask_controller(&mut self, node: NodeId, ask: Ask) {
        let boot = self.nodes[node].boot;
        if let Some(way) = self.way(node, 0) {
            self.after(way, Event::ToController { node, boot, ask });
        }
    }

    pub(super) fn tell(&mut self, node: NodeId, boot: u64, told: Told) {
        if let Some(way) = self.way(0, node) {
            self.after(way, Event::ToNode { node, boot, told });
        }
    }

    pub(super) fn open_stream(&mut self, follower: NodeId, leader: NodeId) -> u64 {
        let ends = [follower, leader].map(|node| (node, self.nodes[node].boot));
        self.streams.push(Stream { follower: ends[0], leader: ends[1], gone: false, last: [0; 2] });
        self.streams.len() as u64 - 1
    }

    /// Sends on a stream, to its leader or its follower. What cannot be sent ends it.
    pub(super) fn send(&mut self, stream: u64, event: Event) {
        let Stream { follower, leader, gone, .. } = self.streams[stream as usize];
        if gone {
            return;
        }
        let to_leader = matches!(event, Event::ToLeader { .. });
        let (from, to) = if to_leader { (follower.0, leader.0) } else { (leader.0, follower.0) };
        let Some(way) = self.way(from, to) else { return self.end_stream(stream) };
        let last = &mut self.streams[stream as usize].last[usize::from(to_leader)];
        *last = (*last + 1).max(self.now + way);
        let at = *last;
        self.push(at, event);
    }

    /// Both ends learn of it, each in its time.
    pub(super) fn end_stream(&mut self, stream: u64) {
        let it = &mut self.streams[stream as usize];
        if std::mem::replace(&mut it.gone, true) {
            return;
        }
        let ends = [it.follower, it.leader];
        for (node, boot) in ends {
            let delay = self.rng().u64(100..400_000);
            self.after(delay, Event::StreamGone { node, boot, stream });
        }
    }

    pub(super) fn run_until(&mut self, end: u64) -> Checked {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.events += 1;
            self.trace.say(at, format_args!("{event:?}"));
            self.on_event(event)?;
            self.look_at_the_deceived();
            self.check()?;
        }
        self.now = end;
        Ok(())
    }

    /// The node that an event is for, in which boot; `None` for what nobody can miss.
    fn addressee(&self, event: &Event) -> Option<(NodeId, Option<u64>)> {
        Some(match event {
            Event::Tick { node, boot }
            | Event::ToNode { node, boot, .. }
            | Event::StreamGone { node, boot, .. }
            | Event::Flushed { node, boot, .. } => (*node, Some(*boot)),
            Event::Cut { node, .. }
            | Event::Pump { node, .. }
            | Event::Retry { node, .. }
            | Event::NoAnswer { node, .. }
            | Event::Produce { node, .. } => (*node, None),
            Event::ToLeader { stream, .. } => {
                let (node, boot) = self.streams[*stream as usize].leader;
                (node, Some(boot))
            }
            Event::ToFollower { stream, .. } => {
                let (node, boot) = self.streams[*stream as usize].follower;
                (node, Some(boot))
            }
            Event::Step(_)
            | Event::Up { .. }
            | Event::ControllerTick
            | Event::ToController { .. }
            | Event::Client { .. }
            | Event::Produced { .. } => return None,
        })
    }

    fn on_event(&mut self, event: Event) -> Checked {
        if let Some((node, boot)) = self.addressee(&event) {
            let it = &self.nodes[node];
            if !it.up || boot.is_some_and(|boot| boot != it.boot) {
                return Ok(());
            }
            if it.paused_until > self.now {
                let until = it.paused_until;
                self.push(until, event);
                return Ok(());
            }
        }
        match event {
            Event::Step(at) => self.on_step(at)?,
            Event::Up { node } => self.boot(node),
            Event::Tick { node, .. } => self.on_tick(node)?,
            Event::ControllerTick => {
                self.after(100_000, Event::ControllerTick);
                if self.controller.look_around(self.now) {
                    self.happens("fenced");
                    self.publish();
                }
            }
            Event::ToController { node, boot, ask } => self.on_ask(node, boot, ask),
            Event::ToNode { node, told, .. } => self.on_told(node, told)?,
            Event::ToLeader { stream, says } => self.on_follower_says(stream, says)?,
            Event::ToFollower { stream, says } => self.on_leader_says(stream, says)?,
            Event::StreamGone { node, stream, .. } => self.on_stream_gone(node, stream)?,
            Event::Flushed { node, flush, .. } => self.on_flushed(node, &flush)?,
            Event::Cut { node, incarnation } => self.on_cut(node, incarnation)?,
            Event::Pump { node, incarnation, follower } => self.on_pump(node, incarnation, follower),
            Event::Retry { node, incarnation } => {
                self.follow(node, Some(incarnation), FollowerInput::Retry)?;
            }
            Event::NoAnswer { node, incarnation, id } => {
                self.on_altered(node, incarnation, id, SetAnswer::Unknown)?;
            }
            Event::Client { client } => self.on_client(client),
            Event::Produce { node, asks } => self.on_produce(node, asks)?,
            Event::Produced { client, number, outcome } => self.on_produced(client, number, outcome)?,
        }
        Ok(())
    }

    fn on_ask(&mut self, node: NodeId, boot: u64, ask: Ask) {
        let now = self.now;
        let before = self.controller.image.index;
        let told = match ask {
            // What a process asked for as itself dies with its connections.
            Ask::Register(_) if self.nodes[node].boot != boot => None,
            Ask::Register(asks) => {
                let (on_disk, it) = (self.controller.image.partition.on_disk, &mut self.nodes[node]);
                it.lost_memory &= !on_disk;
                it.deceived.iter_mut().for_each(|deceived| deceived.is_believed |= on_disk);
                Some(Told::Registered { broker_epoch: self.controller.register(&asks, now) })
            }
            Ask::Heartbeat { broker_epoch, index } => {
                self.controller.heard(node, broker_epoch, index, now);
                // Who has missed an image gets it again.
                let is_late = index < self.controller.image.index;
                is_late.then(|| Told::Image(self.controller.image.clone()))
            }
            Ask::Alter { incarnation, epoch, broker_epoch, change } => {
                let members = self.controller.image.partition.in_sync.clone();
                let answer = self.controller.alter(node, epoch, broker_epoch, &change);
                self.on_altered_set(&members, &answer);
                Some(Told::Altered { incarnation, id: change.id, answer })
            }
            Ask::OpenEpoch { broker_epoch, opening } => {
                let epoch = self.controller.open_epoch(node, broker_epoch, opening);
                epoch.map(|epoch| Told::Opened { opening, epoch })
            }
        };
        if let Some(told) = told {
            self.tell(node, boot, told);
        }
        if self.controller.image.index != before {
            self.publish();
        }
    }

    fn on_altered_set(&mut self, before: &[polylogue::model::NodeId], answer: &SetAnswer) {
        let SetAnswer::Done(state) = answer else { return self.happens("set change refused") };
        for member in &state.in_sync {
            if !before.contains(member) {
                self.happens("joined the set");
                // Who has died since it joined, and has not said so yet, is somebody else.
                let node = &mut self.nodes[member.get() as usize];
                let is_this_start = node.up && self.controller.boot_of(node.number) == Some(node.boot);
                node.lost_memory &= !is_this_start;
            }
        }
        if before.iter().any(|member| !state.in_sync.contains(member)) {
            self.happens("left the set");
        }
    }

    /// Every node hears of a change, sooner or later.
    fn publish(&mut self) {
        if let Some((chosen, left)) = self.controller.chosen_of_the_left.take() {
            self.happens("chosen of those who left");
            if left.iter().any(|node| self.nodes[*node].lost_memory) && self.forgive_what_lacks(chosen) {
                self.happens("lost as the topic allows");
            }
            self.nodes[chosen].lost_memory = false;
        }
        let image = self.controller.image.clone();
        for node in 1..self.nodes.len() {
            // Now and then one hears of the next change only.
            if self.calm || self.rng().u8(0..10) != 0 {
                let boot = self.nodes[node].boot;
                self.tell(node, boot, Told::Image(image.clone()));
            }
        }
    }

    /// Whoever leads now lacks some of what was promised: what it has counts from here on. Whether anything is lost.
    pub(super) fn forgive_what_lacks(&mut self, node: NodeId) -> bool {
        let (log, seen) = (&self.nodes[node].log, self.promises.seen_end());
        let is_kept = |at: &i64| {
            log.chain_at(*at).is_none_or(|it| self.promises.seen_at(*at) == Some(it)) && *at <= log.end()
        };
        let kept = (0..=seen).rev().find(is_kept);
        let is_lost = kept.is_none_or(|kept| kept < seen);
        self.forgiven += u64::from(is_lost);
        self.promises.forgive(kept.unwrap_or(0));
        is_lost
    }

    fn on_step(&mut self, at: usize) -> Checked {
        let Some((_, step)) = self.script.steps.get(at).cloned() else { return Ok(()) };
        match step.what {
            Action::Kill { node, down_ms } => self.crash(node, false, down_ms),
            Action::PowerCut { node, down_ms } => self.crash(node, true, down_ms),
            Action::PowerCutAll { down_ms } => {
                (1..self.nodes.len()).for_each(|node| self.crash(node, true, down_ms));
            }
            Action::Stop { node, down_ms } => self.stop(node, down_ms),
            Action::Pause { node, ms } => {
                let until = self.now + 1000 * ms;
                let paused = &mut self.nodes[node].paused_until;
                *paused = until.max(*paused);
            }
            Action::RestartReplica { node } => self.restart_replica(node),
            Action::Cut { one, other, ms } => {
                self.cuts.insert((one.min(other), one.max(other)), self.now + 1000 * ms);
            }
            Action::Isolate { node, ms } => {
                for other in (0..self.nodes.len()).filter(|other| *other != node) {
                    self.cuts.insert((node.min(other), node.max(other)), self.now + 1000 * ms);
                }
            }
            Action::Network { lost_percent, delay_ms, ms } => {
                self.trouble = (lost_percent, delay_ms, self.now + 1000 * ms);
            }
            Action::SlowDisk { node, delay_ms, ms } => {
                self.nodes[node].slow_disk = (1000 * delay_ms, self.now + 1000 * ms);
            }
            Action::Lie { node, ms } => self.nodes[node].lies_until = self.now + 1000 * ms,
            Action::Damage { node, ms } => self.nodes[node].damaged_until = self.now + 1000 * ms,
            Action::SetDurability(durability) => self.controller.set_durability(durability),
            Action::SetMinInSync(min_in_sync) => self.controller.set_min_in_sync(min_in_sync),
            Action::DeleteRecords { percent } => return self.delete_records(percent),
            Action::MoveLeader { to } => self.controller.move_leader(to),
        }
        if let Action::SetDurability(_) | Action::SetMinInSync(_) | Action::MoveLeader { .. } = step.what {
            self.publish();
        }
        Ok(())
    }

    /// Nothing goes wrong any more.
    pub(super) fn calm(&mut self) {
        self.calm = true;
        self.trace.say(self.now, format_args!("calm"));
        let now = self.now;
        for node in &mut self.nodes {
            node.paused_until = node.paused_until.min(now);
            node.slow_disk.1 = 0;
            node.damaged_until = 0;
            node.lies_until = 0;
        }
    }

    pub(super) fn verdict_chain(
        verdict: &Verdict,
        end: i64,
        chain_at: impl Fn(i64) -> Option<u64>,
    ) -> Option<u64> {
        match verdict {
            Verdict::StartsAnew { log_start } => chain_at(log_start.get()),
            Verdict::Diverges { end, .. } => chain_at(end.get()),
            Verdict::Follows => chain_at(end),
            Verdict::Refused(_) => None,
        }
    }
}
