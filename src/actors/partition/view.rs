//! What connections may see of a replica without passing its mailbox.
//!
//! The replica publishes itself here once its log is open and is withdrawn by a guard when its state
//! is dropped, however that comes about; from then on everybody is told that there is no leader.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use super::{
    append::HeldAnswer,
    message::LeaderMessage,
    queue::AppendQueue,
    replication::{Bells, Reports},
    served::Served,
    waiters::{SignedIn, Waiter, Waiters},
};
use crate::{
    actors::supervise::Address,
    model::{LeaderEpoch, NodeId, Offset, PartitionId},
    storage::log::LogReader,
};

/// One incarnation of a leader, as connections see it.
#[derive(Debug)]
pub struct Leader {
    /// The term in which it leads.
    pub epoch: LeaderEpoch,
    /// Reads its log.
    pub reader: LogReader,
    /// The way in for batches.
    pub(super) queue: AppendQueue,
    pub(super) address: Address<LeaderMessage>,
    /// What its followers report.
    pub(super) reports: Reports,
    high_watermark: AtomicI64,
    /// Where its own term begins in its log.
    begins: Offset,
    /// Who has asked to follow it: their replicas lead no more.
    followed_by: RwLock<BTreeSet<NodeId>>,
}

impl Leader {
    pub(super) fn new(
        epoch: LeaderEpoch,
        reader: LogReader,
        address: Address<LeaderMessage>,
        high_watermark: Offset,
    ) -> Self {
        Self {
            begins: reader.log_end_offset(),
            epoch,
            reader,
            queue: AppendQueue::new(),
            address,
            reports: Reports::default(),
            high_watermark: AtomicI64::new(high_watermark.get()),
            followed_by: RwLock::default(),
        }
    }

    /// How far consumers may read.
    pub fn high_watermark(&self) -> Offset {
        Offset::new(self.high_watermark.load(Ordering::Acquire))
    }

    /// The same for whoever asks for the log's end; `None` while it lies before the leader's own term: what earlier
    /// leaders acknowledged may go beyond it, and an end that was told must not move back (S5).
    pub fn settled_high_watermark(&self) -> Option<Offset> {
        Some(self.high_watermark()).filter(|offset| *offset >= self.begins)
    }

    /// Whether a node's replica has asked to follow this leader in its term, and so leads no more itself.
    pub fn is_followed_by(&self, node: NodeId) -> bool {
        self.followed_by.read().unwrap_or_else(PoisonError::into_inner).contains(&node)
    }

    pub(super) fn set_followed_by(&self, node: NodeId) {
        self.followed_by.write().unwrap_or_else(PoisonError::into_inner).insert(node);
    }

    pub(super) fn set_high_watermark(&self, to: Offset) {
        self.high_watermark.store(to.get(), Ordering::Release);
    }
}

/// Where a partition's leader is found, over all its incarnations.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: PartitionId,
    pub(super) served: Served,
    leader: RwLock<Option<Arc<Leader>>>,
    /// The log of the replica that follows.
    followed: RwLock<Option<LogReader>>,
    /// The epoch of the last batch and the end of a log that is open and follows nobody.
    unled: RwLock<Option<(LeaderEpoch, Offset)>>,
    /// How far the replica here is behind the leader that it follows; negative where that is not known.
    lag: AtomicI64,
    waiters: Arc<Waiters>,
    /// Those who feed followers.
    pub(super) bells: Arc<Bells>,
}

impl Slot {
    pub(super) fn new(id: PartitionId) -> Self {
        Self {
            id,
            served: Served::default(),
            leader: RwLock::new(None),
            followed: RwLock::new(None),
            unled: RwLock::new(None),
            lag: AtomicI64::new(-1),
            waiters: Arc::default(),
            bells: Arc::default(),
        }
    }

    pub(super) fn leader(&self) -> Option<Arc<Leader>> {
        self.leader.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The log of this node's replica, whatever its role.
    pub(super) fn reader(&self) -> Option<LogReader> {
        let followed = self.followed.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.leader().map(|leader| leader.reader.clone()).or(followed)
    }

    /// Shows a follower's log.
    pub(super) fn show_followed(&self, reader: LogReader) {
        *self.followed.write().unwrap_or_else(PoisonError::into_inner) = Some(reader);
    }

    /// Shows it no more, unless a successor's stands there.
    pub(super) fn hide_followed(&self, reader: &LogReader) {
        let mut shown = self.followed.write().unwrap_or_else(PoisonError::into_inner);
        if shown.as_ref().is_some_and(|shown| shown.is_same(reader)) {
            *shown = None;
        }
    }

    pub(super) fn unled(&self) -> Option<(LeaderEpoch, Offset)> {
        *self.unled.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_unled(&self, end: Option<(LeaderEpoch, Offset)>) {
        *self.unled.write().unwrap_or_else(PoisonError::into_inner) = end;
    }

    pub(super) fn lag(&self) -> Option<u64> {
        u64::try_from(self.lag.load(Ordering::Relaxed)).ok()
    }

    pub(super) fn set_lag(&self, records: Option<u64>) {
        let known = records.map(|records| i64::try_from(records).unwrap_or(i64::MAX));
        self.lag.store(known.unwrap_or(-1), Ordering::Relaxed);
    }

    pub(super) fn sign_in(&self, waiter: &Waiter) -> SignedIn {
        self.waiters.sign_in(waiter)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiters.count()
    }

    /// Tells all who wait for something to change here, on this node and on others.
    pub(super) fn wake(&self) {
        self.wake_before(None);
    }

    /// The same, and has a producer answered: by one of those who are woken once that is served, or at once.
    pub(super) fn wake_before(&self, answer: Option<HeldAnswer>) {
        self.bells.ring();
        self.waiters.wake_before(answer);
    }

    /// Shows `leader` to everybody until the answer is dropped.
    pub(super) fn publish(self: &Arc<Self>, leader: Arc<Leader>) -> Published {
        *self.leader.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&leader));
        self.wake();
        Published { slot: Arc::clone(self), leader }
    }
}

/// Keeps a leader visible; withdraws it, closes its queue and wakes those who wait when dropped.
#[derive(Debug)]
pub(super) struct Published {
    slot: Arc<Slot>,
    pub(super) leader: Arc<Leader>,
}

impl Published {
    /// Shows the leader no more, and closes its queue.
    pub(super) fn withdraw(&self) {
        let mut shown = self.slot.leader.write().unwrap_or_else(PoisonError::into_inner);
        // A successor may already stand there: a killed actor's state can outlive its restart.
        if shown.as_ref().is_some_and(|other| Arc::ptr_eq(other, &self.leader)) {
            *shown = None;
        }
        drop(shown);
        self.leader.queue.close();
        self.slot.wake();
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.withdraw();
    }
}
