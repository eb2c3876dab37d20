//! Starts, stops and the starts that must be refused; what a node shows of itself.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use polylogue::{
    clock::{Clock, SystemClock},
    local_cluster::{LocalNode, LocalNodeError, NodeOptions},
    model::NodeId,
    wire::{ErrorCode, api::fetch::FetchRequest},
};

use crate::{
    batches::{batch, batch_of},
    nodes::{kill_and_start, log, metric, options, restart, start_again, start_with, stop},
    peer::{FETCH, Peer, fetch_request},
    support::{WITHIN, binary, eventually, start_node},
};

/// Starts a node that must end by itself: its exit code and what it printed.
#[track_caller]
fn refused(options: NodeOptions) -> (i32, String) {
    let mut node = LocalNode::start(options).unwrap();
    refused_again(&mut node)
}

#[track_caller]
fn refused_again(node: &mut LocalNode) -> (i32, String) {
    match node.wait_for("it did not end by itself", WITHIN, |_| Ok(false)) {
        Err(LocalNodeError::Ended { status, log, .. }) => (status.code().unwrap(), log),
        other => panic!("{other:?}"),
    }
}

/// One line says why, and it is no panic.
#[track_caller]
fn assert_says(printed: &str, words: &[&str]) {
    let line = printed.lines().find(|line| words.iter().all(|word| line.contains(word)));
    assert!(line.is_some(), "no line with {words:?}:\n{printed}");
    assert!(!printed.contains("panicked"), "{printed}");
}

#[test]
fn sigterm_ends_with_0_and_the_next_start_has_nothing_to_recover() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    for (topic, durability) in [("disk", "disk"), ("memory", "replicated")] {
        peer.create(topic, 2, &[("durability", durability)]);
        for _ in 0..20 {
            peer.append(topic, batch_of(50_000));
        }
    }
    let before = (peer.read_all("disk"), peer.read_all("memory"));
    stop(&mut node);
    start_again(&mut node);
    assert_eq!(metric(&node, "polylogue_recoveries_total"), 0.0);
    // The last batch of each log, to see that it is the one that was left.
    let read = metric(&node, "polylogue_recovery_bytes_total");
    assert!(read < 4.0 * 51_000.0, "{read} bytes of 2 MB were read again");
    let mut peer = Peer::connect(&node);
    assert!((peer.read_all("disk"), peer.read_all("memory")) == before);
    // Also when nothing was done in between.
    restart(&mut node);
    assert_eq!(metric(&node, "polylogue_recoveries_total"), 0.0);
}

#[test]
fn a_kill_leaves_something_to_recover_and_the_metric_says_so() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("killed", 1, &[]);
    for _ in 0..20 {
        peer.append("killed", batch_of(50_000));
    }
    kill_and_start(&mut node);
    assert!(metric(&node, "polylogue_recoveries_total") >= 1.0);
    assert_eq!(Peer::connect(&node).latest("killed"), 20);
}

#[test]
fn sigterm_under_load_keeps_every_acknowledged_record_and_ends_in_time() {
    let clock = SystemClock::new();
    let mut node = start_node();
    Peer::connect(&node).create("busy", 1, &[]);
    let mut peer = Peer::connect(&node);
    let writer = thread::spawn(move || {
        let mut acknowledged = Vec::new();
        for number in 0.. {
            let value = format!("record {number}").into_bytes();
            let (id, frame) = peer
                .frame(crate::peer::PRODUCE, &crate::peer::produce_request(-1, "busy", 0, batch(&[&value])));
            let sent = peer.send_bytes(&frame);
            if sent.is_err() || !peer.hears_more() {
                break;
            }
            let answer =
                peer.receive::<polylogue::wire::api::produce::ProduceRequest>(crate::peer::PRODUCE, id);
            let partition = &answer.responses[0].partition_responses[0];
            if partition.error_code != ErrorCode::None {
                break;
            }
            acknowledged.push((partition.base_offset.get(), value));
        }
        acknowledged
    });
    let mut reader = Peer::connect(&node);
    eventually("the load runs", WITHIN, || (reader.latest("busy") > 100).then_some(()));
    let began = clock.monotonic();
    stop(&mut node);
    let took = clock.monotonic().saturating_sub(began);
    let acknowledged = writer.join().unwrap();
    println!("stopped under load within {took:?}, {} acknowledged", acknowledged.len());
    assert!(took < Duration::from_secs(15), "took {took:?}");
    start_again(&mut node);
    let read = Peer::connect(&node).read_all("busy");
    assert!(read.len() >= acknowledged.len(), "{} of {} are there", read.len(), acknowledged.len());
    assert!(read[..acknowledged.len()] == acknowledged);
}

#[test]
fn sigterm_waits_neither_for_idle_nor_for_half_open_connections_nor_for_fetches_that_wait() {
    let clock = SystemClock::new();
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("quiet", 1, &[]);
    let mut half = Peer::connect(&node);
    half.send_bytes(&[0, 0, 1, 0, 0, 3]).unwrap();
    let mut waiting = Peer::connect(&node);
    let mut request = fetch_request("quiet", &[(0, 0)]);
    (request.max_wait_ms, request.min_bytes) = (120_000, 1);
    waiting.send::<FetchRequest>(FETCH, &request);
    // A reader that takes nothing.
    peer.create("large", 1, &[]);
    for _ in 0..8 {
        peer.append("large", batch_of(1_000_000));
    }
    let mut slow = Peer::connect(&node);
    let (_, frame) = slow.frame(FETCH, &fetch_request("large", &[(0, 0)]));
    slow.send_bytes(&frame.repeat(20)).unwrap();
    let began = clock.monotonic();
    stop(&mut node);
    let took = clock.monotonic().saturating_sub(began);
    println!("stopped within {took:?}");
    assert!(took < Duration::from_secs(15), "took {took:?}");
    start_again(&mut node);
    assert_eq!(metric(&node, "polylogue_recoveries_total"), 0.0);
}

#[test]
fn s07_a_second_process_on_the_same_data_folder_is_refused_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = LocalNode::start(options(&[]).folder(folder.path())).unwrap();
    first.wait_until_ready(WITHIN).unwrap();
    let mut peer = Peer::connect(&first);
    peer.create("mine", 1, &[]);
    peer.append("mine", batch_of(100));
    let (code, printed) = refused(options(&[]).folder(folder.path()));
    assert_ne!(code, 0);
    assert_says(&printed, &["in use by another process", "data"]);
    assert_eq!(peer.append("mine", batch_of(100)), 1);
    stop(&mut first);
}

#[test]
fn a_port_in_use_is_refused_by_the_name_of_its_setting_before_any_file_is_touched() {
    for setting in ["kafka-listen", "admin-listen"] {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let data = tempfile::tempdir().unwrap();
        let output = serve_by_hand(data.path(), &[(setting, &address)]);
        assert!(!output.status.success());
        let printed =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_says(&printed, &[setting, &address]);
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0, "{setting}: the folder is untouched");
    }
}

/// A node by flags alone, which must end by itself.
fn serve_by_hand(data: &Path, flags: &[(&str, &str)]) -> std::process::Output {
    let mut command = std::process::Command::new(binary());
    command.arg("serve").arg("--data-dir").arg(data);
    for key in ["kafka-listen", "admin-listen", "cluster-listen"] {
        let given = flags.iter().find(|(name, _)| *name == key);
        command.args([format!("--{key}").as_str(), given.map_or("127.0.0.1:0", |(_, value)| *value)]);
    }
    for (key, value) in flags.iter().filter(|(key, _)| !key.ends_with("-listen")) {
        command.args([format!("--{key}").as_str(), *value]);
    }
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let clock = SystemClock::new();
    let deadline = clock.monotonic() + WITHIN;
    while child.try_wait().unwrap().is_none() && clock.monotonic() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    // Nothing to kill, unless the test is about to fail.
    let _ = child.kill();
    child.wait_with_output().unwrap()
}

#[test]
fn flags_that_cannot_be_are_refused_by_name() {
    let data = tempfile::tempdir().unwrap();
    for (flag, value) in [
        ("seed", "127.0.0.1:7093"),
        ("kafka-listen", "nowhere"),
        ("set", "limits.connections=0"),
        ("set", "no.such.key=1"),
    ] {
        let output = serve_by_hand(data.path(), &[(flag, value)]);
        assert!(!output.status.success(), "{flag}");
        let printed =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        let name = if flag == "set" { value.split('=').next().unwrap() } else { flag };
        assert_says(&printed, &[name]);
    }
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
}

#[test]
fn the_data_folder_of_another_node_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = LocalNode::start(options(&[]).folder(folder.path())).unwrap();
    first.wait_until_ready(WITHIN).unwrap();
    Peer::connect(&first).create("mine", 1, &[]);
    stop(&mut first);
    let other = NodeOptions::new(binary(), NodeId::new(2)).unwrap().folder(folder.path());
    let (code, printed) = refused(other);
    assert_ne!(code, 0);
    assert_says(&printed, &["belongs to node 1"]);
    start_again(&mut first);
    assert_eq!(Peer::connect(&first).latest("mine"), 0);
}

/// Every file below a folder with its length, but for locks.
fn files_below(folder: &Path) -> BTreeSet<(String, u64)> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let (path, meta) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
            if meta.is_dir() {
                folders.push(path);
            } else {
                found.insert((path.display().to_string(), meta.len()));
            }
        }
    }
    found
}

#[test]
fn s12_a_folder_that_belongs_to_no_partition_is_put_aside_and_never_deleted() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("known", 1, &[]);
    peer.append("known", batch(&["kept"]));
    stop(&mut node);
    let logs = node.data_folder().join("logs");
    // As long as a topic's name may be, and a name that only looks like a deletion's.
    let long = format!("{}-0", "l".repeat(249));
    for stray in ["stray-0", "known-7", "no partition at all", "mine.deleted", &long] {
        fs::create_dir(logs.join(stray)).unwrap();
        fs::write(logs.join(stray).join("00000000000000000000.log"), b"precious").unwrap();
    }
    start_again(&mut node);
    assert_eq!(Peer::connect(&node).read_all("known"), [(0, b"kept".to_vec())]);
    let left: Vec<_> = fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["known-0"]);
    let aside = files_below(&node.data_folder().join("put-aside"));
    for stray in ["stray-0", "known-7", "no partition at all", "mine.deleted", &long] {
        let kept = &stray[..stray.len().min(200)];
        assert!(aside.iter().any(|(path, len)| path.contains(kept) && *len == 8), "{stray}: {aside:?}");
        assert_says(&log(&node), &[stray, "moved"]);
    }
}

#[test]
fn s12_a_folder_of_another_topic_of_the_same_name_is_put_aside() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("name", 1, &[]);
    peer.append("name", batch(&["of the first"]));
    stop(&mut node);
    let folder = node.partition_folder("name", 0);
    let elsewhere = node.data_folder().join("elsewhere");
    fs::rename(&folder, &elsewhere).unwrap();
    start_again(&mut node);
    let mut peer = Peer::connect(&node);
    assert_eq!(peer.delete("name"), ErrorCode::None);
    peer.create("name", 1, &[]);
    peer.append("name", batch(&["of the second"]));
    stop(&mut node);
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&elsewhere, &folder).unwrap();
    start_again(&mut node);
    let read = Peer::connect(&node).read_all("name");
    assert!(read.is_empty(), "the first topic's records are served as the second's: {read:?}");
    let aside = files_below(&node.data_folder().join("put-aside"));
    assert!(aside.iter().any(|(path, _)| path.contains("name-0")), "{aside:?}");
}

#[test]
fn logs_without_metadata_are_no_reason_to_begin_anew() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("precious", 1, &[]);
    peer.append("precious", batch(&["kept"]));
    stop(&mut node);
    let (meta, elsewhere) = (node.data_folder().join("meta"), node.data_folder().join("elsewhere"));
    fs::rename(&meta, &elsewhere).unwrap();
    let before = files_below(&node.data_folder().join("logs"));
    node.start_again().unwrap();
    let (code, printed) = refused_again(&mut node);
    assert_ne!(code, 0);
    assert_says(&printed, &["is missing", "restore the metadata"]);
    assert_eq!(files_below(&node.data_folder().join("logs")), before, "nothing was touched");
    if meta.exists() {
        fs::remove_dir_all(&meta).unwrap();
    }
    fs::rename(&elsewhere, &meta).unwrap();
    start_again(&mut node);
    assert_eq!(Peer::connect(&node).read_all("precious"), [(0, b"kept".to_vec())]);
}

#[test]
fn metadata_with_a_flipped_bit_is_refused_and_nothing_is_deleted() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("precious", 1, &[]);
    peer.append("precious", batch(&["kept"]));
    stop(&mut node);
    let logs = node.data_folder().join("logs");
    let before = files_below(&logs);
    let largest = files_below(&node.data_folder().join("meta")).into_iter().max_by_key(|(_, len)| *len);
    let (path, len) = largest.unwrap();
    let whole = fs::read(&path).unwrap();
    // The topic's name stands in a record that was committed long ago.
    let at = whole.windows(8).position(|bytes| bytes == b"precious").unwrap();
    let mut flipped = whole.clone();
    flipped[at] ^= 1;
    fs::write(&path, &flipped).unwrap();
    node.start_again().unwrap();
    let (code, printed) = refused_again(&mut node);
    assert_ne!(code, 0, "{path} of {len} bytes");
    assert!(!printed.contains("panicked"), "{printed}");
    assert_eq!(files_below(&logs), before, "nothing was touched");
    fs::write(&path, &whole).unwrap();
    start_again(&mut node);
    assert_eq!(Peer::connect(&node).read_all("precious"), [(0, b"kept".to_vec())]);
}

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
    assert!(resident > 1e6, "{resident}");
}

#[test]
fn a_data_folder_that_cannot_be_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    fs::write(&file, b"mine").unwrap();
    let output = serve_by_hand(&file, &[]);
    assert!(!output.status.success());
    assert_says(
        &String::from_utf8_lossy(&[output.stdout, output.stderr].concat()),
        &["cannot work in", "a-file"],
    );
    assert_eq!(fs::read(&file).unwrap(), b"mine");
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
