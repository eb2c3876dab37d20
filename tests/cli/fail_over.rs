//! `chaos failover`: what it does to nodes loses nothing, and what it started goes with it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use polylogue::local_cluster::Wires;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{self, WITHIN, eventually, skip::skip};

/// The report of a run of `chaos failover` in which nothing went wrong.
fn failover(options: &[&str]) -> Value {
    let mut command = Command::new(support::binary());
    let output = command.args(["chaos", "failover", "--output", "json"]).args(options).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let report = serde_json::from_str::<Value>(&String::from_utf8_lossy(&output.stdout)).unwrap();
    for none in ["lost", "duplicates", "out_of_order", "failed"] {
        assert_eq!(report[none].as_u64(), Some(0), "{report}");
    }
    assert!(report["acknowledged"].as_u64().unwrap() > 0, "{report}");
    let faults = report["faults"].as_array().unwrap();
    assert!(faults.iter().all(|fault| fault["worst_ms"].as_f64().unwrap() > 0.0), "{report}");
    report
}

#[test]
fn one_node_loses_nothing_by_being_killed_paused_and_restarted_under_load() {
    let report = failover(&["--nodes", "1", "--runs", "1", "--partitions", "2"]);
    assert_eq!(report["faults"].as_array().unwrap().len(), 3);
}

#[test]
fn three_nodes_lose_nothing_when_their_leader_is_killed_and_all_are_restarted_under_load() {
    let report = failover(&["--runs", "1", "--fault", "kill", "--fault", "rolling"]);
    assert_eq!((report["nodes"].as_u64(), report["replicas"].as_u64()), (Some(3), Some(3)), "{report}");
}

/// Whether namespaces can be made, after having said so where not.
#[track_caller]
fn can_cut(test: &str) -> bool {
    let laid = Wires::lay(1);
    if let Err(why) = &laid {
        skip(test, "network namespaces", &why.to_string());
    }
    laid.is_ok()
}

#[test]
fn three_nodes_lose_nothing_when_their_leader_is_cut_off_under_load() {
    if !can_cut("a_leader_is_cut_off") {
        return;
    }
    let report = failover(&["--runs", "2", "--fault", "cut"]);
    assert_eq!(report["network_namespaces"].as_bool(), Some(true), "{report}");
    for runs in report["faults"].as_array().unwrap() {
        // Nobody is told of a cut: before the lease of 1.5 s has ended, less a heartbeat, nobody may take over.
        let gaps = runs["gaps_ms"].as_array().unwrap();
        assert!(gaps.iter().all(|gap| gap.as_f64().unwrap() > 1000.0), "{report}");
    }
}

#[test]
fn one_node_goes_on_after_a_cut() {
    if can_cut("one_node_is_cut_off") {
        failover(&["--nodes", "1", "--runs", "1", "--fault", "cut"]);
    }
}

#[test]
fn a_cut_that_cannot_be_made_is_refused_with_what_it_takes() {
    let mut command = Command::new(support::binary());
    let output =
        command.args(["chaos", "failover", "--fault", "cut"]).env("PATH", "/nowhere").output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("CAP_NET_ADMIN") && complaint.contains("cannot start unshare"), "{complaint}");
}

/// Ends a run by SIGINT to this program alone, in the middle, and looks for what it has left.
#[track_caller]
fn interrupted(options: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(support::binary());
    command.args(["chaos", "failover", "--runs", "1000", "--rest", "10ms"]).args(options);
    command.env("TMPDIR", folder.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains(" 1 of 1000: ")).unwrap();
    // A node that is killed is not there for a moment.
    eventually("the nodes are recognised", WITHIN, || {
        (!processes_with(folder.path()).is_empty()).then_some(())
    });
    kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), Signal::INT).unwrap();
    assert!(lines.any(|line| line == "polylogue: interrupted"));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(processes_with(folder.path()), [""; 0]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// The command lines that have this path in them.
fn processes_with(path: &Path) -> Vec<String> {
    let path = path.to_str().unwrap();
    let line = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("cmdline")).ok();
    let lines = fs::read_dir("/proc").unwrap().filter_map(|entry| line(entry.ok()?));
    lines.filter(|line| line.contains(path)).collect()
}

#[test]
fn an_interrupted_run_leaves_no_node_and_no_file() {
    interrupted(&["--nodes", "1", "--fault", "kill"]);
}

#[test]
fn an_interrupted_run_with_cuts_leaves_no_node_and_no_file() {
    if can_cut("an_interrupted_run_with_cuts") {
        interrupted(&["--fault", "cut"]);
    }
}
