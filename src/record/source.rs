//! Where a record's fields are read from: a slice in place, or a decoder that runs as it is read.
//!
//! One walker serves both. On the slice it is the hot path of a produce, so the failures are a byte wide
//! and nothing is formatted or allocated.

use std::io::{ErrorKind, Read};

use super::varint::{MAX_VARINT_LEN, MAX_VARLONG_LEN, unzigzag32, unzigzag64};

/// Why no more can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes are at their end.
    End,
    /// A number that does not end or is out of range.
    Varint,
    /// The decoder refuses its input.
    Unpack,
    /// The decoder has given as much as is wanted of it.
    Bound,
}

/// A run of bytes, read from its start to its end.
pub(super) trait Source: Sized {
    /// How many bytes have been read or skipped.
    fn position(&self) -> u64;
    /// The next byte.
    fn byte(&mut self) -> Result<u8, Stop>;
    /// Passes over `count` bytes.
    fn skip(&mut self, count: usize) -> Result<(), Stop>;
    /// Whether all has been read; what checks itself at its end has then been checked.
    fn is_at_end(&mut self) -> Result<bool, Stop>;

    /// Does what is rare and not inlined. A slice lends a copy of itself for it, so that its own position can
    /// stay in a register: through memory it would cost more than all else in the walk.
    #[inline]
    fn rarely<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        act(self)
    }

    /// A signed number of up to 32 bits.
    #[inline]
    fn varint(&mut self) -> Result<i32, Stop> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(unzigzag32(u32::from(first)));
        }
        let second = self.byte()?;
        let low = u32::from(first & 0x7f) | (u32::from(second & 0x7f) << 7);
        if second < 0x80 {
            return Ok(unzigzag32(low));
        }
        let folded = self.rarely(|source| rest(source, u64::from(low), MAX_VARINT_LEN))?;
        u32::try_from(folded).map(unzigzag32).map_err(|_| Stop::Varint)
    }

    /// A signed number of up to 64 bits.
    #[inline]
    fn varlong(&mut self) -> Result<i64, Stop> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(unzigzag64(u64::from(first)));
        }
        let second = self.byte()?;
        let low = u64::from(first & 0x7f) | (u64::from(second & 0x7f) << 7);
        if second < 0x80 {
            return Ok(unzigzag64(low));
        }
        self.rarely(|source| rest(source, low, MAX_VARLONG_LEN)).map(unzigzag64)
    }
}

/// What follows the first two bytes of a longer number.
#[inline(never)]
fn rest<S: Source>(source: &mut S, low: u64, max_len: usize) -> Result<u64, Stop> {
    let mut folded = low;
    for place in 2..max_len {
        let byte = source.byte()?;
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * place as u32;
        if (bits << shift) >> shift != bits {
            return Err(Stop::Varint);
        }
        folded |= bits << shift;
        if byte < 0x80 {
            return Ok(folded);
        }
    }
    Err(Stop::Varint)
}

/// Bytes in memory.
pub(super) struct SliceSource<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> SliceSource<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How far it has been read.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// What has not been read yet.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next `count` bytes.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        let taken = self.rest().get(..count).ok_or(Stop::End)?;
        self.at += count;
        Ok(taken)
    }
}

impl Source for SliceSource<'_> {
    #[inline]
    fn rarely<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let mut lent = SliceSource { bytes: self.bytes, at: self.at };
        let done = act(&mut lent);
        self.at = lent.at;
        done
    }

    #[inline]
    fn position(&self) -> u64 {
        self.at as u64
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Stop> {
        let byte = *self.bytes.get(self.at).ok_or(Stop::End)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn skip(&mut self, count: usize) -> Result<(), Stop> {
        if count > self.bytes.len() - self.at {
            return Err(Stop::End);
        }
        self.at += count;
        Ok(())
    }

    #[inline]
    fn is_at_end(&mut self) -> Result<bool, Stop> {
        Ok(self.at == self.bytes.len())
    }
}

const BUFFER_LEN: usize = 8 * 1024;

/// Bytes as a decoder makes them, at most `bound` of them, held a buffer at a time.
pub(super) struct StreamSource<R> {
    decoder: R,
    buffer: [u8; BUFFER_LEN],
    start: usize,
    end: usize,
    /// Bytes that came before those in the buffer.
    before: u64,
    bound: u64,
}

impl<R: Read> StreamSource<R> {
    pub(super) fn new(decoder: R, bound: usize) -> Self {
        Self { decoder, buffer: [0; BUFFER_LEN], start: 0, end: 0, before: 0, bound: bound as u64 }
    }

    /// Fills the empty buffer; false at the end of the stream.
    fn fill(&mut self) -> Result<bool, Stop> {
        self.before += self.end as u64;
        (self.start, self.end) = (0, 0);
        self.end = loop {
            match self.decoder.read(&mut self.buffer) {
                Ok(read) => break read.min(BUFFER_LEN),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::FileTooLarge => return Err(Stop::Bound),
                Err(_) => return Err(Stop::Unpack),
            }
        };
        if self.before + self.end as u64 > self.bound {
            return Err(Stop::Bound);
        }
        Ok(self.end > 0)
    }
}

impl<R: Read> Source for StreamSource<R> {
    fn position(&self) -> u64 {
        self.before + self.start as u64
    }

    #[inline]
    fn byte(&mut self) -> Result<u8, Stop> {
        if self.start == self.end && !self.fill()? {
            return Err(Stop::End);
        }
        let byte = *self.buffer.get(self.start).ok_or(Stop::End)?;
        self.start += 1;
        Ok(byte)
    }

    fn skip(&mut self, count: usize) -> Result<(), Stop> {
        let mut left = count;
        loop {
            let step = left.min(self.end - self.start);
            self.start += step;
            left -= step;
            if left == 0 {
                return Ok(());
            }
            if !self.fill()? {
                return Err(Stop::End);
            }
        }
    }

    fn is_at_end(&mut self) -> Result<bool, Stop> {
        Ok(self.start == self.end && !self.fill()?)
    }
}
