//! Why a node does not start with what it was given.

use std::path::PathBuf;

use super::sources::IGNORE_VARIABLES;
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
        /// The setting.
        key: String,
        /// Where it was given.
        origin: String,
        /// The refusal.
        cause: TopicConfigError,
    },
    /// An environment variable that looks like a setting and is none.
    #[error(
        "environment variable {name} names no setting{}; unset it, or list it in {IGNORE_VARIABLES} to have it \
         ignored",
        suggestion(near.as_deref())
    )]
    UnknownVariable {
        /// Its name.
        name: String,
        /// The variable that is spelt most like it.
        near: Option<String>,
    },
    /// More than one problem.
    #[error("{} settings are refused:\n{}", .0.len(), lines(.0))]
    Several(Vec<NodeConfigError>),
}

impl NodeConfigError {
    /// The setting that is refused, where it is one alone.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { key, .. } | Self::Invalid { key, .. } | Self::Topic { key, .. } => Some(key),
            Self::File { .. } | Self::UnknownVariable { .. } | Self::Several(_) => None,
        }
    }

    /// Each problem on its own.
    pub fn problems(&self) -> &[NodeConfigError] {
        match self {
            Self::Several(problems) => problems,
            Self::File { .. }
            | Self::UnknownKey { .. }
            | Self::Invalid { .. }
            | Self::Topic { .. }
            | Self::UnknownVariable { .. } => std::slice::from_ref(self),
        }
    }

    pub(super) fn all(mut problems: Vec<NodeConfigError>) -> Self {
        match problems.pop() {
            Some(only) if problems.is_empty() => only,
            Some(last) => {
                problems.push(last);
                Self::Several(problems)
            }
            None => Self::Several(problems),
        }
    }
}

fn lines(problems: &[NodeConfigError]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}

fn suggestion(near: Option<&str>) -> String {
    near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default()
}
