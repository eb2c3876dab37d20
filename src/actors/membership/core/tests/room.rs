//! Brokers that say how many replicas they can keep.

use super::{
    cluster::create,
    world::{World, node},
};
use crate::{
    actors::membership::core::{Command, Refusal},
    model::NodeId,
};

fn tell(world: &mut World, node: NodeId, max: u32) {
    let broker_epoch = world.epoch(node);
    world.command(&Command::TellReplicasMax { node, broker_epoch, max }).unwrap();
}

/// How many replicas each of three brokers has.
fn kept(world: &World) -> [usize; 3] {
    [1, 2, 3].map(|id| {
        let keeps = |replicas: &[NodeId]| replicas.contains(&node(id));
        world.image.partitions().filter(|(_, _, partition)| keeps(&partition.replicas)).count()
    })
}

#[test]
fn replicas_go_where_there_is_room_and_are_refused_where_there_is_none() {
    let mut world = World::new(3);
    tell(&mut world, node(2), 4);
    tell(&mut world, node(3), 2);
    let refused = world.command(&create("first", 3, 3)).unwrap_err();
    assert_eq!(refused, Refusal::TooManyReplicas { node: node(3), existing: 0, asked: 3, max: 2 });
    world.command(&create("first", 2, 3)).unwrap();
    assert_eq!(kept(&world), [2, 2, 2]);
    world.command(&create("second", 2, 2)).unwrap();
    assert_eq!(kept(&world), [4, 4, 2], "none for whom it would be one too many");
    world.command(&create("third", 9, 1)).unwrap();
    assert_eq!(kept(&world), [13, 4, 2]);
    let refused = world.command(&create("fourth", 1, 2)).unwrap_err();
    assert_eq!(refused, Refusal::TooManyReplicas { node: node(3), existing: 2, asked: 1, max: 2 });
    let more = Command::CreatePartitions { name: "first".into(), count: 3, validate_only: true };
    let refused = world.command(&more).unwrap_err();
    assert_eq!(refused, Refusal::TooManyReplicas { node: node(2), existing: 4, asked: 1, max: 4 });
    tell(&mut world, node(3), 3);
    world.command(&create("fourth", 1, 2)).unwrap();
    assert_eq!(kept(&world), [14, 4, 3]);
    assert_eq!(world.replayed(), world.image);
}

#[test]
fn who_has_room_and_is_away_does_not_lead_instead_of_who_is_there_and_full() {
    let mut world = World::new(2);
    tell(&mut world, node(1), 1);
    world.down(node(2));
    world.command(&create("first", 1, 1)).unwrap();
    let refused = world.command(&create("second", 1, 1)).unwrap_err();
    assert_eq!(refused, Refusal::TooManyReplicas { node: node(1), existing: 1, asked: 1, max: 1 });
}

#[test]
fn what_a_start_has_said_does_not_count_for_the_next_one() {
    let mut world = World::new(2);
    tell(&mut world, node(2), 5);
    assert_eq!(world.image.replicas_max(node(2)), Some(5));
    let (entries, old) = (world.log.len(), world.epoch(node(2)));
    tell(&mut world, node(2), 5);
    assert_eq!(world.log.len(), entries, "it is known");
    world.start(node(2), 2, true).unwrap();
    assert_eq!(world.image.replicas_max(node(2)), None);
    let late = Command::TellReplicasMax { node: node(2), broker_epoch: old, max: 5 };
    assert!(matches!(world.command(&late), Err(Refusal::StaleBrokerEpoch { .. })));
}

#[test]
fn in_a_cluster_of_an_earlier_level_nothing_is_written_that_its_members_cannot_read() {
    let mut world = World::new(2);
    world.image.feature_level = 2;
    let entries = world.log.len();
    tell(&mut world, node(2), 5);
    assert_eq!((world.log.len(), world.image.replicas_max(node(2))), (entries, None));
}
