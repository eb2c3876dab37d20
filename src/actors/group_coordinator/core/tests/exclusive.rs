//! `assignor=exclusive` in a classic group: one partition each, the others stand by.

use std::time::Duration;

use bytes::Bytes;

use super::{
    consumers::{Consumers, share},
    world::SESSION,
};
use crate::{
    config::group::ClassicAssignor,
    wire::{ErrorCode, Str},
};

/// Three members of a topic with two partitions: two owners with what they own, and one that stands by.
#[track_caller]
fn settled() -> (Consumers, [(Str, i32); 2], Str) {
    let mut group = Consumers::exclusive(2);
    let members = [group.come(), group.come(), group.come()];
    let ids: Vec<_> = members.iter().collect();
    let shares = group.round(&ids, &[(&members[0], share(&[0, 1]))]);
    let (mut owners, mut idle) = (Vec::new(), Vec::new());
    for (member, share) in members.into_iter().zip(shares) {
        match share[..] {
            [] => idle.push(member),
            [one] => owners.push((member, one)),
            _ => panic!("{member:?} has {share:?}"),
        }
    }
    let owners: [(Str, i32); 2] = owners.try_into().unwrap();
    assert_ne!(owners[0].1, owners[1].1);
    (group, owners, idle.pop().unwrap())
}

#[test]
fn each_member_reads_one_partition_and_the_rest_stand_by_whatever_the_leader_brings() {
    let (mut group, ..) = settled();
    assert_eq!(group.world.state(), "Stable");
}

#[test]
fn a_member_that_stands_by_takes_over_what_one_that_leaves_had() {
    let (mut group, [gone, stays], idle) = settled();
    assert_eq!(group.world.leave(&gone.0, None), ErrorCode::None);
    assert_eq!(group.world.heartbeat(&idle, group.generation), ErrorCode::RebalanceInProgress);
    assert_eq!(group.round(&[&stays.0, &idle], &[]), [[stays.1], [gone.1]]);
}

#[test]
fn a_member_that_stands_by_takes_over_what_one_that_died_had() {
    let (mut group, [gone, stays], idle) = settled();
    for _ in 0..2 {
        group.world.pass(SESSION / 2 + Duration::from_millis(1));
        group.world.heartbeat(&stays.0, group.generation);
        group.world.heartbeat(&idle, group.generation);
    }
    assert_eq!(group.world.heartbeat(&gone.0, group.generation), ErrorCode::UnknownMemberId);
    assert_eq!(group.round(&[&stays.0, &idle], &[]), [[stays.1], [gone.1]]);
}

#[test]
fn a_member_that_comes_takes_nothing_from_anybody() {
    let (mut group, [first, second], idle) = settled();
    let fourth = group.come();
    let ids = [&fourth, &idle, &second.0, &first.0];
    assert_eq!(group.round(&ids, &[]), [vec![], vec![], vec![second.1], vec![first.1]]);
}

#[test]
fn members_do_not_notice_when_the_coordinator_dies() {
    let (mut group, [first, second], idle) = settled();
    group.crash();
    for member in [&first.0, &second.0, &idle] {
        assert_eq!(group.world.heartbeat(member, group.generation), ErrorCode::None);
    }
    assert_eq!(group.commit(&first.0, &[first.1]), [ErrorCode::None]);
    // It goes on as before it.
    group.set_partitions(3);
    assert_eq!(group.world.heartbeat(&idle, group.generation), ErrorCode::RebalanceInProgress);
}

#[test]
fn a_node_that_does_not_know_its_topics_yet_leaves_its_groups_alone() {
    let (mut group, [first, _], _) = settled();
    group.crash_before_topics_are_known();
    assert_eq!(group.world.heartbeat(&first.0, group.generation), ErrorCode::None);
    group.set_partitions(2);
    assert_eq!(group.world.heartbeat(&first.0, group.generation), ErrorCode::None);
    group.set_partitions(3);
    assert_eq!(group.world.heartbeat(&first.0, group.generation), ErrorCode::RebalanceInProgress);
}

#[test]
fn when_a_topic_grows_the_coordinator_begins_a_rebalance_and_of_other_topics_it_takes_no_notice() {
    let (mut group, [first, second], idle) = settled();
    group.add_topic("another", 9);
    assert_eq!(group.world.state(), "Stable");
    group.set_partitions(3);
    assert_eq!(group.world.state(), "PreparingRebalance");
    let shares = group.round(&[&first.0, &second.0, &idle], &[]);
    assert_eq!(shares, [[first.1], [second.1], [2]]);
    group.set_partitions(3);
    assert_eq!(group.world.state(), "Stable", "nothing has changed");
}

#[test]
fn set_or_taken_away_while_a_group_is_stable_the_config_holds_after_a_rebalance() {
    let mut group = Consumers::led(2);
    let (a, b) = (group.come(), group.come());
    let brings = [(&a, share(&[0, 1])), (&b, share(&[]))];
    assert_eq!(group.round(&[&a, &b], &brings), [vec![0, 1], vec![]]);
    group.set_assignor(ClassicAssignor::Exclusive);
    assert_eq!(group.world.heartbeat(&a, group.generation), ErrorCode::RebalanceInProgress);
    let mut shares = group.round(&[&a, &b], &brings);
    shares.sort();
    assert_eq!(shares, [[0], [1]]);
    group.set_assignor(ClassicAssignor::Leader);
    assert_eq!(group.world.heartbeat(&a, group.generation), ErrorCode::RebalanceInProgress);
    assert_eq!(group.round(&[&a, &b], &brings), [vec![0, 1], vec![]]);
}

#[test]
fn whoever_cannot_be_understood_is_refused_as_it_joins() {
    let mut group = Consumers::exclusive(2);
    for unreadable in [&b""[..], b"\xff\xff", b"\x00\x01\x00\x00"] {
        let ticket = group.join_with(&Str::default(), Bytes::from_static(unreadable));
        assert_eq!(group.world.joined(ticket).error_code, ErrorCode::InconsistentGroupProtocol);
    }
    assert!(!group.come().is_empty());
}

#[test]
fn whoever_had_joined_and_cannot_be_understood_is_put_out_and_the_others_go_on() {
    let mut group = Consumers::led(2);
    let (a, b) = (group.come(), group.come());
    let (good, bad) = (group.join(&a, &[]), group.join_with(&b, Bytes::from_static(b"\x00")));
    let joined = group.world.joined(good);
    group.generation = joined.generation_id;
    assert_eq!(group.world.joined(bad).leader, joined.leader);
    let (leads, waits) = if joined.leader == a { (&a, &b) } else { (&b, &a) };
    group.set_assignor(ClassicAssignor::Exclusive);
    let waiting = group.sync(waits, &[]);
    let leading = group.sync(leads, &[(&a, share(&[0, 1]))]);
    let mut code = |ticket| group.world.synced(ticket).error_code;
    let codes = [(leads.clone(), code(leading)), (waits.clone(), code(waiting))];
    for (member, code) in codes {
        let expected =
            if member == a { ErrorCode::RebalanceInProgress } else { ErrorCode::InconsistentGroupProtocol };
        assert_eq!(code, expected);
    }
    let again = group.join_with(&b, Bytes::from_static(b"\x00"));
    assert_eq!(group.world.joined(again).error_code, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(group.round(&[&a], &[]).concat().len(), 1);
}

/// A member that holds both partitions, by its leader's will, and one that has just come.
#[track_caller]
fn one_holds_all() -> (Consumers, Str, Str) {
    let mut group = Consumers::led(2);
    let a = group.come();
    assert_eq!(group.round(&[&a], &[(&a, share(&[0, 1]))]), [[0, 1]]);
    group.set_assignor(ClassicAssignor::Exclusive);
    let b = group.come();
    (group, a, b)
}

#[test]
fn s21_what_a_cooperative_member_still_holds_is_given_to_nobody_before_it_has_given_it_up() {
    let (mut group, a, b) = one_holds_all();
    let shares = group.round_of(&[(&a, &[0, 1]), (&b, &[])], &[]);
    assert_eq!((shares[0].len(), shares[1].len()), (1, 0), "{shares:?}");
    let (kept, given_up) = (shares[0][0], 1 - shares[0][0]);
    // Nobody is the other one's owner by now, so whoever had it may still commit.
    assert_eq!(group.commit(&a, &[given_up]), [ErrorCode::None]);
    assert_eq!(group.world.heartbeat(&b, group.generation), ErrorCode::RebalanceInProgress);
    assert_eq!(group.round_of(&[(&a, &[kept]), (&b, &[])], &[]), [[kept], [given_up]]);
    assert_eq!(group.world.state(), "Stable");
}

#[test]
fn a_member_that_never_gives_up_what_it_was_not_given_is_not_asked_for_ever() {
    let (mut group, a, b) = one_holds_all();
    for state in ["PreparingRebalance", "Stable"] {
        let shares = group.round_of(&[(&a, &[0, 1]), (&b, &[])], &[]);
        assert_eq!((shares[0].len(), shares[1].len()), (1, 0), "{shares:?}");
        assert_eq!(group.world.state(), state);
    }
}

#[test]
fn a_stale_claim_takes_nothing_from_the_one_that_owns_it() {
    let (mut group, [first, second], idle) = settled();
    let shares = group
        .round_of(&[(&first.0, &[first.1]), (&second.0, &[second.1]), (&idle, &[first.1, second.1])], &[]);
    assert_eq!(shares, [vec![first.1], vec![second.1], vec![]]);
}
