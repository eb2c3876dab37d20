mod attempts;
mod consumer;
mod consumers;
mod exclusive;
mod migration;
mod owners;
mod random_consumers;
mod survey;
mod world;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use self::world::{Joining, SESSION, World, as_member, as_static, nobody, topic};
use super::{Answer, ListFilter, Partitions, Request};
use crate::{
    clock::{Clock, GuardedClock, ManualClock},
    config::node::GroupSettings,
    model::{PartitionIndex, TimestampMs, TopicId},
    wire::{
        ErrorCode, Str,
        api::join_group::{JoinGroupRequest, JoinGroupRequestProtocol},
    },
};

#[test]
fn a_member_joins_gets_its_share_commits_and_leaves() {
    let mut world = World::new();
    let a = world.invite();
    let joining = world.join(as_member(&a));
    let joined = world.joined(joining);
    assert_eq!((joined.error_code, joined.generation_id, &joined.leader), (ErrorCode::None, 1, &a));
    assert_eq!(joined.protocol_name.as_deref(), Some("range"));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.members[0].metadata, "sub");
    assert_eq!(world.state(), "CompletingRebalance");
    assert_eq!(world.commit(&a, 1, 5), ErrorCode::RebalanceInProgress);
    let syncing = world.sync(&a, 1, &[(&a, "all")]);
    assert_eq!(world.synced(syncing).assignment, "all");
    assert_eq!(world.state(), "Stable");
    assert_eq!(world.heartbeat(&a, 1), ErrorCode::None);
    assert_eq!(world.commit(&a, 1, 5), ErrorCode::None);
    assert_eq!(world.committed(), Some(5));
    assert_eq!(world.leave(&a, None), ErrorCode::None);
    assert_eq!(world.state(), "Empty");
    assert_eq!(world.committed(), Some(5));
}

#[test]
fn a_join_of_an_old_client_needs_no_id_and_one_of_a_new_client_does() {
    let mut world = World::new();
    world.version = 3;
    let joining = world.join(nobody());
    let joined = world.joined(joining);
    assert_eq!(joined.error_code, ErrorCode::None);
    assert!(joined.member_id.starts_with("client-"));
    world.version = 4;
    let joining = world.join(nobody());
    assert_eq!(world.joined(joining).error_code, ErrorCode::MemberIdRequired);
}

#[test]
fn the_first_members_of_a_group_are_waited_for() {
    let delay = Duration::from_secs(3);
    let mut world = World::with(GroupSettings { initial_rebalance_delay: delay, ..GroupSettings::default() });
    let a = world.invite();
    let first = world.join(as_member(&a));
    world.pass(delay / 2);
    let b = world.invite();
    let second = world.join(as_member(&b));
    world.pass(delay / 2 + Duration::from_millis(1));
    assert!(world.answers.is_empty(), "prolonged, since somebody came");
    world.pass(delay);
    let (a, b) = (world.joined(first), world.joined(second));
    assert_eq!((a.generation_id, b.generation_id), (1, 1));
    assert_eq!(a.members.len() + b.members.len(), 2, "one of them leads and knows both");
}

#[test]
fn an_id_that_nobody_joins_with_holds_nobody_up_for_longer_than_a_session() {
    let mut world = World::new();
    let (a, _absent) = (world.invite(), world.invite());
    let joining = world.join(as_member(&a));
    assert!(world.answers.is_empty(), "the other one has been given an id");
    world.pass(SESSION + Duration::from_millis(1));
    assert_eq!(world.joined(joining).generation_id, 1);
}

#[test]
fn when_another_joins_everybody_hears_of_it_and_joins_again() {
    let mut world = World::new();
    let (a, b, generation) = world.two_settled();
    let c = world.invite();
    let third = world.join(as_member(&c));
    assert_eq!(world.heartbeat(&a, generation), ErrorCode::RebalanceInProgress);
    // What was consumed may still be committed.
    assert_eq!(world.commit(&a, generation, 9), ErrorCode::None);
    let (first, second) = (world.join(as_member(&a)), world.join(as_member(&b)));
    let next = generation + 1;
    for joining in [first, second, third] {
        assert_eq!(world.joined(joining).generation_id, next);
    }
    assert_eq!(world.commit(&a, generation, 10), ErrorCode::IllegalGeneration);
    assert_eq!(world.heartbeat(&b, generation), ErrorCode::IllegalGeneration);
}

#[test]
fn a_member_that_does_not_join_again_in_time_is_given_up() {
    let mut world = World::new();
    let (a, b, generation) = world.two_settled();
    let c = world.invite();
    let third = world.join(as_member(&c));
    let first = world.join(as_member(&a));
    // It lives and does not join.
    for _ in 0..7 {
        world.pass(Duration::from_secs(4));
        assert_eq!(world.heartbeat(&b, generation), ErrorCode::RebalanceInProgress);
    }
    assert!(world.answers.is_empty());
    world.pass(Duration::from_secs(3));
    assert_eq!(world.joined(first).generation_id, generation + 1);
    assert_eq!(world.joined(third).generation_id, generation + 1);
    assert_eq!(world.heartbeat(&b, generation), ErrorCode::UnknownMemberId);
}

#[test]
fn a_silent_member_is_replaced_after_its_session_and_its_commits_count_no_more() {
    let mut world = World::new();
    let (a, b, generation) = world.two_settled();
    world.pass(SESSION / 2);
    assert_eq!(world.heartbeat(&a, generation), ErrorCode::None);
    world.pass(SESSION / 2 + Duration::from_millis(1));
    assert_eq!(world.heartbeat(&a, generation), ErrorCode::RebalanceInProgress);
    assert_eq!(world.commit(&b, generation, 3), ErrorCode::UnknownMemberId);
    let joining = world.join(as_member(&a));
    let joined = world.joined(joining);
    assert_eq!((joined.generation_id, joined.members.len()), (generation + 1, 1));
}

#[test]
fn a_leader_that_brings_no_assignment_is_given_up() {
    let mut world = World::new();
    let (a, b) = (world.invite(), world.invite());
    let (joining_a, joining_b) = (world.join(as_member(&a)), world.join(as_member(&b)));
    let leader = world.joined(joining_a).leader;
    let generation = world.joined(joining_b).generation_id;
    let other = if leader == a { b } else { a };
    let waiting = world.sync(&other, generation, &[]);
    for _ in 0..8 {
        world.pass(Duration::from_secs(4));
        // It lives, but never assigns.
        world.heartbeat(&leader, generation);
    }
    assert_eq!(world.synced(waiting).error_code, ErrorCode::RebalanceInProgress);
    assert_eq!(world.heartbeat(&leader, generation), ErrorCode::UnknownMemberId);
    let joining = world.join(as_member(&other));
    assert_eq!(world.joined(joining).leader, other);
}

#[test]
fn a_lost_answer_is_given_again_without_a_rebalance() {
    let mut world = World::new();
    let (a, b, generation) = world.two_settled();
    let again = world.join(as_member(&b));
    let joined = world.joined(again);
    assert_eq!(
        (joined.error_code, joined.generation_id, joined.leader),
        (ErrorCode::None, generation, a.clone())
    );
    let again = world.sync(&b, generation, &[]);
    assert_eq!(world.synced(again).assignment, "two");
    assert_eq!(world.state(), "Stable");
    // The leader joins again because it wants a rebalance.
    world.join(as_member(&a));
    assert_eq!(world.state(), "PreparingRebalance");
}

#[test]
fn a_second_join_of_a_member_takes_the_place_of_the_first() {
    let mut world = World::new();
    let (a, b) = (world.invite(), world.invite());
    let first = world.join(as_member(&a));
    let second = world.join(as_member(&a));
    assert_eq!(world.joined(first).error_code, ErrorCode::RebalanceInProgress);
    let other = world.join(as_member(&b));
    assert_eq!(world.joined(second).error_code, ErrorCode::None);
    assert_eq!(world.joined(other).error_code, ErrorCode::None);
}

#[test]
fn members_agree_on_a_protocol_that_all_speak_and_most_like() {
    let mut world = World::new();
    let speaking = |member: &Str, names: &[&'static str]| Joining {
        protocols: names.iter().map(|name| ((*name).into(), Bytes::from_static(name.as_bytes()))).collect(),
        ..as_member(member)
    };
    let (a, b, c) = (world.invite(), world.invite(), world.invite());
    let first = world.join(speaking(&a, &["range", "roundrobin", "sticky"]));
    let second = world.join(speaking(&b, &["sticky", "range"]));
    let third = world.join(speaking(&c, &["roundrobin", "range", "sticky"]));
    for ticket in [first, second, third] {
        let joined = world.joined(ticket);
        assert_eq!(joined.protocol_name.as_deref(), Some("range"));
        assert!(joined.members.iter().all(|member| member.metadata == "range"));
    }
    let d = world.join(Joining { member: Str::default(), ..speaking(&a, &["other"]) });
    assert_eq!(world.joined(d).error_code, ErrorCode::InconsistentGroupProtocol);
}

#[test]
fn a_static_member_that_comes_back_takes_its_place_without_a_rebalance() {
    let mut world = World::new();
    let first = world.join(as_static("i"));
    let old = world.joined(first).member_id;
    assert!(old.starts_with("i-"));
    let syncing = world.sync(&old, 1, &[(&old, "mine")]);
    assert_eq!(world.synced(syncing).assignment, "mine");
    let again = world.join(as_static("i"));
    let joined = world.joined(again);
    assert_eq!((joined.error_code, joined.generation_id), (ErrorCode::None, 1));
    assert!(joined.skip_assignment, "it leads and is to keep the assignment");
    let new = joined.member_id;
    assert_ne!(new, old);
    let syncing = world.sync(&new, 1, &[]);
    assert_eq!(world.synced(syncing).assignment, "mine");
    // Its former self is fenced, whoever it was.
    let fenced = world.join(Joining { member: old.clone(), ..as_static("i") });
    assert_eq!(world.joined(fenced).error_code, ErrorCode::FencedInstanceId);
    assert_eq!(world.leave(&old, Some("i".into())), ErrorCode::FencedInstanceId);
    assert_eq!(world.leave(&Str::default(), Some("i".into())), ErrorCode::None);
    assert_eq!(world.state(), "Empty");
}

#[test]
fn a_static_member_that_leads_and_cannot_be_told_to_keep_the_assignment_is_not_told_that_it_leads() {
    let mut world = World::new();
    world.version = 5;
    let first = world.join(as_static("i"));
    let old = world.joined(first).member_id;
    world.sync(&old, 1, &[(&old, "mine")]);
    let again = world.join(as_static("i"));
    let joined = world.joined(again);
    assert_eq!((joined.leader, joined.members.len()), (old, 0));
}

#[test]
fn a_static_member_keeps_its_share_while_it_is_away_for_less_than_its_session() {
    let mut world = World::new();
    let first = world.join(as_static("i"));
    let id = world.joined(first).member_id;
    world.sync(&id, 1, &[(&id, "mine")]);
    world.pass(SESSION.saturating_sub(Duration::from_millis(1)));
    let again = world.join(as_static("i"));
    let joined = world.joined(again);
    assert_eq!(joined.generation_id, 1);
    world.pass(SESSION + Duration::from_millis(1));
    assert_eq!(world.state(), "Empty");
}

#[test]
fn what_a_client_asks_for_is_bounded() {
    let mut world = World::with(GroupSettings { max_size: 1, ..GroupSettings::default() });
    let _invited = world.invite();
    let refused = world.join(nobody());
    assert_eq!(world.joined(refused).error_code, ErrorCode::GroupMaxSizeReached);
    for session_timeout_ms in [-1, 5_999, 1_800_001] {
        let request =
            JoinGroupRequest { group_id: "h".into(), session_timeout_ms, ..JoinGroupRequest::default() };
        let ticket = world.ask(Request::Join(request));
        assert_eq!(world.joined(ticket).error_code, ErrorCode::InvalidSessionTimeout);
    }
    let note = "x".repeat(4097);
    assert_eq!(world.commit_with("", -1, 1, -1, &note), ErrorCode::OffsetMetadataTooLarge);
    assert_eq!(world.commit_with("", -1, 1, -1, &note[1..]), ErrorCode::None);
    assert_eq!(world.committed_whole().unwrap().metadata.len(), 4096);
}

#[test]
fn nobody_commits_for_a_group_that_has_members() {
    let mut world = World::new();
    assert_eq!(world.commit("", -1, 4), ErrorCode::None, "an administrator, before there are any");
    assert_eq!(world.commit("somebody", 3, 4), ErrorCode::UnknownMemberId);
    let (_, _, _) = world.two_settled();
    assert_eq!(world.commit("", -1, 5), ErrorCode::UnknownMemberId);
    assert_eq!(world.committed(), Some(4));
}

#[test]
fn s21_a_member_commits_nothing_before_it_is_let_into_a_generation() {
    let mut world = World::new();
    let (first, _second) = (world.invite(), world.invite());
    world.join(as_member(&first));
    assert_eq!(world.commit(&first, 0, 5), ErrorCode::IllegalGeneration);
    let mut world = World::new();
    let (a, _b, generation) = world.two_settled();
    let late = world.invite();
    world.join(as_member(&late));
    assert_eq!(world.commit(&late, generation, 5), ErrorCode::IllegalGeneration);
    assert_eq!(world.commit(&a, generation, 7), ErrorCode::None);
    assert_eq!(world.committed(), Some(7));
}

#[test]
fn a_commit_to_an_unknown_group_by_a_member_is_refused() {
    assert_eq!(World::new().commit("m", 1, 4), ErrorCode::IllegalGeneration);
    assert_eq!(World::new().committed(), None);
}

#[test]
fn s20_a_successor_knows_what_was_answered_and_the_members_go_on() {
    let mut world = World::new();
    let (a, b, generation) = world.two_settled();
    assert_eq!(world.commit(&a, generation, 12), ErrorCode::None);
    world.crash();
    assert_eq!(world.committed(), Some(12));
    assert_eq!(world.state(), "Stable");
    assert_eq!(world.heartbeat(&a, generation), ErrorCode::None);
    assert_eq!(world.commit(&b, generation, 13), ErrorCode::None);
    let again = world.sync(&b, generation, &[]);
    assert_eq!(world.synced(again).assignment, "two");
    // Their sessions began anew with the successor.
    world.pass(SESSION + Duration::from_millis(1));
    assert_eq!(world.state(), "Empty");
}

#[test]
fn s21_a_generation_that_a_crash_undid_counts_for_nobody() {
    let mut world = World::new();
    let (a, b, generation) = world.two_settled();
    let c = world.invite();
    world.join(as_member(&c));
    let (first, second) = (world.join(as_member(&a)), world.join(as_member(&b)));
    assert_eq!(world.joined(first).generation_id, generation + 1);
    world.joined(second);
    world.crash();
    assert_eq!(world.commit(&c, generation + 1, 1), ErrorCode::UnknownMemberId);
    assert_eq!(world.commit(&a, generation + 1, 1), ErrorCode::IllegalGeneration);
    assert_eq!(world.commit(&a, generation, 1), ErrorCode::None, "the assignment of before holds");
}

#[test]
fn offsets_are_forgotten_only_from_when_the_group_is_empty() {
    let week = GroupSettings::default().offsets_retention;
    let mut world = World::new();
    let (a, b, generation) = world.two_settled();
    assert_eq!(world.commit(&a, generation, 1), ErrorCode::None);
    for _ in 0..20 {
        // Nobody says anything for longer than the retention, but the group is not empty.
        world.now += week / 10;
        world.sweep();
        assert_eq!(world.committed(), Some(1));
    }
    world.leave(&a, None);
    world.leave(&b, None);
    world.now += week.saturating_sub(Duration::from_millis(1));
    world.sweep();
    assert_eq!(world.committed(), Some(1));
    world.crash();
    world.now += Duration::from_millis(1);
    world.sweep();
    assert_eq!(world.committed(), None);
    assert_eq!(world.state(), "Dead");
    world.crash();
    assert_eq!(world.state(), "Dead", "what was forgotten does not come back");
}

#[test]
fn a_wall_clock_that_jumps_makes_no_offset_expire_before_it_has_stood_for_an_hour() {
    let kept = Duration::from_hours(12);
    let mut world = World::with(GroupSettings { offsets_retention: kept, ..GroupSettings::default() });
    let hands = Arc::new(ManualClock::at(TimestampMs::new(1_000_000_000_000)));
    let inner: Arc<dyn Clock> = Arc::<ManualClock>::clone(&hands);
    world.clock = Some(Arc::new(GuardedClock::new(inner)));
    assert_eq!(world.commit("", -1, 8), ErrorCode::None);

    hands.set_wall(hands.wall().later(2 * kept));
    world.sweep();
    assert_eq!(world.committed(), Some(8), "it has just jumped");
    world.crash();
    hands.advance(Duration::from_mins(59));
    world.sweep();
    assert_eq!(world.committed(), Some(8), "it is still doubted, whoever has read the log meanwhile");
    hands.advance(Duration::from_mins(1));
    world.sweep();
    assert_eq!(world.committed(), None, "it has stood");
}

#[test]
fn an_offset_that_a_client_wants_kept_for_a_while_is_kept_for_that_while() {
    let mut world = World::new();
    assert_eq!(world.commit_with("", -1, 8, 60_000, ""), ErrorCode::None);
    world.crash();
    world.now += Duration::from_millis(59_999);
    world.sweep();
    assert_eq!(world.committed(), Some(8));
    world.now += Duration::from_millis(1);
    world.sweep();
    assert_eq!(world.committed(), None);
}

#[test]
fn offsets_of_a_deleted_topic_go_with_it() {
    let mut world = World::new();
    assert_eq!(world.commit("", -1, 8), ErrorCode::None);
    let mut effects = Vec::new();
    world.coordinator.topics_deleted(&[TopicId::random()].into(), &mut effects);
    assert!(effects.is_empty());
    world.coordinator.topics_deleted(&[topic()].into(), &mut effects);
    world.carry_out(effects);
    assert_eq!(world.committed(), None);
    world.crash();
    assert_eq!(world.committed(), None);
}

#[test]
fn a_group_with_members_cannot_be_deleted_and_one_without_is_gone_for_good() {
    let mut world = World::new();
    assert_eq!(world.delete(), ErrorCode::GroupIdNotFound);
    let (a, b, generation) = world.two_settled();
    world.commit(&a, generation, 1);
    assert_eq!(world.delete(), ErrorCode::NonEmptyGroup);
    world.leave(&a, None);
    world.leave(&b, None);
    assert_eq!(world.delete(), ErrorCode::None);
    world.crash();
    assert_eq!(world.committed(), None);
    assert_eq!(world.delete(), ErrorCode::GroupIdNotFound);
}

#[test]
fn offsets_of_topics_that_are_consumed_cannot_be_deleted() {
    let mut world = World::new();
    let delete = |world: &mut World, topic: &'static str| {
        let topics = vec![Partitions { topic: topic.into(), indexes: vec![PartitionIndex::new(0)] }];
        let ticket = world.ask(Request::DeleteOffsets { group: "g".into(), topics });
        match world.answers.remove(&ticket) {
            Some(Answer::DeleteOffsets(outcome)) => outcome.map(|topics| topics[0].1[0].1),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(delete(&mut world, "t"), Err(ErrorCode::GroupIdNotFound));
    world.commit("", -1, 8);
    // Version 1, one topic "u".
    let subscription = Bytes::from_static(b"\0\x01\0\0\0\x01\0\x01u\xff\xff\xff\xff\0\0\0\0");
    let a = world.invite();
    world.join(Joining { protocols: vec![("range".into(), subscription)], ..as_member(&a) });
    assert_eq!(delete(&mut world, "u"), Ok(ErrorCode::GroupSubscribedToTopic));
    assert_eq!(delete(&mut world, "t"), Ok(ErrorCode::None));
    assert_eq!(world.committed(), None);
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut world = World::new();
    let _ = world.two_settled();
    let mut listed = |states: &[&'static str], types: &[&'static str]| {
        let filter = ListFilter {
            states: states.iter().map(|state| (*state).into()).collect(),
            types: types.iter().map(|kind| (*kind).into()).collect(),
        };
        let ticket = world.ask(Request::List(filter));
        match world.answers.remove(&ticket) {
            Some(Answer::List(groups)) => groups.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(listed(&[], &[]), 1);
    assert_eq!(listed(&["stable"], &["Classic"]), 1);
    assert_eq!(listed(&["Empty"], &[]), 0);
    assert_eq!(listed(&[], &["consumer"]), 0);
}

#[test]
fn a_group_of_another_kind_is_not_joined() {
    let mut world = World::new();
    let _ = world.two_settled();
    let ticket = world.ask(Request::Join(JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        protocol_type: "connect".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata: Bytes::new() }],
        ..JoinGroupRequest::default()
    }));
    assert_eq!(world.joined(ticket).error_code, ErrorCode::InconsistentGroupProtocol);
}
