//! From what was given to what holds: ranges, and rules across settings.

use std::{fmt::Display, path::PathBuf, time::Duration};

use super::{
    ClusterSettings, ConsumerGroupSettings, GroupSettings, HostPort, Limits, NodeConfig, NodeConfigError,
    StorageSettings, Surroundings, listeners,
    raw::{Raw, RawGroups, RawLimits, RawStorage},
    sources::Settings,
};
use crate::{
    config::{
        topic::TopicDefaults,
        units::{ByteSize, Span},
    },
    model::NodeId,
};

/// Each of them is waited for.
const REPLICAS_MAX: u16 = 15;
/// Bytes of a rack's name: it goes to every client.
const RACK_BYTES_MAX: usize = 249;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

pub(super) fn validate(given: &Settings, around: &Surroundings) -> Result<NodeConfig, NodeConfigError> {
    let raw = given.raw()?;
    let mut warnings = Vec::new();
    let kafka_listen = address(given, "kafka-listen", raw.kafka_listen.as_ref(), 9092)?;
    let cluster_listen = address(given, "cluster-listen", raw.cluster_listen.as_ref(), 7092)?;
    let admin_listen = address(given, "admin-listen", raw.admin_listen.as_ref(), 8092)?;
    for (key, at) in [("kafka-listen", &kafka_listen), ("admin-listen", &admin_listen)] {
        warnings.extend(exposure(key, at));
    }
    let advertise = Advertise { given, around };
    let kafka_advertise =
        advertise.of("kafka-advertise", raw.kafka_advertise.as_ref(), &kafka_listen, &mut warnings)?;
    let cluster_advertise =
        advertise.of("cluster-advertise", raw.cluster_advertise.as_ref(), &cluster_listen, &mut warnings)?;
    let limits = limits(given, &raw.limits)?;
    let bounds = (limits.connections, limits.connections_per_address);
    let mut listeners = Vec::with_capacity(raw.listeners.len());
    for (name, raw) in &raw.listeners {
        listeners.push(listeners::listener(given, &advertise, name, raw, bounds, &mut warnings)?);
    }
    let mut ports = vec![
        ("kafka-listen".to_owned(), &kafka_listen),
        ("admin-listen".to_owned(), &admin_listen),
        ("cluster-listen".to_owned(), &cluster_listen),
    ];
    ports.extend(listeners.iter().map(|listener| (listener.listen_key(), &listener.listen)));
    distinct(given, &ports)?;
    Ok(NodeConfig {
        node_id: NodeId::new(in_range(given, "node-id", raw.node_id.unwrap_or(1), 0, i32::MAX)?),
        data_dir: data_dir(given, &raw)?,
        kafka_listen,
        kafka_advertise,
        listeners,
        admin_listen,
        seeds: seeds(given, &raw.seeds)?,
        cluster: ClusterSettings::validate(given, raw.cluster, &cluster_listen)?,
        cluster_port_may_move: !["cluster-listen", "cluster-advertise", "seeds"]
            .iter()
            .any(|key| given.is_given(key)),
        cluster_listen,
        cluster_advertise,
        auto_create_topics: raw.auto_create_topics.unwrap_or(true),
        default_partitions: in_range(
            given,
            "default-partitions",
            raw.default_partitions.unwrap_or(4),
            1,
            10_000,
        )?,
        default_replication_factor: raw
            .default_replication_factor
            .map(|factor| in_range(given, "default-replication-factor", factor, 1, REPLICAS_MAX))
            .transpose()?,
        rack: rack(given, raw.rack.as_ref())?,
        shutdown_grace: span(given, "shutdown-grace", raw.shutdown_grace, Duration::from_secs(20))?,
        limits,
        storage: storage(given, &raw.storage)?,
        groups: groups(given, &raw.groups)?,
        topic_defaults: topic_defaults(given)?,
        warnings,
    })
}

/// Each once, in the order given.
fn seeds(given: &Settings, texts: &[String]) -> Result<Vec<HostPort>, NodeConfigError> {
    let mut seeds: Vec<HostPort> = Vec::with_capacity(texts.len());
    for text in texts {
        let seed = HostPort::parse(text).filter(|seed| seed.port != 0).ok_or_else(|| {
            given.invalid("seeds", format!("{text:?} is not host:port of a node's cluster-listen"))
        })?;
        if !seeds.contains(&seed) {
            seeds.push(seed);
        }
    }
    Ok(seeds)
}

fn rack(given: &Settings, rack: Option<&String>) -> Result<Option<String>, NodeConfigError> {
    let rack = rack.map(|rack| rack.trim().to_owned()).filter(|rack| !rack.is_empty());
    match rack {
        Some(rack) if rack.len() > RACK_BYTES_MAX || rack.chars().any(char::is_control) => {
            Err(given.invalid("rack", format!("{rack:?} is not a name of at most {RACK_BYTES_MAX} bytes")))
        }
        rack => Ok(rack),
    }
}

pub(super) fn address(
    given: &Settings,
    key: &str,
    text: Option<&String>,
    default_port: u16,
) -> Result<HostPort, NodeConfigError> {
    text.map_or_else(
        || Ok(HostPort::new("127.0.0.1", default_port)),
        |text| {
            HostPort::parse(text).ok_or_else(|| {
                given.invalid(key, format!("{text:?} is not host:port (IPv6 in brackets: [::1]:9092)"))
            })
        },
    )
}

/// Nobody proves who he is yet: whoever reaches a port may do what it offers.
pub(super) fn exposure(key: &str, at: &HostPort) -> Option<String> {
    (!at.is_loopback())
        .then(|| format!("{key} {at} can be reached from other machines, and there is no authentication yet"))
}

pub(super) struct Advertise<'a> {
    given: &'a Settings,
    around: &'a Surroundings,
}

impl Advertise<'_> {
    pub(super) fn of(
        &self,
        key: &str,
        text: Option<&String>,
        listen: &HostPort,
        warnings: &mut Vec<String>,
    ) -> Result<HostPort, NodeConfigError> {
        if text.is_some() {
            let at = address(self.given, key, text, 0)?;
            if at.is_wildcard() {
                return Err(self
                    .given
                    .invalid(key, format!("{at} cannot be connected to: name this machine")));
            }
            return Ok(at);
        }
        if !listen.is_wildcard() {
            return Ok(listen.clone());
        }
        let Some(name) = &self.around.host_name else {
            let problem = format!("needed where we listen on {listen}: name this machine as others reach it");
            return Err(self.given.invalid(key, problem));
        };
        warnings.push(format!("{key} is not set: others are told the name of this machine, {name}"));
        Ok(HostPort::new(name.as_str(), listen.port))
    }
}

/// Two listeners on one address would only be found out by the second one's bind.
fn distinct(given: &Settings, listeners: &[(String, &HostPort)]) -> Result<(), NodeConfigError> {
    for (at, (key, address)) in listeners.iter().enumerate() {
        // A wildcard takes the port of every address there is.
        let same = |(_, other): &&(String, &HostPort)| {
            let overlaps = other.host == address.host || other.is_wildcard() || address.is_wildcard();
            overlaps && other.port == address.port && address.port != 0
        };
        if let Some((earlier, _)) = listeners.iter().take(at).find(same) {
            return Err(given.invalid(key, format!("{address} is already taken by {earlier}")));
        }
    }
    Ok(())
}

fn data_dir(given: &Settings, raw: &Raw) -> Result<PathBuf, NodeConfigError> {
    let dir = raw.data_dir.clone().unwrap_or_else(|| PathBuf::from("./polylogue-data"));
    if dir.as_os_str().is_empty() {
        return Err(given.invalid("data-dir", "an empty path"));
    }
    Ok(dir)
}

fn limits(given: &Settings, raw: &RawLimits) -> Result<Limits, NodeConfigError> {
    let key = "limits.request-bytes";
    let request_bytes = bytes(given, key, raw.request_bytes, 100 * MIB, KIB, i32::MAX as u64)?;
    let connections = in_range(given, "limits.connections", raw.connections.unwrap_or(10_000), 1, 1_000_000)?;
    let key = "limits.in-flight-bytes";
    let in_flight_bytes = bytes(given, key, raw.in_flight_bytes, 256 * MIB, KIB, 1 << 50)?;
    if in_flight_bytes < request_bytes {
        // Blame what was given: a default cannot be wrong.
        let blamed = if given.is_given(key) { key } else { "limits.request-bytes" };
        let problem = format!(
            "limits.in-flight-bytes ({}) must hold the largest request, limits.request-bytes ({})",
            ByteSize(in_flight_bytes),
            ByteSize(request_bytes)
        );
        return Err(given.invalid(blamed, problem));
    }
    Ok(Limits {
        connections,
        connections_per_address: in_range(
            given,
            "limits.connections-per-address",
            raw.connections_per_address.unwrap_or(2_000),
            1,
            1_000_000,
        )?,
        partitions: in_range(given, "limits.partitions", raw.partitions.unwrap_or(50_000), 1, 1_000_000)?,
        request_bytes,
        in_flight_bytes,
        idle_timeout: span(given, "limits.idle-timeout", raw.idle_timeout, Duration::from_mins(10))?,
        frame_timeout: span(given, "limits.frame-timeout", raw.frame_timeout, Duration::from_secs(30))?,
        write_timeout: span(given, "limits.write-timeout", raw.write_timeout, Duration::from_secs(30))?,
    })
}

fn storage(given: &Settings, raw: &RawStorage) -> Result<StorageSettings, NodeConfigError> {
    let check = raw.retention_check_interval;
    let scrub = raw.scrub_bytes_per_second;
    let hurried = raw.scrub_after_crash_bytes_per_second;
    let flush = raw.replicated_flush_bytes;
    let interval = raw.replicated_flush_interval;
    Ok(StorageSettings {
        retention_check_interval: span(
            given,
            "storage.retention-check-interval",
            check,
            Duration::from_mins(5),
        )?,
        scrub_bytes_per_second: bytes(given, "storage.scrub-bytes-per-second", scrub, 8 * MIB, 0, 1 << 40)?,
        scrub_interval: span(given, "storage.scrub-interval", raw.scrub_interval, Duration::from_mins(1))?,
        scrub_after_crash_bytes_per_second: bytes(
            given,
            "storage.scrub-after-crash-bytes-per-second",
            hurried,
            64 * MIB,
            0,
            1 << 40,
        )?,
        replicated_flush_bytes: bytes(
            given,
            "storage.replicated-flush-bytes",
            flush,
            1024 * MIB,
            4 * KIB,
            1 << 40,
        )?,
        replicated_flush_interval: span(
            given,
            "storage.replicated-flush-interval",
            interval,
            Duration::from_secs(5),
        )?,
    })
}

fn groups(given: &Settings, raw: &RawGroups) -> Result<GroupSettings, NodeConfigError> {
    let default = GroupSettings::default();
    let min =
        span(given, "groups.min-session-timeout", raw.min_session_timeout, default.min_session_timeout)?;
    let max_key = "groups.max-session-timeout";
    let max = span(given, max_key, raw.max_session_timeout, default.max_session_timeout)?;
    if max < min {
        let problem = "is below groups.min-session-timeout: no member could join";
        return Err(given.invalid(max_key, problem));
    }
    let partitions = raw.offsets_partitions.unwrap_or(default.offsets_partitions);
    let replicas = raw.offsets_replication_factor.unwrap_or(default.offsets_replication_factor);
    let metadata = raw.offset_metadata_max_bytes;
    Ok(GroupSettings {
        offsets_partitions: in_range(given, "groups.offsets-partitions", partitions, 1, 10_000)?,
        offsets_replication_factor: in_range(given, "groups.offsets-replication-factor", replicas, 1, 100)?,
        initial_rebalance_delay: raw
            .initial_rebalance_delay
            .map_or(default.initial_rebalance_delay, |Span(delay)| delay),
        min_session_timeout: min,
        max_session_timeout: max,
        max_size: in_range(given, "groups.max-size", raw.max_size.unwrap_or(default.max_size), 1, 1_000_000)?,
        offsets_retention: span(
            given,
            "groups.offsets-retention",
            raw.offsets_retention,
            default.offsets_retention,
        )?,
        offset_metadata_max_bytes: bytes(
            given,
            "groups.offset-metadata-max-bytes",
            metadata,
            default.offset_metadata_max_bytes,
            0,
            MIB,
        )?,
        consumer: ConsumerGroupSettings::validate(given, raw)?,
        lag_metrics_max: in_range(
            given,
            "groups.lag-metrics-max",
            raw.lag_metrics_max.unwrap_or(default.lag_metrics_max),
            0,
            1_000_000,
        )?,
    })
}

fn topic_defaults(given: &Settings) -> Result<TopicDefaults, NodeConfigError> {
    let key = |name: &str| format!("{}{name}", super::raw::TOPIC_DEFAULTS);
    let values = given.topic_defaults()?;
    for (name, value) in &values {
        crate::config::topic::check(name, value).map_err(|cause| NodeConfigError::Topic {
            key: key(name),
            origin: given.origin(&key(name)),
            cause,
        })?;
    }
    TopicDefaults::new(&values).map_err(|cause| NodeConfigError::Topic {
        key: super::raw::TOPIC_DEFAULTS.to_owned(),
        origin: "default".to_owned(),
        cause,
    })
}

pub(super) fn in_range<T: PartialOrd + Display + Copy>(
    given: &Settings,
    key: &str,
    value: T,
    min: T,
    max: T,
) -> Result<T, NodeConfigError> {
    if value < min || value > max {
        return Err(given.invalid(key, format!("{value} is not from {min} to {max}")));
    }
    Ok(value)
}

fn bytes(
    given: &Settings,
    key: &str,
    value: Option<ByteSize>,
    default: u64,
    min: u64,
    max: u64,
) -> Result<u64, NodeConfigError> {
    let value = value.unwrap_or(ByteSize(default));
    if value < ByteSize(min) || value > ByteSize(max) {
        return Err(given.invalid(key, format!("{value} is not from {} to {}", ByteSize(min), ByteSize(max))));
    }
    Ok(value.0)
}

/// From a millisecond to a year: less is none, and more was meant to be never.
pub(super) fn span(
    given: &Settings,
    key: &str,
    value: Option<Span>,
    default: Duration,
) -> Result<Duration, NodeConfigError> {
    let value = value.map_or(default, |span| span.0);
    if value < Duration::from_millis(1) || value > Duration::from_hours(24 * 366) {
        let text = humantime::format_duration(value);
        return Err(given.invalid(key, format!("{text} is not from 1ms to 366days")));
    }
    Ok(value)
}
