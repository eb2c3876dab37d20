//! Apache Kafka's own Java client: producer, consumer and administration.

use std::{path::Path, process::Command, time::Duration};

use crate::{
    samples::assert_program_stored,
    support::{
        java,
        program::{Installation, check},
        start_node,
    },
};

/// How long the whole program may take.
const WITHIN: Duration = Duration::from_mins(2);

#[test]
fn the_java_client_produces_consumes_and_administers() {
    let test = "the_java_client_produces_consumes_and_administers";
    let Some(kafka) = java::find(test) else { return };
    let compile = |folder: &Path| {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/java");
        let mut javac = Command::new("javac");
        javac.arg("-J-Xmx256m").arg("-cp").arg(kafka.class_path()).arg("-d").arg(folder);
        javac.args(["Checks.java", "Records.java", "Producing.java", "Consuming.java", "Administering.java"]);
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
        ],
        steps: &compile,
    };
    let Some(folder) = installation.find(test) else { return };
    let node = start_node();
    let mut program = kafka.java_beside(&folder, "Checks", 256);
    program.arg(node.kafka_address());
    check(program, WITHIN);
    assert_program_stored(&node);
}
