//! Reading records of assigned partitions, in the order of each.
//!
//! One task places partitions: it finds their leaders and first offsets. One task for each leader
//! fetches those placed with it, ahead of the application by at most
//! [`ConsumerConfig::prefetch_bytes`]. A partition whose leader has changed goes back to be placed.
//! Whole batches go from the fetch to the application as slices of what was received, and
//! are unpacked by whoever polls.
//!
//! **Promised:** within a partition every record from the start on, once, in order, each from a batch
//! whose checksum was right; or an error that names where it ended.

mod batch;
mod config;
mod fetcher;
mod partition;
mod placement;
mod turns;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use self::batch::FetchedBatch;
pub use self::{
    batch::ConsumedBatch,
    config::{ConsumerConfig, OutOfRange, StartAt},
};
use self::{
    partition::Assigned,
    placement::{Placement, Returned},
    turns::{Turn, Turns},
};
use super::{Client, ClientError};
use crate::{
    model::{Offset, PartitionIndex, TopicName},
    record::BatchError,
};

/// Batches and ends that may wait to be polled.
const EVENTS: usize = 4096;

/// A partition to read, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// Where to begin.
    pub start: StartAt,
}

/// What a poll found.
#[derive(Clone, Debug)]
pub enum Polled {
    /// Records.
    Batch(ConsumedBatch),
    /// All that there was in a partition has been polled. Comes again after more has been.
    EndOfPartition {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// The offset of its next record.
        offset: Offset,
    },
}

/// Why a partition is read no further; others are.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConsumeError {
    /// It cannot be fetched, or not be found.
    #[error("{topic}-{partition}: {source}")]
    Partition {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// Why.
        source: ClientError,
    },
    /// The log does not have the offset, and the consumer is not told to go on elsewhere.
    #[error("{topic}-{partition}: offset {offset} is not in the log, which begins at {log_start}")]
    OutOfRange {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// The offset that was next.
        offset: Offset,
        /// The first offset of the log, -1 where the broker did not tell.
        log_start: Offset,
    },
    /// What was fetched is not what a producer wrote.
    #[error("{topic}-{partition}: batch at offset {offset} cannot be read: {source}")]
    Corrupt {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// Where.
        offset: Offset,
        /// What is wrong.
        source: BatchError,
    },
    /// Nothing is assigned.
    #[error("no partition is assigned")]
    NothingAssigned,
}

/// What comes from the tasks that fetch; a batch holds its share of the prefetch.
#[derive(Debug)]
enum Fetched {
    Batch(FetchedBatch, OwnedSemaphorePermit),
    End { topic: TopicName, partition: PartitionIndex, offset: Offset, turn: Turn },
    Failed { topic: TopicName, partition: PartitionIndex, turn: Turn, error: ConsumeError },
}

impl Fetched {
    fn failed(assigned: Assigned, error: ConsumeError) -> Self {
        let Assigned { topic, partition, turn, .. } = assigned;
        Self::Failed { topic, partition, turn, error }
    }

    /// Whether what it belongs to is still read.
    fn is_current(&self, turns: &Turns) -> bool {
        let (topic, partition, turn) = match self {
            Self::Batch(batch, _) => (&batch.topic, batch.partition, batch.turn),
            Self::End { topic, partition, turn, .. } | Self::Failed { topic, partition, turn, .. } => {
                (topic, *partition, *turn)
            }
        };
        turns.is_current(topic, partition, turn)
    }
}

/// Reads records.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    config: Arc<ConsumerConfig>,
    positions: HashMap<(TopicName, PartitionIndex), Offset>,
    running: Option<Running>,
}

/// The tasks of one assignment; they end with it.
#[derive(Debug)]
struct Running {
    events: mpsc::Receiver<Fetched>,
    placement: JoinHandle<()>,
    assigning: Returned,
    turns: Turns,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.placement.abort();
    }
}

impl Consumer {
    /// A consumer with connections of its own, which reads nothing yet.
    pub fn new(client: &Client, config: ConsumerConfig) -> Self {
        let client = client.with_own_connections();
        Self { client, config: Arc::new(config), positions: HashMap::new(), running: None }
    }

    /// Reads these partitions and no others from now on. What was fetched and not polled is forgotten.
    ///
    /// It must be called within a tokio runtime.
    pub fn assign(&mut self, assignments: &[Assignment]) {
        self.running = None;
        self.positions.clear();
        self.running = Some(self.start(assignments));
    }

    /// Reads these partitions too from now on; one that is read already goes on from where this says. What was fetched
    /// of it and not polled is forgotten.
    ///
    /// It must be called within a tokio runtime.
    pub fn add(&mut self, assignments: &[Assignment]) {
        let Some(running) = &self.running else { return self.assign(assignments) };
        for assignment in assignments {
            let turn = running.turns.begin(&assignment.topic, assignment.partition);
            self.positions.remove(&(assignment.topic.clone(), assignment.partition));
            // Placement ends only with what is running.
            let _ = running.assigning.send(Assigned::new(assignment, turn));
        }
    }

    /// Reads this partition no further. What was fetched of it and not polled is forgotten.
    pub fn remove(&mut self, topic: &TopicName, partition: PartitionIndex) {
        self.positions.remove(&(topic.clone(), partition));
        if let Some(running) = &self.running {
            running.turns.end(topic, partition);
        }
    }

    fn start(&self, assignments: &[Assignment]) -> Running {
        let (sender, events) = mpsc::channel(EVENTS);
        let room = self.config.prefetch_bytes.clamp(1, u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        let turns = Turns::default();
        let assigned = |one: &Assignment| Assigned::new(one, turns.begin(&one.topic, one.partition));
        let assigned = assignments.iter().map(assigned).collect();
        let placement =
            Placement::new(self.client.clone(), Arc::clone(&self.config), sender, turns.clone(), room);
        let (assigning, returns) = mpsc::unbounded_channel();
        let placement = tokio::spawn(placement.run(assigned, assigning.clone(), returns));
        Running { events, placement, assigning, turns }
    }

    /// Reads all partitions of a topic from now on, from the same place each, and says how many there are.
    pub async fn assign_topic(&mut self, topic: &TopicName, start: StartAt) -> Result<usize, ClientError> {
        let metadata = self.client.topic(topic).await?;
        let partitions = metadata.partitions.iter().map(|partition| partition.index);
        let assign = |partition| Assignment { topic: topic.clone(), partition, start };
        let assignments: Vec<_> = partitions.map(assign).collect();
        self.assign(&assignments);
        Ok(assignments.len())
    }

    /// The offset after the last record polled; none where none was.
    pub fn position(&self, topic: &TopicName, partition: PartitionIndex) -> Option<Offset> {
        self.positions.get(&(topic.clone(), partition)).copied()
    }

    /// What comes next, waiting up to `within`; none if nothing came. Loses nothing if it is dropped.
    pub async fn poll(&mut self, within: Duration) -> Result<Option<Polled>, ConsumeError> {
        let deadline = Instant::now() + within;
        loop {
            let running = self.running.as_mut().ok_or(ConsumeError::NothingAssigned)?;
            let Ok(event) = timeout_at(deadline, running.events.recv()).await else { return Ok(None) };
            let event = event.ok_or(ConsumeError::NothingAssigned)?;
            if !event.is_current(&running.turns) {
                continue;
            }
            match event {
                Fetched::Batch(batch, _room) => {
                    if let Some(batch) = self.take(batch)? {
                        return Ok(Some(Polled::Batch(batch)));
                    }
                }
                Fetched::End { topic, partition, offset, .. } => {
                    return Ok(Some(Polled::EndOfPartition { topic, partition, offset }));
                }
                Fetched::Failed { error, .. } => return Err(error),
            }
        }
    }

    /// Markers of the brokers' own are passed over.
    fn take(&mut self, batch: FetchedBatch) -> Result<Option<ConsumedBatch>, ConsumeError> {
        let (topic, partition, offset) = (batch.topic.clone(), batch.partition, batch.from);
        let next = batch.next_offset;
        let unpacked = if batch.is_control { Ok(None) } else { batch.unpack().map(Some) };
        let unpacked = unpacked.map_err(|source| {
            let topic = topic.clone();
            ConsumeError::Corrupt { topic, partition, offset, source }
        })?;
        self.positions.insert((topic, partition), next);
        Ok(unpacked)
    }
}
