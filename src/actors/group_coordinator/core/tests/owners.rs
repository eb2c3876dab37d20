//! Who owns a partition, as far as assignments can be read: commits of others do not count (S21), and what nobody
//! owns is counted.

use bytes::Bytes;

use super::{
    consumers::{Consumers, share},
    world::World,
};
use crate::wire::{ErrorCode, Str};

const OK: ErrorCode = ErrorCode::None;
const FENCED: ErrorCode = ErrorCode::IllegalGeneration;

/// Two members, the first with partitions 0 and 1 of three, the second with 2.
#[track_caller]
fn settled() -> (Consumers, Str, Str) {
    let mut group = Consumers::led(3);
    let (a, b) = (group.come(), group.come());
    group.round(&[&a, &b], &[(&a, share(&[0, 1])), (&b, share(&[2]))]);
    (group, a, b)
}

#[test]
fn s21_a_commit_for_what_another_member_owns_is_refused_and_the_rest_of_it_is_kept() {
    let (mut group, a, b) = settled();
    assert_eq!(group.commit(&a, &[0, 2, 1]), [OK, FENCED, OK]);
    assert_eq!(group.commit(&b, &[0, 2]), [FENCED, OK]);
    // Nobody owns it.
    assert_eq!(group.commit(&b, &[7]), [OK]);
    assert_eq!(group.world.committed(), Some(5));
}

#[test]
fn s21_a_commit_that_is_refused_leaves_nothing_in_the_log() {
    let (mut group, _, b) = settled();
    let written = group.world.log.len();
    assert_eq!(group.commit(&b, &[0]), [FENCED]);
    assert_eq!((group.world.log.len(), group.world.committed()), (written, None));
}

#[test]
fn s21_members_commit_what_they_own_while_the_next_generation_is_prepared() {
    let (mut group, a, b) = settled();
    let c = group.come();
    group.join(&c, &[]);
    assert_eq!(group.world.state(), "PreparingRebalance");
    assert_eq!(group.commit(&a, &[0, 1]), [OK, OK]);
    assert_eq!(group.commit(&b, &[1, 2]), [FENCED, OK]);
}

#[test]
fn s21_a_cooperative_member_commits_what_its_new_generation_has_taken_from_it() {
    let (mut group, a, b) = settled();
    let brings = [(&a, share(&[0])), (&b, share(&[2]))];
    let c = group.come();
    group.round_of(&[(&a, &[0, 1]), (&b, &[2]), (&c, &[])], &brings);
    assert_eq!(group.commit(&a, &[0, 1]), [OK, OK]);
    // From the next one on it is another's.
    let brings = [(&a, share(&[0])), (&b, share(&[2])), (&c, share(&[1]))];
    group.round_of(&[(&a, &[0]), (&b, &[2]), (&c, &[])], &brings);
    assert_eq!(group.commit(&a, &[0, 1]), [OK, FENCED]);
}

#[test]
fn s21_what_a_member_that_is_gone_owned_is_nobodys() {
    let (mut group, a, b) = settled();
    assert_eq!(group.commit(&b, &[0]), [FENCED]);
    group.world.leave(&a, None);
    assert_eq!(group.commit(&b, &[0, 2]), [OK, OK]);
}

#[test]
fn s21_owners_are_known_again_after_the_coordinator_has_died() {
    let (mut group, a, b) = settled();
    group.crash();
    assert_eq!(group.commit(&a, &[0, 2]), [OK, FENCED]);
    assert_eq!(group.commit(&b, &[0, 2]), [FENCED, OK]);
}

#[test]
fn s21_where_an_assignment_cannot_be_read_member_and_generation_decide() {
    let mut group = Consumers::led(3);
    let (a, b) = (group.come(), group.come());
    let joining = [group.join(&a, &[]), group.join(&b, &[])];
    let joined = joining.map(|ticket| group.world.joined(ticket));
    group.generation = joined[0].generation_id;
    let leader = joined[0].leader.clone();
    let brings = [(&a, share(&[0, 1])), (&b, Bytes::from_static(b"words"))];
    group.sync(&leader, &brings);
    assert_eq!(group.commit(&b, &[0, 2]), [OK, OK]);
    group.generation += 1;
    assert_eq!(group.commit(&b, &[0]), [FENCED]);
}

#[test]
fn s21_a_partition_that_two_members_were_assigned_has_no_owner() {
    let mut group = Consumers::led(3);
    let (a, b) = (group.come(), group.come());
    group.round(&[&a, &b], &[(&a, share(&[0, 1])), (&b, share(&[1, 2]))]);
    assert_eq!(group.commit(&a, &[0, 1, 2]), [OK, OK, FENCED]);
    assert_eq!(group.commit(&b, &[0, 1, 2]), [FENCED, OK, OK]);
}

#[test]
fn s21_a_static_member_that_comes_back_under_another_id_owns_what_it_owned() {
    let mut group = Consumers::led(2);
    let b = group.come();
    let joining = [group.join_static("one"), group.join(&b, &[])];
    let joined = joining.map(|ticket| group.world.joined(ticket));
    let (a, leader) = (&joined[0].member_id, &joined[0].leader);
    group.generation = joined[0].generation_id;
    group.sync(leader, &[(a, share(&[0, 1])), (&b, share(&[]))]);
    let joining = group.join_static("one");
    let again = group.world.joined(joining);
    assert_eq!((group.world.state(), again.generation_id), ("Stable".to_owned(), group.generation));
    assert_ne!(again.member_id, *a);
    assert_eq!(group.commit(&again.member_id, &[0, 1]), [OK, OK]);
    assert_eq!(group.commit(&b, &[0, 1]), [FENCED, FENCED]);
}

#[test]
fn partitions_that_nobody_owns_are_counted_with_each_assignment() {
    let unowned = |group: &Consumers| group.world.coordinator.sizes().unowned;
    let mut group = Consumers::led(3);
    let (a, b) = (group.come(), group.come());
    assert_eq!(unowned(&group), 0);
    group.round(&[&a, &b], &[(&a, share(&[0])), (&b, share(&[]))]);
    assert_eq!(unowned(&group), 2);
    group.crash();
    assert_eq!(unowned(&group), 2);
    group.set_partitions(5);
    assert_eq!(unowned(&group), 4, "the topic has grown");
    group.set_partitions(3);
    group.round(&[&a, &b], &[(&a, share(&[0])), (&b, share(&[1, 2]))]);
    assert_eq!(unowned(&group), 0);
    group.round(&[&a, &b], &[(&a, share(&[])), (&b, share(&[]))]);
    assert_eq!(unowned(&group), 3);
    group.world.leave(&a, None);
    group.world.leave(&b, None);
    assert_eq!(unowned(&group), 0, "a group that nobody is in misses nothing");
}

#[test]
fn of_groups_that_cannot_be_read_nothing_is_counted() {
    let mut world = World::new();
    world.two_settled();
    assert_eq!(world.coordinator.sizes().unowned, 0);
}
