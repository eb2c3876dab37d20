//! The world: one thread, one heap of what is going to happen, and nothing that is not decided by the script.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use polylogue::{
    actors::group_coordinator::{
        Refusal,
        core::{Answer, Coordinator, Image, Request, TopicImage},
    },
    config::group::GroupConfig,
    model::TopicId,
    wire::Str,
};

use crate::{
    chance::{Trace, chance},
    checks::{Cause, Checks},
    member::{Around, Member, Phase, TOPIC},
    network::Network,
    node::{Asked, Node},
    plants::Plant,
    script::{Action, Coordinated},
    trial::{Checked, Happened, Script},
};

/// Something that is going to happen.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Step(usize),
    /// A request reaches the node, or an answer a client.
    Request(Box<Asked>),
    Reply {
        client: usize,
        connection: u64,
        number: u64,
        outcome: Box<Result<Answer, Refusal>>,
    },
    Broken {
        client: usize,
        connection: u64,
    },
    Wake {
        client: usize,
        life: u64,
    },
    Up {
        boot: u64,
    },
    Load {
        term: u64,
    },
    Append {
        term: u64,
    },
    Tick {
        term: u64,
    },
    Flush {
        opening: u64,
    },
    Maintain {
        opening: u64,
    },
    Sweep {
        boot: u64,
    },
    RoomAgain,
    NetworkAgain {
        since: u64,
    },
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) script: Script<Coordinated>,
    pub(crate) plant: Option<Plant>,
    /// Microseconds.
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pauses: u64,
    pub(crate) trace: Trace,
    pub(crate) checks: Checks,
    pub(crate) node: Node,
    pub(crate) members: Vec<Member>,
    pub(crate) groups: Vec<Str>,
    /// Sessions of members by their clients' names.
    pub(crate) sessions: BTreeMap<String, Duration>,
    pub(crate) network: Network,
    pub(crate) topics: u8,
    pub(crate) events: u64,
    /// What has happened how often, by name.
    pub(crate) happened: Happened,
}

impl World {
    pub(crate) fn new(script: &Script<Coordinated>, plant: Option<Plant>, traced: bool) -> Self {
        let (seed, given) = (script.seed, &script.given);
        let specs = given.members.iter().cloned().enumerate();
        let session = |(at, spec): (usize, &crate::script::Spec)| {
            (format!("c{at}"), Duration::from_millis(spec.session_ms))
        };
        let mut world = Self {
            plant,
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            pauses: 0,
            trace: Trace::new(traced),
            checks: Checks::new(given.settings.clone()),
            node: Node::new(seed),
            members: specs.map(|(at, spec)| Member::new(spec, chance(seed, &[4, at as u64]))).collect(),
            groups: (0..given.count).map(|at| Str::from(format!("g{at}"))).collect(),
            sessions: given.members.iter().enumerate().map(session).collect(),
            network: Network::new(given.members.len() + 1),
            topics: 1,
            events: 0,
            happened: Happened::new(),
            script: script.clone(),
        };
        world.push(0, Event::Up { boot: 0 });
        for (at, (_, step)) in script.steps.iter().enumerate() {
            world.push(1000 * step.at_ms, Event::Step(at));
        }
        world
    }

    pub(crate) fn note(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    pub(crate) fn push(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((at.max(self.now), self.sequence), event);
    }

    pub(crate) fn after(&mut self, wait: u64, event: Event) {
        self.push(self.now + wait, event);
    }

    /// How long something takes, up to so many microseconds; often next to nothing, now and then much longer.
    pub(crate) fn pause(&mut self, most: u64) -> u64 {
        self.pauses += 1;
        let mut rng = chance(self.script.seed, &[3, self.pauses]);
        match rng.u8(0..16) {
            0 => rng.u64(0..=most * 20),
            1..8 => rng.u64(0..=most),
            _ => rng.u64(0..=most / 50),
        }
    }

    /// What the coordinator knows of topics.
    pub(crate) fn image(&self) -> Arc<Image> {
        let partitions = self.script.given.partitions as i32;
        let topic = TopicImage { id: self.topic(), partitions, ..TopicImage::default() };
        let of_others = GroupConfig::resolve(&self.script.given.settings.consumer, &BTreeMap::new());
        let image = Image::new(BTreeMap::from([(Str::from_static(TOPIC), topic)]));
        Arc::new(image.with_groups(BTreeMap::new(), of_others))
    }

    pub(crate) fn topic(&self) -> TopicId {
        TopicId::from_bytes([self.topics; 16])
    }

    /// Lets everything happen that happens until then.
    pub(crate) fn run_until(&mut self, end: u64) -> Checked {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.events += 1;
            self.trace.say(at, format_args!("{event:?}"));
            self.on_event(event)?;
        }
        self.now = end;
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Checked {
        match event {
            Event::Step(at) => self.on_step(at),
            Event::Request(asked) => self.on_arrival(*asked),
            Event::Reply { client, connection, number, outcome } => {
                self.on_reply(client, connection, number, *outcome);
                Ok(())
            }
            Event::Broken { client, connection } => {
                let now = self.now;
                if let Some(member) = self.members.get_mut(client).filter(|m| m.connection == connection) {
                    member.broken(now);
                }
                Ok(())
            }
            Event::Wake { client, life } => {
                self.on_wake(client, life);
                Ok(())
            }
            Event::Up { boot } => self.on_up(boot),
            Event::Load { term } => self.on_load(term),
            Event::Append { term } => self.on_append(term),
            Event::Tick { term } => self.on_tick(term),
            Event::Flush { opening } => self.on_flush(opening),
            Event::Maintain { opening } => {
                self.on_maintain(opening);
                Ok(())
            }
            Event::Sweep { boot } if boot == self.node.boot => {
                self.after(60_000_000, Event::Sweep { boot });
                self.decide(&Cause::Sweep, Coordinator::sweep)
            }
            Event::Sweep { .. } => Ok(()),
            Event::RoomAgain => {
                self.node.leave_room(None);
                Ok(())
            }
            Event::NetworkAgain { since } => {
                self.network.calm(since);
                Ok(())
            }
        }
    }

    fn on_step(&mut self, at: usize) -> Checked {
        let Some((_, step)) = self.script.steps.get(at).cloned() else { return Ok(()) };
        match step.what {
            Action::Start(member) => self.start(member),
            Action::Stop(member) => self.with_member(member, Member::stop),
            Action::Crash(member) => self.with_member(member, Member::crash),
            Action::Freeze { member, ms } => {
                let until = self.now + 1000 * ms;
                self.with_member(member, |member| member.frozen_until = until);
            }
            Action::Kill { down_ms } => self.node_dies(false, down_ms),
            Action::PowerCut { down_ms } => self.node_dies(true, down_ms),
            Action::DieAfter { changes, down_ms } => self.die_after(changes, down_ms),
            Action::RestartCoordinator => self.begin_loading(),
            Action::FailSync { dropped } => self.node.fail_sync(dropped),
            Action::DiskFull { free, ms } => {
                self.node.leave_room(Some(free));
                self.after(1000 * ms, Event::RoomAgain);
            }
            Action::Network { lost_percent, delay_ms, stale_percent, ms } => {
                let since = self.now;
                self.network.trouble(since, lost_percent, delay_ms, stale_percent);
                self.after(1000 * ms, Event::NetworkAgain { since });
            }
            Action::SetWall { by_ms } => self.node.wall_off_ms += by_ms,
            Action::RecreateTopic => {
                let gone = BTreeSet::from([self.topic()]);
                self.topics += 1;
                self.decide(&Cause::TopicsDeleted, |core, _, effects| core.topics_deleted(&gone, effects))?;
                return self.set_image();
            }
            asks => self.ask_as_administrator(&asks),
        }
        Ok(())
    }

    fn start(&mut self, client: usize) {
        let Some(member) = self.members.get_mut(client) else { return };
        if matches!(member.phase, Phase::Gone | Phase::Outcast) {
            member.start();
            let life = member.life;
            self.after(0, Event::Wake { client, life });
        }
    }

    fn with_member(&mut self, client: usize, what: impl FnOnce(&mut Member)) {
        if let Some(member) = self.members.get_mut(client).filter(|member| member.phase != Phase::Gone) {
            what(member);
        }
    }

    fn on_wake(&mut self, client: usize, life: u64) {
        let around = Around { now: self.now, topic: self.topic(), partitions: self.script.given.partitions };
        let Some(member) = self.members.get_mut(client) else { return };
        if member.life != life || member.phase == Phase::Gone {
            return;
        }
        if member.frozen_until > self.now {
            let until = member.frozen_until;
            self.push(until, Event::Wake { client, life });
            return;
        }
        let said = member.wake(&around);
        let beat = member.spec.heartbeat_ms.min(500) * member.spec.clock_ppm / 1000;
        self.send_all(client, said);
        self.after(beat, Event::Wake { client, life });
    }

    fn on_reply(&mut self, client: usize, connection: u64, number: u64, outcome: Result<Answer, Refusal>) {
        let around = Around { now: self.now, topic: self.topic(), partitions: self.script.given.partitions };
        let Some(member) = self.members.get_mut(client) else { return };
        if member.connection != connection || member.phase == Phase::Gone {
            return;
        }
        if member.frozen_until > self.now {
            let until = member.frozen_until;
            self.push(until, Event::Reply { client, connection, number, outcome: Box::new(outcome) });
            return;
        }
        member.hear(around.now, number, outcome);
        let said = if matches!(member.phase, Phase::Consuming) { Vec::new() } else { member.wake(&around) };
        self.send_all(client, said);
    }

    fn send_all(&mut self, client: usize, said: Vec<(u64, Request)>) {
        for (number, request) in said {
            self.send(client, number, request);
        }
    }

    /// Nothing goes wrong any more, and everybody who was asleep is awake.
    pub(crate) fn calm(&mut self) {
        self.trace.say(self.now, format_args!("calm"));
        self.network.calm(u64::MAX);
        self.node.heal();
        let now = self.now;
        self.members.iter_mut().for_each(|member| member.frozen_until = member.frozen_until.min(now));
    }
}
