use std::{fmt, ops::Deref, str};

use bytes::Bytes;

use super::DecodeError;
use crate::model::TopicName;

/// A string that shares the frame it came in: cloning it copies no text.
///
/// Always valid UTF-8. What outlives the request should be a copy (`Str::from(name.as_str())`), or it
/// keeps the whole frame in memory.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Str(Bytes);

impl Str {
    /// The string that stands in the program itself.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Takes bytes that came over the wire, if they are UTF-8.
    pub(super) fn from_wire(bytes: Bytes) -> Result<Self, DecodeError> {
        str::from_utf8(&bytes).map_err(|_| DecodeError::NotUtf8)?;
        Ok(Self(bytes))
    }

    /// The text. Checks it again (a safe conversion), so keep the result rather than ask twice.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The text as UTF-8 bytes, without checking them again.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Str {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<&TopicName> for Str {
    fn from(name: &TopicName) -> Self {
        Self::from(name.as_str())
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
