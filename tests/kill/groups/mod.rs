//! Groups of consumers of which some are killed, and the node that coordinates them, on random delays: one group for
//! each way in which members and coordinator agree, all over the same topic.
//!
//! A producer writes at a steady pace. Members consume, commit now and then and write down what they do; an
//! onlooker asks for the committed positions all the time. Members vanish at whatever they are about, others come
//! in their place; some stall until they are thought dead, and then want to commit; the node is killed with
//! `kill -9` and started again. Everything goes into a history, and `chaos::checker` judges it.
//!
//! 9 kills; 40 with the feature `long`. `POLYLOGUE_SEED` repeats a run's choices, though not its timing. The history
//! of a run that fails stays beside the test's other files.

mod cooperative;
mod link;
mod member;
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
        history::{
            Event, GroupProfile, HistoryReader, HistoryWriter, Membership, NodeChange, Parted, Parting,
        },
    },
    clock::{Clock, SystemClock},
    config::node::variable_of,
    local_cluster::NodeOptions,
    model::{NodeId, PartitionIndex, TopicName},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
    time::sleep,
};

use self::{
    link::Link,
    member::{HEARTBEAT, Member, Protocol, SESSION, STALL, Shared},
};
use crate::{
    note_node, seed,
    support::{
        TestNode, WITHIN, binary,
        rdkafka::{consumer, create_topic, watermarks},
        start_node_with,
    },
    workload::{Topic, idempotent, scan},
};

const TOPIC: Topic = Topic { name: "shared", partitions: 6 };
const GROUPS: [(&str, Protocol); 3] = [
    ("eager", Protocol::Eager),
    ("cooperative", Protocol::Cooperative),
    ("server-side", Protocol::ServerSide),
];
/// Of each group.
const MEMBERS: usize = 4;
const NODE_KILLS: usize = if cfg!(feature = "long") { 13 } else { 3 };
/// As many in each group.
const MEMBER_KILLS: usize = if cfg!(feature = "long") { 27 } else { 6 };
/// Members that are thought dead and are not, besides.
const STALLS: usize = if cfg!(feature = "long") { 6 } else { 3 };
/// Between two kills: the shortest hits a group that has yet to notice the one before, the longest one that has
/// settled again.
const DELAY_MS: std::ops::Range<u64> = 50..5000;
/// Until a new member comes in the place of one that was killed.
const AWAY_MS: std::ops::Range<u64> = 0..1500;
/// Between two records: members keep up, also on a machine that is busy with other tests.
const PACE: Duration = Duration::from_millis(2);
/// Between two looks at the positions.
const LOOK_EVERY: Duration = Duration::from_millis(10);

fn start_node() -> TestNode {
    let session = format!("{}ms", SESSION.as_millis());
    let heartbeat = format!("{}ms", HEARTBEAT.as_millis());
    let settings = [
        ("groups.min-session-timeout", "1s"),
        ("groups.offsets-partitions", "4"),
        ("groups.consumer-min-session-timeout", "1s"),
        ("groups.consumer-session-timeout", &session),
        ("groups.consumer-min-heartbeat-interval", "100ms"),
        ("groups.consumer-heartbeat-interval", &heartbeat),
    ];
    let options = NodeOptions::new(binary(), NodeId::new(1)).unwrap();
    let with =
        |options: NodeOptions, (key, value): (&str, &str)| options.environment(variable_of(key), value);
    start_node_with(settings.into_iter().fold(options, with))
}

/// Where a run's history is written.
fn history_path(seed: u64) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kill-groups-{seed}.jsonl"))
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
    fn start(runtime: &Runtime, shared: &Arc<Shared>, random: fastrand::Rng) -> Self {
        let (shared, runtime) = (Arc::clone(shared), runtime.handle().clone());
        let mut members = Self { shared, runtime, random, alive: Vec::new(), came: 0 };
        (0..MEMBERS).for_each(|_| members.come(Duration::ZERO));
        members
    }

    fn come(&mut self, after: Duration) {
        self.came += 1;
        let name = format!("{}-{}", self.shared.group, self.came);
        let stalls = Arc::new(AtomicBool::new(false));
        let member = Member::new(&self.shared, &name, self.random.fork(), &stalls);
        let task = self.runtime.spawn(async move {
            sleep(after).await;
            member.run().await;
        });
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
    let partitions: Vec<_> = (0..shared.topic.partitions).map(PartitionIndex::new).collect();
    loop {
        let last = shared.left.load(Ordering::SeqCst);
        match shared.positions(&mut link, "onlooker", &partitions).await {
            Ok(told) => {
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

/// What happens next to the group.
#[derive(Clone, Copy, Debug)]
enum Blow {
    NodeKilled {
        at_commit: bool,
    },
    /// One of this group.
    MemberKilled(usize),
    MemberStalls(usize),
}

fn strike_at_random(node: &mut TestNode, groups: &mut [Members], random: &mut fastrand::Rng) {
    let blows = [
        (0..NODE_KILLS).map(|number| Blow::NodeKilled { at_commit: number % 2 == 0 }).collect(),
        (0..MEMBER_KILLS).map(|number| Blow::MemberKilled(number % GROUPS.len())).collect(),
        (0..STALLS).map(|number| Blow::MemberStalls(number % GROUPS.len())).collect::<Vec<_>>(),
    ];
    let mut blows = blows.concat();
    random.shuffle(&mut blows);
    for blow in blows {
        thread::sleep(Duration::from_millis(random.u64(DELAY_MS)));
        match blow {
            Blow::NodeKilled { at_commit } => {
                let group = &groups[random.usize(0..groups.len())];
                kill(node, &group.shared, at_commit);
            }
            Blow::MemberKilled(group) => groups[group].kill_one(),
            Blow::MemberStalls(group) => groups[group].stall_one(),
        }
    }
}

/// `kill -9` and a new start.
fn kill(node: &mut TestNode, shared: &Shared, at_commit: bool) {
    if at_commit {
        stop_at_commit(node, shared);
    }
    // Written down before it is done: what is answered only afterwards was under way at that time.
    note_node(&shared.history, node, NodeChange::Killed);
    node.kill().unwrap();
    node.start_again().unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    note_node(&shared.history, node, NodeChange::Started);
}

/// Stops the node while a commit is under way, of which then nobody knows whether it holds. Gives up where
/// nobody commits.
fn stop_at_commit(node: &mut TestNode, shared: &Shared) {
    let clock = SystemClock::new();
    let committing = || shared.committing.load(Ordering::SeqCst) > 0;
    while clock.monotonic() < SESSION * 2 {
        if !committing() {
            thread::yield_now();
            continue;
        }
        note_node(&shared.history, node, NodeChange::Paused);
        node.pause().unwrap();
        // An answer that had left may not have been read yet.
        if !wait_for(Duration::from_millis(20), || !committing()) {
            return;
        }
        node.resume().unwrap();
        note_node(&shared.history, node, NodeChange::Resumed);
    }
}

fn ends(bootstrap: &str) -> Vec<i64> {
    let consumer = consumer(bootstrap);
    (0..TOPIC.partitions).map(|index| watermarks(&consumer, TOPIC.name, index).1).collect()
}

/// A group and what it is promised, in the history.
fn declare(
    (name, protocol): &(&str, Protocol),
    bootstrap: &str,
    history: &Arc<HistoryWriter>,
) -> Arc<Shared> {
    let topics = vec![TopicName::new(TOPIC.name).unwrap()];
    let session_timeout_ms = SESSION.as_millis() as u32;
    let server_side = *protocol == Protocol::ServerSide;
    let profile = GroupProfile { name: (*name).to_owned(), topics, session_timeout_ms, server_side };
    history.record(&Event::Group(profile)).unwrap();
    let marks = || (0..TOPIC.partitions).map(|_| AtomicI64::new(-1)).collect();
    Arc::new(Shared {
        bootstrap: bootstrap.to_owned(),
        group: (*name).to_owned(),
        protocol: *protocol,
        topic: TOPIC,
        history: Arc::clone(history),
        over: AtomicBool::new(false),
        left: AtomicBool::new(false),
        committing: AtomicUsize::new(0),
        consumed: marks(),
        committed: marks(),
    })
}

/// The whole run; gives what the checker says.
fn run(seed: u64, path: &Path) -> Report {
    let mut random = fastrand::Rng::with_seed(seed);
    let clock = SystemClock::new();
    let history = Arc::new(HistoryWriter::create(path, move || clock.monotonic()).unwrap());
    let mut node = start_node();
    note_node(&history, &node, NodeChange::Started);
    let bootstrap = node.kafka_address();
    create_topic(&bootstrap, TOPIC.name, TOPIC.partitions, &[]);
    let shared: Vec<_> = GROUPS.iter().map(|group| declare(group, &bootstrap, &history)).collect();
    let enough = Arc::new(AtomicBool::new(false));
    let sending = idempotent(TOPIC, &bootstrap, "sender", &history).start(PACE, &enough);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let begin = |shared| Members::start(&runtime, shared, random.fork());
    let mut groups: Vec<_> = shared.iter().map(begin).collect();
    let looking: Vec<_> = shared.iter().map(|shared| runtime.spawn(look_on(Arc::clone(shared)))).collect();
    let began = goes_on(&groups);

    strike_at_random(&mut node, &mut groups, &mut random);

    let went_on = goes_on(&groups);
    enough.store(true, Ordering::SeqCst);
    let given_up = sending.join().unwrap();
    let ends = ends(&bootstrap);
    let committed = || shared.iter().map(|shared| now(&shared.committed)).collect::<Vec<_>>();
    let all_committed = wait_for(WITHIN, || committed().iter().all(|committed| *committed == ends));
    groups.into_iter().for_each(Members::leave);
    for looking in looking {
        runtime.block_on(looking).unwrap();
    }
    scan(TOPIC, &bootstrap, &history, "at-the-end");
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
    assert_eq!(node.stop(WITHIN).unwrap().code(), Some(0));
    report
}

#[test]
fn s21_a_group_consumes_everything_and_goes_on_whoever_is_killed() {
    let seed = seed();
    let path = history_path(seed);
    println!("seed {seed}, history {}", path.display());
    let counts = run(seed, &path).counts;
    let groups = counts.groups;
    assert_eq!((counts.kills, groups.members_killed), (NODE_KILLS as u64, MEMBER_KILLS as u64));
    assert!(groups.generations > 2, "no kill made the group rebalance");
    assert!(groups.consumed_again > 0, "nobody was killed between a record and its commit");
    assert!(groups.commits_unknown > 0, "no kill hit a commit that was under way");
    assert!(groups.commits_refused > 0, "no member that was thought dead wanted to commit");
    assert!(groups.progress_checked > 0, "no progress was waited for");
    // Nothing is wrong with it: nobody will want to read it.
    fs::remove_file(&path).unwrap();
}
