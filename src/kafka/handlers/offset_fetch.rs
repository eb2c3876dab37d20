//! `OffsetFetch`: how far groups had come; for one group, and from version 8 on for many.

use std::collections::BTreeMap;

use super::groups::{self, ANSWER_WITHIN};
use crate::{
    actors::group_coordinator::core::{
        Answer, Attempted, Committed, FetchOffsets, Partitions, PerPartition, Request,
    },
    kafka::{Broker, connection::Session},
    model::{LeaderEpoch, Offset, PartitionIndex},
    wire::{
        ApiKey, ErrorCode, Str,
        api::offset_fetch::{
            OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
            OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
            OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
        },
    },
};

/// The first version that asks for many groups (KIP-709).
const MANY_GROUPS: i16 = 8;
/// The first version that has an error for the whole answer.
const TOP_LEVEL_ERROR: i16 = 2;

/// Asks the coordinator of each group.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: OffsetFetchRequest,
    version: i16,
) -> OffsetFetchResponse {
    if version >= MANY_GROUPS {
        let mut groups = Vec::with_capacity(request.groups.len());
        for group in request.groups {
            let mut answer = of_group(broker, session, version, group).await;
            if request.with_attempts && answer.error_code == ErrorCode::None {
                add_attempts(broker, session, version, &mut answer).await;
            }
            groups.push(answer);
        }
        return OffsetFetchResponse { groups, ..OffsetFetchResponse::default() };
    }
    let topics = request.topics.map(|topics| topics.into_iter().map(as_newer).collect());
    let asked = topics.clone();
    let group =
        OffsetFetchRequestGroup { group_id: request.group_id, topics, ..OffsetFetchRequestGroup::default() };
    let answer = of_group(broker, session, version, group).await;
    let (error_code, mut topics) = (answer.error_code, answer.topics);
    if error_code != ErrorCode::None && version < TOP_LEVEL_ERROR {
        topics = refused(asked.unwrap_or_default(), error_code);
    }
    OffsetFetchResponse {
        topics: topics.into_iter().map(as_older).collect(),
        error_code,
        ..OffsetFetchResponse::default()
    }
}

async fn of_group(
    broker: &Broker,
    session: &Session,
    version: i16,
    asked: OffsetFetchRequestGroup,
) -> OffsetFetchResponseGroup {
    let partitions =
        |topic: OffsetFetchRequestTopics| Partitions { topic: topic.name, indexes: topic.partition_indexes };
    let topics = asked.topics.map(|topics| topics.into_iter().map(partitions).collect());
    let group = asked.group_id;
    // One that does not say that it is a member may ask all the same.
    let member = asked.member_id.filter(|_| asked.member_epoch >= 0).map(|id| (id, asked.member_epoch));
    let request = Request::FetchOffsets(FetchOffsets { group: group.clone(), member, topics });
    let outcome = groups::ask(broker, session, version, &group, request, ANSWER_WITHIN).await;
    let (error_code, offsets) = match outcome {
        Ok(Answer::Offsets(Ok(offsets))) => (ErrorCode::None, offsets),
        Ok(Answer::Offsets(Err(code))) | Err(code) => (code, Vec::new()),
        Ok(_) => (ErrorCode::UnknownServerError, Vec::new()),
    };
    groups::count(broker, ApiKey::OffsetFetch, error_code);
    let topics = of_living_topics(broker, offsets).into_iter().map(answer_of_topic).collect();
    OffsetFetchResponseGroup { group_id: group, topics, error_code }
}

/// What was tried and failed is added where it can be had: it is told beside the offsets and is worth no refusal.
async fn add_attempts(
    broker: &Broker,
    session: &Session,
    version: i16,
    answer: &mut OffsetFetchResponseGroup,
) {
    let group = answer.group_id.clone();
    let request = Request::Attempts { group: group.clone() };
    let asked = groups::ask(broker, session, version, &group, request, ANSWER_WITHIN).await;
    let Ok(Answer::Attempts(attempted)) = asked else { return };
    let mut left = BTreeMap::new();
    for (name, partitions) in attempted {
        let living = broker.topics.by_name(&name).map(|topic| topic.id);
        let of_living = partitions.into_iter().filter(|(_, each)| Some(each.topic) == living);
        left.extend(of_living.map(|(index, attempted)| ((name.clone(), index), attempted)));
    }
    for topic in &mut answer.topics {
        for partition in &mut topic.partitions {
            if let Some(attempted) = left.remove(&(topic.name.clone(), partition.partition_index)) {
                note_attempts(partition, attempted);
            }
        }
    }
    // Where nothing is committed.
    for ((name, index), attempted) in left {
        let mut partition = none(index, ErrorCode::None);
        note_attempts(&mut partition, attempted);
        answer.topics.push(OffsetFetchResponseTopics { name, partitions: vec![partition] });
    }
}

fn note_attempts(partition: &mut OffsetFetchResponsePartitions, attempted: Attempted) {
    partition.attempts = i32::try_from(attempted.attempts).unwrap_or(i32::MAX);
    partition.attempted_offset = attempted.offset;
    partition.dead_letters_stopped = attempted.stopped;
}

/// An offset of a topic that was deleted says nothing about another that has its name.
fn of_living_topics(
    broker: &Broker,
    mut offsets: PerPartition<Option<Committed>>,
) -> PerPartition<Option<Committed>> {
    for (name, partitions) in &mut offsets {
        let Some(topic) = broker.topics.by_name(name) else { continue };
        for (_, committed) in partitions.iter_mut() {
            let of_another = |committed: &Committed| !committed.topic.is_nil() && committed.topic != topic.id;
            if committed.as_ref().is_some_and(of_another) {
                *committed = None;
            }
        }
    }
    offsets
}

fn answer_of_topic(
    (name, partitions): (Str, Vec<(PartitionIndex, Option<Committed>)>),
) -> OffsetFetchResponseTopics {
    let partitions = partitions
        .into_iter()
        .map(|(partition_index, committed)| match committed {
            Some(committed) => OffsetFetchResponsePartitions {
                partition_index,
                committed_offset: committed.offset,
                committed_leader_epoch: committed.leader_epoch,
                metadata: Some(committed.metadata),
                ..none(partition_index, ErrorCode::None)
            },
            None => none(partition_index, ErrorCode::None),
        })
        .collect();
    OffsetFetchResponseTopics { name, partitions }
}

fn none(partition_index: PartitionIndex, error_code: ErrorCode) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: Offset::new(-1),
        committed_leader_epoch: LeaderEpoch::NONE,
        metadata: Some(Str::default()),
        error_code,
        ..OffsetFetchResponsePartitions::default()
    }
}

fn refused(topics: Vec<OffsetFetchRequestTopics>, code: ErrorCode) -> Vec<OffsetFetchResponseTopics> {
    let topic = |topic: OffsetFetchRequestTopics| OffsetFetchResponseTopics {
        name: topic.name,
        partitions: topic.partition_indexes.into_iter().map(|index| none(index, code)).collect(),
    };
    topics.into_iter().map(topic).collect()
}

fn as_newer(topic: OffsetFetchRequestTopic) -> OffsetFetchRequestTopics {
    OffsetFetchRequestTopics { name: topic.name, partition_indexes: topic.partition_indexes }
}

fn as_older(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partition = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    };
    OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    }
}
