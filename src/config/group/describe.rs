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
    let synonym = |name, value: &str, source| ConfigSynonym { name, value: value.to_owned(), source };
    let mut synonyms = Vec::with_capacity(3);
    if let Some(value) = overrides.get(key.name) {
        synonyms.push(synonym(key.name, value, ConfigSource::Group));
    }
    if let Some(value) = of_node(key.name, settings).filter(|value| value != key.default) {
        synonyms.push(synonym(key.of_broker(), &value, ConfigSource::Node));
    }
    let of_default = synonym(key.of_broker(), key.default, ConfigSource::Default);
    let in_force = synonyms.first().unwrap_or(&of_default).clone();
    synonyms.push(of_default);
    ConfigEntry {
        name: key.name,
        value: in_force.value,
        source: in_force.source,
        read_only: false,
        sensitive: false,
        kind: key.kind,
        documentation: key.doc,
        synonyms,
    }
}

fn of_node(key: &str, settings: &ConsumerGroupSettings) -> Option<String> {
    let millis = |span: Duration| Some(span.as_millis().to_string());
    match key {
        name::CONSUMER_HEARTBEAT_INTERVAL_MS => millis(settings.heartbeat_interval.default),
        name::CONSUMER_SESSION_TIMEOUT_MS => millis(settings.session_timeout.default),
        _ => None,
    }
}
