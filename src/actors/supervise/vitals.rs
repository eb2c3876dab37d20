//! What one incarnation of an actor shows of itself while it runs.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI32, AtomicU64, Ordering},
};

use crate::model::LeaderEpoch;

/// The live figures of one incarnation, shared by its [`Address`](super::Address)es, the spawn wrapper
/// and the [`Tree`](super::Tree).
///
/// A new incarnation gets new vitals: messages lost with the old mailbox would otherwise stay counted.
#[derive(Debug)]
pub struct Vitals {
    queued: AtomicU64,
    epoch: AtomicI32,
    detail: Mutex<Option<String>>,
}

impl Vitals {
    pub(super) fn new() -> Self {
        Self {
            queued: AtomicU64::new(0),
            epoch: AtomicI32::new(LeaderEpoch::NONE.get()),
            detail: Mutex::new(None),
        }
    }

    /// Messages sent through an address and not yet taken out of the mailbox.
    pub fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
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
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one off, and stops at zero: a timer's message reaches the mailbox without an address, so
    /// that more may be taken out than was counted in.
    #[inline]
    pub(super) fn on_taken(&self) {
        let _ =
            self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |queued| queued.checked_sub(1));
    }

    pub(super) fn on_ended(&self) {
        self.queued.store(0, Ordering::Relaxed);
    }

    fn lock_detail(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.detail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
