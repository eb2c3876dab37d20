//! The partition as everybody else holds it: cheap to clone, valid over restarts of the replica.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::oneshot, time::timeout};

use super::{
    core::Acks,
    error::{AppendRefusal, CommandRefusal},
    fence::Fence,
    message::LeaderMessage,
    queue::{AppendReply, AppendRequest, InFlight, Permits, Pushed},
    served::Served,
    view::{Leader, Slot},
    waiters::{SignedIn, Waiter},
};
use crate::{
    model::{BootId, LeaderEpoch, Offset, PartitionId},
    record::BatchHeader,
    storage::{log::LogReader, producer_state::ActiveProducer},
};

/// How long an administrative command may take before its outcome counts as unknown.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(15);

/// A partition that this node holds a replica of.
#[derive(Clone, Debug)]
pub struct PartitionHandle {
    pub(super) slot: Arc<Slot>,
}

impl PartitionHandle {
    /// A partition whose replica has yet to start.
    pub fn new(id: PartitionId) -> Self {
        Self { slot: Arc::new(Slot::new(id)) }
    }

    /// Which partition.
    pub fn id(&self) -> PartitionId {
        self.slot.id
    }

    /// What was lately served of it, where somebody keeps that.
    pub fn served(&self) -> &Served {
        &self.slot.served
    }

    /// The replica that leads now, if there is one.
    pub fn leader(&self) -> Option<Arc<Leader>> {
        self.slot.leader()
    }

    /// Reads the log of this node's replica, be it that it follows.
    pub fn reader(&self) -> Option<LogReader> {
        self.slot.reader()
    }

    /// Where the log of the replica here ends, and in which epoch, while it is open and follows nobody: what may be told of it,
    /// for nothing changes it then.
    pub fn unled_end(&self) -> Option<(LeaderEpoch, Offset)> {
        self.slot.unled()
    }

    /// How many committed records the replica here has not yet, by what its leader has last said: none if it leads itself, `None`
    /// if it neither leads nor follows anybody.
    pub fn lag(&self) -> Option<u64> {
        if self.leader().is_some() { Some(0) } else { self.slot.lag() }
    }

    /// The leader, waited for up to `within`: it may be in the middle of a restart.
    pub async fn leader_within(&self, within: Duration) -> Option<Arc<Leader>> {
        if let Some(leader) = self.leader() {
            return Some(leader);
        }
        let waiter = Waiter::default();
        let _signed_in = self.sign_in(&waiter);
        let published = async {
            loop {
                if let Some(leader) = self.leader() {
                    return leader;
                }
                waiter.notified().await;
            }
        };
        timeout(within, published).await.ok()
    }

    /// Wakes `waiter` whenever the high watermark moves or the leader changes, until the guard is
    /// dropped.
    pub fn sign_in(&self, waiter: &Waiter) -> SignedIn {
        self.slot.sign_in(waiter)
    }

    /// Brings a validated batch into the replica's queue, waiting for room in the order of the calls.
    /// The answer comes on the receiver; a receiver whose sender is gone means "outcome unknown".
    pub async fn append(
        &self,
        batch: Bytes,
        header: BatchHeader,
        acks: Acks,
        in_flight: Option<InFlight>,
    ) -> Result<oneshot::Receiver<AppendReply>, AppendRefusal> {
        match self.leader() {
            Some(leader) => self.append_to(&leader, batch, header, acks, in_flight, None).await,
            None => Err(AppendRefusal::NotLeader(self.id())),
        }
    }

    /// The same, to this leader and to no other: refused once it does not lead any more.
    pub async fn append_to(
        &self,
        leader: &Leader,
        batch: Bytes,
        header: BatchHeader,
        acks: Acks,
        in_flight: Option<InFlight>,
        fence: Option<Fence>,
    ) -> Result<oneshot::Receiver<AppendReply>, AppendRefusal> {
        let not_leader = AppendRefusal::NotLeader(self.id());
        let Some(room) = leader.queue.room_for(batch.len()).await else { return Err(not_leader) };
        let (reply, answer) = oneshot::channel();
        let permits = Permits::new(room, in_flight);
        match leader.queue.push(AppendRequest { batch, header, fence, acks, reply, permits }) {
            Pushed::Closed => Err(not_leader),
            Pushed::AlreadyRinging => Ok(answer),
            Pushed::Ring => {
                // A replica that is gone has closed its queue, which drops the sender of the answer.
                let _ = leader.address.cast(LeaderMessage::AppendsWait);
                Ok(answer)
            }
        }
    }

    /// Moves the log start offset up to `before`, or to the high watermark where it is `None`. Durable
    /// when it returns the new log start offset.
    pub async fn delete_records(&self, before: Option<Offset>) -> Result<Offset, CommandRefusal> {
        let leader = self.leader().ok_or(CommandRefusal::NotLeader(self.id()))?;
        let (reply, answer) = oneshot::channel();
        self.command(&leader, LeaderMessage::DeleteRecords { before, reply }, answer).await?
    }

    /// The idempotent producers that the log remembers, by id.
    pub async fn producers(&self) -> Result<Vec<ActiveProducer>, CommandRefusal> {
        let leader = self.leader().ok_or(CommandRefusal::NotLeader(self.id()))?;
        let (reply, answer) = oneshot::channel();
        self.command(&leader, LeaderMessage::DescribeProducers { reply }, answer).await
    }

    /// Flushes the log and marks it as closed by this boot; whether that was done. The message is sent
    /// when this is called, not when it is first polled.
    pub fn close_clean(&self, boot: BootId) -> impl Future<Output = bool> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let told = self.leader().map(|leader| leader.address.cast(LeaderMessage::CloseClean { boot, reply }));
        async move { matches!(told, Some(Ok(()))) && answer.await.is_ok() }
    }

    async fn command<T>(
        &self,
        leader: &Leader,
        message: LeaderMessage,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, CommandRefusal> {
        if leader.address.cast(message).is_err() {
            return Err(CommandRefusal::NotLeader(self.id()));
        }
        match timeout(COMMAND_TIMEOUT, answer).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) | Err(_) => Err(CommandRefusal::TimedOut),
        }
    }
}
