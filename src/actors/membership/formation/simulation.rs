//! Nodes that start in any order, lose messages, their processes and their disks, and become at most one cluster.
//!
//! Raft is a model here: whoever has the first membership on its disk may lead as long as a majority of its voters is up, and
//! sends it on. One seed is one run.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    time::Duration,
};

use fastrand::Rng;
use uuid::Uuid;

use super::{
    AskId, ClusterView, Effect, Formation, FormationArgs, Hello, HelloAnswer, Input, JoinAnswer, Member,
    OnDisk, SeedAnswer, Timing,
};
use crate::{
    config::node::HostPort,
    model::{NodeId, RaftId},
};

const PULSE: Duration = Duration::from_millis(20);
const CALM: Duration = Duration::from_secs(30);

struct Node {
    address: HostPort,
    seeds: Vec<HostPort>,
    raft_id: RaftId,
    /// The cluster whose first membership is on its disk.
    disk: Option<Uuid>,
    process: Option<Formation>,
    life: u64,
    /// When it wakes by itself.
    wakes: Option<Duration>,
}

#[derive(Clone)]
struct Cluster {
    voters: BTreeSet<RaftId>,
    members: BTreeMap<RaftId, Member>,
    committed: bool,
}

enum Event {
    Start(usize),
    Crash { node: usize, wipe: bool },
    Wake { node: usize, life: u64 },
    Hello { from: usize, life: u64, id: AskId, to: HostPort, hello: Hello },
    Join { from: usize, life: u64, id: AskId, to: HostPort, who: Member, cluster: Uuid },
    Tell { to: usize, life: u64, input: Input },
    WriteFirst { node: usize, life: u64, cluster: Uuid },
    Entries { to: RaftId, cluster: Uuid },
    Pulse,
    CutLinks,
}

struct World {
    rng: Rng,
    now: Duration,
    order: u64,
    queue: BinaryHeap<Reverse<(Duration, u64, usize)>>,
    events: Vec<Option<Event>>,
    nodes: Vec<Node>,
    clusters: BTreeMap<Uuid, Cluster>,
    cut: BTreeSet<(usize, usize)>,
    chaos_ends: Duration,
    loss: f64,
    delay_ms: u64,
    wipes: usize,
    gave_up: Vec<String>,
    voters_max: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let count = rng.usize(1..=5);
        let addresses: Vec<HostPort> =
            (0..count).map(|i| HostPort::new(format!("host-{}", (i * 7 + 3) % 11), 9_093)).collect();
        let listed = if rng.u8(..4) == 0 && count > 1 { count - 1 } else { count };
        let nodes = (0..count).map(|i| {
            let mut seeds = addresses[..listed].to_vec();
            rng.shuffle(&mut seeds);
            if count == 1 && rng.bool() {
                seeds.clear();
            }
            let raft_id = RaftId::new(rng.u64(1..));
            Node {
                address: addresses[i].clone(),
                seeds,
                raft_id,
                disk: None,
                process: None,
                life: 0,
                wakes: None,
            }
        });
        let nodes = nodes.collect();
        let calm = rng.u8(..4) == 0;
        Self {
            now: Duration::ZERO,
            order: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            nodes,
            clusters: BTreeMap::new(),
            cut: BTreeSet::new(),
            chaos_ends: if calm { Duration::ZERO } else { Duration::from_millis(rng.u64(500..6_000)) },
            loss: if calm { 0.0 } else { f64::from(rng.u32(..40)) / 100.0 },
            delay_ms: rng.u64(1..300),
            wipes: 0,
            gave_up: Vec::new(),
            voters_max: 1 + 2 * rng.usize(..3),
            rng,
        }
    }

    fn at(&mut self, after: Duration, event: Event) {
        self.events.push(Some(event));
        self.order += 1;
        self.queue.push(Reverse((self.now + after, self.order, self.events.len() - 1)));
    }

    fn is_chaos(&self) -> bool {
        self.now < self.chaos_ends
    }

    /// Over the network: lost, late, or neither.
    fn send(&mut self, from: usize, to: usize, event: Event) {
        let is_cut = self.cut.contains(&(from.min(to), from.max(to)));
        if self.is_chaos() && (is_cut || self.rng.f64() < self.loss) {
            return;
        }
        let ms = if self.is_chaos() { self.rng.u64(0..self.delay_ms) } else { 1 };
        self.at(Duration::from_millis(ms), event);
    }

    fn plan(&mut self, wipes: bool) {
        let until = self.chaos_ends.as_millis() as u64;
        for node in 0..self.nodes.len() {
            let starts = Duration::from_millis(self.rng.u64(0..=until / 2 + 50));
            self.at(starts, Event::Start(node));
            for _ in 0..self.rng.usize(..4) * usize::from(until > 0) {
                let crash = Duration::from_millis(self.rng.u64(0..until));
                let wipe = wipes && self.rng.u8(..3) == 0;
                self.at(crash, Event::Crash { node, wipe });
                let back = crash + Duration::from_millis(self.rng.u64(1..1_000));
                self.at(back, Event::Start(node));
            }
            self.at(self.chaos_ends + Duration::from_millis(1), Event::Start(node));
        }
        for _ in 0..(until / 400) {
            let when = Duration::from_millis(self.rng.u64(0..until));
            self.at(when, Event::CutLinks);
        }
        self.at(PULSE, Event::Pulse);
    }

    fn run(&mut self) {
        let end = self.chaos_ends + CALM;
        while let Some(Reverse((at, _, event))) = self.queue.pop() {
            if at > end || self.is_done() {
                return;
            }
            self.now = at;
            if let Some(event) = self.events[event].take() {
                self.on(event);
            }
        }
    }

    fn is_done(&self) -> bool {
        let calm = self.now.saturating_sub(self.chaos_ends);
        let stuck = calm > Duration::from_secs(5) && self.is_excused();
        stuck || (calm > Duration::from_millis(100) && self.all_in_one())
    }

    fn all_in_one(&self) -> bool {
        let first = self.nodes[0].disk;
        first.is_some() && self.nodes.iter().all(|node| node.disk == first)
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Start(node) => self.start(node),
            Event::Crash { node, wipe } => self.crash(node, wipe),
            Event::Wake { node, life } => {
                if self.nodes[node].life == life && self.nodes[node].wakes == Some(self.now) {
                    self.nodes[node].wakes = None;
                    self.step(node, life, Input::Tick);
                }
            }
            Event::Tell { to, life, input } => self.step(to, life, input),
            Event::Hello { from, life, id, to, hello } => self.on_hello(from, life, id, &to, hello),
            Event::Join { from, life, id, to, who, cluster } => {
                self.on_join(from, life, id, &to, who, cluster);
            }
            Event::WriteFirst { node, life, cluster } => self.write_first(node, life, cluster),
            Event::Entries { to, cluster } => self.on_entries(to, cluster),
            Event::Pulse => self.pulse(),
            Event::CutLinks => self.cut_links(),
        }
    }

    fn start(&mut self, at: usize) {
        let new_cluster_id = Uuid::from_u128(self.rng.u128(..));
        let node = &mut self.nodes[at];
        if node.process.is_some() {
            return;
        }
        node.life += 1;
        node.wakes = None;
        let us = member(at, node);
        let disk =
            node.disk.map_or(OnDisk::Blank { new_cluster_id }, |cluster_id| OnDisk::Member { cluster_id });
        let (seeds, timing, life) = (node.seeds.clone(), Timing::default(), node.life);
        let args = FormationArgs { us, disk, seeds, voters_max: self.voters_max, timing };
        node.process = Some(Formation::new(args));
        self.step(at, life, Input::Tick);
    }

    fn crash(&mut self, at: usize, wipe: bool) {
        self.nodes[at].process = None;
        if wipe {
            self.wipes += 1;
            self.nodes[at].disk = None;
            self.nodes[at].raft_id = RaftId::new(self.rng.u64(1..));
        }
    }

    fn cut_links(&mut self) {
        let count = self.nodes.len();
        let one = self.rng.usize(..count);
        self.cut.clear();
        if self.rng.bool() {
            self.cut.extend((0..count).map(|other| (one.min(other), one.max(other))));
        }
    }

    fn step(&mut self, at: usize, life: u64, input: Input) {
        if self.nodes[at].life != life {
            return;
        }
        let Some(process) = self.nodes[at].process.as_mut() else { return };
        let effects = process.step(self.now, input);
        if let Some(wake) = process.next_wake() {
            let wake = wake.max(self.now + Duration::from_millis(1));
            if self.nodes[at].wakes.is_none_or(|before| wake < before) {
                self.nodes[at].wakes = Some(wake);
                self.at(wake.saturating_sub(self.now), Event::Wake { node: at, life });
            }
        }
        for effect in effects {
            self.carry_out(at, life, effect);
        }
    }

    fn carry_out(&mut self, at: usize, life: u64, effect: Effect) {
        match effect {
            Effect::Ask(id, to) => {
                let hello = self.nodes[at].process.as_ref().unwrap().hello();
                let Some(target) = self.find(&to) else { return };
                let was = self.nodes[target].process.is_some();
                let event = if was {
                    Event::Hello { from: at, life, id, to, hello }
                } else {
                    Event::Tell { to: at, life, input: Input::SeedAnswered(id, SeedAnswer::Unreachable) }
                };
                self.send(at, target, event);
            }
            Effect::Initialise { cluster_id, voters, learners } => {
                self.initialise(at, life, cluster_id, &voters, &learners);
            }
            Effect::Join { id, at: to, cluster_id } => {
                let who = member(at, &self.nodes[at]);
                let Some(target) = self.find(&to) else { return };
                self.send(at, target, Event::Join { from: at, life, id, to, who, cluster: cluster_id });
            }
            Effect::GiveUp(why) => {
                self.nodes[at].process = None;
                self.gave_up.push(why.to_string());
            }
            Effect::GoOn | Effect::Learned(_) | Effect::Say(_) => {}
        }
    }

    fn initialise(&mut self, at: usize, life: u64, id: Uuid, voters: &[Member], learners: &[Member]) {
        assert!(voters.len() % 2 == 1 && voters.len() <= self.voters_max, "{} voters", voters.len());
        assert!(voters.contains(&member(at, &self.nodes[at])), "s16: the one that begins votes");
        let members = voters.iter().chain(learners).map(|who| (who.raft_id, who.clone())).collect();
        let voters = voters.iter().map(|who| who.raft_id).collect();
        self.clusters.insert(id, Cluster { voters, members, committed: false });
        let writes = Duration::from_millis(self.rng.u64(0..50));
        self.at(writes, Event::WriteFirst { node: at, life, cluster: id });
    }

    /// A crash may have come before, or come after this and before the node hears of it.
    fn write_first(&mut self, at: usize, life: u64, cluster: Uuid) {
        if self.nodes[at].life != life || self.nodes[at].process.is_none() {
            return;
        }
        let fails = self.nodes[at].disk.is_some() || (self.is_chaos() && self.rng.u8(..10) == 0);
        let outcome = if fails { Err("disk full".to_owned()) } else { Ok(()) };
        if !fails {
            self.nodes[at].disk = Some(cluster);
            self.check();
        }
        let told = Duration::from_millis(self.rng.u64(0..30));
        self.at(told, Event::Tell { to: at, life, input: Input::Initialised(outcome) });
    }

    fn on_hello(&mut self, from: usize, life: u64, id: AskId, to: &HostPort, hello: Hello) {
        let Some(at) = self.find(to) else { return };
        let Some(process) = self.nodes[at].process.as_ref() else { return };
        let answer: HelloAnswer = process.answer(&hello);
        let input = Input::SeedAnswered(id, SeedAnswer::Answered(answer));
        self.send(at, from, Event::Tell { to: from, life, input });
        let life = self.nodes[at].life;
        self.step(at, life, Input::Asked(hello));
    }

    fn on_join(&mut self, from: usize, life: u64, id: AskId, to: &HostPort, who: Member, cluster: Uuid) {
        let Some(at) = self.find(to) else { return };
        if self.nodes[at].process.is_none() {
            return;
        }
        let leader = self.leader(cluster);
        let answer = if self.nodes[at].disk != Some(cluster) {
            JoinAnswer::NotLeader { leader: None }
        } else if leader == Some(at) && self.clusters[&cluster].committed {
            self.take_in(cluster, who);
            JoinAnswer::Taken
        } else {
            JoinAnswer::NotLeader { leader: leader.map(|leader| self.nodes[leader].address.clone()) }
        };
        self.send(at, from, Event::Tell { to: from, life, input: Input::JoinAnswered(id, answer) });
    }

    /// As a learner, and swapped in for the disk that its node lost (S17).
    fn take_in(&mut self, cluster: Uuid, who: Member) {
        let Some(cluster) = self.clusters.get_mut(&cluster) else { return };
        let before = cluster.members.values().find(|old| old.node == who.node && old.raft_id != who.raft_id);
        if let Some(before) = before.map(|old| old.raft_id) {
            cluster.members.remove(&before);
            if cluster.voters.remove(&before) {
                cluster.voters.insert(who.raft_id);
            }
        }
        cluster.members.insert(who.raft_id, who);
    }

    fn on_entries(&mut self, to: RaftId, cluster: Uuid) {
        let Some(at) = self.nodes.iter().position(|node| node.raft_id == to && node.process.is_some()) else {
            return;
        };
        if self.nodes[at].disk.is_none() {
            self.nodes[at].disk = Some(cluster);
            self.check();
            let life = self.nodes[at].life;
            self.step(at, life, Input::BecameMember(cluster));
        }
    }

    /// A voter that is up and has the log, while a majority of voters would elect it.
    fn leader(&self, id: Uuid) -> Option<usize> {
        let cluster = self.clusters.get(&id)?;
        let votes = |node: &&Node| {
            node.process.is_some()
                && cluster.voters.contains(&node.raft_id)
                && node.disk.is_none_or(|disk| disk == id)
        };
        let electable = |node: &Node| votes(&node) && node.disk == Some(id);
        let majority = self.nodes.iter().filter(votes).count() * 2 > cluster.voters.len();
        majority.then(|| self.nodes.iter().position(electable)).flatten()
    }

    fn pulse(&mut self) {
        for id in self.clusters.keys().copied().collect::<Vec<_>>() {
            let Some(leader) = self.leader(id) else { continue };
            let cluster = self.clusters[&id].clone();
            for who in cluster.members.values() {
                let Some(to) = self.find(&who.address) else { continue };
                self.send(leader, to, Event::Entries { to: who.raft_id, cluster: id });
                let leader_at = Some(self.nodes[leader].address.clone());
                let members = cluster.members.values().cloned().collect();
                let view = ClusterView { id, leader: leader_at, controller_epoch: 1, members };
                if self.nodes[to].disk == Some(id) && cluster.committed {
                    let life = self.nodes[to].life;
                    self.send(leader, to, Event::Tell { to, life, input: Input::Cluster(view) });
                }
            }
        }
        self.at(PULSE, Event::Pulse);
    }

    fn find(&self, address: &HostPort) -> Option<usize> {
        self.nodes.iter().position(|node| node.address == *address)
    }

    fn holders(&self, id: Uuid) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.disk == Some(id))
    }

    /// At most one cluster, whatever happens; with disks lost, at most one that has ever been more than an attempt.
    fn check(&mut self) {
        for id in self.clusters.keys().copied().collect::<Vec<_>>() {
            let cluster = &self.clusters[&id];
            let has = self.holders(id).filter(|node| cluster.voters.contains(&node.raft_id)).count();
            if has * 2 > cluster.voters.len()
                && let Some(cluster) = self.clusters.get_mut(&id)
            {
                cluster.committed = true;
            }
        }
        let on_disks: BTreeSet<_> = self.nodes.iter().filter_map(|node| node.disk).collect();
        assert!(self.wipes > 0 || on_disks.len() <= 1, "s16: two clusters: {on_disks:?}");
        let living = self.clusters.iter().filter(|(id, cluster)| cluster.committed && self.is_living(**id));
        assert!(living.count() <= 1, "s16: two living clusters");
    }

    /// Whether a majority of its voters' disks can still elect one of them that has the log.
    fn is_living(&self, id: Uuid) -> bool {
        let cluster = &self.clusters[&id];
        let voter = |node: &&Node| cluster.voters.contains(&node.raft_id);
        let votes = self.nodes.iter().filter(voter).filter(|node| node.disk.is_none_or(|disk| disk == id));
        votes.count() * 2 > cluster.voters.len() && self.holders(id).any(|node| voter(&node))
    }

    /// Whether nodes could not become one cluster, for what their disks have lost.
    fn is_excused(&self) -> bool {
        let on_disks: BTreeSet<_> = self.nodes.iter().filter_map(|node| node.disk).collect();
        let one_that_lives = on_disks.len() == 1 && on_disks.iter().all(|id| self.is_living(*id));
        self.wipes > 0 && !(on_disks.is_empty() || one_that_lives)
    }
}

fn member(at: usize, node: &Node) -> Member {
    Member { node: NodeId::new(at as i32), raft_id: node.raft_id, address: node.address.clone() }
}

fn play(seed: u64, wipes: bool) -> World {
    let mut world = World::new(seed);
    world.plan(wipes);
    world.run();
    world
}

#[track_caller]
fn assert_in_one(seed: u64, world: &World) {
    let disks: Vec<_> = world.nodes.iter().map(|node| node.disk).collect();
    let says: Vec<_> =
        world.nodes.iter().map(|n| n.process.as_ref().and_then(Formation::waits_for)).collect();
    assert!(world.all_in_one(), "seed {seed}: not in one cluster: {disks:?}, {says:?}, {:?}", world.gave_up);
}

#[test]
fn s16_seeds_form_exactly_one_cluster_whatever_is_lost_or_late_or_killed() {
    for seed in 0..3_000 {
        let world = play(seed, false);
        assert_in_one(seed, &world);
        assert!(world.gave_up.is_empty(), "seed {seed}: {:?}", world.gave_up);
    }
}

#[test]
fn s17_with_disks_lost_too_no_second_cluster_lives_and_lost_disks_come_in_again() {
    let mut excused = 0;
    for seed in 0..3_000 {
        let world = play(seed, true);
        if world.is_excused() {
            excused += 1;
        } else {
            assert_in_one(seed, &world);
        }
    }
    assert!(excused < 300, "{excused} runs lost more disks than a cluster can: the test shows too little");
}

#[test]
fn s16_calm_nodes_are_one_cluster_in_half_a_second() {
    for seed in (0..2_000).filter(|seed| World::new(*seed).chaos_ends.is_zero()) {
        let world = play(seed, false);
        assert_in_one(seed, &world);
        assert!(world.now < Duration::from_millis(500), "seed {seed}: {:?}", world.now);
    }
}
