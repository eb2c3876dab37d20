//! The one table of group configs: what is not in it is refused by name.

use crate::config::topic::{ConfigKind, Rule, TopicKey};

/// The names, for code that reads one value.
#[allow(missing_docs, reason = "the table documents each")]
pub mod name {
    pub const ASSIGNOR: &str = "assignor";
    pub const CONSUMER_HEARTBEAT_INTERVAL_MS: &str = "consumer.heartbeat.interval.ms";
    pub const CONSUMER_SESSION_TIMEOUT_MS: &str = "consumer.session.timeout.ms";
}

const fn millis(
    name: &'static str,
    broker_name: &'static str,
    default: &'static str,
    doc: &'static str,
) -> TopicKey {
    // The bounds are the node's, and checked with its settings at hand.
    let rule = Rule::Range { min: 1, max: i32::MAX as i64 };
    TopicKey { name, broker_name: Some(broker_name), kind: ConfigKind::Int, default, rule, ours: false, doc }
}

/// Every group config, ordered by name.
pub const TABLE: &[TopicKey] = &[
    TopicKey {
        name: name::ASSIGNOR,
        broker_name: None,
        kind: ConfigKind::String,
        default: "",
        rule: Rule::OneOf(&["", "exclusive"]),
        ours: true,
        doc: "Who assigns in a group of the classic protocol. Empty: its leading member, as in Kafka. \
              \"exclusive\": the coordinator, which gives at most one partition to each member; the others \
              stand by and take over when an owner goes.",
    },
    millis(
        name::CONSUMER_HEARTBEAT_INTERVAL_MS,
        "group.consumer.heartbeat.interval.ms",
        "5000",
        "Milliseconds from one heartbeat of a member of the server-side protocol to the next, within \
         group.consumer.min.heartbeat.interval.ms and group.consumer.max.heartbeat.interval.ms of the broker.",
    ),
    millis(
        name::CONSUMER_SESSION_TIMEOUT_MS,
        "group.consumer.session.timeout.ms",
        "15000",
        "Milliseconds after which a member of the server-side protocol that was not heard of is given up, within \
         group.consumer.min.session.timeout.ms and group.consumer.max.session.timeout.ms of the broker, and above \
         consumer.heartbeat.interval.ms.",
    ),
];

/// Kinds of groups that Kafka has configs for and that are not served, each with its keys.
pub(super) const UNSERVED: &[(&str, &[&str])] = &[
    (
        "share groups",
        &[
            "share.auto.offset.reset",
            "share.heartbeat.interval.ms",
            "share.isolation.level",
            "share.record.lock.duration.ms",
            "share.session.timeout.ms",
        ],
    ),
    (
        "streams groups",
        &["streams.heartbeat.interval.ms", "streams.num.standby.replicas", "streams.session.timeout.ms"],
    ),
];
