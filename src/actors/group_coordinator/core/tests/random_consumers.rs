//! Members that do as they please, lose answers and die, before a coordinator that dies as well: nobody ever owns what
//! another one does (S21), and when all is quiet everything is somebody's.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fastrand::Rng;

use super::world::{World, topic_named};
use crate::{
    model::{PartitionIndex, TopicId},
    wire::{
        ErrorCode, Str,
        api::consumer_group_heartbeat::{
            ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
        },
    },
};

const SEEDS: u64 = if cfg!(feature = "long") { 100_000 } else { 3_000 };
const STEPS: usize = 120;
const CLIENTS: usize = 5;
const INTERVAL: Duration = Duration::from_secs(5);
/// Unheard for so long it may have been replaced: it has to give back within its rebalance time-out.
const LEASE: Duration = Duration::from_secs(20);
const TOPICS: [&str; 2] = ["t", "u"];

type Owned = BTreeSet<(TopicId, PartitionIndex)>;

/// A client as the protocol wants it: it gives back before it takes, and owns what it was told and has not given back.
#[derive(Default)]
struct Client {
    id: Str,
    instance: Option<Str>,
    epoch: i32,
    is_member: bool,
    owned: Owned,
    /// What it was told to own last.
    assigned: Owned,
    /// When it was last told that nothing was to be given back; after its lease it must not count on anything.
    heard: Duration,
    topics: Vec<Str>,
    says_all: bool,
}

impl Client {
    fn request(&self) -> ConsumerGroupHeartbeatRequest {
        let joins = !self.is_member;
        let all = joins || self.says_all;
        ConsumerGroupHeartbeatRequest {
            member_id: self.id.clone(),
            instance_id: self.instance.clone(),
            member_epoch: if joins { 0 } else { self.epoch },
            rebalance_timeout_ms: if all { LEASE.as_millis() as i32 } else { -1 },
            subscribed_topic_names: all.then(|| self.topics.clone()),
            topic_partitions: Some(if joins { Vec::new() } else { listed(&self.owned) }),
            ..ConsumerGroupHeartbeatRequest::default()
        }
    }

    fn hears(&mut self, answer: &ConsumerGroupHeartbeatResponse, now: Duration) {
        #[allow(
            clippy::wildcard_enum_match_arm,
            reason = "these are what a member is told, whatever else there is"
        )]
        match answer.error_code {
            ErrorCode::None => {
                (self.is_member, self.epoch, self.says_all) = (true, answer.member_epoch, false);
                if let Some(assignment) = &answer.assignment {
                    self.assigned = flat(&assignment.topic_partitions);
                }
                if self.owned.is_subset(&self.assigned) {
                    self.heard = now;
                    self.owned.clone_from(&self.assigned);
                } else {
                    // It gives back at once; what is new it takes when it has said so. Its time for that may have begun
                    // with an answer that was lost, so it counts on no more than it had.
                    self.owned.retain(|partition| self.assigned.contains(partition));
                }
            }
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch | ErrorCode::FencedInstanceId => {
                self.gives_all_up();
            }
            ErrorCode::UnreleasedInstanceId => {}
            other => panic!("{other:?}"),
        }
    }

    fn gives_all_up(&mut self) {
        self.is_member = false;
        self.owned.clear();
        self.assigned.clear();
    }
}

fn listed(owned: &Owned) -> Vec<TopicPartitions> {
    let mut topics = BTreeMap::<_, Vec<_>>::new();
    for (topic, index) in owned {
        topics.entry(*topic).or_default().push(*index);
    }
    topics.into_iter().map(|(topic_id, partitions)| TopicPartitions { topic_id, partitions }).collect()
}

fn flat(topics: &[TopicPartitions]) -> Owned {
    topics.iter().flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index))).collect()
}

struct Run {
    world: World,
    rng: Rng,
    clients: Vec<Client>,
    partitions: [i32; 2],
    named: u32,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut world = World::new();
        world.version = 1;
        let partitions = [rng.i32(1..8), rng.i32(0..4)];
        let mut run = Self { world, rng, clients: Vec::new(), partitions, named: 0 };
        run.set_topics();
        for number in 0..CLIENTS {
            let id = run.fresh_id();
            let instance = (number < 2).then(|| Str::from(format!("i{number}")));
            run.clients.push(Client { id, instance, topics: vec!["t".into()], ..Client::default() });
        }
        run
    }

    fn fresh_id(&mut self) -> Str {
        self.named += 1;
        Str::from(format!("m{}", self.named))
    }

    fn set_topics(&mut self) {
        let [t, u] = self.partitions;
        let all = [("t", t), ("u", u)];
        self.world.set_topics(&all[..if u == 0 { 1 } else { 2 }]);
    }

    fn beat(&mut self, at: usize) {
        let request = self.clients[at].request();
        let now = self.world.now;
        let answer = self.world.beat(request);
        if self.rng.u8(0..8) == 0 {
            // It says everything again, as clients do, to hear everything again.
            self.clients[at].says_all = true;
            return;
        }
        self.clients[at].hears(&answer, now);
    }

    fn step(&mut self) {
        let at = self.rng.usize(0..CLIENTS);
        match self.rng.u8(0..30) {
            0..18 => self.beat(at),
            18 => {
                // Dies without a word; another process with another id takes its place.
                let id = self.fresh_id();
                self.clients[at].gives_all_up();
                self.clients[at].id = id;
            }
            19 if self.clients[at].is_member => {
                let client = &mut self.clients[at];
                let epoch = if client.instance.is_some() && self.rng.bool() { -2 } else { -1 };
                client.gives_all_up();
                let leave = ConsumerGroupHeartbeatRequest {
                    member_epoch: epoch,
                    topic_partitions: None,
                    rebalance_timeout_ms: -1,
                    subscribed_topic_names: None,
                    ..client.request()
                };
                self.world.beat(leave);
            }
            20 => {
                let client = &mut self.clients[at];
                client.topics = match self.rng.u8(0..3) {
                    0 => vec!["t".into()],
                    1 => vec!["u".into()],
                    _ => vec!["t".into(), "u".into()],
                };
                client.says_all = true;
            }
            21 => {
                let which = self.rng.usize(0..2);
                self.partitions[which] += 1;
                self.set_topics();
            }
            22 | 23 => self.world.crash(),
            _ => {
                let time = Duration::from_millis(self.rng.u64(0..12_000));
                self.pass(time);
            }
        }
    }

    /// A client that has not been heard of for too long knows that it owns nothing any more.
    fn pass(&mut self, time: Duration) {
        self.world.pass(time);
        let now = self.world.now;
        for client in &mut self.clients {
            if client.is_member && now.saturating_sub(client.heard) >= LEASE {
                client.gives_all_up();
            }
        }
    }

    fn check(&self) {
        let mut owners = BTreeMap::new();
        for client in self.clients.iter().filter(|client| client.is_member) {
            for partition in &client.owned {
                if let Some(other) = owners.insert(*partition, &client.id) {
                    panic!("{partition:?} is {other}'s and {}'s", client.id);
                }
            }
        }
    }

    /// All live and nothing happens any more.
    fn settle(&mut self) {
        for _ in 0..40 {
            for at in 0..CLIENTS {
                let request = self.clients[at].request();
                let now = self.world.now;
                let answer = self.world.beat(request);
                self.clients[at].hears(&answer, now);
                self.check();
            }
            self.pass(INTERVAL);
        }
        assert_eq!(self.world.describe_consumer().group_state, "Stable");
        let mut missing = BTreeSet::new();
        for (name, count) in TOPICS.into_iter().zip(self.partitions) {
            if self.clients.iter().any(|client| client.topics.iter().any(|topic| *topic == name)) {
                missing.extend((0..count).map(|index| (topic_named(name), PartitionIndex::new(index))));
            }
        }
        for client in &self.clients {
            client.owned.iter().for_each(|partition| assert!(missing.remove(partition), "{partition:?}"));
        }
        assert!(missing.is_empty(), "{missing:?} is nobody's");
        let before = self.world.describe_consumer();
        self.world.crash();
        assert_eq!(self.world.describe_consumer(), before);
    }
}

#[test]
fn s21_a_partition_is_nobodys_while_another_may_still_own_it() {
    let seeds = match std::env::var("POLYLOGUE_SEED") {
        Ok(seed) => seed.parse().unwrap()..=seed.parse().unwrap(),
        Err(_) => 1..=SEEDS,
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed);
            for _ in 0..STEPS {
                run.step();
                run.check();
            }
            run.settle();
        });
        if let Err(panic) = outcome {
            eprintln!("again: POLYLOGUE_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
