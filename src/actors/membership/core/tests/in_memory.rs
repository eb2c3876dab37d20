//! S11: what was acknowledged from memory, and nodes that were killed.

use super::{
    cluster::{alter, change},
    world::{World, node, nodes},
};
use crate::{
    actors::membership::core::{Command, CommandAnswer, ConfigOwner, NOBODY, TopicRef, Uncertain},
    config::topic::ConfigChange,
    model::{LeaderEpoch, Offset},
};

const IN_MEMORY: (&str, &str) = ("durability", "replicated");

#[test]
fn s11_a_broker_that_was_killed_leaves_in_memory_topics_by_the_entry_that_registers_it() {
    let mut world = World::new(3);
    let (memory, disk) = (world.topic(&[1, 2, 3], &[IN_MEMORY]), world.topic(&[1, 2, 3], &[]));
    let single = world.topic(&[1], &[]);
    let entries = world.log.len();
    world.start(node(1), 1, false).unwrap();
    assert_eq!(world.log.len(), entries + 1);
    let partition = world.partition(memory);
    assert_eq!((partition.leader, &*partition.in_sync), (node(2), &*nodes(&[2, 3])));
    assert_eq!(*partition.uncertain, [Uncertain { node: node(1), end: None }]);
    assert_eq!(*world.partition(disk).in_sync, *nodes(&[2, 3]));
    assert_eq!(*world.partition(single).in_sync, [node(1)], "it has on disk all that was acknowledged");
    world.ready(node(1));
    assert_eq!(world.partition(single).leader, node(1));
}

#[test]
fn s11_a_clean_mark_counts_only_for_the_start_that_was_registered_last() {
    let mut world = World::new(2);
    let id = world.topic(&[1], &[IN_MEMORY]);
    let before = world.broker(node(1)).boot;
    world.start(node(1), 1, true).unwrap();
    assert_eq!(*world.partition(id).in_sync, [node(1)]);
    let mut registration = world.registration(node(1), 1, false);
    registration.clean = Some(before);
    world.command(&Command::RegisterBroker(registration)).unwrap();
    assert!(world.partition(id).in_sync.is_empty(), "the mark is of the start before");
}

#[test]
fn s11_when_all_were_killed_the_one_with_most_leads_after_all_have_looked() {
    let mut world = World::new(3);
    let id = world.topic(&[1, 2, 3], &[IN_MEMORY]);
    for id in 1..=3 {
        world.start(node(id), id as u64, false).unwrap();
    }
    let partition = world.partition(id);
    assert_eq!((partition.in_sync.len(), partition.uncertain.len(), partition.leader), (0, 3, NOBODY));
    let report = |world: &World, by: i32, epoch: i32, end: i64| Command::ReportEnds {
        node: node(by),
        broker_epoch: world.epoch(node(by)),
        ends: vec![(id, LeaderEpoch::new(epoch), Offset::new(end))],
    };
    for (by, epoch, end) in [(1, 4, 90), (2, 5, 70)] {
        let command = report(&world, by, epoch, end);
        assert_eq!(world.elections(&command).elected, 0);
        assert_eq!(world.ready(node(by)).recovered, []);
    }
    world.ready(node(3));
    let command = report(&world, 3, 5, 60);
    let elections = world.elections(&command);
    assert_eq!((elections.recovered, elections.unclean), (vec![id], vec![]));
    let partition = world.partition(id);
    assert_eq!(
        (partition.leader, &*partition.in_sync, partition.uncertain.len()),
        (node(2), &[node(2)][..], 0)
    );
}

#[test]
fn s11_who_is_killed_again_has_to_look_again() {
    let mut world = World::new(2);
    let id = world.topic(&[1, 2], &[IN_MEMORY]);
    for by in [1, 2] {
        world.start(node(by), by as u64, false).unwrap();
    }
    let found = |world: &World, by: i32| Command::ReportEnds {
        node: node(by),
        broker_epoch: world.epoch(node(by)),
        ends: vec![(id, LeaderEpoch::new(0), Offset::new(i64::from(by)))],
    };
    let command = found(&world, 2);
    world.elections(&command);
    world.start(node(2), 2, false).unwrap();
    world.ready(node(1));
    world.ready(node(2));
    let command = found(&world, 1);
    assert_eq!(world.elections(&command).elected, 0);
    let command = found(&world, 2);
    assert_eq!(world.elections(&command).recovered, [id]);
    assert_eq!(world.partition(id).leader, node(2));
}

#[test]
fn s11_a_topic_that_comes_to_allow_unclean_leaders_gets_one_at_once_and_says_so() {
    let mut world = World::new(3);
    let id = world.topic(&[1, 2, 3], &[IN_MEMORY]);
    for by in 1..=2 {
        world.start(node(by), by as u64, false).unwrap();
    }
    world.down(node(3));
    for by in 1..=2 {
        world.ready(node(by));
    }
    assert_eq!(world.partition(id).waits_for(), [node(3)], "the last of the set has not come back");
    let owner = ConfigOwner::Topic(world.image.topic(id.topic).unwrap().name.to_string());
    let set = |value: &str| Command::AlterConfigs {
        owner: owner.clone(),
        changes: vec![ConfigChange::set("unclean.leader.election.enable", value)],
        validate_only: false,
    };
    let elections = world.elections(&set("true"));
    assert_eq!((elections.elected, elections.unclean), (1, vec![id]));
    let partition = world.partition(id);
    assert_eq!((partition.leader, partition.waits_for()), (node(1), vec![]));
    assert_eq!(world.command(&set("false")).unwrap(), CommandAnswer::Done);
    assert_eq!(world.command(&set("true")).unwrap(), CommandAnswer::Done, "who leads is left alone");
}

#[test]
fn s11_a_topic_that_becomes_disk_keeps_its_doubts_until_its_leader_says_that_all_have_flushed() {
    let mut world = World::new(2);
    let id = world.topic(&[1, 2], &[IN_MEMORY]);
    let owner = ConfigOwner::Topic(world.image.topic(id.topic).unwrap().name.to_string());
    let becomes = |world: &mut World, durability: &str| {
        let changes = vec![ConfigChange::set("durability", durability)];
        let command = Command::AlterConfigs { owner: owner.clone(), changes, validate_only: false };
        world.command(&command).unwrap();
    };
    let late = change(&world, id, &[1, 2]);
    becomes(&mut world, "disk");
    assert!(!world.image.is_on_disk(id), "what was acknowledged before is in memory");
    assert!(
        world.command(&Command::AlterInSyncOnDisk(late)).is_err(),
        "that was said of the topic as it was before"
    );
    world.start(node(2), 2, false).unwrap();
    let partition = world.partition(id);
    assert_eq!(
        (&*partition.in_sync, partition.uncertain.len()),
        (&[node(1)][..], 1),
        "it may have lost its end"
    );

    world.ready(node(2));
    alter(&mut world, id, &[1, 2]).unwrap();
    assert!(!world.image.is_on_disk(id), "a set alone says nothing about disks");
    let all_have = change(&world, id, &[1, 2]);
    world.command(&Command::AlterInSyncOnDisk(all_have)).unwrap();
    assert!(world.image.is_on_disk(id));
    world.start(node(2), 2, false).unwrap();
    let partition = world.partition(id);
    assert_eq!(
        (&*partition.in_sync, partition.uncertain.len()),
        (&[node(1)][..], 0),
        "it has all that was acknowledged"
    );

    becomes(&mut world, "replicated");
    assert!(!world.image.is_on_disk(id));
    world.command(&Command::DeleteTopic(TopicRef::Id(id.topic))).unwrap();
    assert_eq!(world.replayed(), world.image);
}

#[test]
fn s11_what_the_only_replica_has_after_a_kill_is_all_there_is_and_it_leads_with_that() {
    let mut world = World::new(1);
    let id = world.topic(&[1], &[IN_MEMORY]);
    let led = world.partition(id).leader_epoch;
    world.start(node(1), 1, false).unwrap();
    let (node_id, broker_epoch) = (node(1), world.broker(node(1)).epoch);
    world.command(&Command::BrokerReady { node: node_id, broker_epoch }).unwrap();
    let partition = world.partition(id);
    assert_eq!((partition.leader, &*partition.in_sync), (node(1), &[node(1)][..]));
    assert!(partition.uncertain.is_empty() && partition.leader_epoch > led);
}
