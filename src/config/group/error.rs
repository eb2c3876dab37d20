//! Why a group's config is refused. All of these are Kafka's error 40 (`INVALID_CONFIG`), unless the request itself
//! is malformed.

use serde::{Deserialize, Serialize};

use crate::config::{
    phrase::{Phrase, phrase},
    topic::TopicConfigError,
};

/// A refusal; its text goes to the client as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum GroupConfigError {
    /// The key is not in the table.
    #[error("unknown group config {key:?}")]
    UnknownKey {
        /// As it was given.
        key: String,
    },
    /// Kafka has it, for groups that are not served here.
    #[error("group config {key} is not supported: {kind} are not served")]
    Unserved {
        /// As it was given.
        key: String,
        /// What it is for.
        #[serde(deserialize_with = "phrase")]
        kind: Phrase,
    },
    /// The value is beyond what the node allows, or does not fit another.
    #[error("group config {key} must be {than} {bound}, which is {millis}")]
    Bound {
        /// The config.
        #[serde(deserialize_with = "phrase")]
        key: Phrase,
        /// Which side of the bound it must be on.
        #[serde(deserialize_with = "phrase")]
        than: Phrase,
        /// The config that is the bound.
        #[serde(deserialize_with = "phrase")]
        bound: Phrase,
        /// Its value, in milliseconds.
        millis: u128,
    },
    /// The value does not fit.
    #[error(transparent)]
    Value(#[from] TopicConfigError),
}
