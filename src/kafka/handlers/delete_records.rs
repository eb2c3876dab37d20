//! `DeleteRecords`: moves log start offsets up (KIP-107). Durable before it is answered.

use std::{collections::HashMap, sync::Arc};

use crate::{
    actors::partition::{CommandRefusal, table::Topic},
    kafka::{Broker, connection::Session, errors},
    model::{Offset, PartitionIndex},
    wire::{
        ApiKey, ErrorCode, Str,
        api::delete_records::{
            DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
            DeleteRecordsResponse, DeleteRecordsTopicResult, HIGH_WATERMARK,
        },
    },
};

use super::at_once;

/// Deletes partition by partition, each on its own.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: DeleteRecordsRequest,
    _version: i16,
) -> DeleteRecordsResponse {
    let mut known: HashMap<Str, Option<Arc<Topic>>> = HashMap::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let topic = known.entry(asked.name.clone()).or_insert_with(|| broker.topics.by_name(&asked.name));
        let indexes: Vec<_> = asked.partitions.iter().map(|partition| partition.partition_index).collect();
        let outcomes = at_once::each(asked.partitions, |partition| delete(topic.clone(), partition)).await;
        let partitions = indexes.into_iter().zip(outcomes);
        let partitions = partitions.map(|(index, outcome)| {
            answer(broker, index, outcome.unwrap_or(Err(ErrorCode::UnknownServerError)))
        });
        topics.push(DeleteRecordsTopicResult { partitions: partitions.collect(), name: asked.name });
    }
    DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }
}

async fn delete(topic: Option<Arc<Topic>>, asked: DeleteRecordsPartition) -> Result<Offset, ErrorCode> {
    let partition = super::leaders::partition(topic.as_deref(), asked.partition_index)?;
    let before = before(asked.offset)?;
    // As in Kafka: a topic that only compacts keeps what its readers may still need of each key.
    if topic.as_ref().is_some_and(|topic| !topic.config().deletes) {
        return Err(ErrorCode::PolicyViolation);
    }
    partition.delete_records(before).await.map_err(|refusal| {
        if let CommandRefusal::Storage(_) = &refusal {
            tracing::error!(partition = %partition.id(), "records could not be deleted: {refusal}");
        }
        errors::of_command(&refusal)
    })
}

/// The first offset to keep; `None` for the high watermark.
fn before(asked: Offset) -> Result<Option<Offset>, ErrorCode> {
    match asked {
        HIGH_WATERMARK => Ok(None),
        offset if offset < Offset::ZERO => Err(ErrorCode::OffsetOutOfRange),
        offset => Ok(Some(offset)),
    }
}

fn answer(
    broker: &Broker,
    partition_index: PartitionIndex,
    outcome: Result<Offset, ErrorCode>,
) -> DeleteRecordsPartitionResult {
    let (low_watermark, error_code) = match outcome {
        Ok(log_start_offset) => (log_start_offset, ErrorCode::None),
        Err(error_code) => {
            broker.meters.refused(ApiKey::DeleteRecords, error_code);
            (Offset::new(-1), error_code)
        }
    };
    DeleteRecordsPartitionResult { partition_index, low_watermark, error_code }
}

#[cfg(test)]
mod tests {
    use super::before;
    use crate::{model::Offset, wire::ErrorCode};

    #[test]
    fn minus_one_is_the_high_watermark_and_anything_below_is_out_of_range() {
        assert_eq!(before(Offset::new(-1)), Ok(None));
        assert_eq!(before(Offset::new(-2)), Err(ErrorCode::OffsetOutOfRange));
        assert_eq!(before(Offset::ZERO), Ok(Some(Offset::ZERO)));
    }
}
