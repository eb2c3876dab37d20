//! The one place that names `bincode`: values to bytes and back.
//!
//! The encoding does not describe itself: a field or a variant stands for its place. So a record type
//! grows by variants at its end only, and a change of anything that is written needs a new variant.

use serde::{Serialize, de::DeserializeOwned};

/// The most bytes of one encoded value; a claimed length above it is refused before memory is taken.
pub const ENCODED_BYTES_MAX: usize = 256 << 20;

/// A value that does not fit, or bytes that are not such a value.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The value cannot be written.
    #[error("cannot encode: {0}")]
    Encode(#[from] bincode::error::EncodeError),
    /// The bytes are not such a value: another type, or one of a newer version.
    #[error("cannot decode: {0}")]
    Decode(#[from] bincode::error::DecodeError),
    /// A value ends before the bytes do.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    /// The value needs more than [`ENCODED_BYTES_MAX`].
    #[error("a value of {0} bytes is too large")]
    TooLarge(usize),
}

/// The bytes of a value.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::serde::encode_to_vec(value, bincode::config::standard())?;
    if bytes.len() > ENCODED_BYTES_MAX {
        return Err(CodecError::TooLarge(bytes.len()));
    }
    Ok(bytes)
}

/// The value of exactly these bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let limited = bincode::config::standard().with_limit::<ENCODED_BYTES_MAX>();
    let (value, read) = bincode::serde::decode_from_slice(bytes, limited)?;
    match bytes.len().saturating_sub(read) {
        0 => Ok(value),
        left => Err(CodecError::Trailing(left)),
    }
}

#[cfg(test)]
mod tests {
    use super::{CodecError, decode, encode};

    #[test]
    fn a_value_comes_back_and_bytes_behind_it_are_refused() {
        let value = (7_u64, "name".to_owned(), vec![Some(1_i32), None]);
        let mut bytes = encode(&value).unwrap();
        assert_eq!(decode::<(u64, String, Vec<Option<i32>>)>(&bytes).unwrap(), value);
        bytes.push(0);
        assert!(matches!(decode::<(u64, String, Vec<Option<i32>>)>(&bytes), Err(CodecError::Trailing(1))));
    }

    #[test]
    fn a_claimed_length_past_the_limit_takes_no_memory() {
        // 0xFD: a length of 8 bytes follows.
        let mut bytes = vec![0xFD];
        bytes.extend(u64::MAX.to_le_bytes());
        assert!(decode::<Vec<u8>>(&bytes).is_err());
        assert!(decode::<String>(&bytes).is_err());
    }
}
