//! `OffsetCommit`: keeps how far a group has come, and counts deliveries that a consumer of ours refuses. Durable when it
//! is answered.

use std::collections::HashMap;

use super::groups::{self, ANSWER_WITHIN};
use crate::{
    actors::group_coordinator::core::{Answer, Commit, CommitTopic, PerPartition, Request},
    kafka::{Broker, connection::Session},
    model::PartitionIndex,
    wire::{
        ApiKey, ErrorCode, Str,
        api::offset_commit::{
            Nacked, OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse,
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
    let nacks = commit.topics.iter().flat_map(|topic| &topic.partitions).any(|one| one.nack.is_some());
    let request = if nacks { Request::Nack(commit) } else { Request::Commit(commit) };
    let outcome = groups::ask(broker, session, version, &group, request, ANSWER_WITHIN).await;
    let outcome = match outcome {
        Ok(Answer::Commit(codes)) => Ok(by_partition(codes, |code| (code, None))),
        Ok(Answer::Nack(outcomes)) => Ok(by_partition(outcomes, |outcome| outcome)),
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(code) => Err(code),
    };
    let outcome = |topic: &Str, index: PartitionIndex| match &outcome {
        Ok(outcomes) => {
            let found = outcomes.get(&(topic.clone(), index)).cloned();
            found.unwrap_or((ErrorCode::UnknownTopicOrPartition, None))
        }
        Err(code) => (*code, None),
    };
    let topics = asked
        .into_iter()
        .map(|(name, indexes)| OffsetCommitResponseTopic {
            partitions: indexes
                .into_iter()
                .map(|partition_index| {
                    let (error_code, nacked) = outcome(&name, partition_index);
                    groups::count(broker, ApiKey::OffsetCommit, error_code);
                    OffsetCommitResponsePartition { partition_index, error_code, nacked }
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

type Outcome = (ErrorCode, Option<Nacked>);

fn by_partition<T>(
    outcomes: PerPartition<T>,
    outcome: fn(T) -> Outcome,
) -> HashMap<(Str, PartitionIndex), Outcome> {
    let one = |(topic, outcomes): (Str, Vec<(PartitionIndex, T)>)| {
        outcomes.into_iter().map(move |(index, one)| ((topic.clone(), index), outcome(one)))
    };
    outcomes.into_iter().flat_map(one).collect()
}
