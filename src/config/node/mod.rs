//! The settings of one node.
//!
//! They come from a TOML file, then from variables that begin with `POLYLOGUE_`, then from the
//! command line; a later source replaces an earlier one. A wrong one is refused with its name and
//! where it was given, before any file is touched or any port opened.

mod address;
mod cluster;
mod consumer_groups;
mod error;
mod listeners;
mod raw;
pub(in crate::config) mod settings;
mod shown;
mod sources;
mod table;
mod validate;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub use address::HostPort;
pub use cluster::{ClusterSettings, QuorumPace, TlsFiles};
pub use consumer_groups::{ASSIGNORS, BoundedSpan, ConsumerGroupSettings};
pub use error::NodeConfigError;
pub use listeners::{KAFKA, KafkaListener};
pub use shown::InForce;
pub use sources::{Surroundings, variable_of};
pub use table::{SETTINGS, Setting, SettingValue};

use crate::{config::topic::TopicDefaults, model::NodeId};

/// What the command line gives; the rest is left to file, environment and defaults.
#[derive(Clone, Debug, Default)]
pub struct NodeFlags {
    /// `--node-id`
    pub node_id: Option<i32>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--kafka-listen`
    pub kafka_listen: Option<String>,
    /// `--kafka-advertise`
    pub kafka_advertise: Option<String>,
    /// `--admin-listen`
    pub admin_listen: Option<String>,
    /// `--cluster-listen`
    pub cluster_listen: Option<String>,
    /// `--cluster-advertise`
    pub cluster_advertise: Option<String>,
    /// `--cluster-cookie-file`
    pub cluster_cookie_file: Option<PathBuf>,
    /// `--seed`, as often as it was given.
    pub seeds: Vec<String>,
    /// Any setting by its full name, such as `limits.connections`.
    pub settings: Vec<(String, String)>,
}

/// Valid settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// `node-id`: who this broker is in its cluster, 0 or more; default 1.
    pub node_id: NodeId,
    /// `data-dir`: everything that is kept; default `./polylogue-data`.
    pub data_dir: PathBuf,
    /// `kafka-listen`: for clients; default `127.0.0.1:9092`. Port 0: the system chooses.
    pub kafka_listen: HostPort,
    /// `kafka-advertise`: what clients are told to connect to; default: where we listen. Port 0
    /// stands for the port that was bound.
    pub kafka_advertise: HostPort,
    /// `listeners.NAME.*`: further ports for clients, ordered by name; default none.
    pub listeners: Vec<KafkaListener>,
    /// `admin-listen`: health, metrics and the actor tree over HTTP; default `127.0.0.1:8092`.
    pub admin_listen: HostPort,
    /// `cluster-listen`: for other nodes; default `127.0.0.1:7092`.
    pub cluster_listen: HostPort,
    /// Whether that port may be another one where the default is taken: nobody was told of it, and no other node is asked for.
    pub cluster_port_may_move: bool,
    /// `cluster-advertise`: what other nodes are told; default: where we listen.
    pub cluster_advertise: HostPort,
    /// `seeds`: nodes to form a cluster with, or to join one through, by their cluster addresses; this node may be among
    /// them. Default none: the node is a cluster of one, which others may join.
    pub seeds: Vec<HostPort>,
    /// `[cluster]`
    pub cluster: ClusterSettings,
    /// `auto-create-topics`: whether asking for a topic's metadata may create it; default yes.
    pub auto_create_topics: bool,
    /// `default-partitions`: of a topic that is created without a number; 1 to 10,000, default 4.
    pub default_partitions: i32,
    /// `default-replication-factor`: replicas of a topic that is created without a number; 1 to 15, default 3, or
    /// as many as there are brokers.
    pub default_replication_factor: Option<u16>,
    /// `rack`: what this node shares power, network or a building with; default none.
    pub rack: Option<String>,
    /// `shutdown-grace`: how long SIGTERM may take to flush and close; default 20 s.
    pub shutdown_grace: Duration,
    /// `[limits]`
    pub limits: Limits,
    /// `[storage]`
    pub storage: StorageSettings,
    /// `[groups]`
    pub groups: GroupSettings,
    /// `[topic.defaults]`: topic configs for topics that do not set them.
    pub topic_defaults: TopicDefaults,
    /// What the operator should be told, and did not ask for.
    pub warnings: Vec<String>,
}

/// Bounds on what clients may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `limits.connections`: open at once, in all; default 10,000.
    pub connections: u32,
    /// `limits.connections-per-address`: open at once from one address; default 2,000.
    pub connections_per_address: u32,
    /// `limits.partitions`: of all topics together; default 50,000.
    pub partitions: u32,
    /// `limits.request-bytes`: the largest frame; a larger one closes the connection. 1 KiB to
    /// 2 GiB - 1, default 100 MiB as in Kafka (`socket.request.max.bytes`).
    pub request_bytes: u64,
    /// `limits.in-flight-bytes`: of requests that have arrived and are not answered, over all
    /// connections; never below `request-bytes`, default 256 MiB.
    pub in_flight_bytes: u64,
    /// `limits.idle-timeout`: a connection without requests is closed; default 10 min as in Kafka.
    pub idle_timeout: Duration,
    /// `limits.frame-timeout`: a frame that began must be whole; default 30 s.
    pub frame_timeout: Duration,
    /// `limits.write-timeout`: an answer that began must make progress; default 30 s.
    pub write_timeout: Duration,
}

/// What storage does in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// `storage.retention-check-interval`: default 5 min as in Kafka.
    pub retention_check_interval: Duration,
    /// `storage.scrub-bytes-per-second`: how much is read again to look for rot; 0: none; default 8 MiB.
    pub scrub_bytes_per_second: u64,
    /// `storage.scrub-interval`: from the end of a pass of that over a partition to the next one's
    /// beginning; default 1 min.
    pub scrub_interval: Duration,
    /// `storage.scrub-after-crash-bytes-per-second`: the same for the first pass over a log that was not closed in order,
    /// which begins at once; 0: no hurry; default 64 MiB.
    pub scrub_after_crash_bytes_per_second: u64,
    /// `storage.replicated-flush-bytes`: a `durability=replicated` log is flushed after so many
    /// bytes; default 1 GiB, a segment as it is by default: recovery has no more than that to read, and a
    /// stream faster than the flush interval allows is not slowed by flushes in between.
    pub replicated_flush_bytes: u64,
    /// `storage.replicated-flush-interval`: and after so long; default 5 s.
    pub replicated_flush_interval: Duration,
}

/// What consumer groups may do, and how long they are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `groups.offsets-partitions`: partitions of `__consumer_offsets` when it is made; 1 to 10,000, default 16.
    pub offsets_partitions: i32,
    /// `groups.offsets-replication-factor`: replicas of `__consumer_offsets` when it is made, though never more than
    /// there are brokers then; 1 to 100, default 3 as in Kafka.
    pub offsets_replication_factor: i16,
    /// `groups.initial-rebalance-delay`: how long the first member of an empty group waits for others; each that
    /// comes prolongs it, up to the members' rebalance time-out. Default 300 ms (Kafka: 3 s).
    pub initial_rebalance_delay: Duration,
    /// `groups.min-session-timeout`: the shortest that a member may ask for; default 6 s as in Kafka.
    pub min_session_timeout: Duration,
    /// `groups.max-session-timeout`: the longest; default 30 min as in Kafka.
    pub max_session_timeout: Duration,
    /// `groups.max-size`: the most members of a group; default 100,000.
    pub max_size: u32,
    /// `groups.offsets-retention`: offsets are forgotten when their group was empty for so long; default 7 d
    /// as in Kafka.
    pub offsets_retention: Duration,
    /// `groups.offset-metadata-max-bytes`: what a client may keep with an offset; 0 to 1 MiB, default 4 KiB as in
    /// Kafka.
    pub offset_metadata_max_bytes: u64,
    /// `groups.consumer-*`: for groups of the server-side protocol.
    pub consumer: ConsumerGroupSettings,
    /// `groups.lag-metrics-max`: the most partitions whose lag is among the metrics; 0 to 1,000,000, default 10,000.
    pub lag_metrics_max: u32,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            offsets_partitions: 16,
            offsets_replication_factor: 3,
            initial_rebalance_delay: Duration::from_millis(300),
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_mins(30),
            max_size: 100_000,
            offsets_retention: Duration::from_hours(7 * 24),
            offset_metadata_max_bytes: 4096,
            consumer: ConsumerGroupSettings::default(),
            lag_metrics_max: 10_000,
        }
    }
}

impl NodeConfig {
    /// Gathers and checks. Reads `file` if there is one, and nothing else. Tells of all that is wrong at
    /// once.
    pub fn load(
        flags: &NodeFlags,
        file: Option<&Path>,
        around: &Surroundings,
    ) -> Result<Self, NodeConfigError> {
        load_with_origins(flags, file, around).map(|(config, _)| config)
    }

    /// All ports for clients; the one called `kafka` is the first.
    pub fn kafka_listeners(&self) -> Vec<KafkaListener> {
        let kafka = KafkaListener {
            name: KAFKA.to_owned(),
            listen: self.kafka_listen.clone(),
            advertise: self.kafka_advertise.clone(),
            connections: self.limits.connections,
            connections_per_address: self.limits.connections_per_address,
        };
        std::iter::once(kafka).chain(self.listeners.iter().cloned()).collect()
    }

    /// The same with these listeners, of which the first is `kafka`.
    #[must_use]
    pub fn with_kafka_listeners(&self, listeners: impl IntoIterator<Item = KafkaListener>) -> Self {
        let mut listeners = listeners.into_iter();
        let Some(kafka) = listeners.next() else { return self.clone() };
        Self {
            kafka_listen: kafka.listen,
            kafka_advertise: kafka.advertise,
            listeners: listeners.collect(),
            ..self.clone()
        }
    }
}

/// A wrong setting is noted and then taken as not given, so that the next one is found as well.
fn load_with_origins(
    flags: &NodeFlags,
    file: Option<&Path>,
    around: &Surroundings,
) -> Result<(NodeConfig, sources::Settings), NodeConfigError> {
    let mut given = sources::Settings::gather(flags, file, around)?;
    let mut problems = given.take_problems();
    loop {
        let problem = match validate::validate(&given, around) {
            Ok(config) if problems.is_empty() => return Ok((config, given)),
            Ok(_) => break,
            Err(problem) => problem,
        };
        let forgotten = problem.key().is_some_and(|key| given.forget(key));
        problems.push(problem);
        if !forgotten {
            break;
        }
    }
    Err(NodeConfigError::all(problems))
}

#[cfg(test)]
mod tests;
