//! A node that is none: this test binary again, behind a script that takes the flags of `serve`.

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpListener,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use super::{LocalCluster, LocalNode, LocalNodeError, NodeOptions, free_port};
use crate::model::NodeId;

const KAFKA: &str = "POLYLOGUE_TEST_ACT_AS_A_NODE_KAFKA";
const ADMIN: &str = "POLYLOGUE_TEST_ACT_AS_A_NODE_ADMIN";
/// Ten times what it takes on a busy machine.
const WITHIN: Duration = Duration::from_mins(1);

/// Nothing, unless a test below has started this binary for it.
#[test]
fn acts_as_a_node() {
    let (Ok(kafka), Ok(admin)) = (env::var(KAFKA), env::var(ADMIN)) else { return };
    println!("listening on {kafka}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    let (_kafka, admin) = (TcpListener::bind(kafka).unwrap(), TcpListener::bind(admin).unwrap());
    std::thread::spawn(move || {
        for connection in admin.incoming() {
            let mut connection = connection.unwrap();
            let mut request = [0; 1024];
            let read = connection.read(&mut request).unwrap();
            let body = match &request[..read] {
                request if request.starts_with(b"GET /ready ") => "ready\n",
                _ => "a_total{x=\"1\"} 2\na_total{x=\"2\"} 3\n",
            };
            write!(connection, "HTTP/1.0 200 OK\r\n\r\n{body}").unwrap();
        }
    });
    runtime.block_on(terminate.recv());
    std::process::exit(0);
}

/// A program with the flags of `serve`. It lives as long as the folder.
fn program(script: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");
    // Written by another process: a descriptor of ours could be inherited by a node that another test
    // starts just now, and the kernel refuses to run a file that somebody may still write to.
    let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
    let written = Command::new("sh").args(["-c", write]).arg(&path).arg(script).status().unwrap();
    assert!(written.success());
    (folder, path)
}

fn node_program() -> (tempfile::TempDir, PathBuf) {
    let this = env::current_exe().unwrap();
    program(&format!(
        "echo \"$@\"\nwhile [ $# -gt 0 ]; do case $1 in\n--kafka-listen) export {KAFKA}=$2;;\n--admin-listen) export \
         {ADMIN}=$2;;\nesac; shift; done\nexec '{}' --exact local_cluster::tests::acts_as_a_node --nocapture",
        this.display()
    ))
}

fn started(binary: &std::path::Path) -> LocalNode {
    let mut node = LocalNode::start(NodeOptions::new(binary, NodeId::new(7)).unwrap()).unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    node
}

#[test]
fn a_node_gets_its_flags_and_keeps_ports_and_folder_over_kill_and_restart() {
    let (_keep, binary) = node_program();
    let mut node = started(&binary);
    let (address, pid) = (node.kafka_address(), node.pid().unwrap());
    let flags = fs::read_to_string(node.log_path()).unwrap();
    let expected = format!(
        "serve --node-id 7 --data-dir {} --kafka-listen {address} --admin-listen {} --cluster-listen {}\n",
        node.data_folder().display(),
        node.admin_address(),
        node.cluster_address()
    );
    assert!(flags.starts_with(&expected), "{flags}");
    assert!(matches!(node.start_again(), Err(LocalNodeError::Running { .. })));

    node.kill().unwrap();
    assert!(!node.is_running());
    assert!(matches!(node.kill(), Err(LocalNodeError::NotRunning { .. })));
    node.start_again().unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    assert_eq!(node.kafka_address(), address);
    assert_ne!(node.pid().unwrap(), pid);
}

#[test]
fn sigterm_gives_the_exit_code_and_the_node_can_be_started_again() {
    let (_keep, binary) = node_program();
    let mut node = started(&binary);
    assert_eq!(node.stop(WITHIN).unwrap().code(), Some(0));
    assert!(!node.is_running());
    node.start_again().unwrap();
    node.wait_until_ready(WITHIN).unwrap();
}

#[test]
fn a_paused_node_does_not_end_on_sigterm_before_it_goes_on() {
    let (_keep, binary) = node_program();
    let mut node = started(&binary);
    node.pause().unwrap();
    assert!(node.is_running());
    assert!(matches!(node.stop(Duration::from_millis(50)), Err(LocalNodeError::TooLate { .. })));
    node.resume().unwrap();
    assert_eq!(node.stop(WITHIN).unwrap().code(), Some(0));
}

#[test]
fn a_node_that_ends_is_reported_with_its_status_and_the_end_of_its_log() {
    let (_keep, binary) = program("echo first; echo cannot bind >&2; exit 3");
    let mut node = LocalNode::start(NodeOptions::new(&binary, NodeId::new(7)).unwrap()).unwrap();
    let error = node.wait_until_ready(WITHIN).unwrap_err();
    let LocalNodeError::Ended { status, log, .. } = error else { panic!("{error}") };
    assert_eq!((status.code(), log.as_str()), (Some(3), "first\ncannot bind"));
}

#[test]
fn a_node_that_never_listens_is_reported_when_the_time_is_over() {
    let (_keep, binary) = program("exec sleep 600");
    let mut node = LocalNode::start(NodeOptions::new(&binary, NodeId::new(7)).unwrap()).unwrap();
    let error = node.wait_until_ready(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, LocalNodeError::TooLate { .. }), "{error}");
}

#[test]
fn a_dropped_node_leaves_neither_process_nor_folder_and_a_kept_folder_stays() {
    let (_keep, binary) = node_program();
    let node = started(&binary);
    let (process, folder) = (format!("/proc/{}", node.pid().unwrap()), node.data_folder());
    let folder = folder.parent().unwrap().to_owned();
    assert!(fs::exists(&process).unwrap() && folder.exists());
    drop(node);
    assert!(!fs::exists(&process).unwrap() && !folder.exists());

    let given = tempfile::tempdir().unwrap();
    let options = NodeOptions::new(&binary, NodeId::new(7)).unwrap().folder(given.path());
    drop(LocalNode::start(options).unwrap());
    assert!(given.path().join("log").exists());
}

#[test]
fn memory_processor_time_and_metrics_are_those_of_the_process() {
    let (_keep, binary) = node_program();
    let node = started(&binary);
    assert!((1 << 20..1 << 32).contains(&node.resident_bytes().unwrap()));
    assert!(node.cpu_time().unwrap() < WITHIN);
    assert_eq!(node.metric("a_total").unwrap(), Some(5.0));
    assert_eq!(node.metric("b_total").unwrap(), None);
}

#[test]
fn nodes_of_a_cluster_get_every_seed_and_one_alone_gets_none() {
    let (_keep, binary) = node_program();
    let three = LocalCluster::start(&binary, 3, WITHIN).unwrap();
    assert_eq!(three.bootstrap().split(',').count(), 3);
    let flag = |node: &LocalNode| format!("--seed {}", node.cluster_address());
    let seeds = three.nodes.iter().map(flag).collect::<Vec<_>>().join(" ");
    for node in &three.nodes {
        let log = fs::read_to_string(node.log_path()).unwrap();
        assert!(log.lines().next().unwrap().ends_with(&seeds), "{log}");
    }
    let alone = LocalCluster::start(&binary, 1, WITHIN).unwrap();
    assert!(!fs::read_to_string(alone.nodes[0].log_path()).unwrap().contains("--seed"));
}

#[test]
fn ports_are_never_given_twice() {
    let ports: std::collections::BTreeSet<u16> = (0..100).map(|_| free_port().unwrap()).collect();
    assert_eq!(ports.len(), 100);
}
