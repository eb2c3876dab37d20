//! What members ask of a group.

use super::{
    Coordinator, Cx, Effect, Now, Ticket,
    classic::{heartbeat_answer, join_refused, sync_refused},
    consumer::{self, Refused},
    group::{Group, Protocol},
    member::duration,
    request::{Answer, Caller},
};
use crate::wire::{
    ErrorCode,
    api::{
        consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse},
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
            if let Some(classic) = group.classic(cx) {
                classic.join(cx, ticket, caller, request);
            } else if let Protocol::Consumer(consumer) = &mut group.protocol {
                consumer.join(cx, ticket, caller, request);
                group.settle(cx);
            }
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
        self.with_group(&request.group_id, now, effects, |group, cx| match &mut group.protocol {
            Protocol::Classic(classic) => classic.sync(cx, ticket, request),
            Protocol::Consumer(consumer) => consumer.sync(cx, ticket, request),
        });
    }

    pub(super) fn on_heartbeat(
        &mut self,
        now: Now,
        ticket: Ticket,
        request: &HeartbeatRequest,
        effects: &mut Vec<Effect>,
    ) {
        if !self.groups.contains_key(&request.group_id) {
            effects.push(Effect::Answer(ticket, heartbeat_answer(ErrorCode::UnknownMemberId)));
            return;
        }
        self.with_group(&request.group_id, now, effects, |group, cx| {
            let (member, instance) = (&request.member_id, request.group_instance_id.as_ref());
            let code = match &mut group.protocol {
                Protocol::Classic(classic) => classic.heartbeat(cx, member, instance, request.generation_id),
                Protocol::Consumer(consumer) => {
                    let outcome = consumer.classic_heartbeat(cx, member, instance, request.generation_id);
                    outcome.err().unwrap_or(ErrorCode::None)
                }
            };
            cx.lives_until = Some(group.due(member));
            cx.answer(ticket, heartbeat_answer(code));
        });
    }

    pub(super) fn on_consumer_heartbeat(
        &mut self,
        now: Now,
        ticket: Ticket,
        caller: &Caller,
        request: &ConsumerGroupHeartbeatRequest,
        effects: &mut Vec<Effect>,
    ) {
        let valid = consumer::validate(request, caller.version, &self.settings.consumer.assignors);
        let known = self.groups.contains_key(&request.group_id);
        let refused = match valid {
            Err(refused) => Some(refused),
            // It joins again, which makes the group.
            Ok(()) if !known && request.member_epoch != consumer::JOINS => {
                Some(Refused::from(ErrorCode::UnknownMemberId))
            }
            Ok(()) => None,
        };
        if let Some(refused) = refused {
            effects.push(Effect::Answer(ticket, Answer::ConsumerHeartbeat(refused.answer())));
            return;
        }
        self.found(&request.group_id, now.wall);
        self.with_group(&request.group_id, now, effects, |group, cx| {
            let outcome = consumer_heartbeat(group, cx, caller, request);
            group.settle(cx);
            cx.answer(ticket, Answer::ConsumerHeartbeat(outcome.unwrap_or_else(Refused::answer)));
        });
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
                answer.members = match &mut group.protocol {
                    Protocol::Classic(classic) => {
                        leaving.into_iter().map(|leaving| classic.leave(cx, leaving)).collect()
                    }
                    Protocol::Consumer(consumer) => consumer.leave_all(cx, leaving),
                };
                group.settle(cx);
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

fn consumer_heartbeat(
    group: &mut Group,
    cx: &mut Cx<'_>,
    caller: &Caller,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, Refused> {
    if request.member_epoch != consumer::JOINS && matches!(group.protocol, Protocol::Classic(_)) {
        return Err(ErrorCode::UnknownMemberId.into());
    }
    match group.consumer(cx) {
        Some(consumer) => consumer.heartbeat(cx, caller, request),
        None => Err(Refused {
            code: ErrorCode::GroupIdNotFound,
            why: format!("group {} has members that are no consumers", request.group_id),
        }),
    }
}
