//! The clients of Python: confluent-kafka (a newer librdkafka), kafka-python and aiokafka.

use std::{path::Path, process::Command, time::Duration};

use polylogue::local_cluster::LocalNode;

use crate::{
    samples::{assert_program_stored, assert_program_stored_where_it_pays},
    support::{
        eventually,
        program::{Installation, check},
        start_node,
    },
};

/// How long a program may take.
const WITHIN: Duration = Duration::from_mins(2);
/// The programs, and what pins the packages.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/python");

/// A virtual environment with the packages of `requirements.txt`.
fn install(folder: &Path) -> Vec<Command> {
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv"]).arg(folder.join("venv"));
    let mut packages = Command::new(folder.join("venv/bin/python"));
    packages.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary",
        ":all:",
    ]);
    packages.arg("--requirement").arg(Path::new(FOLDER).join("requirements.txt"));
    vec![environment, packages]
}

/// Runs a program against a node of its own, and looks at what it has left there.
#[track_caller]
fn run(test: &str, program: &str, more: &[&str], assert_stored: impl Fn(&LocalNode)) {
    let pins = &[include_str!("python/requirements.txt")];
    let Some(folder) = (Installation { name: "python", pins, steps: &install }).find(test) else { return };
    let node = start_node();
    let mut python = Command::new(folder.join("venv/bin/python"));
    // No byte code beside the sources.
    python.arg("-B").arg(Path::new(FOLDER).join(program)).arg(node.kafka_address()).args(more);
    check(python, WITHIN);
    assert_stored(&node);
}

#[test]
fn confluent_kafka_produces_consumes_and_administers() {
    run("confluent_kafka_produces_consumes_and_administers", "confluent.py", &[], assert_program_stored);
}

#[test]
fn kafka_python_produces_consumes_and_administers() {
    run(
        "kafka_python_produces_consumes_and_administers",
        "kafka_python.py",
        &[],
        assert_program_stored_where_it_pays,
    );
}

#[test]
fn aiokafka_produces_consumes_and_administers() {
    run("aiokafka_produces_consumes_and_administers", "aio.py", &[], assert_program_stored);
}

#[test]
fn confluent_kafka_consumes_in_groups() {
    run("confluent_kafka_consumes_in_groups", "groups_confluent.py", &[], |_| {});
}

#[test]
fn kafka_python_consumes_in_groups() {
    run("kafka_python_consumes_in_groups", "groups_kafka_python.py", &[], |_| {});
}

#[test]
fn aiokafka_consumes_in_groups() {
    run("aiokafka_consumes_in_groups", "groups_aio.py", &[], |_| {});
}

#[test]
fn confluent_kafka_consumes_in_groups_of_the_servers_protocol() {
    let test = "confluent_kafka_consumes_in_groups_of_the_servers_protocol";
    run(test, "groups_confluent.py", &["server-side"], |_| {});
}

/// Lets a consumer of confluent-kafka do one thing; what it says that it has come to.
#[track_caller]
fn step(folder: &Path, node: &LocalNode, step: &str) -> String {
    let mut python = Command::new(folder.join("venv/bin/python"));
    python.arg("-B").arg(Path::new(FOLDER).join("dead_letters.py")).arg(node.kafka_address()).arg(step);
    let said = check(python, WITHIN).into_iter().rev().find(|line| line.starts_with("ok "));
    said.unwrap().trim_start_matches("ok ").to_owned()
}

/// A record that makes its consumer exit; `between` is done to the node after each such exit.
fn gives_up_a_poison_record(test: &str, between: impl Fn(&mut LocalNode)) {
    let pins = &[include_str!("python/requirements.txt")];
    let Some(folder) = (Installation { name: "python", pins, steps: &install }).find(test) else { return };
    let mut node = start_node();
    let count = |node: &LocalNode, name| node.metric(name).unwrap().unwrap_or_default() as u64;
    let lost = |node: &LocalNode| count(node, "polylogue_group_members_lost_total");
    step(&folder, &node, "prepare");
    // S22: three that exit before they have fetched anything.
    for exited in 1..=3 {
        assert_eq!(step(&folder, &node, "start"), "start 1");
        eventually("the member is given up", WITHIN, || (lost(&node) >= exited).then_some(()));
    }
    assert_eq!(count(&node, "polylogue_delivery_attempts_total"), 0);
    assert_eq!(step(&folder, &node, "consume"), "died one,two,three,poison");
    for _ in 1..3 {
        // A coordinator that dies before it knows that the member has died cannot know what that was given.
        let before = lost(&node);
        eventually("the member is given up", WITHIN, || (lost(&node) > before).then_some(()));
        // What it has decided is on disk once it has answered something else.
        assert_eq!(step(&folder, &node, "position"), "position 3");
        between(&mut node);
        assert_eq!(step(&folder, &node, "consume"), "died poison");
    }
    assert_eq!(step(&folder, &node, "consume"), "consumed five,last");
    let letter = step(&folder, &node, "letters");
    assert_eq!(letter, "letter 0 key of poison poison header jobs 0 3 workers 3");
}

#[test]
fn confluent_kafka_goes_on_behind_a_record_that_makes_it_exit_three_times() {
    gives_up_a_poison_record(
        "confluent_kafka_goes_on_behind_a_record_that_makes_it_exit_three_times",
        |_| {},
    );
}

#[test]
fn confluent_kafka_goes_on_behind_such_a_record_when_the_node_is_killed_between_the_tries() {
    gives_up_a_poison_record(
        "confluent_kafka_goes_on_behind_such_a_record_when_the_node_is_killed_between_the_tries",
        |node| {
            node.kill().unwrap();
            node.start_again().unwrap();
            node.wait_until_ready(WITHIN).unwrap();
        },
    );
}
