//! Who holds which partition in a classic group of consumers: what the coordinator makes of their bytes.
//!
//! The classic protocol leaves it to the members who reads what, and to the coordinator their assignments are
//! bytes. It reads those of consumers all the same, once for each assignment, for two things: a commit for a
//! partition that another member was assigned does not count (S21), and what nobody was assigned is counted.
//!
//! What holds is the last assignment that was completed, also while the next one is being prepared: members commit
//! what they owned as they give it up, cooperative ones even in the generation that took it from them, in which
//! nobody else has it yet. Bytes that cannot be read say nothing; then member and generation alone decide.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    attempts::Share,
    classic::{CONSUMER, Classic, State},
    image::{Image, TopicImage},
    member::{Member, own},
};
use crate::{
    actors::group_coordinator::{
        assignor::{self, GroupSpec, MemberSpec, Partitions},
        consumer_protocol::{self, PartitionsByName, Subscription},
    },
    model::PartitionIndex,
    wire::{DecodeError, Str},
};

/// What is known of the last assignment beside its bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Holdings {
    /// By topic and partition, the member that was assigned it. A partition that several were assigned is nobody's.
    owners: BTreeMap<Str, BTreeMap<PartitionIndex, Str>>,
    /// Partitions of subscribed topics that nobody was assigned, and the topics that they were counted by.
    counted: Option<(usize, Basis)>,
    /// What the coordinator itself assigned by; `None`: the leader assigned, or that is not known.
    pub(super) basis: Option<Basis>,
    /// What nobody was assigned because another than the member that is to have it has not given it up yet.
    pub(super) withheld: Partitions,
    /// Whether members are to join again once all know what they have to give up.
    pub(super) revokes: bool,
}

/// The topics that members subscribe to, as far as there are such topics.
pub(super) type Basis = BTreeMap<Str, Option<TopicImage>>;

/// A group as assignors see it.
pub(super) struct Seen {
    /// What members own is what they were assigned last.
    pub(super) spec: GroupSpec,
    /// What each member says that it holds as it joins.
    pub(super) claims: BTreeMap<Str, Partitions>,
    pub(super) basis: Basis,
}

impl Classic {
    /// Reads what the members were assigned, and forgets what was known of the assignment before.
    pub(super) fn read_holdings(&mut self) {
        let owners =
            if self.is_of_consumers() { owners(&self.members).unwrap_or_default() } else { BTreeMap::new() };
        self.holdings = Holdings { owners, ..Holdings::default() };
    }

    pub(super) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_ref().is_some_and(|kind| *kind == CONSUMER)
    }

    /// Whether this partition is another member's to commit for (S21).
    pub(super) fn is_held_by_another(&self, member: &Str, topic: &Str, index: PartitionIndex) -> bool {
        let owner = self.holdings.owners.get(topic).and_then(|partitions| partitions.get(&index));
        owner.is_some_and(|owner| owner != member && self.members.contains_key(owner))
    }

    /// A static member has another id now; what it held it holds.
    pub(super) fn hand_down(&mut self, old: &Str, new: &Str) {
        for owner in self.holdings.owners.values_mut().flat_map(BTreeMap::values_mut) {
            if owner == old {
                owner.clone_from(new);
            }
        }
    }

    /// What each member owns, as far as its assignment can be read.
    pub(super) fn shares(&self) -> Vec<Share> {
        if self.protocol_type.as_ref().is_none_or(|kind| *kind != CONSUMER) {
            return Vec::new();
        }
        let share = |(id, member): (&Str, &Member)| {
            let assignment = consumer_protocol::assignment(&member.assignment).ok()?;
            Some(Share {
                member: id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                partitions: assignment.partitions(),
            })
        };
        self.members.iter().filter_map(share).collect()
    }

    /// Partitions that nobody owns, as of the last assignment; none in a group that nobody is in.
    pub(super) fn unowned(&self) -> usize {
        self.holdings.counted.as_ref().map_or(0, |(unowned, _)| *unowned)
    }

    /// Counts them, unless that was done since the last assignment and with topics as they are.
    pub(super) fn count_unowned(&mut self, image: &Image) {
        let holds = |(_, basis): &(usize, Basis)| is_current(basis, image);
        if self.state != State::Stable || self.holdings.counted.as_ref().is_some_and(holds) {
            return;
        }
        let counted = self.see(image).map(|Seen { spec, basis, .. }| {
            let owned = |(id, member): (&Str, &MemberSpec)| (id.clone(), member.owned.clone());
            (assignor::count_unowned(&spec, &spec.members.iter().map(owned).collect()), basis)
        });
        self.holdings.counted = Some(counted.unwrap_or_default());
    }

    /// The group as assignors see it, or the members that cannot be understood.
    pub(super) fn see(&self, image: &Image) -> Result<Seen, Vec<Str>> {
        if !self.is_of_consumers() {
            return Err(self.members.keys().cloned().collect());
        }
        let protocol = self.protocol.clone().unwrap_or_default();
        let (mut members, mut claims, mut basis) = (BTreeMap::new(), BTreeMap::new(), Basis::new());
        let mut unreadable = Vec::new();
        for (id, member) in &self.members {
            let Ok(subscription) = consumer_protocol::subscription(&member.metadata(&protocol)) else {
                unreadable.push(id.clone());
                continue;
            };
            for name in &subscription.topics {
                if !basis.contains_key(name) {
                    basis.insert(own(name), image.topics.get(name).cloned());
                }
            }
            claims.insert(id.clone(), by_id(&subscription.owned(), image));
            members.insert(id.clone(), seen(member, &subscription, image));
        }
        if !unreadable.is_empty() {
            return Err(unreadable);
        }
        let topics = basis.values().flatten().map(|topic| (topic.id, topic.partitions)).collect();
        Ok(Seen { spec: GroupSpec { members, topics }, claims, basis })
    }
}

/// Whether these topics are still as they were.
pub(super) fn is_current(basis: &Basis, image: &Image) -> bool {
    basis.iter().all(|(name, topic)| image.topics.get(name) == topic.as_ref())
}

fn seen(member: &Member, subscription: &Subscription, image: &Image) -> MemberSpec {
    let topics = subscription.topics.iter().filter_map(|name| image.topics.get(name));
    MemberSpec {
        instance_id: member.instance_id.clone(),
        topics: topics.map(|topic| topic.id).collect(),
        owned: by_id(&assigned(&member.assignment).unwrap_or_default(), image),
    }
}

/// What a member was assigned; nothing, if nobody gave it a share.
pub(super) fn assigned(assignment: &Bytes) -> Result<PartitionsByName, DecodeError> {
    if assignment.is_empty() {
        return Ok(PartitionsByName::new());
    }
    Ok(consumer_protocol::assignment(assignment)?.partitions())
}

/// The same by the ids of topics, without those that are gone.
fn by_id(partitions: &PartitionsByName, image: &Image) -> Partitions {
    let of_topic = |(name, indexes): (&Str, &BTreeSet<PartitionIndex>)| {
        (!indexes.is_empty()).then(|| Some((image.topics.get(name)?.id, indexes.clone())))?
    };
    partitions.iter().filter_map(of_topic).collect()
}

/// By topic and partition, the one member that was assigned it.
fn owners(
    members: &BTreeMap<Str, Member>,
) -> Result<BTreeMap<Str, BTreeMap<PartitionIndex, Str>>, DecodeError> {
    let mut owners = BTreeMap::<Str, BTreeMap<PartitionIndex, Option<&Str>>>::new();
    for (id, member) in members {
        for (topic, partitions) in assigned(&member.assignment)? {
            let of_topic = owners.entry(own(&topic)).or_default();
            for index in partitions {
                of_topic.entry(index).and_modify(|owner| *owner = None).or_insert(Some(id));
            }
        }
    }
    let known = |(index, owner): (PartitionIndex, Option<&Str>)| Some((index, owner?.clone()));
    let of_topic = |(topic, partitions): (Str, BTreeMap<_, _>)| {
        (topic, partitions.into_iter().filter_map(known).collect())
    };
    Ok(owners.into_iter().map(of_topic).collect())
}
