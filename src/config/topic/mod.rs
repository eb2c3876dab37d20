//! Topic configs: Kafka's keys in one table, and the typed form that the broker works with.
//!
//! A topic keeps only its overrides, as text. What it does not override comes from what was set for
//! its broker or for all brokers while they run, then from the node's `[topic.defaults]`, and what
//! those do not name from the table, so a default that an operator changes reaches the topics that are
//! there.

mod alter;
mod check;
mod delivery;
mod describe;
mod error;
mod table;

use std::{collections::BTreeMap, time::Duration};

pub(in crate::config) use alter::alter_with;
pub use alter::{AlterOp, ConfigChange, alter};
pub(in crate::config) use check::check_value;
pub use check::{check, key};
pub use delivery::Delivery;
pub use describe::{ConfigEntry, ConfigSource, ConfigSynonym};
pub use error::TopicConfigError;
pub use table::{ConfigKind, Rule, TABLE, TopicKey, find, name};

use table::NO_LIMIT;

use super::broker::DynamicConfigs;
use crate::model::TopicName;

/// What an acknowledgement with `acks=all` promises of each replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is on its disk.
    Disk,
    /// It is in its memory.
    Replicated,
}

/// When a batch is checked before it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyOnRead {
    /// Each time.
    Always,
    /// The first time since the node started.
    First,
    /// Never; the background scrub still does.
    Never,
}

/// Whose time a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's, at the append.
    LogAppendTime,
}

/// All configs of one topic, valid. [`TABLE`] says what each means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicConfig {
    /// `retention.ms`; `None` keeps records for ever.
    pub retention_time: Option<Duration>,
    /// `retention.bytes`, per partition; `None` sets no limit.
    pub retention_bytes: Option<u64>,
    /// `segment.bytes`.
    pub segment_bytes: u32,
    /// `segment.ms`.
    pub segment_time: Duration,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`: the largest batch.
    pub max_message_bytes: u32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`; `None` sets no limit.
    pub timestamp_before_max: Option<Duration>,
    /// `message.timestamp.after.max.ms`; `None` sets no limit.
    pub timestamp_after_max: Option<Duration>,
    /// `min.insync.replicas`.
    pub min_in_sync_replicas: u32,
    /// `durability`.
    pub durability: Durability,
    /// `verify.on.read`.
    pub verify_on_read: VerifyOnRead,
    /// `flush.messages`; `None`: not by count.
    pub flush_messages: Option<u64>,
    /// `flush.ms`; `None`: not by time.
    pub flush_time: Option<Duration>,
    /// `cleanup.policy`: whether segments expire.
    pub deletes: bool,
    /// `cleanup.policy`: whether the newest record of each key is kept, and others go.
    pub compacts: bool,
    /// `delete.retention.ms`.
    pub tombstones_kept: Duration,
    /// `min.cleanable.dirty.ratio`, in hundredths.
    pub dirty_percent: u8,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag: Duration,
    /// `max.compaction.lag.ms`; `None` sets no limit.
    pub max_compaction_lag: Option<Duration>,
    /// How often a delivery may fail, and what becomes of the record then.
    pub delivery: Delivery,
}

impl TopicConfig {
    /// The config of a topic with these overrides on a node that sets no defaults of its own.
    pub fn resolve(overrides: &BTreeMap<String, String>) -> Result<Self, TopicConfigError> {
        TopicDefaults::default().resolve(overrides)
    }
}

/// The defaults for all topics, valid: the node's own, and those that were set while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicDefaults {
    node: BTreeMap<String, String>,
    all_brokers: BTreeMap<String, String>,
    broker: BTreeMap<String, String>,
}

impl TopicDefaults {
    /// Checks each key and value.
    pub fn new(values: &BTreeMap<String, String>) -> Result<Self, TopicConfigError> {
        Ok(Self { node: checked(values)?, ..Self::default() })
    }

    /// The same below what was set while the node runs. What is no topic's config is left out.
    #[must_use]
    pub fn with(&self, dynamic: DynamicConfigs<'_>) -> Self {
        let of_topics = |configs: &BTreeMap<String, String>| {
            let named = TABLE.iter().filter_map(|key| Some((key.name, configs.get(key.of_broker())?)));
            named.map(|(name, value)| (name.to_owned(), value.clone())).collect()
        };
        Self {
            node: self.node.clone(),
            all_brokers: of_topics(dynamic.of_all),
            broker: of_topics(dynamic.of_one),
        }
    }

    /// What is in force where a topic sets nothing itself and somebody has set something.
    pub fn values(&self) -> BTreeMap<String, String> {
        let mut values = self.node.clone();
        values.extend(self.all_brokers.clone());
        values.extend(self.broker.clone());
        values
    }

    /// The nearest first.
    fn layers(&self) -> [(ConfigSource, &BTreeMap<String, String>); 3] {
        [
            (ConfigSource::Broker, &self.broker),
            (ConfigSource::AllBrokers, &self.all_brokers),
            (ConfigSource::Node, &self.node),
        ]
    }

    /// The config of a topic with these overrides.
    pub fn resolve(&self, overrides: &BTreeMap<String, String>) -> Result<TopicConfig, TopicConfigError> {
        let overrides = checked(overrides)?;
        Values { overrides: &overrides, defaults: &self.values() }.typed()
    }
}

/// The same keys with each value checked and written as it is to be kept.
pub fn checked(values: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, TopicConfigError> {
    values.iter().map(|(name, value)| Ok((name.clone(), check(name, value)?))).collect()
}

struct Values<'a> {
    overrides: &'a BTreeMap<String, String>,
    defaults: &'a BTreeMap<String, String>,
}

impl Values<'_> {
    fn typed(&self) -> Result<TopicConfig, TopicConfigError> {
        Ok(TopicConfig {
            retention_time: self.optional(name::RETENTION_MS)?.map(Duration::from_millis),
            retention_bytes: self.optional(name::RETENTION_BYTES)?,
            segment_bytes: self.int(name::SEGMENT_BYTES)?,
            segment_time: self.millis(name::SEGMENT_MS)?,
            segment_index_bytes: self.int(name::SEGMENT_INDEX_BYTES)?,
            index_interval_bytes: self.int(name::INDEX_INTERVAL_BYTES)?,
            max_message_bytes: self.int(name::MAX_MESSAGE_BYTES)?,
            timestamp_type: match self.text(name::TIMESTAMP_TYPE)? {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max: self.limit(name::TIMESTAMP_BEFORE_MAX_MS)?.map(Duration::from_millis),
            timestamp_after_max: self.limit(name::TIMESTAMP_AFTER_MAX_MS)?.map(Duration::from_millis),
            min_in_sync_replicas: self.int(name::MIN_INSYNC_REPLICAS)?,
            durability: match self.text(name::DURABILITY)? {
                "replicated" => Durability::Replicated,
                _ => Durability::Disk,
            },
            verify_on_read: match self.text(name::VERIFY_ON_READ)? {
                "first" => VerifyOnRead::First,
                "never" => VerifyOnRead::Never,
                _ => VerifyOnRead::Always,
            },
            flush_messages: self.limit(name::FLUSH_MESSAGES)?,
            flush_time: self.limit(name::FLUSH_MS)?.map(Duration::from_millis),
            deletes: check::words(self.text(name::CLEANUP_POLICY)?).any(|word| word == "delete"),
            compacts: check::words(self.text(name::CLEANUP_POLICY)?).any(|word| word == "compact"),
            tombstones_kept: self.millis(name::DELETE_RETENTION_MS)?,
            dirty_percent: self.percent(name::MIN_CLEANABLE_DIRTY_RATIO)?,
            min_compaction_lag: self.millis(name::MIN_COMPACTION_LAG_MS)?,
            max_compaction_lag: self.limit(name::MAX_COMPACTION_LAG_MS)?.map(Duration::from_millis),
            delivery: self.delivery()?,
        })
    }

    fn delivery(&self) -> Result<Delivery, TopicConfigError> {
        let overrides = self.text(name::MAX_DELIVERY_ATTEMPTS_OVERRIDES)?;
        Ok(Delivery {
            max_attempts: self.int(name::MAX_DELIVERY_ATTEMPTS)?,
            overrides: delivery::per_partition(overrides).unwrap_or_default(),
            dead_letter_topic: TopicName::new(self.text(name::DEAD_LETTER_TOPIC)?).ok(),
            dead_letter_partitions: self.int(name::DEAD_LETTER_PARTITIONS)?,
            max_consecutive: self.int(name::DEAD_LETTER_MAX_CONSECUTIVE)?,
        })
    }

    fn text(&self, name: &'static str) -> Result<&str, TopicConfigError> {
        let set = self.overrides.get(name).or_else(|| self.defaults.get(name));
        Ok(match set {
            Some(value) => value,
            None => key(name)?.default,
        })
    }

    fn number(&self, name: &'static str) -> Result<i64, TopicConfigError> {
        let value = self.text(name)?;
        value.parse().map_err(|_| TopicConfigError::Invalid {
            key: name,
            value: value.to_owned(),
            expected: "a whole number".to_owned(),
        })
    }

    /// A number whose entry allows none below zero.
    fn int(&self, name: &'static str) -> Result<u32, TopicConfigError> {
        Ok(u32::try_from(self.number(name)?).unwrap_or_default())
    }

    /// A share as hundredths, rounded.
    fn percent(&self, name: &'static str) -> Result<u8, TopicConfigError> {
        let share: f64 = self.text(name)?.parse().unwrap_or_default();
        Ok((share * 100.0).round().clamp(0.0, 100.0) as u8)
    }

    fn millis(&self, name: &'static str) -> Result<Duration, TopicConfigError> {
        Ok(Duration::from_millis(u64::try_from(self.number(name)?).unwrap_or_default()))
    }

    /// `None` for -1.
    fn optional(&self, name: &'static str) -> Result<Option<u64>, TopicConfigError> {
        Ok(u64::try_from(self.number(name)?).ok())
    }

    /// `None` for the highest long.
    fn limit(&self, name: &'static str) -> Result<Option<u64>, TopicConfigError> {
        let number = self.number(name)?;
        Ok(if number == NO_LIMIT { None } else { u64::try_from(number).ok() })
    }
}

#[cfg(test)]
mod tests;
