//! A member of a group whose partitions the coordinator assigns, and its way from what it owns to its target.
//!
//! ```text
//!                 target differs, and it owns what others are to get
//!      Stable ──────────────────────────────────────────▶ Unrevoked
//!       │  ▲                                                   │ it has given back
//!       │  └───────────── nothing is missing ◀─────────────────┤
//!       │                        ▲                             │
//!       └─ others still own ──▶ Unreleased ◀───────────────────┘ others still own what it is to get
//! ```
//!
//! A member is at the target's epoch once it owns nothing that is another's there. It is given what nobody else
//! owns, so a partition has one owner at any time (S21), and nobody stops for what others give or get.

use std::time::Duration;

use bytes::Bytes;

use super::{
    super::member::{duration, millis, own, own_bytes},
    stored::{ClassicMember, ClassicProtocol, MemberValue, StandingValue, TopicPartitions},
};
use crate::{
    actors::group_coordinator::assignor::Partitions,
    model::{PartitionIndex, TopicId},
    wire::{Str, api::consumer_group_heartbeat},
};

/// What a static member that has left for a while is at.
pub(in super::super) const AWAY: i32 = -2;

/// How far a member is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum State {
    /// It owns what it is to own, or waits for nothing that it knows of.
    #[default]
    Stable,
    /// It has to give something back first.
    Unrevoked,
    /// It waits for what others have to give back.
    Unreleased,
}

impl State {
    const fn number(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::Unrevoked => 1,
            Self::Unreleased => 2,
        }
    }

    const fn of_number(number: i8) -> Self {
        match number {
            1 => Self::Unrevoked,
            // Whatever it is, it is looked at again at its next heartbeat.
            2.. => Self::Unreleased,
            _ => Self::Stable,
        }
    }
}

/// Where a member stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Standing {
    /// The epoch that it was told last.
    pub(in super::super) epoch: i32,
    /// The one before, in case the answer was lost.
    pub(in super::super) previous: i32,
    pub(in super::super) state: State,
    /// What is its own.
    pub(in super::super) assigned: Partitions,
    /// What it has to give back.
    pub(in super::super) revoking: Partitions,
}

/// What a member wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Profile {
    pub(in super::super) instance_id: Option<Str>,
    pub(in super::super) rack_id: Option<Str>,
    pub(in super::super) client_id: Str,
    pub(in super::super) client_host: Str,
    pub(in super::super) rebalance_timeout: Duration,
    /// In order, each once.
    pub(in super::super) topics: Vec<Str>,
    pub(in super::super) pattern: Option<Str>,
    pub(in super::super) assignor: Option<Str>,
    /// Of a member that speaks the classic protocol.
    pub(in super::super) classic: Option<ClassicProfile>,
}

/// What is known of a member that speaks the classic protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct ClassicProfile {
    pub(in super::super) session_timeout: Duration,
    /// The best first.
    pub(in super::super) protocols: Vec<(Str, Bytes)>,
}

#[derive(Clone, Debug)]
pub(in super::super) struct Member {
    pub(in super::super) profile: Profile,
    pub(in super::super) standing: Standing,
    pub(in super::super) target: Partitions,
    /// When it counts as dead.
    pub(in super::super) deadline: Duration,
    /// When it must have given back what it has to, or joined again.
    pub(in super::super) acts_by: Option<Duration>,
}

impl Member {
    pub(in super::super) fn new(profile: Profile) -> Self {
        Self {
            profile,
            standing: Standing::default(),
            target: Partitions::new(),
            deadline: Duration::MAX,
            acts_by: None,
        }
    }

    /// Where the member goes from where it stands, if anywhere. `owned` is what it says that it owns, if it says so;
    /// `is_free` whether nobody else owns a partition.
    pub(in super::super) fn reconciled(
        &self,
        target_epoch: i32,
        owned: Option<&Partitions>,
        is_free: impl Fn(TopicId, PartitionIndex) -> bool,
    ) -> Option<Standing> {
        let Standing { epoch, state, revoking, .. } = &self.standing;
        let still_owns = owned.is_none_or(|owned| intersect(owned, revoking));
        let next = match state {
            State::Stable if *epoch == target_epoch => return None,
            State::Unrevoked if still_owns => return None,
            State::Stable | State::Unrevoked | State::Unreleased => self.next(target_epoch, owned, is_free),
        };
        (next != self.standing).then_some(next)
    }

    fn next(
        &self,
        target_epoch: i32,
        owned: Option<&Partitions>,
        is_free: impl Fn(TopicId, PartitionIndex) -> bool,
    ) -> Standing {
        let (mut assigned, mut revoking, mut misses) = (Partitions::new(), Partitions::new(), false);
        for (topic, index) in each(&self.standing.assigned) {
            let stays = contains(&self.target, topic, index);
            let place = if stays { &mut assigned } else { &mut revoking };
            place.entry(topic).or_default().insert(index);
        }
        let owns_revoked = owned.is_none_or(|owned| intersect(owned, &revoking));
        if !revoking.is_empty() && owns_revoked {
            let Standing { epoch, previous, .. } = self.standing;
            return Standing { epoch, previous, state: State::Unrevoked, assigned, revoking };
        }
        for (topic, index) in each(&self.target) {
            if is_free(topic, index) {
                assigned.entry(topic).or_default().insert(index);
            } else {
                misses = true;
            }
        }
        let previous =
            if self.standing.epoch == target_epoch { self.standing.previous } else { self.standing.epoch };
        let state = if misses { State::Unreleased } else { State::Stable };
        Standing { epoch: target_epoch, previous, state, assigned, revoking: Partitions::new() }
    }

    pub(in super::super) fn value(&self) -> MemberValue {
        let profile = self.profile.clone();
        let classic = profile.classic.map(|classic| ClassicMember {
            session_timeout: millis(classic.session_timeout),
            protocols: classic
                .protocols
                .into_iter()
                .map(|(name, metadata)| ClassicProtocol { name, metadata })
                .collect(),
        });
        MemberValue {
            instance_id: profile.instance_id,
            rack_id: profile.rack_id,
            client_id: profile.client_id,
            client_host: profile.client_host,
            subscribed_topic_names: profile.topics,
            subscribed_topic_regex: profile.pattern,
            rebalance_timeout: millis(profile.rebalance_timeout),
            server_assignor: profile.assignor,
            classic,
        }
    }
}

impl Profile {
    pub(in super::super) fn of_value(value: &MemberValue) -> Self {
        let owned = |text: &Option<Str>| text.as_ref().map(own);
        let classic = value.classic.as_ref().map(|classic| ClassicProfile {
            session_timeout: duration(classic.session_timeout),
            protocols: classic
                .protocols
                .iter()
                .map(|protocol| (own(&protocol.name), own_bytes(&protocol.metadata)))
                .collect(),
        });
        Self {
            instance_id: owned(&value.instance_id),
            rack_id: owned(&value.rack_id),
            client_id: own(&value.client_id),
            client_host: own(&value.client_host),
            rebalance_timeout: duration(value.rebalance_timeout),
            topics: value.subscribed_topic_names.iter().map(own).collect(),
            pattern: owned(&value.subscribed_topic_regex),
            assignor: owned(&value.server_assignor),
            classic,
        }
    }
}

impl Standing {
    pub(in super::super) fn value(&self) -> StandingValue {
        StandingValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous,
            state: self.state.number(),
            assigned_partitions: listed(&self.assigned),
            partitions_pending_revocation: listed(&self.revoking),
        }
    }

    pub(in super::super) fn of_value(value: &StandingValue) -> Self {
        Self {
            epoch: value.member_epoch,
            previous: value.previous_member_epoch,
            state: State::of_number(value.state),
            assigned: gathered(&value.assigned_partitions),
            revoking: gathered(&value.partitions_pending_revocation),
        }
    }

    /// All that the member may still read.
    pub(in super::super) fn owned(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
        each(&self.assigned).chain(each(&self.revoking))
    }
}

/// Each of the partitions.
pub(in super::super) fn each(partitions: &Partitions) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
    partitions.iter().flat_map(|(topic, indexes)| indexes.iter().map(|index| (*topic, *index)))
}

pub(in super::super) fn contains(partitions: &Partitions, topic: TopicId, index: PartitionIndex) -> bool {
    partitions.get(&topic).is_some_and(|indexes| indexes.contains(&index))
}

/// Whether all of `some` are among `all`.
pub(in super::super) fn is_within(some: &Partitions, all: &Partitions) -> bool {
    each(some).all(|(topic, index)| contains(all, topic, index))
}

fn intersect(some: &Partitions, others: &Partitions) -> bool {
    each(some).any(|(topic, index)| contains(others, topic, index))
}

pub(in super::super) fn listed(partitions: &Partitions) -> Vec<TopicPartitions> {
    let topics = partitions.iter();
    let one = |(topic, indexes): (&TopicId, &std::collections::BTreeSet<PartitionIndex>)| TopicPartitions {
        topic_id: *topic,
        partitions: indexes.iter().copied().collect(),
    };
    topics.map(one).collect()
}

pub(in super::super) fn gathered(topics: &[TopicPartitions]) -> Partitions {
    let mut partitions = Partitions::new();
    for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        partitions.entry(topic.topic_id).or_default().extend(&topic.partitions);
    }
    partitions
}

/// What a member says that it owns.
pub(in super::super) fn told(topics: &[consumer_group_heartbeat::TopicPartitions]) -> Partitions {
    let mut partitions = Partitions::new();
    for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        partitions.entry(topic.topic_id).or_default().extend(&topic.partitions);
    }
    partitions
}
