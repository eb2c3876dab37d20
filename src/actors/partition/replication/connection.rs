//! Reading frames from a stream: memory grows with what has come, and by no more than a step beyond it, whatever a length
//! claims.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::frame::{self, FrameError, PREAMBLE};

/// Room that is made at once at most: a frame of all that may be on its way to a partition lies where it was received, and
/// is not copied as its buffer grows. A single batch that is larger grows step by step.
const STEP: usize = super::WINDOW + 64 * 1024;

/// Why no frame comes any more.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other side does not speak the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The other side has closed it.
    #[error("stream was closed")]
    Closed,
    /// The leader sent more than it was given credit for.
    #[error("leader sent more than it had credit for")]
    Overdrawn,
}

/// The frames that come on a stream.
#[derive(Debug)]
pub(super) struct Frames<R> {
    from: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Reads what each side sends first.
    pub(super) async fn begin(mut from: R) -> Result<Self, StreamError> {
        let mut preamble = [0; PREAMBLE.len()];
        from.read_exact(&mut preamble).await?;
        if preamble != PREAMBLE {
            return Err(FrameError::Preamble.into());
        }
        Ok(Self { from, buffer: BytesMut::new() })
    }

    /// The next whole frame. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Result<Bytes, StreamError> {
        loop {
            if let Some(frame) = frame::split(&mut self.buffer)? {
                return Ok(frame);
            }
            self.buffer.reserve(frame::missing(&self.buffer).clamp(16 * 1024, STEP));
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return Err(StreamError::Closed);
            }
        }
    }
}
