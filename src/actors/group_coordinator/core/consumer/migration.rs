//! From one protocol to the other and back, with members at work (KIP-848).
//!
//! A group of classic consumers becomes one of this protocol when the first member comes that speaks it, and goes back
//! when the last such member has gone and classic ones are left. Nobody loses what it owns on the way.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Consumer, Cx,
    classic::{by_id, by_name},
    member::{ClassicProfile, Member, Profile, Standing, State, each},
    stored::Fact,
};
use crate::{
    actors::group_coordinator::{
        consumer_protocol,
        core::{
            classic::{CONSUMER, Classic, State as ClassicState, join_refused, sync_refused},
            member::{Member as ClassicMember, own},
            stored::Stored,
        },
    },
    wire::{ErrorCode, Str},
};

/// Whether all members of a classic group are consumers that can be understood.
pub(in super::super) fn can_become_consumer(classic: &Classic) -> bool {
    classic.members.is_empty()
        || classic.protocol_type.as_ref().is_some_and(|kind| *kind == CONSUMER)
            && classic.members.values().all(|member| subscription(classic, member).is_some())
}

fn subscription(classic: &Classic, member: &ClassicMember) -> Option<consumer_protocol::Subscription> {
    let chosen = member.protocols.iter().find(|(name, _)| Some(name) == classic.protocol.as_ref());
    let (_, metadata) = chosen.or_else(|| member.protocols.first())?;
    consumer_protocol::subscription(metadata).ok()
}

impl Consumer {
    /// The classic group under this protocol. Its members go on with what they own, and hear with their next
    /// heartbeat that they have to join again if it is to be another thing.
    pub(in super::super) fn of_classic(cx: &mut Cx<'_>, mut classic: Classic) -> Self {
        if let Some(stored) = classic.tombstone() {
            cx.write(stored);
        }
        let mut group = Self::new(classic.id.clone());
        (group.epoch, group.target_epoch) = (classic.generation, classic.generation);
        for (id, mut member) in std::mem::take(&mut classic.members) {
            if let Some(ticket) = member.joining.take() {
                cx.answer(ticket, join_refused(ErrorCode::RebalanceInProgress, &id));
            }
            if let Some(ticket) = member.syncing.take() {
                cx.answer(ticket, sync_refused(ErrorCode::RebalanceInProgress));
            }
            let Some(subscription) = subscription(&classic, &member) else { continue };
            group.take_over(cx, &id, member, &subscription, classic.generation);
        }
        cx.write(Stored::Consumer(group.stored()));
        cx.write(Stored::Consumer(group.stored_target()));
        group
    }

    fn take_over(
        &mut self,
        cx: &mut Cx<'_>,
        id: &Str,
        member: ClassicMember,
        subscription: &consumer_protocol::Subscription,
        generation: i32,
    ) {
        let assignment = consumer_protocol::assignment(&member.assignment).unwrap_or_default();
        let mut assigned = by_id(&assignment.partitions(), cx.image);
        // Nothing has kept a client from assigning a partition twice.
        for (topic, indexes) in &mut assigned {
            indexes.retain(|index| !self.owners.contains_key(&(*topic, *index)));
        }
        assigned.retain(|_, indexes| !indexes.is_empty());
        self.owners.extend(each(&assigned).map(|partition| (partition, id.clone())));
        let topics: BTreeSet<_> = subscription.topics.iter().map(own).collect();
        let profile = Profile {
            instance_id: member.instance_id,
            rack_id: subscription.rack_id.as_ref().map(own),
            client_id: member.client_id,
            client_host: member.client_host,
            rebalance_timeout: member.rebalance_timeout,
            topics: topics.into_iter().collect(),
            pattern: None,
            assignor: None,
            classic: Some(ClassicProfile {
                session_timeout: member.session_timeout,
                protocols: member.protocols,
            }),
        };
        self.add(id, profile);
        let Some(added) = self.members.get_mut(id) else { return };
        added.standing = Standing {
            epoch: generation,
            previous: generation,
            state: State::Stable,
            assigned: assigned.clone(),
            ..Standing::default()
        };
        added.target = assigned;
        added.deadline = member.deadline.min(cx.now.monotonic.saturating_add(member.session_timeout));
        for fact in [
            Fact::Member(super::member_key(&self.id, id), Some(added.value())),
            super::target_of(&self.id, id, &added.target),
            super::standing_of(&self.id, id, &added.standing),
        ] {
            cx.write(Stored::Consumer(fact));
        }
    }

    /// Whether only classic members are left, so that the group is to be theirs again.
    pub(in super::super) fn is_classic_again(&self) -> bool {
        !self.members.is_empty() && self.members.values().all(|member| member.profile.classic.is_some())
    }

    /// The group under the classic protocol; its members are told to join again.
    pub(in super::super) fn into_classic(mut self, cx: &mut Cx<'_>) -> Classic {
        for tombstone in self.tombstones() {
            cx.write(tombstone);
        }
        let mut classic = Classic::new(self.id.clone(), cx.now.wall);
        classic.generation = self.epoch;
        classic.protocol_type = Some(Str::from_static(CONSUMER));
        classic.instances = std::mem::take(&mut self.instances);
        for (id, member) in std::mem::take(&mut self.members) {
            if let Some(member) = into_classic_member(member, cx) {
                classic.members.insert(id, member);
            }
        }
        if classic.members.is_empty() {
            cx.write(classic.stored());
            return classic;
        }
        classic.protocol = classic.choose_protocol();
        classic.leader = classic.members.keys().next().cloned();
        classic.state = ClassicState::Stable;
        classic.read_holdings();
        cx.write(classic.stored());
        classic.prepare(cx);
        classic
    }
}

fn into_classic_member(member: Member, cx: &Cx<'_>) -> Option<ClassicMember> {
    let Member { profile, standing, deadline, .. } = member;
    let ClassicProfile { session_timeout, protocols } = profile.classic?;
    let assignment = consumer_protocol::encode_assignment(&by_name(&standing.assigned, cx.image), None);
    let until =
        if deadline == Duration::MAX { cx.now.monotonic.saturating_add(session_timeout) } else { deadline };
    Some(ClassicMember {
        instance_id: profile.instance_id,
        client_id: profile.client_id,
        client_host: profile.client_host,
        rebalance_timeout: profile.rebalance_timeout,
        session_timeout,
        protocols,
        assignment: assignment.unwrap_or_default(),
        joining: None,
        syncing: None,
        owes_sync: false,
        let_in: true,
        deadline: until,
    })
}
