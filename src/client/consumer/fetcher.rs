//! Fetches the partitions of one leader, ahead of the application.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    select,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::sleep,
};

use super::{
    ConsumeError, ConsumerConfig, Fetched, OutOfRange, StartAt, batch::FetchedBatch, partition::Placed,
    placement::Returned, turns::Turns,
};
use crate::{
    client::{Client, ClientError, Connection, OffsetSpec, cluster::SILENCE, metadata::Hint},
    model::{NodeId, Offset, PartitionIndex, TopicId},
    record::{BatchError, batches, crc_is_right},
    wire::{
        ApiKey, ErrorCode, Str,
        api::{
            fetch::{
                FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse,
                PartitionData,
            },
            produce::LeaderIdAndEpoch,
        },
    },
};

/// The last version that names topics rather than giving their ids.
const LAST_BY_NAME: i16 = 12;
/// Limits that requests carry as 32 bits.
const MOST: usize = i32::MAX as usize;

pub(super) struct Fetcher {
    pub(super) node: NodeId,
    pub(super) client: Client,
    pub(super) config: Arc<ConsumerConfig>,
    /// Partitions that are being placed, maybe with this fetcher.
    pub(super) placing: Arc<AtomicUsize>,
    pub(super) incoming: mpsc::UnboundedReceiver<Placed>,
    pub(super) returned: Returned,
    pub(super) events: mpsc::Sender<Fetched>,
    pub(super) turns: Turns,
    pub(super) room: Arc<Semaphore>,
    pub(super) room_size: usize,
    pub(super) partitions: Vec<Placed>,
}

/// How long a broker may wait while more partitions may join the next request.
const WAIT_WHILE_PLACING: Duration = Duration::from_millis(5);

/// The consumer is gone.
struct Gone;

/// What becomes of a partition after an answer.
enum After {
    Keep(Placed),
    /// Its leader is to be found again.
    Return(Placed),
    /// Its leader has been named.
    Moved(Placed),
    /// It is read no further.
    Drop,
}

impl Fetcher {
    /// Fetches until the consumer or the placement is gone.
    pub(super) async fn run(mut self) {
        loop {
            while let Ok(placed) = self.incoming.try_recv() {
                self.partitions.push(placed);
            }
            let turns = &self.turns;
            self.partitions.retain(|placed| is_current(turns, placed));
            if self.partitions.is_empty() {
                let Some(placed) = self.incoming.recv().await else { return };
                self.partitions.push(placed);
                continue;
            }
            let fetched = select! {
                fetched = self.fetch() => fetched,
                () = self.events.closed() => return,
            };
            let done = match fetched {
                Ok((response, version)) => self.on_response(response, version).await,
                Err(error) => self.on_failure(&error),
            };
            if done.is_err() {
                return;
            }
        }
    }

    /// Waits for room and for the broker.
    async fn fetch(&self) -> Result<(FetchResponse, i16), ClientError> {
        // Held for a moment only: the answer's batches take their own, so one answer may go beyond.
        drop(self.room.acquire().await);
        let connection = self.client.connection(self.node).await?;
        let by_id = self.partitions.iter().all(|placed| !placed.leader.topic_id.is_nil());
        let cap = if by_id { i16::MAX } else { LAST_BY_NAME };
        let within = self.client.config().request_timeout + self.config.max_wait;
        let pending = connection.start(&self.request(), cap, within).await?;
        let version = pending.version();
        let answer = pending.answer();
        tokio::pin!(answer);
        loop {
            select! {
                answer = &mut answer => return Ok((answer?, version)),
                () = sleep(self.config.max_wait + SILENCE) => self.ask_others(&connection).await,
            }
        }
    }

    /// The broker owes its answer: it may be stopped or cut off. Where others say that it leads nothing of this any
    /// more it is given up.
    async fn ask_others(&self, connection: &Connection) {
        let seen = self.client.metadata().generation;
        if let Err(error) = self.client.refresh(seen).await {
            tracing::debug!(node = %self.node, %error, "silent, and metadata cannot be had");
            return;
        }
        let metadata = self.client.metadata();
        let leads = |placed: &Placed| {
            let leader = metadata.leader(&placed.assigned.topic, placed.assigned.partition);
            leader.is_none_or(|leader| leader.node == self.node)
        };
        if !self.partitions.iter().any(leads) {
            connection.close();
        }
    }

    fn request(&self) -> FetchRequest {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for placed in &self.partitions {
            let name = placed.assigned.topic.as_str();
            let same = |topic: &FetchTopic| topic.topic == *name && topic.topic_id == placed.leader.topic_id;
            // Partitions of a topic mostly stand together, so the last topic is the one.
            if !topics.last().is_some_and(same) {
                let topic = Str::from(name);
                topics.push(FetchTopic { topic, topic_id: placed.leader.topic_id, partitions: Vec::new() });
            }
            if let Some(topic) = topics.last_mut() {
                topic.partitions.push(self.partition(placed));
            }
        }
        let placing = self.placing.load(Ordering::Acquire) > 0 || !self.incoming.is_empty();
        let wait = if placing { WAIT_WHILE_PLACING } else { self.config.max_wait };
        FetchRequest {
            max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: self.config.min_bytes.min(MOST) as i32,
            max_bytes: self.config.max_bytes.min(MOST) as i32,
            topics,
            ..FetchRequest::default()
        }
    }

    fn partition(&self, placed: &Placed) -> FetchPartition {
        let max_bytes = placed.assigned.max_bytes.unwrap_or(self.config.partition_max_bytes);
        FetchPartition {
            partition: placed.assigned.partition,
            current_leader_epoch: placed.leader.epoch,
            fetch_offset: placed.offset,
            partition_max_bytes: max_bytes.min(MOST) as i32,
            ..FetchPartition::default()
        }
    }

    /// Everything goes back to be placed: the leader may be another one by now.
    fn on_failure(&mut self, error: &ClientError) -> Result<(), Gone> {
        tracing::debug!(node = %self.node, %error, "fetch failed");
        for mut placed in std::mem::take(&mut self.partitions) {
            placed.assigned.failures += 1;
            self.returned.send(placed.unplace()).map_err(|_| Gone)?;
        }
        Ok(())
    }

    async fn on_response(&mut self, response: FetchResponse, version: i16) -> Result<(), Gone> {
        if !response.error_code.is_none() {
            let error = ClientError::refused(ApiKey::Fetch, response.error_code, None);
            return self.on_failure(&error);
        }
        self.learn(&response, version);
        let mut answers = by_partition(response, version);
        let mut kept = Vec::with_capacity(self.partitions.len());
        for placed in std::mem::take(&mut self.partitions) {
            if !is_current(&self.turns, &placed) {
                continue;
            }
            let key = if version > LAST_BY_NAME {
                (Str::default(), placed.leader.topic_id, placed.assigned.partition)
            } else {
                (Str::from(placed.assigned.topic.as_str()), TopicId::default(), placed.assigned.partition)
            };
            let after = match answers.remove(&key) {
                Some(answer) => self.on_partition(placed, answer).await?,
                None => After::Keep(placed),
            };
            match after {
                After::Keep(placed) => kept.push(placed),
                After::Moved(placed) => self.returned.send(placed.unplace()).map_err(|_| Gone)?,
                After::Return(mut placed) => {
                    placed.assigned.failures += 1;
                    self.returned.send(placed.unplace()).map_err(|_| Gone)?;
                }
                After::Drop => {}
            }
        }
        // The next answer begins with whoever is first: each has its turn.
        if kept.len() > 1 {
            kept.rotate_left(1);
        }
        self.partitions = kept;
        Ok(())
    }

    /// Leaders that refusals name are known when the partitions are placed again.
    fn learn(&self, response: &FetchResponse, version: i16) {
        if response.node_endpoints.is_empty() {
            return;
        }
        let by_id = version > LAST_BY_NAME;
        let hint = |placed: &Placed| {
            let same = |topic: &&FetchableTopicResponse| {
                if by_id {
                    topic.topic_id == placed.leader.topic_id
                } else {
                    topic.topic == *placed.assigned.topic.as_str()
                }
            };
            let topic = response.responses.iter().find(same)?;
            let partition = placed.assigned.partition;
            let answer = topic.partitions.iter().find(|answer| answer.partition_index == partition)?;
            let leader = answer.current_leader.clone();
            let topic = placed.assigned.topic.clone();
            (leader != LeaderIdAndEpoch::default()).then_some(Hint { topic, partition, leader })
        };
        let hints: Vec<_> = self.partitions.iter().filter_map(hint).collect();
        self.client.learn(&hints, &response.node_endpoints);
    }

    async fn on_partition(&self, placed: Placed, answer: PartitionData) -> Result<After, Gone> {
        let code = answer.error_code;
        if code.is_none() {
            return self.on_records(placed, answer).await;
        }
        if code == ErrorCode::OffsetOutOfRange {
            return self.on_out_of_range(placed, answer.log_start_offset).await;
        }
        if code.is_retriable() {
            return Ok(self.returned(placed));
        }
        let source = ClientError::refused(ApiKey::Fetch, code, None);
        let (topic, partition) = (placed.assigned.topic.clone(), placed.assigned.partition);
        self.fail(placed, ConsumeError::Partition { topic, partition, source }).await
    }

    /// What was just learned of the leader is not asked for again.
    fn returned(&self, placed: Placed) -> After {
        let leader = self.client.metadata().leader(&placed.assigned.topic, placed.assigned.partition);
        let moved = leader.is_some_and(|leader| leader.epoch > placed.leader.epoch);
        if moved { After::Moved(placed) } else { After::Return(placed) }
    }

    async fn on_out_of_range(&self, mut placed: Placed, log_start: Offset) -> Result<After, Gone> {
        let spec = match self.config.out_of_range {
            OutOfRange::Earliest => OffsetSpec::Earliest,
            OutOfRange::Latest => OffsetSpec::Latest,
            OutOfRange::Fail => {
                let (topic, partition, offset) =
                    (placed.assigned.topic.clone(), placed.assigned.partition, placed.offset);
                let error = ConsumeError::OutOfRange { topic, partition, offset, log_start };
                return self.fail(placed, error).await;
            }
        };
        let (topic, partition) = (&placed.assigned.topic, placed.assigned.partition);
        tracing::warn!(%topic, %partition, offset = %placed.offset, ?spec, "offset out of range, going on elsewhere");
        placed.assigned.next = StartAt::Spec(spec);
        self.returned.send(placed.assigned).map_err(|_| Gone)?;
        Ok(After::Drop)
    }

    async fn on_records(&self, mut placed: Placed, answer: PartitionData) -> Result<After, Gone> {
        placed.assigned.failures = 0;
        let high_watermark = answer.high_watermark;
        let records = answer.records.into_bytes();
        let came = records.len();
        let before = placed.offset;
        for batch in batches(records) {
            let checked = batch.and_then(|(header, bytes)| {
                let right = !self.config.check_crcs || crc_is_right(&bytes, &header);
                if right { Ok((header, bytes)) } else { Err(BatchError::Checksum) }
            });
            let (header, bytes) = match checked {
                Ok(whole) => whole,
                Err(source) => return self.on_corrupt(placed, source).await,
            };
            // The first batch may lie before what was asked for, as a whole where compaction left a hole.
            if header.next_offset() <= placed.offset {
                continue;
            }
            let batch = FetchedBatch {
                topic: placed.assigned.topic.clone(),
                partition: placed.assigned.partition,
                high_watermark,
                next_offset: header.next_offset(),
                from: placed.offset,
                turn: placed.assigned.turn,
                bytes,
                is_control: header.is_control(),
            };
            placed.offset = header.next_offset();
            self.deliver(batch).await?;
        }
        if came > 0 && placed.offset == before {
            // Not even one whole batch: it is larger than what was asked for.
            let now = placed.assigned.max_bytes.unwrap_or(self.config.partition_max_bytes);
            placed.assigned.max_bytes = Some(now.saturating_mul(2).min(self.client.config().max_frame_bytes));
        }
        self.report_end(&mut placed, high_watermark).await?;
        Ok(After::Keep(placed))
    }

    async fn on_corrupt(&self, placed: Placed, source: BatchError) -> Result<After, Gone> {
        let (topic, partition, offset) =
            (placed.assigned.topic.clone(), placed.assigned.partition, placed.offset);
        self.fail(placed, ConsumeError::Corrupt { topic, partition, offset, source }).await
    }

    async fn report_end(&self, placed: &mut Placed, high_watermark: Offset) -> Result<(), Gone> {
        let is_new = placed.assigned.reported_end != Some(placed.offset);
        if placed.offset < high_watermark || !is_new {
            return Ok(());
        }
        placed.assigned.reported_end = Some(placed.offset);
        let (topic, partition) = (placed.assigned.topic.clone(), placed.assigned.partition);
        self.say(Fetched::End { topic, partition, offset: placed.offset, turn: placed.assigned.turn }).await
    }

    /// Hands a batch over once there is room for it; one larger than all room takes all.
    async fn deliver(&self, batch: FetchedBatch) -> Result<(), Gone> {
        let permits = batch.bytes.len().min(self.room_size) as u32;
        let room: OwnedSemaphorePermit =
            Arc::clone(&self.room).acquire_many_owned(permits).await.map_err(|_| Gone)?;
        self.say(Fetched::Batch(batch, room)).await
    }

    async fn fail(&self, placed: Placed, error: ConsumeError) -> Result<After, Gone> {
        self.say(Fetched::failed(placed.assigned, error)).await?;
        Ok(After::Drop)
    }

    async fn say(&self, event: Fetched) -> Result<(), Gone> {
        self.events.send(event).await.map_err(|_| Gone)
    }
}

/// Whether it is still to be read, and from there.
fn is_current(turns: &Turns, placed: &Placed) -> bool {
    turns.is_current(&placed.assigned.topic, placed.assigned.partition, placed.assigned.turn)
}

type Key = (Str, TopicId, PartitionIndex);

/// Answers by topic name or id, whichever the version carries.
fn by_partition(response: FetchResponse, version: i16) -> HashMap<Key, PartitionData> {
    let by_id = version > LAST_BY_NAME;
    let mut answers = HashMap::new();
    for topic in response.responses {
        let name = if by_id { Str::default() } else { topic.topic };
        for partition in topic.partitions {
            answers.insert((name.clone(), topic.topic_id, partition.partition_index), partition);
        }
    }
    answers
}
