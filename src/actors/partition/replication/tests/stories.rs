//! What two nodes come to.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::timeout;

use super::nodes::{DEADLINE, FOLLOWER, LEADER, World, blank, bytes_of, partition, records, until};
use crate::{
    actors::partition::{Acks, CommandRefusal, PartitionHandle},
    model::{Offset, TimestampMs},
    storage::fs::faulty::{AfterFailedSync, Fault, SimulatedDisk},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s01_s04_all_is_acknowledged_once_the_follower_has_it_on_disk_and_its_log_is_the_same_bytes() {
    let world = World::new("disk");
    let leader = world.lead(LEADER, 0, 1, blank(world.open(LEADER, 0, 0))).await;
    world.show(LEADER, vec![leader.partition.clone()]);
    let mut waiting = leader.append(records(3, 100), Acks::All).await;
    leader.acknowledged(records(1, 10), Acks::Leader).await;
    assert!(waiting.try_recv().is_err(), "nobody else has it");
    assert_eq!(leader.partition.leader().unwrap().high_watermark(), Offset::ZERO);
    let follower = world.follow((FOLLOWER, 0), (LEADER, 1), &world.streams(FOLLOWER), None).await;
    waiting.await.unwrap().unwrap();
    for i in 0..200 {
        leader.acknowledged(records(1 + i % 5, i * 7), Acks::All).await;
    }
    // Larger than a turn, than the window, and than what is written at once.
    leader.acknowledged(records(3, 1_200_000), Acks::All).await;
    assert_eq!(leader.partition.lag(), Some(0));
    until("it knows that it has all", || follower.partition.lag() == Some(0)).await;
    let handed = follower.hand_over().await;
    assert_eq!(handed.log.flushed_end(), leader.reader().log_end_offset());
    assert_eq!(bytes_of(&handed.log.reader()), bytes_of(&leader.reader()));
    assert_eq!(handed.log.reader().leader_epochs(), leader.reader().leader_epochs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s06_a_follower_takes_over_with_its_open_log_and_the_former_leader_cuts_what_it_alone_had() {
    let world = World::new("replicated");
    let leader = world.lead(LEADER, 0, 1, blank(world.open(LEADER, 0, 0))).await;
    world.show(LEADER, vec![leader.partition.clone()]);
    let follower = world.follow((FOLLOWER, 0), (LEADER, 1), &world.streams(FOLLOWER), None).await;
    for _ in 0..20 {
        leader.acknowledged(records(2, 50), Acks::All).await;
    }
    let handed = follower.hand_over().await;
    for _ in 0..3 {
        leader.acknowledged(records(4, 50), Acks::Leader).await;
    }
    let second = world.lead(FOLLOWER, 0, 2, handed).await;
    world.show(FOLLOWER, vec![second.partition.clone()]);
    let mut lost = leader.append(records(1, 1), Acks::All).await;
    until("the append", || leader.reader().log_end_offset() == Offset::new(53)).await;
    let former = leader.resign().await;
    assert!(lost.try_recv().unwrap().is_err(), "whoever waited is told that the outcome is unknown");
    let former = world.follow((LEADER, 0), (FOLLOWER, 2), &world.streams(LEADER), Some(former)).await;
    for _ in 0..20 {
        second.acknowledged(records(3, 50), Acks::All).await;
    }
    let handed = former.hand_over().await;
    assert_eq!(handed.log.log_end_offset(), Offset::new(100));
    assert_eq!(bytes_of(&handed.log.reader()), bytes_of(&second.reader()));
    assert_eq!(handed.log.generation(), 1, "it was cut once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_asks_before_its_leader_leads_is_waited_with_and_not_refused() {
    let world = World::new("replicated");
    let handle = PartitionHandle::new(partition(0));
    world.show(LEADER, vec![handle.clone()]);
    let follower = world.follow((FOLLOWER, 0), (LEADER, 1), &world.streams(FOLLOWER), None).await;
    // Refused it would rest, and nobody be signed in.
    until("the subscription to wait", || handle.slot.waiting() == 1).await;
    assert!(follower.doing().contains("asking"), "{}", follower.doing());
    let leader = world.lead_as(handle, LEADER, 1, blank(world.open(LEADER, 0, 0))).await;
    leader.acknowledged(records(3, 100), Acks::All).await;
    let handed = follower.hand_over().await;
    assert_eq!(bytes_of(&handed.log.reader()), bytes_of(&leader.reader()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_that_is_hit_on_the_wire_is_refused_and_sent_again() {
    let world = World::new("replicated");
    let leader = world.lead(LEADER, 0, 1, blank(world.open(LEADER, 0, 0))).await;
    world.show(LEADER, vec![leader.partition.clone()]);
    for _ in 0..50 {
        leader.acknowledged(records(1, 1000), Acks::Leader).await;
    }
    *world.wires.flips.lock().unwrap() = Some(20_000);
    let follower = world.follow((FOLLOWER, 0), (LEADER, 1), &world.streams(FOLLOWER), None).await;
    leader.acknowledged(records(1, 1000), Acks::All).await;
    assert_eq!(*world.wires.flips.lock().unwrap(), None, "it was hit");
    let handed = follower.hand_over().await;
    assert_eq!(bytes_of(&handed.log.reader()), bytes_of(&leader.reader()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_killed_under_load_goes_on_where_its_log_ends() {
    let world = World::new("disk");
    let leader = world.lead(LEADER, 0, 1, blank(world.open(LEADER, 0, 0))).await;
    world.show(LEADER, vec![leader.partition.clone()]);
    let streams = world.streams(FOLLOWER);
    for round in 0..5 {
        let follower = world.follow((FOLLOWER, 0), (LEADER, 1), &streams, None).await;
        let mut answers = Vec::new();
        for _ in 0..40 {
            answers.push(leader.append(records(2, 2000), Acks::All).await);
        }
        answers.remove(0).await.unwrap().unwrap();
        follower.kill().await;
        let end = Offset::new(80 * (round + 1));
        until("all appends", || leader.reader().log_end_offset() == end).await;
    }
    let follower = world.follow((FOLLOWER, 0), (LEADER, 1), &streams, None).await;
    leader.acknowledged(records(1, 1), Acks::All).await;
    let handed = follower.hand_over().await;
    assert_eq!(bytes_of(&handed.log.reader()), bytes_of(&leader.reader()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_leader_keeps_nothing_of_what_it_has_begins_anew_and_follows_the_start() {
    let world = World::new("replicated");
    let mut log = world.open(LEADER, 0, 0);
    log.truncate_fully_and_start_at(Offset::new(1000), TimestampMs::new(1)).unwrap();
    let leader = world.lead(LEADER, 0, 1, blank(log)).await;
    world.show(LEADER, vec![leader.partition.clone()]);
    for _ in 0..10 {
        leader.acknowledged(records(5, 20), Acks::Leader).await;
    }
    let follower = world.follow((FOLLOWER, 0), (LEADER, 1), &world.streams(FOLLOWER), None).await;
    leader.acknowledged(records(5, 20), Acks::All).await;
    // In the middle of a batch.
    assert_eq!(leader.partition.delete_records(Some(Offset::new(1013))).await, Ok(Offset::new(1013)));
    until("the committed end", || follower.doing().contains("committed 1055")).await;
    leader.acknowledged(records(1, 1), Acks::All).await;
    until("the start", || follower.doing().contains("start 1013")).await;
    let handed = follower.hand_over().await;
    assert_eq!(handed.log.log_start_offset(), Offset::new(1013));
    assert_eq!(bytes_of(&handed.log.reader()), bytes_of(&leader.reader()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_partitions_share_one_stream_and_idle_ones_say_nothing() {
    let world = World::new("replicated");
    let mut leaders = Vec::new();
    for index in 0..60 {
        leaders.push(world.lead(LEADER, index, 1, blank(world.open(LEADER, index, 0))).await);
    }
    world.show(LEADER, leaders.iter().map(|leader| leader.partition.clone()).collect());
    let streams = world.streams(FOLLOWER);
    let mut followers = Vec::new();
    for index in 0..60 {
        followers.push(world.follow((FOLLOWER, index), (LEADER, 1), &streams, None).await);
    }
    for _ in 0..50 {
        leaders[7].acknowledged(records(1, 100), Acks::All).await;
    }
    for leader in &leaders {
        leader.acknowledged(records(1, 10), Acks::All).await;
    }
    assert_eq!(world.wires.laid.load(Ordering::SeqCst), 1);
    for (leader, follower) in leaders.iter().zip(followers) {
        let handed = follower.hand_over().await;
        assert_eq!(bytes_of(&handed.log.reader()), bytes_of(&leader.reader()));
    }
}

/// Whoever has acknowledged from memory alone does not go on with less: the node ends, and comes back as one whose memory is
/// lost. On topics that count the disk nothing is missing, and the replica opens its log again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s11_s13_a_failed_flush_ends_a_node_that_acknowledges_from_memory() {
    for (durability, of_leader) in
        [("replicated", true), ("replicated", false), ("disk", true), ("disk", false)]
    {
        let disk = SimulatedDisk::new(1);
        let mut world = World::new(durability);
        world.fs = disk.mount();
        let leader = world.lead(LEADER, 0, 1, blank(world.open(LEADER, 0, 0))).await;
        world.show(LEADER, vec![leader.partition.clone()]);
        let follower = world.follow((FOLLOWER, 0), (LEADER, 1), &world.streams(FOLLOWER), None).await;
        leader.acknowledged(records(1, 10), Acks::All).await;
        let hit = world.folder(if of_leader { LEADER } else { FOLLOWER }, 0).join("00000000000000000000.log");
        disk.inject(hit, Fault::SyncFails(AfterFailedSync::Dropped));
        // More than may wait for the background flush.
        let _outcome = leader.append(records(2, 1 << 20), Acks::Leader).await;
        let ended = if of_leader { leader.ended } else { follower.ended };
        timeout(DEADLINE, ended).await.expect("the replica goes on");
        let raised = timeout(Duration::ZERO, world.alarm.raised()).await.ok();
        assert_eq!(
            raised.as_deref(),
            (durability == "replicated").then_some("t-0"),
            "{durability}, {of_leader}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s05_a_leader_deletes_nothing_by_a_watermark_that_its_predecessors_may_have_been_beyond() {
    let world = World::new("replicated");
    let first = world.lead(LEADER, 0, 1, blank(world.open(LEADER, 0, 0))).await;
    first.acknowledged(records(5, 10), Acks::Leader).await;
    let second = world.lead(LEADER, 0, 2, first.resign().await).await;
    world.show(LEADER, vec![second.partition.clone()]);
    let delete = async |before| second.partition.delete_records(before).await;
    assert_eq!(delete(None).await, Err(CommandRefusal::Unsettled));
    assert_eq!(delete(Some(Offset::new(3))).await, Err(CommandRefusal::Unsettled));
    let _follower = world.follow((FOLLOWER, 0), (LEADER, 2), &world.streams(FOLLOWER), None).await;
    let shown = second.partition.leader().unwrap();
    until("the watermark", || shown.settled_high_watermark().is_some()).await;
    assert!(shown.is_followed_by(FOLLOWER) && !shown.is_followed_by(LEADER));
    assert_eq!(delete(None).await, Ok(Offset::new(5)));
}
