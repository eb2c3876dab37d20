//! `ConsumerGroupHeartbeat`: all that a member says of a group whose partitions the coordinator assigns (KIP-848).

use super::groups::{self, ANSWER_WITHIN};
use crate::{
    actors::group_coordinator::core::{Answer, Request},
    kafka::{Broker, connection::Session},
    wire::{
        ApiKey, ErrorCode,
        api::consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse},
    },
};

/// Tells the coordinator.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: ConsumerGroupHeartbeatRequest,
    version: i16,
) -> ConsumerGroupHeartbeatResponse {
    let group = request.group_id.clone();
    let outcome = match groups::named(&group) {
        Ok(()) => {
            let request = Request::ConsumerHeartbeat(request);
            groups::ask(broker, session, version, &group, request, ANSWER_WITHIN).await
        }
        Err(code) => Err(code),
    };
    let refused = |error_code: ErrorCode| ConsumerGroupHeartbeatResponse {
        error_code,
        ..ConsumerGroupHeartbeatResponse::default()
    };
    let response = match outcome {
        Ok(Answer::ConsumerHeartbeat(response)) => response,
        Ok(_) => refused(ErrorCode::UnknownServerError),
        Err(code) => refused(code),
    };
    groups::count(broker, ApiKey::ConsumerGroupHeartbeat, response.error_code);
    response
}
