//! The Kafka protocol as bytes: messages, framing, error codes. No I/O, no decisions.
//!
//! It exists because what arrives is hostile until proved otherwise and most of it is records: a
//! claimed length never reserves more than the bytes behind it, nothing here panics, and records
//! are slices of the frame on the way in and gaps in it on the way out ([`frame::Part`]). Every
//! message reads and writes, so that server and client share one set of types; every version
//! is checked against the crate `kafka-protocol` as the oracle.
//!
//! Kafka's own message definitions are the reference for fields and versions.

#[macro_use]
pub(crate) mod schema;

pub mod api;
mod api_key;
pub mod consumer_protocol;
mod error_code;
mod field;
pub mod frame;
mod message;
mod reader;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
mod text;
mod writer;

pub use api_key::ApiKey;
pub use error_code::ErrorCode;
pub use field::{Field, Nullable};
pub use message::{Layout, Message, Request, UnsupportedVersion};
pub use reader::{DecodeError, Reader};
pub use text::Str;
pub use writer::{EncodeError, Writer};
