use std::io;

use bytes::BytesMut;

/// Where a read puts its bytes.
pub trait ReadSpace {
    /// Offers `max` more bytes to `fill`, and keeps as many as it says that it has filled.
    fn append_with(
        &mut self,
        max: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize>;

    /// Adds bytes.
    fn append(&mut self, bytes: &[u8]);
}

/// A buffer to read into again and again: its memory is cleared once, not for each read, which would cost
/// half as much as the read itself.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    /// All of it has been written to before; only the first `filled` mean anything.
    bytes: Vec<u8>,
    filled: usize,
}

impl ReadBuffer {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), filled: 0 }
    }

    /// What has been read.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// How many bytes have been read.
    pub const fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing has been read.
    pub const fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Forgets what has been read and keeps the memory.
    pub const fn clear(&mut self) {
        self.filled = 0;
    }

    /// Bytes of memory that it holds.
    pub const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Forgets what has been read and gives memory above `max` bytes back.
    pub fn shrink(&mut self, max: usize) {
        self.filled = 0;
        self.bytes.truncate(max);
        self.bytes.shrink_to(max);
    }
}

impl ReadSpace for ReadBuffer {
    fn append_with(
        &mut self,
        max: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let end = self.filled + max;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let kept = fill(self.bytes.get_mut(self.filled..end).unwrap_or_default())?.min(max);
        self.filled += kept;
        Ok(kept)
    }

    fn append(&mut self, bytes: &[u8]) {
        self.bytes.truncate(self.filled);
        self.bytes.extend_from_slice(bytes);
        self.filled = self.bytes.len();
    }
}

impl ReadSpace for BytesMut {
    /// Clears the memory that it offers each time: for callers to whom that does not matter.
    fn append_with(
        &mut self,
        max: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let start = self.len();
        self.resize(start + max, 0);
        let kept = fill(self.get_mut(start..).unwrap_or_default());
        self.truncate(start + kept.as_ref().map_or(0, |kept| (*kept).min(max)));
        kept
    }

    fn append(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
