//! The clients of Python: confluent-kafka (a newer librdkafka), kafka-python and aiokafka.

use std::{path::Path, process::Command, time::Duration};

use polylogue::local_cluster::LocalNode;

use crate::{
    samples::{assert_program_stored, assert_program_stored_where_it_pays},
    support::{
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
