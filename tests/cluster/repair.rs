//! Bits that flip on the disk of one node of three: the batch comes back from another, and no consumer goes past it before.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use polylogue::{
    client::{
        Assignment, Consumer, ConsumerConfig, Polled, Producer, ProducerConfig, ProducerRecord, StartAt,
    },
    config::node::variable_of,
    local_cluster::{LocalCluster, LocalNode, NodeOptions},
    model::{NodeId, Offset, PartitionIndex},
    storage::{
        checkpoint::{self, Found},
        fs::real::RealFs,
    },
};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use crate::{
    cluster::{Cluster, SOON, client, create_topic, name},
    support::{binary, eventually},
};

const TOPIC: &str = "rots";
const RECORDS: u64 = 300;
const REPAIRED: &str = "polylogue_repaired_batches_total";

/// Three nodes that scrub as the settings say, and a topic of several segments that was written with `acks=all`.
fn filled(settings: &[(&str, &str)]) -> Cluster {
    let mut cluster = Cluster::empty();
    for options in LocalCluster::options(binary(), 3).unwrap() {
        let set =
            |options: NodeOptions, (key, value): &(&str, &str)| options.environment(variable_of(key), value);
        cluster.add(settings.iter().fold(options, set));
    }
    cluster.wait_until_ready(SOON).unwrap();
    let configs = [("min.insync.replicas", "3"), ("segment.bytes", "8192")];
    create_topic(&cluster.bootstrap(), TOPIC, 1, &configs);
    cluster.until_in_sync(TOPIC, SOON).unwrap();
    runtime().block_on(write(cluster.bootstrap()));
    eventually("the replicas have the same files", SOON, || {
        let mut files = cluster.nodes.iter().map(segments);
        let first = files.next()?;
        (first.len() > 2 && files.all(|others| others == first)).then_some(())
    });
    cluster
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn write(bootstrap: String) {
    let config = ProducerConfig { linger: Duration::ZERO, ..ProducerConfig::default() };
    let producer = Producer::new(&client(&bootstrap), config);
    for number in 0..RECORDS {
        let value = [number.to_be_bytes(); 8].concat();
        let partition = Some(PartitionIndex::new(0));
        let record = ProducerRecord { partition, value: Some(&value), ..ProducerRecord::default() };
        producer.send(&name(TOPIC), record).await.unwrap().await.unwrap();
    }
    producer.close().await;
}

/// The numbers of all records in the order in which a consumer gets them.
async fn read(bootstrap: String) -> Vec<u64> {
    let mut consumer = Consumer::new(&client(&bootstrap), ConsumerConfig::default());
    let partition = PartitionIndex::new(0);
    consumer.assign(&[Assignment { topic: name(TOPIC), partition, start: StartAt::BEGINNING }]);
    let mut found = Vec::new();
    let all = async {
        loop {
            match consumer.poll(SOON).await.unwrap() {
                Some(Polled::Batch(batch)) => {
                    let values = batch.iter().map(|record| record.unwrap().value.unwrap().to_vec());
                    found.extend(values.map(|value| u64::from_be_bytes(value[..8].try_into().unwrap())));
                }
                Some(Polled::EndOfPartition { offset, .. }) if offset >= Offset::new(RECORDS as i64) => break,
                Some(Polled::EndOfPartition { .. }) | None => {}
            }
        }
    };
    let is_over = timeout(SOON, all).await.is_ok();
    assert!(is_over, "the partition was not read to its end, but {} records", found.len());
    found
}

#[track_caller]
fn assert_all_are_served(cluster: &Cluster) {
    let found = runtime().block_on(read(cluster.bootstrap()));
    assert_eq!(found, (0..RECORDS).collect::<Vec<_>>());
}

/// The segments of the topic on this node that hold anything, by name.
fn segments(node: &LocalNode) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = node.partition_folder(TOPIC, 0);
    let entries = fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let logs = entries.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let read = |path: PathBuf| Some((path.file_name()?.into(), fs::read(&path).ok()?));
    logs.filter_map(read).filter(|(_, bytes)| !bytes.is_empty()).collect()
}

/// Flips a bit in the middle of the first segment; its bytes as they were.
fn flip(node: &LocalNode, segment: usize) -> Vec<u8> {
    let all = segments(node);
    let (name, whole) = all.iter().nth(segment).unwrap();
    let path: &Path = &node.partition_folder(TOPIC, 0).join(name);
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let at = whole.len() as u64 / 2;
    file.write_all_at(&[whole[at as usize] ^ 1], at).unwrap();
    file.sync_all().unwrap();
    whole.clone()
}

#[track_caller]
fn until_repaired(cluster: &mut Cluster, hit: NodeId, before: &[BTreeMap<PathBuf, Vec<u8>>]) {
    eventually("the metric says that one batch was repaired", SOON, || {
        (cluster.node(hit)?.metric(REPAIRED).ok()?? >= 1.0).then_some(())
    });
    for (node, before) in cluster.nodes.iter().zip(before) {
        let mended = if node.id() == hit { 1.0 } else { 0.0 };
        assert_eq!(node.metric(REPAIRED).unwrap(), Some(mended), "node {}", node.id());
        assert!(segments(node) == *before, "the files of node {} are what they were", node.id());
    }
}

fn files(cluster: &Cluster) -> Vec<BTreeMap<PathBuf, Vec<u8>>> {
    cluster.nodes.iter().map(segments).collect()
}

/// Nobody finds anything but by reading.
const NO_SCRUB: [(&str, &str); 1] = [("storage.scrub-bytes-per-second", "0")];
/// The scrub comes by all the time.
const SCRUB: [(&str, &str); 1] = [("storage.scrub-interval", "50ms")];
/// The scrub comes by after a crash, and then not for an hour.
const SCRUB_AFTER_CRASH: [(&str, &str); 1] = [("storage.scrub-interval", "1h")];

#[test]
fn s14_a_leaders_rotten_batch_is_served_from_a_follower_and_repaired_byte_for_byte() {
    let mut cluster = filled(&NO_SCRUB);
    let (leader, before) = (cluster.leader(TOPIC, 0), files(&cluster));
    flip(cluster.node(leader).unwrap(), 1);
    assert_all_are_served(&cluster);
    until_repaired(&mut cluster, leader, &before);
}

#[test]
fn s14_a_followers_rotten_batch_is_found_by_its_scrub_and_repaired_from_its_leader() {
    let mut cluster = filled(&SCRUB);
    let (leader, before) = (cluster.leader(TOPIC, 0), files(&cluster));
    let follower = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    flip(cluster.node(follower).unwrap(), 1);
    until_repaired(&mut cluster, follower, &before);
    assert_all_are_served(&cluster);
}

#[test]
fn s14_what_rots_while_a_node_is_dead_is_found_first_thing_after_its_start_and_repaired() {
    let mut cluster = filled(&SCRUB_AFTER_CRASH);
    let (leader, before) = (cluster.leader(TOPIC, 0), files(&cluster));
    // What lies above the checkpoint would be cut, and followed anew.
    let checkpoint = cluster.node(leader).unwrap().partition_folder(TOPIC, 0).join("checkpoint");
    eventually("the checkpoint covers all records", SOON, || {
        let Found::Newest(found) = checkpoint::look(&RealFs, &checkpoint).ok()? else { return None };
        (found.flushed.get() >= RECORDS as i64).then_some(())
    });
    cluster.kill(&[leader]);
    flip(cluster.node(leader).unwrap(), 0);
    cluster.start_again(&[leader]);
    cluster.until_in_sync(TOPIC, SOON).unwrap();
    until_repaired(&mut cluster, leader, &before);
    assert_all_are_served(&cluster);
}

#[test]
fn s14_what_no_replica_has_whole_is_left_out_and_everything_else_is_served() {
    let mut cluster = filled(&NO_SCRUB);
    for id in cluster.ids() {
        flip(cluster.node(id).unwrap(), 1);
    }
    let found = runtime().block_on(read(cluster.bootstrap()));
    assert!(found.len() as u64 == RECORDS - 1, "{} of {RECORDS} are served", found.len());
    assert!(found.is_sorted());
}
