//! From one protocol to the other with members at work.

use bytes::Bytes;

use super::world::{Joining, World, nobody, topic_named};
use crate::{
    actors::group_coordinator::consumer_protocol::{
        self, PartitionsByName, Subscription, TopicPartitions as Owned,
    },
    model::PartitionIndex,
    wire::{
        ErrorCode, Str,
        api::consumer_group_heartbeat::{
            ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
        },
    },
};

fn world() -> World {
    let mut world = World::new();
    world.set_topics(&[("t", 4)]);
    world
}

fn metadata(owned: &[i32], generation_id: i32) -> Bytes {
    let partitions = owned.iter().copied().map(PartitionIndex::new).collect();
    consumer_protocol::encode_subscription(&Subscription {
        topics: vec!["t".into()],
        owned_partitions: vec![Owned { topic: "t".into(), partitions }],
        generation_id,
        ..Subscription::default()
    })
    .unwrap()
}

fn classic(member: &Str, owned: &[i32], generation: i32) -> Joining {
    let protocols = vec![("cooperative-sticky".into(), metadata(owned, generation))];
    Joining { member: member.clone(), protocols, ..nobody() }
}

fn share(indexes: &[i32]) -> Bytes {
    let indexes = indexes.iter().copied().map(PartitionIndex::new).collect();
    consumer_protocol::encode_assignment(&PartitionsByName::from([("t".into(), indexes)]), None).unwrap()
}

fn shown(assignment: &Bytes) -> Vec<i32> {
    let assignment = consumer_protocol::assignment(assignment).unwrap();
    assignment.partitions().values().flatten().map(|index| index.get()).collect()
}

/// One classic member that owns all of `t`.
#[track_caller]
fn one_classic(world: &mut World) -> (Str, i32) {
    let a = world.invite_with(classic(&Str::default(), &[], -1));
    let ticket = world.join(classic(&a, &[], -1));
    let generation = world.joined(ticket).generation_id;
    let ticket = world.sync_with(&a, generation, vec![(a.clone(), share(&[0, 1, 2, 3]))]);
    assert_eq!(shown(&world.synced(ticket).assignment), [0, 1, 2, 3]);
    (a, generation)
}

fn beat(world: &mut World, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
    let version = std::mem::replace(&mut world.version, 1);
    let answer = world.beat(request);
    world.version = version;
    answer
}

fn joining(member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        member_id: member.into(),
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

fn owning(member: &str, epoch: i32, owned: &[i32]) -> ConsumerGroupHeartbeatRequest {
    let partitions: Vec<_> = owned.iter().copied().map(PartitionIndex::new).collect();
    let topics = if partitions.is_empty() {
        Vec::new()
    } else {
        vec![TopicPartitions { topic_id: topic_named("t"), partitions }]
    };
    ConsumerGroupHeartbeatRequest {
        member_id: member.into(),
        member_epoch: epoch,
        topic_partitions: Some(topics),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

fn given(answer: &ConsumerGroupHeartbeatResponse) -> Option<Vec<i32>> {
    let assignment = answer.assignment.as_ref()?;
    Some(assignment.topic_partitions.iter().flat_map(|of| &of.partitions).map(|index| index.get()).collect())
}

#[test]
fn a_classic_group_changes_over_member_by_member_and_nobody_stops() {
    let mut world = world();
    let (a, generation) = one_classic(&mut world);
    assert_eq!(world.commit(&a, generation, 3), ErrorCode::None);
    // The first of the other protocol.
    let b = beat(&mut world, joining("b"));
    assert_eq!((b.error_code, given(&b)), (ErrorCode::None, Some(vec![])), "all is a's yet");
    let epoch = b.member_epoch;
    assert_eq!(epoch, generation + 1);
    assert_eq!(world.commit(&a, generation, 4), ErrorCode::None, "a is where it was");
    assert_eq!(world.heartbeat(&a, generation), ErrorCode::RebalanceInProgress);
    // It joins with what it owns and hears what it may keep.
    let ticket = world.join(classic(&a, &[0, 1, 2, 3], generation));
    let joined = world.joined(ticket);
    assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::None, generation));
    assert!(joined.members.is_empty(), "it does not lead");
    let ticket = world.sync_with(&a, generation, Vec::new());
    assert_eq!(shown(&world.synced(ticket).assignment), [0, 1]);
    assert_eq!(given(&beat(&mut world, owning("b", epoch, &[]))), None, "not given back yet");
    // It has given back, and says so.
    let ticket = world.join(classic(&a, &[0, 1], generation));
    assert_eq!(world.joined(ticket).generation_id, epoch);
    let ticket = world.sync_with(&a, epoch, Vec::new());
    assert_eq!(shown(&world.synced(ticket).assignment), [0, 1]);
    assert_eq!(given(&beat(&mut world, owning("b", epoch, &[]))), Some(vec![2, 3]));
    assert_eq!(world.heartbeat(&a, epoch), ErrorCode::None);
    assert_eq!(world.describe_consumer().members.len(), 2);
    // A crash on the way changes nothing.
    world.crash();
    assert_eq!(world.heartbeat(&a, epoch), ErrorCode::None);
    assert_eq!(world.committed(), Some(4));
    // The classic member goes, and the rest is b's.
    assert_eq!(world.leave(&a, None), ErrorCode::None);
    assert_eq!(given(&beat(&mut world, owning("b", epoch, &[2, 3]))), Some(vec![0, 1, 2, 3]));
}

#[test]
fn a_group_goes_back_when_the_last_member_of_the_new_protocol_leaves() {
    let mut world = world();
    let (a, generation) = one_classic(&mut world);
    let epoch = beat(&mut world, joining("b")).member_epoch;
    let left =
        beat(&mut world, ConsumerGroupHeartbeatRequest { topic_partitions: None, ..owning("b", -1, &[]) });
    assert_eq!(left.error_code, ErrorCode::None);
    assert_eq!(world.state(), "PreparingRebalance");
    world.crash();
    assert_eq!(world.state(), "Stable");
    assert!(world.heartbeat(&a, generation) != ErrorCode::UnknownMemberId);
    let ticket = world.join(Joining { member: a.clone(), ..classic(&a, &[0, 1, 2, 3], generation) });
    let joined = world.joined(ticket);
    assert!(joined.generation_id > epoch, "numbers go on");
    assert_eq!(joined.leader, a);
}

#[test]
fn an_empty_group_is_of_whoever_comes() {
    let mut world = world();
    let (a, generation) = one_classic(&mut world);
    world.commit(&a, generation, 7);
    world.leave(&a, None);
    let b = beat(&mut world, joining("b"));
    assert_eq!(given(&b), Some(vec![0, 1, 2, 3]));
    assert_eq!(world.committed(), Some(7));
    beat(&mut world, ConsumerGroupHeartbeatRequest { topic_partitions: None, ..owning("b", -1, &[]) });
    let (_, generation) = one_classic(&mut world);
    assert!(generation > b.member_epoch);
    assert_eq!(world.committed(), Some(7));
    world.crash();
    assert_eq!(world.committed(), Some(7));
    assert_eq!(world.state(), "Stable");
}

#[test]
fn members_that_are_no_consumers_keep_their_group() {
    let mut world = world();
    let a = world.invite();
    world.join(super::world::as_member(&a));
    let refused = beat(&mut world, joining("b"));
    assert_eq!(refused.error_code, ErrorCode::GroupIdNotFound, "{refused:?}");
    assert_eq!(world.state(), "CompletingRebalance");
}
