//! `ConsumerGroupDescribe`: groups whose partitions the coordinator assigns, each from its coordinator (KIP-848).

use super::{
    describe_groups::GROUP_OPERATIONS,
    groups::{self, ANSWER_WITHIN},
};
use crate::{
    actors::group_coordinator::core::{Answer, Request},
    kafka::{Broker, connection::Session},
    wire::{
        ApiKey, ErrorCode, Str,
        api::consumer_group_describe::{
            ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup,
        },
    },
};

/// Asks for one after the other.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: ConsumerGroupDescribeRequest,
    version: i16,
) -> ConsumerGroupDescribeResponse {
    let mut groups = Vec::with_capacity(request.group_ids.len());
    for group in request.group_ids {
        let mut described = describe(broker, session, version, group).await;
        if request.include_authorized_operations && described.error_code == ErrorCode::None {
            described.authorized_operations = GROUP_OPERATIONS;
        }
        groups::count(broker, ApiKey::ConsumerGroupDescribe, described.error_code);
        groups.push(described);
    }
    ConsumerGroupDescribeResponse { groups, ..ConsumerGroupDescribeResponse::default() }
}

async fn describe(broker: &Broker, session: &Session, version: i16, group: Str) -> DescribedGroup {
    let request = Request::ConsumerDescribe { group: group.clone() };
    let error_code = match groups::ask(broker, session, version, &group, request, ANSWER_WITHIN).await {
        Ok(Answer::ConsumerDescribe(described)) => return described,
        Ok(_) => ErrorCode::UnknownServerError,
        Err(code) => code,
    };
    DescribedGroup { error_code, group_id: group, ..DescribedGroup::default() }
}
