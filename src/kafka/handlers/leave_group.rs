//! `LeaveGroup`: members leave, or are put out by an administrator.

use super::groups::{self, ANSWER_WITHIN};
use crate::{
    actors::group_coordinator::core::{Answer, Request},
    kafka::{Broker, connection::Session},
    wire::{
        ApiKey, ErrorCode,
        api::leave_group::{LeaveGroupRequest, LeaveGroupResponse},
    },
};

/// Tells the coordinator.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: LeaveGroupRequest,
    version: i16,
) -> LeaveGroupResponse {
    let group = request.group_id.clone();
    let outcome = match groups::named(&group) {
        Ok(()) => groups::ask(broker, session, version, &group, Request::Leave(request), ANSWER_WITHIN).await,
        Err(code) => Err(code),
    };
    let response = match outcome {
        Ok(Answer::Leave(response)) => response,
        Ok(_) => {
            LeaveGroupResponse { error_code: ErrorCode::UnknownServerError, ..LeaveGroupResponse::default() }
        }
        Err(error_code) => LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() },
    };
    groups::count(broker, ApiKey::LeaveGroup, response.error_code);
    for member in &response.members {
        groups::count(broker, ApiKey::LeaveGroup, member.error_code);
    }
    response
}
