use std::{collections::BTreeMap, time::Duration};

use super::{
    ConfigChange, ConfigSource, Delivery, Durability, TABLE, TopicConfig, TopicConfigError, TopicDefaults,
    alter, alter::AlterOp, check, name,
};
use crate::model::PartitionIndex;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_table_is_ordered_and_every_default_passes_its_own_rule_unchanged() {
    assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
    for key in TABLE {
        assert_eq!(check(key.name, key.default).as_deref(), Ok(key.default), "{}", key.name);
        assert!(!key.doc.is_empty(), "{}", key.name);
    }
}

#[test]
fn a_topic_without_overrides_has_the_documented_defaults() {
    let config = TopicConfig::resolve(&BTreeMap::new()).unwrap();
    assert_eq!(config.retention_time, Some(Duration::from_hours(7 * 24)));
    assert_eq!(config.retention_bytes, None);
    assert_eq!(config.segment_bytes, 1 << 30);
    assert_eq!(config.max_message_bytes, 1_048_588);
    assert_eq!(config.timestamp_after_max, Some(Duration::from_hours(1)));
    assert_eq!(config.timestamp_before_max, None);
    assert_eq!(config.flush_messages, None);
    assert_eq!(config.durability, Durability::Disk);
}

#[test]
fn an_override_wins_over_the_node_and_the_node_over_the_table() {
    let node = TopicDefaults::new(&map(&[("retention.ms", "5000"), ("segment.bytes", "2048")])).unwrap();
    let config = node.resolve(&map(&[("retention.ms", "-1")])).unwrap();
    assert_eq!(config.retention_time, None);
    assert_eq!(config.segment_bytes, 2048);
    assert_eq!(config.index_interval_bytes, 4096);
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let refused = TopicConfig::resolve(&map(&[("retention.sm", "1")]));
    assert_eq!(refused, Err(TopicConfigError::UnknownKey { key: "retention.sm".into() }));
}

#[test]
fn a_value_that_kafka_serves_and_we_do_not_is_refused_with_the_reason() {
    for (key, value) in [("compression.type", "zstd"), ("preallocate", "TRUE")] {
        let refused = check(key, value);
        assert!(matches!(refused, Err(TopicConfigError::Unsupported { .. })), "{key}={value}: {refused:?}");
    }
}

#[test]
fn a_value_out_of_range_or_of_another_kind_is_refused() {
    for (key, value) in [
        ("retention.ms", "-2"),
        ("retention.ms", "7d"),
        ("segment.bytes", "1023"),
        ("segment.bytes", "2147483648"),
        ("min.insync.replicas", "0"),
        ("max.message.bytes", ""),
        ("durability", "Disk"),
        ("preallocate", "maybe"),
        ("cleanup.policy", ""),
        ("cleanup.policy", "compact,keep"),
        ("min.cleanable.dirty.ratio", "1.5"),
        ("min.cleanable.dirty.ratio", "NaN"),
        ("flush.ms", "9223372036854775808"),
        ("max.delivery.attempts", "-1"),
        ("max.delivery.attempts.overrides", "0:5,0:6"),
        ("max.delivery.attempts.overrides", "0:-1"),
        ("max.delivery.attempts.overrides", "-1:1"),
        ("max.delivery.attempts.overrides", "0"),
        ("max.delivery.attempts.overrides", "0:2147483648"),
        ("dead.letter.topic", "no/name"),
        ("dead.letter.topic", ".."),
    ] {
        let refused = check(key, value);
        assert!(matches!(refused, Err(TopicConfigError::Invalid { .. })), "{key}={value}: {refused:?}");
    }
}

#[test]
fn values_are_kept_trimmed_and_in_one_spelling() {
    assert_eq!(check("retention.ms", " 0100 ").as_deref(), Ok("100"));
    assert_eq!(check("preallocate", "False").as_deref(), Ok("false"));
    assert_eq!(check("cleanup.policy", " delete , delete").as_deref(), Ok("delete"));
    assert_eq!(check("min.cleanable.dirty.ratio", " 0.50").as_deref(), Ok("0.5"));
    assert_eq!(check("max.delivery.attempts.overrides", " 3 : 1,0:05 ").as_deref(), Ok("0:5,3:1"));
    assert_eq!(check("max.delivery.attempts.overrides", "").as_deref(), Ok(""));
}

#[test]
fn an_alteration_sets_and_deletes_and_leaves_the_rest() {
    let before = map(&[("retention.ms", "1"), ("segment.ms", "2")]);
    let changes = [ConfigChange::set("flush.ms", "3"), ConfigChange::delete("segment.ms")];
    let after = alter(&before, &BTreeMap::new(), &changes).unwrap();
    assert_eq!(after, map(&[("retention.ms", "1"), ("flush.ms", "3")]));
}

#[test]
fn append_and_subtract_are_for_lists_only() {
    let change = |key: &str, op, value: &str| ConfigChange { key: key.into(), op, value: Some(value.into()) };
    let none = BTreeMap::new();
    for op in [AlterOp::Append, AlterOp::Subtract] {
        let refused = alter(&none, &none, &[change(name::RETENTION_MS, op, "1")]);
        assert_eq!(refused, Err(TopicConfigError::NotAList { key: "retention.ms" }));
    }
    let appended = alter(&none, &none, &[change(name::CLEANUP_POLICY, AlterOp::Append, "delete")]).unwrap();
    assert_eq!(appended, map(&[("cleanup.policy", "delete")]));
    let both = alter(&none, &none, &[change(name::CLEANUP_POLICY, AlterOp::Append, "compact")]).unwrap();
    assert_eq!(both, map(&[("cleanup.policy", "delete,compact")]));
    let config = TopicConfig::resolve(&both).unwrap();
    assert!(config.deletes && config.compacts);
    let emptied = alter(&none, &none, &[change(name::CLEANUP_POLICY, AlterOp::Subtract, "delete")]);
    assert!(matches!(emptied, Err(TopicConfigError::Invalid { .. })));
}

#[test]
fn an_alteration_that_is_refused_in_one_key_names_it_and_changes_nothing() {
    let none = BTreeMap::new();
    let twice = [ConfigChange::set("flush.ms", "3"), ConfigChange::set("flush.ms", "4")];
    assert_eq!(alter(&none, &none, &twice), Err(TopicConfigError::Twice { key: "flush.ms".into() }));
    let no_value = ConfigChange { key: "flush.ms".into(), op: AlterOp::Set, value: None };
    assert_eq!(alter(&none, &none, &[no_value]), Err(TopicConfigError::NoValue { key: "flush.ms".into() }));
}

#[test]
fn a_description_says_who_set_each_value_and_what_else_would_apply() {
    let node = TopicDefaults::new(&map(&[("retention.ms", "5000")])).unwrap();
    let entries = node.describe(&map(&[("retention.ms", "7000")]));
    assert_eq!(entries.len(), TABLE.len());
    let entry = entries.iter().find(|entry| entry.name == "retention.ms").unwrap();
    assert_eq!((entry.value.as_str(), entry.source), ("7000", ConfigSource::Topic));
    let synonyms: Vec<_> = entry.synonyms.iter().map(|s| (s.name, s.value.as_str(), s.source)).collect();
    assert_eq!(
        synonyms,
        [
            ("retention.ms", "7000", ConfigSource::Topic),
            ("log.retention.ms", "5000", ConfigSource::Node),
            ("log.retention.ms", "604800000", ConfigSource::Default),
        ]
    );
}

#[test]
fn a_partition_has_the_limit_of_the_topic_unless_it_has_its_own() {
    let delivery = |pairs: &[(&str, &str)]| TopicConfig::resolve(&map(pairs)).unwrap().delivery;
    let limit = |delivery: &Delivery, index| delivery.limit(PartitionIndex::new(index));
    let none = delivery(&[]);
    assert_eq!((limit(&none, 0), none.is_limited()), (None, false));
    assert_eq!(none.dead_letters_of("orders"), "orders.dead-letter");
    let overridden = delivery(&[
        ("max.delivery.attempts", "3"),
        ("max.delivery.attempts.overrides", "0:5,3:0"),
        ("dead.letter.topic", "graveyard"),
    ]);
    assert_eq!([0, 1, 3].map(|index| limit(&overridden, index)), [Some(5), Some(3), None]);
    assert_eq!(overridden.dead_letters_of("orders"), "graveyard");
    assert!(delivery(&[("max.delivery.attempts.overrides", "7:1")]).is_limited());
    assert!(!delivery(&[("max.delivery.attempts.overrides", "7:0")]).is_limited());
}
