//! What tests with real nodes and real clients share.
//!
//! Included as a module by each test that needs it, so not every test uses all of it.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod kcat;
pub(crate) mod rdkafka;

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use polylogue::{
    local_cluster::{LocalNode, NodeOptions},
    model::NodeId,
};

/// The deadline of anything that a healthy node does within a few seconds.
pub(crate) const WITHIN: Duration = Duration::from_mins(1);

/// The program under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_polylogue"))
}

/// One node in a folder of its own that goes with it, up and ready.
pub(crate) fn start_node() -> LocalNode {
    let mut node = LocalNode::start(NodeOptions::new(binary(), NodeId::new(1)).unwrap()).unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    node
}

/// Polls until `condition` gives something, and fails when the time is over.
#[track_caller]
#[allow(clippy::disallowed_methods, reason = "a test's own deadline, on the machine's clock")]
pub(crate) fn eventually<T>(what: &str, within: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {within:?}");
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
