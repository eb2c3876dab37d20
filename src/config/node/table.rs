//! The one table of a node's settings: what each takes, its default, and how its value is shown.
//!
//! A setting that is not here is refused by name. The table in `docs/OPERATIONS.md` is checked against
//! this one, and `polylogue config` prints it, so the three cannot say different things.

use std::{fmt::Display, path::PathBuf, time::Duration};

use super::{HostPort, NodeConfig};
use crate::config::units::ByteSize;

/// A setting that has a name of its own; those of listeners and topics are made of a pattern.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its full name.
    pub key: &'static str,
    /// Which values it takes, in words.
    pub takes: &'static str,
    /// What holds where nobody sets it, in words.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
    pub(super) value: fn(&NodeConfig) -> Option<SettingValue>,
}

/// A value as a file would have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Switch(bool),
    /// Text, sizes and durations with their units.
    Text(String),
}

impl Display for SettingValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Switch(switch) => switch.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

const fn setting(
    key: &'static str,
    takes: &'static str,
    default: &'static str,
    doc: &'static str,
    value: fn(&NodeConfig) -> Option<SettingValue>,
) -> Setting {
    Setting { key, takes, default, doc, value }
}

#[expect(clippy::unnecessary_wraps, reason = "as the table's column is")]
fn text(value: impl Display) -> Option<SettingValue> {
    Some(SettingValue::Text(value.to_string()))
}

#[expect(clippy::unnecessary_wraps, reason = "as the table's column is")]
fn number(value: impl Into<i64>) -> Option<SettingValue> {
    Some(SettingValue::Number(value.into()))
}

fn bytes(value: u64) -> Option<SettingValue> {
    text(ByteSize(value))
}

fn path(value: Option<&PathBuf>) -> Option<SettingValue> {
    value.and_then(|path| text(path.display()))
}

fn list(addresses: &[HostPort]) -> String {
    addresses.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",")
}

fn span(value: Duration) -> Option<SettingValue> {
    text(humantime::format_duration(value))
}

/// Every setting, in the order of the documentation.
pub const SETTINGS: &[Setting] = &[
    setting("node-id", "0 to 2147483647", "1", "who this broker is", |c| number(c.node_id.get())),
    setting("data-dir", "path", "./polylogue-data", "the folder of everything that is kept", |c| {
        text(c.data_dir.display())
    }),
    setting("kafka-listen", "host:port", "127.0.0.1:9092", "for clients", |c| text(&c.kafka_listen)),
    setting("kafka-advertise", "host:port", "where it listens", "what clients are told", |c| {
        text(&c.kafka_advertise)
    }),
    setting(
        "admin-listen",
        "host:port",
        "127.0.0.1:8092",
        "health, metrics and the actor tree, over HTTP",
        |c| text(&c.admin_listen),
    ),
    setting(
        "cluster-listen",
        "host:port",
        "127.0.0.1:7092",
        "for other nodes; beyond this machine it needs a cookie or certificates",
        |c| text(&c.cluster_listen),
    ),
    setting("cluster-advertise", "host:port", "where it listens", "what other nodes are told", |c| {
        text(&c.cluster_advertise)
    }),
    setting(
        "cluster.cookie-file",
        "path",
        "none",
        "a secret that all nodes of the cluster know, 16 bytes or more; flag `--cluster-cookie-file`",
        |c| path(c.cluster.cookie_file.as_ref()),
    ),
    setting(
        "cluster.tls-cert",
        "path",
        "none",
        "this node's certificates (PEM), the first names the host that others dial",
        |c| path(c.cluster.tls.as_ref().map(|tls| &tls.cert)),
    ),
    setting("cluster.tls-key", "path", "none", "the private key to it (PEM)", |c| {
        path(c.cluster.tls.as_ref().map(|tls| &tls.key))
    }),
    setting("cluster.tls-ca", "path", "none", "who signs the nodes' certificates (PEM)", |c| {
        path(c.cluster.tls.as_ref().map(|tls| &tls.ca))
    }),
    setting(
        "cluster.heartbeat-interval",
        "duration, at most a third of cluster.lease",
        "100 ms",
        "from one heartbeat to the voters to the next",
        |c| span(c.cluster.heartbeat_interval),
    ),
    setting(
        "cluster.lease",
        "duration",
        "1500 ms",
        "a node that was silent for so long is taken for dead",
        |c| span(c.cluster.lease),
    ),
    setting(
        "cluster.quorum-heartbeat-interval",
        "duration, at least 10ms; above a round trip between voters",
        "50 ms",
        "from one heartbeat of the metadata quorum's leader to the next, and the time in which one is answered",
        |c| span(c.cluster.quorum.heartbeat_interval),
    ),
    setting(
        "cluster.quorum-election-timeout",
        "duration, at least three times cluster.quorum-heartbeat-interval, at most 1m",
        "four times cluster.quorum-heartbeat-interval",
        "a leader of the metadata quorum that was silent for so long is missed",
        |c| span(c.cluster.quorum.election_timeout),
    ),
    setting(
        "cluster.replica-lag-time-max",
        "duration, at least 1s",
        "10 s",
        "a replica that has not caught up for so long is in sync no more: producers do not wait for it",
        |c| span(c.cluster.replica_lag_time_max),
    ),
    setting(
        "seeds",
        "list of host:port",
        "none",
        "nodes to form a cluster with, or to join one through, by their cluster addresses; the node may be among them. \
         Without any it is a cluster of one, unless its data folder says that it is part of another; flag `--seed`",
        |c| (!c.seeds.is_empty()).then(|| text(list(&c.seeds))).flatten(),
    ),
    setting(
        "cluster.voters",
        "1 to 15, odd",
        "3",
        "nodes that vote about the metadata; others follow it without a vote",
        |c| number(c.cluster.voters),
    ),
    setting(
        "auto-create-topics",
        "true, false",
        "true",
        "whether asking for a topic's metadata may create it (the client has to allow it too)",
        |c| Some(SettingValue::Switch(c.auto_create_topics)),
    ),
    setting("default-partitions", "1 to 10000", "4", "of a topic that is created without a number", |c| {
        number(c.default_partitions)
    }),
    setting(
        "default-replication-factor",
        "1 to 15",
        "3, or as many as there are brokers",
        "replicas of a topic that is created without a number",
        |c| c.default_replication_factor.and_then(number),
    ),
    setting(
        "rack",
        "text",
        "none",
        "what the node shares power, network or a building with: replicas are spread over racks",
        |c| c.rack.as_ref().and_then(text),
    ),
    setting("shutdown-grace", "duration", "20 s", "how long SIGTERM may take to flush and close", |c| {
        span(c.shutdown_grace)
    }),
    setting("limits.connections", "1 to 1000000", "10000", "open at once, for each listener", |c| {
        number(c.limits.connections)
    }),
    setting(
        "limits.connections-per-address",
        "1 to 1000000",
        "2000",
        "open at once from one address, for each listener",
        |c| number(c.limits.connections_per_address),
    ),
    setting("limits.partitions", "1 to 1000000", "50000", "of all topics of the node together", |c| {
        number(c.limits.partitions)
    }),
    setting(
        "limits.request-bytes",
        "1 KiB to 2 GiB - 1",
        "100 MiB",
        "the largest request; a larger one closes the connection",
        |c| bytes(c.limits.request_bytes),
    ),
    setting(
        "limits.in-flight-bytes",
        "1 KiB to 1 PiB, at least limits.request-bytes",
        "256 MiB",
        "memory for requests that have arrived and answers that are being read, over all connections",
        |c| bytes(c.limits.in_flight_bytes),
    ),
    setting("limits.idle-timeout", "duration", "10 min", "a connection without requests is closed", |c| {
        span(c.limits.idle_timeout)
    }),
    setting(
        "limits.frame-timeout",
        "duration",
        "30 s",
        "half a request, and then less than 16 KiB in this time: closed",
        |c| span(c.limits.frame_timeout),
    ),
    setting(
        "limits.write-timeout",
        "duration",
        "30 s",
        "a peer that takes no byte of its answer is dropped",
        |c| span(c.limits.write_timeout),
    ),
    setting(
        "storage.retention-check-interval",
        "duration",
        "5 min",
        "between two looks for what retention gives up",
        |c| span(c.storage.retention_check_interval),
    ),
    setting(
        "storage.scrub-bytes-per-second",
        "0 to 1 TiB",
        "8 MiB",
        "how much is read again in the background to look for rot, over all partitions; 0: none",
        |c| bytes(c.storage.scrub_bytes_per_second),
    ),
    setting("storage.scrub-interval", "duration", "1 min", "rest between two passes over a partition", |c| {
        span(c.storage.scrub_interval)
    }),
    setting(
        "storage.scrub-after-crash-bytes-per-second",
        "0 to 1 TiB",
        "64 MiB",
        "the same for the first pass over a log that was not closed in order, which begins at once; 0: no hurry",
        |c| bytes(c.storage.scrub_after_crash_bytes_per_second),
    ),
    setting(
        "storage.replicated-flush-bytes",
        "4 KiB to 1 TiB",
        "1 GiB",
        "a durability=replicated log is flushed after so many bytes",
        |c| bytes(c.storage.replicated_flush_bytes),
    ),
    setting("storage.replicated-flush-interval", "duration", "5 s", "and after so long", |c| {
        span(c.storage.replicated_flush_interval)
    }),
    setting(
        "groups.offsets-partitions",
        "1 to 10000",
        "16",
        "partitions of __consumer_offsets when it is made; each has a coordinator",
        |c| number(c.groups.offsets_partitions),
    ),
    setting(
        "groups.offsets-replication-factor",
        "1 to 100",
        "3",
        "replicas of __consumer_offsets when it is made, though never more than there are brokers then",
        |c| number(c.groups.offsets_replication_factor),
    ),
    setting(
        "groups.initial-rebalance-delay",
        "duration, also 0",
        "300 ms",
        "how long the first member of an empty group waits for others before it gets partitions",
        |c| span(c.groups.initial_rebalance_delay),
    ),
    setting(
        "groups.min-session-timeout",
        "duration",
        "6 s",
        "the shortest session time-out that a member may ask for",
        |c| span(c.groups.min_session_timeout),
    ),
    setting(
        "groups.max-session-timeout",
        "duration, at least groups.min-session-timeout",
        "30 min",
        "the longest",
        |c| span(c.groups.max_session_timeout),
    ),
    setting("groups.max-size", "1 to 1000000", "100000", "members of one group", |c| {
        number(c.groups.max_size)
    }),
    setting(
        "groups.offsets-retention",
        "duration",
        "7 days",
        "offsets are forgotten when their group has been empty for so long",
        |c| span(c.groups.offsets_retention),
    ),
    setting(
        "groups.offset-metadata-max-bytes",
        "0 to 1 MiB",
        "4 KiB",
        "what a client may keep with an offset",
        |c| bytes(c.groups.offset_metadata_max_bytes),
    ),
    setting(
        "groups.consumer-heartbeat-interval",
        "duration",
        "5 s",
        "how often members of the server-side protocol say that they live; the group config consumer.heartbeat.interval.ms sets it for one group",
        |c| span(c.groups.consumer.heartbeat_interval.default),
    ),
    setting(
        "groups.consumer-min-heartbeat-interval",
        "duration",
        "1 s",
        "the shortest that a group may set",
        |c| span(c.groups.consumer.heartbeat_interval.min),
    ),
    setting(
        "groups.consumer-max-heartbeat-interval",
        "duration, at least groups.consumer-min-heartbeat-interval",
        "15 s",
        "the longest",
        |c| span(c.groups.consumer.heartbeat_interval.max),
    ),
    setting(
        "groups.consumer-session-timeout",
        "duration, above groups.consumer-heartbeat-interval",
        "15 s",
        "a member of the server-side protocol that was not heard of for so long is given up (Kafka: 45 s); the group config consumer.session.timeout.ms sets it for one group",
        |c| span(c.groups.consumer.session_timeout.default),
    ),
    setting(
        "groups.consumer-min-session-timeout",
        "duration",
        "6 s",
        "the shortest that a group may set",
        |c| span(c.groups.consumer.session_timeout.min),
    ),
    setting(
        "groups.consumer-max-session-timeout",
        "duration, at least groups.consumer-min-session-timeout",
        "1 min",
        "the longest",
        |c| span(c.groups.consumer.session_timeout.max),
    ),
    setting(
        "groups.consumer-max-size",
        "1 to 1000000",
        "100000",
        "members of one group of the server-side protocol",
        |c| number(c.groups.consumer.max_size),
    ),
    setting(
        "groups.consumer-assignors",
        "some of uniform, range, exclusive",
        "uniform,range,exclusive",
        "what members of the server-side protocol may name; the first is the default",
        |c| text(c.groups.consumer.assignors.join(",")),
    ),
    setting(
        "groups.lag-metrics-max",
        "0 to 1000000",
        "10000",
        "committed offsets whose lag is among the metrics; 0: none",
        |c| number(c.groups.lag_metrics_max),
    ),
];
