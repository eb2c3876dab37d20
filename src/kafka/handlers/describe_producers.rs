//! `DescribeProducers`: the idempotent producers that a partition remembers (KIP-664).
//!
//! There are no transactions, so no producer has one open and none has a coordinator.

use std::sync::Arc;

use crate::{
    actors::partition::{ActiveProducer, table::Topic},
    kafka::{Broker, connection::Session, errors},
    model::{Offset, PartitionIndex},
    wire::{
        ApiKey, ErrorCode,
        api::describe_producers::{
            DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
            TopicResponse,
        },
    },
};

use super::{at_once, leaders, once_each::named_twice, refusals::Refused};

/// A coordinator's epoch where there is no coordinator, an offset where no transaction is open.
const NONE: i32 = -1;

/// Asks partition by partition, each on its own.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: DescribeProducersRequest,
    _version: i16,
) -> DescribeProducersResponse {
    let named = request
        .topics
        .iter()
        .flat_map(|topic| topic.partition_indexes.iter().map(|index| (topic.name.clone(), *index)));
    let twice = named_twice(named);
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let topic = broker.topics.by_name(&asked.name);
        let of_once: Vec<_> = asked
            .partition_indexes
            .iter()
            .map(|index| (*index, !twice.contains(&(asked.name.clone(), *index))))
            .collect();
        let outcomes = at_once::each(of_once, |(index, once)| producers(topic.clone(), index, once)).await;
        let partitions = asked.partition_indexes.into_iter().zip(outcomes).map(|(index, outcome)| {
            answer(broker, index, outcome.unwrap_or_else(|| Err(ErrorCode::UnknownServerError.into())))
        });
        topics.push(TopicResponse { partitions: partitions.collect(), name: asked.name });
    }
    DescribeProducersResponse { topics, ..DescribeProducersResponse::default() }
}

async fn producers(
    topic: Option<Arc<Topic>>,
    index: PartitionIndex,
    once: bool,
) -> Result<Vec<ActiveProducer>, Refused> {
    if !once {
        return Err(Refused::invalid_request("the partition is named more than once"));
    }
    let partition = leaders::partition(topic.as_deref(), index)?;
    let producers = partition.producers().await;
    producers.map_err(|refusal| Refused::new(errors::of_command(&refusal), refusal.to_string()))
}

fn answer(
    broker: &Broker,
    partition_index: PartitionIndex,
    outcome: Result<Vec<ActiveProducer>, Refused>,
) -> PartitionResponse {
    match outcome {
        Ok(producers) => PartitionResponse {
            partition_index,
            active_producers: producers.into_iter().map(state).collect(),
            ..PartitionResponse::default()
        },
        Err(refused) => {
            broker.meters.refused(ApiKey::DescribeProducers, refused.code);
            PartitionResponse {
                partition_index,
                error_code: refused.code,
                error_message: Some(refused.into_text()),
                active_producers: Vec::new(),
            }
        }
    }
}

fn state(producer: ActiveProducer) -> ProducerState {
    ProducerState {
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch.get().into(),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp,
        coordinator_epoch: NONE,
        current_txn_start_offset: Offset::new(NONE.into()),
    }
}
