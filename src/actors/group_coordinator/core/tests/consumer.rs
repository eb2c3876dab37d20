//! Groups whose partitions the coordinator assigns.

use std::time::Duration;

use super::world::{CONSUMER_SESSION, World, topic_named};
use crate::{
    model::PartitionIndex,
    wire::{
        ErrorCode, Str,
        api::consumer_group_heartbeat::{
            ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
        },
    },
};

const REBALANCE_MS: i32 = 30_000;
const ALMOST_A_SESSION: Duration = Duration::from_secs(44);

/// Partitions of the topic `t`.
fn of_t(indexes: &[i32]) -> Vec<TopicPartitions> {
    if indexes.is_empty() {
        return Vec::new();
    }
    let partitions = indexes.iter().copied().map(PartitionIndex::new).collect();
    vec![TopicPartitions { topic_id: topic_named("t"), partitions }]
}

fn joining(member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        member_id: member.into(),
        rebalance_timeout_ms: REBALANCE_MS,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

fn as_static(member: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { instance_id: Some("i".into()), ..joining(member) }
}

/// A heartbeat that says nothing new.
fn living(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        member_id: member.into(),
        member_epoch: epoch,
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

fn owning(member: &str, epoch: i32, owned: &[i32]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { topic_partitions: Some(of_t(owned)), ..living(member, epoch) }
}

fn world() -> World {
    let mut world = World::new();
    world.version = 1;
    world.set_topics(&[("t", 4)]);
    world
}

/// The partitions of `t` that an answer gives; `None`: nothing new.
fn given(answer: &ConsumerGroupHeartbeatResponse) -> Option<Vec<i32>> {
    let assignment = answer.assignment.as_ref()?;
    let indexes = assignment.topic_partitions.iter().flat_map(|topic| &topic.partitions);
    Some(indexes.map(|index| index.get()).collect())
}

#[track_caller]
fn is_given(answer: &ConsumerGroupHeartbeatResponse, epoch: i32, indexes: &[i32]) {
    assert_eq!((answer.error_code, answer.member_epoch), (ErrorCode::None, epoch), "{answer:?}");
    assert_eq!(given(answer).as_deref(), Some(indexes));
}

#[track_caller]
fn is_unchanged(answer: &ConsumerGroupHeartbeatResponse, epoch: i32) {
    assert_eq!((answer.error_code, answer.member_epoch), (ErrorCode::None, epoch), "{answer:?}");
    assert_eq!(given(answer), None);
}

#[test]
fn a_member_gets_all_gives_back_for_another_and_gets_all_again() {
    let mut world = world();
    is_given(&world.beat(joining("a")), 1, &[0, 1, 2, 3]);
    assert_eq!(world.describe_consumer().group_state, "Stable");
    // What the other is to get is still a's.
    is_given(&world.beat(joining("b")), 2, &[]);
    assert_eq!(world.describe_consumer().group_state, "Reconciling");
    let answer = world.beat(owning("a", 1, &[0, 1, 2, 3]));
    is_given(&answer, 1, &[0, 1]);
    is_unchanged(&world.beat(living("b", 2)), 2);
    // The epoch is the target's only now.
    is_unchanged(&world.beat(owning("a", 1, &[0, 1])), 2);
    is_given(&world.beat(living("b", 2)), 2, &[2, 3]);
    assert_eq!(world.describe_consumer().group_state, "Stable");
    let left = world.beat(living("b", -1));
    assert_eq!((left.error_code, left.member_epoch), (ErrorCode::None, -1));
    is_given(&world.beat(living("a", 2)), 3, &[0, 1, 2, 3]);
}

#[test]
fn s21_a_partition_that_is_not_given_back_in_time_is_taken_with_its_owner() {
    let mut world = world();
    world.beat(joining("a"));
    world.beat(joining("b"));
    world.beat(owning("a", 1, &[0, 1, 2, 3]));
    let half = Duration::from_millis(REBALANCE_MS as u64 / 2);
    world.pass(half);
    world.beat(owning("a", 1, &[0, 1, 2, 3]));
    is_unchanged(&world.beat(living("b", 2)), 2);
    world.pass(half + Duration::from_millis(1));
    assert_eq!(world.beat(owning("a", 1, &[0, 1, 2, 3])).error_code, ErrorCode::UnknownMemberId);
    is_given(&world.beat(living("b", 2)), 3, &[0, 1, 2, 3]);
}

#[test]
fn a_silent_member_is_given_up_after_its_session() {
    let mut world = world();
    world.beat(joining("a"));
    world.beat(joining("b"));
    world.beat(owning("a", 1, &[0, 1]));
    world.pass(ALMOST_A_SESSION);
    world.beat(living("b", 2));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.coordinator.take_counts().lost_members, 1);
    is_given(&world.beat(living("b", 2)), 3, &[0, 1, 2, 3]);
    assert_eq!(world.commit("a", 1, 5), ErrorCode::UnknownMemberId);
}

#[test]
fn a_member_whose_answer_was_lost_says_the_same_again() {
    let mut world = world();
    world.beat(joining("a"));
    world.beat(joining("b"));
    world.beat(owning("a", 1, &[0, 1]));
    // Nobody has heard that a is at 2 now; what it owns tells that it is not one of the past.
    is_unchanged(&world.beat(owning("a", 1, &[0, 1])), 2);
    let of_the_past = world.beat(owning("a", 1, &[0, 1, 2, 3]));
    assert_eq!(of_the_past.error_code, ErrorCode::FencedMemberEpoch);
    assert_eq!(world.beat(living("a", 1)).error_code, ErrorCode::FencedMemberEpoch);
    assert_eq!(world.beat(living("a", 7)).error_code, ErrorCode::FencedMemberEpoch);
    // One that is fenced joins again with the id that it has.
    is_given(&world.beat(joining("a")), 2, &[0, 1]);
}

#[test]
fn s21_a_commit_counts_only_with_the_epoch_that_the_member_is_at() {
    let mut world = world();
    world.beat(joining("a"));
    world.version = 9;
    assert_eq!(world.commit("a", 1, 5), ErrorCode::None);
    assert_eq!(world.commit("a", 0, 6), ErrorCode::StaleMemberEpoch);
    assert_eq!(world.commit("b", 1, 6), ErrorCode::UnknownMemberId);
    assert_eq!(world.commit("", -1, 6), ErrorCode::UnknownMemberId);
    world.version = 8;
    assert_eq!(world.commit("a", 1, 6), ErrorCode::UnsupportedVersion);
    assert_eq!(world.committed(), Some(5));
}

#[test]
fn a_static_member_that_is_back_in_time_has_what_it_had_and_nobody_else_notices() {
    let mut world = world();
    world.beat(as_static("a"));
    world.beat(joining("b"));
    world.beat(owning("a", 1, &[0, 1, 2, 3]));
    world.beat(owning("a", 1, &[0, 1]));
    is_given(&world.beat(living("b", 2)), 2, &[2, 3]);
    let other = world.beat(as_static("c"));
    assert_eq!(other.error_code, ErrorCode::UnreleasedInstanceId);
    let away = ConsumerGroupHeartbeatRequest { instance_id: Some("i".into()), ..living("a", -2) };
    assert_eq!(world.beat(away).member_epoch, -2);
    is_unchanged(&world.beat(living("b", 2)), 2);
    is_given(&world.beat(as_static("c")), 2, &[0, 1]);
    is_unchanged(&world.beat(living("b", 2)), 2);
    let former = ConsumerGroupHeartbeatRequest { instance_id: Some("i".into()), ..living("a", 2) };
    assert_eq!(world.beat(former).error_code, ErrorCode::FencedInstanceId);
    assert_eq!(world.beat(living("a", 2)).error_code, ErrorCode::UnknownMemberId);
}

#[test]
fn a_static_member_that_stays_away_is_replaced_after_its_session() {
    let mut world = world();
    world.beat(as_static("a"));
    world.beat(ConsumerGroupHeartbeatRequest { instance_id: Some("i".into()), ..living("a", -2) });
    world.beat(joining("b"));
    is_unchanged(&world.beat(living("b", 2)), 2);
    world.pass(ALMOST_A_SESSION);
    world.beat(living("b", 2));
    world.pass(Duration::from_secs(2));
    is_given(&world.beat(living("b", 2)), 3, &[0, 1, 2, 3]);
}

#[test]
fn s20_a_successor_knows_what_was_answered_and_the_members_go_on() {
    let mut world = world();
    world.beat(joining("a"));
    world.beat(joining("b"));
    world.beat(owning("a", 1, &[0, 1, 2, 3]));
    let before = world.describe_consumer();
    let written = world.log.len();
    world.crash();
    assert_eq!(world.describe_consumer(), before);
    assert_eq!(world.log.len(), written, "nothing has changed");
    is_unchanged(&world.beat(owning("a", 1, &[0, 1])), 2);
    is_given(&world.beat(living("b", 2)), 2, &[2, 3]);
    world.crash();
    // Those that are silent from then on are given up.
    world.pass(CONSUMER_SESSION + Duration::from_millis(1));
    assert_eq!(world.beat(living("a", 2)).error_code, ErrorCode::UnknownMemberId);
    world.crash();
    assert_eq!(world.describe_consumer().group_state, "Empty");
}

#[test]
fn members_follow_their_topics() {
    let mut world = world();
    world.beat(joining("a"));
    world.set_topics(&[("t", 6)]);
    is_given(&world.beat(living("a", 1)), 2, &[0, 1, 2, 3, 4, 5]);
    world.set_topics(&[("t", 6), ("other", 3)]);
    is_unchanged(&world.beat(living("a", 2)), 2);
    let by_pattern = ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: Some(Vec::new()),
        subscribed_topic_regex: Some("t|o.*".into()),
        ..living("a", 2)
    };
    let answer = world.beat(by_pattern);
    assert_eq!(given(&answer).map(|all| all.len()), Some(9));
    // `t` is deleted: it has to be given back.
    world.set_topics(&[("other", 3)]);
    let answer = world.beat(living("a", 3));
    assert_eq!(given(&answer), Some(vec![0, 1, 2]));
    let owned = vec![TopicPartitions {
        topic_id: topic_named("other"),
        partitions: (0..3).map(PartitionIndex::new).collect(),
    }];
    let has_given = ConsumerGroupHeartbeatRequest { topic_partitions: Some(owned), ..living("a", 3) };
    is_unchanged(&world.beat(has_given), 4);
}

#[test]
fn members_choose_the_assignor_by_vote() {
    let mut world = world();
    let with = |member: &str, assignor: &'static str| ConsumerGroupHeartbeatRequest {
        server_assignor: Some(assignor.into()),
        ..joining(member)
    };
    is_given(&world.beat(with("a", "exclusive")), 1, &[0]);
    world.beat(with("b", "exclusive"));
    assert_eq!(world.describe_consumer().assignor_name, "exclusive");
    is_given(&world.beat(with("c", "range")), 3, &[2]);
    let unknown = world.beat(with("d", "fastest"));
    assert_eq!(unknown.error_code, ErrorCode::UnsupportedAssignor);
    assert!(unknown.error_message.unwrap().contains("uniform, range, exclusive"));
    // A standby takes over when an owner goes.
    world.set_topics(&[("t", 2)]);
    is_given(&world.beat(owning("c", 3, &[2])), 3, &[]);
    is_unchanged(&world.beat(owning("c", 3, &[])), 4);
    world.beat(living("a", -1));
    is_given(&world.beat(living("c", 4)), 5, &[0]);
}

#[test]
fn what_is_no_heartbeat_is_refused_with_a_reason() {
    let mut world = world();
    let refused = |world: &mut World, request, code| {
        let answer = world.beat(request);
        assert_eq!(answer.error_code, code);
        assert!(answer.error_message.is_some_and(|why| !why.is_empty()));
    };
    let invalid = ErrorCode::InvalidRequest;
    refused(&mut world, joining(""), invalid);
    refused(&mut world, ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..joining("a") }, invalid);
    refused(&mut world, ConsumerGroupHeartbeatRequest { topic_partitions: None, ..joining("a") }, invalid);
    let owns = ConsumerGroupHeartbeatRequest { topic_partitions: Some(of_t(&[1])), ..joining("a") };
    refused(&mut world, owns, invalid);
    let wants_nothing = ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..joining("a") };
    refused(&mut world, wants_nothing, invalid);
    refused(&mut world, living("a", -2), invalid);
    refused(&mut world, living("a", -3), invalid);
    let blank = ConsumerGroupHeartbeatRequest { instance_id: Some(Str::default()), ..joining("a") };
    refused(&mut world, blank, invalid);
    let pattern = ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("t(".into()), ..joining("a") };
    refused(&mut world, pattern, ErrorCode::InvalidRegularExpression);
    refused(&mut world, living("a", 3), ErrorCode::UnknownMemberId);
    assert!(world.log.is_empty(), "nothing of it was kept");
}

#[test]
fn an_empty_group_is_forgotten_with_its_offsets_and_not_before() {
    let mut world = world();
    world.beat(joining("a"));
    world.version = 9;
    world.commit("a", 1, 5);
    assert_eq!(world.delete(), ErrorCode::NonEmptyGroup);
    world.beat(living("a", -1));
    let retention = crate::config::node::GroupSettings::default().offsets_retention;
    world.pass(retention.saturating_sub(Duration::from_secs(1)));
    world.crash();
    world.sweep();
    assert_eq!(world.committed(), Some(5));
    world.pass(Duration::from_secs(1));
    world.sweep();
    assert_eq!(world.committed(), None);
    world.crash();
    assert_eq!(world.coordinator.sizes().groups, 0, "all of it was taken back");
}
