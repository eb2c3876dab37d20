//! The program's own commands against a node, as a person or a script gives them: what they print, and how
//! they end (0 done, 1 failed, 2 not understood).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod clusters;
mod dead_letters;
mod documented;
mod fail_over;
mod files;
mod group_consume;
mod groups;
mod groups_elsewhere;
mod refusals;
mod settings;
mod shells;
#[path = "../support/mod.rs"]
mod support;
mod topics_and_records;

use std::{
    io::Write,
    process::{Command, Stdio},
    thread,
};

/// How a command ended and what it printed.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    errors: String,
}

impl Ended {
    /// What it printed, of a command that must have succeeded.
    #[track_caller]
    fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// What it complained of, of a command that must have ended with `code`.
    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.out, "", "a complaint goes to standard error");
        self.errors
    }
}

/// Runs a command with `input`.
fn polylogue(arguments: &[&str], input: &str) -> Ended {
    let mut command = Command::new(support::binary());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    // From a thread: it may print before it has read everything, and end before it has read anything.
    let writing = thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), errors: text(output.stderr) }
}

/// The same for a command that is a client of this node.
fn at(node: &support::TestNode, arguments: &[&str], input: &str) -> Ended {
    let bootstrap = node.kafka_address();
    polylogue(&[arguments, &["--bootstrap", &bootstrap]].concat(), input)
}
