//! `ListGroups`: the groups of every coordinator of this node.

use super::groups::{self, ANSWER_WITHIN};
use crate::{
    actors::group_coordinator::core::{Answer, ListFilter, Request},
    kafka::{Broker, connection::Session},
    wire::{
        ApiKey, ErrorCode,
        api::list_groups::{ListGroupsRequest, ListGroupsResponse},
    },
};

/// Asks all; with one that cannot tell, the answer says that groups may be missing.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: ListGroupsRequest,
    version: i16,
) -> ListGroupsResponse {
    let filter = ListFilter { states: request.states_filter, types: request.types_filter };
    let caller = groups::caller(session, version);
    let mut response = ListGroupsResponse::default();
    for answer in broker.groups.ask_all(&caller, &Request::List(filter), ANSWER_WITHIN).await {
        match answer {
            Ok(Answer::List(mut some)) => response.groups.append(&mut some),
            Ok(_) => response.error_code = ErrorCode::UnknownServerError,
            Err(refusal) => response.error_code = groups::code(refusal),
        }
    }
    groups::count(broker, ApiKey::ListGroups, response.error_code);
    response
}
