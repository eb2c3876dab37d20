//! What a node tells of itself over HTTP.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use polylogue::{
    clock::{Clock, SystemClock},
    local_cluster::LocalNode,
    wire::ErrorCode,
};

use crate::{
    batches::batch_of,
    nodes::{kill_and_start, log, metric, options, restart, start_with, stop},
    peer::Peer,
    support::{WITHIN, eventually, start_node},
};

/// The leader epoch of a partition as the tree of actors shows it.
fn epoch_in_tree(node: &LocalNode, partition: &str) -> i64 {
    let tree = node.get("/tree").unwrap();
    assert_eq!(tree.status, 200);
    let actors: serde_json::Value = serde_json::from_str(&tree.body).unwrap();
    let path = format!("/{partition}/");
    let epochs = actors.as_array().unwrap().iter().filter_map(|actor| {
        let found = actor["path"].as_str()?.contains(&path);
        found.then(|| actor["epoch"].as_i64()).flatten()
    });
    let epochs: Vec<_> = epochs.collect();
    assert_eq!(epochs.len(), 1, "one actor leads {partition}: {}", tree.body);
    epochs[0]
}

#[test]
fn s06_every_start_leads_each_partition_under_a_higher_epoch_and_the_tree_shows_it() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("led", 2, &[]);
    peer.append("led", batch_of(10));
    let mut last = -1;
    for kill in [true, false, true] {
        let epoch = epoch_in_tree(&node, "led-0");
        assert!(epoch > last, "{epoch} after {last}");
        let told = Peer::connect(&node).metadata(&["led"], false).topics[0].partitions[0].leader_epoch;
        assert_eq!(i64::from(told.get()), epoch, "clients are told the same");
        epoch_in_tree(&node, "led-1");
        last = epoch;
        if kill { kill_and_start(&mut node) } else { restart(&mut node) }
    }
    assert!(epoch_in_tree(&node, "led-0") > last);
    let text = node.get("/tree?format=text").unwrap().body;
    for name in ["led-0", "led-1", "kafka", "registry"] {
        assert!(text.contains(name), "no {name} in\n{text}");
    }
}

#[test]
fn health_and_readiness_are_told_over_http() {
    let node = start_with(&[]);
    let health = node.get("/health").unwrap();
    assert_eq!(health.status, 200);
    let ready = node.get("/ready").unwrap();
    assert_eq!(ready.status, 200);
    let ready: serde_json::Value = serde_json::from_str(&ready.body).unwrap();
    assert_eq!(ready["ready"], true);
    assert_eq!(node.get("/nowhere").unwrap().status, 404);
    assert!(node.get("/metrics").unwrap().body.ends_with("# EOF\n"));
    let resident = metric(&node, "polylogue_process_resident_memory_bytes");
    assert!(resident > 1_000_000, "{resident}");
}

#[test]
fn a_partition_that_does_not_open_keeps_no_other_clients_waiting_and_the_node_says_that_it_is_not_ready() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("free", 1, &[]);
    peer.create("stuck", 1, &[]);
    peer.append("free", batch_of(10));
    stop(&mut node);
    // Another process in its folder (S7): the replica waits for it.
    let lock = File::options().write(true).open(node.partition_folder("stuck", 0).join("lock")).unwrap();
    lock.lock().unwrap();
    node.start_again().unwrap();
    let address = node.kafka_address();
    let stream = eventually("the port is open", WITHIN, || TcpStream::connect(&address).ok());
    let mut peer = Peer::over(stream);
    assert_eq!(peer.append("free", batch_of(10)), 1);
    let refused = peer.produce("stuck", batch_of(10)).error_code;
    assert!(matches!(refused, ErrorCode::NotLeaderOrFollower | ErrorCode::LeaderNotAvailable), "{refused:?}");
    let ready = node.get("/ready").unwrap();
    assert_eq!(ready.status, 503, "{}", ready.body);
    assert!(ready.body.contains("1 partitions that this node is to lead have no leader"), "{}", ready.body);
    drop(lock);
    node.wait_until_ready(WITHIN).unwrap();
    assert_eq!(peer.append("stuck", batch_of(10)), 0);
}

#[test]
fn with_log_format_json_each_line_of_the_log_is_one_object_with_time_level_target_and_message() {
    let by_flag =
        options(&[]).argument("--log-format").argument("json").argument("--log").argument("polylogue=debug");
    let mut node = LocalNode::start(by_flag).unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    let mut peer = Peer::connect(&node);
    peer.create("told", 1, &[]);
    // What a peer sends is told of, whatever is in it.
    let mut garbage = TcpStream::connect(node.kafka_address()).unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\"quoted\"\r\n\r\n").unwrap();
    garbage.set_read_timeout(Some(WITHIN)).unwrap();
    // Closed or reset: it is no frame.
    let _ = garbage.read_to_end(&mut Vec::new());
    stop(&mut node);

    let printed = log(&node);
    let mut levels = BTreeSet::new();
    for line in printed.lines() {
        let told: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the line {line}"));
        let text = |field: &str| {
            let text = told[field].as_str();
            text.unwrap_or_else(|| panic!("no {field} in the line {line}")).to_owned()
        };
        humantime::parse_rfc3339(&text("timestamp")).unwrap_or_else(|error| panic!("{error} in {line}"));
        assert!(text("target").starts_with("polylogue"), "{line}");
        assert!(!text("message").is_empty(), "{line}");
        levels.insert(text("level"));
    }
    let known = ["DEBUG", "ERROR", "INFO", "TRACE", "WARN"];
    assert!(levels.iter().all(|level| known.contains(&level.as_str())), "{levels:?}");
    assert!(levels.contains("INFO") && levels.len() > 1, "{levels:?} in:\n{printed}");
}

#[test]
fn the_admin_port_answers_beside_half_open_connections_and_garbage() {
    let clock = SystemClock::new();
    let node = start_node();
    let mut held = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(node.admin_address()).unwrap();
        let sent: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /metrics HT",
            _ => &[0xff; 3000],
        };
        stream.write_all(sent).unwrap();
        held.push(stream);
    }
    let began = clock.monotonic();
    assert_eq!(node.get("/health").unwrap().status, 200);
    let took = clock.monotonic().saturating_sub(began);
    println!("/health beside {} half-open connections: {took:?}", held.len());
    assert!(took < Duration::from_secs(2), "took {took:?}");
    for stream in &mut held {
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        // Whatever it says first, it closes.
        let mut said = Vec::new();
        let closed = stream.read_to_end(&mut said);
        let reset = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(closed.is_ok() || closed.is_err_and(reset), "still open");
    }
}
