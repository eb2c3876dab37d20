//! What of a broker's settings can be changed while it runs, under Kafka's names (KIP-226).
//!
//! Such a change is for one broker or for all of them, is kept with the metadata, and goes before the
//! node's own file. What cannot be changed is refused with the setting to change instead: a broker
//! that took it in silence would go on as before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    node::settings::{self, SETTINGS},
    phrase::{Phrase, phrase},
    topic::{ConfigChange, TABLE, TopicConfigError, TopicDefaults, TopicKey, alter_with, check_value},
};

/// What was set while brokers run, by Kafka's names.
#[derive(Clone, Copy, Debug)]
pub struct DynamicConfigs<'a> {
    /// For one broker; goes before the others.
    pub of_one: &'a BTreeMap<String, String>,
    /// For all brokers.
    pub of_all: &'a BTreeMap<String, String>,
}

static NONE: BTreeMap<String, String> = BTreeMap::new();

impl DynamicConfigs<'_> {
    /// Nothing was set.
    pub const NONE: DynamicConfigs<'static> = DynamicConfigs { of_one: &NONE, of_all: &NONE };

    /// The value that goes before the node's own.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.of_one.get(name).or_else(|| self.of_all.get(name)).map(String::as_str)
    }

    /// The same as a number; `None` too where the node's own value holds.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.get(name)?.parse().ok()
    }
}

/// Why a broker's config is not changed. All of these are Kafka's error 40, unless the request itself is
/// malformed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum BrokerConfigError {
    /// There is no such config here; Kafka may have it.
    #[error("unknown broker config {key:?}")]
    UnknownKey {
        /// As it was given.
        key: String,
    },
    /// It is read when the node starts.
    #[error("broker config {key} cannot be changed while the broker runs: {instead}")]
    ReadOnly {
        /// The config.
        #[serde(deserialize_with = "phrase")]
        key: Phrase,
        /// What to do instead.
        #[serde(deserialize_with = "phrase")]
        instead: Phrase,
    },
    /// The value does not fit.
    #[error(transparent)]
    Value(#[from] TopicConfigError),
}

/// The overrides after all of `changes`, or the first refusal. `defaults` are those below the overrides.
pub fn alter(
    overrides: &BTreeMap<String, String>,
    defaults: &TopicDefaults,
    changes: &[ConfigChange],
) -> Result<BTreeMap<String, String>, BrokerConfigError> {
    let values = defaults.values();
    let inherited =
        TABLE.iter().filter_map(|key| Some((key.of_broker().to_owned(), values.get(key.name)?.clone())));
    alter_with(overrides, &inherited.collect(), changes, key)
}

/// The same keys with each value checked and written as it is to be kept.
pub fn checked(values: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, BrokerConfigError> {
    values.iter().map(|(name, value)| Ok((name.clone(), check_value(&key(name)?, value)?))).collect()
}

/// A config that can be changed: a topics' default or one of the broker's own.
fn key(name: &str) -> Result<TopicKey, BrokerConfigError> {
    if let Some(of_topics) = TABLE.iter().find(|key| key.of_broker() == name) {
        return Ok(TopicKey { name: of_topics.of_broker(), ..*of_topics });
    }
    let unknown = || BrokerConfigError::UnknownKey { key: name.to_owned() };
    let setting = SETTINGS.iter().find(|setting| setting.name == name).ok_or_else(unknown)?;
    match setting.change {
        settings::Change::Running(rule) => Ok(TopicKey {
            name: setting.name,
            broker_name: None,
            kind: setting.kind,
            default: setting.default,
            rule,
            ours: false,
            doc: setting.doc,
        }),
        settings::Change::Never(instead) => Err(BrokerConfigError::ReadOnly { key: setting.name, instead }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{BrokerConfigError, DynamicConfigs, alter, checked, key};
    use crate::config::{
        node::settings::{Change, SETTINGS},
        topic::{AlterOp, ConfigChange, TABLE, TopicConfigError, TopicDefaults},
    };

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_default_of_topics_can_be_changed_under_the_name_that_brokers_have() {
        for of_topics in TABLE {
            let name = of_topics.broker_name.unwrap_or(of_topics.name);
            let default = map(&[(name, of_topics.default)]);
            assert_eq!(checked(&default), Ok(default.clone()), "{name}");
        }
        assert_eq!(
            key("retention.ms").map(|key| key.name),
            Err(BrokerConfigError::UnknownKey { key: "retention.ms".to_owned() })
        );
    }

    #[test]
    fn what_is_read_at_the_start_is_refused_with_the_setting_to_change_instead() {
        let mut fixed = 0;
        for setting in SETTINGS {
            match key(setting.name) {
                Ok(found) => assert_eq!(checked(&map(&[(found.name, found.default)])).map(|_| ()), Ok(())),
                Err(error @ BrokerConfigError::ReadOnly { .. }) => {
                    fixed += 1;
                    let Change::Never(instead) = setting.change else { panic!("{}", setting.name) };
                    assert!(error.to_string().contains(setting.name) && error.to_string().contains(instead));
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(fixed > 5);
    }

    #[test]
    fn one_brokers_value_goes_before_that_of_all_and_both_before_the_file() {
        let file = TopicDefaults::new(&map(&[("retention.ms", "1"), ("segment.ms", "2")])).unwrap();
        let (of_one, of_all) = (
            map(&[("log.retention.ms", "30")]),
            map(&[("log.retention.ms", "20"), ("log.segment.bytes", "4096")]),
        );
        let dynamic = DynamicConfigs { of_one: &of_one, of_all: &of_all };
        let values = file.with(dynamic).values();
        assert_eq!(values, map(&[("retention.ms", "30"), ("segment.bytes", "4096"), ("segment.ms", "2")]));
        assert_eq!(file.with(DynamicConfigs::NONE).values(), file.values());
        assert_eq!(
            (dynamic.number("log.segment.bytes"), dynamic.number("max.connections")),
            (Some(4096), None)
        );
    }

    #[test]
    fn a_change_is_checked_by_the_rule_of_the_config_and_names_it() {
        let change = |key: &str, op, value: Option<&str>| {
            let change = ConfigChange { key: key.to_owned(), op, value: value.map(str::to_owned) };
            alter(&map(&[("max.connections", "7")]), &TopicDefaults::default(), &[change])
        };
        assert_eq!(change("max.connections", AlterOp::Set, Some("9")), Ok(map(&[("max.connections", "9")])));
        assert_eq!(change("max.connections", AlterOp::Delete, None), Ok(map(&[])));
        let bad = change("log.retention.ms", AlterOp::Set, Some("soon")).unwrap_err().to_string();
        assert!(bad.contains("log.retention.ms") && bad.contains("soon"), "{bad}");
        let compact = change("log.cleanup.policy", AlterOp::Append, Some("compact")).unwrap();
        assert_eq!(compact.get("log.cleanup.policy").map(String::as_str), Some("delete,compact"));
        let whole = change("log.preallocate", AlterOp::Set, Some("true"));
        assert!(matches!(whole, Err(BrokerConfigError::Value(TopicConfigError::Unsupported { .. }))));
        assert!(change("num.io.threads", AlterOp::Set, Some("8")).is_err());
    }
}
