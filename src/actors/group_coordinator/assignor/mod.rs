//! Who reads which partition: the assignors that a group can name (KIP-848), and one of ours.
//!
//! Each is a plain function of the group: no clock, no chance, and only ordered maps, so that the same
//! group gets the same assignment on whichever node its coordinator runs. What the members own now is a
//! part of the question; a partition moves only where the assignor's promise cannot be kept otherwise.
//!
//! Topics that the same members subscribe to are alike to all assignors, so they decide over such
//! classes (`roster.rs`) rather than over single topics. Most groups have one.

mod exclusive;
mod range;
mod roster;
#[cfg(test)]
mod tests;
mod uniform;

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use crate::{
    model::{PartitionIndex, TopicId},
    wire::Str,
};
use roster::{Roster, Share};

/// Partitions by topic.
pub type Partitions = BTreeMap<TopicId, BTreeSet<PartitionIndex>>;

/// What each member is to read, by its id. Every member is there, and no set of partitions is empty.
pub type Assignment = BTreeMap<Str, Partitions>;

/// A member as an assignor sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberSpec {
    /// The name of a static member (KIP-345), which outlives its member id.
    pub instance_id: Option<Str>,
    /// What it subscribes to; topics that the group lacks are passed over.
    pub topics: BTreeSet<TopicId>,
    /// Its current target. What is gone, unsubscribed or another's as well is no matter.
    pub owned: Partitions,
}

/// A group as an assignor sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSpec {
    /// The members by id.
    pub members: BTreeMap<Str, MemberSpec>,
    /// The topics that exist, each with its number of partitions.
    pub topics: BTreeMap<TopicId, i32>,
}

/// How a group shares its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// As equal as subscriptions allow, over all topics together, with as few moves as that takes.
    Uniform,
    /// Of each topic a contiguous range to each subscriber, so that partitions of the same number meet.
    Range,
    /// At most one partition to each member; whoever is left stands by.
    Exclusive,
}

/// A name that no assignor has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no assignor is named {0:?}")]
pub struct UnknownAssignor(pub String);

impl Assignor {
    /// All of them, the default of a group first.
    pub const ALL: [Self; 3] = [Self::Uniform, Self::Range, Self::Exclusive];

    /// The name that clients and configs use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
            Self::Exclusive => "exclusive",
        }
    }

    /// The target of every member.
    pub fn assign(self, group: &GroupSpec) -> Assignment {
        let roster = Roster::new(group);
        let shares = match self {
            Self::Uniform => uniform::shares(&roster),
            Self::Range => range::shares(&roster),
            Self::Exclusive => exclusive::shares(&roster),
        };
        assignment(&roster, &shares)
    }
}

impl FromStr for Assignor {
    type Err = UnknownAssignor;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|assignor| assignor.name() == name);
        named.ok_or_else(|| UnknownAssignor(name.to_owned()))
    }
}

/// Partitions that somebody subscribes to and nobody has.
pub fn unowned(group: &GroupSpec, assignment: &Assignment) -> Partitions {
    let mut unowned = Partitions::new();
    for topic in group.members.values().flat_map(|member| &member.topics) {
        if let Some(count) = group.topics.get(topic) {
            unowned.entry(*topic).or_insert_with(|| (0..*count).map(PartitionIndex::new).collect());
        }
    }
    for (topic, owned) in assignment.values().flatten() {
        if let Some(left) = unowned.get_mut(topic) {
            left.retain(|index| !owned.contains(index));
        }
    }
    unowned.retain(|_, left| !left.is_empty());
    unowned
}

/// How many these are.
pub fn count_unowned(group: &GroupSpec, assignment: &Assignment) -> usize {
    unowned(group, assignment).values().map(BTreeSet::len).sum()
}

fn assignment(roster: &Roster<'_>, shares: &[Share]) -> Assignment {
    let members = roster.members.iter().zip(shares).map(|(member, share)| {
        let mut partitions = Partitions::new();
        for partition in share {
            let topic = roster.topics[partition.topic].id;
            partitions.entry(topic).or_default().insert(PartitionIndex::new(partition.index));
        }
        (member.id.clone(), partitions)
    });
    members.collect()
}
