//! What one incarnation of an actor shows of itself while it runs.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI32, AtomicU64, Ordering},
};

use crate::model::LeaderEpoch;

/// On a cache line of its own: senders and the actor must not wait for each other's.
#[derive(Debug)]
#[repr(align(64))]
struct Apart<T>(T);

/// The live figures of one incarnation, shared by its [`Address`](super::Address)es, the spawn wrapper
/// and the [`Tree`](super::Tree).
///
/// A new incarnation gets new vitals: messages lost with the old mailbox would otherwise stay counted.
#[derive(Debug)]
pub struct Vitals {
    /// Messages sent; written by every sender.
    sent: Apart<AtomicU64>,
    /// Messages taken out of the mailbox; written by the actor alone, never above `sent`.
    taken: Apart<AtomicU64>,
    epoch: AtomicI32,
    detail: Mutex<Option<String>>,
}

impl Vitals {
    pub(super) fn new() -> Self {
        Self {
            sent: Apart(AtomicU64::new(0)),
            taken: Apart(AtomicU64::new(0)),
            epoch: AtomicI32::new(LeaderEpoch::NONE.get()),
            detail: Mutex::new(None),
        }
    }

    /// Messages sent through an address and not yet taken out of the mailbox.
    pub fn queued(&self) -> u64 {
        let taken = self.taken.0.load(Ordering::Relaxed);
        self.sent.0.load(Ordering::Relaxed).saturating_sub(taken)
    }

    /// The epoch the actor last said it acts under.
    pub fn epoch(&self) -> Option<LeaderEpoch> {
        let epoch = LeaderEpoch::new(self.epoch.load(Ordering::Relaxed));
        (epoch != LeaderEpoch::NONE).then_some(epoch)
    }

    /// Says under which epoch the actor acts; shown in the tree.
    pub fn set_epoch(&self, epoch: LeaderEpoch) {
        self.epoch.store(epoch.get(), Ordering::Relaxed);
    }

    /// What the actor last said it is doing.
    pub fn detail(&self) -> Option<String> {
        self.lock_detail().clone()
    }

    /// Says in a few words what the actor is doing, such as `recovering`; shown in the tree. Not for
    /// the hot path: it takes a lock and allocates.
    pub fn set_detail(&self, detail: Option<String>) {
        *self.lock_detail() = detail;
    }

    #[inline]
    pub(super) fn on_sent(&self) {
        self.sent.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The mailbox did not take what [`Self::on_sent`] counted.
    pub(super) fn on_not_sent(&self) {
        self.sent.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Called by the actor alone. Counts no more out than in: a timer's message reaches the mailbox
    /// without an address.
    #[inline]
    pub(super) fn on_taken(&self) {
        let taken = self.taken.0.load(Ordering::Relaxed);
        if taken < self.sent.0.load(Ordering::Relaxed) {
            self.taken.0.store(taken + 1, Ordering::Relaxed);
        }
    }

    /// What is left in the mailbox is lost with it.
    pub(super) fn on_ended(&self) {
        self.taken.0.store(self.sent.0.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    fn lock_detail(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.detail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
