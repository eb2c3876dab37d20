//! A follower that comes while its stream hears bells.

use std::{collections::BTreeMap, sync::Arc, thread, time::Duration};

use tokio::{runtime::Handle, time::Instant};

use super::{Feeding, lock};
use crate::{
    actors::partition::{
        PartitionHandle,
        core::{Session, Verdict},
        replication::{
            frame::Channel,
            tests::{
                bounds::from_the_beginning,
                nodes::{FOLLOWER, LEADER, World, blank},
            },
        },
    },
    model::PartitionId,
};

/// Far more than hanging a bell takes. Where it is not enough, on a machine that stands still, the test finds nothing.
const A_WHILE: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bell_hangs_only_once_whoever_hears_it_finds_its_partition() {
    let world = World::new("replicated");
    let leader = world.lead(LEADER, 0, 1, blank(world.open(LEADER, 0, 0))).await;
    let (partition, found) = (leader.partition.clone(), leader.partition.leader().unwrap());
    let nobody = Arc::new(|_: PartitionId| None::<PartitionHandle>);
    let feeding = Arc::new(Feeding::new(FOLLOWER, nobody, Handle::current()));
    let (channel, session) = (Channel(1), Session::new(1));
    *lock(&feeding.asked) = Some(BTreeMap::from([(channel, session)]));

    // Whoever hears bells looks for their partitions.
    let hears = lock(&feeding.fed);
    let comes = thread::spawn({
        let feeding = Arc::clone(&feeding);
        let leader = Some((partition.clone(), found));
        move || feeding.answer(channel, from_the_beginning(session), Verdict::Follows, leader)
    });
    let began = Instant::now();
    while lock(&feeding.answers).is_empty() || began.elapsed() < A_WHILE {
        assert_eq!(partition.slot.bells.hung(), 0, "one that is rung now is never heard");
        assert!(!comes.is_finished(), "it has to look there as well");
        thread::yield_now();
    }
    drop(hears);
    comes.join().unwrap();
    assert!(lock(&feeding.fed).contains_key(&channel));
    assert_eq!(partition.slot.bells.hung(), 1);
}
