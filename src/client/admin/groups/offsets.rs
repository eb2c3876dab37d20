//! Committed offsets of a group: read, set and forgotten by one that is no member.

use std::collections::BTreeMap;

use super::coordinator::is_unsettled;
use crate::{
    client::{Admin, ClientError, admin::check},
    model::{Offset, PartitionIndex, TopicName},
    wire::{
        ApiKey, ErrorCode, Str,
        api::{
            offset_commit::{
                OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
                OffsetCommitResponse,
            },
            offset_delete::{
                OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
                OffsetDeleteResponse,
            },
            offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse},
        },
    },
};

/// How far a group has come in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset to go on from.
    pub offset: Offset,
    /// What the client keeps with it.
    pub metadata: String,
}

/// A record whose deliveries to a group have failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempts {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The record's offset.
    pub offset: Offset,
    /// How often.
    pub attempts: u32,
    /// Whether so many in a row had failed that no more are given up.
    pub dead_letters_stopped: bool,
}

/// How far a group is to have come in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset to go on from.
    pub offset: Offset,
}

/// What came of a change of one partition's offset.
#[derive(Clone, Debug)]
pub struct PartitionOutcome {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// Done, or why not.
    pub outcome: Result<(), ClientError>,
}

impl Admin {
    /// Every offset that a group has committed, by topic and partition; none for a group that does not exist.
    pub async fn committed_offsets(&self, group: &str) -> Result<Vec<CommittedOffset>, ClientError> {
        Ok(self.offsets_and_attempts(group).await?.0)
    }

    /// The same, and what was tried and failed: a broker of another kind knows nothing of that.
    pub async fn offsets_and_attempts(
        &self,
        group: &str,
    ) -> Result<(Vec<CommittedOffset>, Vec<FailedAttempts>), ClientError> {
        // One of the two is of the version that is spoken.
        let one = OffsetFetchRequestGroup {
            group_id: Str::from(group),
            topics: None,
            ..OffsetFetchRequestGroup::default()
        };
        let request = OffsetFetchRequest {
            group_id: Str::from(group),
            topics: None,
            groups: vec![one],
            require_stable: false,
            with_attempts: true,
        };
        let response = self.ask_coordinator(group, &request, fetch_code).await?;
        check(ApiKey::OffsetFetch, fetch_code(&response), None)?;
        let mut committed = read_committed(&response)?;
        committed.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        Ok((committed, read_attempts(&response)))
    }

    /// Sets offsets of a group that has no members.
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: &[OffsetToCommit],
    ) -> Result<Vec<PartitionOutcome>, ClientError> {
        let partition = |to: &OffsetToCommit| OffsetCommitRequestPartition {
            partition_index: to.partition,
            committed_offset: to.offset,
            ..OffsetCommitRequestPartition::default()
        };
        let topics =
            by_topic(offsets, |to| &to.topic).into_iter().map(|(topic, of_topic)| OffsetCommitRequestTopic {
                name: Str::from(topic),
                partitions: of_topic.into_iter().map(partition).collect(),
            });
        let request = OffsetCommitRequest {
            group_id: Str::from(group),
            topics: topics.collect(),
            ..OffsetCommitRequest::default()
        };
        let response = self.ask_coordinator(group, &request, commit_code).await?;
        let codes = response.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|answer| (&topic.name, answer.partition_index, answer.error_code))
        });
        outcomes(
            ApiKey::OffsetCommit,
            offsets.iter().map(|to| (&to.topic, to.partition)),
            &codes.collect::<Vec<_>>(),
        )
    }

    /// Forgets offsets of partitions that no member of the group reads.
    pub async fn delete_offsets(
        &self,
        group: &str,
        partitions: &[(TopicName, PartitionIndex)],
    ) -> Result<Vec<PartitionOutcome>, ClientError> {
        let topics = by_topic(partitions, |(topic, _)| topic).into_iter().map(|(topic, of_topic)| {
            let partition = |(_, partition): &(TopicName, PartitionIndex)| OffsetDeleteRequestPartition {
                partition_index: *partition,
            };
            OffsetDeleteRequestTopic {
                name: Str::from(topic),
                partitions: of_topic.into_iter().map(partition).collect(),
            }
        });
        let request = OffsetDeleteRequest { group_id: Str::from(group), topics: topics.collect() };
        let response = self.ask_coordinator(group, &request, delete_code).await?;
        check(ApiKey::OffsetDelete, response.error_code, None)?;
        let codes = response.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|answer| (&topic.name, answer.partition_index, answer.error_code))
        });
        outcomes(
            ApiKey::OffsetDelete,
            partitions.iter().map(|(topic, at)| (topic, *at)),
            &codes.collect::<Vec<_>>(),
        )
    }
}

fn by_topic<T>(all: &[T], topic: impl Fn(&T) -> &TopicName) -> BTreeMap<&TopicName, Vec<&T>> {
    let mut topics: BTreeMap<&TopicName, Vec<&T>> = BTreeMap::new();
    for one in all {
        topics.entry(topic(one)).or_default().push(one);
    }
    topics
}

type Code<'a> = (&'a Str, PartitionIndex, ErrorCode);

fn outcomes<'a>(
    api: ApiKey,
    asked: impl Iterator<Item = (&'a TopicName, PartitionIndex)>,
    codes: &[Code<'_>],
) -> Result<Vec<PartitionOutcome>, ClientError> {
    let one = |(topic, partition): (&TopicName, PartitionIndex)| {
        let answered = |(name, index, _): &&Code<'_>| name.as_str() == topic.as_str() && *index == partition;
        let (_, _, code) = codes.iter().find(answered).ok_or(ClientError::Incomplete(api))?;
        Ok(PartitionOutcome { topic: topic.clone(), partition, outcome: check(api, *code, None) })
    };
    asked.map(one).collect()
}

fn fetch_code(response: &OffsetFetchResponse) -> ErrorCode {
    response.groups.first().map_or(response.error_code, |group| group.error_code)
}

fn commit_code(response: &OffsetCommitResponse) -> ErrorCode {
    let codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|answer| answer.error_code);
    codes.into_iter().find(|code| is_unsettled(*code)).unwrap_or(ErrorCode::None)
}

fn delete_code(response: &OffsetDeleteResponse) -> ErrorCode {
    response.error_code
}

/// Out of either form of the answer.
fn read_committed(response: &OffsetFetchResponse) -> Result<Vec<CommittedOffset>, ClientError> {
    let before_8 = response.topics.iter().flat_map(|topic| {
        let name = &topic.name;
        topic.partitions.iter().map(move |at| {
            (name, at.partition_index, at.committed_offset, at.metadata.as_ref(), at.error_code)
        })
    });
    let from_8 = response.groups.iter().flat_map(|group| &group.topics).flat_map(|topic| {
        let name = &topic.name;
        topic.partitions.iter().map(move |at| {
            (name, at.partition_index, at.committed_offset, at.metadata.as_ref(), at.error_code)
        })
    });
    let mut committed = Vec::new();
    for (name, partition, offset, metadata, code) in before_8.chain(from_8) {
        check(ApiKey::OffsetFetch, code, None)?;
        // Negative: none is committed.
        let Some(topic) = TopicName::new(name).ok().filter(|_| offset.get() >= 0) else { continue };
        let metadata = metadata.map_or_else(String::new, |metadata| metadata.as_str().to_owned());
        committed.push(CommittedOffset { topic, partition, offset, metadata });
    }
    Ok(committed)
}

/// Only the newer form of the answer has any.
fn read_attempts(response: &OffsetFetchResponse) -> Vec<FailedAttempts> {
    let mut found = Vec::new();
    for topic in response.groups.iter().flat_map(|group| &group.topics) {
        let Ok(name) = TopicName::new(&topic.name) else { continue };
        for at in topic.partitions.iter().filter(|at| at.attempts > 0) {
            found.push(FailedAttempts {
                topic: name.clone(),
                partition: at.partition_index,
                offset: at.attempted_offset,
                attempts: at.attempts.unsigned_abs(),
                dead_letters_stopped: at.dead_letters_stopped,
            });
        }
    }
    found
}
