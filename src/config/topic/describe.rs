//! What `DescribeConfigs` tells of a topic (KIP-133, KIP-226, KIP-569).

use std::collections::BTreeMap;

use super::{
    TopicDefaults,
    table::{ConfigKind, TABLE, TopicKey},
};

/// Who set a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// The topic itself.
    Topic,
    /// An administrator, for this broker while it runs.
    Broker,
    /// An administrator, for all brokers while they run.
    AllBrokers,
    /// The node's settings.
    Node,
    /// The table.
    Default,
    /// An administrator or the log filter, for a target's log lines.
    Logger,
    /// The group itself.
    Group,
}

impl ConfigSource {
    /// The number in `DescribeConfigs` answers: `DYNAMIC_TOPIC_CONFIG`, `DYNAMIC_BROKER_CONFIG`,
    /// `DYNAMIC_DEFAULT_BROKER_CONFIG`, `STATIC_BROKER_CONFIG`, `DEFAULT_CONFIG`,
    /// `DYNAMIC_BROKER_LOGGER_CONFIG`, `DYNAMIC_GROUP_CONFIG`.
    pub const fn code(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::Broker => 2,
            Self::AllBrokers => 3,
            Self::Node => 4,
            Self::Default => 5,
            Self::Logger => 6,
            Self::Group => 8,
        }
    }
}

/// A place that has a value for the key, the one in force first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The key's name there.
    pub name: &'static str,
    /// Its value there.
    pub value: String,
    /// The place.
    pub source: ConfigSource,
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: &'static str,
    /// The value in force.
    pub value: String,
    /// Who set it; [`ConfigSource::Default`] is what older versions call `is_default`.
    pub source: ConfigSource,
    /// Whether clients cannot change it.
    pub read_only: bool,
    /// Whether its value is a secret.
    pub sensitive: bool,
    /// How its values are written.
    pub kind: ConfigKind,
    /// What it does.
    pub documentation: &'static str,
    /// Every place that has a value, the one in force first.
    pub synonyms: Vec<ConfigSynonym>,
}

impl TopicDefaults {
    /// All configs of a topic with these overrides, ordered by name.
    pub fn describe(&self, overrides: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
        TABLE.iter().map(|key| self.entry(key, overrides)).collect()
    }

    /// The same as a broker's configs: what its topics inherit, under the names that brokers have.
    pub fn describe_for_broker(&self) -> Vec<ConfigEntry> {
        let none = BTreeMap::new();
        let of_broker = |key| ConfigEntry { name: TopicKey::of_broker(key), ..self.entry(key, &none) };
        TABLE.iter().map(of_broker).collect()
    }

    fn entry(&self, key: &'static TopicKey, overrides: &BTreeMap<String, String>) -> ConfigEntry {
        let own = overrides.get(key.name).cloned();
        let own = own.map(|value| ConfigSynonym { name: key.name, value, source: ConfigSource::Topic });
        let inherited = self.layers().into_iter().filter_map(|(source, values)| {
            let value = values.get(key.name)?.clone();
            Some(ConfigSynonym { name: key.of_broker(), value, source })
        });
        key.entry(own.into_iter().chain(inherited))
    }
}

impl TopicKey {
    /// The line of a key that is set in these places, the one in force first, and has its default behind them.
    pub(in crate::config) fn entry(&self, set: impl Iterator<Item = ConfigSynonym>) -> ConfigEntry {
        let (name, value) = (self.of_broker(), self.default.to_owned());
        let of_default = ConfigSynonym { name, value, source: ConfigSource::Default };
        let mut synonyms: Vec<_> = set.collect();
        let in_force = synonyms.first().unwrap_or(&of_default).clone();
        synonyms.push(of_default);
        ConfigEntry {
            name: self.name,
            value: in_force.value,
            source: in_force.source,
            read_only: false,
            sensitive: false,
            kind: self.kind,
            documentation: self.doc,
            synonyms,
        }
    }
}
