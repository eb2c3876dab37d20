use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// A topic's name that has passed Kafka's rules: 1 to 249 of `[a-zA-Z0-9._-]`, and not `.` or `..`.
///
/// A name is also a folder's, so nothing unchecked may become one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicName(Arc<str>);

/// Why a name cannot be a topic's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum TopicNameError {
    /// The name has no character.
    #[error("topic name is empty")]
    Empty,
    /// The name would be a folder's own name for itself or its parent.
    #[error("topic name cannot be \".\" or \"..\"")]
    Dots,
    /// The name has more characters than a folder's name can hold beside a partition's number.
    #[error("topic name has {0} characters, more than {max}", max = TopicName::MAX_LEN)]
    TooLong(usize),
    /// A character other than the allowed ones.
    #[error("topic name contains {0:?}; allowed are ASCII letters, digits, '.', '_' and '-'")]
    Character(char),
}

impl TopicName {
    /// The most characters that a name may have.
    pub const MAX_LEN: usize = 249;

    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, TopicNameError> {
        if name.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if name == "." || name == ".." {
            return Err(TopicNameError::Dots);
        }
        if name.len() > Self::MAX_LEN {
            return Err(TopicNameError::TooLong(name.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(bad) = name.chars().find(|c| !allowed(*c)) {
            return Err(TopicNameError::Character(bad));
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the node keeps its own affairs in it: nobody else makes it, writes to it or lets it grow.
    pub fn is_internal(&self) -> bool {
        is_internal(self.as_str())
    }
}

/// Whether a topic of this name is the node's own, as in Kafka.
pub fn is_internal(name: &str) -> bool {
    ["__consumer_offsets", "__transaction_state", "__share_group_state"].contains(&name)
}

impl TryFrom<String> for TopicName {
    type Error = TopicNameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl From<TopicName> for String {
    fn from(name: TopicName) -> Self {
        name.as_str().to_owned()
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{TopicName, TopicNameError};

    #[test]
    fn a_name_that_could_leave_its_folder_is_refused() {
        assert_eq!(TopicName::new(".."), Err(TopicNameError::Dots));
        assert_eq!(TopicName::new("a/b"), Err(TopicNameError::Character('/')));
        assert_eq!(TopicName::new("a\0"), Err(TopicNameError::Character('\0')));
        assert_eq!(TopicName::new(""), Err(TopicNameError::Empty));
        assert_eq!(TopicName::new(&"x".repeat(250)), Err(TopicNameError::TooLong(250)));
    }

    #[test]
    fn the_longest_name_and_every_allowed_kind_of_character_pass() {
        assert!(TopicName::new(&"x".repeat(249)).is_ok());
        assert!(TopicName::new("Az09._-").is_ok());
    }
}
