//! `DescribeProducers`: the idempotent producers that a partition remembers (KIP-664).
//!
//! There are no transactions, so no producer has one open and none has a coordinator.

use std::{collections::HashSet, sync::Arc};

use crate::{
    actors::partition::{ActiveProducer, table::Topic},
    kafka::{Broker, connection::Session, errors},
    model::{Offset, PartitionIndex},
    wire::{
        ApiKey, ErrorCode, Str,
        api::describe_producers::{
            DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
            TopicResponse,
        },
    },
};

use super::{at_once, leaders, once_each::named_twice, refusals::Refused};

/// A coordinator's epoch where there is no coordinator, an offset where no transaction is open.
const NONE: i32 = -1;
/// Producers that one answer tells of before it refuses more partitions: each may have thousands, and a
/// request names as many partitions as it likes.
const MOST_PRODUCERS: usize = 100_000;
/// Partitions that are asked side by side.
const SIDE_BY_SIDE: usize = 16;

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
    let mut room = MOST_PRODUCERS;
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let topic = broker.topics.by_name(&asked.name);
        let mut partitions = Vec::with_capacity(asked.partition_indexes.len());
        for some in asked.partition_indexes.chunks(SIDE_BY_SIDE) {
            let checked: Vec<_> = some.iter().map(|index| check(&twice, &asked.name, *index, room)).collect();
            let outcomes = at_once::each(checked, |checked| producers(topic.clone(), checked)).await;
            for (index, outcome) in some.iter().zip(outcomes) {
                let outcome = outcome.unwrap_or_else(|| Err(ErrorCode::UnknownServerError.into()));
                room = room.saturating_sub(outcome.as_ref().map_or(0, Vec::len));
                partitions.push(answer(broker, *index, outcome));
            }
        }
        topics.push(TopicResponse { partitions, name: asked.name });
    }
    DescribeProducersResponse { topics, ..DescribeProducersResponse::default() }
}

/// Whether a partition can be asked at all.
fn check(
    twice: &HashSet<(Str, PartitionIndex)>,
    topic: &Str,
    index: PartitionIndex,
    room: usize,
) -> Result<PartitionIndex, Refused> {
    if twice.contains(&(topic.clone(), index)) {
        return Err(Refused::invalid_request("the partition is named more than once"));
    }
    if room == 0 {
        return Err(Refused::invalid_request("too many producers for one answer: ask for fewer partitions"));
    }
    Ok(index)
}

async fn producers(
    topic: Option<Arc<Topic>>,
    index: Result<PartitionIndex, Refused>,
) -> Result<Vec<ActiveProducer>, Refused> {
    let partition = leaders::partition(topic.as_deref(), index?)?;
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::check;
    use crate::model::PartitionIndex;

    #[test]
    fn a_partition_is_asked_once_and_only_while_there_is_room_for_its_producers() {
        let index = PartitionIndex::new(1);
        let twice = HashSet::from([("a".into(), index)]);
        let check =
            |topic: &str, room| check(&twice, &topic.into(), index, room).map_err(|refused| refused.text);
        assert_eq!(check("b", 1), Ok(index));
        assert!(check("a", 1).is_err_and(|text| text.contains("more than once")));
        assert!(check("b", 0).is_err_and(|text| text.contains("fewer")));
    }
}
