//! What tests with real nodes and real clients share.
//!
//! Included as a module by each test that needs it, so not every test uses all of it.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod java;
pub(crate) mod kafka_broker;
pub(crate) mod kcat;
pub(crate) mod program;
pub(crate) mod rdkafka;
pub(crate) mod skip;
pub(crate) mod small_disk;

use std::{
    ops::{Deref, DerefMut},
    path::Path,
    thread,
    time::Duration,
};

use polylogue::{
    clock::{Clock, SystemClock},
    local_cluster::{LocalNode, NodeOptions},
    model::NodeId,
};

/// The deadline of anything that a healthy node does within a few seconds.
pub(crate) const WITHIN: Duration = Duration::from_mins(1);

/// The program under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_polylogue"))
}

/// A node that shows the end of its log where the test that uses it fails: its folder goes with it.
#[derive(Debug)]
pub(crate) struct TestNode(LocalNode);

impl Deref for TestNode {
    type Target = LocalNode;

    fn deref(&self) -> &LocalNode {
        &self.0
    }
}

impl DerefMut for TestNode {
    fn deref_mut(&mut self) -> &mut LocalNode {
        &mut self.0
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("the log of node {} ends with:\n{}", self.0.id(), self.0.log_tail());
        }
    }
}

/// One node in a folder of its own that goes with it, up and ready.
pub(crate) fn start_node() -> TestNode {
    start_node_with(NodeOptions::new(binary(), NodeId::new(1)).unwrap())
}

/// A node of the caller's choice, up and ready.
pub(crate) fn start_node_with(options: NodeOptions) -> TestNode {
    let mut node = LocalNode::start(options).unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    TestNode(node)
}

/// Polls until `condition` gives something, and fails when the time is over.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let clock = SystemClock::new();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(clock.monotonic() < within, "{what}: not within {within:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The sizes of a partition's segments, in all.
pub(crate) fn stored_bytes(node: &LocalNode, topic: &str, partition: i32) -> u64 {
    let folder = std::fs::read_dir(node.partition_folder(topic, partition)).unwrap();
    let files = folder.map(|entry| entry.unwrap());
    let segments = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "log"));
    segments.map(|file| file.metadata().unwrap().len()).sum()
}
