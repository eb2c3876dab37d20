//! `JoinGroup`: answered when the group has settled on its members.

use std::time::Duration;

use super::groups::{self, ANSWER_WITHIN};
use crate::{
    actors::group_coordinator::core::{Answer, Request},
    kafka::{Broker, connection::Session},
    wire::{
        ApiKey, ErrorCode,
        api::join_group::{JoinGroupRequest, JoinGroupResponse},
    },
};

/// Joins, or joins again.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: JoinGroupRequest,
    version: i16,
) -> JoinGroupResponse {
    let (group, member_id) = (request.group_id.clone(), request.member_id.clone());
    let outcome = match groups::named(&group) {
        Ok(()) => {
            let waits = request.rebalance_timeout_ms.max(request.session_timeout_ms);
            let within =
                Duration::from_millis(u64::try_from(waits).unwrap_or(0)).saturating_mul(2) + ANSWER_WITHIN;
            groups::ask(broker, session, version, &group, Request::Join(request), within).await
        }
        Err(code) => Err(code),
    };
    let response = match outcome {
        Ok(Answer::Join(response)) => response,
        Ok(_) => {
            JoinGroupResponse { error_code: ErrorCode::UnknownServerError, member_id, ..Default::default() }
        }
        Err(error_code) => JoinGroupResponse { error_code, member_id, ..JoinGroupResponse::default() },
    };
    groups::count(broker, ApiKey::JoinGroup, response.error_code);
    response
}
