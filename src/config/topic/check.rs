//! Checks one value against its entry in the table.

use super::{
    delivery,
    error::TopicConfigError,
    table::{self, ConfigKind, Rule, TopicKey},
};
use crate::model::TopicName;

/// Finds the key and checks the value; what comes back is the value as it is to be kept.
pub fn check(name: &str, value: &str) -> Result<String, TopicConfigError> {
    check_value(key(name)?, value)
}

/// The same where the entry is at hand: a topic's, or one of the same kind under a broker's name.
pub(in crate::config) fn check_value(key: &TopicKey, value: &str) -> Result<String, TopicConfigError> {
    let value = value.trim();
    match key.kind {
        ConfigKind::List => check_list(key, value),
        ConfigKind::Boolean => check_word(key, value.to_ascii_lowercase()),
        ConfigKind::String | ConfigKind::Int | ConfigKind::Long | ConfigKind::Double => {
            check_word(key, value.to_owned())
        }
    }
}

/// The entry of a key, or a refusal that names it.
pub fn key(name: &str) -> Result<&'static TopicKey, TopicConfigError> {
    table::find(name).ok_or_else(|| TopicConfigError::UnknownKey { key: name.to_owned() })
}

/// The words of a list; an empty text has none.
pub(super) fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn check_list(key: &TopicKey, value: &str) -> Result<String, TopicConfigError> {
    let mut kept: Vec<String> = Vec::new();
    for word in words(value) {
        let word = check_word(key, word.to_owned())?;
        if !kept.contains(&word) {
            kept.push(word);
        }
    }
    if kept.is_empty() {
        return Err(invalid(key, value));
    }
    Ok(kept.join(","))
}

fn check_word(key: &TopicKey, value: String) -> Result<String, TopicConfigError> {
    match key.rule {
        Rule::Range { min, max } => match value.parse::<i64>() {
            // Written again, so that "+5" and "005" are kept as 5.
            Ok(number) if (min..=max).contains(&number) => Ok(number.to_string()),
            Ok(_) | Err(_) => Err(invalid(key, &value)),
        },
        Rule::Share => match value.parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(share.to_string()),
            Ok(_) | Err(_) => Err(invalid(key, &value)),
        },
        Rule::OneOf(words) if words.contains(&value.as_str()) => Ok(value),
        Rule::Only { served, .. } if served.contains(&value.as_str()) => Ok(value),
        Rule::Only { unserved, why, .. } if unserved.contains(&value.as_str()) => {
            Err(TopicConfigError::Unsupported { key: key.name, value, why })
        }
        Rule::TopicOrNone if value.is_empty() || TopicName::new(&value).is_ok() => Ok(value),
        Rule::PerPartition => match delivery::per_partition(&value) {
            Some(numbers) => Ok(delivery::written(&numbers)),
            None => Err(invalid(key, &value)),
        },
        Rule::OneOf(_) | Rule::Only { .. } | Rule::TopicOrNone => Err(invalid(key, &value)),
    }
}

fn invalid(key: &TopicKey, value: &str) -> TopicConfigError {
    let expected = match key.rule {
        Rule::Range { min, max } => format!("a whole number from {min} to {max}"),
        Rule::Share => "a number from 0 to 1".to_owned(),
        Rule::OneOf(words) | Rule::Only { served: words, .. } => one_of(words),
        Rule::TopicOrNone => "a topic's name, or empty".to_owned(),
        Rule::PerPartition => "partition:number, each partition once, separated by commas".to_owned(),
    };
    TopicConfigError::Invalid { key: key.name, value: value.to_owned(), expected }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    quoted.join(" or ")
}
