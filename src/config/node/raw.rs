//! The settings as they are written: every one may be missing, none is checked beyond its kind.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Deserializer};

use crate::config::units::{ByteSize, Span};

/// The file's own shape.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Raw {
    pub(super) node_id: Option<i32>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) kafka_listen: Option<String>,
    pub(super) kafka_advertise: Option<String>,
    pub(super) admin_listen: Option<String>,
    pub(super) cluster_listen: Option<String>,
    pub(super) cluster_advertise: Option<String>,
    #[serde(deserialize_with = "one_or_more")]
    pub(super) seeds: Vec<String>,
    pub(super) auto_create_topics: Option<bool>,
    pub(super) default_partitions: Option<i32>,
    pub(super) default_replication_factor: Option<u16>,
    pub(super) rack: Option<String>,
    pub(super) shutdown_grace: Option<Span>,
    pub(super) listeners: BTreeMap<String, RawListener>,
    pub(super) limits: RawLimits,
    pub(super) storage: RawStorage,
    pub(super) groups: RawGroups,
    pub(super) cluster: RawCluster,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawCluster {
    pub(super) cookie_file: Option<PathBuf>,
    pub(super) tls_cert: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    pub(super) tls_ca: Option<PathBuf>,
    pub(super) voters: Option<u16>,
    pub(super) heartbeat_interval: Option<Span>,
    pub(super) lease: Option<Span>,
    pub(super) quorum_heartbeat_interval: Option<Span>,
    pub(super) quorum_election_timeout: Option<Span>,
    pub(super) replica_lag_time_max: Option<Span>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawListener {
    pub(super) listen: Option<String>,
    pub(super) advertise: Option<String>,
    pub(super) connections: Option<u32>,
    pub(super) connections_per_address: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawLimits {
    pub(super) connections: Option<u32>,
    pub(super) connections_per_address: Option<u32>,
    pub(super) partitions: Option<u32>,
    pub(super) request_bytes: Option<ByteSize>,
    pub(super) in_flight_bytes: Option<ByteSize>,
    pub(super) idle_timeout: Option<Span>,
    pub(super) frame_timeout: Option<Span>,
    pub(super) write_timeout: Option<Span>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawStorage {
    pub(super) retention_check_interval: Option<Span>,
    pub(super) scrub_bytes_per_second: Option<ByteSize>,
    pub(super) scrub_interval: Option<Span>,
    pub(super) scrub_after_crash_bytes_per_second: Option<ByteSize>,
    pub(super) replicated_flush_bytes: Option<ByteSize>,
    pub(super) replicated_flush_interval: Option<Span>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawGroups {
    pub(super) offsets_partitions: Option<i32>,
    pub(super) offsets_replication_factor: Option<i16>,
    pub(super) initial_rebalance_delay: Option<Span>,
    pub(super) min_session_timeout: Option<Span>,
    pub(super) max_session_timeout: Option<Span>,
    pub(super) max_size: Option<u32>,
    pub(super) offsets_retention: Option<Span>,
    pub(super) offset_metadata_max_bytes: Option<ByteSize>,
    pub(super) consumer_heartbeat_interval: Option<Span>,
    pub(super) consumer_min_heartbeat_interval: Option<Span>,
    pub(super) consumer_max_heartbeat_interval: Option<Span>,
    pub(super) consumer_session_timeout: Option<Span>,
    pub(super) consumer_min_session_timeout: Option<Span>,
    pub(super) consumer_max_session_timeout: Option<Span>,
    pub(super) consumer_max_size: Option<u32>,
    #[serde(deserialize_with = "one_or_more")]
    pub(super) consumer_assignors: Vec<String>,
    pub(super) lag_metrics_max: Option<u32>,
}

/// What the names of topic configs stand behind.
pub(super) const TOPIC_DEFAULTS: &str = "topic.defaults.";

/// A list in a file, or words separated by commas where only text can be given.
fn one_or_more<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    Ok(match OneOrMore::deserialize(input)? {
        OneOrMore::More(all) => all,
        OneOrMore::One(text) => {
            text.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
        }
    })
}
