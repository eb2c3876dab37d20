//! How members come into a group of the classic protocol, get their share and leave.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{
    Cx, Ticket,
    attempts::Cause,
    classic::{Classic, First, Gathering, State, join_refused, replace_ticket, sync_refused},
    member::{Member, Protocols, duration, own, own_bytes, own_protocols},
    request::{Answer, Caller},
};
use crate::wire::{
    ErrorCode, Str,
    api::{
        join_group::JoinGroupRequest,
        leave_group::{MemberIdentity, MemberResponse},
        sync_group::SyncGroupRequest,
    },
};

/// The first version in which a new member gets an id before it may join with it (KIP-394).
const ID_FIRST: i16 = 4;
/// The first version in which a leader can be told to keep the assignment (KIP-814).
const CAN_SKIP_ASSIGNMENT: i16 = 9;

impl Classic {
    /// Joins, or joins again; answered now or when the generation begins.
    pub(super) fn join(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: Ticket,
        caller: &Caller,
        request: &JoinGroupRequest,
    ) {
        if let Err((code, id)) = self.try_join(cx, ticket, caller, request) {
            cx.answer(ticket, join_refused(code, &id));
        }
    }

    fn try_join(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: Ticket,
        caller: &Caller,
        request: &JoinGroupRequest,
    ) -> Result<(), (ErrorCode, Str)> {
        let id = own(&request.member_id);
        let refused = |code| (code, id.clone());
        self.fits(request).map_err(refused)?;
        self.may_join_exclusive(cx, caller, request).map_err(refused)?;
        let instance = request.group_instance_id.as_ref();
        if id.is_empty() {
            return match instance.and_then(|instance| self.instances.get(instance)).cloned() {
                Some(old) => {
                    self.replace_static(cx, ticket, caller, request, &old);
                    Ok(())
                }
                None => self.join_new(cx, ticket, caller, request),
            };
        }
        if self.invited.remove(&id).is_some() {
            self.add(cx, ticket, caller, request, id);
            return Ok(());
        }
        self.known(&id, instance).map_err(refused)?;
        self.join_again(cx, ticket, caller, request, &id);
        Ok(())
    }

    /// Whether the member speaks what the group speaks.
    fn fits(&self, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
        let refused = Err(ErrorCode::InconsistentGroupProtocol);
        if request.protocol_type.is_empty() || request.protocols.is_empty() {
            return refused;
        }
        if self.members.is_empty() {
            return Ok(());
        }
        let same_kind = self.protocol_type.as_ref() == Some(&request.protocol_type);
        let common =
            request.protocols.iter().any(|protocol| self.all_speak(&protocol.name, Some(&request.member_id)));
        if same_kind && common { Ok(()) } else { refused }
    }

    fn join_new(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: Ticket,
        caller: &Caller,
        request: &JoinGroupRequest,
    ) -> Result<(), (ErrorCode, Str)> {
        if self.members.len() + self.invited.len() >= cx.settings.max_size as usize {
            return Err((ErrorCode::GroupMaxSizeReached, Str::default()));
        }
        let instance = request.group_instance_id.as_ref();
        let id = new_id(instance.unwrap_or(&caller.client_id), caller.fresh);
        if instance.is_none() && caller.version >= ID_FIRST {
            let until = cx.now.monotonic.saturating_add(duration(request.session_timeout_ms));
            self.invited.insert(id.clone(), until);
            return Err((ErrorCode::MemberIdRequired, id));
        }
        self.add(cx, ticket, caller, request, id);
        Ok(())
    }

    fn add(&mut self, cx: &mut Cx<'_>, ticket: Ticket, caller: &Caller, request: &JoinGroupRequest, id: Str) {
        if self.members.is_empty() {
            self.protocol_type = Some(own(&request.protocol_type));
        }
        let instance = request.group_instance_id.as_ref().map(own);
        if let Some(instance) = &instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        let mut member = new_member(caller, request, instance);
        member.joining = Some(ticket);
        member.heard_of(cx.now.monotonic);
        self.members.insert(id, member);
        match &mut self.state {
            State::Preparing(Gathering { first: Some(First { grew, .. }), .. }) => *grew = true,
            State::Preparing(Gathering { first: None, .. }) => self.complete_if_all_joined(cx),
            State::Empty | State::Completing | State::Stable => self.prepare(cx),
        }
    }

    fn join_again(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: Ticket,
        caller: &Caller,
        request: &JoinGroupRequest,
        id: &Str,
    ) {
        let protocols = own_protocols(&request.protocols);
        let leads = self.leader.as_ref() == Some(id);
        let Some(member) = self.members.get_mut(id) else { return };
        let unchanged = member.protocols == protocols;
        member.heard_of(cx.now.monotonic);
        let settled = match self.state {
            // The answer of this generation may have been lost on its way.
            State::Completing => unchanged,
            State::Stable => unchanged && !leads,
            State::Empty | State::Preparing(_) => false,
        };
        if settled {
            let answer = self.current_for(id, false);
            cx.answer(ticket, Answer::Join(answer));
            return;
        }
        renew(member, caller, request, protocols);
        replace_ticket(&mut member.joining, ticket, cx, |code| join_refused(code, id));
        self.gather(cx);
    }

    /// A member that was there before waits for the next generation.
    fn gather(&mut self, cx: &mut Cx<'_>) {
        match self.state {
            State::Preparing(_) => self.complete_if_all_joined(cx),
            State::Empty | State::Completing | State::Stable => self.prepare(cx),
        }
    }

    /// A static member has come back without knowing who it was: it takes the place of its former self (KIP-345).
    fn replace_static(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: Ticket,
        caller: &Caller,
        request: &JoinGroupRequest,
        old: &Str,
    ) {
        let Some(instance) = request.group_instance_id.as_ref().map(own) else { return };
        let id = new_id(&instance, caller.fresh);
        let led = self.leader.as_ref() == Some(old);
        let Some(mut member) = self.forget(old, cx, ErrorCode::FencedInstanceId) else { return };
        cx.owner_lost(old, Cause::Replaced);
        cx.owners_changed = true;
        let protocols = own_protocols(&request.protocols);
        let chosen = self.protocol.clone().unwrap_or_default();
        let told_before = member.metadata(&chosen);
        renew(&mut member, caller, request, protocols);
        member.heard_of(cx.now.monotonic);
        member.owes_sync = false;
        let unchanged = member.metadata(&chosen) == told_before;
        self.instances.insert(instance, id.clone());
        self.members.insert(id.clone(), member);
        self.hand_down(old, &id);
        if led {
            self.leader = Some(id.clone());
        }
        if self.state == State::Stable && unchanged && self.choose_protocol() == self.protocol {
            cx.write(self.stored());
            let mut answer = self.current_for(&id, led && caller.version >= CAN_SKIP_ASSIGNMENT);
            if led && !answer.skip_assignment {
                // A client that cannot be told to keep the assignment must not make another: to it somebody else leads.
                (answer.leader, answer.members) = (own(old), Vec::new());
            }
            cx.answer(ticket, Answer::Join(answer));
            return;
        }
        if let Some(member) = self.members.get_mut(&id) {
            (member.joining, member.let_in) = (Some(ticket), false);
        }
        self.gather(cx);
    }

    /// The leader brings the assignment; everybody is answered once it is there.
    pub(super) fn sync(&mut self, cx: &mut Cx<'_>, ticket: Ticket, request: &SyncGroupRequest) {
        if let Err(code) = self.may_sync(request) {
            cx.answer(ticket, sync_refused(code));
            return;
        }
        let id = own(&request.member_id);
        let Some(member) = self.members.get_mut(&id) else { return };
        member.owes_sync = false;
        member.heard_of(cx.now.monotonic);
        replace_ticket(&mut member.syncing, ticket, cx, sync_refused);
        if self.state == State::Stable {
            self.answer_synced(cx, &id);
        } else if self.leader.as_ref() == Some(&id) && self.is_exclusive(cx) {
            self.assign_exclusively(cx);
        } else if self.leader.as_ref() == Some(&id) {
            let shares = request.assignments.iter();
            let shares: BTreeMap<_, _> =
                shares.map(|share| (own(&share.member_id), own_bytes(&share.assignment))).collect();
            self.assign(cx, shares);
        }
        self.settle_syncs();
        self.hand_on_what_was_revoked(cx);
    }

    fn may_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.known_at(&request.member_id, request.group_instance_id.as_ref(), request.generation_id)?;
        let differs = |told: &Option<Str>, ours: &Option<Str>| told.is_some() && told != ours;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match self.state {
            State::Empty => Err(ErrorCode::UnknownMemberId),
            State::Preparing(_) => Err(ErrorCode::RebalanceInProgress),
            State::Completing | State::Stable => Ok(()),
        }
    }

    /// One member leaves.
    pub(super) fn leave(&mut self, cx: &mut Cx<'_>, leaving: MemberIdentity) -> MemberResponse {
        let error_code = self.try_leave(cx, &leaving).err().unwrap_or(ErrorCode::None);
        MemberResponse {
            member_id: leaving.member_id,
            group_instance_id: leaving.group_instance_id,
            error_code,
        }
    }

    fn try_leave(&mut self, cx: &mut Cx<'_>, leaving: &MemberIdentity) -> Result<(), ErrorCode> {
        let id = match &leaving.group_instance_id {
            None if self.invited.remove(&leaving.member_id).is_some() => {
                self.complete_if_all_joined(cx);
                return Ok(());
            }
            None => leaving.member_id.clone(),
            // An administrator need not know a static member's id.
            Some(instance) => {
                let id = self.instances.get(instance).ok_or(ErrorCode::UnknownMemberId)?;
                if !leaving.member_id.is_empty() && leaving.member_id != *id {
                    return Err(ErrorCode::FencedInstanceId);
                }
                id.clone()
            }
        };
        self.known(&id, None)?;
        if let Some(member) = self.members.get(&id) {
            cx.owner_leaves(&id, leaving.reason.as_ref(), member.rebalance_timeout);
        }
        self.remove(cx, &id);
        Ok(())
    }
}

fn new_id(name: &Str, fresh: Uuid) -> Str {
    Str::from(format!("{name}-{fresh}"))
}

fn new_member(caller: &Caller, request: &JoinGroupRequest, instance_id: Option<Str>) -> Member {
    let mut member = Member {
        instance_id,
        client_id: Str::default(),
        client_host: Str::default(),
        rebalance_timeout: duration(0),
        session_timeout: duration(0),
        protocols: Vec::new(),
        assignment: bytes::Bytes::new(),
        joining: None,
        syncing: None,
        owes_sync: false,
        let_in: false,
        deadline: std::time::Duration::MAX,
    };
    renew(&mut member, caller, request, own_protocols(&request.protocols));
    member
}

fn renew(member: &mut Member, caller: &Caller, request: &JoinGroupRequest, protocols: Protocols) {
    member.client_id = own(&caller.client_id);
    member.client_host = own(&caller.client_host);
    member.session_timeout = duration(request.session_timeout_ms);
    let rebalance = request.rebalance_timeout_ms;
    member.rebalance_timeout = if rebalance < 0 { member.session_timeout } else { duration(rebalance) };
    member.protocols = protocols;
}
