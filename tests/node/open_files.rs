//! A node that may open few files: who takes most of them leaves some to the others.

use std::net::TcpStream;

use polylogue::{
    local_cluster::{LocalNode, NodeOptions},
    wire::ErrorCode,
};

use crate::{
    batches::batch_of,
    nodes::{labelled, options},
    peer::{Peer, topic},
    support::{WITHIN, eventually},
};

/// Half of them for replicas, of which each takes three.
const LIMIT: u32 = 256;
const REPLICAS: i32 = 42;

/// The shell becomes the node, and passes its limit on.
fn limited(options: NodeOptions) -> NodeOptions {
    let script = format!("ulimit -n {LIMIT}; exec \"$0\" \"$@\"");
    options.through(&["sh".into(), "-c".into(), script.into()])
}

fn start(options: NodeOptions) -> LocalNode {
    let mut node = LocalNode::start(options).unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    node
}

#[test]
fn partitions_for_which_there_are_no_files_are_refused_and_the_others_go_on() {
    let node = start(limited(options(&[])));
    let mut peer = Peer::connect(&node);
    peer.create("first", REPLICAS - 2, &[]);
    let refused = peer.try_create(topic("second", 3, &[]));
    assert_eq!(refused.error_code, ErrorCode::PolicyViolation);
    let why = refused.error_message.unwrap().to_string();
    assert!(why.contains("keeps 40 replicas") && why.contains("ulimit -Hn"), "{why}");
    peer.create("third", 2, &[]);
    for name in ["first", "third"] {
        assert_eq!(peer.produce(name, batch_of(100)).error_code, ErrorCode::None);
    }
    assert_eq!(node.get("/ready").unwrap().status, 200);
}

#[test]
fn a_node_with_replicas_of_a_higher_limit_says_so_and_those_that_open_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = start(options(&[]).folder(folder.path()));
    let mut peer = Peer::connect(&node);
    peer.create("many", 3 * REPLICAS, &[]);
    drop(peer);
    assert_eq!(node.stop(WITHIN).unwrap().code(), Some(0), "{}", node.log_tail());
    drop(node);

    let node = LocalNode::start(limited(options(&[]).folder(folder.path()))).unwrap();
    let ready = eventually("the node lets clients in", WITHIN, || {
        TcpStream::connect(node.kafka_address()).ok()?;
        let ready = node.get("/ready").ok()?;
        (!ready.body.contains("starting")).then_some(ready)
    });
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("this node keeps 126 partitions"), "{}", ready.body);
    assert!(ready.body.contains("may open 256"), "{}", ready.body);
    let mut peer = Peer::connect(&node);
    let led = eventually("what there are files for is led", WITHIN, || {
        let many = peer.metadata(&["many"], false).topics.remove(0);
        let led = many.partitions.iter().filter(|partition| partition.leader_id.get() >= 0).count();
        (led >= REPLICAS as usize / 2).then_some(led)
    });
    assert!(led < 2 * REPLICAS as usize, "{led} replicas are open");
    assert!(node.log_tail().contains("the rest is kept for connections"), "{}", node.log_tail());
}

#[test]
fn clients_that_open_connections_without_end_leave_some_to_whoever_asks_how_the_node_is() {
    let node = start(limited(options(&[])));
    let mut peer = Peer::connect(&node);
    peer.create("t", 1, &[]);
    let refused = || {
        labelled(&node, "polylogue_connections_refused_total", "listener=\"kafka\",reason=\"descriptors\"")
    };
    let mut open = Vec::new();
    while refused() == 0 {
        open.extend((0..16).map(|_| TcpStream::connect(node.kafka_address()).unwrap()));
        assert!(open.len() < 2 * LIMIT as usize, "more connections than files");
    }
    assert!(open.len() > 100, "only {} connections", open.len());
    assert_eq!(node.get("/ready").unwrap().status, 200);
    assert_eq!(peer.produce("t", batch_of(100)).error_code, ErrorCode::None);
    drop(open);
    eventually("the node hears that they have gone", WITHIN, || {
        (labelled(&node, "polylogue_connections", "listener=\"kafka\"") == 1).then_some(())
    });
    assert_eq!(Peer::connect(&node).produce("t", batch_of(100)).error_code, ErrorCode::None);
}
