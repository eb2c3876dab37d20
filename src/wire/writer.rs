//! Writing into the caller's buffer, with gaps for bytes that need not be copied.
//!
//! Records are most of a Produce or Fetch frame, and they lie ready elsewhere: in a buffer or in a
//! file. A writer that may leave gaps notes where they go, so that the frame's length is known
//! and the connection can send head, records, head, records without one copy (`writev`, `sendfile`).

use bytes::{BufMut, Bytes, BytesMut};

use super::{Layout, UnsupportedVersion};

/// Records of fewer bytes are copied into the head: cheaper than one more part to send.
const COPIED_BELOW: usize = 1024;

/// Why a message cannot be written in a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Null where this version allows none.
    #[error("field is null where the version does not allow it")]
    Null,
    /// A string, array or frame longer than its length field can say.
    #[error("{0} bytes or elements are more than the length field can say")]
    TooLong(usize),
    /// Records that lie elsewhere, in a message that was to be written in one piece.
    #[error("records lie elsewhere, but the message is written in one piece")]
    RecordsElsewhere,
    /// A version that this codec does not have.
    #[error(transparent)]
    Version(#[from] UnsupportedVersion),
}

/// What fills a gap.
#[derive(Debug)]
pub(super) enum Filling {
    Shared(Bytes),
    Elsewhere { slot: usize, len: usize },
}

impl Filling {
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Shared(bytes) => bytes.len(),
            Self::Elsewhere { len, .. } => *len,
        }
    }
}

/// A place in the written bytes where others belong.
#[derive(Debug)]
pub(super) struct Gap {
    /// Position in the buffer, counted from its start.
    pub(super) at: usize,
    pub(super) filling: Filling,
}

/// Appends to the caller's buffer.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut BytesMut,
    gaps: Option<Vec<Gap>>,
}

impl<'a> Writer<'a> {
    /// Writes everything in one piece.
    pub const fn new(out: &'a mut BytesMut) -> Self {
        Self { out, gaps: None }
    }

    /// Leaves large records out and notes where they go.
    pub(super) const fn with_gaps(out: &'a mut BytesMut) -> Self {
        Self { out, gaps: Some(Vec::new()) }
    }

    /// The gaps left, in the order of their places.
    pub(super) fn into_gaps(self) -> Vec<Gap> {
        self.gaps.unwrap_or_default()
    }

    /// Appends bytes as they are.
    pub fn put(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// An unsigned variable-length integer (KIP-482).
    pub fn put_uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    /// The length of a string, `None` being null.
    pub(super) fn put_string_len(&mut self, len: Option<usize>, layout: Layout) -> Result<(), EncodeError> {
        if layout.flexible {
            return self.put_compact_len(len);
        }
        let len = len.map_or(Ok(-1), |len| i16::try_from(len).map_err(|_| EncodeError::TooLong(len)))?;
        self.out.put_i16(len);
        Ok(())
    }

    /// The length of bytes or of an array, `None` being null.
    pub(super) fn put_bytes_len(&mut self, len: Option<usize>, layout: Layout) -> Result<(), EncodeError> {
        if layout.flexible {
            return self.put_compact_len(len);
        }
        let len = len.map_or(Ok(-1), |len| i32::try_from(len).map_err(|_| EncodeError::TooLong(len)))?;
        self.out.put_i32(len);
        Ok(())
    }

    fn put_compact_len(&mut self, len: Option<usize>) -> Result<(), EncodeError> {
        let plus_one = match len {
            None => 0,
            Some(len) => i32::try_from(len).map_err(|_| EncodeError::TooLong(len))?.unsigned_abs() + 1,
        };
        self.put_uvarint(plus_one);
        Ok(())
    }

    /// Bytes whose length has been written: copied, or left as a gap when they are many.
    pub(super) fn put_shared(&mut self, bytes: &Bytes) {
        let at = self.out.len();
        match &mut self.gaps {
            Some(gaps) if bytes.len() >= COPIED_BELOW => {
                gaps.push(Gap { at, filling: Filling::Shared(bytes.clone()) });
            }
            Some(_) | None => self.out.put_slice(bytes),
        }
    }

    /// A gap for `len` bytes that the caller holds under the name `slot`.
    pub(super) fn leave(&mut self, slot: usize, len: usize) -> Result<(), EncodeError> {
        let at = self.out.len();
        let gaps = self.gaps.as_mut().ok_or(EncodeError::RecordsElsewhere)?;
        if len > 0 {
            gaps.push(Gap { at, filling: Filling::Elsewhere { slot, len } });
        }
        Ok(())
    }

    /// One tagged field: its tag, its size, its bytes. Never holds records, so it is written apart.
    pub(crate) fn put_tagged(
        &mut self,
        tag: u32,
        write: impl FnOnce(&mut Writer<'_>) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut body = BytesMut::new();
        write(&mut Writer::new(&mut body))?;
        self.put_uvarint(tag);
        self.put_uvarint(u32::try_from(body.len()).map_err(|_| EncodeError::TooLong(body.len()))?);
        self.put(&body);
        Ok(())
    }
}
