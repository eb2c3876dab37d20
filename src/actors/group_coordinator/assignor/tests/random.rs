//! Random groups, small enough that every odd shape comes up.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::{indexes, topic, with_owned};
use crate::actors::group_coordinator::assignor::{Assignor, GroupSpec, MemberSpec, Partitions};
use crate::{model::TopicId, wire::Str};

pub(super) const GROUPS: u64 = 3_000;
const TOPICS: u8 = 6;

/// A group whose members own nothing yet.
pub(super) fn group(rng: &mut Rng) -> GroupSpec {
    let mut topics = (0..TOPICS).filter(|_| rng.u8(..4) > 0).collect::<Vec<_>>();
    topics.truncate(rng.usize(..=topics.len()));
    let partitions_max = rng.choice([1, 3, 20]).unwrap_or(1);
    let mut group = GroupSpec {
        topics: topics.iter().map(|number| (topic(*number), rng.i32(0..=partitions_max))).collect(),
        ..GroupSpec::default()
    };
    let alike = rng.bool().then(|| subscription(rng));
    for _ in 0..rng.usize(..12) {
        join(rng, &mut group, alike.as_ref());
    }
    group
}

/// Some topics, and sometimes one that does not exist.
fn subscription(rng: &mut Rng) -> BTreeSet<TopicId> {
    let share = rng.u8(1..5);
    (0..=TOPICS).filter(|_| rng.u8(..5) < share).map(topic).collect()
}

fn join(rng: &mut Rng, group: &mut GroupSpec, subscribed: Option<&BTreeSet<TopicId>>) {
    let topics = subscribed.cloned().unwrap_or_else(|| subscription(rng));
    let instance_id = (rng.u8(..3) == 0).then(|| Str::from(format!("instance-{}", rng.u32(..))));
    let member = MemberSpec { instance_id, topics, ..MemberSpec::default() };
    group.members.insert(format!("member-{}", rng.u32(..)).into(), member);
}

/// The group after it was assigned and then changed in up to three ways.
pub(super) fn settled(rng: &mut Rng, assignor: Assignor, group: GroupSpec) -> GroupSpec {
    let assignment = assignor.assign(&group);
    let mut group = with_owned(group, &assignment);
    for _ in 0..rng.u8(..4) {
        change(rng, &mut group);
    }
    group
}

fn change(rng: &mut Rng, group: &mut GroupSpec) {
    let member = rng.choice(group.members.keys().cloned());
    let topic = rng.choice(group.topics.keys().copied());
    match (rng.u8(..6), member, topic) {
        (0, Some(member), _) => {
            group.members.remove(&member);
        }
        (1, _, Some(topic)) => {
            group.topics.remove(&topic);
        }
        (2, _, Some(topic)) => {
            group.topics.insert(topic, rng.i32(0..25));
        }
        (3, Some(member), _) => {
            if let Some(member) = group.members.get_mut(&member) {
                member.topics = subscription(rng);
            }
        }
        _ => {
            let like_another = rng.choice(group.members.values()).map(|member| member.topics.clone());
            join(rng, group, like_another.as_ref());
        }
    }
}

/// The group with members that claim what is gone, never was, or is another's.
pub(super) fn garbled(rng: &mut Rng, mut group: GroupSpec) -> GroupSpec {
    for member in group.members.values_mut() {
        member.owned = Partitions::new();
        for number in 0..=TOPICS {
            if rng.bool() {
                continue;
            }
            let claimed = (0..rng.u8(..6)).map(|_| rng.i32(-2..25)).collect::<Vec<_>>();
            member.owned.insert(topic(number), indexes(claimed));
        }
    }
    group
}
