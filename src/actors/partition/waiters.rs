//! Fetches that wait for more.
//!
//! A fetch may wait on many partitions at once and a partition may be waited for by many fetches, so
//! a fetch brings one [`Waiter`] and signs it in with each partition. Signing out is by dropping the
//! guard. An append with nobody waiting costs one load.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// What one fetch waits on.
pub type Waiter = Arc<Notify>;

/// Those who wait for one partition.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    count: AtomicUsize,
    list: Mutex<Vec<Waiter>>,
}

impl Waiters {
    /// Signs `waiter` in until the guard is dropped. Look at the partition again afterwards: what
    /// happened before is not told.
    pub(super) fn sign_in(self: &Arc<Self>, waiter: &Waiter) -> SignedIn {
        let mut list = self.lock();
        list.push(Arc::clone(waiter));
        self.count.store(list.len(), Ordering::SeqCst);
        drop(list);
        SignedIn { waiters: Arc::clone(self), waiter: Arc::clone(waiter) }
    }

    /// Wakes all that are signed in; one that is not waiting at this moment keeps the wake.
    pub(super) fn wake(&self) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        for waiter in self.lock().iter() {
            waiter.notify_one();
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiter>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a waiter signed in.
#[derive(Debug)]
pub struct SignedIn {
    waiters: Arc<Waiters>,
    waiter: Waiter,
}

impl Drop for SignedIn {
    fn drop(&mut self) {
        let mut list = self.waiters.lock();
        if let Some(at) = list.iter().position(|other| Arc::ptr_eq(other, &self.waiter)) {
            list.swap_remove(at);
        }
        self.waiters.count.store(list.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::Waiters;

    #[tokio::test]
    async fn a_wake_between_signing_in_and_waiting_is_not_lost() {
        let waiters = Arc::new(Waiters::default());
        let waiter = Arc::new(Notify::new());
        let _signed_in = waiters.sign_in(&waiter);
        waiters.wake();
        waiter.notified().await;
    }

    #[test]
    fn signing_out_removes_only_oneself() {
        let waiters = Arc::new(Waiters::default());
        let (one, two) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let first = waiters.sign_in(&one);
        let _second = waiters.sign_in(&two);
        drop(first);
        assert_eq!(waiters.lock().len(), 1);
        assert!(Arc::ptr_eq(&waiters.lock()[0], &two));
    }
}
