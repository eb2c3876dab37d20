//! `OffsetForLeaderEpoch`: where a leader's term ends (KIP-101, KIP-320).

use crate::{
    actors::partition::table::Topic,
    kafka::{Broker, connection::Session},
    wire::{
        ApiKey, ErrorCode,
        api::offset_for_leader_epoch::{
            EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
            OffsetForLeaderPartition, OffsetForLeaderTopic, OffsetForLeaderTopicResult,
        },
    },
};

use super::leaders;

/// Looks the ends up; nothing waits for the disk.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: OffsetForLeaderEpochRequest,
    _version: i16,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|asked| of_topic(broker, asked)).collect();
    OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() }
}

fn of_topic(broker: &Broker, asked: OffsetForLeaderTopic) -> OffsetForLeaderTopicResult {
    let topic = broker.topics.by_name(&asked.topic);
    let answer = |partition: &OffsetForLeaderPartition| {
        end_of(topic.as_deref(), partition).unwrap_or_else(|error_code| {
            broker.meters.refused(ApiKey::OffsetForLeaderEpoch, error_code);
            EpochEndOffset { error_code, partition: partition.partition, ..EpochEndOffset::default() }
        })
    };
    OffsetForLeaderTopicResult {
        partitions: asked.partitions.iter().map(answer).collect(),
        topic: asked.topic,
    }
}

/// The end of the epoch; -1 and -1, without an error, where the log knows none.
fn end_of(topic: Option<&Topic>, asked: &OffsetForLeaderPartition) -> Result<EpochEndOffset, ErrorCode> {
    let partition = leaders::partition(topic, asked.partition)?;
    let leader = leaders::leader(partition, asked.current_leader_epoch)?;
    let mut answer = EpochEndOffset { partition: asked.partition, ..EpochEndOffset::default() };
    if let Some((leader_epoch, end_offset)) = leader.reader.epoch_end(asked.leader_epoch) {
        (answer.leader_epoch, answer.end_offset) = (leader_epoch, end_offset);
    }
    Ok(answer)
}
