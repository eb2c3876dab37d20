//! franz-go: its idempotent producer, its consumer and its administration.

use std::{path::Path, process::Command, time::Duration};

use polylogue::local_cluster::LocalNode;

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

/// Runs the program against a node of its own, if it can be built here.
fn run(test: &str, arguments: &[&str], look: impl FnOnce(&LocalNode)) {
    let installation = Installation {
        name: "franz_go",
        pins: &[
            include_str!("franz_go/go.mod"),
            include_str!("franz_go/go.sum"),
            include_str!("franz_go/main.go"),
            include_str!("franz_go/records.go"),
            include_str!("franz_go/produce.go"),
            include_str!("franz_go/admin.go"),
            include_str!("franz_go/group.go"),
            include_str!("franz_go/group_admin.go"),
            include_str!("franz_go/member.go"),
        ],
        steps: &build,
    };
    let Some(folder) = installation.find(test) else { return };
    let node = start_node();
    let mut program = Command::new(folder.join("franz_go"));
    program.arg(node.kafka_address()).args(arguments);
    check(program, WITHIN);
    look(&node);
}

#[test]
fn franz_go_produces_consumes_and_administers() {
    run("franz_go_produces_consumes_and_administers", &[], assert_program_stored);
}

#[test]
fn franz_go_consumes_in_groups() {
    run("franz_go_consumes_in_groups", &["groups"], |_| {});
}

#[test]
fn franz_go_consumes_in_groups_of_the_servers_protocol() {
    run("franz_go_consumes_in_groups_of_the_servers_protocol", &["server-side-groups"], |_| {});
}
