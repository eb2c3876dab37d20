//! Members that speak the classic protocol in a group whose partitions the coordinator assigns, so that its consumers
//! can be changed over one after the other (KIP-848, "online migration").
//!
//! To such a member every change looks like a rebalance that is over at once: it joins with what it owns, and fetches
//! what is its own. It is told to join again when it has to give back or can have more.

use super::{
    Consumer, Cx,
    heartbeat::JOINS,
    member::{ClassicProfile, Member, Profile, State, each},
    stored::Fact,
};
use crate::{
    actors::group_coordinator::{
        assignor::Partitions,
        consumer_protocol::{self, PartitionsByName, Subscription},
        core::{
            Ticket,
            attempts::Cause,
            classic::{CONSUMER, join_refused, sync_refused},
            image::Image,
            member::{duration, own, own_protocols},
            request::{Answer, Caller},
            stored::Stored,
        },
    },
    wire::{
        ErrorCode, Str,
        api::{
            join_group::{JoinGroupRequest, JoinGroupResponse},
            leave_group::{MemberIdentity, MemberResponse},
            sync_group::{SyncGroupRequest, SyncGroupResponse},
        },
    },
};

/// The first version in which a new member gets an id before it may join with it (KIP-394).
const ID_FIRST: i16 = 4;

impl Consumer {
    /// Joins, or joins again; answered at once.
    pub(in super::super) fn join(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: Ticket,
        caller: &Caller,
        request: &JoinGroupRequest,
    ) {
        let answer = match self.try_join(cx, caller, request) {
            Ok(answer) => Answer::Join(answer),
            Err((code, id)) => join_refused(code, &id),
        };
        cx.answer(ticket, answer);
    }

    fn try_join(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Caller,
        request: &JoinGroupRequest,
    ) -> Result<JoinGroupResponse, (ErrorCode, Str)> {
        let subscription = self.fits(request).map_err(|code| (code, request.member_id.clone()))?;
        let id = self.admit_classic(cx, caller, request)?;
        let owned = self.owned_by(&id, &subscription, cx.image);
        let profile = profile(caller, request, &subscription);
        let Some(member) = self.members.get_mut(&id) else { return Err((ErrorCode::UnknownMemberId, id)) };
        let wants_other = member.profile.topics != profile.topics
            || member.profile.pattern.is_some()
            || member.deadline == std::time::Duration::MAX;
        if member.profile != profile {
            member.profile = profile;
            cx.write(Stored::Consumer(Fact::Member(super::member_key(&self.id, &id), Some(member.value()))));
        }
        if wants_other {
            self.raise(cx);
        }
        self.reconcile(cx, &id, Some(&owned));
        let (now, session) = (cx.now.monotonic, cx.consumer_session(&self.id));
        let Some(member) = self.members.get_mut(&id) else { return Err((ErrorCode::UnknownMemberId, id)) };
        member.heard_of(now, session);
        member.acts_by = Some(now.saturating_add(member.profile.rebalance_timeout));
        Ok(JoinGroupResponse {
            generation_id: member.standing.epoch,
            protocol_type: Some(Str::from_static(CONSUMER)),
            protocol_name: request.protocols.first().map(|protocol| own(&protocol.name)),
            member_id: id,
            ..JoinGroupResponse::default()
        })
    }

    /// Whether the member speaks what those speak that do as it does.
    fn fits(&self, request: &JoinGroupRequest) -> Result<Subscription, ErrorCode> {
        let refused = ErrorCode::InconsistentGroupProtocol;
        let first = request.protocols.first().filter(|_| request.protocol_type == CONSUMER).ok_or(refused)?;
        let others = self.members.iter().filter(|(id, _)| **id != request.member_id);
        let others: Vec<_> = others.filter_map(|(_, member)| member.profile.classic.as_ref()).collect();
        let is_common = |name: &Str| {
            others.iter().all(|other| other.protocols.iter().any(|(protocol, _)| protocol == name))
        };
        if !request.protocols.iter().any(|protocol| is_common(&protocol.name)) {
            return Err(refused);
        }
        consumer_protocol::subscription(&first.metadata).map_err(|_| refused)
    }

    /// The id of the member that there is by now.
    fn admit_classic(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Caller,
        request: &JoinGroupRequest,
    ) -> Result<Str, (ErrorCode, Str)> {
        let instance = request.group_instance_id.as_ref();
        let id = own(&request.member_id);
        let former = instance.and_then(|instance| self.instances.get(instance)).cloned();
        if let Some(former) = former {
            if !id.is_empty() {
                let is_it = former == id;
                return if is_it { Ok(id) } else { Err((ErrorCode::FencedInstanceId, id)) };
            }
            let id = new_id(instance.unwrap_or(&caller.client_id), caller);
            cx.owner_lost(&former, Cause::Replaced);
            self.take_place(cx, &former, &id);
            return Ok(id);
        }
        if self.members.contains_key(&id) {
            return Ok(id);
        }
        if self.members.len() >= cx.consumer_max_size() {
            return Err((ErrorCode::GroupMaxSizeReached, id));
        }
        let is_nameless = id.is_empty();
        let id = if is_nameless { new_id(instance.unwrap_or(&caller.client_id), caller) } else { id };
        if is_nameless && instance.is_none() && caller.version >= ID_FIRST {
            return Err((ErrorCode::MemberIdRequired, id));
        }
        self.add(&id, Profile { instance_id: instance.map(own), ..Profile::default() });
        Ok(id)
    }

    /// What a member owns as it joins. One that speaks an eager protocol has given everything back.
    fn owned_by(&self, id: &Str, subscription: &Subscription, image: &Image) -> Partitions {
        let epoch = self.members.get(id).map_or(JOINS, |member| member.standing.epoch);
        let is_of_now = subscription.generation_id < 0 || subscription.generation_id == epoch;
        if is_of_now { by_id(&subscription.owned(), image) } else { Partitions::new() }
    }

    /// A member fetches what is its own.
    pub(in super::super) fn sync(&mut self, cx: &mut Cx<'_>, ticket: Ticket, request: &SyncGroupRequest) {
        let answer = match self.try_sync(cx, request) {
            Ok(answer) => Answer::Sync(answer),
            Err(code) => sync_refused(code),
        };
        cx.answer(ticket, answer);
    }

    fn try_sync(&mut self, cx: &Cx<'_>, request: &SyncGroupRequest) -> Result<SyncGroupResponse, ErrorCode> {
        let instance = request.group_instance_id.as_ref();
        let (epoch, now, session) = (self.epoch, cx.now.monotonic, cx.consumer_session(&self.id));
        let member = self.classic_member(&request.member_id, instance, request.generation_id)?;
        let other_kind = request.protocol_type.as_ref().is_some_and(|kind| *kind != CONSUMER);
        let speaks = |name: &Str| {
            let classic = member.profile.classic.as_ref();
            classic.is_some_and(|classic| classic.protocols.iter().any(|(protocol, _)| protocol == name))
        };
        if other_kind || request.protocol_name.as_ref().is_some_and(|name| !speaks(name)) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        member.heard_of(now, session);
        let acts_by = Some(now.saturating_add(member.profile.rebalance_timeout));
        let has_to_give = member.standing.state == State::Unrevoked;
        if epoch > member.standing.epoch && !has_to_give {
            member.acts_by = acts_by;
            return Err(ErrorCode::RebalanceInProgress);
        }
        member.acts_by = acts_by.filter(|_| has_to_give);
        let assignment =
            consumer_protocol::encode_assignment(&by_name(&member.standing.assigned, cx.image), None)
                .map_err(|_| ErrorCode::UnknownServerError)?;
        Ok(SyncGroupResponse {
            protocol_type: Some(Str::from_static(CONSUMER)),
            protocol_name: request.protocol_name.clone(),
            assignment,
            ..SyncGroupResponse::default()
        })
    }

    /// A sign of life, and whether the member has to join again.
    pub(in super::super) fn classic_heartbeat(
        &mut self,
        cx: &Cx<'_>,
        member: &Str,
        instance: Option<&Str>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        let (epoch, now, session) = (self.epoch, cx.now.monotonic, cx.consumer_session(&self.id));
        let gets_more = self.members.get(member).is_some_and(|of| self.can_have_more(member, of));
        let member = self.classic_member(member, instance, generation)?;
        member.heard_of(now, session);
        let has_to_give = member.standing.state == State::Unrevoked;
        if member.standing.epoch < epoch || has_to_give || gets_more {
            let acts_by = now.saturating_add(member.profile.rebalance_timeout);
            member.acts_by.get_or_insert(acts_by);
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    fn can_have_more(&self, id: &Str, member: &Member) -> bool {
        member.standing.state == State::Unreleased
            && each(&member.target).any(|(topic, index)| {
                !super::member::contains(&member.standing.assigned, topic, index)
                    && self.owners.get(&(topic, index)).is_none_or(|owner| owner == id)
            })
    }

    fn classic_member(
        &mut self,
        id: &Str,
        instance: Option<&Str>,
        generation: i32,
    ) -> Result<&mut Member, ErrorCode> {
        let member = self.known(id, instance)?;
        if member.profile.classic.is_none() {
            return Err(ErrorCode::UnknownMemberId);
        }
        if generation != member.standing.epoch {
            return Err(ErrorCode::IllegalGeneration);
        }
        self.members.get_mut(id).ok_or(ErrorCode::UnknownMemberId)
    }

    /// Members leave, or are made to by an administrator.
    pub(in super::super) fn leave_all(
        &mut self,
        cx: &mut Cx<'_>,
        leaving: Vec<MemberIdentity>,
    ) -> Vec<MemberResponse> {
        let (mut gone, mut answers) = (Vec::new(), Vec::with_capacity(leaving.len()));
        for leaving in leaving {
            let error_code = match self.leaves(&leaving) {
                Ok(id) => {
                    let poll = self.members.get(&id).map(|member| member.profile.rebalance_timeout);
                    cx.owner_leaves(&id, leaving.reason.as_ref(), poll.unwrap_or_default());
                    gone.push(id);
                    ErrorCode::None
                }
                Err(code) => code,
            };
            let MemberIdentity { member_id, group_instance_id, .. } = leaving;
            answers.push(MemberResponse { member_id, group_instance_id, error_code });
        }
        self.remove(cx, &gone);
        answers
    }

    fn leaves(&self, leaving: &MemberIdentity) -> Result<Str, ErrorCode> {
        let id = match &leaving.group_instance_id {
            None => &leaving.member_id,
            // An administrator need not know a static member's id.
            Some(instance) => {
                let id = self.instances.get(instance).ok_or(ErrorCode::UnknownMemberId)?;
                if !leaving.member_id.is_empty() && leaving.member_id != *id {
                    return Err(ErrorCode::FencedInstanceId);
                }
                id
            }
        };
        self.known(id, None)?;
        Ok(own(id))
    }
}

fn profile(caller: &Caller, request: &JoinGroupRequest, subscription: &Subscription) -> Profile {
    let session_timeout = duration(request.session_timeout_ms);
    let rebalance = request.rebalance_timeout_ms;
    let mut topics: Vec<_> = subscription.topics.iter().map(own).collect();
    topics.sort_unstable();
    topics.dedup();
    Profile {
        instance_id: request.group_instance_id.as_ref().map(own),
        rack_id: subscription.rack_id.as_ref().map(own),
        client_id: own(&caller.client_id),
        client_host: own(&caller.client_host),
        rebalance_timeout: if rebalance < 0 { session_timeout } else { duration(rebalance) },
        topics,
        pattern: None,
        assignor: None,
        classic: Some(ClassicProfile { session_timeout, protocols: own_protocols(&request.protocols) }),
    }
}

fn new_id(name: &Str, caller: &Caller) -> Str {
    Str::from(format!("{name}-{}", caller.fresh))
}

/// Partitions of topics that there are, by their ids.
pub(super) fn by_id(partitions: &PartitionsByName, image: &Image) -> Partitions {
    let mut by_id = Partitions::new();
    for (name, indexes) in partitions.iter().filter(|(_, indexes)| !indexes.is_empty()) {
        if let Some(topic) = image.topics.get(name) {
            by_id.insert(topic.id, indexes.clone());
        }
    }
    by_id
}

/// The same by their names.
pub(super) fn by_name(partitions: &Partitions, image: &Image) -> PartitionsByName {
    let named = |(id, indexes): (&_, &std::collections::BTreeSet<_>)| {
        Some((image.name_of(*id)?.clone(), indexes.clone()))
    };
    partitions.iter().filter_map(named).collect()
}
