//! franz-go: its idempotent producer, its consumer and its administration.

use std::{path::Path, process::Command, time::Duration};

use crate::{
    samples::assert_program_stored,
    support::{
        program::{Installation, check},
        start_node,
    },
};

/// How long the whole program may take.
const WITHIN: Duration = Duration::from_mins(2);

/// Builds the program; the versions are those of `go.sum`, the compiler the one that is there.
fn build(folder: &Path) -> Vec<Command> {
    let mut go = Command::new("go");
    go.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/franz_go"));
    go.env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=readonly -buildvcs=false");
    go.arg("build").arg("-o").arg(folder.join("franz_go")).arg(".");
    vec![go]
}

#[test]
fn franz_go_produces_consumes_and_administers() {
    let installation = Installation {
        name: "franz_go",
        pins: &[
            include_str!("franz_go/go.mod"),
            include_str!("franz_go/go.sum"),
            include_str!("franz_go/main.go"),
            include_str!("franz_go/records.go"),
            include_str!("franz_go/produce.go"),
            include_str!("franz_go/admin.go"),
        ],
        steps: &build,
    };
    let Some(folder) = installation.find("franz_go_produces_consumes_and_administers") else { return };
    let node = start_node();
    let mut program = Command::new(folder.join("franz_go"));
    program.arg(node.kafka_address());
    check(program, WITHIN);
    assert_program_stored(&node);
}
