//! Fetch: ranges of segments, read past the replica's mailbox.
//!
//! Where batches are to be checked, the range is read into the connection's own buffer, checked, and
//! those very bytes are sent; otherwise it goes from the page cache to the socket (`sendfile`). What is
//! not in the page cache is read on the blocking pool, so that a cold read holds up no worker. At the
//! end of the log the request waits, without polling, for the high watermark to move.

use std::{io, mem, sync::Arc};

use tokio::{
    task::spawn_blocking,
    time::{Duration, Instant},
};

use crate::{
    actors::partition::{
        ClientKey, HeldAnswer, Leader, MUCH, PartitionHandle, ReadError, ReadOutcome, ReadRequest, SignedIn,
        Verify, Wait, Waiter, table::Topic,
    },
    config::topic::VerifyOnRead,
    kafka::{
        Broker,
        connection::{Piece, Session, held_while_it_runs},
        errors,
        handlers::{
            hints::{Hints, SINCE_FETCH},
            leaders,
        },
    },
    model::{Offset, PartitionIndex},
    wire::{
        ApiKey, ErrorCode,
        api::fetch::{
            FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData,
            Records,
        },
    },
};

/// The most bytes of one answer, whatever the client allows (a client asks again for the rest). It
/// bounds the memory that a connection needs; a single larger batch is still served.
const MOST_BYTES: usize = 4 << 20;
/// The longest wait for more, whatever the client allows.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// An answer, and the records that it is written around.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) response: FetchResponse,
    pub(crate) pieces: Vec<Piece>,
}

/// Reads what is there, or waits for it.
pub(crate) async fn handle(
    broker: &Broker,
    session: &mut Session,
    request: FetchRequest,
    version: i16,
) -> Fetched {
    if let Some(error_code) = refuse_session(&request) {
        let response = FetchResponse { error_code, ..FetchResponse::default() };
        return Fetched { response, pieces: Vec::new() };
    }
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(LONGEST_WAIT);
    let deadline = Instant::now() + wait;
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0);
    let wanted = Wanted::resolve(broker, &request, version);
    for partition in wanted.partitions(&request) {
        leaders::wait_for(broker, session, partition).await;
    }
    let waiter = Waiter::default();
    let mut signed_in: Option<Vec<SignedIn>> = None;
    let mut held = None;
    loop {
        session.buffer.clear();
        let pass = Pass::new(broker, session, &request, version);
        let pass = held_while_it_runs(&mut held, pass.read(&wanted)).await;
        if pass.failed || pass.bytes >= min_bytes || wanted.is_empty() || Instant::now() >= deadline {
            pass.remember_served();
            let held = held.filter(|_| pass.bytes <= MUCH);
            let answer = pass.into_answer(&request);
            session.held_answer = held;
            return answer;
        }
        drop(held.take());
        if signed_in.is_none() {
            // Look once more after signing in: what happened in between was told to nobody.
            signed_in = Some(wanted.sign_in(&waiter));
            continue;
        }
        held = session.patience.wait(deadline, woken(&waiter, session.is_light)).await.flatten();
    }
}

/// Waits until there is more. Who moves little may be given a producer's answer to hold.
async fn woken(waiter: &Waiter, is_light: bool) -> Option<HeldAnswer> {
    if is_light {
        waiter.woken().await
    } else {
        waiter.notified().await;
        None
    }
}

/// Sessions (KIP-227) are declined by answering id 0; a client that claims one anyway is told so.
fn refuse_session(request: &FetchRequest) -> Option<ErrorCode> {
    (request.session_id != 0 && request.session_epoch > 0).then_some(ErrorCode::FetchSessionIdNotFound)
}

/// The partitions of a request, looked up once.
struct Wanted {
    topics: Vec<WantedTopic>,
}

struct WantedTopic {
    topic: Option<Arc<Topic>>,
    unknown: ErrorCode,
}

impl Wanted {
    fn resolve(broker: &Broker, request: &FetchRequest, version: i16) -> Self {
        let by_id = version >= 13;
        let resolve = |wanted: &FetchTopic| WantedTopic {
            topic: if by_id {
                broker.topics.by_id(wanted.topic_id)
            } else {
                broker.topics.by_name(&wanted.topic)
            },
            unknown: if by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition },
        };
        Self { topics: request.topics.iter().map(resolve).collect() }
    }

    /// Those that are asked for, as far as there are such.
    fn partitions<'a>(&'a self, request: &'a FetchRequest) -> impl Iterator<Item = &'a PartitionHandle> {
        self.topics.iter().zip(&request.topics).flat_map(|(wanted, asked)| {
            let topic = wanted.topic.as_deref();
            asked.partitions.iter().filter_map(move |asked| topic?.partition(asked.partition))
        })
    }

    fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    fn sign_in(&self, waiter: &Waiter) -> Vec<SignedIn> {
        let topics = self.topics.iter().filter_map(|wanted| wanted.topic.as_ref());
        topics.flat_map(|topic| topic.partitions()).map(|partition| partition.sign_in(waiter)).collect()
    }
}

/// One look at all partitions.
struct Pass<'a> {
    broker: &'a Broker,
    session: &'a mut Session,
    request: &'a FetchRequest,
    answers: Vec<Vec<PartitionData>>,
    pieces: Vec<Piece>,
    /// Bytes of records so far.
    bytes: usize,
    room: usize,
    failed: bool,
    hints: Hints,
    /// What of partitions whose failed deliveries are counted goes out: from where, and to where.
    served: Vec<(PartitionHandle, Offset, Offset)>,
}

/// A range that was read as one piece.
struct Taken {
    len: usize,
    /// The offset after its last record.
    next: Offset,
}

impl<'a> Pass<'a> {
    fn new(broker: &'a Broker, session: &'a mut Session, request: &'a FetchRequest, version: i16) -> Self {
        let most = usize::try_from(request.max_bytes).unwrap_or(0).min(MOST_BYTES);
        let room = session.make_room(most, &broker.in_flight);
        let answers = Vec::with_capacity(request.topics.len());
        let (pieces, served, hints) = (Vec::new(), Vec::new(), Hints::new(version >= SINCE_FETCH));
        Self { broker, session, request, answers, pieces, bytes: 0, room, failed: false, hints, served }
    }

    fn remember_served(&self) {
        if self.served.is_empty() {
            return;
        }
        let client = ClientKey::new(&self.session.client_id, &self.session.client_host);
        let now = self.broker.clock.monotonic();
        for (partition, first, next) in &self.served {
            partition.served().record(client, *first, *next, now);
        }
    }

    async fn read(mut self, wanted: &Wanted) -> Self {
        let request = self.request;
        for (asked, topic) in request.topics.iter().zip(&wanted.topics) {
            let mut answers = Vec::with_capacity(asked.partitions.len());
            for partition in &asked.partitions {
                answers.push(self.read_partition(topic, partition).await);
            }
            self.answers.push(answers);
        }
        self
    }

    async fn read_partition(&mut self, wanted: &WantedTopic, asked: &FetchPartition) -> PartitionData {
        match self.try_read_partition(wanted, asked).await {
            Ok(data) => data,
            Err(error_code) => {
                self.failed = true;
                self.broker.meters.refused(ApiKey::Fetch, error_code);
                let partition = wanted.topic.as_ref().and_then(|topic| topic.partition(asked.partition));
                let hint = self.hints.for_refusal(self.broker, self.session, partition, error_code);
                PartitionData { current_leader: hint, ..failed(asked.partition, error_code) }
            }
        }
    }

    async fn try_read_partition(
        &mut self,
        wanted: &WantedTopic,
        asked: &FetchPartition,
    ) -> Result<PartitionData, ErrorCode> {
        let topic = wanted.topic.as_ref().ok_or(wanted.unknown)?;
        let partition = leaders::partition(Some(topic), asked.partition)?;
        let leader = leaders::leader(partition, asked.current_leader_epoch)?;
        let high_watermark = leader.high_watermark();
        let log_start_offset = leader.reader.log_start_offset();
        check_range(asked.fetch_offset, log_start_offset, leader.reader.log_end_offset())?;
        let mut data = PartitionData {
            partition_index: asked.partition,
            high_watermark,
            last_stable_offset: high_watermark,
            log_start_offset,
            ..PartitionData::default()
        };
        let most = usize::try_from(asked.partition_max_bytes).unwrap_or(0);
        let most = most.min(self.room.saturating_sub(self.bytes));
        if asked.fetch_offset < high_watermark && (most > 0 || self.bytes == 0) {
            let config = topic.config();
            let read = ReadRequest {
                from: asked.fetch_offset,
                upto: high_watermark,
                max_bytes: most,
                at_least_one: self.bytes == 0,
                verify: verify(config.verify_on_read),
                wait: Wait::OnlyCached,
            };
            let Taken { len, next } = self.take(&leader, topic, read).await?;
            if len > 0 {
                if config.delivery.limit(asked.partition).is_some() {
                    self.served.push((partition.clone(), asked.fetch_offset, next));
                }
                topic.meters.bytes_out.inc_by(len as u64);
                data.records = Records::Elsewhere { slot: self.pieces.len() - 1, len };
            }
        }
        Ok(data)
    }

    /// Reads one partition's range as one piece.
    async fn take(
        &mut self,
        leader: &Arc<Leader>,
        topic: &Topic,
        read: ReadRequest,
    ) -> Result<Taken, ErrorCode> {
        let taken = match read.verify {
            Verify::Always => self.take_checked(leader, topic, read).await?,
            Verify::First | Verify::Never => self.take_range(leader, topic, read).await?,
        };
        self.bytes += taken.len;
        Ok(taken)
    }

    /// Into the connection's buffer, each batch checked.
    async fn take_checked(
        &mut self,
        leader: &Arc<Leader>,
        topic: &Topic,
        read: ReadRequest,
    ) -> Result<Taken, ErrorCode> {
        let start = self.session.buffer.len();
        let mut outcome = leader.reader.read(&read, &mut self.session.buffer);
        if matches!(outcome, Ok(ReadOutcome::NeedsDisk)) {
            outcome = self.read_blocking(leader, ReadRequest { wait: Wait::MayBlock, ..read }).await;
        }
        let next = match outcome {
            Ok(ReadOutcome::Read { skipped, next, .. }) => {
                for batch in &skipped {
                    self.broker.report_corrupt(topic, batch);
                }
                next
            }
            Ok(ReadOutcome::NeedsDisk) => read.from,
            Err(error) => return Err(refused(topic, &error)),
        };
        let end = self.session.buffer.len();
        if end > start {
            self.pieces.push(Piece::Buffer(start..end));
        }
        Ok(Taken { len: end - start, next })
    }

    /// The same where only the disk has it: on a thread that may wait for it.
    async fn read_blocking(
        &mut self,
        leader: &Arc<Leader>,
        read: ReadRequest,
    ) -> Result<ReadOutcome, ReadError> {
        let (leader, mut buffer) = (Arc::clone(leader), mem::take(&mut self.session.buffer));
        let reading = spawn_blocking(move || {
            let outcome = leader.reader.read(&read, &mut buffer);
            (outcome, buffer)
        });
        let (outcome, buffer) = reading.await.map_err(|join| ReadError::Io(io::Error::other(join)))?;
        self.session.buffer = buffer;
        outcome
    }

    /// As a range of a file. Where there is none to be had, the slow way says why.
    async fn take_range(
        &mut self,
        leader: &Arc<Leader>,
        topic: &Topic,
        read: ReadRequest,
    ) -> Result<Taken, ErrorCode> {
        match leader.reader.file_range(&read) {
            Ok(Some(range)) => {
                let taken = Taken { len: range.len, next: range.next };
                self.pieces.push(Piece::File(range));
                Ok(taken)
            }
            Ok(None) => self.take_checked(leader, topic, read).await,
            Err(error) => Err(refused(topic, &error)),
        }
    }

    fn into_answer(self, wanted: &FetchRequest) -> Fetched {
        let topics = wanted.topics.iter().zip(self.answers);
        let responses = topics.map(|(asked, partitions)| FetchableTopicResponse {
            topic: asked.topic.clone(),
            topic_id: asked.topic_id,
            partitions,
        });
        let response = FetchResponse {
            responses: responses.collect(),
            node_endpoints: self.hints.endpoints(),
            ..FetchResponse::default()
        };
        Fetched { response, pieces: self.pieces }
    }
}

fn verify(config: VerifyOnRead) -> Verify {
    match config {
        VerifyOnRead::Always => Verify::Always,
        VerifyOnRead::First => Verify::First,
        VerifyOnRead::Never => Verify::Never,
    }
}

/// Between the high watermark and the log's end there is nothing to read, but nothing wrong (S5).
fn check_range(asked: Offset, start: Offset, end: Offset) -> Result<(), ErrorCode> {
    if asked < start || asked > end { Err(ErrorCode::OffsetOutOfRange) } else { Ok(()) }
}

fn refused(topic: &Topic, error: &ReadError) -> ErrorCode {
    let code = errors::of_read(error);
    if code == ErrorCode::KafkaStorageError {
        tracing::error!(topic = %topic.name, "fetch failed: {error}");
    }
    code
}

fn failed(partition_index: PartitionIndex, error_code: ErrorCode) -> PartitionData {
    PartitionData { partition_index, error_code, high_watermark: Offset::new(-1), ..PartitionData::default() }
}
