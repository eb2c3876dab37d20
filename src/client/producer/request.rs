//! Batches of several partitions as one request, and its answer taken apart.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    ProducerConfig,
    queue::{Attempt, PartitionQueue},
};
use crate::{
    client::{ConnectionError, metadata::Hint},
    model::{PartitionIndex, TimestampMs, TopicId, TopicName},
    wire::{
        ErrorCode, Str,
        api::produce::{
            LeaderIdAndEpoch, PartitionProduceData, PartitionProduceResponse, ProduceRequest,
            ProduceResponse, TopicProduceData,
        },
    },
};

/// The last version that names topics rather than giving their ids.
const LAST_BY_NAME: i16 = 12;

/// One batch within a request.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) queue: Arc<PartitionQueue>,
    pub(super) batch: u64,
    pub(super) topic_id: TopicId,
}

/// A request that is being filled: at most one batch for each partition.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) items: Vec<Item>,
    records: Vec<Bytes>,
    bytes: usize,
}

impl Request {
    /// Whether the batch may join: the first one may, whatever its size.
    pub(super) fn takes(&self, item: &Item, bytes: usize, limit: usize) -> bool {
        let same = |other: &Item| Arc::ptr_eq(&other.queue, &item.queue);
        self.items.is_empty() || (self.bytes + bytes <= limit && !self.items.iter().any(same))
    }

    pub(super) fn add(&mut self, item: Item, records: Bytes) {
        self.bytes += records.len();
        self.items.push(item);
        self.records.push(records);
    }

    /// The message, and the highest version that it may go in.
    pub(super) fn finish(
        self,
        config: &ProducerConfig,
        timeout: Duration,
    ) -> (Vec<Item>, i16, ProduceRequest) {
        let by_id = self.items.iter().all(|item| !item.topic_id.is_nil());
        let mut topics: Vec<(TopicName, TopicProduceData)> = Vec::new();
        let mut places: HashMap<TopicName, usize> = HashMap::new();
        for (item, records) in self.items.iter().zip(self.records) {
            let name = &item.queue.topic;
            let at = *places.entry(name.clone()).or_insert_with(|| {
                topics.push((name.clone(), topic_data(item)));
                topics.len() - 1
            });
            let data = PartitionProduceData { index: item.queue.partition, records: Some(records) };
            if let Some((_, topic)) = topics.get_mut(at) {
                topic.partition_data.push(data);
            }
        }
        let message = ProduceRequest {
            transactional_id: None,
            acks: config.acks.code(),
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
            topic_data: topics.into_iter().map(|(_, topic)| topic).collect(),
        };
        (self.items, if by_id { i16::MAX } else { LAST_BY_NAME }, message)
    }
}

fn topic_data(item: &Item) -> TopicProduceData {
    let name = Str::from(item.queue.topic.as_str());
    TopicProduceData { name, topic_id: item.topic_id, partition_data: Vec::new() }
}

/// The leaders that an answer names for batches that it refuses.
pub(super) fn hints(items: &[Item], response: &ProduceResponse) -> Vec<Hint> {
    let answers = by_partition(response);
    let hint = |item: &Item| {
        let leader = find(&answers, item).map(|answer| answer.current_leader.clone())?;
        let (topic, partition) = (item.queue.topic.clone(), item.queue.partition);
        (leader != LeaderIdAndEpoch::default()).then_some(Hint { topic, partition, leader })
    };
    items.iter().filter_map(hint).collect()
}

/// How each batch's try ended, in the order of the items.
pub(super) fn read_answer(items: &[Item], result: Result<ProduceResponse, ConnectionError>) -> Vec<Attempt> {
    match result {
        Ok(response) => {
            let answers = by_partition(&response);
            items.iter().map(|item| attempt(find(&answers, item))).collect()
        }
        Err(error) => items.iter().map(|_| Attempt::Failed(error.clone())).collect(),
    }
}

type Answers<'a> = HashMap<(&'a [u8], TopicId, PartitionIndex), &'a PartitionProduceResponse>;

fn by_partition(response: &ProduceResponse) -> Answers<'_> {
    let topics = response.responses.iter();
    let partitions = topics.flat_map(|topic| {
        let key =
            |partition: &PartitionProduceResponse| (topic.name.as_bytes(), topic.topic_id, partition.index);
        topic.partition_responses.iter().map(move |partition| (key(partition), partition))
    });
    partitions.collect()
}

/// An answer has a topic's name or its id, as its version says.
fn find<'a>(answers: &Answers<'a>, item: &Item) -> Option<&'a PartitionProduceResponse> {
    let name = item.queue.topic.as_str().as_bytes();
    let by_name = answers.get(&(name, TopicId::default(), item.queue.partition));
    by_name.or_else(|| answers.get(&(&[][..], item.topic_id, item.queue.partition))).copied()
}

fn attempt(answer: Option<&PartitionProduceResponse>) -> Attempt {
    let Some(answer) = answer else {
        // Neither refused nor written: as if it had not been answered in time.
        return Attempt::Refused { code: ErrorCode::RequestTimedOut, message: None };
    };
    if answer.error_code.is_none() {
        let base = Some(answer.base_offset).filter(|offset| offset.get() >= 0);
        let time = Some(answer.log_append_time_ms).filter(|time| *time != TimestampMs::NONE);
        return Attempt::Written { base, log_append_time: time };
    }
    let message = answer.error_message.as_ref().map(|message| message.as_str().to_owned());
    Attempt::Refused { code: answer.error_code, message }
}
