//! Why a node does not start with what it was given.

use std::path::PathBuf;

use crate::config::topic::TopicConfigError;

/// Each names the key and where its value came from.
#[derive(Debug, thiserror::Error)]
pub enum NodeConfigError {
    /// The file cannot be read or is not TOML.
    #[error("config file {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        cause: String,
    },
    /// There is no such setting.
    #[error("unknown setting {key:?} ({origin}){}", suggestion(near.as_deref()))]
    UnknownKey {
        /// As it was given.
        key: String,
        /// Where it was given.
        origin: String,
        /// The setting that is spelt most like it.
        near: Option<String>,
    },
    /// The value is not what the setting takes.
    #[error("setting {key} ({origin}): {problem}")]
    Invalid {
        /// The setting.
        key: String,
        /// Where it was given.
        origin: String,
        /// What is wrong with the value.
        problem: String,
    },
    /// A default for topics is not a topic's config.
    #[error("setting topic.defaults ({origin}): {cause}")]
    Topic {
        /// Where it was given.
        origin: String,
        /// The refusal.
        cause: TopicConfigError,
    },
}

fn suggestion(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default()
}
