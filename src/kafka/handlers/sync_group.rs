//! `SyncGroup`: the leader brings the assignment, everybody gets their own.

use std::time::Duration;

use super::groups;
use crate::{
    actors::group_coordinator::core::{Answer, Request},
    kafka::{Broker, connection::Session},
    wire::{
        ApiKey, ErrorCode,
        api::sync_group::{SyncGroupRequest, SyncGroupResponse},
    },
};

/// How long an assignment is waited for at most; the coordinator gives up a silent leader long before.
const ANSWER_WITHIN: Duration = Duration::from_hours(2);

/// Answers when the assignment is there.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: SyncGroupRequest,
    version: i16,
) -> SyncGroupResponse {
    let group = request.group_id.clone();
    let outcome = match groups::named(&group) {
        Ok(()) => groups::ask(broker, session, version, &group, Request::Sync(request), ANSWER_WITHIN).await,
        Err(code) => Err(code),
    };
    let response = match outcome {
        Ok(Answer::Sync(response)) => response,
        Ok(_) => {
            SyncGroupResponse { error_code: ErrorCode::UnknownServerError, ..SyncGroupResponse::default() }
        }
        Err(error_code) => SyncGroupResponse { error_code, ..SyncGroupResponse::default() },
    };
    groups::count(broker, ApiKey::SyncGroup, response.error_code);
    response
}
