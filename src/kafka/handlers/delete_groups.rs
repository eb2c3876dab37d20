//! `DeleteGroups`: forgets groups that have no members, with their offsets.

use super::groups::{self, ANSWER_WITHIN};
use crate::{
    actors::group_coordinator::core::{Answer, Request},
    kafka::{Broker, connection::Session},
    wire::{
        ApiKey, ErrorCode,
        api::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse},
    },
};

/// One after the other, each on its own.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: DeleteGroupsRequest,
    version: i16,
) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in request.groups_names {
        let delete = Request::Delete { group: group_id.clone() };
        let outcome = match groups::named(&group_id) {
            Ok(()) => groups::ask(broker, session, version, &group_id, delete, ANSWER_WITHIN).await,
            Err(code) => Err(code),
        };
        let error_code = match outcome {
            Ok(Answer::Delete(code)) | Err(code) => code,
            Ok(_) => ErrorCode::UnknownServerError,
        };
        groups::count(broker, ApiKey::DeleteGroups, error_code);
        results.push(DeletableGroupResult { group_id, error_code });
    }
    DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() }
}
