//! Nodes with settings, and what of them can be seen from outside.

use std::{fs, path::PathBuf};

use polylogue::{
    config::node::variable_of,
    local_cluster::{LocalNode, NodeOptions},
    model::NodeId,
};

use crate::support::{WITHIN, binary, eventually};

/// How a node of these tests is started, with settings by their full names.
pub(crate) fn options(settings: &[(&str, &str)]) -> NodeOptions {
    let options = NodeOptions::new(binary(), NodeId::new(1)).unwrap();
    settings.iter().fold(options, |options, (key, value)| options.environment(variable_of(key), value))
}

/// A node with these settings, up and ready.
pub(crate) fn start_with(settings: &[(&str, &str)]) -> LocalNode {
    let mut node = LocalNode::start(options(settings)).unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    node
}

/// SIGTERM, which must end in order, and a start on the same folder.
#[track_caller]
pub(crate) fn restart(node: &mut LocalNode) {
    stop(node);
    start_again(node);
}

/// SIGTERM, which must end in order.
#[track_caller]
pub(crate) fn stop(node: &mut LocalNode) {
    assert_eq!(node.stop(WITHIN).unwrap().code(), Some(0), "{}", node.log_tail());
}

/// `kill -9`, and a start on the same folder.
#[track_caller]
pub(crate) fn kill_and_start(node: &mut LocalNode) {
    node.kill().unwrap();
    start_again(node);
}

#[track_caller]
pub(crate) fn start_again(node: &mut LocalNode) {
    node.start_again().unwrap();
    node.wait_until_ready(WITHIN).unwrap();
}

/// A metric, 0 where the node has not counted any.
pub(crate) fn metric(node: &LocalNode, name: &str) -> u64 {
    node.metric(name).unwrap().unwrap_or_default() as u64
}

/// One metric with exactly these labels, as they stand between the braces; 0 where there is none.
pub(crate) fn labelled(node: &LocalNode, name: &str, labels: &str) -> u64 {
    let text = node.get("/metrics").unwrap().body;
    let start = format!("{name}{{{labels}}} ");
    text.lines().find_map(|line| line.strip_prefix(&start)).map_or(0, |value| value.parse().unwrap())
}

/// Waits until a metric has a value that `holds`.
#[track_caller]
pub(crate) fn wait_for_metric(node: &LocalNode, name: &str, holds: impl Fn(u64) -> bool) {
    eventually(name, WITHIN, || holds(metric(node, name)).then_some(()));
}

/// All that the node has printed.
pub(crate) fn log(node: &LocalNode) -> String {
    fs::read_to_string(node.log_path()).unwrap()
}

/// The files of a partition with this extension, by name.
pub(crate) fn files(node: &LocalNode, topic: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(node.partition_folder(topic, 0)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    paths.sort();
    paths
}
