//! The assignors' promises over random groups, each checked against its plain definition.

mod exclusive;
mod random;
mod range;
mod uniform;

use std::collections::BTreeSet;

use fastrand::Rng;

use self::random::{GROUPS, garbled, group, settled};
use super::*;

#[test]
fn settings_name_the_assignors_that_there_are() {
    assert_eq!(Assignor::ALL.map(Assignor::name), crate::config::node::ASSIGNORS);
}

fn topic(number: u8) -> TopicId {
    TopicId::from_bytes([number; 16])
}

fn indexes(numbers: impl IntoIterator<Item = i32>) -> BTreeSet<PartitionIndex> {
    numbers.into_iter().map(PartitionIndex::new).collect()
}

fn member(topics: &[u8]) -> MemberSpec {
    let topics = topics.iter().copied().map(topic).collect();
    MemberSpec { topics, ..MemberSpec::default() }
}

/// Topics by number and partitions; members by id and topics.
fn group_of(topics: &[(u8, i32)], members: &[(&str, &[u8])]) -> GroupSpec {
    GroupSpec {
        topics: topics.iter().map(|(number, partitions)| (topic(*number), *partitions)).collect(),
        members: members.iter().map(|(id, topics)| (Str::from(*id), member(topics))).collect(),
    }
}

fn load(partitions: &Partitions) -> usize {
    partitions.values().map(BTreeSet::len).sum()
}

/// The group once its members own what they were assigned.
fn with_owned(mut group: GroupSpec, assignment: &Assignment) -> GroupSpec {
    for (id, member) in &mut group.members {
        member.owned = assignment[id].clone();
    }
    group
}

/// The partitions of a group that somebody subscribes to.
fn wanted(group: &GroupSpec) -> BTreeSet<(TopicId, PartitionIndex)> {
    let topics = group.members.values().flat_map(|member| &member.topics).collect::<BTreeSet<_>>();
    let existing = topics.into_iter().filter_map(|topic| Some((*topic, *group.topics.get(topic)?)));
    existing.flat_map(|(topic, count)| (0..count).map(move |n| (topic, PartitionIndex::new(n)))).collect()
}

/// What each member has that it owned before.
fn kept(group: &GroupSpec, assignment: &Assignment) -> usize {
    let kept = group.members.iter().map(|(id, member)| {
        let of_topic = member
            .owned
            .iter()
            .map(|(topic, owned)| assignment[id].get(topic).map_or(0, |now| now.intersection(owned).count()));
        of_topic.sum::<usize>()
    });
    kept.sum()
}

/// Nothing has two owners, or one that did not ask for it; returns what has one.
fn assert_sound(group: &GroupSpec, assignment: &Assignment) -> BTreeSet<(TopicId, PartitionIndex)> {
    assert!(assignment.keys().eq(group.members.keys()), "every member is answered");
    let wanted = wanted(group);
    let mut owned = BTreeSet::new();
    for (id, partitions) in assignment {
        for (topic, indexes) in partitions {
            assert!(group.members[id].topics.contains(topic), "{id} did not subscribe to {topic}");
            assert!(!indexes.is_empty(), "{id} has an empty set of {topic}");
            for index in indexes {
                assert!(wanted.contains(&(*topic, *index)), "{topic}-{index} does not exist");
                assert!(owned.insert((*topic, *index)), "{topic}-{index} has two owners");
            }
        }
    }
    let left = wanted.difference(&owned).copied().collect::<BTreeSet<_>>();
    let unowned = unowned(group, assignment);
    let unowned = unowned.iter().flat_map(|(topic, left)| left.iter().map(|index| (*topic, *index)));
    assert!(unowned.eq(left), "what has no owner is told");
    owned
}

/// Groups of every kind: new, settled and then changed, and with claims that make no sense.
fn each_group(assignor: Assignor, mut check: impl FnMut(&GroupSpec)) {
    for seed in 0..GROUPS {
        let mut rng = Rng::with_seed(seed);
        let new = group(&mut rng);
        let group = match seed % 3 {
            0 => new,
            1 => settled(&mut rng, assignor, new),
            _ => garbled(&mut rng, new),
        };
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&group)));
        assert!(checked.is_ok(), "{assignor:?}, seed {seed}: {group:#?}");
    }
}

#[test]
fn every_partition_that_somebody_wants_has_one_owner_who_asked_for_it() {
    for assignor in [Assignor::Uniform, Assignor::Range] {
        each_group(assignor, |group| {
            let owned = assert_sound(group, &assignor.assign(group));
            assert_eq!(owned, wanted(group));
        });
    }
}

#[test]
fn the_same_group_gets_the_same_assignment_and_keeps_it() {
    for assignor in Assignor::ALL {
        each_group(assignor, |group| {
            let first = assignor.assign(group);
            assert_eq!(assignor.assign(&group.clone()), first);
            let settled = with_owned(group.clone(), &first);
            assert_eq!(assignor.assign(&settled), first, "an assignment is its own successor");
        });
    }
}

#[test]
fn nothing_is_assigned_without_members_topics_or_partitions() {
    let groups = [
        group_of(&[(1, 3)], &[]),
        group_of(&[], &[("a", &[1])]),
        group_of(&[(1, 0)], &[("a", &[1])]),
        group_of(&[(1, 3)], &[("a", &[])]),
    ];
    for group in &groups {
        for assignor in Assignor::ALL {
            assert!(assert_sound(group, &assignor.assign(group)).is_empty());
        }
    }
}

#[test]
fn an_assignor_is_found_by_its_name_and_no_other() {
    for assignor in Assignor::ALL {
        assert_eq!(assignor.name().parse(), Ok(assignor));
    }
    let unknown = "Uniform".parse::<Assignor>().unwrap_err();
    assert_eq!(unknown, UnknownAssignor("Uniform".to_owned()));
}
