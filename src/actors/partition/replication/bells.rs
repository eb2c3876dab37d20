//! Who is to be told that a partition's log or watermark has moved: the streams that followers read it by.
//!
//! A stream has one list of the channels on which something happened; a partition on which nothing happens is on none.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use super::frame::Channel;

/// The channels of one stream on which something happened.
#[derive(Debug, Default)]
pub(super) struct Rung {
    channels: Mutex<Vec<Channel>>,
    pub(super) notify: Notify,
}

impl Rung {
    pub(super) fn take(&self, into: &mut Vec<Channel>) {
        into.append(&mut lock(&self.channels));
    }
}

/// One channel's place on the list of its stream, at most once.
#[derive(Debug)]
pub(super) struct Bell {
    channel: Channel,
    rings: AtomicBool,
    stream: Arc<Rung>,
}

impl Bell {
    pub(super) fn new(channel: Channel, stream: &Arc<Rung>) -> Arc<Self> {
        Arc::new(Self { channel, rings: AtomicBool::new(false), stream: Arc::clone(stream) })
    }

    pub(super) fn ring(&self) {
        if !self.rings.swap(true, Ordering::AcqRel) {
            lock(&self.stream.channels).push(self.channel);
            self.stream.notify.notify_one();
        }
    }

    /// It has been heard: what happens from now on rings again. Look afterwards.
    pub(super) fn heard(&self) {
        self.rings.store(false, Ordering::Release);
    }
}

/// The bells at one partition. Ringing where nobody follows costs one load.
#[derive(Debug, Default)]
pub(in crate::actors::partition) struct Bells {
    count: AtomicUsize,
    list: Mutex<Vec<Arc<Bell>>>,
}

impl Bells {
    pub(in crate::actors::partition) fn ring(&self) {
        if self.count.load(Ordering::SeqCst) > 0 {
            lock(&self.list).iter().for_each(|bell| bell.ring());
        }
    }

    /// How many hang here.
    #[cfg(test)]
    pub(super) fn hung(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Hangs a bell until the guard is dropped. Look at the partition again afterwards.
    pub(super) fn hang(self: &Arc<Self>, bell: Arc<Bell>) -> Hung {
        let mut list = lock(&self.list);
        list.push(Arc::clone(&bell));
        self.count.store(list.len(), Ordering::SeqCst);
        Hung { bells: Arc::clone(self), bell }
    }
}

/// Keeps a bell at a partition.
#[derive(Debug)]
pub(super) struct Hung {
    bells: Arc<Bells>,
    pub(super) bell: Arc<Bell>,
}

impl Drop for Hung {
    fn drop(&mut self) {
        let mut list = lock(&self.bells.list);
        list.retain(|other| !Arc::ptr_eq(other, &self.bell));
        self.bells.count.store(list.len(), Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
