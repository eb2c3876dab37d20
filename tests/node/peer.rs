//! One connection to a node, byte by byte, and the requests of these tests in short.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use polylogue::{
    local_cluster::LocalNode,
    model::{Offset, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs, TopicId},
    wire::{
        ErrorCode, Message, Reader, Request, Str,
        api::{
            api_versions::ApiVersionsRequest,
            create_topics::{
                CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest,
            },
            delete_records::{
                DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
                DeleteRecordsTopic,
            },
            delete_topics::DeleteTopicsRequest,
            fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData},
            init_producer_id::InitProducerIdRequest,
            list_offsets::{
                ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic,
            },
            metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic},
            produce::{PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData},
        },
        frame,
    },
};

use crate::{
    batches,
    support::{WITHIN, eventually},
};

/// Versions that name topics by name.
pub(crate) const PRODUCE: i16 = 9;
pub(crate) const FETCH: i16 = 12;
pub(crate) const METADATA: i16 = 12;
pub(crate) const CREATE: i16 = 7;
pub(crate) const LIST: i16 = 7;
/// The time-out that requests carry.
const TIMEOUT_MS: i32 = 30_000;

/// One connection.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    next_id: i32,
}

impl Peer {
    #[track_caller]
    pub(crate) fn connect(node: &LocalNode) -> Self {
        Self::over(TcpStream::connect(node.kafka_address()).unwrap())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        stream.set_write_timeout(Some(WITHIN)).unwrap();
        Self { stream, next_id: 0 }
    }

    /// Sends bytes as they are. That the node may have closed already is the caller's to judge.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request and gives its correlation id.
    #[track_caller]
    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        let (id, bytes) = self.frame(version, request);
        self.send_bytes(&bytes).unwrap();
        id
    }

    /// A request's frame under the next correlation id, to be sent by the caller.
    pub(crate) fn frame<R: Request>(&mut self, version: i16, request: &R) -> (i32, BytesMut) {
        self.next_id += 1;
        let mut out = BytesMut::new();
        frame::encode_request(&mut out, version, self.next_id, Some(&Str::from("tests")), request).unwrap();
        (self.next_id, out)
    }

    /// The next answer's frame without its size.
    pub(crate) fn receive_bytes(&mut self) -> io::Result<Bytes> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size)?;
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }

    /// The next answer, which must be the one to request `id`.
    #[track_caller]
    pub(crate) fn receive<R: Request>(&mut self, version: i16, id: i32) -> R::Response {
        let mut reader = Reader::new(self.receive_bytes().unwrap());
        let answered = frame::decode_response_header(&mut reader, R::API, version).unwrap();
        assert_eq!(answered, id, "answers come in the order of the requests");
        let response = R::Response::decode(&mut reader, version).unwrap();
        reader.finish().unwrap();
        response
    }

    #[track_caller]
    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let id = self.send(version, request);
        self.receive::<R>(version, id)
    }

    /// Whether an answer begins to arrive within this time.
    pub(crate) fn hears_within(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let heard = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(WITHIN)).unwrap();
        match heard {
            Ok(_) => true,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until more arrives; false where the node closes instead.
    pub(crate) fn hears_more(&mut self) -> bool {
        matches!(self.stream.peek(&mut [0]), Ok(1))
    }

    /// Sends nothing more; the node reads the end of the stream.
    pub(crate) fn finish_sending(&self) {
        // The node may have closed already.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Reads until the node closes, and gives what came before. Fails where it does not close.
    #[track_caller]
    pub(crate) fn read_until_closed(&mut self) -> Vec<u8> {
        let mut before = Vec::new();
        match self.stream.read_to_end(&mut before) {
            Ok(_) => before,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => before,
            Err(error) => panic!("the connection is still open: {error}"),
        }
    }

    /// The node closes this connection without an answer.
    #[track_caller]
    pub(crate) fn assert_closed(mut self, what: &str) {
        let before = self.read_until_closed();
        assert!(before.is_empty(), "{what}: {} bytes instead of a closed connection", before.len());
    }

    // What follows are requests in short.

    /// Makes a topic and waits until it has leaders.
    #[track_caller]
    pub(crate) fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> TopicId {
        let made = self.try_create(topic(name, partitions, configs));
        assert_eq!(made.error_code, ErrorCode::None, "{:?}", made.error_message);
        eventually("the new topic has leaders", WITHIN, || {
            let topic = self.metadata(&[name], false).topics.remove(0);
            let led = |topic: &MetadataResponseTopic| {
                topic.partitions.len() == partitions as usize
                    && topic.partitions.iter().all(|partition| partition.leader_id.get() >= 0)
            };
            (topic.error_code == ErrorCode::None && led(&topic)).then_some(())
        });
        made.topic_id
    }

    #[track_caller]
    pub(crate) fn try_create(&mut self, topic: CreatableTopic) -> CreatableTopicResult {
        let request =
            CreateTopicsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS, validate_only: false };
        self.call(CREATE, &request).topics.remove(0)
    }

    #[track_caller]
    pub(crate) fn delete(&mut self, name: &str) -> ErrorCode {
        let request = DeleteTopicsRequest {
            topic_names: vec![name.into()],
            timeout_ms: TIMEOUT_MS,
            ..DeleteTopicsRequest::default()
        };
        self.call(5, &request).responses.remove(0).error_code
    }

    #[track_caller]
    pub(crate) fn metadata(&mut self, topics: &[&str], may_create: bool) -> MetadataResponse {
        let named = |name: &&str| MetadataRequestTopic { name: Some((*name).into()), ..Default::default() };
        let request = MetadataRequest {
            topics: Some(topics.iter().map(named).collect()),
            allow_auto_topic_creation: may_create,
            ..MetadataRequest::default()
        };
        self.call(METADATA, &request)
    }

    /// Produces to partition 0 with `acks=all`.
    #[track_caller]
    pub(crate) fn produce(&mut self, topic: &str, batch: Bytes) -> PartitionProduceResponse {
        self.produce_with(-1, topic, 0, batch)
    }

    #[track_caller]
    pub(crate) fn produce_with(
        &mut self,
        acks: i16,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> PartitionProduceResponse {
        let answer = self.call(PRODUCE, &produce_request(acks, topic, partition, batch));
        answer.responses.into_iter().next().unwrap().partition_responses.remove(0)
    }

    /// Produces and gives the base offset.
    #[track_caller]
    pub(crate) fn append(&mut self, topic: &str, batch: Bytes) -> i64 {
        let answer = self.produce(topic, batch);
        assert_eq!(answer.error_code, ErrorCode::None, "{:?}", answer.error_message);
        answer.base_offset.get()
    }

    /// Fetches from partition 0 without waiting.
    #[track_caller]
    pub(crate) fn fetch(&mut self, topic: &str, from: i64) -> PartitionData {
        self.fetch_with(&fetch_request(topic, &[(0, from)]))
    }

    /// Fetches what a request asks of its first partition.
    #[track_caller]
    pub(crate) fn fetch_with(&mut self, request: &FetchRequest) -> PartitionData {
        only(self.call(FETCH, request).responses.into_iter().flat_map(|topic| topic.partitions))
    }

    /// Every record of partition 0, fetched until its end.
    #[track_caller]
    pub(crate) fn read_all(&mut self, topic: &str) -> Vec<(i64, Vec<u8>)> {
        let (mut next, end) = (self.earliest(topic), self.latest(topic));
        let mut all = Vec::new();
        while next < end {
            let data = self.fetch(topic, next);
            assert_eq!(data.error_code, ErrorCode::None, "{topic} at {next}");
            let bytes = data.records.into_bytes();
            let Some(last) = batches::headers(&bytes).last().copied() else { break };
            all.extend(batches::values(&bytes));
            assert!(last.next_offset().get() > next, "a fetch makes progress");
            next = last.next_offset().get();
        }
        all
    }

    /// The offset for a time, or for one of the constants that stand for one.
    #[track_caller]
    pub(crate) fn offset_for(&mut self, topic: &str, time: TimestampMs) -> ListOffsetsPartitionResponse {
        let partition = ListOffsetsPartition { timestamp: time, ..ListOffsetsPartition::default() };
        let topic = ListOffsetsTopic { name: topic.into(), partitions: vec![partition] };
        let request = ListOffsetsRequest { topics: vec![topic], ..ListOffsetsRequest::default() };
        only(self.call(LIST, &request).topics.into_iter().flat_map(|topic| topic.partitions))
    }

    #[track_caller]
    pub(crate) fn earliest(&mut self, topic: &str) -> i64 {
        self.offset_for(topic, polylogue::wire::api::list_offsets::EARLIEST).offset.get()
    }

    #[track_caller]
    pub(crate) fn latest(&mut self, topic: &str) -> i64 {
        self.offset_for(topic, polylogue::wire::api::list_offsets::LATEST).offset.get()
    }

    #[track_caller]
    pub(crate) fn delete_records(&mut self, topic: &str, before: i64) -> DeleteRecordsPartitionResult {
        let partition =
            DeleteRecordsPartition { partition_index: PartitionIndex::new(0), offset: Offset::new(before) };
        let topic = DeleteRecordsTopic { name: topic.into(), partitions: vec![partition] };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS };
        only(self.call(2, &request).topics.into_iter().flat_map(|topic| topic.partitions))
    }

    /// A new producer id.
    #[track_caller]
    pub(crate) fn producer_id(&mut self) -> i64 {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: TIMEOUT_MS,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
        };
        let given = self.call(4, &request);
        assert_eq!((given.error_code, given.producer_epoch.get()), (ErrorCode::None, 0));
        given.producer_id.get()
    }
}

#[track_caller]
fn only<T>(mut all: impl Iterator<Item = T>) -> T {
    let (first, second) = (all.next(), all.next());
    assert!(first.is_some() && second.is_none(), "an answer for the one partition");
    first.unwrap()
}

pub(crate) fn topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatableTopic {
    let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: (*name).into(),
        value: Some((*value).into()),
    };
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: configs.iter().map(config).collect(),
    }
}

pub(crate) fn produce_request(acks: i16, topic: &str, partition: i32, batch: Bytes) -> ProduceRequest {
    let data = PartitionProduceData { index: PartitionIndex::new(partition), records: Some(batch) };
    let topic =
        TopicProduceData { name: topic.into(), partition_data: vec![data], ..TopicProduceData::default() };
    ProduceRequest { transactional_id: None, acks, timeout_ms: TIMEOUT_MS, topic_data: vec![topic] }
}

/// Asks for partitions from offsets, without limits and without waiting.
pub(crate) fn fetch_request(topic: &str, from: &[(i32, i64)]) -> FetchRequest {
    let partition = |(partition, offset): &(i32, i64)| FetchPartition {
        partition: PartitionIndex::new(*partition),
        fetch_offset: Offset::new(*offset),
        partition_max_bytes: i32::MAX,
        ..FetchPartition::default()
    };
    let topic = FetchTopic {
        topic: topic.into(),
        partitions: from.iter().map(partition).collect(),
        ..FetchTopic::default()
    };
    FetchRequest { topics: vec![topic], ..FetchRequest::default() }
}

/// Asks what the node speaks, under a name that it takes from version 3 on.
pub(crate) fn versions() -> ApiVersionsRequest {
    ApiVersionsRequest { client_software_name: "tests".into(), client_software_version: "1".into() }
}
