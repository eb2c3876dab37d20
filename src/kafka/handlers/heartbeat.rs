//! `Heartbeat`: a member lives, and hears whether it has to join again.

use super::groups::{self, ANSWER_WITHIN};
use crate::{
    actors::group_coordinator::core::{Answer, Request},
    kafka::{Broker, connection::Session},
    wire::{
        ApiKey, ErrorCode,
        api::heartbeat::{HeartbeatRequest, HeartbeatResponse},
    },
};

/// Tells the coordinator.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: HeartbeatRequest,
    version: i16,
) -> HeartbeatResponse {
    let group = request.group_id.clone();
    let outcome = match groups::named(&group) {
        Ok(()) => {
            groups::ask(broker, session, version, &group, Request::Heartbeat(request), ANSWER_WITHIN).await
        }
        Err(code) => Err(code),
    };
    let response = match outcome {
        Ok(Answer::Heartbeat(response)) => response,
        Ok(_) => {
            HeartbeatResponse { error_code: ErrorCode::UnknownServerError, ..HeartbeatResponse::default() }
        }
        Err(error_code) => HeartbeatResponse { error_code, ..HeartbeatResponse::default() },
    };
    groups::count(broker, ApiKey::Heartbeat, response.error_code);
    response
}
