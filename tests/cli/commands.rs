//! Commands against a node, and against none.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::support::{TestNode, binary, start_node};

fn run(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(binary());
    let pipes = || Stdio::piped();
    let child = command.args(arguments).stdin(pipes()).stdout(pipes()).stderr(pipes()).spawn();
    let mut child = child.unwrap();
    // One that refuses its options does not read.
    let _closed = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// What a command printed that must succeed.
#[track_caller]
fn printed(arguments: &[&str], input: &str) -> String {
    let output = run(arguments, input);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The exit code and the message of a command that must fail.
#[track_caller]
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments, "");
    let code = output.status.code().unwrap();
    assert_ne!(code, 0, "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}: errors are for standard error");
    (code, String::from_utf8(output.stderr).unwrap())
}

struct Cluster(TestNode);

impl Cluster {
    #[track_caller]
    fn run(&self, arguments: &str, input: &str) -> String {
        let address = self.0.kafka_address();
        let mut words: Vec<&str> = arguments.split(' ').collect();
        words.extend(["--bootstrap", &address]);
        printed(&words, input)
    }
}

#[test]
fn records_with_keys_headers_and_nulls_go_in_and_come_out() {
    let cluster = Cluster(start_node());
    cluster.run("topic create t --partitions 2", "");
    let options = "produce t --partition 1 --key-separator = --header h=v --null-marker NULL";
    cluster.run(options, "a=1\nb=NULL\nc=3\n");
    let all = cluster.run("consume t --until-end --output json", "");
    let records: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> =
        records.iter().map(|r| (r["partition"].as_i64(), r["offset"].as_i64(), r["key"].as_str())).collect();
    assert_eq!(
        seen,
        [(Some(1), Some(0), Some("a")), (Some(1), Some(1), Some("b")), (Some(1), Some(2), Some("c"))]
    );
    assert_eq!(records[0]["value"], "1");
    assert_eq!(records[1]["value"], Value::Null);
    assert_eq!(records[0]["headers"][0]["name"], "h");
    assert_eq!(records[0]["headers"][0]["value"], "v");
    assert_eq!(cluster.run("consume t --max 1", ""), "1\n");
    assert_eq!(cluster.run("consume t --partition 1 --from offset:2 --until-end", ""), "3\n");
    assert_eq!(cluster.run("consume t --from end --until-end", ""), "");
    assert_eq!(cluster.run("consume t --from time:0 --max 2", ""), "1\nnull\n");
    assert_eq!(cluster.run("consume t --partition 0 --until-end", ""), "");
}

#[test]
fn topics_and_the_tree_are_printed_for_people_and_for_programs() {
    let cluster = Cluster(start_node());
    cluster.run("topic create a --partitions 3", "");
    assert!(cluster.run("topic list", "").contains('a'));
    let json = |arguments: &str| serde_json::from_str::<Value>(&cluster.run(arguments, "")).unwrap();
    assert!(json("topic list --output json").to_string().contains("\"a\""));
    assert!(json("topic describe a --output json").to_string().contains("retention.ms"));
    cluster.run("topic alter a --config retention.ms=5000", "");
    assert!(json("topic describe a --output json").to_string().contains("5000"));
    cluster.run("topic delete a", "");
    let admin = cluster.0.admin_address().to_string();
    let tree = printed(&["cluster", "tree", "--admin", &admin, "--output", "json"], "");
    assert!(serde_json::from_str::<Value>(&tree).unwrap().as_array().unwrap().len() > 3);
    assert!(printed(&["cluster", "tree", "--admin", &admin], "").contains("kafka"));
}

#[test]
fn failures_say_what_to_do_and_wrong_options_have_a_code_of_their_own() {
    let nobody = ["topic", "list", "--bootstrap", "127.0.0.1:1", "--timeout", "1s"];
    let (code, said) = refused(&nobody);
    assert!(code == 1 && said.contains("is the node running?"), "{code}: {said}");
    let cluster = Cluster(start_node());
    let address = cluster.0.kafka_address();
    let (code, said) = refused(&["topic", "describe", "nowhere", "--bootstrap", &address]);
    assert!(code == 1 && said.contains("nowhere"), "{code}: {said}");
    for wrong in [&["topic", "list", "--no-such"][..], &["no-such"], &["consume", "t", "--from", "x"]] {
        let (code, said) = refused(wrong);
        assert!(code == 2 && said.contains("error"), "{wrong:?}: {code}: {said}");
    }
    let (code, said) = refused(&["serve", "--set", "limits.connections=0", "--set", "no.such=1"]);
    assert!(code == 2 && said.contains("limits.connections") && said.contains("no.such"), "{code}: {said}");
}

#[test]
fn config_tells_what_is_in_force_and_who_said_so() {
    let table = printed(&["config", "--node-id", "7", "--set", "limits.connections=9", "--only-changed"], "");
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["node-id", "7", "flag", "--node-id"]);
    assert_eq!(rows[2], ["limits.connections", "9", "command", "line"]);
    assert_eq!(rows.len(), 3, "{table}");
    let json = printed(&["config", "--output", "json"], "");
    let settings: Vec<Value> = serde_json::from_str(&json).unwrap();
    assert!(settings.iter().all(|setting| setting["from"] == "default"), "{json}");
    assert!(settings.iter().any(|setting| setting["variable"] == "POLYLOGUE_DATA_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    std::fs::write(&file, printed(&["config", "--node-id", "7", "--output", "toml"], "")).unwrap();
    let again = printed(&["config", "--config", file.to_str().unwrap(), "--output", "json"], "");
    let again: Vec<Value> = serde_json::from_str(&again).unwrap();
    assert_eq!(again[0]["value"], 7);
    assert!(again[0]["from"].as_str().unwrap().contains("node.toml"));
    let (code, said) = refused(&["config", "--set", "node-id=-1", "--set", "limits.connection=1"]);
    assert!(code == 2 && said.contains("node-id") && said.contains("did you mean"), "{code}: {said}");
    assert!(printed(&["config", "topic"], "").contains("retention.ms"));
    let configs: Vec<Value> =
        serde_json::from_str(&printed(&["config", "topic", "--output", "json"], "")).unwrap();
    assert!(configs.iter().any(|c| c["name"] == "retention.ms" && c["default"] == "604800000"));
}

#[test]
fn there_are_completions_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell], "");
        assert!(script.contains("kafka-listen") && script.contains("consume"), "{shell}");
    }
    assert_eq!(refused(&["completions", "no-shell"]).0, 2);
}
