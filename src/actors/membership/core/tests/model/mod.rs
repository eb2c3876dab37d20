//! Brokers with logs under a controller, at random: commands that come late, twice or never, brokers that look at old
//! images, die with and without their disks, are taken for dead and are not. Leaders keep the rules S1 to S3 and S10.
//!
//! What was acknowledged is in the log of every leader that opens it, unless the election was said to be unclean.

mod broker;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fastrand::Rng;

use self::broker::{Broker, Log, Record, Term, common};
use super::world::{World, node};
use crate::{
    actors::membership::core::{
        Command, CommandAnswer, ConfigOwner, Elections, InSyncChange, MetadataImage, NewTopic, Refusal,
        TopicRef,
        election::{Policies, Policy},
        snapshot::Snapshot,
    },
    config::topic::ConfigChange,
    model::{BrokerEpoch, LeaderEpoch, NodeId, PartitionId, TopicId},
    storage::metadata_log::codec,
};

struct Model {
    seed: u64,
    rng: Rng,
    world: World,
    brokers: BTreeMap<NodeId, Broker>,
    partitions: Vec<PartitionId>,
    in_flight: Vec<Command>,
    acknowledged: BTreeMap<PartitionId, Vec<Record>>,
    /// Where an election has given something up, until its leader begins.
    given_up: BTreeSet<PartitionId>,
    /// The term that has begun so: what a leader of an earlier one acknowledges yet is given up too.
    given_up_by: BTreeMap<PartitionId, LeaderEpoch>,
    /// Terms in which a log was opened (S6).
    opened: BTreeSet<(PartitionId, LeaderEpoch)>,
    next: u64,
    /// Of 100 chances to disturb, how many are taken.
    unrest: u8,
    seen: Seen,
}

/// What the seeds have come across: a model in which nothing happens proves nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    acknowledged: u64,
    begun: u64,
    from_electable: u64,
    recovered: u64,
    unclean: u64,
    refused: u64,
    reached: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let count = [1, 2, 3, 3, 4, 5][rng.usize(..6)];
        let mut world = World::new(count);
        let mut partitions = Vec::new();
        for _ in 0..rng.usize(1..=3) {
            let mut ids: Vec<i32> = (1..=count).collect();
            rng.shuffle(&mut ids);
            ids.truncate([1, 2, 2, 3, 3, 3][rng.usize(..6)]);
            let durability = ["disk", "replicated"][rng.usize(..2)];
            let unclean = ["false", "false", "false", "true"][rng.usize(..4)];
            let configs = [("durability", durability), ("unclean.leader.election.enable", unclean)];
            partitions.push(world.topic(&ids, &configs));
        }
        let view = Arc::new(world.image.clone());
        let broker = |id: i32| Broker {
            up: true,
            clean: false,
            raft_id: id as u64,
            start: None,
            epoch: world.epoch(node(id)),
            view: Arc::clone(&view),
            logs: BTreeMap::new(),
            terms: BTreeMap::new(),
            openings: BTreeMap::new(),
        };
        let brokers = (1..=count).map(|id| (node(id), broker(id))).collect();
        let (in_flight, acknowledged) = (Vec::new(), BTreeMap::new());
        let given_up_by = BTreeMap::new();
        let unrest = [5, 20, 50, 100][rng.usize(..4)];
        let (given_up, opened, next, seen) = (BTreeSet::new(), BTreeSet::new(), 1_000, Seen::default());
        Self {
            seed,
            rng,
            world,
            brokers,
            partitions,
            in_flight,
            acknowledged,
            given_up,
            given_up_by,
            opened,
            next,
            unrest,
            seen,
        }
    }

    fn any_broker(&mut self) -> NodeId {
        let at = self.rng.usize(..self.brokers.len());
        *self.brokers.keys().nth(at).unwrap()
    }

    fn any_partition(&mut self) -> PartitionId {
        self.partitions[self.rng.usize(..self.partitions.len())]
    }

    fn policy(&self, image: &MetadataImage, id: PartitionId) -> Policy {
        let topic = image.topic(id.topic).unwrap();
        Policies::new(image, &self.world.rules).of(&topic.configs, topic.partitions[0].replicas.len())
    }

    /// Now, later, later too, or never.
    fn send(&mut self, command: Command) {
        let copies = if command.is_idempotent() { self.rng.usize(1..=2) } else { 1 };
        // What a leader asks for on what it knew is the most dangerous when it comes late.
        let at_once =
            if matches!(command, Command::AlterInSync(_) | Command::AlterInSyncOnDisk(_)) { 3 } else { 5 };
        match self.rng.u8(..10) {
            now if now < at_once => self.deliver(&command),
            0..9 => self.in_flight.extend(std::iter::repeat_n(command, copies)),
            _ => {}
        }
    }

    fn deliver(&mut self, command: &Command) {
        let electable: Vec<_> = self.partitions.iter().map(|id| self.world.partition(*id).clone()).collect();
        let outcome = self.world.command(command);
        for (id, before) in self.partitions.iter().zip(electable) {
            let leader = self.world.partition(*id).leader;
            self.seen.from_electable += u64::from(before.electable.contains(&leader));
        }
        match &outcome {
            Ok(
                CommandAnswer::Elected(elections)
                | CommandAnswer::Stopping { elections, .. }
                | CommandAnswer::Registered { elections, .. },
            ) => self.note(elections),
            Ok(_) => {}
            Err(_) => self.seen.refused += 1,
        }
        self.answer(command, outcome);
    }

    fn note(&mut self, elections: &Elections) {
        self.seen.recovered += elections.recovered.len() as u64;
        self.seen.unclean += elections.unclean.len() as u64;
        for id in elections.recovered.iter().chain(&elections.unclean) {
            self.given_up.insert(*id);
            self.given_up_by.insert(*id, self.world.partition(*id).leader_epoch);
        }
    }

    fn answer(&mut self, command: &Command, outcome: Result<CommandAnswer, Refusal>) {
        match (command, outcome) {
            (Command::AlterInSync(change), outcome) => self.on_in_sync(change, outcome),
            (Command::AlterInSyncOnDisk(change), outcome) => {
                self.seen.reached += u64::from(outcome.is_ok());
                self.on_in_sync(change, outcome);
            }
            (Command::RegisterBroker(start), Ok(CommandAnswer::Registered { epoch, .. })) => {
                let broker = self.brokers.get_mut(&start.node).unwrap();
                if broker.up && broker.start.as_ref().is_some_and(|own| own.boot == start.boot) {
                    broker.epoch = epoch;
                    // S12: nothing is done before the image has come so far.
                    self.look(start.node);
                }
            }
            (Command::OpenEpoch { partition, node, opening, .. }, Ok(CommandAnswer::EpochOpened(epoch))) => {
                let broker = self.brokers.get_mut(node).unwrap();
                if broker.up && broker.openings.get(partition) == Some(opening) {
                    broker.openings.remove(partition);
                    // As the image has it that shows the epoch.
                    let image = Arc::new(self.world.image.clone());
                    broker.view = Arc::clone(&image);
                    self.begin(*node, *partition, epoch, &image);
                }
            }
            (Command::OpenEpoch { partition, node, opening, .. }, Err(_)) => {
                let openings = &mut self.brokers.get_mut(node).unwrap().openings;
                if openings.get(partition) == Some(opening) {
                    openings.remove(partition);
                }
            }
            _ => {}
        }
    }

    /// The answer may be ahead of the image that the leader has.
    fn on_in_sync(&mut self, change: &InSyncChange, outcome: Result<CommandAnswer, Refusal>) {
        let broker = self.brokers.get_mut(&change.leader).unwrap();
        let Some(term) = broker.terms.get_mut(&change.partition) else { return };
        if term.epoch != change.leader_epoch || term.partition_epoch != change.partition_epoch {
            return;
        }
        term.proposed.clear();
        if let Ok(CommandAnswer::InSync { partition_epoch, in_sync }) = outcome {
            (term.partition_epoch, term.committed) = (partition_epoch, in_sync);
        }
    }

    /// A leader opens its log for writing.
    fn begin(&mut self, by: NodeId, id: PartitionId, epoch: LeaderEpoch, image: &MetadataImage) {
        let partition = image.partition(id).unwrap();
        if partition.leader != by || partition.leader_epoch != epoch {
            return;
        }
        assert!(self.opened.insert((id, epoch)), "s06: {id} is opened twice in {epoch}, seed {}", self.seed);
        self.seen.begun += 1;
        let broker = self.brokers.get_mut(&by).unwrap();
        let log = broker.logs.entry(id).or_default();
        let acknowledged = self.acknowledged.entry(id).or_default();
        let has = common(&log.records, acknowledged);
        if self.given_up.remove(&id) {
            acknowledged.truncate(has);
        }
        assert_eq!(
            has,
            acknowledged.len(),
            "{by} leads {id} in {epoch} and lacks what was acknowledged, seed {}",
            self.seed
        );
        let term = Term {
            epoch,
            start: log.records.len(),
            watermark: 0,
            positions: BTreeMap::new(),
            committed: partition.in_sync.to_vec(),
            partition_epoch: partition.partition_epoch,
            proposed: Vec::new(),
        };
        broker.terms.insert(id, term);
    }

    /// A broker gets the newest image, and does what follows from it.
    fn look(&mut self, by: NodeId) {
        let image = Arc::new(self.world.image.clone());
        let broker = self.brokers.get_mut(&by).unwrap();
        if !broker.up {
            return;
        }
        broker.view = Arc::clone(&image);
        for id in self.partitions.clone() {
            let partition = image.partition(id).unwrap();
            let broker = self.brokers.get_mut(&by).unwrap();
            let term = broker.terms.get_mut(&id);
            if partition.leader != by || image.brokers()[&by].epoch != broker.epoch {
                broker.terms.remove(&id);
            } else if let Some(term) = term.filter(|term| term.epoch >= partition.leader_epoch) {
                if term.partition_epoch < partition.partition_epoch {
                    term.proposed.clear();
                    (term.partition_epoch, term.committed) =
                        (partition.partition_epoch, partition.in_sync.to_vec());
                }
            } else if partition.leader_epoch == LeaderEpoch::NONE || partition.opening != 0 {
                self.open(by, id);
            } else if !self.opened.contains(&(id, partition.leader_epoch)) {
                self.begin(by, id, partition.leader_epoch, &image);
            } else {
                self.open(by, id);
            }
        }
    }

    fn open(&mut self, by: NodeId, id: PartitionId) {
        self.next += 1;
        let next = self.next;
        let broker = self.brokers.get_mut(&by).unwrap();
        if !broker.up {
            return;
        }
        broker.terms.remove(&id);
        let opening = *broker.openings.entry(id).or_insert(next);
        let leader_epoch = broker.view.partition(id).unwrap().leader_epoch;
        let broker_epoch = broker.epoch;
        self.send(Command::OpenEpoch { partition: id, node: by, broker_epoch, leader_epoch, opening });
    }

    fn append(&mut self, by: NodeId, id: PartitionId) {
        self.next += 1;
        let in_memory = self.policy(&self.world.image, id).in_memory;
        let broker = self.brokers.get_mut(&by).unwrap();
        let Some(term) = broker.terms.get(&id) else { return };
        let log = broker.logs.entry(id).or_default();
        log.records.push((term.epoch, self.next));
        if !in_memory || self.rng.u8(..) < 50 {
            log.flushed = log.records.len();
        }
        self.advance(by, id);
    }

    fn fetch(&mut self, by: NodeId, id: PartitionId) {
        let in_memory = self.policy(&self.world.image, id).in_memory;
        let follower = &self.brokers[&by];
        let partition = follower.view.partition(id).unwrap();
        let (leader, epoch) = (partition.leader, partition.leader_epoch);
        if !follower.up || leader == by || !partition.replicas.contains(&by) {
            return;
        }
        let Some(from) = self.brokers.get(&leader).filter(|leader| leader.up) else { return };
        if from.terms.get(&id).is_none_or(|term| term.epoch != epoch) {
            return;
        }
        let records = from.logs[&id].records.clone();
        let (more, flushes) = (self.rng.usize(..4), self.rng.bool());
        let follower = self.brokers.get_mut(&by).unwrap();
        let log = follower.logs.entry(id).or_default();
        log.follow(&records, more);
        if !in_memory || flushes {
            log.flushed = log.records.len();
        }
        let position = (follower.epoch, log.position());
        let term = self.brokers.get_mut(&leader).unwrap().terms.get_mut(&id).unwrap();
        term.positions.insert(by, position);
        self.advance(leader, id);
    }

    /// S1, S2 and S10: all that count have it, those that are proposed too, and enough are known to.
    fn advance(&mut self, by: NodeId, id: PartitionId) {
        let Policy { min_in_sync: min, in_memory, .. } = self.policy(&self.brokers[&by].view, id);
        let broker = self.brokers.get_mut(&by).unwrap();
        let Some(term) = broker.terms.get_mut(&id).filter(|term| term.committed.len() >= min) else { return };
        if self.given_up_by.get(&id).is_some_and(|epoch| term.epoch < *epoch) {
            return;
        }
        let own = broker.logs[&id].position();
        let log = &broker.logs[&id].records;
        let position = |node: &NodeId| match term.positions.get(node) {
            _ if *node == by => own.counted(in_memory),
            Some((_, position)) => position.counted(in_memory).min(log.len()),
            None => 0,
        };
        let all_have = term.committed.iter().chain(&term.proposed).map(position).min().unwrap_or(0);
        term.watermark = term.watermark.max(all_have);
        let acknowledged = self.acknowledged.entry(id).or_default();
        let has = common(log, acknowledged);
        let agreed = term.watermark.min(acknowledged.len());
        assert!(has >= agreed, "{by} acknowledges another history of {id}, seed {}", self.seed);
        if term.watermark > acknowledged.len() {
            self.seen.acknowledged += (term.watermark - acknowledged.len()) as u64;
            *acknowledged = log[..term.watermark].to_vec();
        }
    }

    /// S3: in comes who has all that was acknowledged and all of the epochs before. Out goes anybody.
    fn propose(&mut self, by: NodeId, id: PartitionId) {
        let other = self.any_broker();
        let in_memory = self.policy(&self.brokers[&by].view, id).in_memory;
        let broker = self.brokers.get_mut(&by).unwrap();
        let known = broker.view.brokers();
        let Some(term) = broker.terms.get_mut(&id).filter(|term| term.proposed.is_empty()) else { return };
        let mut members = term.committed.clone();
        if other != by && members.contains(&other) {
            members.retain(|member| *member != other);
        } else if let Some((epoch, position)) = term.positions.get(&other) {
            if known[&other].epoch != *epoch || position.counted(in_memory) < term.watermark.max(term.start) {
                return;
            }
            members.push(other);
        }
        let is_on_disk =
            !in_memory && !broker.view.is_on_disk(id) && broker.has_all_on_disk(by, id, &members);
        let term = broker.terms.get_mut(&id).unwrap();
        let in_sync = members.iter().map(|member| (*member, known[member].epoch)).collect();
        term.proposed = members;
        let (leader_epoch, partition_epoch) = (term.epoch, term.partition_epoch);
        let change = InSyncChange { partition: id, leader: by, leader_epoch, partition_epoch, in_sync };
        self.send(if is_on_disk { Command::AlterInSyncOnDisk(change) } else { Command::AlterInSync(change) });
    }

    fn kill(&mut self, by: NodeId, with_disk: bool) {
        let broker = self.brokers.get_mut(&by).unwrap();
        broker.end(false);
        for log in broker.logs.values_mut() {
            log.records.truncate(self.rng.usize(log.flushed..=log.records.len()));
        }
        if with_disk {
            self.next += 1;
            broker.raft_id = self.next;
            broker.logs.clear();
        }
    }

    fn stop(&mut self, by: NodeId) {
        let command = Command::BrokerStopping { node: by, broker_epoch: self.brokers[&by].epoch };
        if self.rng.bool() {
            self.send(command);
        } else if self.brokers[&by].up {
            self.brokers.get_mut(&by).unwrap().end(true);
        }
    }

    fn start(&mut self, by: NodeId) {
        let broker = &self.brokers[&by];
        let registered = self.world.image.brokers()[&by].boot;
        let is_known = broker.start.as_ref().is_none_or(|start| start.boot == registered);
        if broker.up && is_known {
            return;
        }
        if !broker.up {
            let (raft_id, clean) = (broker.raft_id, broker.clean);
            // The mark names the start that has ended, and that is not always the one registered last.
            let before = broker.start.as_ref().map_or(registered, |start| start.boot);
            let mut start = self.world.registration(by, raft_id, false);
            start.clean = clean.then_some(before);
            let broker = self.brokers.get_mut(&by).unwrap();
            (broker.up, broker.clean, broker.start) = (true, false, Some(start));
            broker.epoch = BrokerEpoch::new(-1);
        }
        let command = Command::RegisterBroker(self.brokers[&by].start.clone().unwrap());
        let alive = self.rng.u8(..10) == 0;
        self.send(command.seen_alive(|_, _| alive));
    }

    /// What a broker says when it has registered: what it has found, and that it is ready.
    fn ready(&mut self, by: NodeId) {
        let broker = &self.brokers[&by];
        if !broker.up || self.world.epoch(by) != broker.epoch {
            return;
        }
        let found = |id: &PartitionId| {
            let (epoch, end) = broker.logs.get(id).map_or_else(|| Log::default().end(), Log::end);
            let doubted = broker.view.partition(*id)?.uncertain.iter().any(|one| one.node == by);
            doubted.then_some((*id, epoch, end))
        };
        let ends: Vec<_> = self.partitions.iter().filter_map(found).collect();
        let broker_epoch = broker.epoch;
        if !ends.is_empty() {
            self.send(Command::ReportEnds { node: by, broker_epoch, ends });
        }
        self.send(Command::BrokerReady { node: by, broker_epoch });
    }

    fn step(&mut self) {
        let id = self.any_partition();
        let partition = self.world.partition(id);
        let replicas = Arc::clone(&partition.replicas);
        let leader = partition.leader().unwrap_or(replicas[0]);
        let by = replicas[self.rng.usize(..replicas.len())];
        // Who believes to lead, also where that is another one.
        let leader = if self.rng.u8(..4) == 0 { by } else { leader };
        match self.rng.u8(..100) {
            0..16 => self.append(leader, id),
            16..50 => self.fetch(by, id),
            50..58 => self.propose(leader, id),
            58..70 => self.look(by),
            70..75 => self.start(by),
            75..80 => self.ready(by),
            80..90 if !self.in_flight.is_empty() => {
                let at = self.rng.usize(..self.in_flight.len());
                let command = self.in_flight.swap_remove(at);
                self.deliver(&command);
            }
            90..100 if self.rng.u8(..100) < self.unrest => self.disturb(by, id),
            _ => {}
        }
    }

    fn disturb(&mut self, by: NodeId, id: PartitionId) {
        match self.rng.u8(..28) {
            0..4 => {
                let with_disk = self.rng.u8(..6) == 0;
                self.kill(by, with_disk);
            }
            4..7 => self.stop(by),
            7..11 => {
                let down = Command::BrokerDown { node: by, broker_epoch: self.world.epoch(by) };
                self.send(down);
            }
            11..13 => self.send(Command::ElectPreferred),
            13..15 => self.open(by, id),
            15..17 => self.world.elect_controller(by),
            17 => {
                let all: Vec<NodeId> = self.brokers.keys().copied().collect();
                for by in all {
                    self.kill(by, false);
                }
            }
            18..22 => self.administer(by),
            22..24 => {
                let epoch = self.world.epoch(by);
                self.send(Command::GiveUp { partition: id, node: by, broker_epoch: epoch });
            }
            _ => {
                let owner = ConfigOwner::Topic(self.world.image.topic(id.topic).unwrap().name.to_string());
                let min = self.rng.u8(1..=2).to_string();
                let change = match self.rng.u8(..4) {
                    0 => ConfigChange::set("durability", "replicated"),
                    1 => ConfigChange::set("durability", "disk"),
                    _ => ConfigChange::set("min.insync.replicas", &min),
                };
                let changes = vec![change];
                self.send(Command::AlterConfigs { owner, changes, validate_only: false });
            }
        }
    }

    /// Topics that nobody writes to come, grow and go.
    fn administer(&mut self, by: NodeId) {
        let name = ["a", "b"][self.rng.usize(..2)].to_owned();
        let deleted = self.world.image.deleted_topics().keys().next().copied();
        let command = match self.rng.u8(..6) {
            0 | 1 => {
                let (partitions, id) =
                    (self.rng.i32(1..4), TopicId::from_bytes(self.rng.u128(..).to_be_bytes()));
                let new = NewTopic { name, partitions, replication_factor: -1, ..NewTopic::default() };
                Command::CreateTopic { new, id, validate_only: false }
            }
            2 => Command::CreatePartitions { name, count: self.rng.i32(2..6), validate_only: false },
            3 => Command::DeleteTopic(TopicRef::Name(name)),
            4 => Command::AllocateProducerIds { node: by, broker_epoch: self.world.epoch(by) },
            _ => Command::PurgeTopic { topic: deleted.unwrap_or_default(), node: by },
        };
        self.send(command);
    }

    /// Everybody is there, and everything arrives.
    fn heal(&mut self) {
        for command in std::mem::take(&mut self.in_flight) {
            self.deliver(&command);
        }
        let all: Vec<NodeId> = self.brokers.keys().copied().collect();
        for _ in 0..6 {
            for by in &all {
                if self.world.broker(*by).stopping {
                    self.brokers.get_mut(by).unwrap().end(true);
                }
                self.start(*by);
                self.look(*by);
                self.ready(*by);
                for id in self.partitions.clone() {
                    self.fetch(*by, id);
                }
            }
            for command in std::mem::take(&mut self.in_flight) {
                self.deliver(&command);
            }
        }
    }

    fn is_healed(&self) -> bool {
        self.partitions.iter().all(|id| {
            let partition = self.world.partition(*id);
            let somebody = !(partition.in_sync.is_empty()
                && partition.electable.is_empty()
                && partition.uncertain.is_empty());
            partition.leader().is_some() || !somebody
        })
    }
}

fn run(seed: u64, steps: usize) -> Seen {
    let mut model = Model::new(seed);
    for _ in 0..steps {
        model.step();
    }
    for _ in 0..20 {
        if model.is_healed() {
            break;
        }
        model.heal();
    }
    assert!(model.is_healed(), "nobody leads where somebody could, seed {seed}");
    let image = &model.world.image;
    assert_eq!(model.world.replayed(), *image, "the same entries give another image, seed {seed}");
    let bytes = codec::encode(&Snapshot::of(image)).unwrap();
    assert_eq!(codec::decode::<Snapshot>(&bytes).unwrap().into_image(), *image, "seed {seed}");
    model.seen
}

#[test]
fn s10_s11_s17_every_clean_leader_has_all_that_was_acknowledged_whatever_happens() {
    let seeds = std::env::var("POLYLOGUE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_500);
    let mut all = Seen::default();
    for seed in 0..seeds {
        let seen = run(seed, 250);
        all.acknowledged += seen.acknowledged;
        all.begun += seen.begun;
        all.from_electable += seen.from_electable;
        all.recovered += seen.recovered;
        all.unclean += seen.unclean;
        all.refused += seen.refused;
        all.reached += seen.reached;
    }
    let counts = [all.acknowledged, all.begun, all.from_electable, all.recovered, all.unclean, all.refused];
    assert!(counts.iter().all(|count| *count > seeds / 50), "too little happens: {all:?}");
    assert!(all.reached > seeds / 100, "topics that become `disk` come there too seldom: {all:?}");
}
