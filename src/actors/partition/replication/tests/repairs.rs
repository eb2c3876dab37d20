//! What becomes of a batch that is hit on one of two nodes, or on both.

use std::{fs::OpenOptions, os::unix::fs::FileExt, path::PathBuf};

use super::nodes::{FOLLOWER, Follows, LEADER, Leads, World, blank, bytes_of, records, until};
use crate::{
    actors::partition::{Acks, LogReader, ReadBuffer, ReadOutcome, ReadRequest},
    model::{NodeId, Offset},
};

/// Where the first batch has its records.
const RECORDS_AT: u64 = 70;

/// Two nodes that find each other and have the same.
async fn pair(world: &World) -> (Leads, Follows) {
    let leader = world.lead(LEADER, 0, 1, blank(world.open(LEADER, 0, 0))).await;
    world.show(LEADER, vec![leader.partition.clone()]);
    let follower = world.follow((FOLLOWER, 0), (LEADER, 1), &world.streams(FOLLOWER), None).await;
    world.show(FOLLOWER, vec![follower.partition.clone()]);
    for _batch in 0..10 {
        leader.acknowledged(records(2, 300), Acks::All).await;
    }
    (leader, follower)
}

fn segment(world: &World, node: NodeId) -> PathBuf {
    world.folder(node, 0).join("00000000000000000000.log")
}

fn flip(world: &World, node: NodeId) {
    let file = OpenOptions::new().read(true).write(true).open(segment(world, node)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, RECORDS_AT).unwrap();
    file.write_all_at(&[byte[0] ^ 1], RECORDS_AT).unwrap();
}

/// Where a read from the beginning goes on, and whether damage held it up.
async fn read(reader: LogReader) -> (Offset, bool) {
    let reading = tokio::task::spawn_blocking(move || {
        let outcome = reader.read(&ReadRequest::default(), &mut ReadBuffer::new()).unwrap();
        let ReadOutcome::Read { next, skipped, .. } = outcome else { panic!("it may wait") };
        (next, skipped.iter().any(|batch| batch.is_held))
    });
    reading.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s14_what_is_hit_at_the_leader_comes_from_its_follower_and_no_read_passes_it_before() {
    let world = World::new("disk");
    let (leader, follower) = pair(&world).await;
    let whole = bytes_of(&leader.reader());
    flip(&world, LEADER);
    let (mut next, _) = read(leader.reader()).await;
    assert_eq!(next, Offset::ZERO, "it is hit");
    while next == Offset::ZERO {
        let is_held;
        (next, is_held) = read(leader.reader()).await;
        assert!(is_held == (next == Offset::ZERO), "nothing is left out");
    }
    assert_eq!(bytes_of(&leader.reader()), whole);
    assert_eq!(std::fs::read(segment(&world, LEADER)).unwrap(), whole);
    until("the metric", || world.metrics.repaired_batches.get() == 1).await;
    leader.acknowledged(records(1, 10), Acks::All).await;
    let handed = follower.hand_over().await;
    assert_eq!(bytes_of(&handed.log.reader()), bytes_of(&leader.reader()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s14_what_is_hit_at_both_is_left_out_once_both_have_said_so() {
    let world = World::new("disk");
    let (leader, _follower) = pair(&world).await;
    flip(&world, LEADER);
    flip(&world, FOLLOWER);
    let (mut next, mut is_held) = read(leader.reader()).await;
    assert!(is_held && next == Offset::ZERO, "it is held at first");
    while is_held {
        (next, is_held) = read(leader.reader()).await;
    }
    assert_eq!(next, Offset::new(20));
    assert_eq!(world.metrics.repaired_batches.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s14_while_a_replica_that_is_in_sync_cannot_be_asked_nothing_is_left_out() {
    let world = World::new("disk");
    let (leader, follower) = pair(&world).await;
    world.show(FOLLOWER, Vec::new());
    flip(&world, LEADER);
    assert!(read(leader.reader()).await.1);
    until("two rounds of questions", || world.wires.laid.load(std::sync::atomic::Ordering::SeqCst) >= 3)
        .await;
    assert!(read(leader.reader()).await.1, "it is asked again and again");
    world.show(FOLLOWER, vec![follower.partition.clone()]);
    until("the repair", || world.metrics.repaired_batches.get() == 1).await;
    assert!(!read(leader.reader()).await.1);
}
