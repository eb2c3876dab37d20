//! `exclusive` in a classic group of consumers: the coordinator assigns in the leading member's place.
//!
//! By the group config `assignor=exclusive`. Members go through the protocol as ever, and what their leader brings
//! is put aside: each is told of one partition at most, in the standard bytes. Whoever cannot be understood is put
//! out of the group with code 23, and refused when it joins.
//!
//! Members of a cooperative protocol go on reading what they hold while they join, and say what that is. Such a
//! partition is given to nobody else before its holder has joined without it (one owner, S21); as soon as all know
//! what they have to give up, they are to join again. A member that never gives it up is not asked for ever.

use std::collections::BTreeMap;

use super::{
    Coordinator, Cx, Effect, Now,
    classic::{CONSUMER, Classic, State},
    group::Protocol,
    holdings::{Seen, assigned, is_current},
    image::Image,
    request::Caller,
};
use crate::{
    actors::group_coordinator::{
        assignor::{Assignment, Assignor, Partitions},
        consumer_protocol::{self, PartitionsByName},
    },
    config::group::ClassicAssignor,
    model::{PartitionIndex, TopicId},
    wire::{ErrorCode, Str, api::join_group::JoinGroupRequest},
};

impl Coordinator {
    /// Looks at the groups that depend on what may have changed.
    pub(super) fn follow_image(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let ids: Vec<_> = self.groups.keys().cloned().collect();
        for id in ids {
            self.with_group(&id, now, effects, |group, cx| match &mut group.protocol {
                Protocol::Classic(classic) => classic.follow_image(cx),
                Protocol::Consumer(consumer) => consumer.refresh(cx),
            });
        }
    }
}

impl Classic {
    pub(super) fn is_exclusive(&self, cx: &Cx<'_>) -> bool {
        cx.image.group(&self.id).assignor == ClassicAssignor::Exclusive
    }

    /// Whether who joins can be understood, where that matters.
    pub(super) fn may_join_exclusive(
        &self,
        cx: &Cx<'_>,
        caller: &Caller,
        request: &JoinGroupRequest,
    ) -> Result<(), ErrorCode> {
        if !self.is_exclusive(cx) {
            return Ok(());
        }
        let readable = request
            .protocols
            .iter()
            .all(|protocol| consumer_protocol::subscription(&protocol.metadata).is_ok());
        if request.protocol_type == CONSUMER && readable {
            return Ok(());
        }
        self.not_understood(&request.member_id, &caller.client_id);
        Err(ErrorCode::InconsistentGroupProtocol)
    }

    fn not_understood(&self, member: &Str, client: &Str) {
        tracing::warn!(
            group = %self.id.escape_debug(),
            member = %member.escape_debug(),
            client = %client.escape_debug(),
            "assignor=exclusive: refused with code 23: not a consumer, or its subscription cannot be read"
        );
    }

    /// Assigns in the leader's place, as the leader asks for what it has assigned.
    pub(super) fn assign_exclusively(&mut self, cx: &mut Cx<'_>) {
        let seen = match self.see(cx.image) {
            Ok(seen) => seen,
            Err(strangers) => return self.put_out(cx, &strangers),
        };
        let mut assignment = Assignor::Exclusive.assign(&seen.spec);
        let withheld = withhold(&mut assignment, &seen.claims);
        let asked_before = withheld == self.holdings.withheld;
        let shares = assignment.iter().map(|(id, share)| {
            let names = share
                .iter()
                .filter_map(|(topic, indexes)| Some((cx.image.name_of(*topic)?.clone(), indexes.clone())));
            // No name and no set is too long here: each is of a topic, and of one partition.
            let bytes = consumer_protocol::encode_assignment(&names.collect::<PartitionsByName>(), None);
            (id.clone(), bytes.unwrap_or_default())
        });
        let shares = shares.collect();
        self.assign(cx, shares);
        self.holdings.basis = Some(seen.basis);
        self.holdings.revokes = !withheld.is_empty() && !asked_before;
        self.holdings.withheld = withheld;
    }

    fn put_out(&mut self, cx: &mut Cx<'_>, strangers: &[Str]) {
        for id in strangers {
            if let Some(member) = self.forget(id, cx, ErrorCode::InconsistentGroupProtocol) {
                self.not_understood(id, &member.client_id);
            }
        }
        self.prepare(cx);
    }

    /// Once everybody knows what to give up, all join again without it.
    pub(super) fn hand_on_what_was_revoked(&mut self, cx: &mut Cx<'_>) {
        let all_know = self.members.values().all(|member| !member.owes_sync);
        if self.state == State::Stable && all_know && std::mem::take(&mut self.holdings.revokes) {
            self.prepare(cx);
        }
    }

    /// Begins a generation where the one that there is was assigned by what does not hold any more.
    fn follow_image(&mut self, cx: &mut Cx<'_>) {
        if self.state != State::Stable {
            return;
        }
        self.count_unowned(cx.image);
        let outdated = match (&self.holdings.basis, self.is_exclusive(cx)) {
            (Some(basis), true) => !is_current(basis, cx.image),
            (Some(_), false) => true,
            (None, true) => !self.is_as_exclusive_says(cx.image),
            (None, false) => false,
        };
        if outdated {
            self.prepare(cx);
        }
    }

    /// Whether an assignment of which it is not known who made it is one that could stay.
    fn is_as_exclusive_says(&mut self, image: &Image) -> bool {
        let Ok(Seen { spec, basis, .. }) = self.see(image) else { return false };
        let names = self.members.values().filter_map(|member| assigned(&member.assignment).ok());
        if names.flat_map(BTreeMap::into_keys).any(|name| !image.topics.contains_key(&name)) {
            // A node that starts may not know all of its topics yet; of one that is gone members hear by themselves.
            return true;
        }
        let says = Assignor::Exclusive.assign(&spec);
        let as_it_is = spec.members.iter().all(|(id, member)| says.get(id) == Some(&member.owned));
        if as_it_is {
            self.holdings.basis = Some(basis);
        }
        as_it_is
    }
}

/// Takes out of an assignment what others than the one that is to have it still hold, and says what that is.
fn withhold(assignment: &mut Assignment, claims: &BTreeMap<Str, Partitions>) -> Partitions {
    let mut claimed = Partitions::new();
    for (topic, indexes) in claims.values().flatten() {
        claimed.entry(*topic).or_default().extend(indexes);
    }
    let holds = |claims: &Partitions, topic: &TopicId, index: &PartitionIndex| {
        claims.get(topic).is_some_and(|indexes| indexes.contains(index))
    };
    let mut withheld = Partitions::new();
    for (id, share) in assignment {
        let own = claims.get(id);
        for (topic, indexes) in &mut *share {
            indexes.retain(|index| {
                let held_by_it = own.is_some_and(|own| holds(own, topic, index));
                let goes = held_by_it || !holds(&claimed, topic, index);
                if !goes {
                    withheld.entry(*topic).or_default().insert(*index);
                }
                goes
            });
        }
        share.retain(|_, indexes| !indexes.is_empty());
    }
    withheld
}
