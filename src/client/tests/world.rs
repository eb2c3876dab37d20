//! A cluster small enough to be told what to do: one topic, logs in memory, leaders that move.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::{Bytes, BytesMut};

use super::{
    broker::{Call, FakeBroker, Reply},
    topic,
};
use crate::{
    model::{LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs, TopicId},
    record::{BatchHeader, assign, crc_is_right, records},
    wire::{
        ApiKey, ErrorCode, Str,
        api::{
            fetch::{FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData, Records},
            init_producer_id::InitProducerIdResponse,
            list_offsets::{
                EARLIEST, LATEST, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
                ListOffsetsTopicResponse,
            },
            metadata::{
                MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
            },
            produce::{
                PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
                TopicProduceResponse,
            },
        },
    },
};

pub(super) const TOPIC_ID: TopicId = TopicId::from_bytes([7; 16]);

#[derive(Default)]
pub(super) struct Log {
    pub(super) batches: Vec<(BatchHeader, Bytes)>,
    pub(super) start: Offset,
    pub(super) end: Offset,
    sequences: HashMap<ProducerId, (i32, Offset)>,
}

pub(super) struct State {
    /// Who leads each partition, and whom Metadata names.
    pub(super) leaders: Vec<(NodeId, NodeId)>,
    /// Of all partitions.
    epoch: i32,
    pub(super) ports: Vec<u16>,
    pub(super) logs: Vec<Log>,
    /// Batches as they came, before any check.
    pub(super) produced: Vec<(PartitionIndex, Bytes)>,
    pub(super) fetches: Vec<FetchRequest>,
    next_producer: i64,
}

#[derive(Clone)]
pub(super) struct World(Arc<Mutex<State>>);

impl World {
    /// A topic of so many partitions, all led by node 0.
    pub(super) fn new(partitions: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            leaders: vec![(NodeId::new(0), NodeId::new(0)); partitions],
            epoch: 1,
            ports: Vec::new(),
            logs: (0..partitions).map(|_| Log::default()).collect(),
            produced: Vec::new(),
            fetches: Vec::new(),
            next_producer: 1000,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Starts the next node. What `script` has no reply for is answered as the world's state says.
    pub(super) async fn node(
        &self,
        mut script: impl FnMut(&World, &Call) -> Option<Reply> + Send + 'static,
    ) -> FakeBroker {
        let world = self.clone();
        let node = NodeId::new(self.lock().ports.len() as i32);
        let broker =
            FakeBroker::start(move |call| script(&world, call).unwrap_or_else(|| world.reply(node, call)))
                .await;
        self.lock().ports.push(broker.port());
        broker
    }

    pub(super) fn move_leader(&self, partition: usize, leads: i32, told: i32) {
        self.lock().leaders[partition] = (NodeId::new(leads), NodeId::new(told));
    }

    pub(super) fn raise_epoch(&self) {
        self.lock().epoch += 1;
    }

    pub(super) fn reply(&self, node: NodeId, call: &Call) -> Reply {
        let mut state = self.lock();
        #[expect(clippy::wildcard_enum_match_arm, reason = "a test that needs more scripts it")]
        match call.api() {
            ApiKey::Metadata => call.answer(&state.metadata()),
            ApiKey::InitProducerId => call.answer(&state.init_producer_id()),
            ApiKey::Produce => call.answer(&state.produce(node, &call.decode())),
            ApiKey::ListOffsets => call.answer(&state.list_offsets(&call.decode())),
            ApiKey::Fetch => call.answer(&state.fetch(node, call.decode())),
            other => panic!("no reply for {other:?}"),
        }
    }
}

fn at(partition: PartitionIndex) -> usize {
    usize::try_from(partition.get()).unwrap()
}

impl State {
    fn metadata(&self) -> MetadataResponse {
        let broker = |(node, port): (usize, &u16)| MetadataResponseBroker {
            node_id: NodeId::new(node as i32),
            host: Str::from_static("127.0.0.1"),
            port: i32::from(*port),
            rack: None,
        };
        let partition = |(index, (_, told)): (usize, &(NodeId, NodeId))| MetadataResponsePartition {
            partition_index: PartitionIndex::new(index as i32),
            leader_id: *told,
            leader_epoch: LeaderEpoch::new(self.epoch),
            ..MetadataResponsePartition::default()
        };
        MetadataResponse {
            brokers: self.ports.iter().enumerate().map(broker).collect(),
            topics: vec![MetadataResponseTopic {
                name: Some(Str::from(topic().as_str())),
                topic_id: TOPIC_ID,
                partitions: self.leaders.iter().enumerate().map(partition).collect(),
                ..MetadataResponseTopic::default()
            }],
            ..MetadataResponse::default()
        }
    }

    fn init_producer_id(&mut self) -> InitProducerIdResponse {
        self.next_producer += 1;
        InitProducerIdResponse {
            producer_id: ProducerId::new(self.next_producer),
            producer_epoch: ProducerEpoch::new(0),
            ..InitProducerIdResponse::default()
        }
    }

    pub(super) fn produce(&mut self, node: NodeId, request: &ProduceRequest) -> ProduceResponse {
        let topics = request.topic_data.iter().map(|topic| TopicProduceResponse {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partition_responses: topic.partition_data.iter().map(|data| self.append(node, data)).collect(),
        });
        ProduceResponse { responses: topics.collect(), ..ProduceResponse::default() }
    }

    fn append(&mut self, node: NodeId, data: &PartitionProduceData) -> PartitionProduceResponse {
        let records = data.records.clone().unwrap();
        self.produced.push((data.index, records.clone()));
        let appended = if self.leaders[at(data.index)].0 == node {
            self.logs[at(data.index)].append(&records)
        } else {
            Err(ErrorCode::NotLeaderOrFollower)
        };
        PartitionProduceResponse {
            index: data.index,
            error_code: appended.err().unwrap_or_default(),
            base_offset: appended.unwrap_or(Offset::new(-1)),
            ..PartitionProduceResponse::default()
        }
    }

    fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|wanted| {
                    let log = &self.logs[at(wanted.partition_index)];
                    let (offset, timestamp) = log.find(wanted.timestamp);
                    ListOffsetsPartitionResponse {
                        partition_index: wanted.partition_index,
                        offset,
                        timestamp,
                        ..ListOffsetsPartitionResponse::default()
                    }
                })
                .collect(),
        });
        ListOffsetsResponse { topics: topics.collect(), ..ListOffsetsResponse::default() }
    }

    fn fetch(&mut self, node: NodeId, request: FetchRequest) -> FetchResponse {
        let responses = request.topics.iter().map(|topic| FetchableTopicResponse {
            topic: topic.topic.clone(),
            topic_id: topic.topic_id,
            partitions: topic
                .partitions
                .iter()
                .map(|wanted| {
                    let leads = self.leaders[at(wanted.partition)].0 == node;
                    let max_bytes = usize::try_from(wanted.partition_max_bytes).unwrap();
                    let log = &self.logs[at(wanted.partition)];
                    let data = log.read(wanted.fetch_offset, max_bytes);
                    let error_code = if leads { data.error_code } else { ErrorCode::NotLeaderOrFollower };
                    PartitionData { partition_index: wanted.partition, error_code, ..data }
                })
                .collect(),
        });
        let response = FetchResponse { responses: responses.collect(), ..FetchResponse::default() };
        self.fetches.push(request);
        response
    }
}

impl Log {
    /// As a broker would: the checksum, then the producer's sequence, then the offset.
    pub(super) fn append(&mut self, records: &Bytes) -> Result<Offset, ErrorCode> {
        let header = BatchHeader::parse(records).unwrap();
        if !crc_is_right(records, &header) {
            return Err(ErrorCode::CorruptMessage);
        }
        let base = self.end;
        if header.is_idempotent() {
            let (next, last_base) = *self.sequences.get(&header.producer_id).unwrap_or(&(0, Offset::ZERO));
            let first = header.base_sequence.get();
            if first < next {
                return Ok(last_base);
            }
            if first > next {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
            self.sequences.insert(header.producer_id, (first + header.record_count, base));
        }
        let mut batch = BytesMut::from(&records[..]);
        assign(&mut batch, base, LeaderEpoch::new(1));
        let header = BatchHeader::parse(&batch).unwrap();
        self.end = header.next_offset();
        self.batches.push((header, batch.freeze()));
        Ok(base)
    }

    fn find(&self, time: TimestampMs) -> (Offset, TimestampMs) {
        if time == LATEST {
            return (self.end, TimestampMs::NONE);
        }
        if time == EARLIEST {
            return (self.start, TimestampMs::NONE);
        }
        let all = self.batches.iter().flat_map(|(_, bytes)| records(bytes.clone()).unwrap());
        let found = all.map(Result::unwrap).find(|record| record.timestamp >= time);
        found.map_or((Offset::new(-1), TimestampMs::NONE), |record| (record.offset, record.timestamp))
    }

    /// Bytes up to a limit, the last batch cut where it falls.
    fn read(&self, from: Offset, max_bytes: usize) -> PartitionData {
        let in_range = from >= self.start && from <= self.end;
        let mut bytes = BytesMut::new();
        for (_, batch) in self.batches.iter().filter(|(header, _)| header.next_offset() > from) {
            bytes.extend_from_slice(batch);
        }
        bytes.truncate(max_bytes);
        PartitionData {
            error_code: if in_range { ErrorCode::None } else { ErrorCode::OffsetOutOfRange },
            high_watermark: self.end,
            log_start_offset: self.start,
            records: Records::from(bytes.freeze()),
            ..PartitionData::default()
        }
    }
}
