//! kafkajs: it writes and administers, and consumes in groups; what it wrote is read by librdkafka too.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    CODECS,
    samples::{assert_same, assert_stored_with, samples},
    support::{
        program::{Installation, check},
        rdkafka::{Received, read_all},
        start_node,
    },
};

/// How long the whole program may take.
const WITHIN: Duration = Duration::from_mins(2);
/// The program, and what pins its packages.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/kafkajs");

/// The packages of the lock, which holds checksums but says nothing of where they come from.
fn install(folder: &Path) -> Vec<Command> {
    let mut copy = Command::new("cp");
    copy.args(["package.json", "package-lock.json"]).arg(folder).current_dir(FOLDER);
    let mut npm = Command::new("npm");
    npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(folder);
    vec![copy, npm]
}

/// What kafkajs makes of a sample: values of one header are sent together, and one without value fails in it.
fn as_kafkajs_sends(mut record: Received) -> Received {
    let (first, others): (Vec<_>, Vec<_>) = record
        .headers
        .into_iter()
        .filter(|(_, value)| value.is_some())
        .partition(|(name, _)| name == "offset");
    record.headers = [first, others].concat();
    record
}

fn as_json(record: &Received) -> Value {
    let text = |bytes: &Option<Vec<u8>>| bytes.clone().map(|bytes| String::from_utf8(bytes).unwrap());
    let headers: Vec<Value> = record.headers.iter().map(|(name, value)| json!([name, text(value)])).collect();
    json!({
        "key": text(&record.key),
        "value": text(&record.value),
        "headers": headers,
        "timestamp": record.timestamp.unwrap().to_string(),
    })
}

/// The folder of the packages; `None` after having said what is skipped.
#[track_caller]
fn find(test: &str) -> Option<PathBuf> {
    let pins = &[include_str!("kafkajs/package.json"), include_str!("kafkajs/package-lock.json")];
    Installation { name: "kafkajs", pins, steps: &install }.find(test)
}

/// The program, about to run with these packages.
fn program(packages: &Path, bootstrap: &str) -> Command {
    let mut program = Command::new("node");
    program.arg(Path::new(FOLDER).join("main.js")).arg(bootstrap);
    program.env("NODE_PATH", packages.join("node_modules"));
    program
}

#[test]
fn kafkajs_consumes_in_groups_and_reads_every_codec() {
    let Some(packages) = find("kafkajs_consumes_in_groups_and_reads_every_codec") else { return };
    let node = start_node();
    let mut program = program(&packages, &node.kafka_address());
    program.arg("groups");
    check(program, WITHIN);
}

#[test]
fn librdkafka_reads_what_kafkajs_wrote_with_every_codec_and_kafkajs_administers() {
    let test = "librdkafka_reads_what_kafkajs_wrote_with_every_codec_and_kafkajs_administers";
    let Some(packages) = find(test) else { return };
    let sent: Vec<Received> = samples(30, 1000).into_iter().map(as_kafkajs_sends).collect();
    let given = tempfile::tempdir().unwrap();
    let records = given.path().join("records.json");
    fs::write(&records, sent.iter().map(as_json).collect::<Value>().to_string()).unwrap();

    let node = start_node();
    let bootstrap = node.kafka_address();
    let mut program = program(&packages, &bootstrap);
    program.arg(records);
    check(program, WITHIN);

    for (codec, id) in CODECS {
        for kind in ["plain", "idempotent"] {
            let topic = format!("{codec}-{kind}");
            assert_same(&topic, &read_all(&bootstrap, &topic, 0), &sent);
            assert_stored_with(&node, &topic, id, &sent);
        }
    }
}
