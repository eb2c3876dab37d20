//! What `DescribeConfigs` tells of a group, whether there is one of that name or not.

use std::{collections::BTreeMap, time::Duration};

use super::table::{TABLE, name};
use crate::config::{
    node::ConsumerGroupSettings,
    topic::{ConfigEntry, ConfigSource, ConfigSynonym, TopicKey},
};

/// All configs of a group with these overrides, ordered by name.
pub fn describe(settings: &ConsumerGroupSettings, overrides: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
    TABLE.iter().map(|key| entry(key, settings, overrides)).collect()
}

fn entry(
    key: &'static TopicKey,
    settings: &ConsumerGroupSettings,
    overrides: &BTreeMap<String, String>,
) -> ConfigEntry {
    let own = overrides.get(key.name).cloned();
    let own = own.map(|value| ConfigSynonym { name: key.name, value, source: ConfigSource::Group });
    let of_node = of_node(key.name, settings).filter(|value| value != key.default);
    let of_node =
        of_node.map(|value| ConfigSynonym { name: key.of_broker(), value, source: ConfigSource::Node });
    key.entry(own.into_iter().chain(of_node))
}

fn of_node(key: &str, settings: &ConsumerGroupSettings) -> Option<String> {
    let millis = |span: Duration| Some(span.as_millis().to_string());
    match key {
        name::CONSUMER_HEARTBEAT_INTERVAL_MS => millis(settings.heartbeat_interval.default),
        name::CONSUMER_SESSION_TIMEOUT_MS => millis(settings.session_timeout.default),
        _ => None,
    }
}
