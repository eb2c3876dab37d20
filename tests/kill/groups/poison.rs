//! Records that take their consumers down, where the group's coordinator, the record's leader and the leader of the dead
//! letters are three nodes, of which some are killed in the middle.

mod nacks;

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use polylogue::{
    actors::group_coordinator::{
        OFFSETS_TOPIC,
        consumer_protocol::{Subscription, encode_assignment, encode_subscription},
    },
    chaos::history::HistoryWriter,
    client::{Admin, Client, ClientConfig},
    clock::{Clock, SystemClock},
    model::{NodeId, Offset, PartitionIndex},
    wire::{
        ErrorCode, Str,
        api::{
            join_group::{JoinGroupRequest, JoinGroupRequestProtocol},
            sync_group::{SyncGroupRequest, SyncGroupRequestAssignment},
        },
    },
};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord},
};
use tokio::{runtime::Runtime, time::sleep};

use super::{
    link::{Link, Trouble},
    nodes::Nodes,
};
use crate::support::{
    WITHIN, eventually,
    rdkafka::{Received, client, producer, read_all},
};

const TOPIC: &str = "poison";
const LETTERS: &str = "poison.dead-letter";
const SESSION: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);
/// Larger than what one call between nodes carries.
const LARGE: usize = 3 << 20;

/// A topic of one partition, led by the first of these.
fn create_on(bootstrap: &str, runtime: &Runtime, topic: &str, replicas: [i32; 3], configs: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create().unwrap();
    let assignment: [&[i32]; 1] = [&replicas];
    let new = NewTopic::new(topic, 1, TopicReplication::Variable(&assignment));
    let new = configs.iter().fold(new, |new, (key, value)| new.set(key, value));
    let options = AdminOptions::new().operation_timeout(Some(WITHIN)).request_timeout(Some(WITHIN));
    let made = runtime.block_on(admin.create_topics([&new], &options)).unwrap();
    assert_eq!(made, [Ok(topic.to_owned())]);
}

/// A cluster with a topic led by node 1, its dead letters led by node 2, and a group that node 3 coordinates.
struct World {
    nodes: Nodes,
    runtime: Runtime,
    admin: Admin,
    group: String,
}

impl World {
    fn start(test: &str, attempts: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kill-groups-{test}.jsonl"));
        let clock = SystemClock::new();
        let history = Arc::new(HistoryWriter::create(&path, move || clock.monotonic()).unwrap());
        let nodes = Nodes::start(3, &history);
        // Nobody judges it: who was killed is not random here.
        fs::remove_file(&path).unwrap();
        let (runtime, bootstrap) = (Runtime::new().unwrap(), nodes.bootstrap());
        let admin = Admin::new(&Client::new(ClientConfig::new(&bootstrap)));
        let configs = [("max.message.bytes", "8388608"), ("min.insync.replicas", "2")];
        let limited = [&configs[..], &[("max.delivery.attempts", attempts)]].concat();
        create_on(&bootstrap, &runtime, TOPIC, [1, 2, 3], &limited);
        create_on(&bootstrap, &runtime, LETTERS, [2, 3, 1], &configs);
        // The first question for a coordinator makes the topic of groups.
        eventually("the topic of groups is made", WITHIN, || runtime.block_on(admin.coordinator("g")).ok());
        for topic in [TOPIC, LETTERS, OFFSETS_TOPIC] {
            nodes.until_in_sync(topic);
        }
        let mut names = (0..100).map(|number| format!("g{number}"));
        let group = names.find(|name| nodes.coordinator_of(name) == NodeId::new(3));
        Self { nodes, runtime, admin, group: group.unwrap() }
    }

    /// Puts records of these sizes into the partition.
    fn produce(&self, sizes: &[usize]) {
        let mut config = producer(&self.nodes.bootstrap());
        let producer: FutureProducer = config.set("message.max.bytes", "8000000").create().unwrap();
        for (number, size) in sizes.iter().enumerate() {
            // What does not repeat cannot be packed into less than a call carries.
            let mut random = fastrand::Rng::with_seed(number as u64);
            let value: Vec<u8> = (0..*size).map(|_| random.u8(..)).collect();
            let key = format!("key {number}");
            let record = FutureRecord::to(TOPIC).key(&key).payload(&value);
            self.runtime.block_on(producer.send(record, WITHIN)).unwrap();
        }
    }

    /// A consumer comes, waits until its predecessor is given up and it is told where to begin, is given what there
    /// is from there, and dies; gives where it began.
    fn try_once(&self) -> i64 {
        let began = self.runtime.block_on(async {
            let mut consumer = Consumer::come(&self.nodes.bootstrap(), &self.group).await;
            let from = consumer.position().await;
            consumer.fetch(from).await;
            from
        });
        began.get()
    }

    /// How often the record at this offset has failed, once its coordinator says so.
    fn until_failed(&self, offset: i64, times: u32) {
        let failed = || self.runtime.block_on(self.admin.offsets_and_attempts(&self.group)).ok();
        eventually(&format!("offset {offset} has failed {times} times"), WITHIN, || {
            let (_, attempts) = failed()?;
            attempts.iter().find(|one| one.offset.get() == offset && one.attempts == times).map(|_| ())
        });
    }

    fn until_at(&self, offset: i64) {
        let committed = || self.runtime.block_on(self.admin.committed_offsets(&self.group)).ok();
        eventually(&format!("the group is at offset {offset}"), WITHIN, || {
            committed()?.iter().find(|one| one.offset.get() == offset).map(|_| ())
        });
    }

    /// Waits until everybody is where they were at first.
    fn until_home(&self) {
        for topic in [TOPIC, LETTERS, OFFSETS_TOPIC] {
            self.nodes.until_in_sync(topic);
        }
        self.nodes.until_led_by(TOPIC, NodeId::new(1));
        self.nodes.until_led_by(LETTERS, NodeId::new(2));
        self.nodes.until_coordinated_by(&self.group, NodeId::new(3));
    }

    fn letters(&self) -> Vec<Received> {
        read_all(&self.nodes.bootstrap(), LETTERS, 0)
    }
}

/// The only consumer of a group; it dies without a word when it is dropped.
struct Consumer {
    link: Link,
    group: Str,
    id: Str,
}

impl Consumer {
    async fn come(bootstrap: &str, group: &str) -> Self {
        let link = Link::new(bootstrap, group, "poisoned");
        let mut consumer = Self { link, group: group.into(), id: Str::default() };
        while let Err(trouble) = consumer.join().await {
            consumer.rest(&trouble).await;
        }
        consumer
    }

    async fn rest(&mut self, trouble: &Trouble) {
        if matches!(trouble, Trouble::Forgotten) {
            self.id = Str::default();
        }
        self.link.hang_up();
        sleep(PAUSE).await;
    }

    async fn join(&mut self) -> Result<(), Trouble> {
        let topics = vec![Str::from(TOPIC)];
        let metadata = encode_subscription(&Subscription { topics, ..Subscription::default() }).unwrap();
        let request = |member_id| JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: SESSION.as_millis() as i32,
            rebalance_timeout_ms: 10_000,
            member_id,
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata: metadata.clone() }],
            ..JoinGroupRequest::default()
        };
        let mut joined = self.link.ask(&request(self.id.clone()), WITHIN).await?;
        if joined.error_code == ErrorCode::MemberIdRequired {
            self.id = joined.member_id;
            joined = self.link.ask(&request(self.id.clone()), WITHIN).await?;
        }
        super::link::checked(joined.error_code)?;
        let all = BTreeMap::from([(Str::from(TOPIC), [PartitionIndex::new(0)].into())]);
        let share = SyncGroupRequestAssignment {
            member_id: self.id.clone(),
            assignment: encode_assignment(&all, None).unwrap(),
        };
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: joined.generation_id,
            member_id: self.id.clone(),
            assignments: vec![share],
            ..SyncGroupRequest::default()
        };
        super::link::checked(self.link.ask(&request, WITHIN).await?.error_code)
    }

    async fn position(&mut self) -> Offset {
        loop {
            match self.link.positions(TOPIC, &[PartitionIndex::new(0)]).await {
                Ok(told) => return told[0].1.unwrap_or(Offset::ZERO),
                Err(trouble) => self.rest(&trouble).await,
            }
        }
    }

    async fn fetch(&mut self, from: Offset) {
        let is_there = |found: &[(PartitionIndex, Bytes)]| found.iter().any(|(_, bytes)| !bytes.is_empty());
        loop {
            match self.link.fetch(TOPIC, vec![(PartitionIndex::new(0), from)]).await {
                Ok(found) if is_there(&found) => return,
                Ok(_) => {}
                Err(trouble) => self.rest(&trouble).await,
            }
        }
    }
}

fn header(letter: &Received, name: &str) -> String {
    let name = format!("polylogue.dead-letter.{name}");
    let found = letter.headers.iter().find(|(other, _)| *other == name);
    String::from_utf8(found.unwrap().1.clone().unwrap()).unwrap()
}

#[test]
fn s22_a_record_is_a_dead_letter_though_coordinator_leader_and_dead_letters_are_on_three_nodes() {
    let world = World::start("poison", "2");
    world.produce(&[LARGE, 10]);
    assert_eq!(world.try_once(), 0);
    world.until_failed(0, 1);
    assert_eq!(world.try_once(), 0);
    // Whoever comes next is not told where to begin until the record is a dead letter.
    assert_eq!(world.try_once(), 1);
    let letters = world.letters();
    assert_eq!(letters.len(), 1);
    let value = letters[0].value.as_ref().unwrap();
    assert_eq!((letters[0].key.as_deref(), value.len()), (Some(&b"key 0"[..]), LARGE));
    let mut random = fastrand::Rng::with_seed(0);
    assert!(value.iter().all(|byte| *byte == random.u8(..)), "the record is another");
    let said = ["topic", "partition", "offset", "attempts"].map(|name| header(&letters[0], name));
    assert_eq!(said, [TOPIC, "0", "0", "2"]);
    assert_eq!(header(&letters[0], "group"), world.group);
    world.nodes.stop();
}

#[test]
fn s22_a_record_is_a_dead_letter_though_its_coordinator_its_leader_and_the_dead_letters_node_are_killed() {
    let mut world = World::start("poison-kills", "3");
    world.produce(&[10, 10]);
    let [leader, letters, coordinator] = [1, 2, 3].map(NodeId::new);
    assert_eq!(world.try_once(), 0);
    world.until_failed(0, 1);
    world.nodes.kill_one(coordinator);
    world.until_failed(0, 1);
    assert_eq!(world.try_once(), 0);
    world.until_failed(0, 2);
    world.nodes.start_one(coordinator);
    world.nodes.kill_one(leader);
    world.until_failed(0, 2);
    world.nodes.start_one(leader);
    world.until_home();
    world.nodes.pause_one(letters);
    // Until that node is taken for dead nothing that is decided is on the disks of all, and whoever waits for it that
    // long is lost before it was given anything: that is no try (S22).
    eventually("the third try is one, and the group goes on", WITHIN, || {
        (world.try_once() == 1).then_some(())
    });
    world.until_at(1);
    world.nodes.kill_one(letters);
    world.nodes.start_one(letters);
    world.until_home();
    let found = world.letters();
    assert_eq!(found.len(), 1, "it is written once: {found:?}");
    assert_eq!((found[0].key.as_deref(), header(&found[0], "attempts").as_str()), (Some(&b"key 0"[..]), "3"));
    world.nodes.stop();
}

#[test]
fn s22_a_record_is_a_dead_letter_once_though_its_coordinator_is_killed_while_it_is_on_its_way() {
    let mut world = World::start("poison-once", "1");
    let (coordinator, pauses) = (NodeId::new(3), [0, 10, 25, 50].map(Duration::from_millis));
    world.produce(&[LARGE; 4]);
    for (offset, pause) in (0..).zip(pauses) {
        assert_eq!(world.try_once(), offset);
        world.until_failed(offset, 1);
        // Its letter is being written, or is about to be, or is there and the group does not know.
        std::thread::sleep(pause);
        world.nodes.kill_one(coordinator);
        world.until_at(offset + 1);
        world.nodes.start_one(coordinator);
        world.until_home();
        let found = world.letters();
        assert_eq!(found.len(), offset as usize + 1, "after {pause:?}");
    }
    world.nodes.stop();
}

#[test]
fn s22_what_a_leader_that_is_gone_had_served_counts_nothing() {
    let mut world = World::start("poison-leader", "1");
    world.produce(&[10]);
    let (leader, successor) = (NodeId::new(1), NodeId::new(2));
    world.runtime.block_on(async {
        let mut consumer = Consumer::come(&world.nodes.bootstrap(), &world.group).await;
        consumer.fetch(Offset::ZERO).await;
    });
    // Within the session of the consumer that has just died.
    world.nodes.kill_one(leader);
    world.nodes.until_led_by(TOPIC, successor);
    assert_eq!(world.try_once(), 0, "nobody can say that the record was served");
    // That one was served by a leader that lives.
    world.until_at(1);
    assert_eq!(world.letters().len(), 1);
    world.nodes.start_one(leader);
    world.nodes.stop();
}
