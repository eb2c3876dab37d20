//! `DescribeGroups`: groups with their members, each from its coordinator.

use super::groups::{self, ANSWER_WITHIN};
use crate::{
    actors::group_coordinator::core::{Answer, Request},
    kafka::{Broker, connection::Session},
    wire::{
        ApiKey, ErrorCode, Str,
        api::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup},
    },
};

/// Bits of what anybody may do to a group while there is no authorisation, as Kafka tells them: read, delete,
/// describe.
pub(super) const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8;

/// Asks for one after the other.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: DescribeGroupsRequest,
    version: i16,
) -> DescribeGroupsResponse {
    let mut groups = Vec::with_capacity(request.groups.len());
    for group in request.groups {
        let mut described = describe(broker, session, version, group).await;
        if request.include_authorized_operations && described.error_code == ErrorCode::None {
            described.authorized_operations = GROUP_OPERATIONS;
        }
        groups::count(broker, ApiKey::DescribeGroups, described.error_code);
        groups.push(described);
    }
    DescribeGroupsResponse { groups, ..DescribeGroupsResponse::default() }
}

async fn describe(broker: &Broker, session: &Session, version: i16, group: Str) -> DescribedGroup {
    let request = Request::Describe { group: group.clone() };
    let error_code = match groups::ask(broker, session, version, &group, request, ANSWER_WITHIN).await {
        Ok(Answer::Describe(described)) => return described,
        Ok(_) => ErrorCode::UnknownServerError,
        Err(code) => code,
    };
    DescribedGroup { error_code, group_id: group, ..DescribedGroup::default() }
}
