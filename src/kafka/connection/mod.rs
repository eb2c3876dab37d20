//! One client connection: frames in, requests carried out, answers in the order of the requests.
//!
//! Produce requests are pipelined: each is put into its partitions' queues as it arrives and its answer
//! is sent once it and all before it may be. Any other request waits until the answers before it are
//! out, and is carried out here; that is what a client sees of Kafka as well. One task serves one
//! connection and nothing is handed on but batches, because every hop costs more than the work.

mod budget;
mod frame_pool;
mod input;
mod output;
mod patience;
mod place;

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, watch},
    task::yield_now,
    time::{Instant, Sleep, sleep_until},
};

pub use self::budget::Budget;
pub(crate) use self::{budget::Held, frame_pool::FramePool, output::Piece, patience::Patience};
use self::{
    input::{Frame, FrameError, Input},
    output::send,
    place::Place,
};
use super::{
    Broker,
    dispatch::{self, Answer, Refused, USUAL_ANSWER},
    handlers::produce::PendingProduce,
};
use crate::{
    actors::{
        listener::ConnectionContext,
        partition::{HeldAnswer, ReadBuffer},
    },
    config::node::HostPort,
    wire::Str,
};

/// Produce requests of one connection that may wait for their acknowledgement at the same time.
const MOST_PENDING: usize = 1024;
/// A connection that has given replicas so many bytes lets them run before it receives more: what has come still lies in the processor's
/// cache when it is appended, and few buffers are in use.
const MOST_GIVEN: usize = 2 << 20;
/// A connection that was silent for this long gives its buffers back.
const REST_AFTER: Duration = Duration::from_secs(5);

/// Less than this of an unfinished request within its time-out is no progress: a peer that sends a byte
/// now and then holds a connection as well as one that sends nothing.
const LEAST_PROGRESS: usize = 16 << 10;

/// What one connection keeps between its requests.
#[derive(Debug)]
pub(crate) struct Session {
    /// The listener that it came in by: brokers are told of by their listeners of this name.
    pub(crate) listener: Arc<str>,
    /// Where clients of that listener are told to find this node.
    pub(crate) advertised: Arc<HostPort>,
    /// Until then no request waits for a leader, since one did so in vain.
    pub(crate) no_wait_before: Instant,
    /// What the client called itself in its latest request.
    pub(crate) client_id: Str,
    /// Where it comes from, as Kafka writes it: `/127.0.0.1`.
    pub(crate) client_host: Str,
    /// What a fetch reads into; kept while the connection is busy.
    pub(crate) buffer: ReadBuffer,
    /// What the buffer holds of the node's budget.
    permit: Option<OwnedSemaphorePermit>,
    /// For what is waited for in a request's name.
    pub(crate) patience: Patience,
    /// Whether it is served where those are who move little.
    pub(crate) is_light: bool,
    /// A producer's answer, to be sent once this connection's own is.
    pub(crate) held_answer: Option<HeldAnswer>,
}

impl Session {
    /// Keeps what the client calls itself, as a copy: otherwise its latest request would stay in memory.
    pub(crate) fn note_client(&mut self, id: Option<&Str>) {
        let id = id.map_or("", Str::as_str);
        if self.client_id.as_bytes() != id.as_bytes() {
            self.client_id = Str::from(id);
        }
    }

    /// How many bytes may be read, `most` if the budget has so much to spare. It is not waited for: a
    /// smaller answer is as good.
    pub(crate) fn make_room(&mut self, most: usize, budget: &Budget) -> usize {
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = most.saturating_sub(input::FREE_BYTES).saturating_sub(held);
        let wanted = u32::try_from(missing).unwrap_or(u32::MAX);
        match Arc::clone(&budget.bytes).try_acquire_many_owned(wanted) {
            _ if missing == 0 => most,
            Err(_) => most.min(held + input::FREE_BYTES),
            Ok(more) => {
                match &mut self.permit {
                    Some(permit) => permit.merge(more),
                    None => self.permit = Some(more),
                }
                most
            }
        }
    }

    fn rest(&mut self) {
        self.buffer = ReadBuffer::new();
        self.permit = None;
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("closed by the peer")]
    Closed,
    #[error("closed by the peer in the middle of a request")]
    ClosedMidFrame,
    #[error("node is shutting down")]
    Shutdown,
    #[error("no request for {0:?} (limits.idle-timeout)")]
    Idle(Duration),
    #[error("half a request, and then nothing for {0:?} (limits.frame-timeout)")]
    HalfRequest(Duration),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves one connection until it ends.
pub(crate) async fn serve(
    stream: TcpStream,
    context: ConnectionContext,
    advertised: Arc<HostPort>,
    broker: Arc<Broker>,
) {
    let session = Session {
        listener: Arc::clone(&context.listener),
        advertised,
        no_wait_before: Instant::now(),
        client_id: Str::default(),
        client_host: Str::from(format!("/{}", context.peer.ip())),
        buffer: ReadBuffer::new(),
        permit: None,
        patience: Patience::new(),
        is_light: true,
        held_answer: None,
    };
    let connection = Connection::new(stream, &context, session, Arc::clone(&broker));
    let end = connection.run_where_it_belongs().await;
    match end.blame() {
        None => tracing::debug!(peer = %context.peer, "connection ended: {end}"),
        Some(reason) => broker.drop_peer(&context.listener, context.peer, reason, &end),
    }
}

impl End {
    /// What the peer did wrong, as the metric's label; `None` for an ordinary end.
    fn blame(&self) -> Option<&'static str> {
        match self {
            Self::Closed | Self::Shutdown | Self::Idle(_) => None,
            Self::Io(error) => (error.kind() == io::ErrorKind::TimedOut).then_some("slow_reader"),
            Self::ClosedMidFrame | Self::HalfRequest(_) => Some("half_request"),
            Self::Frame(_) | Self::Refused(_) => Some("bad_request"),
        }
    }
}

/// Produce requests that were put into replicas' queues.
#[derive(Clone, Copy, Debug, Default)]
struct Given {
    batches: usize,
    /// Of the requests that these came in.
    bytes: usize,
}

/// What ended a wait.
enum Woken {
    Answer,
    Readable(io::Result<()>),
    Timer,
    Shutdown,
}

struct Connection {
    stream: TcpStream,
    broker: Arc<Broker>,
    session: Session,
    input: Input,
    pending: VecDeque<PendingProduce>,
    /// What replicas have been given since this task last let others run.
    given: Given,
    place: Place,
    shutdown: watch::Receiver<bool>,
    /// When a request was last complete, an answer sent, or [`LEAST_PROGRESS`] made.
    active: Instant,
    /// Bytes that came since.
    trickle: usize,
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    fn new(stream: TcpStream, context: &ConnectionContext, session: Session, broker: Arc<Broker>) -> Self {
        let limits = &broker.limits;
        let now = Instant::now();
        Self {
            input: Input::new(limits.request_bytes, broker.in_flight.clone(), Arc::clone(&broker.frames)),
            session,
            stream,
            pending: VecDeque::new(),
            given: Given::default(),
            place: Place::default(),
            shutdown: context.shutdown.clone(),
            active: now,
            trickle: 0,
            timer: Box::pin(sleep_until(now + REST_AFTER)),
            broker,
        }
    }

    /// Serves it until it ends, or until another runtime is the right one for it.
    async fn run(&mut self) -> Result<(), End> {
        loop {
            if self.is_misplaced() {
                return Ok(());
            }
            while let Some(frame) = self.input.next_frame()? {
                self.on_frame(frame).await?;
                if self.pending.len() >= MOST_PENDING {
                    self.send_all_pending().await?;
                }
                if self.given.bytes >= MOST_GIVEN {
                    self.let_others_run().await;
                    self.send_finished().await?;
                }
            }
            if self.fill().await? || self.send_finished().await? {
                continue;
            }
            // One replica wakes this task. Several would one after the other, each for nothing but the last.
            if self.given.batches > 1 {
                self.let_others_run().await;
                continue;
            }
            self.given = Given::default();
            self.wait().await?;
        }
    }

    async fn let_others_run(&mut self) {
        self.given = Given::default();
        yield_now().await;
    }

    /// Makes room for what comes next. The memory for it may be held by others that wait as well, so a
    /// request that waits too long is given up like any other that does not get on, and gives back its own.
    async fn make_room(&mut self) -> Result<(), End> {
        loop {
            let is_told = tokio::select! {
                biased;
                made = self.input.make_room() => return Ok(made?),
                () = &mut self.timer => false,
                _ = self.shutdown.wait_for(|down| *down) => true,
            };
            if is_told {
                self.send_all_pending().await?;
                return Err(End::Shutdown);
            }
            self.on_timer()?;
        }
    }

    /// Reads what has arrived; false when there is nothing.
    async fn fill(&mut self) -> Result<bool, End> {
        self.make_room().await?;
        let begins = !self.input.is_mid_frame();
        match self.input.try_fill(&mut self.stream).await {
            Ok(0) if self.input.is_mid_frame() => Err(End::ClosedMidFrame),
            Ok(0) => Err(End::Closed),
            Ok(n) => {
                self.broker.metrics.request_bytes.inc_by(n as u64);
                if begins {
                    self.note_beginning();
                }
                self.trickle += n;
                if self.trickle >= LEAST_PROGRESS {
                    self.note_activity();
                }
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn note_activity(&mut self) {
        self.trickle = 0;
        self.active = Instant::now();
    }

    /// A request's time runs from its first byte, however long the peer was silent before. The timer then
    /// stands at the idle time-out; on a busy connection it is due soon enough anyway.
    fn note_beginning(&mut self) {
        self.note_activity();
        let due = self.active + self.broker.limits.frame_timeout;
        if self.timer.deadline() > due {
            self.timer.as_mut().reset(due);
        }
    }

    async fn on_frame(&mut self, frame: Frame) -> Result<(), End> {
        self.note_activity();
        self.place.note_moved(frame.bytes.len(), self.active);
        if !self.place.moves_much(self.active) {
            self.broker.bulk.note_small(self.active);
        }
        let len = frame.bytes.len();
        let request = dispatch::Request::parse(frame.bytes, frame.held)?;
        if request.is_produce() {
            let pending = dispatch::produce(&self.broker, &mut self.session, request).await?;
            self.given.batches += pending.batches();
            self.given.bytes += len;
            self.pending.push_back(pending);
            return Ok(());
        }
        self.send_all_pending().await?;
        let mut shutdown = self.shutdown.clone();
        let answer = tokio::select! {
            answer = dispatch::answer(&self.broker, &mut self.session, request) => answer?,
            _ = shutdown.wait_for(|down| *down) => return Err(End::Shutdown),
        };
        let mut held = self.session.held_answer.take();
        held_while_it_runs(&mut held, self.send(answer)).await
    }

    /// Sends the answers that are due, in order, as far as they are there; whether there were any.
    async fn send_finished(&mut self) -> Result<bool, End> {
        let mut out = BytesMut::new();
        while self.pending.front_mut().is_some_and(PendingProduce::is_finished) {
            if let Some(finished) = self.pending.pop_front() {
                out.reserve(USUAL_ANSWER);
                finished.encode(&self.broker, &self.session, &mut out)?;
            }
        }
        if out.is_empty() {
            return Ok(false);
        }
        self.send(Answer::from(out.freeze())).await?;
        Ok(true)
    }

    /// Waits for every acknowledgement that is outstanding, and sends the answers.
    async fn send_all_pending(&mut self) -> Result<(), End> {
        while let Some(front) = self.pending.front_mut() {
            front.finished(&mut self.session.patience).await;
            self.send_finished().await?;
        }
        Ok(())
    }

    async fn send(&mut self, answer: Answer) -> Result<(), End> {
        let patience = self.broker.limits.write_timeout;
        let sent = send(&self.stream, &answer.pieces, self.session.buffer.as_slice(), patience).await?;
        self.broker.metrics.response_bytes.inc_by(sent);
        self.note_activity();
        self.place.note_moved(usize::try_from(sent).unwrap_or(usize::MAX), self.active);
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), End> {
        let woken = tokio::select! {
            biased;
            () = finished(self.pending.front_mut(), &mut self.session.patience) => Woken::Answer,
            ready = self.stream.readable() => Woken::Readable(ready),
            () = &mut self.timer => Woken::Timer,
            _ = self.shutdown.wait_for(|down| *down) => Woken::Shutdown,
        };
        match woken {
            Woken::Answer => Ok(()),
            Woken::Readable(ready) => Ok(ready?),
            Woken::Timer => self.on_timer(),
            Woken::Shutdown => {
                self.send_all_pending().await?;
                Err(End::Shutdown)
            }
        }
    }

    /// Looks how long the peer has been silent, and sets the timer to when it matters next. The timer
    /// is not touched on each request: it costs more than a look now and then.
    fn on_timer(&mut self) -> Result<(), End> {
        let silent = self.active.elapsed();
        let limits = &self.broker.limits;
        if self.input.is_mid_frame() && silent >= limits.frame_timeout {
            return Err(End::HalfRequest(limits.frame_timeout));
        }
        if silent >= limits.idle_timeout && self.pending.is_empty() {
            return Err(End::Idle(limits.idle_timeout));
        }
        if silent >= REST_AFTER {
            self.input.rest();
            self.session.rest();
        }
        let steps = [REST_AFTER, limits.frame_timeout, limits.idle_timeout];
        let next = steps.into_iter().filter(|step| *step > silent).min().unwrap_or(REST_AFTER);
        self.timer.as_mut().reset(self.active + next);
        Ok(())
    }
}

/// Ends when the oldest unanswered produce request may be answered; never, without one.
async fn finished(front: Option<&mut PendingProduce>, patience: &mut Patience) {
    match front {
        Some(pending) => pending.finished(patience).await,
        None => std::future::pending().await,
    }
}

/// Carries `work` out, and drops what is held once that has to wait.
pub(crate) async fn held_while_it_runs<K: Send, T>(held: &mut Option<K>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            drop(held.take());
        }
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{sync::oneshot, task::yield_now};

    use super::held_while_it_runs;

    #[tokio::test]
    async fn what_is_held_during_some_work_is_dropped_when_that_has_to_wait() {
        let held = Arc::new(());
        let is_held = || Arc::strong_count(&held) > 1;
        let (goes_on, waits) = oneshot::channel();
        let work = async {
            assert!(is_held());
            waits.await.unwrap();
            assert!(!is_held());
        };
        let release = async {
            yield_now().await;
            assert!(!is_held(), "the work waits");
            goes_on.send(()).unwrap();
        };
        let mut to_hold = Some(Arc::clone(&held));
        tokio::join!(held_while_it_runs(&mut to_hold, work), release);
    }

    #[tokio::test]
    async fn what_is_held_during_work_that_need_not_wait_stays() {
        let mut held = Some(7);
        assert_eq!(held_while_it_runs(&mut held, async { 3 }).await, 3);
        assert_eq!(held, Some(7));
    }
}
