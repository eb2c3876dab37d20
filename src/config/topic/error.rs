//! Why a topic's config is refused, or a broker's of the same kind. All of these are Kafka's error 40 (`INVALID_CONFIG`).

use serde::{Deserialize, Serialize};

use crate::config::phrase::{Phrase, phrase};

/// A refusal; its text goes to the client as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum TopicConfigError {
    /// The key is not in the table.
    #[error("unknown topic config {key:?}")]
    UnknownKey {
        /// As it was given.
        key: String,
    },
    /// The value is not one of its kind, or out of range.
    #[error("config {key}: {value:?} is not {expected}")]
    Invalid {
        /// The key.
        #[serde(deserialize_with = "phrase")]
        key: Phrase,
        /// As it was given.
        value: String,
        /// What would have been accepted.
        expected: String,
    },
    /// Kafka knows the value, this broker does not serve it.
    #[error("config {key}: {value:?} is not supported: {why}")]
    Unsupported {
        /// The key.
        #[serde(deserialize_with = "phrase")]
        key: Phrase,
        /// As it was given.
        value: String,
        /// The reason.
        #[serde(deserialize_with = "phrase")]
        why: Phrase,
    },
    /// *Append* or *subtract* on a key that holds no list.
    #[error("config {key} is not a list: it can be set and deleted, not appended to or subtracted from")]
    NotAList {
        /// The key.
        #[serde(deserialize_with = "phrase")]
        key: Phrase,
    },
    /// *Set*, *append* or *subtract* without a value.
    #[error("config {key} is given no value")]
    NoValue {
        /// The key.
        key: String,
    },
    /// One alteration names a key twice.
    #[error("config {key} is altered twice in one request")]
    Twice {
        /// The key.
        key: String,
    },
}
