//! Apache Kafka's own Java client: producer, consumer, alone and in groups, and administration.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    samples::assert_program_stored,
    support::{
        java::{self, Kafka},
        program::{Installation, check},
        start_node,
    },
};

/// How long the whole program may take.
const WITHIN: Duration = Duration::from_mins(2);

/// Kafka and the folder of the compiled program; `None` after having said what is skipped.
#[track_caller]
pub(crate) fn find(test: &str) -> Option<(Kafka, PathBuf)> {
    let kafka = java::find(test)?;
    let compile = |folder: &Path| {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/java");
        let mut javac = Command::new("javac");
        javac.arg("-J-Xmx256m").arg("-cp").arg(kafka.class_path()).arg("-d").arg(folder);
        javac.args(["Checks.java", "Records.java", "Producing.java", "Consuming.java", "Administering.java"]);
        javac.args(["Grouping.java", "Group.java", "Member.java", "GroupAdmin.java", "FailOver.java"]);
        javac.current_dir(sources);
        vec![javac]
    };
    let installation = Installation {
        name: "java",
        pins: &[
            include_str!("../support/kafka/pom.xml"),
            include_str!("java/Checks.java"),
            include_str!("java/Records.java"),
            include_str!("java/Producing.java"),
            include_str!("java/Consuming.java"),
            include_str!("java/Administering.java"),
            include_str!("java/Grouping.java"),
            include_str!("java/Group.java"),
            include_str!("java/Member.java"),
            include_str!("java/GroupAdmin.java"),
            include_str!("java/FailOver.java"),
        ],
        steps: &compile,
    };
    let folder = installation.find(test)?;
    Some((kafka, folder))
}

#[test]
fn the_java_client_produces_consumes_and_administers() {
    let Some((kafka, folder)) = find("the_java_client_produces_consumes_and_administers") else { return };
    let node = start_node();
    let mut program = kafka.java_beside(&folder, "Checks", 256);
    program.arg(node.kafka_address());
    check(program, WITHIN);
    assert_program_stored(&node);
}

#[track_caller]
fn consumes_in_groups(test: &str, checks: &str) {
    let Some((kafka, folder)) = find(test) else { return };
    let node = start_node();
    let mut program = kafka.java_beside(&folder, "Checks", 256);
    program.arg(node.kafka_address()).arg(checks);
    check(program, WITHIN);
}

#[test]
fn the_java_client_consumes_in_groups() {
    consumes_in_groups("the_java_client_consumes_in_groups", "groups");
}

#[test]
fn the_java_client_consumes_in_groups_of_the_servers_protocol() {
    consumes_in_groups("the_java_client_consumes_in_groups_of_the_servers_protocol", "server-side-groups");
}
