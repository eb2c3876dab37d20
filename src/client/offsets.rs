//! Offsets by time, asked of the leaders (`ListOffsets`).

use std::collections::HashMap;

use tokio::time::{Instant, sleep};

use super::{Client, ClientError};
use crate::{
    model::{LeaderEpoch, NodeId, Offset, PartitionIndex, TimestampMs, TopicName},
    wire::{
        ApiKey, ErrorCode, Str,
        api::list_offsets::{
            EARLIEST, LATEST, ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest,
            ListOffsetsResponse, ListOffsetsTopic,
        },
    },
};

/// Which offset is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// That of the first record there is.
    Earliest,
    /// The end: the offset of the next record that consumers will see.
    Latest,
    /// That of the first record whose time is this or later; the end where there is none.
    AtTime(TimestampMs),
}

impl OffsetSpec {
    const fn timestamp(self) -> TimestampMs {
        match self {
            Self::Earliest => EARLIEST,
            Self::Latest => LATEST,
            Self::AtTime(time) => time,
        }
    }
}

/// An offset that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset.
    pub offset: Offset,
    /// The time of the record there, where a time was asked for and one was found.
    pub timestamp: Option<TimestampMs>,
}

type Wanted = (PartitionIndex, OffsetSpec);

impl Client {
    /// The offsets of partitions of one topic, in the order they were asked for. Leaders that change
    /// meanwhile are followed, up to the metadata time-out.
    pub async fn offsets(
        &self,
        topic: &TopicName,
        wanted: &[Wanted],
    ) -> Result<Vec<FoundOffset>, ClientError> {
        let deadline = Instant::now() + self.config().metadata_timeout;
        let mut found: HashMap<PartitionIndex, FoundOffset> = HashMap::new();
        let mut failures = 0;
        loop {
            let left = wanted.iter().filter(|(partition, _)| !found.contains_key(partition));
            let left: Vec<Wanted> = left.copied().collect();
            if left.is_empty() {
                let found = wanted.iter().filter_map(|(partition, _)| found.get(partition).copied());
                return Ok(found.collect());
            }
            let generation = self.metadata().generation;
            match self.ask_leaders(topic, &left).await {
                Ok(answers) => found.extend(answers.into_iter().map(|answer| (answer.partition, answer))),
                Err(error) if error.is_retriable() && Instant::now() < deadline => {
                    failures += 1;
                    sleep(self.backoff(failures)).await;
                    self.refresh_if_reachable(generation).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One question to each leader, and a second one for times that no record has reached.
    async fn ask_leaders(
        &self,
        topic: &TopicName,
        wanted: &[Wanted],
    ) -> Result<Vec<FoundOffset>, ClientError> {
        let mut by_leader: HashMap<NodeId, Vec<(Wanted, LeaderEpoch)>> = HashMap::new();
        for wanted in wanted {
            let leader = self.leader(topic, wanted.0).await?;
            by_leader.entry(leader.node).or_default().push((*wanted, leader.epoch));
        }
        let mut found = Vec::new();
        for (node, wanted) in by_leader {
            let mut specs = wanted.iter().map(|(wanted, _)| *wanted).collect::<Vec<_>>();
            let response = self.connection(node).await?.call(&request(topic, &wanted)).await?;
            found.extend(read(&response, &mut specs)?);
            // Ends are another question, for those times that no record has reached.
            if !specs.is_empty() {
                let ends: Vec<_> = wanted
                    .iter()
                    .filter(|((partition, _), _)| specs.iter().any(|(left, _)| left == partition))
                    .map(|((partition, _), epoch)| ((*partition, OffsetSpec::Latest), *epoch))
                    .collect();
                let response = self.connection(node).await?.call(&request(topic, &ends)).await?;
                found.extend(read(&response, &mut specs)?);
            }
        }
        Ok(found)
    }
}

fn request(topic: &TopicName, wanted: &[(Wanted, LeaderEpoch)]) -> ListOffsetsRequest {
    let partition = |((partition_index, spec), epoch): &(Wanted, LeaderEpoch)| ListOffsetsPartition {
        partition_index: *partition_index,
        current_leader_epoch: *epoch,
        timestamp: spec.timestamp(),
    };
    let partitions = wanted.iter().map(partition).collect();
    let topics = vec![ListOffsetsTopic { name: Str::from(topic.as_str()), partitions }];
    ListOffsetsRequest { topics, ..ListOffsetsRequest::default() }
}

/// Takes the answers; who had none found stays in `wanted`.
fn read(response: &ListOffsetsResponse, wanted: &mut Vec<Wanted>) -> Result<Vec<FoundOffset>, ClientError> {
    let answers: Vec<&ListOffsetsPartitionResponse> =
        response.topics.iter().flat_map(|topic| &topic.partitions).collect();
    let mut found = Vec::new();
    for (partition, _) in wanted.clone() {
        let answer = answers.iter().find(|answer| answer.partition_index == partition);
        let answer = answer.ok_or(ClientError::Incomplete(ApiKey::ListOffsets))?;
        if answer.error_code != ErrorCode::None {
            return Err(ClientError::refused(ApiKey::ListOffsets, answer.error_code, None));
        }
        if answer.offset.get() >= 0 {
            let timestamp = Some(answer.timestamp).filter(|time| *time != TimestampMs::NONE);
            found.push(FoundOffset { partition, offset: answer.offset, timestamp });
            wanted.retain(|(left, _)| *left != partition);
        }
    }
    Ok(found)
}
