//! The follower's side: one stream to each node that leads something here, with all of its partitions on it.
//!
//! A stream is opened when the first follower wants it and closed when the last one has gone. One that breaks tells its
//! followers, which ask again: nothing is remembered over a break but that the next attempt waits a while.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
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
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    CREDIT,
    arrivals::{Arrival, Arrivals, CreditBack, Data, Held},
    connection::{Frames, StreamError},
    frame::{Channel, PREAMBLE, Position, ToFollower, ToLeader},
};
use crate::{
    actors::partition::core::{Session, Subscription},
    model::{NodeId, Offset, PartitionId},
};

/// How long opening a stream may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Bytes in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// Why there is no stream to a leader now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no stream to the leader: {0}")]
pub struct ConnectError(pub String);

/// What comes of an attempt to open a stream.
pub type Connecting = Pin<Box<dyn Future<Output = Result<Box<dyn ByteStream>, ConnectError>> + Send>>;

/// Opens streams to leaders.
pub trait Connector: Send + Sync + 'static {
    /// Opens one to this node.
    fn connect(&self, leader: NodeId) -> Connecting;
}

/// The streams of this node's followers. Cheap to clone.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    connector: Arc<dyn Connector>,
    runtime: Handle,
    links: Mutex<HashMap<NodeId, Arc<Link>>>,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

impl Streams {
    /// None is open yet; they will run on `runtime`.
    pub fn new(connector: Arc<dyn Connector>, runtime: Handle) -> Self {
        Self(Arc::new(Inner { connector, runtime, links: Mutex::default() }))
    }

    /// Asks a leader for a partition, in the place of any earlier subscription. What comes, comes to `arrivals`.
    pub fn subscribe(
        &self,
        leader: NodeId,
        partition: PartitionId,
        subscription: Subscription,
        arrivals: &Arc<Arrivals>,
    ) {
        let link =
            Arc::clone(lock(&self.0.links).entry(leader).or_insert_with(|| Arc::new(Link::new(leader))));
        if link.subscribe(partition, subscription, arrivals) {
            let connector = Arc::clone(&self.0.connector);
            self.0.runtime.spawn(async move { link.run(&*connector).await });
        }
    }

    /// Wants nothing more of a subscription.
    pub fn unsubscribe(&self, leader: NodeId, partition: PartitionId, session: Session) {
        if let Some(link) = self.link(leader) {
            link.unsubscribe(partition, session);
        }
    }

    /// Reports how far a follower is.
    pub fn report(
        &self,
        leader: NodeId,
        partition: PartitionId,
        session: Session,
        (appended, flushed): (Offset, Offset),
    ) {
        if let Some(link) = self.link(leader) {
            link.report(partition, session, appended, flushed);
        }
    }

    /// A stream of its own to any node.
    pub(super) fn connect(&self, node: NodeId) -> Connecting {
        self.0.connector.connect(node)
    }

    fn link(&self, leader: NodeId) -> Option<Arc<Link>> {
        lock(&self.0.links).get(&leader).map(Arc::clone)
    }
}

/// What is wanted of one leader.
struct Link {
    leader: NodeId,
    state: Mutex<State>,
    notify: Arc<Notify>,
}

#[derive(Default)]
struct State {
    runs: bool,
    by_partition: HashMap<PartitionId, Channel>,
    wanted: BTreeMap<Channel, Wanted>,
    channels: u32,
    /// Subscriptions and their ends, in order.
    asks: Vec<ToLeader>,
    /// The newest of each.
    positions: BTreeMap<Channel, Position>,
}

struct Wanted {
    session: Session,
    arrivals: Arc<Arrivals>,
}

impl Link {
    fn new(leader: NodeId) -> Self {
        Self { leader, state: Mutex::default(), notify: Arc::default() }
    }

    /// Whether the link has to be run.
    fn subscribe(
        &self,
        partition: PartitionId,
        subscription: Subscription,
        arrivals: &Arc<Arrivals>,
    ) -> bool {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let channel = *state.by_partition.entry(partition).or_insert_with(|| {
            state.channels += 1;
            Channel(state.channels)
        });
        let wanted = Wanted { session: subscription.session, arrivals: Arc::clone(arrivals) };
        state.wanted.insert(channel, wanted);
        state.positions.remove(&channel);
        state.asks.push(ToLeader::Subscribe { channel, partition, subscription });
        self.notify.notify_one();
        !std::mem::replace(&mut state.runs, true)
    }

    fn unsubscribe(&self, partition: PartitionId, session: Session) {
        let mut state = lock(&self.state);
        let Some(channel) = state.channel_of(partition, session) else { return };
        state.by_partition.remove(&partition);
        state.wanted.remove(&channel);
        state.positions.remove(&channel);
        state.asks.push(ToLeader::Unsubscribe { channel, session });
        self.notify.notify_one();
    }

    fn report(&self, partition: PartitionId, session: Session, appended: Offset, flushed: Offset) {
        let mut state = lock(&self.state);
        let Some(channel) = state.channel_of(partition, session) else { return };
        state.positions.insert(channel, Position { channel, session, appended, flushed });
        self.notify.notify_one();
    }

    async fn run(&self, connector: &dyn Connector) {
        let mut backoff = BACKOFF_MIN;
        loop {
            match timeout(CONNECT_WITHIN, connector.connect(self.leader)).await {
                Ok(Ok(stream)) => {
                    let ended = self.speak(stream).await;
                    tracing::debug!(leader = %self.leader, %ended, "replication stream ended");
                    backoff = BACKOFF_MIN;
                }
                Ok(Err(error)) => tracing::debug!(leader = %self.leader, %error, "no replication stream"),
                Err(_) => tracing::debug!(leader = %self.leader, "no replication stream in time"),
            }
            self.tell_broken();
            sleep(backoff.mul_f64(0.5 + fastrand::f64())).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            let mut state = lock(&self.state);
            if state.wanted.is_empty() {
                state.asks.clear();
                state.runs = false;
                return;
            }
        }
    }

    fn tell_broken(&self) {
        let wanted = {
            let mut state = lock(&self.state);
            state.asks.clear();
            state.positions.clear();
            state.by_partition.clear();
            std::mem::take(&mut state.wanted)
        };
        for Wanted { session, arrivals } in wanted.into_values() {
            arrivals.put(session, Arrival::Broken);
        }
    }

    async fn speak(&self, stream: Box<dyn ByteStream>) -> StreamError {
        let (from, to) = tokio::io::split(stream);
        let back = Arc::new(CreditBack::default());
        // What was received, less what was given back.
        let owed = AtomicI64::new(0);
        let ended = tokio::select! {
            ended = self.receive(from, &back, &owed) => ended,
            ended = self.send(to, &back, &owed) => ended,
        };
        match ended {
            Ok(()) => StreamError::Closed,
            Err(error) => error,
        }
    }

    /// Ends once nothing is wanted any more.
    async fn send<W: AsyncWrite + Unpin>(
        &self,
        mut to: W,
        back: &CreditBack,
        owed: &AtomicI64,
    ) -> Result<(), StreamError> {
        let mut out = BytesMut::from(&PREAMBLE[..]);
        ToLeader::Credit(CREDIT).encode(&mut out);
        loop {
            let is_over = self.collect(&mut out);
            let credit = back.take();
            if credit > 0 {
                owed.fetch_sub(i64::from(credit), Ordering::AcqRel);
                ToLeader::Credit(credit).encode(&mut out);
            }
            if out.is_empty() && is_over {
                return Ok(());
            }
            if out.is_empty() {
                tokio::select! {
                    () = self.notify.notified() => {}
                    () = back.notify.notified() => {}
                }
                continue;
            }
            to.write_all(&out).await?;
            to.flush().await?;
            out.clear();
            if is_over {
                return Ok(());
            }
        }
    }

    /// What there is to say; whether it is the last.
    fn collect(&self, out: &mut BytesMut) -> bool {
        let mut state = lock(&self.state);
        for ask in state.asks.drain(..) {
            ask.encode(out);
        }
        if !state.positions.is_empty() {
            let positions = std::mem::take(&mut state.positions);
            ToLeader::Positions(positions.into_values().collect()).encode(out);
        }
        state.wanted.is_empty()
    }

    async fn receive<R: AsyncRead + Unpin>(
        &self,
        from: R,
        back: &Arc<CreditBack>,
        owed: &AtomicI64,
    ) -> Result<(), StreamError> {
        let mut frames = Frames::begin(from).await?;
        loop {
            match ToFollower::decode(frames.next().await?)? {
                ToFollower::Verdict { channel, session, verdict } => {
                    self.deliver(channel, session, Arrival::Verdict(verdict));
                }
                ToFollower::Data { head, from, end, batches } => {
                    if owed.fetch_add(batches.len() as i64, Ordering::AcqRel) >= i64::from(CREDIT) {
                        return Err(StreamError::Overdrawn);
                    }
                    let held = Held { bytes: batches.len() as u32, back: Arc::clone(back) };
                    let (high_watermark, log_start) = (head.high_watermark, head.log_start);
                    let data = Data { from, end, high_watermark, log_start, batches, _held: held };
                    self.deliver(head.channel, head.session, Arrival::Data(data));
                }
                ToFollower::Watermarks(all) => {
                    for one in all {
                        let arrival = Arrival::Watermark(one.high_watermark, one.log_start);
                        self.deliver(one.channel, one.session, arrival);
                    }
                }
                ToFollower::Resigned { channel, session } => {
                    self.deliver(channel, session, Arrival::Broken);
                }
                // None was asked for here.
                ToFollower::Copy(_) => {}
            }
        }
    }

    fn deliver(&self, channel: Channel, session: Session, arrival: Arrival) {
        let arrivals = {
            let state = lock(&self.state);
            let wanted = state.wanted.get(&channel).filter(|wanted| wanted.session == session);
            wanted.map(|wanted| Arc::clone(&wanted.arrivals))
        };
        if let Some(arrivals) = arrivals {
            arrivals.put(session, arrival);
        }
    }
}

impl State {
    fn channel_of(&self, partition: PartitionId, session: Session) -> Option<Channel> {
        let channel = *self.by_partition.get(&partition)?;
        self.wanted.get(&channel).is_some_and(|wanted| wanted.session == session).then_some(channel)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
