use std::{collections::BTreeMap, time::Duration};

use super::{ClassicAssignor, GroupConfig, GroupConfigError, TABLE, alter, checked, describe, name};
use crate::config::{
    node::{BoundedSpan, ConsumerGroupSettings},
    topic::{AlterOp, ConfigChange, ConfigSource, TopicConfigError},
};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn settings() -> ConsumerGroupSettings {
    ConsumerGroupSettings::default()
}

fn set(key: &str, value: &str) -> Result<BTreeMap<String, String>, GroupConfigError> {
    alter(&settings(), &BTreeMap::new(), &[ConfigChange::set(key, value)])
}

#[test]
fn the_table_is_ordered_and_says_what_a_node_has_where_nobody_sets_anything() {
    assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
    for key in TABLE {
        assert_eq!(set(key.name, key.default), Ok(map(&[(key.name, key.default)])));
        assert!(!key.doc.is_empty(), "{}", key.name);
    }
    let defaults: BTreeMap<_, _> =
        TABLE.iter().map(|key| (key.name.to_owned(), key.default.to_owned())).collect();
    assert_eq!(GroupConfig::resolve(&settings(), &defaults), GroupConfig::default());
}

#[test]
fn an_override_goes_before_the_nodes_setting() {
    let seconds = Duration::from_secs;
    let of_node = ConsumerGroupSettings {
        session_timeout: BoundedSpan { default: seconds(30), min: seconds(10), max: seconds(40) },
        ..settings()
    };
    let session = |overrides| GroupConfig::resolve(&of_node, &map(overrides)).consumer_session_timeout;
    assert_eq!(session(&[]), seconds(30));
    assert_eq!(session(&[(name::CONSUMER_SESSION_TIMEOUT_MS, "12000")]), seconds(12));
}

#[test]
fn what_was_kept_under_wider_bounds_is_brought_within_those_of_today() {
    let seconds = Duration::from_secs;
    let of_node = ConsumerGroupSettings {
        session_timeout: BoundedSpan { default: seconds(30), min: seconds(10), max: seconds(40) },
        ..settings()
    };
    let session = |value| {
        let kept = map(&[(name::CONSUMER_SESSION_TIMEOUT_MS, value)]);
        GroupConfig::resolve(&of_node, &kept).consumer_session_timeout
    };
    assert_eq!((session("6000"), session("60000")), (seconds(10), seconds(40)));
}

#[test]
fn exclusive_is_set_and_taken_away_again() {
    let kept = set(name::ASSIGNOR, "exclusive").unwrap();
    assert_eq!(GroupConfig::resolve(&settings(), &kept).assignor, ClassicAssignor::Exclusive);
    let change = ConfigChange::delete(name::ASSIGNOR);
    assert_eq!(alter(&settings(), &kept, &[change]), Ok(map(&[])));
    let empty = set(name::ASSIGNOR, "").unwrap();
    assert_eq!(GroupConfig::resolve(&settings(), &empty).assignor, ClassicAssignor::Leader);
    assert!(matches!(set(name::ASSIGNOR, "range"), Err(GroupConfigError::Value(_))));
}

#[test]
fn a_value_beyond_the_nodes_bounds_is_refused_with_the_bound() {
    for (key, value, bound) in [
        ("consumer.heartbeat.interval.ms", "999", "group.consumer.min.heartbeat.interval.ms, which is 1000"),
        (
            "consumer.heartbeat.interval.ms",
            "15001",
            "group.consumer.max.heartbeat.interval.ms, which is 15000",
        ),
        ("consumer.session.timeout.ms", "5999", "group.consumer.min.session.timeout.ms, which is 6000"),
        ("consumer.session.timeout.ms", "60001", "group.consumer.max.session.timeout.ms, which is 60000"),
    ] {
        let text = set(key, value).unwrap_err().to_string();
        assert!(text.contains(key) && text.ends_with(bound), "{text}");
    }
    assert!(set("consumer.session.timeout.ms", "6000").is_ok());
    assert!(set("consumer.session.timeout.ms", "60000").is_ok());
}

#[test]
fn a_session_that_ends_between_two_heartbeats_is_refused() {
    let values = |heartbeat: &str, session: &str| {
        checked(
            &settings(),
            &map(&[
                (name::CONSUMER_HEARTBEAT_INTERVAL_MS, heartbeat),
                (name::CONSUMER_SESSION_TIMEOUT_MS, session),
            ]),
        )
    };
    assert!(values("9999", "10000").is_ok());
    let refused = values("10000", "10000").unwrap_err().to_string();
    assert!(refused.contains("must be greater than consumer.heartbeat.interval.ms"), "{refused}");
    // Against the node's default too.
    let short = map(&[(name::CONSUMER_SESSION_TIMEOUT_MS, "6000")]);
    let slower = ConfigChange::set(name::CONSUMER_HEARTBEAT_INTERVAL_MS, "7000");
    assert!(matches!(alter(&settings(), &short, &[slower]), Err(GroupConfigError::Bound { .. })));
}

#[test]
fn keys_of_kinds_of_groups_that_are_not_served_are_told_apart_from_unknown_ones() {
    for key in ["share.session.timeout.ms", "streams.num.standby.replicas"] {
        let text = set(key, "1").unwrap_err().to_string();
        assert!(text.contains(key) && text.ends_with("groups are not served"), "{text}");
    }
    let unknown = GroupConfigError::UnknownKey { key: "retention.ms".to_owned() };
    assert_eq!(set("retention.ms", "1"), Err(unknown));
    let append = ConfigChange {
        key: name::ASSIGNOR.to_owned(),
        op: AlterOp::Append,
        value: Some("exclusive".to_owned()),
    };
    let not_a_list = TopicConfigError::NotAList { key: name::ASSIGNOR };
    assert_eq!(alter(&settings(), &map(&[]), &[append]), Err(not_a_list.into()));
}

#[test]
fn a_group_is_described_with_who_set_what() {
    let of_node = ConsumerGroupSettings {
        heartbeat_interval: BoundedSpan { default: Duration::from_secs(3), ..settings().heartbeat_interval },
        ..settings()
    };
    let entries = describe(&of_node, &map(&[(name::CONSUMER_SESSION_TIMEOUT_MS, "10000")]));
    let told =
        entries.iter().map(|entry| (entry.name, entry.value.as_str(), entry.source, entry.synonyms.len()));
    let told: Vec<_> = told.collect();
    assert_eq!(
        told,
        [
            (name::ASSIGNOR, "", ConfigSource::Default, 1),
            (name::CONSUMER_HEARTBEAT_INTERVAL_MS, "3000", ConfigSource::Node, 2),
            (name::CONSUMER_SESSION_TIMEOUT_MS, "10000", ConfigSource::Group, 2),
        ]
    );
    assert_eq!(entries[1].synonyms[0].name, "group.consumer.heartbeat.interval.ms");
}
