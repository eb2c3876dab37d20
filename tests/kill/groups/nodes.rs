//! The nodes that groups live on: one, or three that are one cluster, and what is done to them.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use polylogue::{
    actors::group_coordinator::{OFFSETS_TOPIC, home_of},
    chaos::history::{HistoryWriter, NodeChange},
    clock::{Clock, SystemClock},
    config::node::variable_of,
    local_cluster::{LocalCluster, LocalNode, NodeOptions},
    model::{NodeId, PartitionIndex},
};

use super::{
    member::{HEARTBEAT, SESSION, Shared},
    wait_for,
};
use crate::{
    note_node,
    support::{WITHIN, binary, eventually},
};

const OFFSETS_PARTITIONS: usize = 4;
/// How long a node of several is away: the others have long gone on, or have only just noticed.
const AWAY_MS: std::ops::Range<u64> = 0..2500;

/// How a node is brought down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// `kill -9`, whoever it is.
    Killed,
    /// `kill -9` of a group's coordinator while a commit is under way.
    KilledAtCommit,
    /// SIGTERM.
    Stopped,
}

/// The nodes. They show the ends of their logs where a test fails: their folders go with them.
pub(super) struct Nodes {
    cluster: LocalCluster,
    history: Arc<HistoryWriter>,
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if thread::panicking() {
            for node in &self.cluster.nodes {
                println!("the log of node {} ends with:\n{}", node.id(), node.log_tail());
            }
        }
    }
}

impl Nodes {
    pub(super) fn start(count: u16, history: &Arc<HistoryWriter>) -> Self {
        let (session, heartbeat) = (SESSION.as_millis(), HEARTBEAT.as_millis());
        let settings = [
            ("groups.min-session-timeout", "1s".to_owned()),
            ("groups.offsets-partitions", OFFSETS_PARTITIONS.to_string()),
            ("groups.consumer-min-session-timeout", "1s".to_owned()),
            ("groups.consumer-session-timeout", format!("{session}ms")),
            ("groups.consumer-min-heartbeat-interval", "100ms".to_owned()),
            ("groups.consumer-heartbeat-interval", format!("{heartbeat}ms")),
        ];
        let with = |options: NodeOptions, (key, value): &(&str, String)| {
            options.environment(variable_of(key), value)
        };
        let change = |options| settings.iter().fold(options, with);
        let mut cluster = LocalCluster::launch(binary(), count, change).unwrap();
        cluster.wait_until_ready(WITHIN).unwrap();
        for node in &cluster.nodes {
            note_node(history, node, NodeChange::Started);
        }
        Self { cluster, history: Arc::clone(history) }
    }

    pub(super) fn count(&self) -> i32 {
        self.cluster.nodes.len() as i32
    }

    pub(super) fn bootstrap(&self) -> String {
        self.cluster.bootstrap()
    }

    /// Waits until a topic can lose any one node.
    pub(super) fn until_in_sync(&self, topic: &str) {
        self.cluster.until_in_sync(topic, WITHIN).unwrap();
    }

    pub(super) fn stop(mut self) {
        self.cluster.stop(WITHIN).unwrap();
    }

    /// Brings one down and back.
    pub(super) fn strike(&mut self, way: Way, shared: &Shared, random: &mut fastrand::Rng) {
        let victim = match way {
            Way::KilledAtCommit => self.coordinator_of(&shared.group),
            Way::Killed | Way::Stopped => self.cluster.nodes[random.usize(0..self.cluster.nodes.len())].id(),
        };
        let alone = self.cluster.nodes.len() == 1;
        let history = Arc::clone(&self.history);
        let node = self.cluster.node(victim).unwrap();
        if way == Way::KilledAtCommit {
            stop_at_commit(node, shared, &history);
        }
        // Written down before it is done: what is answered only afterwards was under way at that time.
        if way == Way::Stopped {
            note_node(&history, node, NodeChange::Stopped);
            assert!(node.stop(WITHIN).unwrap().success());
        } else {
            note_node(&history, node, NodeChange::Killed);
            node.kill().unwrap();
        }
        if !alone {
            thread::sleep(Duration::from_millis(random.u64(AWAY_MS)));
        }
        node.start_again().unwrap();
        node.wait_until_ready(WITHIN).unwrap();
        note_node(&history, node, NodeChange::Started);
    }

    pub(super) fn kill_one(&mut self, id: NodeId) {
        let node = self.cluster.node(id).unwrap();
        note_node(&self.history, node, NodeChange::Killed);
        node.kill().unwrap();
    }

    pub(super) fn start_one(&mut self, id: NodeId) {
        let node = self.cluster.node(id).unwrap();
        node.start_again().unwrap();
        node.wait_until_ready(WITHIN).unwrap();
        note_node(&self.history, node, NodeChange::Started);
    }

    pub(super) fn pause_one(&mut self, id: NodeId) {
        let node = self.cluster.node(id).unwrap();
        note_node(&self.history, node, NodeChange::Paused);
        node.pause().unwrap();
    }

    /// Waits until this node leads the topic's first partition.
    pub(super) fn until_led_by(&self, topic: &str, id: NodeId) {
        eventually(&format!("node {id} leads {topic}"), WITHIN, || {
            self.cluster.leader_of(topic, 0).ok().flatten().filter(|leader| *leader == id)
        });
    }

    pub(super) fn until_coordinated_by(&self, group: &str, id: NodeId) {
        eventually(&format!("node {id} coordinates {group}"), WITHIN, || {
            Some(self.coordinator_of(group)).filter(|coordinator| *coordinator == id)
        });
    }

    pub(super) fn coordinator_of(&self, group: &str) -> NodeId {
        let home = home_of(group, OFFSETS_PARTITIONS).map(PartitionIndex::get).unwrap();
        eventually("the group has a coordinator", WITHIN, || {
            self.cluster.leader_of(OFFSETS_TOPIC, home).ok().flatten()
        })
    }
}

/// Stops the node while a commit is under way, of which then nobody knows whether it holds. Gives up where
/// nobody commits.
fn stop_at_commit(node: &mut LocalNode, shared: &Shared, history: &HistoryWriter) {
    let clock = SystemClock::new();
    let committing = || shared.committing.load(Ordering::SeqCst) > 0;
    while clock.monotonic() < SESSION * 2 {
        if !committing() {
            thread::yield_now();
            continue;
        }
        note_node(history, node, NodeChange::Paused);
        node.pause().unwrap();
        // An answer that had left may not have been read yet.
        if !wait_for(Duration::from_millis(20), || !committing()) {
            return;
        }
        node.resume().unwrap();
        note_node(history, node, NodeChange::Resumed);
    }
}
