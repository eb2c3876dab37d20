//! Starts that would do harm: refused in words, and nothing is touched.

use std::{collections::BTreeSet, fs, net::TcpListener, path::Path};

use polylogue::{
    local_cluster::{LocalNode, LocalNodeError, NodeOptions},
    model::NodeId,
    wire::ErrorCode,
};

use super::{assert_says, serve_by_hand};
use crate::{
    batches::{batch, batch_of},
    nodes::{log, options, start_again, stop},
    peer::Peer,
    support::{WITHIN, binary, start_node},
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

#[test]
fn flags_that_cannot_be_are_refused_by_name() {
    let data = tempfile::tempdir().unwrap();
    for (flag, value) in [
        ("seed", "nowhere"),
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
    let (meta, elsewhere) = (node.data_folder().join("quorum"), node.data_folder().join("elsewhere"));
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
    let largest = files_below(&node.data_folder().join("quorum")).into_iter().max_by_key(|(_, len)| *len);
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
