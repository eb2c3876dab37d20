//! Frames out of a byte stream, with memory taken as bytes arrive.
//!
//! A frame's length is a claim. Room grows with what has been received, never to what is claimed, and
//! past [`FREE_BYTES`] it is taken from the node's budget of bytes in flight. Who sends nothing holds
//! no buffer at all.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    sync::Arc,
    task::Poll,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::wire::frame;

/// What a connection may hold without asking the budget.
pub(super) const FREE_BYTES: usize = 64 << 10;
/// Room for the first read of a connection that was idle.
const FIRST_ROOM: usize = 4 << 10;
/// Room for one read of a connection that is busy.
const MOST_ROOM: usize = 512 << 10;
/// The least that a request can be: key, version, correlation id.
const LEAST_REQUEST: usize = 8;

/// Why a peer's bytes cannot be a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("{0} (the limit is limits.request-bytes)")]
    Size(#[from] frame::FrameError),
    #[error("request claims {0} bytes, less than a header has")]
    TooSmall(usize),
}

/// One request's bytes, and what it holds of the budget.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// Collects what arrives on one connection.
#[derive(Debug)]
pub(super) struct Input {
    buffer: BytesMut,
    room: usize,
    limit: usize,
    budget: Arc<Semaphore>,
    /// What this connection holds of the budget for the frame that is arriving.
    held: Option<OwnedSemaphorePermit>,
}

impl Input {
    pub(super) fn new(limit: usize, budget: Arc<Semaphore>) -> Self {
        Self { buffer: BytesMut::new(), room: FIRST_ROOM, limit, budget, held: None }
    }

    /// Whether part of a frame is here.
    pub(super) fn is_mid_frame(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next whole frame, if it is here.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.claimed()?.is_none() {
            return Ok(None);
        }
        let whole = frame::take(&mut self.buffer, self.limit)?;
        Ok(whole.map(|bytes| Frame { bytes, permit: self.held.take() }))
    }

    /// Reads what is there without waiting; 0 at the end of the stream. A read that does not fill the room
    /// tells the runtime that there is no more, which spares the system call that would hear so.
    pub(super) async fn try_fill(&mut self, stream: &mut TcpStream) -> io::Result<usize> {
        let free = self.buffer.capacity() - self.buffer.len();
        debug_assert!(free > 0, "make_room comes first");
        let mut reading = pin!(stream.read_buf(&mut self.buffer));
        let read = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await;
        let Poll::Ready(read) = read else { return Err(io::ErrorKind::WouldBlock.into()) };
        let read = read?;
        if read == free {
            self.room = (self.room * 4).min(MOST_ROOM);
        }
        Ok(read)
    }

    /// Makes room for the next read; waits for the budget where the arriving frame needs more of it.
    pub(super) async fn make_room(&mut self) -> Result<(), FrameError> {
        let missing = match self.claimed()? {
            Some(len) => (frame::SIZE_LEN + len).saturating_sub(self.buffer.len()),
            None => 0,
        };
        let free = self.buffer.capacity() - self.buffer.len();
        if free >= missing.clamp(1, self.room.max(FIRST_ROOM)) && free >= FIRST_ROOM {
            return Ok(());
        }
        // At most as much again as has arrived, so that a claim alone takes nothing.
        let grow = missing.min(self.buffer.len()).max(self.room);
        self.take_budget(self.buffer.len() + grow).await;
        self.buffer.reserve(grow);
        Ok(())
    }

    /// Gives back the buffer of a connection that has nothing to say.
    pub(super) fn rest(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.room = FIRST_ROOM;
        }
    }

    async fn take_budget(&mut self, bytes: usize) {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.saturating_sub(FREE_BYTES).saturating_sub(held);
        if missing == 0 || self.claimed().ok().flatten().is_none_or(|len| len <= FREE_BYTES) {
            return;
        }
        let wanted = u32::try_from(missing).unwrap_or(u32::MAX);
        // The budget is never closed while connections live; were it, there is nothing to wait for.
        let Ok(more) = Arc::clone(&self.budget).acquire_many_owned(wanted).await else { return };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
    }

    /// The length that the arriving frame claims, once its prefix is here.
    fn claimed(&self) -> Result<Option<usize>, FrameError> {
        match frame::claimed_size(&self.buffer, self.limit)? {
            Some(len) if len < LEAST_REQUEST => Err(FrameError::TooSmall(len)),
            claimed => Ok(claimed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::BufMut;
    use tokio::sync::Semaphore;

    use super::{FIRST_ROOM, FREE_BYTES, FrameError, Input, frame};

    fn input(budget: usize) -> (Input, Arc<Semaphore>) {
        let budget = Arc::new(Semaphore::new(budget));
        (Input::new(1 << 20, Arc::clone(&budget)), budget)
    }

    #[tokio::test]
    async fn a_claimed_length_takes_no_memory_until_its_bytes_arrive() {
        let (mut input, budget) = input(1 << 20);
        input.buffer.put_i32(1 << 20);
        input.make_room().await.unwrap();
        assert!(input.buffer.capacity() < 4 * FIRST_ROOM, "{}", input.buffer.capacity());
        assert_eq!(budget.available_permits(), 1 << 20);
    }

    #[tokio::test]
    async fn a_large_frame_holds_the_budget_until_its_permit_is_dropped() {
        let (mut input, budget) = input(1 << 20);
        input.buffer.put_i32(200_000);
        for _ in 0..200_000 / 1000 {
            input.make_room().await.unwrap();
            input.buffer.put_slice(&[7; 1000]);
        }
        let frame = input.next_frame().unwrap().unwrap();
        assert_eq!(frame.bytes.len(), 200_000);
        assert!(budget.available_permits() < (1 << 20) - 100_000, "{}", budget.available_permits());
        drop(frame);
        assert_eq!(budget.available_permits(), 1 << 20);
    }

    #[tokio::test]
    async fn a_small_frame_asks_nobody() {
        let (mut input, budget) = input(0);
        input.buffer.put_i32(i32::try_from(FREE_BYTES).unwrap());
        for _ in 0..FREE_BYTES / 1024 {
            input.make_room().await.unwrap();
            input.buffer.put_slice(&[7; 1024]);
        }
        assert!(input.next_frame().unwrap().is_some());
        assert_eq!(budget.available_permits(), 0);
    }

    #[test]
    fn lengths_that_no_request_can_have_are_refused() {
        for (claimed, large) in [(-1, false), (i32::MIN, false), (7, false), ((1 << 20) + 1, true)] {
            let (mut input, _) = input(0);
            input.buffer.put_i32(claimed);
            let error = input.next_frame().unwrap_err();
            let is_large = matches!(error, FrameError::Size(frame::FrameError::TooLarge { .. }));
            assert_eq!(is_large, large, "{claimed}: {error}");
        }
    }

    #[test]
    fn frames_that_arrived_together_come_one_by_one() {
        let (mut input, _) = input(0);
        for fill in [1_u8, 2] {
            input.buffer.put_i32(8);
            input.buffer.put_bytes(fill, 8);
        }
        input.buffer.put_slice(&[0, 0]);
        assert_eq!(input.next_frame().unwrap().unwrap().bytes[..], [1; 8]);
        assert_eq!(input.next_frame().unwrap().unwrap().bytes[..], [2; 8]);
        assert!(input.next_frame().unwrap().is_none());
        assert!(input.is_mid_frame());
    }
}
