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

    /// What has been read, to put something in the place of a part of it.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.filled).unwrap_or_default()
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

    /// Forgets what has been read behind the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.filled = self.filled.min(len);
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
        let end = self.filled + bytes.len();
        if let Some(place) = self.bytes.get_mut(self.filled..end) {
            place.copy_from_slice(bytes);
        } else {
            self.bytes.truncate(self.filled);
            self.bytes.extend_from_slice(bytes);
        }
        self.filled = end;
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

#[cfg(test)]
mod tests {
    use super::{ReadBuffer, ReadSpace};

    /// Memory that was written to before must not come to light again.
    #[test]
    fn a_buffer_holds_what_was_added_behind_a_truncation_and_nothing_of_what_was_cut_off() {
        let mut buffer = ReadBuffer::new();
        buffer.append(b"head");
        let filled = buffer.append_with(10, |space| {
            space[..6].copy_from_slice(b"behind");
            Ok(6)
        });
        assert_eq!((filled.unwrap(), buffer.as_slice()), (6, &b"headbehind"[..]));
        buffer.truncate(4);
        assert_eq!(buffer.as_slice(), b"head");
        buffer.append(b"+");
        buffer.append(b" and more than there was memory for");
        assert_eq!(buffer.as_slice(), b"head+ and more than there was memory for");
        buffer.as_mut_slice()[..4].copy_from_slice(b"HEAD");
        buffer.truncate(100);
        assert_eq!(buffer.as_slice(), b"HEAD+ and more than there was memory for");
    }
}
