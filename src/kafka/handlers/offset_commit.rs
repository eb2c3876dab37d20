//! `OffsetCommit`: keeps how far a group has come. Durable when it is answered.

use std::collections::HashMap;

use super::groups::{self, ANSWER_WITHIN};
use crate::{
    actors::group_coordinator::core::{Answer, Commit, CommitTopic, PerPartition, Request},
    kafka::{Broker, connection::Session},
    model::PartitionIndex,
    wire::{
        ApiKey, ErrorCode, Str,
        api::offset_commit::{
            OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse,
            OffsetCommitResponsePartition, OffsetCommitResponseTopic,
        },
    },
};

/// Commits for partitions that there are; the others are refused one by one.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: OffsetCommitRequest,
    version: i16,
) -> OffsetCommitResponse {
    let asked: Vec<(Str, Vec<PartitionIndex>)> = request.topics.iter().map(of_topic).collect();
    let topics: Vec<_> = request.topics.into_iter().filter_map(|topic| that_exist(broker, topic)).collect();
    let group = request.group_id;
    let commit = Commit {
        group: group.clone(),
        member_id: request.member_id,
        instance_id: request.group_instance_id,
        generation: request.generation_id_or_member_epoch,
        retention_ms: request.retention_time_ms,
        topics,
    };
    let outcome = groups::ask(broker, session, version, &group, Request::Commit(commit), ANSWER_WITHIN).await;
    let outcome = match outcome {
        Ok(Answer::Commit(codes)) => Ok(by_partition(codes)),
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(code) => Err(code),
    };
    let code = |topic: &Str, index: PartitionIndex| match &outcome {
        Ok(codes) => {
            codes.get(&(topic.clone(), index)).copied().unwrap_or(ErrorCode::UnknownTopicOrPartition)
        }
        Err(code) => *code,
    };
    let topics = asked
        .into_iter()
        .map(|(name, indexes)| OffsetCommitResponseTopic {
            partitions: indexes
                .into_iter()
                .map(|partition_index| {
                    let error_code = code(&name, partition_index);
                    groups::count(broker, ApiKey::OffsetCommit, error_code);
                    OffsetCommitResponsePartition { partition_index, error_code }
                })
                .collect(),
            name,
        })
        .collect();
    OffsetCommitResponse { topics, ..OffsetCommitResponse::default() }
}

fn of_topic(topic: &OffsetCommitRequestTopic) -> (Str, Vec<PartitionIndex>) {
    (topic.name.clone(), topic.partitions.iter().map(|partition| partition.partition_index).collect())
}

fn that_exist(broker: &Broker, asked: OffsetCommitRequestTopic) -> Option<CommitTopic> {
    let topic = broker.topics.by_name(&asked.name)?;
    let mut partitions = asked.partitions;
    partitions.retain(|partition| topic.partition(partition.partition_index).is_some());
    Some(CommitTopic { name: asked.name, id: topic.id, partitions })
}

fn by_partition(codes: PerPartition<ErrorCode>) -> HashMap<(Str, PartitionIndex), ErrorCode> {
    let one = |(topic, codes): (Str, Vec<_>)| {
        codes.into_iter().map(move |(index, code)| ((topic.clone(), index), code))
    };
    codes.into_iter().flat_map(one).collect()
}
