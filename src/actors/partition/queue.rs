//! The bounded way into a replica.
//!
//! A ractor mailbox has no bound and hands over one message at a time. So batches wait here: a
//! connection awaits a permit for the batch's bytes, in the order of its requests, puts the batch in,
//! and rings the replica's doorbell unless it is ringing already; the replica takes all that waits at
//! one wake-up. Memory is bounded by the permits, the mailbox by the doorbell.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{core::Acks, error::AppendRefusal, fence::Fence};
use crate::{model::Offset, model::TimestampMs, record::BatchHeader};

/// The most bytes of batches that wait for one replica. One batch may be larger: it then takes all.
pub(super) const QUEUE_BYTES: u32 = 16 << 20;

/// Where a batch came to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// When the topic stamps records itself: the time that it put on these.
    pub log_append_time: TimestampMs,
    /// Where the partition's log begins.
    pub log_start_offset: Offset,
}

/// The answer to an append.
pub type AppendReply = Result<Appended, AppendRefusal>;

/// One validated batch on its way into a log.
#[derive(Debug)]
pub(super) struct AppendRequest {
    /// The whole batch, as the producer sent it.
    pub(super) batch: Bytes,
    /// Its header, parsed.
    pub(super) header: BatchHeader,
    /// Closed when somebody else has come in the place of whoever appends.
    pub(super) fence: Option<Fence>,
    /// When to answer.
    pub(super) acks: Acks,
    /// Where to answer. Dropped without an answer when the replica dies: outcome unknown.
    pub(super) reply: oneshot::Sender<AppendReply>,
    /// Room in the queue, and in whatever else bounds the batch's memory; released once appended.
    pub(super) permits: Permits,
}

/// What a request holds of whatever bounds the memory of all; given back when its last batch is appended.
pub type InFlight = Arc<dyn fmt::Debug + Send + Sync>;

/// What a batch holds while its bytes are in memory; given back by dropping it.
#[derive(Debug)]
pub(super) struct Permits {
    /// Of the replica's queue.
    _queue: OwnedSemaphorePermit,
    /// Of the node's budget of bytes in flight; shared by the batches of one request.
    _in_flight: Option<InFlight>,
}

impl Permits {
    pub(super) fn new(queue: OwnedSemaphorePermit, in_flight: Option<InFlight>) -> Self {
        Self { _queue: queue, _in_flight: in_flight }
    }
}

/// The queue of one incarnation of a replica.
#[derive(Debug)]
pub(super) struct AppendQueue {
    waiting: Mutex<Waiting>,
    room: Arc<Semaphore>,
    ringing: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<AppendRequest>,
    closed: bool,
}

/// What a push has to be followed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// Ring the replica.
    Ring,
    /// It has been rung and has not looked yet.
    AlreadyRinging,
    /// The replica is gone; the batch was dropped.
    Closed,
}

impl AppendQueue {
    /// An empty queue.
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            room: Arc::new(Semaphore::new(QUEUE_BYTES as usize)),
            ringing: AtomicBool::new(false),
        }
    }

    /// Waits for room for `bytes`, first come, first served; `None` once the queue is closed.
    pub(super) async fn room_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = u32::try_from(bytes).unwrap_or(QUEUE_BYTES).clamp(1, QUEUE_BYTES);
        // Almost always there is room; asking first spares the way through the waiters' list.
        match Arc::clone(&self.room).try_acquire_many_owned(wanted) {
            Ok(permit) => Some(permit),
            Err(_) => Arc::clone(&self.room).acquire_many_owned(wanted).await.ok(),
        }
    }

    /// Puts a batch at the end.
    pub(super) fn push(&self, request: AppendRequest) -> Pushed {
        let mut waiting = self.lock();
        if waiting.closed {
            return Pushed::Closed;
        }
        waiting.batches.push_back(request);
        drop(waiting);
        if self.ringing.swap(true, Ordering::AcqRel) { Pushed::AlreadyRinging } else { Pushed::Ring }
    }

    /// Takes all that waits, into `taken`, which must be empty; the doorbell may ring again from now on.
    pub(super) fn take_all(&self, taken: &mut VecDeque<AppendRequest>) {
        self.ringing.store(false, Ordering::Release);
        let mut waiting = self.lock();
        mem::swap(&mut waiting.batches, taken);
    }

    /// Drops what waits, unanswered, and refuses what comes.
    pub(super) fn close(&self) {
        self.room.close();
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.batches.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing under this lock can panic half-way, so a poisoned one still holds a whole queue.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for AppendQueue {
    fn default() -> Self {
        Self::new()
    }
}
