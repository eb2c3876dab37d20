//! Produce: batches into partitions' queues, and the answers once they may be given.
//!
//! A batch is checked here, on the connection's task, before it takes a place in a queue; it is not
//! copied on its way into the segment. The request's answer waits on the connection while later
//! requests are already being appended.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::{
    sync::oneshot,
    time::{Duration, Instant},
};

use crate::{
    actors::partition::{Acks, AppendRefusal, AppendReply, Appended, InFlight, table::Topic},
    kafka::{
        Broker,
        connection::{Held, Patience, Session},
        dispatch::Refused,
        errors,
        handlers::{
            hints::{Hints, SINCE_PRODUCE},
            leaders,
        },
    },
    model::{Offset, PartitionIndex, TopicId},
    record::{BatchError, ProduceRules, validate_produced},
    wire::{
        ApiKey, ErrorCode, Str,
        api::produce::{
            PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
            TopicProduceData, TopicProduceResponse,
        },
        frame,
    },
};

/// The longest that a producer's time-out may be; a client that asks for more gets this.
const LONGEST_TIMEOUT: Duration = Duration::from_mins(5);

/// Why a partition's batch is not acknowledged.
#[derive(Debug)]
enum Refusal {
    Code(ErrorCode),
    Batch(BatchError),
    Append(AppendRefusal),
}

impl Refusal {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Code(code) => *code,
            Self::Batch(error) => errors::of_batch(error),
            Self::Append(refusal) => errors::of_append(refusal),
        }
    }

    fn text(&self) -> Option<Str> {
        match self {
            Self::Code(_) => None,
            Self::Batch(error) => Some(error.to_string().into()),
            Self::Append(refusal) => Some(refusal.to_string().into()),
        }
    }
}

#[derive(Debug)]
enum State {
    Waiting(oneshot::Receiver<AppendReply>),
    Done(Result<Appended, Refusal>),
}

#[derive(Debug)]
struct PendingPartition {
    index: PartitionIndex,
    state: State,
}

#[derive(Debug)]
struct PendingTopic {
    name: Str,
    id: TopicId,
    topic: Option<Arc<Topic>>,
    partitions: Vec<PendingPartition>,
}

/// A produce request that has been carried out as far as its connection can.
#[derive(Debug)]
pub(crate) struct PendingProduce {
    correlation_id: i32,
    version: i16,
    /// `acks=0`: nobody waits; an error closes the connection.
    silent: bool,
    topics: Vec<PendingTopic>,
    deadline: Instant,
}

/// Carries a request out up to where its answer has to be waited for.
pub(crate) async fn begin(
    broker: &Broker,
    session: &mut Session,
    request: ProduceRequest,
    version: i16,
    correlation_id: i32,
    held: Held,
) -> PendingProduce {
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let mut pending = PendingProduce {
        correlation_id,
        version,
        silent: request.acks == 0,
        topics: Vec::with_capacity(request.topic_data.len()),
        deadline: Instant::now() + timeout.min(LONGEST_TIMEOUT),
    };
    let acks = match request.acks {
        _ if request.transactional_id.is_some() => Err(ErrorCode::TransactionalIdAuthorizationFailed),
        -1 => Ok(Acks::All),
        0 => Ok(Acks::None),
        1 => Ok(Acks::Leader),
        _ => Err(ErrorCode::InvalidRequiredAcks),
    };
    let held = held.shared();
    for topic in request.topic_data {
        pending.topics.push(begin_topic(broker, session, topic, version, acks, held.as_ref()).await);
    }
    pending
}

async fn begin_topic(
    broker: &Broker,
    session: &mut Session,
    data: TopicProduceData,
    version: i16,
    acks: Result<Acks, ErrorCode>,
    held: Option<&InFlight>,
) -> PendingTopic {
    let by_id = version >= 13;
    let topic = if by_id { broker.topics.by_id(data.topic_id) } else { broker.topics.by_name(&data.name) };
    let unknown = if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
    let mut partitions = Vec::with_capacity(data.partition_data.len());
    for PartitionProduceData { index, records } in data.partition_data {
        let begun = match (&topic, acks) {
            (_, Err(code)) => Err(Refusal::Code(code)),
            (None, Ok(_)) => Err(Refusal::Code(unknown)),
            (Some(topic), Ok(acks)) => {
                if let Some(partition) = topic.partition(index) {
                    leaders::wait_for(broker, session, partition).await;
                }
                begin_partition(broker, topic, index, records, acks, held).await
            }
        };
        let state = begun.map_or_else(|refusal| State::Done(Err(refusal)), State::Waiting);
        partitions.push(PendingPartition { index, state });
    }
    PendingTopic { name: data.name, id: data.topic_id, topic, partitions }
}

async fn begin_partition(
    broker: &Broker,
    topic: &Topic,
    index: PartitionIndex,
    records: Option<Bytes>,
    acks: Acks,
    held: Option<&InFlight>,
) -> Result<oneshot::Receiver<AppendReply>, Refusal> {
    let partition = topic.partition(index).ok_or(Refusal::Code(ErrorCode::UnknownTopicOrPartition))?;
    if topic.name.is_internal() {
        return Err(Refusal::Code(ErrorCode::InvalidTopic));
    }
    let config = topic.config();
    let required = config.min_in_sync_replicas as usize;
    if acks == Acks::All && required > 1 {
        let image = broker.membership.image();
        let in_sync = image.partition(partition.id()).map_or(0, |partition| partition.in_sync.len());
        if in_sync < required {
            return Err(Refusal::Append(AppendRefusal::NotEnoughReplicas { in_sync, required }));
        }
    }
    let batch = records.unwrap_or_default();
    let rules = ProduceRules {
        max_batch_bytes: config.max_message_bytes as usize,
        require_keys: config.compacts,
        timestamp_type: config.timestamp_type.into(),
        before_max_ms: millis(config.timestamp_before_max),
        after_max_ms: millis(config.timestamp_after_max),
        ..ProduceRules::defaults(broker.clock.latest_wall())
    };
    let header = validate_produced(&batch, &rules).map_err(Refusal::Batch)?;
    topic.meters.bytes_in.inc_by(batch.len() as u64);
    partition.append(batch, header, acks, held.cloned()).await.map_err(Refusal::Append)
}

fn millis(limit: Option<Duration>) -> i64 {
    limit.map_or(i64::MAX, |limit| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX))
}

impl PendingProduce {
    /// Whether every partition's outcome is known, without waiting.
    pub(crate) fn is_finished(&mut self) -> bool {
        self.partitions().all(|partition| {
            if let State::Waiting(answer) = &mut partition.state {
                match answer.try_recv() {
                    Ok(reply) => partition.state = State::Done(reply.map_err(Refusal::Append)),
                    Err(oneshot::error::TryRecvError::Empty) => return false,
                    Err(oneshot::error::TryRecvError::Closed) => {
                        partition.state = State::Done(Err(Refusal::Append(AppendRefusal::OutcomeUnknown)));
                    }
                }
            }
            true
        })
    }

    /// Waits until every partition's outcome is known or the producer's time is up. Loses nothing when
    /// it is dropped half-way.
    pub(crate) async fn finished(&mut self, patience: &mut Patience) {
        let deadline = self.deadline;
        for partition in self.partitions() {
            let State::Waiting(answer) = &mut partition.state else { continue };
            partition.state = State::Done(match patience.wait(deadline, answer).await {
                Some(Ok(reply)) => reply.map_err(Refusal::Append),
                Some(Err(_)) => Err(Refusal::Append(AppendRefusal::OutcomeUnknown)),
                None => Err(Refusal::Append(AppendRefusal::TimedOut)),
            });
        }
    }

    /// How many batches it has.
    pub(crate) fn batches(&self) -> usize {
        self.topics.iter().map(|topic| topic.partitions.len()).sum()
    }

    /// Appends the answer's frame to `out`, or says that the connection is to be closed.
    pub(crate) fn encode(
        self,
        broker: &Broker,
        session: &Session,
        out: &mut BytesMut,
    ) -> Result<(), Refused> {
        let (silent, version, correlation_id) = (self.silent, self.version, self.correlation_id);
        let mut refused = None;
        let mut hints = Hints::new(version >= SINCE_PRODUCE);
        let respond = |topic: PendingTopic| topic.response(broker, session, &mut hints, &mut refused);
        let responses = self.topics.into_iter().map(respond).collect();
        if silent {
            return refused.map_or(Ok(()), |code| Err(Refused::Unanswerable(code)));
        }
        let response =
            ProduceResponse { responses, node_endpoints: hints.endpoints(), ..ProduceResponse::default() };
        Ok(frame::encode_response(out, version, correlation_id, &response)?)
    }

    fn partitions(&mut self) -> impl Iterator<Item = &mut PendingPartition> {
        self.topics.iter_mut().flat_map(|topic| &mut topic.partitions)
    }
}

impl PendingTopic {
    fn response(
        self,
        broker: &Broker,
        session: &Session,
        hints: &mut Hints,
        refused: &mut Option<ErrorCode>,
    ) -> TopicProduceResponse {
        let Self { name, id, topic, partitions } = self;
        let answer = |partition: PendingPartition| {
            let mut response = partition.response();
            if response.error_code != ErrorCode::None {
                let handle = topic.as_ref().and_then(|topic| topic.partition(response.index));
                response.current_leader = hints.for_refusal(broker, session, handle, response.error_code);
                broker.meters.refused(ApiKey::Produce, response.error_code);
                *refused = Some(response.error_code);
            }
            response
        };
        TopicProduceResponse {
            partition_responses: partitions.into_iter().map(answer).collect(),
            name,
            topic_id: id,
        }
    }
}

impl PendingPartition {
    fn response(self) -> PartitionProduceResponse {
        let index = self.index;
        let outcome = match self.state {
            State::Done(outcome) => outcome,
            State::Waiting(_) => Err(Refusal::Append(AppendRefusal::OutcomeUnknown)),
        };
        match outcome {
            Ok(appended) => PartitionProduceResponse {
                index,
                base_offset: appended.base_offset,
                log_append_time_ms: appended.log_append_time,
                log_start_offset: appended.log_start_offset,
                ..PartitionProduceResponse::default()
            },
            Err(refusal) => PartitionProduceResponse {
                index,
                error_code: refusal.code(),
                error_message: refusal.text(),
                base_offset: Offset::new(-1),
                ..PartitionProduceResponse::default()
            },
        }
    }
}
