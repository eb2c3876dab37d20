//! Reading as a member of a group, and having a command work on each record.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::{
    at,
    support::{self, TestNode, WITHIN, eventually},
};

fn start() -> TestNode {
    let node = support::start_node();
    let create = ["topic", "create", "t", "--partitions", "1", "--config", "max.delivery.attempts=3"];
    at(&node, &create, "").done();
    node
}

#[test]
fn what_a_member_has_printed_is_not_printed_again() {
    let node = start();
    at(&node, &["produce", "t"], "a\nb\nc\nd\n").done();
    let consume = |max| at(&node, &["consume", "t", "--group", "g", "--max", max], "").done();
    assert_eq!(consume("3"), "a\nb\nc\n");
    assert_eq!(consume("1"), "d\n");
    let elsewhere = ["consume", "t", "--group", "late", "--from", "offset:2", "--max", "1", "--print-offset"];
    assert_eq!(at(&node, &elsewhere, "").done(), "2\tc\n");
}

#[test]
fn a_record_that_the_command_fails_on_is_a_dead_letter_after_so_many_tries_and_the_next_one_is_worked_on() {
    let node = start();
    at(&node, &["produce", "t", "--key-separator", ":"], "k0:good\nk1:poison\nk2:fine\n").done();
    let seen = tempfile::NamedTempFile::new().unwrap();
    let command = format!(
        "read value; echo $POLYLOGUE_TOPIC-$POLYLOGUE_PARTITION@$POLYLOGUE_OFFSET $POLYLOGUE_KEY \
         $POLYLOGUE_ATTEMPT $value >> {}; [ $value != poison ]",
        seen.path().display()
    );
    let ended = at(&node, &["consume", "t", "--group", "g", "--max", "3", "--exec", &command], "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.errors.contains("given up after 3 attempts"), "{}", ended.errors);
    let seen = fs::read_to_string(seen.path()).unwrap();
    let expected =
        "t-0@0 k0 1 good\nt-0@1 k1 1 poison\nt-0@1 k1 2 poison\nt-0@1 k1 3 poison\nt-0@2 k2 1 fine\n";
    assert_eq!(seen, expected);
    let listed = at(&node, &["group", "dead-letters", "list", "--topic", "t", "--output", "json"], "").done();
    let letters: Value = serde_json::from_str(&listed).unwrap();
    let letter = &letters[0];
    assert_eq!((letters.as_array().unwrap().len(), &letter["offset"]), (1, &Value::from(1)), "{letter}");
    assert!(letter["cause"].as_str().unwrap().contains("exit status: 1"), "{letter}");
}

#[test]
fn a_member_that_is_interrupted_has_committed_what_it_printed_and_leaves_its_group() {
    let node = start();
    at(&node, &["produce", "t"], "a\nb\n").done();
    let mut command = Command::new(support::binary());
    command.args(["consume", "t", "--group", "g", "--bootstrap", &node.kafka_address()]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!([lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap()], ["a", "b"]);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = eventually("it ends", WITHIN, || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    let described = at(&node, &["group", "describe", "g", "--output", "json"], "").done();
    let described: Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described[0]["state"], "Empty", "{described}");
    assert_eq!(described[0]["partitions"][0]["committed"], 2, "{described}");
}

#[test]
fn a_command_that_hangs_is_ended_with_all_it_has_started_and_that_is_a_failed_delivery() {
    let node = start();
    at(&node, &["produce", "t"], "good\npoison\nfine\n").done();
    let started = tempfile::NamedTempFile::new().unwrap();
    // The shell waits for a process of its own; it ends with the shell, though the shell says that all is well.
    let command = format!(
        "trap 'exit 0' TERM; read value; [ $value = poison ] || exit 0; sleep 600 & echo $! >> {}; wait",
        started.path().display()
    );
    let arguments = ["consume", "t", "--group", "g", "--max", "3", "--max-poll-interval", "300ms"];
    let ended = at(&node, &[&arguments[..], &["--exec", &command]].concat(), "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said = "command did not end within 300ms and was ended; given up after 3 attempts";
    assert!(ended.errors.contains(said), "{}", ended.errors);
    let started = fs::read_to_string(started.path()).unwrap();
    assert_eq!(started.lines().count(), 3);
    for pid in started.lines() {
        // Nobody may have taken note of its end: then it is there still, without a command line.
        let line = format!("/proc/{pid}/cmdline");
        eventually("what the command has started is gone", WITHIN, || {
            fs::read(&line).map_or(true, |line| line.is_empty()).then_some(())
        });
    }
    let listed = at(&node, &["group", "dead-letters", "list", "--topic", "t", "--output", "json"], "").done();
    let letters: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((letters.as_array().unwrap().len(), &letters[0]["offset"]), (1, &Value::from(1)));
    assert!(letters[0]["cause"].as_str().unwrap().contains("did not end within 300ms"), "{letters}");
}

#[test]
fn ctrl_c_lets_a_running_command_come_to_its_end_and_commits_its_record() {
    let node = start();
    at(&node, &["produce", "t"], "a\nb\n").done();
    let folder = tempfile::tempdir().unwrap();
    let (begun, may_end) = (folder.path().join("begun"), folder.path().join("may-end"));
    let work = format!("touch {}; until [ -e {} ]; do sleep 0.05; done", begun.display(), may_end.display());
    let mut command = Command::new(support::binary());
    command.args(["consume", "t", "--group", "g", "--exec", &work, "--bootstrap", &node.kafka_address()]);
    let mut child = command.process_group(0).spawn().unwrap();
    eventually("the command runs", WITHIN, || begun.exists().then_some(()));
    // As a terminal does it: everybody in the group is told.
    kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
    fs::write(&may_end, "").unwrap();
    let status = eventually("it ends", WITHIN, || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    let described = at(&node, &["group", "describe", "g", "--output", "json"], "").done();
    let described: Value = serde_json::from_str(&described).unwrap();
    assert!(described[0]["partitions"][0]["committed"].as_i64() >= Some(1), "{described}");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let node = start();
    for flags in [
        &["--exec", "true"][..],
        &["--group", "g", "--partition", "0"],
        &["--group", "g", "--until-end"],
        &["--group", "g", "--max-poll-interval", "0s"],
    ] {
        at(&node, &[&["consume", "t"], flags].concat(), "").failed(2);
    }
}
