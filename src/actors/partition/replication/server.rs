//! The leader's side: feeds the followers of one node over one stream.
//!
//! One task. What comes (subscriptions, positions, credit) is taken at once, whatever is being sent. What goes is read
//! from the page cache, a turn for each partition on which something happened; what only the disk has is read on
//! a thread that may block, while the others go on.

mod filling;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    runtime::Handle,
    sync::{Semaphore, oneshot},
    task::JoinSet,
    time::{Instant, Sleep, sleep_until, timeout},
};

use self::filling::{put, put_frame, request, resign};
use super::{
    WINDOW,
    bells::{Bell, Hung, Rung},
    connection::{Frames, StreamError},
    copy::copy_of,
    frame::{Channel, Copy, DATA_HEAD, PREAMBLE, Position, ToFollower, ToLeader, Watermark},
    reports::Report,
};
use crate::{
    actors::partition::{
        ClusterMessage, Leader, LeaderMessage, PartitionHandle, ReadBuffer, ReadError, ReadOutcome,
        ReadRequest, Wait, Waiter,
        core::{Session, Subscription, SubscriptionRefusal, Verdict, in_sync::FollowerMoved},
    },
    model::{LeaderEpoch, NodeId, Offset, PartitionId},
    storage::log::ReadSpace,
};

/// How long a watermark that has moved waits for others, or for data to go with.
const WATERMARK_WAITS: Duration = Duration::from_millis(5);
/// How long a subscription waits for this node to lead. A follower whose metadata is ahead of ours asks before we do, and one
/// that is refused asks again only after a while, for which nothing is acknowledged.
const LEADS_WITHIN: Duration = Duration::from_millis(500);
/// How long a leader may take to answer a subscription.
const VERDICT_WITHIN: Duration = Duration::from_secs(10);
/// Bytes that are collected before they are written.
const WRITE: usize = 64 * 1024;
/// So often a stream is rung and finds nothing to send before it lets others run, its own reading among them: to be rung is
/// not counted by the runtime, and a partition on which something happens at every moment has one ringing all the time.
const IDLE_TURNS: u32 = 8;
/// What is kept of the memory that they are collected in; a batch may have been larger.
const KEPT: usize = WINDOW + 2 * WRITE;

/// Where the partitions of this node are found.
pub trait Leaders: Send + Sync + 'static {
    /// The partition, if this node has a replica of it.
    fn partition(&self, id: PartitionId) -> Option<PartitionHandle>;
}

impl<F: Fn(PartitionId) -> Option<PartitionHandle> + Send + Sync + 'static> Leaders for F {
    fn partition(&self, id: PartitionId) -> Option<PartitionHandle> {
        self(id)
    }
}

/// Serves a stream that `peer` has opened, until it ends; says why it did. What the disk has to be asked for is read on
/// `io`.
pub async fn serve<S>(stream: S, peer: NodeId, leaders: Arc<dyn Leaders>, io: Handle) -> StreamError
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (from, to) = tokio::io::split(stream);
    let (from, to) = (Box::pin(from), Box::pin(to));
    let feeding = Arc::new(Feeding::new(peer, leaders, io));
    let ended = tokio::select! {
        ended = feeding.receive(from) => ended,
        ended = feeding.send(to) => ended,
    };
    feeding.end();
    match ended {
        Ok(()) => StreamError::Closed,
        Err(error) => error,
    }
}

/// One partition that is fed.
#[derive(Debug)]
struct Fed {
    session: Session,
    node: NodeId,
    partition: PartitionHandle,
    leader: Arc<Leader>,
    /// What is sent next.
    next: Offset,
    /// Ends and sizes of what was sent and has not been appended.
    on_the_way: VecDeque<(Offset, usize)>,
    bytes_on_the_way: usize,
    /// The watermark and the start that the follower knows of.
    told: (Offset, Offset),
    /// It is in the queue of those that are served, or read from the disk.
    queued: bool,
    /// Nothing was sent yet. A follower that came upon damage here asks again: what it is sent first is checked, so that
    /// the damage is known, and mended.
    is_first: bool,
    hung: Hung,
}

impl Fed {
    fn is_led(&self) -> bool {
        self.partition.leader().is_some_and(|leader| Arc::ptr_eq(&leader, &self.leader))
    }

    fn report(&self, report: Report) {
        if self.leader.reports.put(report) {
            // One that is gone needs no report.
            let _ = self.leader.address.cast(LeaderMessage::Cluster(ClusterMessage::FollowersMoved));
        }
    }

    fn ends(&self) -> (Offset, Offset) {
        (self.leader.high_watermark(), self.leader.reader.log_start_offset())
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        self.report(Report::Silent(self.node, self.session));
    }
}

struct Feeding {
    peer: NodeId,
    leaders: Arc<dyn Leaders>,
    io: Handle,
    fed: Mutex<BTreeMap<Channel, Fed>>,
    /// The newest subscription of each channel; `None` once the stream has ended.
    asked: Mutex<Option<BTreeMap<Channel, Session>>>,
    answers: Mutex<Vec<ToFollower>>,
    credit: AtomicI64,
    rung: Arc<Rung>,
    copying: Arc<Semaphore>,
}

/// What came of a partition's turn.
enum Turn {
    /// Nothing to send now.
    Rests,
    /// Something was sent; there may be more.
    Sent,
    /// The follower has no room for any.
    NoCredit,
    /// A thread reads for it.
    Reads,
}

/// What a thread has read.
struct Cold {
    channel: Channel,
    session: Session,
    from: Offset,
    outcome: Result<ReadOutcome, ReadError>,
    buffer: ReadBuffer,
}

impl Feeding {
    fn new(peer: NodeId, leaders: Arc<dyn Leaders>, io: Handle) -> Self {
        Self {
            peer,
            leaders,
            io,
            fed: Mutex::default(),
            asked: Mutex::default(),
            answers: Mutex::default(),
            credit: AtomicI64::new(0),
            rung: Arc::default(),
            copying: Arc::new(Semaphore::new(1)),
        }
    }

    async fn receive<R: AsyncRead + Unpin>(self: &Arc<Self>, from: R) -> Result<(), StreamError> {
        let mut frames = Frames::begin(from).await?;
        *lock(&self.asked) = Some(BTreeMap::new());
        loop {
            match ToLeader::decode(frames.next().await?)? {
                ToLeader::Subscribe { channel, partition, subscription } => {
                    self.on_subscribe(channel, partition, subscription);
                }
                ToLeader::Positions(positions) => {
                    for position in &positions {
                        self.on_position(position);
                    }
                }
                ToLeader::Unsubscribe { channel, session } => self.on_unsubscribe(channel, session),
                ToLeader::AskCopy { partition, from, to } => self.on_ask_copy(partition, (from, to)),
                ToLeader::Credit(bytes) => {
                    self.credit.fetch_add(i64::from(bytes), Ordering::AcqRel);
                    self.rung.notify.notify_one();
                }
            }
        }
    }

    fn on_subscribe(self: &Arc<Self>, channel: Channel, partition: PartitionId, asked: Subscription) {
        drop(lock(&self.fed).remove(&channel));
        if let Some(newest) = lock(&self.asked).as_mut() {
            newest.insert(channel, asked.session);
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            // Nobody speaks for another node.
            let (verdict, leader) = if asked.node == this.peer {
                this.ask(partition, asked).await
            } else {
                (Verdict::Refused(SubscriptionRefusal::NotReplica), None)
            };
            this.answer(channel, asked, verdict, leader);
        });
    }

    async fn ask(
        &self,
        id: PartitionId,
        subscription: Subscription,
    ) -> (Verdict, Option<(PartitionHandle, Arc<Leader>)>) {
        let nobody = (Verdict::Refused(SubscriptionRefusal::UnknownLeaderEpoch), None);
        let Some(partition) = self.leaders.partition(id) else { return nobody };
        let Some(leader) = leader_of(&partition, subscription.leader_epoch).await else { return nobody };
        let reader = leader.reader.clone();
        let kept_from = self.io.spawn_blocking(move || reader.batch_base(reader.log_start_offset())).await;
        let Ok(Ok(kept_from)) = kept_from else { return nobody };
        let (reply, answer) = oneshot::channel();
        let message = ClusterMessage::Subscribe { subscription, kept_from, reply };
        if leader.address.cast(LeaderMessage::Cluster(message)).is_err() {
            return nobody;
        }
        match timeout(VERDICT_WITHIN, answer).await {
            Ok(Ok(verdict)) => (verdict, Some((partition, leader))),
            Ok(Err(_)) | Err(_) => nobody,
        }
    }

    /// One at a time: a copy takes memory.
    fn on_ask_copy(self: &Arc<Self>, id: PartitionId, range: (Offset, Offset)) {
        let reader = self.leaders.partition(id).and_then(|partition| partition.reader());
        let Ok(turn) = Arc::clone(&self.copying).try_acquire_owned() else {
            return self.answer_copy(Copy::NotNow);
        };
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let copying = this.io.spawn_blocking(move || copy_of(reader.as_ref(), range));
            this.answer_copy(copying.await.unwrap_or(Copy::NotNow));
            drop(turn);
        });
    }

    fn answer_copy(&self, copy: Copy) {
        lock(&self.answers).push(ToFollower::Copy(copy));
        self.rung.notify.notify_one();
    }

    fn answer(
        &self,
        channel: Channel,
        asked: Subscription,
        verdict: Verdict,
        leader: Option<(PartitionHandle, Arc<Leader>)>,
    ) {
        let newest = lock(&self.asked);
        if newest.as_ref().and_then(|newest| newest.get(&channel)) != Some(&asked.session) {
            return;
        }
        let Subscription { session, node, .. } = asked;
        lock(&self.answers).push(ToFollower::Verdict { channel, session, verdict });
        if let (Verdict::Follows, Some((partition, leader))) = (verdict, leader) {
            let bell = Bell::new(channel, &self.rung);
            // Held from before the bell hangs: one that is rung and whose partition is not there is never heard, and rings no
            // more.
            let mut all = lock(&self.fed);
            let hung = partition.slot.bells.hang(Arc::clone(&bell));
            let fed = Fed {
                session,
                node,
                partition,
                leader,
                next: asked.end,
                on_the_way: VecDeque::new(),
                bytes_on_the_way: 0,
                told: (Offset::new(-1), Offset::new(-1)),
                queued: false,
                is_first: true,
                hung,
            };
            all.insert(channel, fed);
            drop(all);
            bell.ring();
        }
        self.rung.notify.notify_one();
    }

    fn on_position(&self, position: &Position) {
        let mut fed = lock(&self.fed);
        let Some(fed) = fed.get_mut(&position.channel).filter(|fed| fed.session == position.session) else {
            return;
        };
        let was_full = fed.bytes_on_the_way >= WINDOW;
        while let Some((_, bytes)) = fed.on_the_way.pop_front_if(|(end, _)| *end <= position.appended) {
            fed.bytes_on_the_way -= bytes;
        }
        if was_full && fed.bytes_on_the_way < WINDOW {
            fed.hung.bell.ring();
        }
        let Position { session, appended, flushed, .. } = *position;
        fed.report(Report::Moved(FollowerMoved { node: fed.node, session, appended, flushed }));
    }

    fn on_unsubscribe(&self, channel: Channel, session: Session) {
        {
            let mut fed = lock(&self.fed);
            if fed.get(&channel).is_some_and(|fed| fed.session == session) {
                fed.remove(&channel);
            }
        }
        if let Some(asked) = lock(&self.asked).as_mut()
            && asked.get(&channel) == Some(&session)
        {
            asked.remove(&channel);
        }
    }

    /// What is asked meanwhile is not answered any more.
    fn end(&self) {
        *lock(&self.asked) = None;
        lock(&self.fed).clear();
    }

    async fn send<W: AsyncWrite + Unpin>(&self, mut to: W) -> Result<(), StreamError> {
        to.write_all(&PREAMBLE).await?;
        to.flush().await?;
        let mut sender = Sender {
            feeding: self,
            ready: VecDeque::new(),
            rung: Vec::new(),
            due: BTreeSet::new(),
            timer: Box::pin(sleep_until(Instant::now())),
            cold: JoinSet::new(),
            out: ReadBuffer::new(),
            head: BytesMut::new(),
        };
        let mut idle = IdleTurns::default();
        loop {
            let goes_on = sender.turn();
            if sender.out.is_empty() {
                idle.0 += 1;
            } else {
                idle.end();
                to.write_all(sender.out.as_slice()).await?;
                to.flush().await?;
                sender.emptied();
            }
            if goes_on || idle.are_enough() {
                idle.end();
                tokio::task::yield_now().await;
            } else {
                sender.wait().await;
            }
        }
    }
}

/// Turns of a sender one after the other that had nothing to send.
#[derive(Default)]
struct IdleTurns(u32);

impl IdleTurns {
    fn are_enough(&self) -> bool {
        self.0 == IDLE_TURNS
    }

    fn end(&mut self) {
        self.0 = 0;
    }
}

/// Who leads in this term or a later one, waited for a moment; else whoever leads, who refuses.
async fn leader_of(partition: &PartitionHandle, epoch: LeaderEpoch) -> Option<Arc<Leader>> {
    let waiter = Waiter::default();
    let _signed_in = partition.sign_in(&waiter);
    let leads = async {
        loop {
            if let Some(leader) = partition.leader().filter(|leader| leader.epoch >= epoch) {
                return leader;
            }
            waiter.notified().await;
        }
    };
    timeout(LEADS_WITHIN, leads).await.ok().or_else(|| partition.leader())
}

/// What is sent next, and what is waited for.
struct Sender<'a> {
    feeding: &'a Feeding,
    /// Those that may have something, in turn.
    ready: VecDeque<Channel>,
    rung: Vec<Channel>,
    /// Those of which watermark or start had moved without data to go with. Empty while the timer is not set.
    due: BTreeSet<Channel>,
    /// Rings when they are to be told. One for all times: each that is begun while the runtime rests has it look at its clock.
    timer: Pin<Box<Sleep>>,
    cold: JoinSet<Cold>,
    /// What is written next. Batches are read into it, behind the place of their frame's head.
    out: ReadBuffer,
    /// For one frame without batches, or the head of one with them.
    head: BytesMut,
}

impl Sender<'_> {
    /// Collects what is to be written now; whether there is more.
    fn turn(&mut self) -> bool {
        self.hear();
        for answer in lock(&self.feeding.answers).drain(..) {
            put_frame(&answer, &mut self.head, &mut self.out);
        }
        while self.out.len() < WRITE {
            let Some(channel) = self.ready.pop_front() else { return false };
            match self.feed(channel) {
                Turn::Sent => self.ready.push_back(channel),
                Turn::Rests | Turn::Reads => {}
                Turn::NoCredit => {
                    self.ready.push_front(channel);
                    return false;
                }
            }
        }
        true
    }

    fn hear(&mut self) {
        self.feeding.rung.take(&mut self.rung);
        let mut fed = lock(&self.feeding.fed);
        for channel in self.rung.drain(..) {
            let Some(fed) = fed.get_mut(&channel) else { continue };
            fed.hung.bell.heard();
            if !fed.queued {
                fed.queued = true;
                self.ready.push_back(channel);
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = self.feeding.rung.notify.notified() => {}
            () = self.timer.as_mut(), if !self.due.is_empty() => self.tell_watermarks(),
            Some(cold) = self.cold.join_next(), if !self.cold.is_empty() => {
                // A thread that panicked has taken its partition's turn with it; a new subscription begins anew.
                if let Ok(cold) = cold {
                    self.on_cold(cold);
                }
            }
        }
    }

    fn feed(&mut self, channel: Channel) -> Turn {
        let mut all = lock(&self.feeding.fed);
        let Some(fed) = all.get_mut(&channel) else { return Turn::Rests };
        if !fed.is_led() {
            resign(&mut all, channel, &mut self.head, &mut self.out);
            return Turn::Rests;
        }
        let is_at_end = fed.next >= fed.leader.reader.log_end_offset();
        if is_at_end || fed.bytes_on_the_way >= WINDOW {
            fed.queued = false;
            if fed.told != fed.ends() {
                if self.due.is_empty() {
                    self.timer.as_mut().reset(Instant::now() + WATERMARK_WAITS);
                }
                self.due.insert(channel);
            }
            return Turn::Rests;
        }
        let credit = self.feeding.credit.load(Ordering::Acquire);
        if credit <= 0 {
            return Turn::NoCredit;
        }
        let request = request(fed, usize::try_from(credit).unwrap_or(WINDOW), Wait::OnlyCached);
        let at = self.out.len();
        self.out.append(&[0; DATA_HEAD]);
        let outcome = fed.leader.reader.read(&request, &mut self.out);
        if let Ok(ReadOutcome::Read { next, .. }) = outcome
            && next > fed.next
        {
            put(fed, channel, next, at, &self.feeding.credit, (&mut self.head, &mut self.out));
            return Turn::Sent;
        }
        self.out.truncate(at);
        match outcome {
            Ok(ReadOutcome::NeedsDisk) => {
                let (session, from, reader) = (fed.session, fed.next, fed.leader.reader.clone());
                let request = ReadRequest { wait: Wait::MayBlock, ..request };
                drop(all);
                self.cold.spawn_blocking_on(
                    move || {
                        let mut buffer = ReadBuffer::new();
                        let outcome = reader.read(&request, &mut buffer);
                        Cold { channel, session, from, outcome, buffer }
                    },
                    &self.feeding.io,
                );
                Turn::Reads
            }
            // What was read is on its way out of the log; or the log is closed: its end is told soon.
            Ok(ReadOutcome::Read { .. }) => {
                fed.queued = false;
                Turn::Rests
            }
            Err(error) => {
                tracing::debug!(partition = %fed.partition.id(), %error, "follower is to ask again");
                resign(&mut all, channel, &mut self.head, &mut self.out);
                Turn::Rests
            }
        }
    }

    fn on_cold(&mut self, cold: Cold) {
        let Cold { channel, session, from, outcome, buffer } = cold;
        let mut all = lock(&self.feeding.fed);
        let Some(fed) = all.get_mut(&channel).filter(|fed| fed.session == session && fed.next == from) else {
            return;
        };
        match outcome {
            Ok(ReadOutcome::Read { next, .. }) if next > from => {
                let at = self.out.len();
                self.out.append(&[0; DATA_HEAD]);
                self.out.append(buffer.as_slice());
                put(fed, channel, next, at, &self.feeding.credit, (&mut self.head, &mut self.out));
                self.ready.push_back(channel);
            }
            Ok(_) => fed.queued = false,
            Err(error) => {
                tracing::debug!(partition = %fed.partition.id(), %error, "follower is to ask again");
                resign(&mut all, channel, &mut self.head, &mut self.out);
            }
        }
    }

    /// All watermarks that have moved and have not gone with data since, in one frame.
    fn tell_watermarks(&mut self) {
        let mut all = lock(&self.feeding.fed);
        let mut moved = Vec::new();
        for channel in std::mem::take(&mut self.due) {
            let Some(fed) = all.get_mut(&channel) else { continue };
            let ends = fed.ends();
            if std::mem::replace(&mut fed.told, ends) != ends {
                let (high_watermark, log_start) = ends;
                moved.push(Watermark { channel, session: fed.session, high_watermark, log_start });
            }
        }
        if !moved.is_empty() {
            put_frame(&ToFollower::Watermarks(moved), &mut self.head, &mut self.out);
        }
    }

    /// All of it was written.
    fn emptied(&mut self) {
        self.out.clear();
        if self.out.capacity() > KEPT {
            self.out.shrink(KEPT);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
