//! `kill -9` under load, on random delays, and what was promised afterwards.
//!
//! Two producers wait for `acks=all` over two partitions, one idempotent, one that gives up on the
//! first lost answer and so leaves unknown outcomes. A reader follows them through every restart, so
//! that what a consumer saw before a kill is held against what is there after it. Everything goes into
//! a history, and `chaos::checker` judges it; this test only adds what a history cannot know.
//!
//! 20 rounds; 200 with the feature `long`. `POLYLOGUE_SEED` repeats a run's delays.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod groups;
mod mixed;
#[path = "../support/mod.rs"]
mod support;
mod workload;

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use polylogue::{
    chaos::{
        checker::{Expectations, Report, check},
        history::{Event, HistoryReader, HistoryWriter, NodeChange, NodeEvent},
    },
    clock::{Clock, SystemClock},
    local_cluster::LocalNode,
};
use support::{WITHIN, rdkafka::create_topic, start_node, stored_bytes};
use workload::{LOG, Workload, fill, scan};

const ROUNDS: usize = if cfg!(feature = "long") { 200 } else { 20 };
/// Between a start and the kill that follows it. The shortest hits recovery's own aftermath, the
/// longest is beyond the second within which the recovery point follows.
const DELAY_MS: std::ops::Range<u64> = 50..1800;
/// Recovery begins at the newest snapshot of the producers' state, and one is taken for so many bytes of
/// each partition.
const SNAPSHOT_BYTES: u64 = 4 << 20;
/// Stored before the first kill: so much more than recovery may read that reading it all would show.
const FILLED_BYTES: usize = 20 * SNAPSHOT_BYTES as usize;

/// Small enough for what the load writes to go to a file that takes space ahead (ADR 29): it is filled up to the second one.
const SEGMENTS: (&str, &str) = ("segment.bytes", "33554432");

/// How many bytes this process's recoveries read.
const RECOVERY_BYTES: &str = "polylogue_recovery_bytes_total";

/// What a run's random choices come from.
fn seed() -> u64 {
    env::var("POLYLOGUE_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap())
}

fn stored(node: &LocalNode) -> u64 {
    (0..LOG.partitions).map(|partition| stored_bytes(node, LOG.name, partition)).sum()
}

fn note_node(history: &HistoryWriter, node: &LocalNode, change: NodeChange) {
    history.record(&Event::Node(NodeEvent { node: node.id(), change })).unwrap();
}

/// A test's random choices, and the history of what happens in it.
struct Story {
    seed: u64,
    random: fastrand::Rng,
    path: PathBuf,
    history: Arc<HistoryWriter>,
}

impl Story {
    fn begin(file: &str) -> Self {
        let seed = seed();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
        println!("seed {seed}, history {}", path.display());
        let clock = SystemClock::new();
        let history = Arc::new(HistoryWriter::create(&path, move || clock.monotonic()).unwrap());
        Self { seed, random: fastrand::Rng::with_seed(seed), path, history }
    }

    /// Holds what happened against what was promised.
    fn judge(&self) -> Report {
        self.history.flush().unwrap();
        let report = check(HistoryReader::open(&self.path).unwrap(), Expectations::default()).unwrap();
        println!("{report}");
        assert!(report.is_clean(), "seed {}, history {}", self.seed, self.path.display());
        assert!(report.counts.kills_under_load > 0, "no kill hit a record that was under way");
        report
    }
}

/// What one process did from its start until it was killed.
#[derive(Debug)]
struct Life {
    /// Read by the recoveries that it began with.
    recovered: u64,
    /// Appended by it, over all partitions.
    appended: u64,
}

/// Lets the load run for a while, kills the node in the middle of it and starts it again.
fn live_and_die(node: &mut LocalNode, history: &HistoryWriter, lasting: Duration) -> Life {
    let before = stored(node);
    thread::sleep(lasting);
    let recovered = recovered(node);
    // Written down before it is done: what is answered only afterwards was under way at that time.
    note_node(history, node, NodeChange::Killed);
    node.kill().unwrap();
    let appended = stored(node).saturating_sub(before);
    node.start_again().unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    note_node(history, node, NodeChange::Started);
    Life { recovered, appended }
}

fn recovered(node: &LocalNode) -> u64 {
    node.metric(RECOVERY_BYTES).unwrap().unwrap_or_else(|| panic!("no metric {RECOVERY_BYTES}")) as u64
}

/// Recovery reads from the newest snapshot on, and what was appended since the last recovery point,
/// which follows within a second or so: a few rounds' worth at most, however much is stored.
fn assert_recovery_does_not_grow(lives: &[Life], stored: u64) {
    let most_appended = lives.iter().map(|life| life.appended).max().unwrap_or_default();
    let most_recovered = lives.iter().map(|life| life.recovered).max().unwrap_or_default();
    let snapshots = LOG.partitions as u64 * SNAPSHOT_BYTES;
    let allowed = snapshots + 3 * most_appended + (1 << 20);
    println!(
        "stored {stored} bytes, appended in a round {most_appended}, recovered at most {most_recovered}"
    );
    assert!(stored > 2 * allowed, "only {stored} bytes are stored: {allowed} read again would show nothing");
    assert!(most_recovered > 0, "{} kills under load and {RECOVERY_BYTES} is 0", lives.len());
    assert!(most_recovered <= allowed, "recovery read {most_recovered} bytes: {lives:?}");
}

#[test]
fn s14_kill_9_under_load_loses_and_changes_nothing_that_was_acknowledged() {
    let mut story = Story::begin("kill-history.jsonl");
    let history = Arc::clone(&story.history);
    let mut node = start_node();
    note_node(&history, &node, NodeChange::Started);
    create_topic(&node.kafka_address(), LOG.name, LOG.partitions, &[SEGMENTS]);
    fill(&node.kafka_address(), &history, FILLED_BYTES);
    // Closed in order, so that what was stored before is behind a snapshot: the recovery point follows the log by
    // up to a second, and a kill within it would read all of this again.
    assert_eq!(node.stop(WITHIN).unwrap().code(), Some(0));
    node.start_again().unwrap();
    node.wait_until_ready(WITHIN).unwrap();

    let workload = Workload::start(&node.kafka_address(), &history);
    let mut lives = Vec::new();
    for round in 0..ROUNDS {
        let lasting = Duration::from_millis(story.random.u64(DELAY_MS));
        lives.push(live_and_die(&mut node, &history, lasting));
        if round == ROUNDS / 2 {
            scan(LOG, &node.kafka_address(), &history, "halfway");
        }
    }
    let given_up = workload.stop();
    scan(LOG, &node.kafka_address(), &history, "at-the-end");

    let report = story.judge();
    assert_eq!(report.counts.kills, ROUNDS as u64);
    assert!(report.counts.unknown > 0, "no outcome was unknown: the load was too light");
    assert_eq!(given_up, 0, "the idempotent producer gave up on records");
    assert_recovery_does_not_grow(&lives, stored(&node));
    assert_eq!(node.stop(WITHIN).unwrap().code(), Some(0));
}
