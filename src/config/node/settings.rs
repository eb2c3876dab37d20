//! The settings that Kafka has a name for, and what `DescribeConfigs` tells of a broker by them.

use super::{HostPort, KAFKA, KafkaListener, NodeConfig};
use crate::config::{
    broker::DynamicConfigs,
    topic::{ConfigEntry, ConfigKind, ConfigSource, ConfigSynonym, Rule},
};

/// How a setting changes.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) enum Change {
    /// While the node runs, to what the rule allows.
    Running(Rule),
    /// Not while it runs; what to do instead, as the end of a sentence.
    Never(&'static str),
}

/// A setting that is not a topic's default.
pub(in crate::config) struct Setting {
    /// Kafka's name.
    pub(in crate::config) name: &'static str,
    /// Whether it can be changed while the node runs.
    pub(in crate::config) change: Change,
    /// How its values are written.
    pub(in crate::config) kind: ConfigKind,
    /// What it does, and our name for it.
    pub(in crate::config) doc: &'static str,
    value: fn(&NodeConfig) -> String,
    /// The value where nobody sets one.
    pub(in crate::config) default: &'static str,
}

/// What `limits.connections` and `limits.connections-per-address` allow.
const CONNECTIONS: Rule = Rule::Range { min: 1, max: 1_000_000 };

/// Every setting that Kafka has a name for and that is no topic's default, ordered by that name.
pub(in crate::config) const SETTINGS: &[Setting] = &[
    Setting {
        name: "advertised.listeners",
        change: Change::Never("set kafka-advertise and start it again"),
        kind: ConfigKind::String,
        doc: "What clients are told to connect to. Setting: kafka-advertise.",
        value: |config| listed(config, |listener| &listener.advertise),
        default: "PLAINTEXT://127.0.0.1:9092",
    },
    Setting {
        name: "auto.create.topics.enable",
        change: Change::Never("set auto-create-topics and start it again"),
        kind: ConfigKind::Boolean,
        doc: "Whether asking for a topic's metadata may create it. Setting: auto-create-topics.",
        value: |config| config.auto_create_topics.to_string(),
        default: "true",
    },
    Setting {
        name: "broker.id",
        change: Change::Never("node-id belongs to its data folder"),
        kind: ConfigKind::Int,
        doc: "This broker's id. Setting: node-id.",
        value: |config| config.node_id.to_string(),
        default: "1",
    },
    Setting {
        name: "broker.rack",
        change: Change::Never("set rack and start it again"),
        kind: ConfigKind::String,
        doc: "What this broker shares power, network or a building with. Setting: rack.",
        value: |config| config.rack.clone().unwrap_or_default(),
        default: "",
    },
    Setting {
        name: "connections.max.idle.ms",
        change: Change::Never("set limits.idle-timeout and start it again"),
        kind: ConfigKind::Long,
        doc: "Milliseconds without a request after which a connection is closed. Setting: \
              limits.idle-timeout.",
        value: |config| config.limits.idle_timeout.as_millis().to_string(),
        default: "600000",
    },
    Setting {
        name: "default.replication.factor",
        change: Change::Never("set default-replication-factor and start it again"),
        kind: ConfigKind::Int,
        doc: "Replicas of a topic that is created without a number, or as many as there are brokers where that is \
              less and nobody has set it. Setting: default-replication-factor.",
        value: |config| config.default_replication_factor.unwrap_or(3).to_string(),
        default: "3",
    },
    Setting {
        name: "delete.topic.enable",
        change: Change::Never("topics can always be deleted"),
        kind: ConfigKind::Boolean,
        doc: "Whether topics can be deleted.",
        value: |_| "true".to_owned(),
        default: "true",
    },
    Setting {
        name: "group.consumer.assignors",
        change: Change::Never("set groups.consumer-assignors and start it again"),
        kind: ConfigKind::List,
        doc: "What members of the server-side protocol may name as their assignor; the first is the default. Setting: groups.consumer-assignors.",
        value: |config| config.groups.consumer.assignors.join(","),
        default: "uniform,range,exclusive",
    },
    Setting {
        name: "group.consumer.heartbeat.interval.ms",
        change: Change::Never("set groups.consumer-heartbeat-interval and start it again"),
        kind: ConfigKind::Int,
        doc: "Milliseconds from one heartbeat of a member of the server-side protocol to the next. Setting: groups.consumer-heartbeat-interval.",
        value: |config| config.groups.consumer.heartbeat_interval.default.as_millis().to_string(),
        default: "5000",
    },
    Setting {
        name: "group.consumer.max.heartbeat.interval.ms",
        change: Change::Never("set groups.consumer-max-heartbeat-interval and start it again"),
        kind: ConfigKind::Int,
        doc: "The longest consumer.heartbeat.interval.ms that a group may set. Setting: groups.consumer-max-heartbeat-interval.",
        value: |config| config.groups.consumer.heartbeat_interval.max.as_millis().to_string(),
        default: "15000",
    },
    Setting {
        name: "group.consumer.max.session.timeout.ms",
        change: Change::Never("set groups.consumer-max-session-timeout and start it again"),
        kind: ConfigKind::Int,
        doc: "The longest consumer.session.timeout.ms that a group may set. Setting: groups.consumer-max-session-timeout.",
        value: |config| config.groups.consumer.session_timeout.max.as_millis().to_string(),
        default: "60000",
    },
    Setting {
        name: "group.consumer.max.size",
        change: Change::Never("set groups.consumer-max-size and start it again"),
        kind: ConfigKind::Int,
        doc: "Members of one group of the server-side protocol. Setting: groups.consumer-max-size.",
        value: |config| config.groups.consumer.max_size.to_string(),
        default: "100000",
    },
    Setting {
        name: "group.consumer.min.heartbeat.interval.ms",
        change: Change::Never("set groups.consumer-min-heartbeat-interval and start it again"),
        kind: ConfigKind::Int,
        doc: "The shortest consumer.heartbeat.interval.ms that a group may set. Setting: groups.consumer-min-heartbeat-interval.",
        value: |config| config.groups.consumer.heartbeat_interval.min.as_millis().to_string(),
        default: "1000",
    },
    Setting {
        name: "group.consumer.min.session.timeout.ms",
        change: Change::Never("set groups.consumer-min-session-timeout and start it again"),
        kind: ConfigKind::Int,
        doc: "The shortest consumer.session.timeout.ms that a group may set. Setting: groups.consumer-min-session-timeout.",
        value: |config| config.groups.consumer.session_timeout.min.as_millis().to_string(),
        default: "6000",
    },
    Setting {
        name: "group.consumer.session.timeout.ms",
        change: Change::Never("set groups.consumer-session-timeout and start it again"),
        kind: ConfigKind::Int,
        doc: "Milliseconds after which a member of the server-side protocol that was not heard of is given up. Setting: groups.consumer-session-timeout.",
        value: |config| config.groups.consumer.session_timeout.default.as_millis().to_string(),
        default: "15000",
    },
    Setting {
        name: "group.initial.rebalance.delay.ms",
        change: Change::Never("set groups.initial-rebalance-delay and start it again"),
        kind: ConfigKind::Int,
        doc: "Milliseconds that the first member of a group waits for others. Setting: groups.initial-rebalance-delay.",
        value: |config| config.groups.initial_rebalance_delay.as_millis().to_string(),
        default: "300",
    },
    Setting {
        name: "group.max.session.timeout.ms",
        change: Change::Never("set groups.max-session-timeout and start it again"),
        kind: ConfigKind::Int,
        doc: "The longest session time-out of a member. Setting: groups.max-session-timeout.",
        value: |config| config.groups.max_session_timeout.as_millis().to_string(),
        default: "1800000",
    },
    Setting {
        name: "group.max.size",
        change: Change::Never("set groups.max-size and start it again"),
        kind: ConfigKind::Int,
        doc: "Members of one group. Setting: groups.max-size.",
        value: |config| config.groups.max_size.to_string(),
        default: "100000",
    },
    Setting {
        name: "group.min.session.timeout.ms",
        change: Change::Never("set groups.min-session-timeout and start it again"),
        kind: ConfigKind::Int,
        doc: "The shortest session time-out of a member. Setting: groups.min-session-timeout.",
        value: |config| config.groups.min_session_timeout.as_millis().to_string(),
        default: "6000",
    },
    Setting {
        name: "listeners",
        change: Change::Never("set kafka-listen and start it again"),
        kind: ConfigKind::String,
        doc: "Where clients are listened for. Setting: kafka-listen.",
        value: |config| listed(config, |listener| &listener.listen),
        default: "PLAINTEXT://127.0.0.1:9092",
    },
    Setting {
        name: "log.dirs",
        change: Change::Never("set data-dir and start it again"),
        kind: ConfigKind::String,
        doc: "The folder of everything that is kept. Setting: data-dir.",
        value: |config| config.data_dir.display().to_string(),
        default: "./polylogue-data",
    },
    Setting {
        name: "log.retention.check.interval.ms",
        change: Change::Never("set storage.retention-check-interval and start it again"),
        kind: ConfigKind::Long,
        doc: "Milliseconds between two looks for what retention gives up. Setting: \
              storage.retention-check-interval.",
        value: |config| config.storage.retention_check_interval.as_millis().to_string(),
        default: "300000",
    },
    Setting {
        name: "max.connections",
        change: Change::Running(CONNECTIONS),
        kind: ConfigKind::Int,
        doc: "Connections open at once. Setting: limits.connections.",
        value: |config| config.limits.connections.to_string(),
        default: "10000",
    },
    Setting {
        name: "max.connections.per.ip",
        change: Change::Running(CONNECTIONS),
        kind: ConfigKind::Int,
        doc: "Connections open at once from one address. Setting: limits.connections-per-address.",
        value: |config| config.limits.connections_per_address.to_string(),
        default: "2000",
    },
    Setting {
        name: "node.id",
        change: Change::Never("node-id belongs to its data folder"),
        kind: ConfigKind::Int,
        doc: "This broker's id. Setting: node-id.",
        value: |config| config.node_id.to_string(),
        default: "1",
    },
    Setting {
        name: "num.partitions",
        change: Change::Never("set default-partitions and start it again"),
        kind: ConfigKind::Int,
        doc: "Partitions of a topic that is created without a number. Setting: default-partitions.",
        value: |config| config.default_partitions.to_string(),
        default: "4",
    },
    Setting {
        name: "offset.metadata.max.bytes",
        change: Change::Never("set groups.offset-metadata-max-bytes and start it again"),
        kind: ConfigKind::Int,
        doc: "Bytes that a client may keep with an offset. Setting: groups.offset-metadata-max-bytes.",
        value: |config| config.groups.offset_metadata_max_bytes.to_string(),
        default: "4096",
    },
    Setting {
        name: "offsets.retention.minutes",
        change: Change::Never("set groups.offsets-retention and start it again"),
        kind: ConfigKind::Int,
        doc: "Minutes that the offsets of an empty group are kept. Setting: groups.offsets-retention.",
        value: |config| (config.groups.offsets_retention.as_secs() / 60).to_string(),
        default: "10080",
    },
    Setting {
        name: "offsets.topic.num.partitions",
        change: Change::Never("set groups.offsets-partitions and start it again"),
        kind: ConfigKind::Int,
        doc: "Partitions of __consumer_offsets when it is made. Setting: groups.offsets-partitions.",
        value: |config| config.groups.offsets_partitions.to_string(),
        default: "16",
    },
    Setting {
        name: "offsets.topic.replication.factor",
        change: Change::Never("set groups.offsets-replication-factor and start it again"),
        kind: ConfigKind::Int,
        doc: "Replicas of __consumer_offsets when it is made, up to the brokers there are then. Setting: groups.offsets-replication-factor.",
        value: |config| config.groups.offsets_replication_factor.to_string(),
        default: "3",
    },
    Setting {
        name: "queued.max.request.bytes",
        change: Change::Never("set limits.in-flight-bytes and start it again"),
        kind: ConfigKind::Long,
        doc: "Bytes of requests that have arrived and are not answered. Setting: limits.in-flight-bytes.",
        value: |config| config.limits.in_flight_bytes.to_string(),
        default: "268435456",
    },
    Setting {
        name: "replica.lag.time.max.ms",
        change: Change::Never("set cluster.replica-lag-time-max and start it again"),
        kind: ConfigKind::Long,
        doc: "Milliseconds without having caught up after which a replica is in sync no more. Setting: cluster.replica-lag-time-max.",
        value: |config| config.cluster.replica_lag_time_max.as_millis().to_string(),
        default: "10000",
    },
    Setting {
        name: "socket.request.max.bytes",
        change: Change::Never("set limits.request-bytes and start it again"),
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
    /// The broker's configs, ordered by name: its own, and the defaults that it sets for topics; both
    /// below what was set while it runs.
    pub fn describe(&self, dynamic: DynamicConfigs<'_>) -> Vec<ConfigEntry> {
        let mut entries: Vec<ConfigEntry> =
            SETTINGS.iter().map(|setting| self.entry(setting, dynamic)).collect();
        entries.extend(self.topic_defaults.with(dynamic).describe_for_broker());
        entries.sort_by_key(|entry| entry.name);
        entries
    }

    fn entry(&self, setting: &Setting, dynamic: DynamicConfigs<'_>) -> ConfigEntry {
        let synonym = |value: String, source| ConfigSynonym { name: setting.name, value, source };
        let mut synonyms = Vec::with_capacity(4);
        for (source, values) in
            [(ConfigSource::Broker, dynamic.of_one), (ConfigSource::AllBrokers, dynamic.of_all)]
        {
            if let Some(value) = values.get(setting.name) {
                synonyms.push(synonym(value.clone(), source));
            }
        }
        let of_node = (setting.value)(self);
        if of_node != setting.default {
            synonyms.push(synonym(of_node, ConfigSource::Node));
        }
        let of_default = synonym(setting.default.to_owned(), ConfigSource::Default);
        let in_force = synonyms.first().unwrap_or(&of_default).clone();
        synonyms.push(of_default);
        ConfigEntry {
            name: setting.name,
            value: in_force.value,
            source: in_force.source,
            read_only: matches!(setting.change, Change::Never(_)),
            sensitive: false,
            kind: setting.kind,
            documentation: setting.doc,
            synonyms,
        }
    }
}
