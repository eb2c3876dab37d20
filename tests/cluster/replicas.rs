//! What the nodes have on their disks, byte by byte.

use std::fs;

use polylogue::local_cluster::LocalNode;

use crate::{
    cluster::{Cluster, SOON},
    support::eventually,
};

/// Of a batch's head: its base offset, the length of what follows, and its leader's epoch.
const HEAD_BYTES: usize = 16;
const UP_TO_LENGTH: usize = 12;

/// One replica: all of its segments behind one another, since nodes need not begin them at the same offsets.
fn replica(node: &LocalNode, topic: &str, partition: i32) -> Vec<u8> {
    let folder = fs::read_dir(node.partition_folder(topic, partition)).unwrap();
    let files = folder.map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = files.filter(|file| file.extension().is_some_and(|of| of == "log")).collect();
    segments.sort();
    segments.iter().flat_map(|segment| fs::read(segment).unwrap()).collect()
}

/// Base offset and leader epoch of each batch.
fn batches(mut replica: &[u8]) -> Vec<(i64, i32)> {
    let mut found = Vec::new();
    while replica.len() >= HEAD_BYTES {
        let base = i64::from_be_bytes(replica[..8].try_into().unwrap());
        let length = u32::from_be_bytes(replica[8..UP_TO_LENGTH].try_into().unwrap());
        found.push((base, i32::from_be_bytes(replica[UP_TO_LENGTH..HEAD_BYTES].try_into().unwrap())));
        replica = &replica[UP_TO_LENGTH + length as usize..];
    }
    assert!(replica.is_empty(), "{} bytes behind the last batch", replica.len());
    found
}

/// Holds the replicas of a topic that nobody writes to any more against each other. In each, what has a later offset was
/// written in no earlier epoch: one leader for each.
#[track_caller]
pub(crate) fn are_equal(cluster: &Cluster, topic: &str, partitions: i32) {
    for partition in 0..partitions {
        let one = eventually("the replicas are equal", SOON, || {
            let mut all = cluster.nodes.iter().map(|node| replica(node, topic, partition));
            let first = all.next()?;
            all.all(|other| other == first).then_some(first)
        });
        let batches = batches(&one);
        assert!(!batches.is_empty(), "partition {partition} is empty");
        let wrong = batches.windows(2).find(|pair| pair[0].0 >= pair[1].0 || pair[0].1 > pair[1].1);
        assert_eq!(wrong, None, "partition {partition}: batches (offset, epoch) that are not in order");
    }
}
