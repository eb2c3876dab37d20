//! What holds, and who said so.

use std::path::Path;

use super::{
    NodeConfig, NodeConfigError, NodeFlags, Surroundings, listeners,
    sources::Settings,
    table::{SETTINGS, SettingValue},
};
use crate::config::topic;

/// One setting as it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Its full name.
    pub key: String,
    /// Its value; `None` where there is none.
    pub value: Option<SettingValue>,
    /// Where the value came from: `default`, or the file, variable or flag by name.
    pub origin: String,
    /// Which values it takes, in words.
    pub takes: &'static str,
    /// What holds where nobody sets it, in words.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
}

impl InForce {
    /// Whether somebody set it.
    pub fn is_given(&self) -> bool {
        self.origin != "default"
    }
}

impl NodeConfig {
    /// Gathers and checks as [`NodeConfig::load`] does, and tells of every setting where it came from.
    pub fn in_force(
        flags: &NodeFlags,
        file: Option<&Path>,
        around: &Surroundings,
    ) -> Result<(Self, Vec<InForce>), NodeConfigError> {
        let (config, given) = super::load_with_origins(flags, file, around)?;
        let mut shown: Vec<InForce> = SETTINGS
            .iter()
            .map(|setting| InForce {
                key: setting.key.to_owned(),
                value: (setting.value)(&config),
                origin: given.origin(setting.key),
                takes: setting.takes,
                default: setting.default,
                doc: setting.doc,
            })
            .collect();
        shown.extend(config.listeners.iter().flat_map(|listener| of_listener(&given, listener)));
        shown.extend(of_topics(&given, &config));
        Ok((config, shown))
    }
}

fn of_listener(given: &Settings, listener: &listeners::KafkaListener) -> Vec<InForce> {
    let text = |value: &super::HostPort| SettingValue::Text(value.to_string());
    let number = |value: u32| SettingValue::Number(value.into());
    let entry = |field, value, takes, default, doc| {
        let key = listeners::key_of(&listener.name, field);
        InForce { origin: given.origin(&key), key, value: Some(value), takes, default, doc }
    };
    let (total, each) = (number(listener.connections), number(listener.connections_per_address));
    vec![
        entry("listen", text(&listener.listen), "host:port", "none", "for clients"),
        entry(
            "advertise",
            text(&listener.advertise),
            "host:port",
            "where it listens",
            "what its clients are told",
        ),
        entry("connections", total, "1 to 1000000", "limits.connections", "open at once"),
        entry(
            "connections-per-address",
            each,
            "1 to 1000000",
            "limits.connections-per-address",
            "open at once from one address",
        ),
    ]
}

fn of_topics(given: &Settings, config: &NodeConfig) -> Vec<InForce> {
    let values = config.topic_defaults.values();
    let entry = |key: &'static topic::TopicKey| {
        let full = format!("{}{}", super::raw::TOPIC_DEFAULTS, key.name);
        let value = values.get(key.name).map_or(key.default, String::as_str);
        InForce {
            origin: given.origin(&full),
            key: full,
            value: Some(SettingValue::Text(value.to_owned())),
            takes: "as the topic config",
            default: key.default,
            doc: key.doc,
        }
    };
    topic::TABLE.iter().map(entry).collect()
}
