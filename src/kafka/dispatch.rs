//! From a frame to the handler of its API: one line each.

use std::mem;

use bytes::{Bytes, BytesMut};

use super::{
    Broker,
    connection::{Held, Piece, Session},
    handlers::{self, produce::PendingProduce},
};
use crate::wire::{
    ApiKey, DecodeError, EncodeError, ErrorCode, Message, Reader, UnsupportedVersion,
    api::produce::ProduceRequest,
    frame::{self, Part, RequestHeader},
};

/// Why a request ends its connection. Kafka's brokers answer none of these either.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The header or the body is not what its version says.
    #[error("request cannot be read: {0}")]
    Decode(#[from] DecodeError),
    /// A key that no handler serves.
    #[error("API {key} version {version} is not served")]
    Unserved {
        /// The API's number.
        key: i16,
        /// The version asked for.
        version: i16,
    },
    /// A version that is not served of an API that is.
    #[error(transparent)]
    Version(#[from] UnsupportedVersion),
    /// The answer cannot be written in this version.
    #[error("answer cannot be written: {0}")]
    Encode(#[from] EncodeError),
    /// A produce request without acknowledgement failed: closing is the only way to say so.
    #[error("produce request with acks=0 failed: {0:?}")]
    Unanswerable(ErrorCode),
}

/// A request with its header read.
#[derive(Debug)]
pub(crate) struct Request {
    header: RequestHeader,
    api: ApiKey,
    body: Reader,
    held: Held,
}

impl Request {
    pub(crate) fn parse(frame: Bytes, held: Held) -> Result<Self, Refused> {
        let mut body = Reader::new(frame);
        let header = RequestHeader::decode(&mut body)?;
        let unserved = Refused::Unserved { key: header.api_key, version: header.api_version };
        let api = header.api().filter(|api| api.advertised().is_some()).ok_or(unserved)?;
        Ok(Self { header, api, body, held })
    }

    pub(crate) fn is_produce(&self) -> bool {
        self.api == ApiKey::Produce
    }

    fn version(&self) -> i16 {
        self.header.api_version
    }

    fn body<M: Message>(mut self) -> Result<M, Refused> {
        // What is left over is not looked at, as in Kafka: librdkafka 2.16 appends bytes to a Metadata request for
        // all topics that no version has.
        Ok(M::decode(&mut self.body, self.header.api_version)?)
    }
}

/// Bytes of most answers, without records.
pub(crate) const USUAL_ANSWER: usize = 256;

/// A whole answer, ready to be sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) pieces: Vec<Piece>,
}

impl From<Bytes> for Answer {
    fn from(frame: Bytes) -> Self {
        Self { pieces: vec![Piece::Bytes(frame)] }
    }
}

/// Brings a produce request's batches into their queues.
pub(crate) async fn produce(
    broker: &Broker,
    session: &mut Session,
    mut request: Request,
) -> Result<PendingProduce, Refused> {
    broker.meters.request(ApiKey::Produce);
    let held = mem::take(&mut request.held);
    let (version, correlation_id) = (request.version(), request.header.correlation_id);
    let body = request.body::<ProduceRequest>()?;
    Ok(handlers::produce::begin(broker, session, body, version, correlation_id, held).await)
}

/// Carries out any other request.
pub(crate) async fn answer(
    broker: &Broker,
    session: &mut Session,
    request: Request,
) -> Result<Answer, Refused> {
    broker.meters.request(request.api);
    let (version, id) = (request.version(), request.header.correlation_id);
    session.note_client(request.header.client_id.as_ref());
    macro_rules! handle {
        ($handler:ident) => {{
            let body = request.body()?;
            whole(&handlers::$handler::handle(broker, session, body, version).await, version, id)
        }};
    }
    match request.api {
        ApiKey::Fetch => {
            let fetched = handlers::fetch::handle(broker, session, request.body()?, version).await;
            in_parts(&fetched.response, fetched.pieces, version, id)
        }
        ApiKey::ApiVersions if !ApiKey::ApiVersions.serves(version) => {
            // The client cannot know better yet; version 0 is what every client reads (KIP-511).
            whole(&handlers::api_versions::unsupported(), 0, id)
        }
        ApiKey::ApiVersions => handle!(api_versions),
        ApiKey::Metadata => handle!(metadata),
        ApiKey::ListOffsets => handle!(list_offsets),
        ApiKey::FindCoordinator => handle!(find_coordinator),
        ApiKey::JoinGroup => handle!(join_group),
        ApiKey::SyncGroup => handle!(sync_group),
        ApiKey::Heartbeat => handle!(heartbeat),
        ApiKey::LeaveGroup => handle!(leave_group),
        ApiKey::OffsetCommit => handle!(offset_commit),
        ApiKey::OffsetFetch => handle!(offset_fetch),
        ApiKey::OffsetDelete => handle!(offset_delete),
        ApiKey::DescribeGroups => handle!(describe_groups),
        ApiKey::ListGroups => handle!(list_groups),
        ApiKey::DeleteGroups => handle!(delete_groups),
        ApiKey::ConsumerGroupHeartbeat => handle!(consumer_group_heartbeat),
        ApiKey::ConsumerGroupDescribe => handle!(consumer_group_describe),
        ApiKey::InitProducerId => handle!(init_producer_id),
        ApiKey::CreateTopics => handle!(create_topics),
        ApiKey::DeleteTopics => handle!(delete_topics),
        ApiKey::CreatePartitions => handle!(create_partitions),
        ApiKey::ElectLeaders => handle!(elect_leaders),
        ApiKey::DeleteRecords => handle!(delete_records),
        ApiKey::OffsetForLeaderEpoch => handle!(offset_for_leader_epoch),
        ApiKey::DescribeConfigs => handle!(describe_configs),
        ApiKey::IncrementalAlterConfigs => handle!(incremental_alter_configs),
        ApiKey::AlterConfigs => handle!(alter_configs),
        ApiKey::ListConfigResources => handle!(list_config_resources),
        ApiKey::DescribeCluster => handle!(describe_cluster),
        ApiKey::DescribeLogDirs => handle!(describe_log_dirs),
        ApiKey::DescribeProducers => handle!(describe_producers),
        ApiKey::DescribeTopicPartitions => handle!(describe_topic_partitions),
        // Produce has its own way, so none comes here.
        ApiKey::Produce => Err(Refused::Unserved { key: request.api.code(), version }),
    }
}

fn whole<M: Message>(response: &M, version: i16, correlation_id: i32) -> Result<Answer, Refused> {
    let mut out = BytesMut::with_capacity(USUAL_ANSWER);
    frame::encode_response(&mut out, version, correlation_id, response)?;
    Ok(out.freeze().into())
}

/// Puts the records between the heads that were written around them.
fn in_parts<M: Message>(
    response: &M,
    records: Vec<Piece>,
    version: i16,
    correlation_id: i32,
) -> Result<Answer, Refused> {
    let mut out = BytesMut::with_capacity(USUAL_ANSWER);
    let parts = frame::encode_response_parts(&mut out, version, correlation_id, response)?;
    let mut records: Vec<_> = records.into_iter().map(Some).collect();
    let mut pieces = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::Bytes(bytes) => pieces.push(Piece::Bytes(bytes)),
            Part::Records { slot, .. } => pieces.extend(records.get_mut(slot).and_then(Option::take)),
        }
    }
    Ok(Answer { pieces })
}
