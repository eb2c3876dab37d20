use std::ops::RangeBounds;

use bytes::{Bytes, BytesMut};

use super::{ApiKey, DecodeError, EncodeError, Field, Reader, Writer};

/// A version of an API that this codec does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{api:?} version {version} is not served")]
pub struct UnsupportedVersion {
    /// The API.
    pub api: ApiKey,
    /// The version asked for.
    pub version: i16,
}

/// What a version makes of a message: which fields it has, and how lengths are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The API version.
    pub version: i16,
    /// Compact lengths and tagged fields (KIP-482).
    pub flexible: bool,
}

impl Layout {
    /// The layout of one version of an API.
    pub fn of(api: ApiKey, version: i16) -> Result<Self, UnsupportedVersion> {
        if api.serves(version) {
            Ok(Self { version, flexible: api.is_flexible(version) })
        } else {
            Err(UnsupportedVersion { api, version })
        }
    }

    /// Whether the version is one of these.
    #[inline]
    pub(crate) fn within(self, versions: &impl RangeBounds<i16>) -> bool {
        versions.contains(&self.version)
    }
}

/// The body of a request or a response.
pub trait Message: Field {
    /// The API it belongs to.
    const API: ApiKey;

    /// Reads a body; what follows it stays in the reader ([`Reader::finish`]).
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        Self::read(reader, Layout::of(Self::API, version)?)
    }

    /// Reads a body that is all there is.
    fn decode_all(bytes: Bytes, version: i16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = Self::decode(&mut reader, version)?;
        reader.finish()?;
        Ok(message)
    }

    /// Appends the body in one piece. After an error the buffer holds a part of it.
    fn encode(&self, out: &mut BytesMut, version: i16) -> Result<(), EncodeError> {
        self.write(&mut Writer::new(out), Layout::of(Self::API, version)?)
    }
}

/// A request, which knows its response.
pub trait Request: Message {
    /// What answers it.
    type Response: Message;
}
