//! What `DescribeConfigs` tells of a broker: Kafka's names for settings that have one.
//!
//! All of it is read-only: a node's settings are read when it starts.

use super::{HostPort, KAFKA, KafkaListener, NodeConfig};
use crate::config::topic::{ConfigEntry, ConfigKind, ConfigSource, ConfigSynonym};

/// Where a setting stands that is not a topic's default.
struct Setting {
    name: &'static str,
    kind: ConfigKind,
    doc: &'static str,
    value: fn(&NodeConfig) -> String,
    default: &'static str,
}

const SETTINGS: &[Setting] = &[
    Setting {
        name: "advertised.listeners",
        kind: ConfigKind::String,
        doc: "What clients are told to connect to. Setting: kafka-advertise.",
        value: |config| listed(config, |listener| &listener.advertise),
        default: "PLAINTEXT://127.0.0.1:9092",
    },
    Setting {
        name: "auto.create.topics.enable",
        kind: ConfigKind::Boolean,
        doc: "Whether asking for a topic's metadata may create it. Setting: auto-create-topics.",
        value: |config| config.auto_create_topics.to_string(),
        default: "true",
    },
    Setting {
        name: "broker.id",
        kind: ConfigKind::Int,
        doc: "This broker's id. Setting: node-id.",
        value: |config| config.node_id.to_string(),
        default: "1",
    },
    Setting {
        name: "connections.max.idle.ms",
        kind: ConfigKind::Long,
        doc: "Milliseconds without a request after which a connection is closed. Setting: \
              limits.idle-timeout.",
        value: |config| config.limits.idle_timeout.as_millis().to_string(),
        default: "600000",
    },
    Setting {
        name: "default.replication.factor",
        kind: ConfigKind::Int,
        doc: "Replicas of a topic that is created without a number.",
        value: |_| "1".to_owned(),
        default: "1",
    },
    Setting {
        name: "listeners",
        kind: ConfigKind::String,
        doc: "Where clients are listened for. Setting: kafka-listen.",
        value: |config| listed(config, |listener| &listener.listen),
        default: "PLAINTEXT://127.0.0.1:9092",
    },
    Setting {
        name: "log.dirs",
        kind: ConfigKind::String,
        doc: "The folder of everything that is kept. Setting: data-dir.",
        value: |config| config.data_dir.display().to_string(),
        default: "./polylogue-data",
    },
    Setting {
        name: "log.retention.check.interval.ms",
        kind: ConfigKind::Long,
        doc: "Milliseconds between two looks for what retention gives up. Setting: \
              storage.retention-check-interval.",
        value: |config| config.storage.retention_check_interval.as_millis().to_string(),
        default: "300000",
    },
    Setting {
        name: "max.connections",
        kind: ConfigKind::Int,
        doc: "Connections open at once. Setting: limits.connections.",
        value: |config| config.limits.connections.to_string(),
        default: "10000",
    },
    Setting {
        name: "max.connections.per.ip",
        kind: ConfigKind::Int,
        doc: "Connections open at once from one address. Setting: limits.connections-per-address.",
        value: |config| config.limits.connections_per_address.to_string(),
        default: "2000",
    },
    Setting {
        name: "num.partitions",
        kind: ConfigKind::Int,
        doc: "Partitions of a topic that is created without a number. Setting: default-partitions.",
        value: |config| config.default_partitions.to_string(),
        default: "4",
    },
    Setting {
        name: "queued.max.request.bytes",
        kind: ConfigKind::Long,
        doc: "Bytes of requests that have arrived and are not answered. Setting: limits.in-flight-bytes.",
        value: |config| config.limits.in_flight_bytes.to_string(),
        default: "268435456",
    },
    Setting {
        name: "socket.request.max.bytes",
        kind: ConfigKind::Int,
        doc: "Bytes of the largest request. Setting: limits.request-bytes.",
        value: |config| config.limits.request_bytes.to_string(),
        default: "104857600",
    },
];

/// As Kafka writes them; the first has the name that Kafka gives to a broker's only one.
fn listed(config: &NodeConfig, address: impl Fn(&KafkaListener) -> &HostPort) -> String {
    let all = config.kafka_listeners();
    let written = all.iter().map(|listener| {
        let name = if listener.name == KAFKA { "PLAINTEXT" } else { &listener.name.to_ascii_uppercase() };
        format!("{name}://{}", address(listener))
    });
    written.collect::<Vec<_>>().join(",")
}

impl NodeConfig {
    /// The broker's configs, ordered by name: its own, and the defaults that it sets for topics.
    pub fn describe(&self) -> Vec<ConfigEntry> {
        let mut entries: Vec<ConfigEntry> = SETTINGS.iter().map(|setting| self.entry(setting)).collect();
        entries.extend(self.topic_defaults.describe_for_broker());
        entries.sort_by_key(|entry| entry.name);
        entries
    }

    fn entry(&self, setting: &Setting) -> ConfigEntry {
        let value = (setting.value)(self);
        let of_default = ConfigSynonym {
            name: setting.name,
            value: setting.default.to_owned(),
            source: ConfigSource::Default,
        };
        let mut synonyms = vec![of_default];
        let source = if value == setting.default { ConfigSource::Default } else { ConfigSource::Node };
        if source == ConfigSource::Node {
            synonyms.insert(0, ConfigSynonym { name: setting.name, value: value.clone(), source });
        }
        ConfigEntry {
            name: setting.name,
            value,
            source,
            read_only: true,
            sensitive: false,
            kind: setting.kind,
            documentation: setting.doc,
            synonyms,
        }
    }
}
