//! Which work waits for which.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep, timeout},
};

use super::nodes::{DEADLINE, FOLLOWER, LEADER, World, blank, records, until};
use crate::{
    actors::partition::{Acks, UpkeepThreads, append::SLOW},
    clock::TickingClock,
    model::{NodeId, Offset},
    storage::{
        checkpoint::{Found, look},
        log::checkpoint::CHECKPOINT_FILE,
    },
};

/// Longer than a replica waits with a checkpoint.
const CHECKPOINT_IS_DUE: Duration = Duration::from_millis(1_500);

/// One thread, which does nothing else until what is given is dropped.
fn occupied() -> (Runtime, mpsc::Sender<()>) {
    let pool = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    let (hold, held) = mpsc::channel();
    pool.handle().spawn_blocking(move || held.recv());
    (pool, hold)
}

fn checkpointed(world: &World, node: NodeId) -> Offset {
    match look(world.fs.as_ref(), &world.folder(node, 0).join(CHECKPOINT_FILE)).unwrap() {
        Found::Newest(checkpoint) => checkpoint.flushed,
        Found::Blank | Found::Damaged(_) => Offset::ZERO,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s14_no_flush_that_is_waited_for_waits_behind_others_and_no_checkpoint_behind_compaction() {
    let mut world = World::new("disk");
    let (checkpoints, hold) = occupied();
    let ((flushes, _hold_flushes), (rest, _hold_rest)) = (occupied(), occupied());
    world.upkeep = UpkeepThreads {
        checkpoints: checkpoints.handle().clone(),
        flushes: flushes.handle().clone(),
        rest: rest.handle().clone(),
    };
    let leader = world.lead(LEADER, 0, 1, blank(world.open(LEADER, 0, 0))).await;
    world.show(LEADER, vec![leader.partition.clone()]);
    let follower = world.follow((FOLLOWER, 0), (LEADER, 1), &world.streams(FOLLOWER), None).await;
    let began = Instant::now();
    while began.elapsed() < CHECKPOINT_IS_DUE {
        leader.acknowledged(records(1, 10), Acks::All).await;
    }
    let end = leader.reader().log_end_offset();
    for node in [LEADER, FOLLOWER] {
        assert_eq!(checkpointed(&world, node), Offset::ZERO, "node {node}: by other threads");
    }
    drop(hold);
    for node in [LEADER, FOLLOWER] {
        until("a checkpoint", || checkpointed(&world, node) >= end).await;
    }
    timeout(DEADLINE, follower.hand_over()).await.unwrap();
    [checkpoints, flushes, rest].into_iter().for_each(Runtime::shutdown_background);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_waits_for_is_flushed_by_other_threads() {
    let mut world = World::new("replicated");
    let (io, _hold) = occupied();
    world.io = io.handle().clone();
    let leader = world.lead(LEADER, 0, 1, blank(world.open(LEADER, 0, 0))).await;
    leader.acknowledged(records(1, 10), Acks::Leader).await;
    let end = leader.reader().log_end_offset();
    until("a flush by age", || leader.reader().flushed_offset() >= end).await;
    io.shutdown_background();
}

/// Where every append is slow, and what is left to threads for a slow disk waits until the sender is dropped.
fn on_a_slow_disk() -> (World, Runtime, mpsc::Sender<()>) {
    let mut world = World::new("replicated");
    let (io, hold) = occupied();
    world.io = io.handle().clone();
    world.clock = Arc::new(TickingClock::new(SLOW));
    (world, io, hold)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_appends_much_makes_way_on_a_slow_disk_too() {
    let (world, io, _hold) = on_a_slow_disk();
    let leader = world.lead(LEADER, 0, 1, blank(world.open(LEADER, 0, 0))).await;
    leader.acknowledged(records(1, 10), Acks::Leader).await;
    let bulk = world.bulk.clone();
    let small_requests = tokio::spawn(async move {
        loop {
            (0..10).for_each(|_| bulk.note_small(Instant::now()));
            sleep(Duration::from_millis(10)).await;
        }
    });
    until("small requests are expected", || world.bulk.is_to_make_way(Instant::now())).await;
    leader.acknowledged(records(300, 1 << 10), Acks::Leader).await;
    assert_eq!(world.metrics.bulk_appends.get(), 1);
    small_requests.abort();
    io.shutdown_background();
}

#[tokio::test]
async fn a_handler_that_has_taken_long_leaves_the_rest_to_other_threads() {
    let (world, io, hold) = on_a_slow_disk();
    let leader = world.lead(LEADER, 0, 1, blank(world.open(LEADER, 0, 0))).await;
    // On this one thread all of them wait before the replica has its turn.
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(leader.append(records(1, 10), Acks::Leader).await);
    }
    timeout(DEADLINE, answers.remove(0)).await.unwrap().unwrap().unwrap();
    // Whatever that turn had appended besides would have been answered in it.
    assert!(answers.iter_mut().all(|answer| answer.try_recv().is_err()), "others append them");
    drop(hold);
    for answer in answers {
        timeout(DEADLINE, answer).await.unwrap().unwrap().unwrap();
    }
    io.shutdown_background();
}
