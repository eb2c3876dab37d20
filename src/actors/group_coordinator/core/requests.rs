//! What members of the classic protocol ask of a group.

use super::{
    Coordinator, Cx, Effect, Now, Ticket,
    classic::{heartbeat_answer, join_refused, sync_refused},
    group::Protocol,
    member::duration,
    request::{Answer, Caller},
};
use crate::wire::{
    ErrorCode,
    api::{
        heartbeat::HeartbeatRequest,
        join_group::JoinGroupRequest,
        leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse},
        sync_group::SyncGroupRequest,
    },
};

impl Coordinator {
    pub(super) fn on_join(
        &mut self,
        now: Now,
        ticket: Ticket,
        caller: &Caller,
        request: &JoinGroupRequest,
        effects: &mut Vec<Effect>,
    ) {
        let refused = |code| Effect::Answer(ticket, join_refused(code, &request.member_id));
        let session = duration(request.session_timeout_ms);
        if request.session_timeout_ms < 0
            || session < self.settings.min_session_timeout
            || session > self.settings.max_session_timeout
        {
            effects.push(refused(ErrorCode::InvalidSessionTimeout));
            return;
        }
        if !self.groups.contains_key(&request.group_id) {
            if !request.member_id.is_empty() {
                effects.push(refused(ErrorCode::UnknownMemberId));
                return;
            }
            self.found(&request.group_id, now.wall);
        }
        self.with_group(&request.group_id, now, effects, |group, cx| {
            let Protocol::Classic(classic) = &mut group.protocol;
            classic.join(cx, ticket, caller, request);
        });
    }

    pub(super) fn on_sync(
        &mut self,
        now: Now,
        ticket: Ticket,
        request: &SyncGroupRequest,
        effects: &mut Vec<Effect>,
    ) {
        if !self.groups.contains_key(&request.group_id) {
            effects.push(Effect::Answer(ticket, sync_refused(ErrorCode::UnknownMemberId)));
            return;
        }
        self.with_group(&request.group_id, now, effects, |group, cx| {
            let Protocol::Classic(classic) = &mut group.protocol;
            classic.sync(cx, ticket, request);
        });
    }

    pub(super) fn on_heartbeat(
        &mut self,
        now: Now,
        ticket: Ticket,
        request: &HeartbeatRequest,
        effects: &mut Vec<Effect>,
    ) {
        let Some(group) = self.groups.get_mut(&request.group_id) else {
            effects.push(Effect::Answer(ticket, heartbeat_answer(ErrorCode::UnknownMemberId)));
            return;
        };
        let cx = Cx::new(now, &self.settings, &self.image, effects);
        let instance = request.group_instance_id.as_ref();
        let Protocol::Classic(classic) = &mut group.protocol;
        let code = classic.heartbeat(&cx, &request.member_id, instance, request.generation_id);
        effects.push(Effect::Answer(ticket, heartbeat_answer(code)));
    }

    pub(super) fn on_leave(
        &mut self,
        now: Now,
        ticket: Ticket,
        caller: &Caller,
        request: LeaveGroupRequest,
        effects: &mut Vec<Effect>,
    ) {
        let mut answer = LeaveGroupResponse::default();
        if self.groups.contains_key(&request.group_id) {
            let one = MemberIdentity { member_id: request.member_id, ..MemberIdentity::default() };
            let leaving = if caller.version < 3 { vec![one] } else { request.members };
            self.with_group(&request.group_id, now, effects, |group, cx| {
                let Protocol::Classic(classic) = &mut group.protocol;
                answer.members = leaving.into_iter().map(|leaving| classic.leave(cx, leaving)).collect();
            });
        } else if caller.version < 3 {
            answer.error_code = ErrorCode::UnknownMemberId;
        } else {
            let unknown = |leaving: MemberIdentity| MemberResponse {
                member_id: leaving.member_id,
                group_instance_id: leaving.group_instance_id,
                error_code: ErrorCode::UnknownMemberId,
            };
            answer.members = request.members.into_iter().map(unknown).collect();
        }
        if caller.version < 3
            && let Some(only) = answer.members.pop()
        {
            answer.error_code = only.error_code;
        }
        effects.push(Effect::Answer(ticket, Answer::Leave(answer)));
    }
}
