//! `IncrementalAlterConfigs` (KIP-339): one change after the other, all or none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    check::{check_value, key, words},
    error::TopicConfigError,
    table::{ConfigKind, TopicKey},
};

/// What is done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlterOp {
    /// Gives it a value.
    Set,
    /// Takes the topic's own value away.
    Delete,
    /// Adds words to a list.
    Append,
    /// Takes words out of a list.
    Subtract,
}

impl AlterOp {
    /// The operation as requests number it; `None` for a number that Kafka does not have.
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// The key.
    pub key: String,
    /// What is done.
    pub op: AlterOp,
    /// The value, or the words of a list; not needed to delete.
    pub value: Option<String>,
}

impl ConfigChange {
    /// A change that gives `key` a value.
    pub fn set(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), op: AlterOp::Set, value: Some(value.to_owned()) }
    }

    /// A change that takes the topic's own value of `key` away.
    pub fn delete(key: &str) -> Self {
        Self { key: key.to_owned(), op: AlterOp::Delete, value: None }
    }
}

/// The overrides after all of `changes`, or the first refusal. Lists that are not overridden begin
/// with what `inherited` says (the node's default).
pub fn alter(
    overrides: &BTreeMap<String, String>,
    inherited: &BTreeMap<String, String>,
    changes: &[ConfigChange],
) -> Result<BTreeMap<String, String>, TopicConfigError> {
    alter_with(overrides, inherited, changes, |name| key(name).copied())
}

/// The same for configs that `find` finds.
pub(in crate::config) fn alter_with<E: From<TopicConfigError>>(
    overrides: &BTreeMap<String, String>,
    inherited: &BTreeMap<String, String>,
    changes: &[ConfigChange],
    find: impl Fn(&str) -> Result<TopicKey, E>,
) -> Result<BTreeMap<String, String>, E> {
    let mut after = overrides.clone();
    for (at, change) in changes.iter().enumerate() {
        if changes.iter().take(at).any(|earlier| earlier.key == change.key) {
            return Err(TopicConfigError::Twice { key: change.key.clone() }.into());
        }
        apply(&mut after, inherited, change, &find(&change.key)?)?;
    }
    Ok(after)
}

fn apply(
    overrides: &mut BTreeMap<String, String>,
    inherited: &BTreeMap<String, String>,
    change: &ConfigChange,
    entry: &TopicKey,
) -> Result<(), TopicConfigError> {
    if change.op == AlterOp::Delete {
        overrides.remove(entry.name);
        return Ok(());
    }
    let given =
        change.value.as_deref().ok_or_else(|| TopicConfigError::NoValue { key: change.key.clone() })?;
    let is_list = entry.kind == ConfigKind::List;
    if change.op != AlterOp::Set && !is_list {
        return Err(TopicConfigError::NotAList { key: entry.name });
    }
    let before =
        overrides.get(entry.name).or_else(|| inherited.get(entry.name)).map_or(entry.default, String::as_str);
    let after = match change.op {
        AlterOp::Append => words(before).chain(words(given)).collect::<Vec<_>>().join(","),
        AlterOp::Subtract => without(before, given),
        AlterOp::Set | AlterOp::Delete => given.to_owned(),
    };
    overrides.insert(entry.name.to_owned(), check_value(entry, &after)?);
    Ok(())
}

fn without(list: &str, taken: &str) -> String {
    words(list).filter(|word| !words(taken).any(|out| out == *word)).collect::<Vec<_>>().join(",")
}
