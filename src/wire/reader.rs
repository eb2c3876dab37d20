//! Reading, so that no number on the wire is believed before the bytes behind it are there.
//!
//! Strings and records are slices of the frame: they cost a reference count, not a copy. A count
//! of elements reserves at most what the bytes left could hold, and all elements of a message
//! together may take only so many times the memory of the frame: a frame of 100 MB that is one
//! array of empty strings would otherwise become 3 GB.

use bytes::Bytes;

use super::{Layout, UnsupportedVersion};

/// Memory that elements may take for each byte of the frame. Real messages stay below 4.
const ELEMENT_BYTES_PER_FRAME_BYTE: usize = 8;
/// Memory that elements may take in any message, so that no small one is ever refused.
const ELEMENT_BYTES_FREE: usize = 1 << 20;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message ends inside a field.
    #[error("message ends early: {needed} bytes wanted, {left} left")]
    UnexpectedEnd {
        /// Bytes that the field wants.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// A length below -1, which stands for null.
    #[error("length {0} is negative")]
    NegativeLength(i32),
    /// An array claims more elements than the bytes left can hold.
    #[error("array claims {claimed} elements with {left} bytes left")]
    ArrayTooLong {
        /// The count on the wire.
        claimed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// Elements that would take many times the memory of the frame.
    #[error("array of {0} elements takes too many times the memory of its frame")]
    ElementsTooMany(usize),
    /// Null where this version allows none.
    #[error("field is null where the version does not allow it")]
    Null,
    /// A variable-length integer of more than 32 bits.
    #[error("variable-length integer exceeds 32 bits")]
    VarintTooLong,
    /// A string that is not UTF-8.
    #[error("string is not utf-8")]
    NotUtf8,
    /// Bytes after the last field.
    #[error("message is followed by {0} more bytes")]
    TrailingBytes(usize),
    /// Bytes that name their own version, and it is below the first.
    #[error("version {0} is negative")]
    NegativeVersion(i16),
    /// A version that this codec does not have.
    #[error(transparent)]
    Version(#[from] UnsupportedVersion),
}

/// A cursor over one frame, or over one tagged field in it.
#[derive(Clone, Debug)]
pub struct Reader {
    frame: Bytes,
    /// Never above `end`.
    at: usize,
    /// Never above `frame.len()`.
    end: usize,
    /// Memory that elements may still take, in bytes.
    element_bytes: usize,
}

impl Reader {
    /// Reads `frame` from its start.
    pub fn new(frame: Bytes) -> Self {
        let end = frame.len();
        let element_bytes =
            end.saturating_mul(ELEMENT_BYTES_PER_FRAME_BYTE).saturating_add(ELEMENT_BYTES_FREE);
        Self { frame, at: 0, end, element_bytes }
    }

    /// Bytes not read yet.
    pub const fn left(&self) -> usize {
        self.end - self.at
    }

    /// Fails when bytes are left over.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            left => Err(DecodeError::TrailingBytes(left)),
        }
    }

    fn need(&self, needed: usize) -> Result<(), DecodeError> {
        let left = self.left();
        if needed > left { Err(DecodeError::UnexpectedEnd { needed, left }) } else { Ok(()) }
    }

    /// The next `N` bytes.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let left = self.left();
        let rest = self.frame.get(self.at..self.end).unwrap_or_default();
        let bytes = rest.first_chunk::<N>().ok_or(DecodeError::UnexpectedEnd { needed: N, left })?;
        self.at += N;
        Ok(*bytes)
    }

    /// The next `len` bytes, as a slice that shares the frame.
    pub fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        self.need(len)?;
        let bytes = self.frame.slice(self.at..self.at + len);
        self.at += len;
        Ok(bytes)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    /// A big-endian 16-bit integer.
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.fixed().map(i16::from_be_bytes)
    }

    /// A big-endian 32-bit integer.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.fixed().map(i32::from_be_bytes)
    }

    /// A big-endian 64-bit integer.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.fixed().map(i64::from_be_bytes)
    }

    /// An unsigned variable-length integer of at most 32 bits (KIP-482).
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return Err(DecodeError::VarintTooLong);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong)
    }

    /// The length of a string: 16 bits, or one more than it as a varint; `None` is null.
    pub(super) fn string_len(&mut self, layout: Layout) -> Result<Option<usize>, DecodeError> {
        if layout.flexible { self.compact_len() } else { self.i16().and_then(|len| classic_len(len.into())) }
    }

    /// The length of bytes or of an array: 32 bits, or one more than it as a varint; `None` is null.
    pub(super) fn bytes_len(&mut self, layout: Layout) -> Result<Option<usize>, DecodeError> {
        if layout.flexible { self.compact_len() } else { self.i32().and_then(classic_len) }
    }

    fn compact_len(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok(self.uvarint()?.checked_sub(1).map(|len| len as usize))
    }

    /// The count of an array of `T` and how many to reserve: refused when the bytes left cannot hold
    /// so many (every element takes at least one), or when they would take too much memory. What is
    /// reserved up front is never more memory than the bytes that are left.
    pub(super) fn array_len<T>(&mut self, layout: Layout) -> Result<Option<(usize, usize)>, DecodeError> {
        let Some(claimed) = self.bytes_len(layout)? else { return Ok(None) };
        let left = self.left();
        if claimed > left {
            return Err(DecodeError::ArrayTooLong { claimed, left });
        }
        let memory = claimed.saturating_mul(size_of::<T>());
        self.element_bytes =
            self.element_bytes.checked_sub(memory).ok_or(DecodeError::ElementsTooMany(claimed))?;
        Ok(Some((claimed, claimed.min(left / size_of::<T>().max(1)))))
    }

    /// Walks the tagged fields at the end of a structure: `known` gets each tag with a reader of its
    /// bytes alone, and what it leaves unread is skipped.
    pub(crate) fn tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let len = self.uvarint()? as usize;
            self.need(len)?;
            let end = self.at + len;
            let mut body = Self { end, ..self.clone() };
            known(tag, &mut body)?;
            self.element_bytes = body.element_bytes;
            self.at = end;
        }
        Ok(())
    }

    /// Skips the tagged fields of a structure that knows none.
    pub(super) fn skip_tags(&mut self) -> Result<(), DecodeError> {
        self.tags(|_, _| Ok(()))
    }
}

fn classic_len(len: i32) -> Result<Option<usize>, DecodeError> {
    match len {
        -1 => Ok(None),
        len => usize::try_from(len).map(Some).map_err(|_| DecodeError::NegativeLength(len)),
    }
}
