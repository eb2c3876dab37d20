//! `polylogue log` on the folder of a node that has been stopped.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    at, polylogue,
    support::{TestNode, WITHIN, start_node},
};

/// A node with 300 records in three segments or more, stopped; its data folder and that of the partition.
fn stopped() -> (TestNode, String, PathBuf) {
    let mut node = start_node();
    let create = ["topic", "create", "orders", "--partitions", "1", "--config", "segment.bytes=4000"];
    at(&node, &create, "").done();
    for part in 0..3 {
        let lines: Vec<_> = (0..100).map(|line| format!("key-{line}:value {part} {line}")).collect();
        let produce = ["produce", "orders", "--key-separator", ":", "--compression", "none"];
        at(&node, &produce, &(lines.join("\n") + "\n")).done();
    }
    let folder = node.partition_folder("orders", 0);
    node.stop(WITHIN).unwrap();
    let data = node.data_folder().display().to_string();
    (node, data, folder)
}

fn first_segment(folder: &Path) -> PathBuf {
    folder.join("00000000000000000000.log")
}

fn flip(path: &Path, position: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 1], position).unwrap();
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn what_was_stored_is_sound_and_is_printed_batch_by_batch_and_record_by_record() {
    let (_node, data, folder) = stopped();
    let verified = json(&polylogue(&["log", "verify", "--data-dir", &data, "--output", "json"], "").done());
    assert_eq!(verified[0]["partition"], "orders-0");
    assert_eq!((&verified[0]["state"], &verified[0]["records"]), (&"sound".into(), &300.into()));
    assert_eq!((&verified[0]["log_start"], &verified[0]["log_end"]), (&0.into(), &300.into()));

    let folder = folder.display().to_string();
    let dumped = polylogue(&["log", "dump", &folder, "--records", "--output", "json"], "").done();
    let lines: Vec<Value> = dumped.lines().map(json).collect();
    let values: Vec<_> = lines.iter().filter_map(|line| line["value"].as_str()).collect();
    assert_eq!(values.len(), 300);
    assert_eq!((values[0], values[299]), ("value 0 0", "value 2 99"));
    let batches = lines.iter().filter(|line| line["crc"].is_string());
    assert_eq!(batches.map(|batch| batch["records"].as_i64().unwrap()).sum::<i64>(), 300);

    for file in ["leader-epochs", "checkpoint", "partition", "00000000000000000000.index"] {
        let path = Path::new(&folder).join(file).display().to_string();
        assert!(!polylogue(&["log", "dump", &path], "").done().is_empty(), "{file}");
    }
    let metadata = Path::new(&data).join("quorum/quorum.log").display().to_string();
    let records = polylogue(&["log", "dump", &metadata], "").done();
    assert!(records.contains("TopicCreated") && records.contains("orders"), "{records}");
}

#[test]
fn a_flipped_bit_is_named_and_comes_back_from_a_copy() {
    let (mut node, data, folder) = stopped();
    let back_up = tempfile::tempdir().unwrap();
    copy(&folder, &back_up.path().join("orders-0"));
    let segment = first_segment(&folder);
    let whole = fs::read(&segment).unwrap();
    flip(&segment, 100);
    let verify = ["log", "verify", "--data-dir", &data];
    let found = polylogue(&verify, "");
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.out.contains("damaged") && found.out.contains("checksum"), "{found:?}");
    let promised = "all below offset 300 was on disk for certain";
    assert!(found.out.contains(promised), "{found:?}");

    let repair = ["log", "repair", "--data-dir", &data];
    let left = polylogue(&repair, "");
    assert_eq!(left.code, Some(1), "{left:?}");
    assert!(left.errors.contains("--from"), "{left:?}");
    assert!(left.out.contains(promised), "{left:?}");
    let from = back_up.path().display().to_string();
    let planned = polylogue(&[&repair[..], &["--from", &from, "--dry-run"]].concat(), "");
    assert!(planned.out.contains("would be restored"), "{planned:?}");
    assert_eq!(polylogue(&verify, "").code, Some(1), "nothing was changed");
    polylogue(&[&repair[..], &["--from", &from]].concat(), "").done();
    assert_eq!(fs::read(&segment).unwrap(), whole);
    polylogue(&verify, "").done();

    node.start_again().unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    let read = at(&node, &["consume", "orders", "--until-end"], "").done();
    assert_eq!(read.lines().count(), 300);
}

#[test]
fn what_is_given_up_is_passed_over_by_the_next_reader() {
    let (mut node, data, folder) = stopped();
    flip(&first_segment(&folder), 100);
    polylogue(&["log", "repair", "--data-dir", &data, "--drop-damaged"], "").done();
    let verified = json(&polylogue(&["log", "verify", "--data-dir", &data, "--output", "json"], "").done());
    let kept = verified[0]["records"].as_u64().unwrap();
    assert!((1..300).contains(&kept), "{kept}");
    node.start_again().unwrap();
    node.wait_until_ready(WITHIN).unwrap();
    let read = at(&node, &["consume", "orders", "--until-end"], "").done();
    assert_eq!(read.lines().count() as u64, kept);
    assert_eq!(node.metric("polylogue_corrupt_batches_total").unwrap(), Some(0.0));
}

#[test]
fn the_folder_of_a_node_that_runs_is_left_alone_and_a_wrong_path_is_named() {
    let node = start_node();
    let data = node.data_folder().display().to_string();
    for command in ["verify", "repair"] {
        let refused = polylogue(&["log", command, "--data-dir", &data], "").failed(1);
        assert!(refused.contains("in use by another process"), "{refused}");
        let nowhere = polylogue(&["log", command, "--data-dir", "/nowhere"], "").failed(1);
        assert!(nowhere.contains("/nowhere is no data folder"), "{nowhere}");
    }
    let nothing = polylogue(&["log", "import", &data, "--data-dir", &data], "").failed(1);
    assert!(nothing.contains("there is no partition in"), "{nothing}");
    let strange = polylogue(&["log", "dump", "Cargo.toml"], "").failed(1);
    assert!(strange.contains("cannot read"), "{strange}");
}

#[test]
fn a_back_up_of_a_partition_is_brought_into_another_node_under_another_name() {
    let (_node, _, folder) = stopped();
    let mut other = start_node();
    other.stop(WITHIN).unwrap();
    let data = other.data_folder().display().to_string();
    let from = folder.display().to_string();
    let import = ["log", "import", &from, "--data-dir", &data, "--as", "old-orders"];
    let printed = polylogue(&[&import[..], &["--config", "retention.ms=-1"]].concat(), "").done();
    assert!(printed.contains("imported: topic old-orders with 1 partitions"), "{printed}");
    other.start_again().unwrap();
    other.wait_until_ready(WITHIN).unwrap();
    let read = at(&other, &["consume", "old-orders", "--until-end"], "").done();
    assert_eq!(read.lines().count(), 300);
}
