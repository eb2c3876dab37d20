//! A disk that is full: what comes in is refused, what is there is read, and space that comes back is
//! enough to go on.
//!
//! The disk is a small `tmpfs`, which only root may mount; where that does not work the tests say so in one line.

use std::fs;

use polylogue::{local_cluster::LocalNode, wire::ErrorCode};

use crate::{
    batches::batch,
    nodes::{metric, options, restart, start_again, wait_for_metric},
    peer::Peer,
    support::{WITHIN, eventually, small_disk::SmallDisk},
};

const MEBIBYTES: usize = 24;
const BALLAST: usize = 6 << 20;

/// A node on a small disk of which a part is taken by something else.
///
/// Fields are dropped in this order: the node, its disk, the folder.
struct Full {
    node: LocalNode,
    disk: SmallDisk,
    _folder: tempfile::TempDir,
}

fn start(test: &str) -> Option<Full> {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&folder.path().join("data"), MEBIBYTES, test)?;
    fs::write(disk.ballast(), vec![1; BALLAST]).unwrap();
    let mut node = LocalNode::start(options(&[]).folder(folder.path())).unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    Some(Full { node, disk, _folder: folder })
}

fn value(number: usize) -> Vec<u8> {
    let mut value = format!("record {number} ").into_bytes();
    value.resize(100_000, b'.');
    value
}

/// Produces until the disk is full; gives what was acknowledged.
fn fill(peer: &mut Peer, topic: &str) -> Vec<(i64, Vec<u8>)> {
    let mut kept = Vec::new();
    for number in 0..1000 {
        let answer = peer.produce(topic, batch(&[value(number)]));
        if answer.error_code != ErrorCode::None {
            assert_eq!(answer.error_code, ErrorCode::KafkaStorageError, "after {number}");
            return kept;
        }
        kept.push((answer.base_offset.get(), value(number)));
    }
    panic!("a disk of {MEBIBYTES} MiB took 100 MB");
}

#[track_caller]
fn produce_until_taken(peer: &mut Peer, topic: &str, kept: &mut Vec<(i64, Vec<u8>)>) {
    let offset = eventually("produces are taken again", WITHIN, || {
        let answer = peer.produce(topic, batch(&[value(0)]));
        (answer.error_code == ErrorCode::None).then_some(answer.base_offset.get())
    });
    kept.push((offset, value(0)));
}

#[test]
fn a_full_disk_refuses_produces_with_56_serves_reads_and_is_healed_by_space_without_a_restart() {
    let test = "a_full_disk_refuses_produces";
    let Some(mut full) = start(test) else { return };
    let mut peer = Peer::connect(&full.node);
    peer.create("full", 1, &[]);
    peer.create("other", 1, &[]);
    let mut kept = fill(&mut peer, "full");
    assert!(kept.len() > 50, "{}", kept.len());
    for _ in 0..20 {
        assert_eq!(peer.produce("full", batch(&[value(0)])).error_code, ErrorCode::KafkaStorageError);
    }
    assert!(metric(&full.node, "polylogue_disk_full_refusals_total") >= 1);
    assert!(peer.read_all("full") == kept, "reads go on");
    assert_eq!(full.node.get("/health").unwrap().status, 200);
    let id = full.node.pid().unwrap();

    fs::remove_file(full.disk.ballast()).unwrap();
    produce_until_taken(&mut peer, "full", &mut kept);
    produce_until_taken(&mut peer, "other", &mut Vec::new());
    assert!(peer.read_all("full") == kept, "and nothing else is in the log");
    assert_eq!(full.node.pid().unwrap(), id, "without a restart");
    restart(&mut full.node);
    assert!(Peer::connect(&full.node).read_all("full") == kept);
}

#[test]
fn a_node_killed_on_a_full_disk_starts_on_it_reads_and_goes_on_when_there_is_space_again() {
    let test = "a_node_killed_on_a_full_disk";
    let Some(mut full) = start(test) else { return };
    let mut peer = Peer::connect(&full.node);
    peer.create("full", 1, &[]);
    let mut kept = fill(&mut peer, "full");
    full.node.kill().unwrap();
    // Not a byte is left for the next start.
    assert!(fs::write(full.disk.path().join("more"), vec![1; MEBIBYTES << 20]).is_err());
    start_again(&mut full.node);
    let mut peer = Peer::connect(&full.node);
    wait_for_metric(&full.node, "polylogue_recoveries_total", |recovered| recovered >= 1);
    assert!(peer.read_all("full") == kept, "reads go on, also after a start on a full disk");
    fs::remove_file(full.disk.ballast()).unwrap();
    produce_until_taken(&mut peer, "full", &mut kept);
    assert!(peer.read_all("full") == kept);
}
