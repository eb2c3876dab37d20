//! Groups of consumers of which some are killed, and the nodes that coordinate them and lead their topic, on random
//! delays: one group for each way in which members and coordinator agree, all over the same topic, and one of our own
//! consumer, which refuses some records once and some for ever, over a topic that gives them up after three times.
//!
//! A producer writes at a steady pace. Members consume, commit now and then and write down what they do; an
//! onlooker asks for the committed positions all the time. Members vanish at whatever they are about, others come
//! in their place; some stall until they are thought dead, and then want to commit; a node is killed with
//! `kill -9` or stopped, and started again. Everything goes into a history, and `chaos::checker` judges it.
//!
//! On one node 9 kills, on three 9 of nodes and members; 40 and 48 with the feature `long`. `POLYLOGUE_SEED` repeats a
//! run's choices, though not its timing. The history of a run that fails stays beside the test's other files.

mod cooperative;
mod letters;
mod link;
mod member;
mod nodes;
mod poison;
mod refusing;
mod server_side;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use polylogue::{
    chaos::{
        checker::{Expectations, Report, check},
        history::{Event, GroupProfile, HistoryReader, HistoryWriter, Membership, Parted, Parting},
    },
    client::{Admin, Client, ClientConfig, admin::ConfigChange},
    clock::{Clock, SystemClock},
    model::{PartitionIndex, TopicName},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
    time::sleep,
};

use self::{
    letters::Letters,
    link::Link,
    member::{Member, Protocol, SESSION, STALL, Shared},
    nodes::{Nodes, Way},
    refusing::{LIMIT, Refusing},
};
use crate::{
    seed,
    support::{
        WITHIN,
        rdkafka::{consumer, create_replicated_topic, watermarks},
    },
    workload::{Topic, idempotent, scan},
};

const TOPIC: Topic = Topic { name: "shared", partitions: 6 };
/// One whose records are given up when they have failed too often, and where they go.
const LIMITED: Topic = Topic { name: "limited", partitions: 3 };
const LETTERS: Topic = Topic { name: "limited.dead-letter", partitions: 3 };

/// A group of a run.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    protocol: Protocol,
    topic: Topic,
    members: usize,
}

const EAGER: Kind = Kind { name: "eager", protocol: Protocol::Eager, topic: TOPIC, members: 4 };
const COOPERATIVE: Kind =
    Kind { name: "cooperative", protocol: Protocol::Cooperative, topic: TOPIC, members: 4 };
const SERVER_SIDE: Kind =
    Kind { name: "server-side", protocol: Protocol::ServerSide, topic: TOPIC, members: 4 };
const REFUSING: Kind = Kind { name: "refusing", protocol: Protocol::Refusing, topic: LIMITED, members: 3 };
/// Of its members each has at most one partition, and one stands by: by the group's config, whatever they assign.
const EXCLUSIVE: Kind = Kind {
    name: "exclusive",
    protocol: Protocol::Eager,
    topic: TOPIC,
    members: TOPIC.partitions as usize + 1,
};

/// Its place in the plans.
const SERVER_SIDE_IS: usize = 2;

/// What happens in a run.
#[derive(Clone, Copy)]
struct Plan {
    nodes: u16,
    groups: &'static [Kind],
    /// Every other one of them at a commit, of the groups in turn from the server-side one on.
    node_kills: usize,
    /// SIGTERM.
    node_stops: usize,
    /// Of the groups in turn.
    member_kills: usize,
    /// Members that are thought dead and are not, besides: of the groups in turn from the server-side one on.
    stalls: usize,
}

const LONG: bool = cfg!(feature = "long");

const ONE_NODE: Plan = Plan {
    nodes: 1,
    groups: &[EAGER, COOPERATIVE, SERVER_SIDE, REFUSING],
    node_kills: if LONG { 13 } else { 3 },
    node_stops: 0,
    member_kills: if LONG { 27 } else { 6 },
    stalls: if LONG { 8 } else { 4 },
};

const THREE_NODES: Plan = Plan {
    nodes: 3,
    groups: &[EAGER, COOPERATIVE, SERVER_SIDE, REFUSING, EXCLUSIVE],
    node_kills: if LONG { 24 } else { 4 },
    node_stops: if LONG { 8 } else { 1 },
    member_kills: if LONG { 16 } else { 4 },
    stalls: if LONG { 8 } else { 2 },
};

/// Between two kills: the shortest hits a group that has yet to notice the one before, the longest one that has
/// settled again.
const DELAY_MS: std::ops::Range<u64> = 50..5000;
/// Until a new member comes in the place of one that was killed.
const AWAY_MS: std::ops::Range<u64> = 0..1500;
/// Between two records: members keep up, also on a machine that is busy with other tests.
const PACE: Duration = Duration::from_millis(2);
/// The same of those that are limited: each is committed for itself, and some are delivered again and again.
const LIMITED_PACE: Duration = Duration::from_millis(40);
/// Between two looks at the positions.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Where a run's history is written.
fn history_path(plan: &Plan, seed: u64) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kill-groups-{}-{seed}.jsonl", plan.nodes))
}

/// The group's members, of which there are always as many.
struct Members {
    shared: Arc<Shared>,
    runtime: Handle,
    random: fastrand::Rng,
    alive: Vec<Living>,
    came: usize,
}

/// A member at work.
struct Living {
    name: String,
    task: JoinHandle<()>,
    stalls: Arc<AtomicBool>,
}

impl Members {
    fn start(runtime: &Runtime, count: usize, shared: &Arc<Shared>, random: fastrand::Rng) -> Self {
        let (shared, runtime) = (Arc::clone(shared), runtime.handle().clone());
        let mut members = Self { shared, runtime, random, alive: Vec::new(), came: 0 };
        (0..count).for_each(|_| members.come(Duration::ZERO));
        members
    }

    fn come(&mut self, after: Duration) {
        self.came += 1;
        let name = format!("{}-{}", self.shared.group, self.came);
        let stalls = Arc::new(AtomicBool::new(false));
        let (shared, random) = (&self.shared, self.random.fork());
        let task = if shared.protocol == Protocol::Refusing {
            let member = Refusing::new(shared, &name, random, &stalls);
            self.runtime.spawn(async move {
                sleep(after).await;
                member.run().await;
            })
        } else {
            let member = Member::new(shared, &name, random, &stalls);
            self.runtime.spawn(async move {
                sleep(after).await;
                member.run().await;
            })
        };
        self.alive.push(Living { name, task, stalls });
    }

    /// Ends one of them at whatever it waits for. Its connections are closed by the kernel or, here, by whoever
    /// cleans up; no word is said to the coordinator.
    fn kill_one(&mut self) {
        let Living { name, task, .. } = self.alive.swap_remove(self.random.usize(0..self.alive.len()));
        task.abort();
        let ended = self.runtime.block_on(task);
        assert!(ended.is_err_and(|error| error.is_cancelled()), "{name} had ended before it was killed");
        let by = Membership { group: self.shared.group.clone(), member: name, generation: -1 };
        self.shared.history.record(&Event::Parted(Parted { by, how: Parting::Killed })).unwrap();
        let after = Duration::from_millis(self.random.u64(AWAY_MS));
        self.come(after);
    }

    /// Lets one of them be of no use until the group has gone on without it, and come back.
    fn stall_one(&mut self) {
        let stalls = &self.alive[self.random.usize(0..self.alive.len())].stalls;
        stalls.store(true, Ordering::SeqCst);
        thread::sleep(STALL + Duration::from_secs(1));
        // It may have had nothing to do, and must not stall in the midst of a kill.
        stalls.store(false, Ordering::SeqCst);
    }

    fn leave(self) {
        self.shared.over.store(true, Ordering::SeqCst);
        for Living { name, task, .. } in self.alive {
            self.runtime.block_on(task).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        self.shared.left.store(true, Ordering::SeqCst);
    }
}

/// Looks at the positions until the members leave, and once more after everything that was acknowledged to them.
async fn look_on(shared: Arc<Shared>) {
    let mut link = Link::new(&shared.bootstrap, &shared.group, "onlooker");
    let limited = shared.protocol == Protocol::Refusing;
    let mut letters = limited.then(|| Letters::new(&shared, LETTERS));
    let partitions: Vec<_> = (0..shared.topic.partitions).map(PartitionIndex::new).collect();
    loop {
        let last = shared.left.load(Ordering::SeqCst);
        match shared.positions(&mut link, "onlooker", &partitions).await {
            Ok(told) => {
                if let Some(letters) = &mut letters {
                    letters.look(&shared, &told, last).await;
                }
                for (partition, offset) in told {
                    let offset = offset.map_or(0, polylogue::model::Offset::get);
                    shared.committed[partition.get() as usize].store(offset, Ordering::SeqCst);
                }
                if last {
                    return;
                }
            }
            Err(_) => link.hang_up(),
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Waits for something that the checker or this test judges later, so that a run that hangs leaves a whole history.
fn wait_for(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let clock = SystemClock::new();
    while clock.monotonic() < within {
        if condition() {
            return true;
        }
        thread::sleep(Duration::from_millis(10));
    }
    false
}

fn now(marks: &[AtomicI64]) -> Vec<i64> {
    marks.iter().map(|mark| mark.load(Ordering::SeqCst)).collect()
}

/// Whether each partition was consumed further within the promised time. The checker judges it by the history; here
/// it is only waited for, before the records run out.
fn goes_on(groups: &[Members]) -> bool {
    let consumed = || groups.iter().flat_map(|group| now(&group.shared.consumed)).collect::<Vec<_>>();
    let before = consumed();
    wait_for(SESSION + Duration::from_secs(6), || {
        consumed().iter().zip(&before).all(|(now, before)| now > before)
    })
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// A node; where it is killed at a commit, it is one of this group, whose coordinator it is.
    Node(Way, usize),
    /// One of this group.
    MemberKilled(usize),
    MemberStalls(usize),
}

impl Plan {
    fn blows(&self) -> Vec<Blow> {
        let way = |number| if number % 2 == 0 { Way::KilledAtCommit } else { Way::Killed };
        let group = |number| number % self.groups.len();
        let whose = |number| group(number / 2 + SERVER_SIDE_IS);
        let node = |number| Blow::Node(way(number), whose(number));
        let mut blows: Vec<_> = (0..self.node_kills).map(node).collect();
        blows.extend((0..self.node_stops).map(|number| Blow::Node(Way::Stopped, whose(number))));
        blows.extend((0..self.member_kills).map(|number| Blow::MemberKilled(group(number))));
        blows.extend((0..self.stalls).map(|number| Blow::MemberStalls(group(number + SERVER_SIDE_IS))));
        blows
    }
}

fn strike_at_random(plan: &Plan, nodes: &mut Nodes, groups: &mut [Members], random: &mut fastrand::Rng) {
    let mut blows = plan.blows();
    random.shuffle(&mut blows);
    for blow in blows {
        thread::sleep(Duration::from_millis(random.u64(DELAY_MS)));
        match blow {
            Blow::Node(way, group) => nodes.strike(way, &groups[group].shared, random),
            Blow::MemberKilled(group) => groups[group].kill_one(),
            Blow::MemberStalls(group) => groups[group].stall_one(),
        }
    }
}

fn ends(topic: Topic, bootstrap: &str) -> Vec<i64> {
    let consumer = consumer(bootstrap);
    (0..topic.partitions).map(|index| watermarks(&consumer, topic.name, index).1).collect()
}

/// A group and what it is promised, in the history.
fn declare(kind: &Kind, seed: u64, bootstrap: &str, history: &Arc<HistoryWriter>) -> Arc<Shared> {
    let refusing = kind.protocol == Protocol::Refusing;
    let profile = GroupProfile {
        name: kind.name.to_owned(),
        topics: vec![TopicName::new(kind.topic.name).unwrap()],
        session_timeout_ms: SESSION.as_millis() as u32,
        server_side: refusing || kind.protocol == Protocol::ServerSide,
        max_delivery_attempts: if refusing { LIMIT } else { 0 },
    };
    history.record(&Event::Group(profile)).unwrap();
    let marks = || (0..kind.topic.partitions).map(|_| AtomicI64::new(-1)).collect();
    Arc::new(Shared {
        bootstrap: bootstrap.to_owned(),
        group: kind.name.to_owned(),
        seed,
        protocol: kind.protocol,
        topic: kind.topic,
        history: Arc::clone(history),
        over: AtomicBool::new(false),
        left: AtomicBool::new(false),
        committing: AtomicUsize::new(0),
        consumed: marks(),
        committed: marks(),
    })
}

/// The topics, and what is not as it is by itself.
fn prepare(nodes: &Nodes, runtime: &Runtime) {
    let bootstrap = nodes.bootstrap();
    let in_sync = if nodes.count() == 1 { "1" } else { "2" };
    let configs = [("min.insync.replicas", in_sync)];
    let limit = LIMIT.to_string();
    let limited = [configs[0], ("max.delivery.attempts", limit.as_str())];
    for (topic, configs) in [(TOPIC, &configs[..]), (LIMITED, &limited[..]), (LETTERS, &configs[..])] {
        create_replicated_topic(&bootstrap, topic.name, (topic.partitions, nodes.count()), configs);
        nodes.until_in_sync(topic.name);
    }
    let admin = Admin::new(&Client::new(ClientConfig::new(&bootstrap)));
    let change = ConfigChange::Set { name: "assignor".to_owned(), value: "exclusive".to_owned() };
    runtime.block_on(admin.alter_group_configs(EXCLUSIVE.name, &[change])).unwrap();
}

/// The whole run; gives what the checker says.
fn run(plan: &Plan, seed: u64, path: &Path) -> Report {
    let mut random = fastrand::Rng::with_seed(seed);
    let clock = SystemClock::new();
    let history = Arc::new(HistoryWriter::create(path, move || clock.monotonic()).unwrap());
    let mut nodes = Nodes::start(plan.nodes, &history);
    let bootstrap = nodes.bootstrap();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    prepare(&nodes, &runtime);
    let shared: Vec<_> = plan.groups.iter().map(|kind| declare(kind, seed, &bootstrap, &history)).collect();
    let enough = Arc::new(AtomicBool::new(false));
    let send = |topic, name, pace| idempotent(topic, &bootstrap, name, &history).start(pace, &enough);
    let sending = [send(TOPIC, "sender", PACE), send(LIMITED, "slow-sender", LIMITED_PACE)];
    let begin = |(kind, shared): (&Kind, _)| Members::start(&runtime, kind.members, shared, random.fork());
    let mut groups: Vec<_> = plan.groups.iter().zip(&shared).map(begin).collect();
    let looking: Vec<_> = shared.iter().map(|shared| runtime.spawn(look_on(Arc::clone(shared)))).collect();
    let began = goes_on(&groups);

    strike_at_random(plan, &mut nodes, &mut groups, &mut random);

    let went_on = goes_on(&groups);
    enough.store(true, Ordering::SeqCst);
    let given_up: u64 = sending.into_iter().map(|sending| sending.join().unwrap()).sum();
    let ends: Vec<_> = plan.groups.iter().map(|kind| ends(kind.topic, &bootstrap)).collect();
    let committed = || shared.iter().map(|shared| now(&shared.committed)).collect::<Vec<_>>();
    let all_committed = wait_for(WITHIN, || committed() == ends);
    groups.into_iter().for_each(Members::leave);
    for looking in looking {
        runtime.block_on(looking).unwrap();
    }
    for topic in [TOPIC, LIMITED] {
        scan(topic, &bootstrap, &history, "at-the-end");
    }
    history.flush().unwrap();

    let report = check(HistoryReader::open(path).unwrap(), Expectations::default()).unwrap();
    println!("{report}");
    assert!(report.is_clean());
    assert!(
        began && went_on,
        "nothing was consumed for a while: before the kills {began}, after them {went_on}"
    );
    assert!(all_committed, "records end at {ends:?}, commits at {:?}", committed());
    assert_eq!(given_up, 0, "the idempotent producer gave up on records");
    nodes.stop();
    report
}

fn run_and_check(plan: &Plan) {
    let seed = seed();
    let path = history_path(plan, seed);
    println!("seed {seed}, history {}", path.display());
    let counts = run(plan, seed, &path).counts;
    let groups = counts.groups;
    assert_eq!((counts.kills, groups.members_killed), (plan.node_kills as u64, plan.member_kills as u64));
    assert!(groups.generations > 2, "no kill made the group rebalance");
    assert!(groups.consumed_again > 0, "nobody was killed between a record and its commit");
    assert!(groups.commits_unknown > 0, "no kill hit a commit that was under way");
    assert!(groups.commits_refused > 0, "no member that was thought dead wanted to commit");
    assert!(groups.progress_checked > 0, "no progress was waited for");
    assert!(groups.refused > u64::from(LIMIT) && groups.dead_letters > 0, "no record was refused for good");
    // Nothing is wrong with it: nobody will want to read it.
    fs::remove_file(&path).unwrap();
}

#[test]
fn s21_a_group_consumes_everything_and_goes_on_whoever_is_killed() {
    run_and_check(&ONE_NODE);
}

#[test]
fn s21_on_three_nodes_a_group_consumes_everything_and_goes_on_whichever_node_is_killed() {
    run_and_check(&THREE_NODES);
}
