//! The group by numbers: members in their order, and topics in classes of equal subscribers.

use std::collections::{BTreeMap, BTreeSet};

use super::{GroupSpec, MemberSpec};
use crate::{
    model::{PartitionIndex, TopicId},
    wire::Str,
};

/// A partition, its topic by its place in [`Roster::topics`]. The order takes one of each topic in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Partition {
    pub(super) index: i32,
    pub(super) topic: usize,
}

/// What one member gets.
pub(super) type Share = Vec<Partition>;

pub(super) struct Member<'a> {
    pub(super) id: &'a Str,
    pub(super) spec: &'a MemberSpec,
    /// Members with the same number subscribe to the same topics.
    pub(super) subscription: usize,
}

/// A topic with at least one partition.
pub(super) struct Topic {
    pub(super) id: TopicId,
    pub(super) partitions: i32,
    /// `None`: nobody subscribes to it.
    pub(super) class: Option<usize>,
}

/// Topics that the same members subscribe to.
pub(super) struct Class {
    /// Never empty, in ascending order.
    pub(super) members: Vec<usize>,
    pub(super) topics: Vec<usize>,
}

pub(super) struct Roster<'a> {
    /// Static members by their instance id, then the others by member id: a restart of a static member
    /// changes nobody's place.
    pub(super) members: Vec<Member<'a>>,
    /// In the order of their ids.
    pub(super) topics: Vec<Topic>,
    /// Those of the fewest members first: they have the least choice.
    pub(super) classes: Vec<Class>,
    /// By subscription, the classes in it.
    classes_in: Vec<Vec<usize>>,
}

impl<'a> Roster<'a> {
    pub(super) fn new(group: &'a GroupSpec) -> Self {
        let existing = group.topics.iter().filter(|(_, partitions)| **partitions > 0);
        let topics = existing.map(|(id, partitions)| Topic { id: *id, partitions: *partitions, class: None });
        let (members, subscriptions) = numbered(group);
        let mut roster = Self {
            members,
            topics: topics.collect(),
            classes: Vec::new(),
            classes_in: vec![Vec::new(); subscriptions.len()],
        };
        roster.classify(&subscriptions);
        roster
    }

    /// The classes that a member subscribes to.
    pub(super) fn classes_of(&self, member: usize) -> &[usize] {
        &self.classes_in[self.members[member].subscription]
    }

    pub(super) fn subscriptions(&self) -> usize {
        self.classes_in.len()
    }

    /// The class of a partition's topic; `None` when nobody subscribes to it.
    pub(super) fn class_of(&self, partition: Partition) -> Option<usize> {
        self.topics[partition.topic].class
    }

    fn classify(&mut self, subscriptions: &[&BTreeSet<TopicId>]) {
        let mut members_with = vec![Vec::new(); subscriptions.len()];
        for (number, member) in self.members.iter().enumerate() {
            members_with[member.subscription].push(number);
        }
        let mut by_subscribers = BTreeMap::<Vec<usize>, Vec<usize>>::new();
        for (topic, subscribers) in self.subscribers(subscriptions).into_iter().enumerate() {
            if !subscribers.is_empty() {
                by_subscribers.entry(subscribers).or_default().push(topic);
            }
        }
        let members = |subscribers: &[usize]| {
            let mut members =
                subscribers.iter().flat_map(|s| members_with[*s].iter().copied()).collect::<Vec<_>>();
            members.sort_unstable();
            members
        };
        let classes = by_subscribers.into_iter().map(|(subscribers, topics)| {
            let class = Class { members: members(&subscribers), topics };
            (subscribers, class)
        });
        let mut classes = classes.collect::<Vec<_>>();
        classes.sort_by_key(|(_, class)| (class.members.len(), class.topics[0]));
        for (number, (subscribers, class)) in classes.into_iter().enumerate() {
            for topic in &class.topics {
                self.topics[*topic].class = Some(number);
            }
            for subscription in subscribers {
                self.classes_in[subscription].push(number);
            }
            self.classes.push(class);
        }
    }

    /// By topic, the subscriptions that it is in.
    fn subscribers(&self, subscriptions: &[&BTreeSet<TopicId>]) -> Vec<Vec<usize>> {
        let mut subscribers = vec![Vec::new(); self.topics.len()];
        for (subscription, wanted) in subscriptions.iter().enumerate() {
            let mut topics = self.topics.iter().zip(&mut subscribers).peekable();
            for id in *wanted {
                while topics.next_if(|(topic, _)| topic.id < *id).is_some() {}
                if let Some((_, of_topic)) = topics.next_if(|(topic, _)| topic.id == *id) {
                    of_topic.push(subscription);
                }
            }
        }
        subscribers
    }
}

/// The members in their order, and the subscriptions that occur.
fn numbered(group: &GroupSpec) -> (Vec<Member<'_>>, Vec<&BTreeSet<TopicId>>) {
    let mut numbers = BTreeMap::new();
    let mut subscriptions = Vec::new();
    let members = group.members.iter().map(|(id, spec)| {
        let subscription = *numbers.entry(&spec.topics).or_insert_with(|| {
            subscriptions.push(&spec.topics);
            subscriptions.len() - 1
        });
        Member { id, spec, subscription }
    });
    let mut members = members.collect::<Vec<_>>();
    members.sort_unstable_by_key(place);
    (members, subscriptions)
}

fn place<'a>(member: &Member<'a>) -> (bool, Option<&'a Str>, &'a Str) {
    let instance_id = member.spec.instance_id.as_ref();
    (instance_id.is_none(), instance_id, member.id)
}

/// What members own and may go on with: each partition for the first member that owns it.
pub(super) struct Kept {
    /// By member.
    pub(super) shares: Vec<Share>,
    /// By topic and index, whether it is in a share.
    taken: Vec<Vec<bool>>,
}

impl Kept {
    /// Keeps up to `limit` partitions for each member.
    pub(super) fn new(roster: &Roster<'_>, limit: usize) -> Self {
        let taken = roster.topics.iter().map(|topic| vec![false; topic.partitions as usize]).collect();
        let mut kept = Self { shares: Vec::with_capacity(roster.members.len()), taken };
        for member in &roster.members {
            let mut owned = owned(roster, member.spec);
            owned.sort_unstable();
            owned.retain(|partition| !kept.is_taken(*partition));
            owned.truncate(limit);
            for partition in &owned {
                kept.taken[partition.topic][partition.index as usize] = true;
            }
            kept.shares.push(owned);
        }
        kept
    }

    /// The partitions of a topic that are in no share, in ascending order.
    pub(super) fn free(&self, topic: usize) -> impl Iterator<Item = Partition> {
        let of_topic = self.taken[topic].iter().zip(0..);
        of_topic.filter(|(taken, _)| !**taken).map(move |(_, index)| Partition { index, topic })
    }

    fn is_taken(&self, partition: Partition) -> bool {
        self.taken[partition.topic][partition.index as usize]
    }
}

/// The partitions that a member owns, still exist, and are of topics that it subscribes to.
fn owned(roster: &Roster<'_>, member: &MemberSpec) -> Share {
    let subscribed = member.owned.iter().filter(|(topic, _)| member.topics.contains(topic));
    let existing = subscribed.filter_map(|(id, indexes)| {
        let topic = roster.topics.binary_search_by_key(id, |topic| topic.id).ok()?;
        let range = PartitionIndex::new(0)..PartitionIndex::new(roster.topics[topic].partitions);
        Some(indexes.range(range).map(move |index| Partition { index: index.get(), topic }))
    });
    existing.flatten().collect()
}
