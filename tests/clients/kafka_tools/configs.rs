//! `kafka-configs`: topics, groups, brokers, log levels.

use super::{
    Tools,
    class::{CONFIGS, TOPICS},
};

/// A tool pointed at one entity.
struct Entity<'a> {
    tools: &'a Tools,
    entity: &'a [&'a str],
}

impl Entity<'_> {
    #[track_caller]
    fn describe(&self, more: &[&str]) -> String {
        self.tools.must(CONFIGS, &[self.entity, &["--describe"], more].concat())
    }

    #[track_caller]
    fn alter(&self, change: &[&str]) {
        let said = self.tools.must(CONFIGS, &[self.entity, &["--alter"], change].concat());
        assert!(said.contains("Completed updating"), "{said}");
    }

    #[track_caller]
    fn refused(&self, change: &[&str], reason: &str) {
        self.tools.refused(CONFIGS, &[self.entity, &["--alter"], change].concat(), reason);
    }
}

#[test]
fn configs_of_topics_are_described_and_altered() {
    let Some(tools) = Tools::find("configs_of_topics_are_described_and_altered") else { return };
    tools.must(TOPICS, &["--create", "--topic", "t", "--config", "retention.ms=100000"]);
    let topic = Entity { tools: &tools, entity: &["--entity-type", "topics", "--entity-name", "t"] };
    assert!(topic.describe(&[]).contains("retention.ms=100000"));
    topic.alter(&["--add-config", "max.message.bytes=5000,flush.ms=7", "--delete-config", "retention.ms"]);
    let set = topic.describe(&[]);
    let shown =
        "max.message.bytes=5000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:max.message.bytes=5000";
    assert!(set.contains(shown) && set.contains("flush.ms=7") && !set.contains("retention.ms"), "{set}");
    let all = topic.describe(&["--all"]);
    assert!(all.contains("retention.ms=604800000") && all.lines().count() > 15, "{all}");
    topic.refused(&["--add-config", "no.such.key=1"], "no.such.key");
    topic.alter(&["--add-config", "cleanup.policy=[compact,delete],min.cleanable.dirty.ratio=0.25"]);
    let compacted = topic.describe(&[]);
    assert!(compacted.contains("cleanup.policy=compact,delete"), "{compacted}");
    assert!(compacted.contains("min.cleanable.dirty.ratio=0.25"), "{compacted}");
    topic.refused(&["--add-config", "cleanup.policy=keep"], "InvalidConfigurationException");
    topic.refused(&["--add-config", "retention.ms=soon"], "InvalidConfigurationException");
}

#[test]
fn configs_of_groups_are_described_and_altered_whether_they_exist_or_not() {
    let Some(tools) = Tools::find("configs_of_groups_are_described_and_altered_whether_they_exist_or_not")
    else {
        return;
    };
    let group = Entity { tools: &tools, entity: &["--entity-type", "groups", "--entity-name", "g"] };
    group.alter(&["--add-config", "consumer.session.timeout.ms=10000,assignor=exclusive"]);
    let set = group.describe(&[]);
    let synonyms = "consumer.session.timeout.ms=10000 sensitive=false \
                    synonyms={DYNAMIC_GROUP_CONFIG:consumer.session.timeout.ms=10000";
    assert!(set.contains(synonyms) && set.contains("assignor=exclusive"), "{set}");
    let all = group.describe(&["--all"]);
    assert!(all.contains("consumer.heartbeat.interval.ms=5000"), "{all}");
    group.alter(&["--delete-config", "assignor"]);
    assert!(!group.describe(&[]).contains("assignor"), "its default is not the group's");
    group.refused(&["--add-config", "consumer.session.timeout.ms=5"], "InvalidConfigurationException");
    group.refused(&["--add-config", "no.such.key=1"], "unknown group config");
}

#[test]
fn configs_of_brokers_are_described_and_altered_or_refused_with_the_setting() {
    let Some(tools) = Tools::find("configs_of_brokers_are_described_and_altered_or_refused_with_the_setting")
    else {
        return;
    };
    let one = Entity { tools: &tools, entity: &["--entity-type", "brokers", "--entity-name", "1"] };
    let all = Entity { tools: &tools, entity: &["--entity-type", "brokers", "--entity-default"] };
    let described = one.describe(&["--all"]);
    for part in ["num.partitions=4", "max.connections=10000", "log.retention.ms=604800000", "node.id=1"] {
        assert!(described.contains(part), "{part}: {described}");
    }
    one.alter(&["--add-config", "log.retention.ms=777"]);
    all.alter(&["--add-config", "log.retention.ms=888,max.connections=99"]);
    let set = one.describe(&[]);
    let synonyms = "synonyms={DYNAMIC_BROKER_CONFIG:log.retention.ms=777, \
                    DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=888, \
                    DEFAULT_CONFIG:log.retention.ms=604800000}";
    assert!(set.contains(synonyms), "{set}");
    let set = all.describe(&[]);
    assert!(set.contains("log.retention.ms=888") && set.contains("max.connections=99"), "{set}");
    one.refused(&["--add-config", "num.partitions=9"], "set default-partitions and start it again");
    one.refused(&["--add-config", "no.such.key=1"], "unknown broker config");
    one.alter(&["--delete-config", "log.retention.ms"]);
    all.alter(&["--delete-config", "log.retention.ms,max.connections"]);
    assert!(!one.describe(&[]).contains('='), "nothing is set any more");
}

#[test]
fn log_levels_are_described_and_altered() {
    let Some(tools) = Tools::find("log_levels_are_described_and_altered") else { return };
    let loggers =
        Entity { tools: &tools, entity: &["--entity-type", "broker-loggers", "--entity-name", "1"] };
    let described = loggers.describe(&[]);
    assert!(described.contains("root=WARN") && described.contains("polylogue.kafka=INFO"), "{described}");
    loggers.alter(&["--add-config", "polylogue.kafka=DEBUG"]);
    assert!(loggers.describe(&[]).contains("polylogue.kafka=DEBUG"));
    loggers.alter(&["--delete-config", "polylogue.kafka"]);
    assert!(loggers.describe(&[]).contains("polylogue.kafka=INFO"));
    loggers.refused(&["--add-config", "polylogue.kafka=FATAL"], "TRACE, DEBUG, INFO, WARN, ERROR, OFF");
    loggers.refused(&["--add-config", "kafka.server=INFO"], "kafka.server");
}
