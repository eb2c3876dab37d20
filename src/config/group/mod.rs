//! Group configs: Kafka's keys in one table, and the typed form that coordinators work with.
//!
//! A group keeps only its overrides, as text; it need not exist for that. What it does not override comes from
//! the node's settings, which also say how far it may go. Those may change from one start of the node to the
//! next, so what is kept is brought within them when it is read.

mod describe;
mod error;
mod table;

use std::{collections::BTreeMap, time::Duration};

pub use describe::describe;
pub use error::GroupConfigError;
pub use table::{TABLE, name};

use super::{
    node::{BoundedSpan, ConsumerGroupSettings},
    topic::{ConfigChange, TopicKey, alter_with, check_value},
};

/// Who assigns in a group of the classic protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClassicAssignor {
    /// The leading member, as in Kafka.
    #[default]
    Leader,
    /// The coordinator: at most one partition to each member.
    Exclusive,
}

/// All configs of one group, valid. [`TABLE`] says what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `assignor`.
    pub assignor: ClassicAssignor,
    /// `consumer.heartbeat.interval.ms`.
    pub consumer_heartbeat_interval: Duration,
    /// `consumer.session.timeout.ms`.
    pub consumer_session_timeout: Duration,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self::resolve(&ConsumerGroupSettings::default(), &BTreeMap::new())
    }
}

impl GroupConfig {
    /// The config of a group with these overrides on a node with these settings.
    pub fn resolve(settings: &ConsumerGroupSettings, overrides: &BTreeMap<String, String>) -> Self {
        let span = |name, bounds: BoundedSpan| {
            let own = millis(overrides, name).unwrap_or(bounds.default);
            own.clamp(bounds.min, bounds.max)
        };
        Self {
            assignor: match overrides.get(name::ASSIGNOR).map(String::as_str) {
                Some("exclusive") => ClassicAssignor::Exclusive,
                Some(_) | None => ClassicAssignor::Leader,
            },
            consumer_heartbeat_interval: span(
                name::CONSUMER_HEARTBEAT_INTERVAL_MS,
                settings.heartbeat_interval,
            ),
            consumer_session_timeout: span(name::CONSUMER_SESSION_TIMEOUT_MS, settings.session_timeout),
        }
    }
}

/// The overrides after all of `changes`, or the first refusal.
pub fn alter(
    settings: &ConsumerGroupSettings,
    overrides: &BTreeMap<String, String>,
    changes: &[ConfigChange],
) -> Result<BTreeMap<String, String>, GroupConfigError> {
    let after = alter_with(overrides, &BTreeMap::new(), changes, key)?;
    check_together(settings, &after)?;
    Ok(after)
}

/// The same keys with each value checked and written as it is to be kept.
pub fn checked(
    settings: &ConsumerGroupSettings,
    values: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, GroupConfigError> {
    let checked = values.iter().map(|(name, value)| Ok((name.clone(), check_value(&key(name)?, value)?)));
    let checked = checked.collect::<Result<_, GroupConfigError>>()?;
    check_together(settings, &checked)?;
    Ok(checked)
}

fn key(name: &str) -> Result<TopicKey, GroupConfigError> {
    if let Some(key) = TABLE.iter().find(|key| key.name == name) {
        return Ok(*key);
    }
    let unserved = table::UNSERVED.iter().find(|(_, keys)| keys.contains(&name));
    Err(match unserved {
        Some((kind, _)) => GroupConfigError::Unserved { key: name.to_owned(), kind },
        None => GroupConfigError::UnknownKey { key: name.to_owned() },
    })
}

/// What no value can be checked for alone: the node's bounds, and that they fit each other.
fn check_together(
    settings: &ConsumerGroupSettings,
    values: &BTreeMap<String, String>,
) -> Result<(), GroupConfigError> {
    let spans = [
        (
            name::CONSUMER_HEARTBEAT_INTERVAL_MS,
            settings.heartbeat_interval,
            "group.consumer.min.heartbeat.interval.ms",
            "group.consumer.max.heartbeat.interval.ms",
        ),
        (
            name::CONSUMER_SESSION_TIMEOUT_MS,
            settings.session_timeout,
            "group.consumer.min.session.timeout.ms",
            "group.consumer.max.session.timeout.ms",
        ),
    ];
    for (key, bounds, shortest, longest) in spans {
        let Some(value) = millis(values, key) else { continue };
        if value < bounds.min {
            let (than, bound) = ("greater than or equal to", shortest);
            return Err(GroupConfigError::Bound { key, than, bound, millis: bounds.min.as_millis() });
        }
        if value > bounds.max {
            let (than, bound) = ("less than or equal to", longest);
            return Err(GroupConfigError::Bound { key, than, bound, millis: bounds.max.as_millis() });
        }
    }
    let config = GroupConfig::resolve(settings, values);
    if config.consumer_session_timeout <= config.consumer_heartbeat_interval {
        return Err(GroupConfigError::Bound {
            key: name::CONSUMER_SESSION_TIMEOUT_MS,
            than: "greater than",
            bound: name::CONSUMER_HEARTBEAT_INTERVAL_MS,
            millis: config.consumer_heartbeat_interval.as_millis(),
        });
    }
    Ok(())
}

fn millis(values: &BTreeMap<String, String>, name: &str) -> Option<Duration> {
    values.get(name)?.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests;
