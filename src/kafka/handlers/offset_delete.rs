//! `OffsetDelete`: forgets offsets of topics that a group does not consume.

use super::groups::{self, ANSWER_WITHIN};
use crate::{
    actors::group_coordinator::core::{Answer, Partitions, Request},
    kafka::{Broker, connection::Session},
    model::PartitionIndex,
    wire::{
        ApiKey, ErrorCode, Str,
        api::offset_delete::{
            OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
            OffsetDeleteResponseTopic,
        },
    },
};

/// Tells the coordinator.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: OffsetDeleteRequest,
    version: i16,
) -> OffsetDeleteResponse {
    let group = request.group_id;
    let topics = request.topics.into_iter().map(|topic| Partitions {
        topic: topic.name,
        indexes: topic.partitions.into_iter().map(|partition| partition.partition_index).collect(),
    });
    let request = Request::DeleteOffsets { group: group.clone(), topics: topics.collect() };
    let outcome = match groups::named(&group) {
        Ok(()) => groups::ask(broker, session, version, &group, request, ANSWER_WITHIN).await,
        Err(code) => Err(code),
    };
    let outcome = match outcome {
        Ok(Answer::DeleteOffsets(outcome)) => outcome,
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(code) => Err(code),
    };
    match outcome {
        Ok(topics) => {
            let topics = topics.into_iter().map(|topic| answer(broker, topic)).collect();
            OffsetDeleteResponse { topics, ..OffsetDeleteResponse::default() }
        }
        Err(error_code) => {
            groups::count(broker, ApiKey::OffsetDelete, error_code);
            OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() }
        }
    }
}

fn answer(
    broker: &Broker,
    (name, codes): (Str, Vec<(PartitionIndex, ErrorCode)>),
) -> OffsetDeleteResponseTopic {
    let partitions = codes.into_iter().map(|(partition_index, error_code)| {
        groups::count(broker, ApiKey::OffsetDelete, error_code);
        OffsetDeleteResponsePartition { partition_index, error_code }
    });
    OffsetDeleteResponseTopic { partitions: partitions.collect(), name }
}
