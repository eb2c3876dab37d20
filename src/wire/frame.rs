//! Frames: a size, a header, a body.
//!
//! The size is 4 bytes big-endian and does not count itself. A request header is
//! `api_key i16, api_version i16, correlation_id i32, client_id nullable string` (16-bit length also
//! where the body is flexible), then tagged fields if it is. A response header is
//! `correlation_id i32`, then tagged fields if the body is flexible, but never for `ApiVersions`:
//! a client reads that answer before it knows what the broker speaks.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    ApiKey, DecodeError, EncodeError, Field, Layout, Message, Reader, Request, Str, Writer,
    writer::{Filling, Gap},
};

/// Bytes of the size in front of each frame.
pub const SIZE_LEN: usize = 4;

/// Why the next bytes of a connection cannot be a frame; the connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A negative size.
    #[error("frame size {0} is negative")]
    Negative(i32),
    /// A size above the limit.
    #[error("frame of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// The size claimed, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
}

/// The size that the frame at the front of `buffer` claims, in bytes without the size field;
/// `None` until its 4 bytes are there.
pub fn claimed_size(buffer: &[u8], limit: usize) -> Result<Option<usize>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<SIZE_LEN>() else { return Ok(None) };
    let claimed = i32::from_be_bytes(*prefix);
    let size = usize::try_from(claimed).map_err(|_| FrameError::Negative(claimed))?;
    if size > limit { Err(FrameError::TooLarge { size, limit }) } else { Ok(Some(size)) }
}

/// Takes the frame at the front of `buffer`, without its size, once all of it is there. Reserves
/// nothing: memory is the reader's to take, as bytes arrive.
pub fn take(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, FrameError> {
    match claimed_size(buffer, limit)? {
        Some(size) if buffer.len() - SIZE_LEN >= size => {
            buffer.advance(SIZE_LEN);
            Ok(Some(buffer.split_to(size).freeze()))
        }
        Some(_) | None => Ok(None),
    }
}

/// What stands in front of a request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API's number, known or not ([`RequestHeader::api`]).
    pub api_key: i16,
    /// The version, served or not.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// The name that the client gives itself.
    pub client_id: Option<Str>,
}

const CLASSIC: Layout = Layout { version: 0, flexible: false };

impl RequestHeader {
    /// The API, if this codec has it.
    pub const fn api(&self) -> Option<ApiKey> {
        ApiKey::from_code(self.api_key)
    }

    /// Reads a header and leaves the reader at the body. Of an API that is not known only what is
    /// common to all versions is read.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let header = Self {
            api_key: reader.i16()?,
            api_version: reader.i16()?,
            correlation_id: reader.i32()?,
            client_id: Field::read(reader, CLASSIC)?,
        };
        if header.is_flexible() {
            reader.skip_tags()?;
        }
        Ok(header)
    }

    /// Appends the header.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut writer = Writer::new(out);
        self.api_key.write(&mut writer, CLASSIC)?;
        self.api_version.write(&mut writer, CLASSIC)?;
        self.correlation_id.write(&mut writer, CLASSIC)?;
        self.client_id.write(&mut writer, CLASSIC)?;
        if self.is_flexible() {
            writer.put_uvarint(0);
        }
        Ok(())
    }

    fn is_flexible(&self) -> bool {
        self.api().is_some_and(|api| api.is_flexible(self.api_version))
    }
}

/// Whether a response's header ends with tagged fields.
fn response_header_is_flexible(api: ApiKey, version: i16) -> bool {
    api != ApiKey::ApiVersions && api.is_flexible(version)
}

/// Reads a response's header: the correlation id of the request that it answers.
pub fn decode_response_header(reader: &mut Reader, api: ApiKey, version: i16) -> Result<i32, DecodeError> {
    let correlation_id = reader.i32()?;
    if response_header_is_flexible(api, version) {
        reader.skip_tags()?;
    }
    Ok(correlation_id)
}

/// Appends a response's header.
pub fn encode_response_header(out: &mut BytesMut, api: ApiKey, version: i16, correlation_id: i32) {
    out.put_i32(correlation_id);
    if response_header_is_flexible(api, version) {
        out.put_u8(0);
    }
}

/// A piece of a frame, in the order of sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Bytes to send.
    Bytes(Bytes),
    /// Records that the caller holds: exactly `len` bytes, known to it as `slot`
    /// ([`super::api::fetch::Records::Elsewhere`]).
    Records {
        /// The caller's own name for the records.
        slot: usize,
        /// Their length in bytes, more than 0.
        len: usize,
    },
}

impl Part {
    /// Bytes that this part adds to the frame.
    pub const fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Records { len, .. } => *len,
        }
    }

    /// Whether the part adds nothing; no such part is made.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Appends a whole response frame, size first, in one piece. On an error `out` is as before.
pub fn encode_response<M: Message>(
    out: &mut BytesMut,
    version: i16,
    correlation_id: i32,
    body: &M,
) -> Result<(), EncodeError> {
    let layout = Layout::of(M::API, version)?;
    whole(out, |out| {
        encode_response_header(out, M::API, version, correlation_id);
        body.write(&mut Writer::new(out), layout)
    })
}

/// A whole response frame in parts: heads are cut from `out` (a buffer to reuse), large records
/// are shared or left to the caller.
pub fn encode_response_parts<M: Message>(
    out: &mut BytesMut,
    version: i16,
    correlation_id: i32,
    body: &M,
) -> Result<Vec<Part>, EncodeError> {
    let layout = Layout::of(M::API, version)?;
    parts(out, layout, body, |head| {
        encode_response_header(head, M::API, version, correlation_id);
        Ok(())
    })
}

/// Appends a whole request frame, size first, in one piece. On an error `out` is as before.
pub fn encode_request<M: Request>(
    out: &mut BytesMut,
    version: i16,
    correlation_id: i32,
    client_id: Option<&Str>,
    body: &M,
) -> Result<(), EncodeError> {
    let layout = Layout::of(M::API, version)?;
    let header = request_header::<M>(version, correlation_id, client_id);
    whole(out, |out| {
        header.encode(out)?;
        body.write(&mut Writer::new(out), layout)
    })
}

/// A whole request frame in parts, as [`encode_response_parts`]: a client's records are not copied.
pub fn encode_request_parts<M: Request>(
    out: &mut BytesMut,
    version: i16,
    correlation_id: i32,
    client_id: Option<&Str>,
    body: &M,
) -> Result<Vec<Part>, EncodeError> {
    let layout = Layout::of(M::API, version)?;
    let header = request_header::<M>(version, correlation_id, client_id);
    parts(out, layout, body, |head| header.encode(head))
}

fn request_header<M: Request>(
    api_version: i16,
    correlation_id: i32,
    client_id: Option<&Str>,
) -> RequestHeader {
    RequestHeader { api_key: M::API.code(), api_version, correlation_id, client_id: client_id.cloned() }
}

fn whole(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.put_i32(0);
    let written = write(out).and_then(|()| set_size(out, start, 0));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn parts<M: Message>(
    out: &mut BytesMut,
    layout: Layout,
    body: &M,
    write_header: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<Vec<Part>, EncodeError> {
    out.clear();
    out.put_i32(0);
    write_header(out)?;
    let mut writer = Writer::with_gaps(out);
    body.write(&mut writer, layout)?;
    let gaps = writer.into_gaps();
    let records: usize = gaps.iter().map(|gap| gap.filling.len()).sum();
    set_size(out, 0, records)?;
    Ok(cut(out, gaps))
}

/// Writes the size of the frame that starts at `start` and of `records` bytes in its gaps.
fn set_size(out: &mut BytesMut, start: usize, records: usize) -> Result<(), EncodeError> {
    let size = out.len().saturating_sub(start + SIZE_LEN).saturating_add(records);
    let prefix = i32::try_from(size).map_err(|_| EncodeError::TooLong(size))?.to_be_bytes();
    if let Some(place) = out.get_mut(start..start + SIZE_LEN) {
        place.copy_from_slice(&prefix);
    }
    Ok(())
}

fn cut(out: &mut BytesMut, gaps: Vec<Gap>) -> Vec<Part> {
    let mut parts = Vec::with_capacity(2 * gaps.len() + 1);
    let mut cut_off = 0;
    for gap in gaps {
        let head = out.split_to(gap.at - cut_off).freeze();
        cut_off = gap.at;
        parts.push(Part::Bytes(head));
        parts.push(match gap.filling {
            Filling::Shared(bytes) => Part::Bytes(bytes),
            Filling::Elsewhere { slot, len } => Part::Records { slot, len },
        });
    }
    if !out.is_empty() {
        parts.push(Part::Bytes(out.split().freeze()));
    }
    parts
}
