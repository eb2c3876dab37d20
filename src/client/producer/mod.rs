//! Writing records: collected into batches by partition, sent several at once, tried again in order.
//!
//! Sending is a copy into an open batch under a short lock; all else happens in one task of the
//! producer's own. Memory is bounded by [`ProducerConfig::buffer_bytes`]: who sends faster than the
//! cluster takes is made to wait.
//!
//! **Promised:** records sent one after another to one partition are written in that order, and with an
//! idempotent producer ([`ProducerConfig::idempotent`], the default) once each; a [`Delivery`]
//! that says written is as durable as [`Acks`] and the topic say; one that does not says whether the
//! record may be written all the same.

mod batch;
mod config;
mod delivery;
mod error;
mod queue;
mod request;
mod sender;
mod topics;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::{
    sync::{Mutex, Notify, Semaphore},
    task::JoinHandle,
};

pub use self::{
    config::{Acks, ProducerConfig},
    delivery::{Delivery, Written},
    error::{Obstacle, ProduceError},
};
use self::{
    queue::Told,
    sender::Sender,
    topics::{TopicQueues, Topics},
};
use super::{Client, ClientError};
use crate::{
    clock::{Clock, SystemClock},
    model::{PartitionIndex, TimestampMs, TopicName},
    record::{NewHeader, NewRecord},
};

/// Bytes that a record takes of the buffer besides its own.
const RECORD_OVERHEAD: usize = 24;

/// A record to be sent. It is copied, so that nothing of it need outlive the call.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProducerRecord<'a> {
    /// Where to; none: by its key, or where there is none to any.
    pub partition: Option<PartitionIndex>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in this order.
    pub headers: &'a [NewHeader<'a>],
    /// Its time; none: now.
    pub timestamp: Option<TimestampMs>,
}

impl ProducerRecord<'_> {
    fn cost(&self) -> usize {
        let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let headers: usize =
            self.headers.iter().map(|header| header.name.len() + len(header.value) + 4).sum();
        RECORD_OVERHEAD + len(self.key) + len(self.value) + headers
    }
}

/// Writes records. All methods take `&self`; share it by `Arc`.
///
/// Dropping it ends it at once: records without a result fail with [`ProduceError::Closed`].
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What the handle and the sender share.
#[derive(Debug)]
struct Shared {
    client: Client,
    config: ProducerConfig,
    clock: SystemClock,
    topics: Topics,
    /// A permit is a byte.
    room: Semaphore,
    wake: Notify,
    /// How many are waiting for a flush: batches then do not linger.
    hurrying: AtomicUsize,
    closing: AtomicBool,
}

impl Shared {
    /// Tells results, and gives back the room that their records took.
    fn tell(&self, told: impl IntoIterator<Item = Told>) {
        for told in told {
            self.room.add_permits(told.cost);
            told.promise.tell(told.result);
        }
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        self.shared.room.close();
        if let Some(task) = self.task.get_mut().take() {
            task.abort();
        }
    }
}

impl Producer {
    /// A producer with connections of its own. It must be made within a tokio runtime.
    pub fn new(client: &Client, mut config: ProducerConfig) -> Self {
        let room = config.buffer_bytes.clamp(1, u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        config.buffer_bytes = room;
        let shared = Arc::new(Shared {
            config,
            client: client.with_own_connections(),
            clock: SystemClock::new(),
            topics: Topics::default(),
            room: Semaphore::new(room),
            wake: Notify::new(),
            hurrying: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        });
        let task = tokio::spawn(Sender::new(Arc::clone(&shared)).run());
        Self { shared, task: Mutex::new(Some(task)) }
    }

    /// Takes a record, waiting while the buffer is full. What becomes of it tells the [`Delivery`].
    ///
    /// The first record of a topic waits for its metadata. Order is that of the calls' returns.
    pub async fn send(
        &self,
        topic: &TopicName,
        record: ProducerRecord<'_>,
    ) -> Result<Delivery, ProduceError> {
        let queues = match self.shared.topics.get(topic) {
            Some(queues) => queues,
            None => self.open_topic(topic).await?,
        };
        let cost = record.cost();
        self.take_room(cost).await?;
        let taken = self.append(&queues, record, cost);
        if taken.is_err() {
            self.shared.room.add_permits(cost);
        }
        taken
    }

    async fn open_topic(&self, topic: &TopicName) -> Result<Arc<TopicQueues>, ProduceError> {
        let metadata = self.shared.client.topic(topic).await?;
        Ok(self.shared.topics.open(topic, metadata.partitions.len()))
    }

    async fn take_room(&self, bytes: usize) -> Result<(), ProduceError> {
        let limit = self.shared.config.buffer_bytes;
        let permits = u32::try_from(bytes).ok().filter(|_| bytes <= limit);
        let permits = permits.ok_or(ProduceError::TooLarge { bytes, limit })?;
        let room = match self.shared.room.try_acquire_many(permits) {
            Ok(room) => room,
            Err(_) => self.shared.room.acquire_many(permits).await.map_err(|_| ProduceError::Closed)?,
        };
        room.forget();
        Ok(())
    }

    fn append(
        &self,
        queues: &TopicQueues,
        record: ProducerRecord<'_>,
        cost: usize,
    ) -> Result<Delivery, ProduceError> {
        let shared = &self.shared;
        if shared.is_closing() {
            return Err(ProduceError::Closed);
        }
        let (index, by_sticky) = queues.choose(&record);
        let queue = queues.partition(index).ok_or_else(|| {
            let (topic, partition) = (queues.name.clone(), index);
            ClientError::UnknownPartition { topic, partition }
        })?;
        let timestamp = record.timestamp.unwrap_or_else(|| shared.clock.wall());
        let (key, value, headers) = (record.key, record.value, record.headers);
        let new = NewRecord { timestamp, key, value, headers };
        let appended = queue.append(&new, cost, shared.config.batch_bytes);
        let limit = i32::MAX as usize;
        let appended = appended.ok_or(ProduceError::TooLarge { bytes: cost, limit })?;
        if appended.filled && by_sticky {
            queues.move_on(index);
        }
        if appended.list {
            shared.topics.list(queue);
        }
        if appended.wake {
            shared.wake.notify_one();
        }
        Ok(appended.delivery)
    }

    /// Sends all that was taken before this call without lingering, and waits until each has a result.
    pub async fn flush(&self) {
        let _hurry = Hurry::new(&self.shared);
        for delivery in self.shared.topics.deliveries() {
            // Whoever sent the record has its result.
            let _ = delivery.await;
        }
    }

    /// Takes no more records, flushes, and ends. Later calls wait for the same end.
    pub async fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        self.flush().await;
        self.shared.room.close();
        self.shared.wake.notify_one();
        if let Some(task) = self.task.lock().await.take() {
            // It ends with its last batch; a panic of it has nowhere else to go.
            if let Err(error) = task.await {
                tracing::error!(%error, "the producer's sender failed");
            }
        }
    }
}

/// While it lives, batches do not wait for more records.
struct Hurry<'a>(&'a Shared);

impl<'a> Hurry<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.hurrying.fetch_add(1, Ordering::AcqRel);
        shared.wake.notify_one();
        Self(shared)
    }
}

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.hurrying.fetch_sub(1, Ordering::AcqRel);
    }
}
