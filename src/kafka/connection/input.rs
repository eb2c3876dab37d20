//! Frames out of a byte stream, with memory taken as bytes arrive.
//!
//! A frame's length is a claim. Room grows with what has been received, never to what is claimed, but for
//! a peer that has sent as large a frame before; and past [`FREE_BYTES`] it is taken from the node's budget
//! of bytes in flight. Who sends nothing holds no buffer at all.
//!
//! Small frames are cut out of one buffer that they arrive in one behind the other. A large one is received
//! into a buffer of its own, which is used again for others ([`FramePool`]).

use std::{
    future::{Future, poll_fn},
    io, mem,
    pin::pin,
    sync::Arc,
    task::Poll,
};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::{io::AsyncReadExt, net::TcpStream};

use super::{
    budget::{Budget, Held},
    frame_pool::{FramePool, LARGEST_KEPT, Pooled},
};
use crate::wire::frame;

/// What a connection may hold without asking the budget, and the largest frame that is a small one.
pub(super) const FREE_BYTES: usize = 64 << 10;
/// Room for the first read of a connection that was idle.
const FIRST_ROOM: usize = 4 << 10;
/// With less room the next read begins a new buffer. What has been read of this one may still be in use.
const LEAST_ROOM: usize = 1 << 10;
/// Room for one read of a connection that is busy with small frames.
const MOST_ROOM: usize = FREE_BYTES;
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
    pub(super) held: Held,
}

/// Collects what arrives on one connection.
#[derive(Debug)]
pub(super) struct Input {
    buffer: BytesMut,
    room: usize,
    /// The large frame that is arriving; `buffer` is empty meanwhile.
    large: Option<LargeFrame>,
    /// The largest frame that this peer has sent whole: as much it is given room for at once.
    proven: usize,
    limit: usize,
    budget: Budget,
    pool: Arc<FramePool>,
    /// What this connection holds of the budget for the frame that is arriving.
    held: Held,
}

/// A frame that has a buffer of its own.
#[derive(Debug)]
struct LargeFrame {
    pooled: Pooled,
    /// Its length, without the size in front of it.
    len: usize,
}

impl LargeFrame {
    fn missing(&self) -> usize {
        self.len - self.pooled.buffer.len()
    }

    /// Room for the next read.
    fn room(&self) -> usize {
        (self.pooled.buffer.capacity() - self.pooled.buffer.len()).min(self.missing())
    }
}

impl Input {
    pub(super) fn new(limit: usize, budget: Budget, pool: Arc<FramePool>) -> Self {
        let buffer = BytesMut::new();
        Self { buffer, room: FIRST_ROOM, large: None, proven: 0, limit, budget, pool, held: Held::default() }
    }

    /// Whether part of a frame is here.
    pub(super) fn is_mid_frame(&self) -> bool {
        !self.buffer.is_empty() || self.large.is_some()
    }

    /// The next whole frame, if it is here.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(large) = self.large.take_if(|large| large.missing() == 0) {
            self.proven = self.proven.max(large.len).min(LARGEST_KEPT);
            // The next one is as large, most likely, and what is read of it here has to be copied.
            self.room = FIRST_ROOM;
            return Ok(Some(Frame { bytes: large.pooled.into_bytes(), held: mem::take(&mut self.held) }));
        }
        if self.claimed()?.is_none() {
            return Ok(None);
        }
        let whole = frame::take(&mut self.buffer, self.limit)?;
        Ok(whole.map(|bytes| Frame { bytes, held: mem::take(&mut self.held) }))
    }

    /// Reads what is there without waiting; 0 at the end of the stream. A read that does not fill the room
    /// tells the runtime that there is no more, which spares the system call that would hear so.
    pub(super) async fn try_fill(&mut self, stream: &mut TcpStream) -> io::Result<usize> {
        if let Some(large) = &mut self.large {
            let room = large.room();
            debug_assert!(room > 0, "make_room comes first");
            return try_read(stream, &mut (&mut large.pooled.buffer).limit(room)).await;
        }
        let free = self.buffer.capacity() - self.buffer.len();
        debug_assert!(free > 0, "make_room comes first");
        let read = try_read(stream, &mut self.buffer).await?;
        if read == free {
            self.room = (self.room * 4).min(MOST_ROOM);
        }
        Ok(read)
    }

    /// Makes room for the next read; waits for the budget where the arriving frame needs more of it.
    pub(super) async fn make_room(&mut self) -> Result<(), FrameError> {
        if self.large.is_some() {
            self.grow_large().await;
            return Ok(());
        }
        match self.claimed()? {
            Some(len) if len > FREE_BYTES => self.begin_large(len).await,
            Some(len) => self.make_small_room((frame::SIZE_LEN + len).saturating_sub(self.buffer.len())),
            None => self.make_small_room(0),
        }
        Ok(())
    }

    fn make_small_room(&mut self, missing: usize) {
        let free = self.buffer.capacity() - self.buffer.len();
        if free < missing.clamp(1, self.room) || free < LEAST_ROOM {
            // At most as much again as has arrived, so that a claim alone takes nothing.
            self.buffer.reserve(missing.min(self.buffer.len()).max(self.room));
        }
    }

    /// Moves the beginning of a large frame into a buffer of its own.
    async fn begin_large(&mut self, len: usize) {
        let capacity = self.next_capacity(self.buffer.len() - frame::SIZE_LEN, len);
        self.take_budget(capacity).await;
        let mut pooled = self.pool.take(capacity);
        pooled.buffer.extend_from_slice(self.buffer.get(frame::SIZE_LEN..).unwrap_or_default());
        self.buffer.clear();
        self.large = Some(LargeFrame { pooled, len });
    }

    async fn grow_large(&mut self) {
        let Some((here, len)) = self
            .large
            .as_ref()
            .filter(|large| large.room() == 0)
            .map(|large| (large.pooled.buffer.len(), large.len))
        else {
            return;
        };
        let capacity = self.next_capacity(here, len);
        self.take_budget(capacity).await;
        let mut pooled = self.pool.take(capacity);
        if let Some(large) = &mut self.large {
            pooled.buffer.extend_from_slice(&large.pooled.buffer);
            large.pooled = pooled;
        }
    }

    /// Room for a frame of `len` bytes of which `here` have arrived: as much again, so that a claim alone
    /// takes nothing, or what the peer has proven to send.
    fn next_capacity(&self, here: usize, len: usize) -> usize {
        (here * 2).max(self.proven).max(2 * FREE_BYTES).min(len)
    }

    /// Gives back the buffer of a connection that has nothing to say.
    pub(super) fn rest(&mut self) {
        if !self.is_mid_frame() {
            self.buffer = BytesMut::new();
            self.room = FIRST_ROOM;
            self.pool.clear();
        }
    }

    /// Holds the budget for `bytes` of the frame that is arriving.
    async fn take_budget(&mut self, bytes: usize) {
        self.held.raise_to(bytes.saturating_sub(FREE_BYTES), &self.budget).await;
    }

    /// The length that the arriving frame claims, once its prefix is here.
    fn claimed(&self) -> Result<Option<usize>, FrameError> {
        match frame::claimed_size(&self.buffer, self.limit)? {
            Some(len) if len < LEAST_REQUEST => Err(FrameError::TooSmall(len)),
            claimed => Ok(claimed),
        }
    }
}

async fn try_read(stream: &mut TcpStream, to: &mut (impl BufMut + Send)) -> io::Result<usize> {
    let mut reading = pin!(stream.read_buf(to));
    match poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
        Poll::Ready(read) => read,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Budget, FREE_BYTES, FrameError, FramePool, Input, frame};
    use bytes::BufMut;

    fn input(budget: usize) -> (Input, Budget) {
        let budget = Budget::new(budget);
        (Input::new(1 << 20, budget.clone(), Arc::new(FramePool::default())), budget)
    }

    /// What `try_fill` does with bytes that a socket has; the room that it found.
    async fn arrive(input: &mut Input, mut bytes: &[u8]) -> usize {
        let mut most = 0;
        while !bytes.is_empty() {
            input.make_room().await.unwrap();
            let room = match &input.large {
                Some(large) => large.room(),
                None => input.buffer.capacity() - input.buffer.len(),
            };
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            match &mut input.large {
                Some(large) => large.pooled.buffer.extend_from_slice(now),
                None => input.buffer.put_slice(now),
            }
            bytes = later;
            most = most.max(room);
        }
        most
    }

    #[tokio::test]
    async fn a_claimed_length_takes_no_memory_until_its_bytes_arrive() {
        let (mut input, budget) = input(1 << 20);
        arrive(&mut input, &(1_i32 << 20).to_be_bytes()).await;
        let room = arrive(&mut input, &[7]).await;
        assert!(room <= 2 * FREE_BYTES, "{room}");
        assert!(
            budget.bytes.available_permits() >= (1 << 20) - FREE_BYTES,
            "{}",
            budget.bytes.available_permits()
        );
    }

    #[tokio::test]
    async fn who_has_sent_a_large_frame_is_given_room_for_the_next_at_once() {
        let (mut input, _) = input(1 << 20);
        let frame: Vec<u8> =
            500_000_i32.to_be_bytes().into_iter().chain((0..500_000).map(|i| (i % 251) as u8)).collect();
        assert!(arrive(&mut input, &frame[..100_000]).await < 200_000);
        arrive(&mut input, &frame[100_000..]).await;
        let first = input.next_frame().unwrap().unwrap();
        arrive(&mut input, &frame[..5000]).await;
        assert!(arrive(&mut input, &frame[5000..]).await > 490_000);
        let second = input.next_frame().unwrap().unwrap();
        assert_eq!((&first.bytes[..], &second.bytes[..]), (&frame[4..], &frame[4..]));
        assert!(!input.is_mid_frame());
    }

    #[tokio::test]
    async fn a_large_frame_holds_the_budget_until_its_permit_is_dropped() {
        let (mut input, budget) = input(1 << 20);
        arrive(&mut input, &200_000_i32.to_be_bytes()).await;
        for _ in 0..200_000 / 1000 {
            arrive(&mut input, &[7; 1000]).await;
        }
        let frame = input.next_frame().unwrap().unwrap();
        assert_eq!(frame.bytes.len(), 200_000);
        assert!(
            budget.bytes.available_permits() < (1 << 20) - 100_000,
            "{}",
            budget.bytes.available_permits()
        );
        drop(frame);
        assert_eq!(budget.bytes.available_permits(), 1 << 20);
    }

    #[tokio::test]
    async fn a_small_frame_asks_nobody() {
        let (mut input, budget) = input(0);
        arrive(&mut input, &i32::try_from(FREE_BYTES).unwrap().to_be_bytes()).await;
        for _ in 0..FREE_BYTES / 1024 {
            arrive(&mut input, &[7; 1024]).await;
        }
        assert!(input.next_frame().unwrap().is_some());
        assert_eq!(budget.bytes.available_permits(), 0);
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
