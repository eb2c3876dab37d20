//! A wall clock that jumps by hours on one node. Nobody is deposed for it, nothing is lost or refused, and what is young by the
//! time before the jump stays.
//!
//! The clock of a process is shifted by a few lines of C that are loaded before libc; the product knows nothing of it.

use std::{
    env,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use polylogue::{
    clock::{Clock, SystemClock},
    local_cluster::LocalCluster,
    model::NodeId,
};
use rdkafka::{
    ClientContext, Message as _,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance},
};

use crate::{
    cluster::{Cluster, SOON, create_topic, log},
    load::{GOES_ON_WITHIN, Load, try_once},
    replicas,
    support::{
        binary, eventually, rdkafka as stock,
        skip::{run, skip},
    },
};

const TOPIC: &str = "clock";
const PARTITIONS: i32 = 3;
/// In it logs say when they took a record.
const STAMPED: &str = "stamped";
const GROUP: &str = "clock-group";
const HOUR: i64 = 3600;
const JUMPS: [i64; 3] = [6 * HOUR, 0, -6 * HOUR];
/// More than a lease, a session of the group, and several looks of retention.
const STANDS_FOR: Duration = Duration::from_secs(4);

/// Builds what shifts clocks; none, after having said so, where there is no compiler.
#[track_caller]
fn build(test: &str, folder: &Path) -> Option<PathBuf> {
    let library = folder.join("shifted_clock.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/shifted_clock.c");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut command = Command::new(compiler);
    match run(command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source)) {
        Ok(_) => Some(library),
        Err(why) => {
            skip(test, "compiler for C", &why);
            None
        }
    }
}

/// Nodes whose clocks can be shifted.
struct Shifted {
    cluster: Cluster,
    folder: tempfile::TempDir,
}

impl Shifted {
    #[track_caller]
    fn start(test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let library = build(test, folder.path())?;
        let mut shifted = Self { cluster: Cluster::empty(), folder };
        for options in LocalCluster::options(binary(), 3).unwrap() {
            let file = shifted.file(options.id());
            fs::write(&file, 0_i64.to_ne_bytes()).unwrap();
            let options = options.environment("LD_PRELOAD", &library).environment("SHIFTED_CLOCK", file);
            shifted.cluster.add(options.argument("--set").argument("storage.retention-check-interval=200ms"));
        }
        shifted.cluster.wait_until_ready(SOON).unwrap();
        Some(shifted)
    }

    fn file(&self, node: NodeId) -> PathBuf {
        self.folder.path().join(format!("shift-{node}"))
    }

    /// In the same file, which is never shorter: the process has it mapped.
    fn shift(&self, node: NodeId, seconds: i64) {
        let file = OpenOptions::new().write(true).open(self.file(node)).unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// What the leader of a topic with one partition takes the time for, in seconds from now.
    #[track_caller]
    fn says(&self, topic: &str) -> i64 {
        let bootstrap = self.cluster.bootstrap();
        let said = try_once(&bootstrap, topic, 1, SOON).remove(0).unwrap().log_append_time.unwrap();
        (said.get() - SystemClock::new().wall().get()) / 1000
    }
}

/// Counts how often the group has changed who has what.
#[derive(Default)]
struct Rebalances(AtomicUsize);

impl ClientContext for Rebalances {}

impl ConsumerContext for Rebalances {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

type Member = BaseConsumer<Rebalances>;

/// A member of the group that has something.
#[track_caller]
fn join(bootstrap: &str) -> Member {
    let consumer: Member = stock::client(bootstrap)
        .set("group.id", GROUP)
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        .create_with_context(Rebalances::default())
        .unwrap();
    consumer.subscribe(&[TOPIC]).unwrap();
    consume(&consumer);
    consumer
}

#[track_caller]
fn consume(consumer: &Member) {
    eventually("the group consumes", SOON, || {
        let message = consumer.poll(stock::POLL)?.ok()?;
        (!message.payload()?.is_empty()).then_some(())
    });
}

#[test]
fn s06_a_wall_clock_that_jumps_by_hours_deposes_nobody_and_loses_nothing() {
    let Some(shifted) = Shifted::start("a_wall_clock_that_jumps") else { return };
    let cluster = &shifted.cluster;
    let configs = [("min.insync.replicas", "2"), ("retention.ms", "3600000")];
    create_topic(&cluster.bootstrap(), TOPIC, PARTITIONS, &configs);
    create_topic(&cluster.bootstrap(), STAMPED, 1, &[("message.timestamp.type", "LogAppendTime")]);
    cluster.until_in_sync(TOPIC, SOON).unwrap();
    cluster.until_in_sync(STAMPED, SOON).unwrap();
    let load = Load::start(cluster, TOPIC, PARTITIONS);
    let consumer = join(&cluster.bootstrap());
    let (before, rebalances) = (cluster.partitions(TOPIC).unwrap(), rebalances(&consumer));
    let wrong = cluster.leader(STAMPED, 0);

    for jump in JUMPS {
        shifted.shift(wrong, jump);
        let says = shifted.says(STAMPED);
        assert!((says - jump).abs() <= 60, "a clock that is {jump} s wrong says {says}");
        let since = load.now();
        while load.now().saturating_sub(since) < STANDS_FOR {
            consume(&consumer);
        }
        load.goes_on(GOES_ON_WITHIN);
        let now = cluster.partitions(TOPIC).unwrap();
        for (now, before) in now.iter().zip(&before) {
            assert_eq!((now.leader, now.leader_epoch), (before.leader, before.leader_epoch), "{jump} s");
            assert_eq!(now.in_sync.len(), now.replicas.len(), "{jump} s: {now:?}");
        }
        assert_eq!(self::rebalances(&consumer), rebalances, "{jump} s: the group's session holds");
    }
    let node = cluster.nodes.iter().find(|node| node.id() == wrong).unwrap();
    assert!(log(node).contains("the wall clock has jumped"), "{}", node.log_tail());
    // Reads each partition from offset 0.
    load.stop_and_check(cluster);
    replicas::are_equal(cluster, TOPIC, PARTITIONS);
}

fn rebalances(consumer: &Member) -> usize {
    consumer.context().0.load(Ordering::Relaxed)
}
