//! What reader, writer and callers of one connection share.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, oneshot},
    time::{Duration, Instant},
};

use super::ConnectionError;
use crate::wire::{
    Request, Str,
    frame::{self, Part},
};

/// An answer, still a frame.
pub(super) type Answer = Result<Bytes, ConnectionError>;

/// A request that is on its way.
struct Waiting {
    correlation_id: i32,
    answer: oneshot::Sender<Answer>,
    since: Instant,
    _room: OwnedSemaphorePermit,
}

/// Requests to write and requests to be answered, both in order.
pub(super) struct Queue {
    pub(super) address: String,
    client_id: Str,
    state: Mutex<State>,
    /// Something is to be written, or the connection is closed.
    pub(super) changed: Notify,
}

struct State {
    next_correlation_id: i32,
    waiting: VecDeque<Waiting>,
    outgoing: VecDeque<Bytes>,
    scratch: BytesMut,
    closed: Option<ConnectionError>,
    /// When the last answer came.
    answered_at: Instant,
}

impl Queue {
    pub(super) fn new(address: String, client_id: &str) -> Arc<Self> {
        let client_id = Str::from(client_id);
        let state = State {
            next_correlation_id: 0,
            waiting: VecDeque::new(),
            outgoing: VecDeque::new(),
            scratch: BytesMut::new(),
            closed: None,
            answered_at: Instant::now(),
        };
        Arc::new(Self { address, client_id, state: Mutex::new(state), changed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a request behind all others. With `room` it waits for an answer; without, none will come.
    pub(super) fn push<R: Request>(
        &self,
        request: &R,
        version: i16,
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<oneshot::Receiver<Answer>, ConnectionError> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.lock();
        let state = &mut *state;
        if state.closed.is_some() {
            return Err(ConnectionError::NotSent { address: self.address.clone() });
        }
        let correlation_id = state.next_correlation_id;
        let client_id = Some(&self.client_id);
        let parts =
            frame::encode_request_parts(&mut state.scratch, version, correlation_id, client_id, request)?;
        state.outgoing.extend(parts.into_iter().filter_map(bytes_of));
        state.next_correlation_id = correlation_id.wrapping_add(1) & i32::MAX;
        if let Some(room) = room {
            state.waiting.push_back(Waiting { correlation_id, answer, since: Instant::now(), _room: room });
        }
        self.changed.notify_one();
        Ok(answered)
    }

    /// Takes all that is to be written; none once the connection is closed.
    pub(super) fn take_outgoing(&self) -> Option<Chunks> {
        let mut state = self.lock();
        state.closed.is_none().then(|| Chunks(std::mem::take(&mut state.outgoing)))
    }

    /// Hands an answer to the request that is next.
    pub(super) fn answer(&self, frame: Bytes) -> Result<(), ConnectionError> {
        let answered = frame.first_chunk::<4>().map_or(-1, |bytes| i32::from_be_bytes(*bytes));
        let mut state = self.lock();
        let expected = state.waiting.front().map_or(-1, |waiting| waiting.correlation_id);
        if expected != answered || expected < 0 {
            return Err(ConnectionError::OutOfOrder { address: self.address.clone(), expected, answered });
        }
        state.answered_at = Instant::now();
        if let Some(waiting) = state.waiting.pop_front() {
            // Whoever gave up waiting has no use for the answer.
            let _ = waiting.answer.send(Ok(frame));
        }
        Ok(())
    }

    /// Ends the connection: every request that waits gets the error, later ones are not
    /// taken. The first call counts.
    pub(super) fn close(&self, error: &ConnectionError) {
        let waiting = {
            let mut state = self.lock();
            if state.closed.is_some() {
                return;
            }
            state.closed = Some(error.clone());
            state.outgoing.clear();
            std::mem::take(&mut state.waiting)
        };
        for waiting in waiting {
            let _ = waiting.answer.send(Err(error.clone()));
        }
        self.changed.notify_one();
    }

    /// How long the broker has owed an answer.
    pub(super) fn owed_for(&self) -> Duration {
        let state = self.lock();
        let since = state.waiting.front().map(|waiting| waiting.since.max(state.answered_at));
        since.map(|since| since.elapsed()).unwrap_or_default()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }
}

/// Requests never leave records elsewhere.
fn bytes_of(part: Part) -> Option<Bytes> {
    match part {
        Part::Bytes(bytes) => Some(bytes),
        Part::Records { .. } => None,
    }
}

/// Pieces to write, together as far as the system takes them.
pub(super) struct Chunks(VecDeque<Bytes>);

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |bytes| bytes)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [std::io::IoSlice<'a>]) -> usize {
        let pairs = into.iter_mut().zip(&self.0);
        pairs.map(|(slot, bytes)| *slot = std::io::IoSlice::new(bytes)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(front) = self.0.front_mut() {
            if count < front.len() {
                return front.advance(count);
            }
            count -= front.len();
            self.0.pop_front();
        }
    }

    fn has_remaining(&self) -> bool {
        self.0.iter().any(|bytes| !bytes.is_empty())
    }
}
