//! Commands that look at nodes, start some, and break one. They must be right for one node and for many.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{at, polylogue, support};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn status_tells_of_nodes_and_of_partitions() {
    let node = support::start_node();
    at(&node, &["topic", "create", "t", "--partitions", "3"], "").done();
    let admin = node.admin_address().to_string();
    let status = |options: &[&str]| {
        polylogue(&[&["cluster", "status", "--admin", &admin], options].concat(), "").done()
    };
    let report = json(&status(&["--output", "json"]));
    let told = &report["nodes"][0];
    assert_eq!((told["id"].as_i64(), told["answers"].as_str()), (Some(1), Some("ready")), "{report}");
    assert_eq!(told["endpoints"]["kafka"].as_str(), Some(node.kafka_address().as_str()));
    assert_eq!(told["endpoints"]["admin"].as_str(), Some(admin.as_str()));
    assert_eq!((told["leads"].as_i64(), told["replicas"].as_i64()), (Some(3), Some(3)));
    assert_eq!((report["controller"].as_i64(), report["told_by"].as_i64()), (Some(1), Some(1)));
    let partitions = &report["partitions"];
    assert_eq!(partitions["total"].as_i64(), Some(3));
    for wrong in ["without_leader", "under_replicated", "below_minimum"] {
        assert_eq!(partitions[wrong]["count"].as_i64(), Some(0), "{report}");
    }
    let table = status(&[]);
    let row = table.lines().find(|line| line.starts_with("1 ")).unwrap();
    assert!(row.contains("ready") && row.contains(&admin), "{table}");
}

#[test]
fn a_partition_below_its_minimum_is_named() {
    let node = support::start_node();
    let config = ["topic", "create", "t", "--partitions", "2", "--config", "min.insync.replicas=2"];
    at(&node, &config, "").done();
    let admin = node.admin_address().to_string();
    let status = polylogue(&["cluster", "status", "--admin", &admin], "").done();
    assert!(status.lines().any(|line| line == "below their minimum  2  t-0, t-1"), "{status}");
}

#[test]
fn the_tree_of_one_node_is_its_tree() {
    let node = support::start_node();
    let admin = node.admin_address().to_string();
    for options in [&[][..], &["--this-node"]] {
        let tree = polylogue(&[&["cluster", "tree", "--admin", &admin], options].concat(), "").done();
        assert!(tree.starts_with("node ") && tree.contains("registry"), "{tree}");
    }
    let tree = json(&polylogue(&["cluster", "tree", "--admin", &admin, "--output", "json"], "").done());
    assert!(tree.as_array().unwrap().len() > 3, "{tree}");
}

#[test]
fn dev_runs_a_cluster_until_it_is_told_to_stop_and_keeps_what_it_is_told_to_keep() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    for round in ["first", "second"] {
        let mut dev = Command::new(support::binary())
            .args(["dev", "--data-dir", data, "--set", "default-partitions=7"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines().map(Result::unwrap);
        let bootstrap = lines.find_map(|line| line.strip_prefix("bootstrap ").map(str::to_owned)).unwrap();
        let topic =
            |arguments: &[&str]| polylogue(&[arguments, &["--bootstrap", &bootstrap]].concat(), "").done();
        topic(&["topic", "create", round]);
        let topics = topic(&["topic", "list", "--output", "json"]);
        assert!(topics.contains("first") && topics.contains('7'), "{topics}");
        kill_process(Pid::from_raw(dev.id().try_into().unwrap()).unwrap(), Signal::TERM).unwrap();
        let output = dev.wait_with_output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{log}");
        for node in 1..=3 {
            let of_node = format!("{node} | ");
            let is_ready = |line: &str| line.starts_with(&of_node) && line.contains("ready after");
            assert!(log.lines().any(is_ready), "{log}");
        }
        assert!(log.contains("stopping"), "{log}");
    }
    assert!((1..=3).all(|node| folder.path().join(format!("node-{node}/data")).is_dir()));
}

#[test]
fn dev_ends_with_the_nodes_own_words_when_a_node_ends() {
    let ended = polylogue(&["dev", "--set", "no.such.setting=1"], "");
    let complaint = ended.failed(1);
    assert!(complaint.contains(" ended by itself"), "{complaint}");
    let is_named = |line: &str| line.contains(" | ") && line.contains("no.such.setting");
    assert!(complaint.lines().any(is_named), "{complaint}");
}

#[test]
fn the_demo_kills_the_leader_of_three_nodes_and_everything_matches() {
    // So many that half of them are still to come when the node is killed.
    let report = polylogue(&["demo", "--records", "100000"], "").done();
    for line in ["  lost          0", "  different     0", "  out of order  0", "everything matched"] {
        assert!(report.lines().any(|told| told == line), "{report}");
    }
    assert!(report.lines().any(|line| line.starts_with("  killed        node ")), "{report}");
}
