//! What has come for a follower and waits for its handler: bounded by the credit of the stream, behind one doorbell.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    actors::partition::core::{Session, Verdict},
    model::Offset,
};

/// Bytes that a leader may send again once they have been appended, or thrown away.
#[derive(Debug, Default)]
pub(super) struct CreditBack {
    bytes: AtomicU32,
    pub(super) notify: Arc<Notify>,
}

impl CreditBack {
    pub(super) fn take(&self) -> u32 {
        self.bytes.swap(0, Ordering::AcqRel)
    }
}

/// Gives credit back when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: u32,
    pub(super) back: Arc<CreditBack>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.back.bytes.fetch_add(self.bytes, Ordering::AcqRel);
        // Small pieces go back with the next report of a position.
        if self.back.bytes.load(Ordering::Acquire) >= super::CREDIT / 8 {
            self.back.notify.notify_one();
        }
    }
}

/// Batches that have come.
#[derive(Debug)]
pub struct Data {
    /// Where the leader read from.
    pub from: Offset,
    /// Where it goes on.
    pub end: Offset,
    /// The leader's.
    pub high_watermark: Offset,
    /// The leader's.
    pub log_start: Offset,
    /// Whole batches, unchecked.
    pub batches: Bytes,
    pub(super) _held: Held,
}

/// What has come.
#[derive(Debug)]
pub enum Arrival {
    /// The answer to a subscription.
    Verdict(Verdict),
    /// Batches.
    Data(Data),
    /// The leader's high watermark and log start.
    Watermark(Offset, Offset),
    /// The subscription is over: its stream broke, or the leader has resigned.
    Broken,
}

/// What has come for one follower, each with the subscription that it is for.
pub struct Arrivals {
    waiting: Mutex<VecDeque<(Session, Arrival)>>,
    ringing: AtomicBool,
    ring: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrivals").field("waiting", &self.lock().len()).finish_non_exhaustive()
    }
}

impl Arrivals {
    /// Nothing yet; `ring` is called when something comes, and not again before it was taken.
    pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), ringing: AtomicBool::new(false), ring: Box::new(ring) })
    }

    pub(super) fn put(&self, session: Session, arrival: Arrival) {
        let mut waiting = self.lock();
        match (waiting.back_mut(), &arrival) {
            // Only the newest says anything.
            (Some((last, newest @ Arrival::Watermark(..))), Arrival::Watermark(..)) if *last == session => {
                *newest = arrival;
            }
            (Some(_) | None, _) => waiting.push_back((session, arrival)),
        }
        drop(waiting);
        if !self.ringing.swap(true, Ordering::AcqRel) {
            (self.ring)();
        }
    }

    /// Takes all that has come.
    pub fn take(&self) -> VecDeque<(Session, Arrival)> {
        self.ringing.store(false, Ordering::Release);
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Session, Arrival)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
