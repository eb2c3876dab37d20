//! Configs of brokers and log levels: shown, changed while the node runs, kept or refused with the reason.

use polylogue::{
    local_cluster::LocalNode,
    wire::{
        ErrorCode, Str,
        api::{
            alter_configs::{self, AlterConfigsRequest},
            describe_configs::{
                DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResult, resource, source,
            },
            incremental_alter_configs::{
                AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, operation,
            },
        },
    },
};

use crate::{
    batches::batch_of,
    nodes::{kill_and_start, restart},
    peer::Peer,
    support::{WITHIN, eventually, start_node},
};

/// What `config_source` is of a log level.
const LOGGER: i8 = 6;

fn describe(peer: &mut Peer, resource_type: i8, name: &str) -> DescribeConfigsResult {
    let asked =
        DescribeConfigsResource { resource_type, resource_name: name.into(), configuration_keys: None };
    let request = DescribeConfigsRequest {
        resources: vec![asked],
        include_synonyms: true,
        include_documentation: true,
    };
    peer.call(4, &request).results.remove(0)
}

/// Value and source of a config; `None` where it is not shown.
fn shown(peer: &mut Peer, resource_type: i8, name: &str, key: &str) -> Option<(String, i8)> {
    let result = describe(peer, resource_type, name);
    assert_eq!(result.error_code, ErrorCode::None, "{:?}", result.error_message);
    let config = result.configs.into_iter().find(|config| config.name == key)?;
    Some((config.value?.to_string(), config.config_source))
}

fn of_broker(peer: &mut Peer, key: &str) -> (String, i8) {
    shown(peer, resource::BROKER, "1", key).unwrap()
}

/// One change of one config; what is answered.
fn change(
    peer: &mut Peer,
    resource: (i8, &str),
    key: &str,
    (config_operation, value): (i8, Option<&str>),
    validate_only: bool,
) -> (ErrorCode, Option<Str>) {
    let config = AlterableConfig { name: key.into(), config_operation, value: value.map(Str::from) };
    let resources = vec![AlterConfigsResource {
        resource_type: resource.0,
        resource_name: resource.1.into(),
        configs: vec![config],
    }];
    let answer =
        peer.call(1, &IncrementalAlterConfigsRequest { resources, validate_only }).responses.remove(0);
    (answer.error_code, answer.error_message)
}

#[track_caller]
fn set(peer: &mut Peer, resource: (i8, &str), key: &str, value: &str) {
    let answer = change(peer, resource, key, (operation::SET, Some(value)), false);
    assert_eq!(answer, (ErrorCode::None, None), "{key}={value}");
}

#[track_caller]
fn delete(peer: &mut Peer, resource: (i8, &str), key: &str) {
    let answer = change(peer, resource, key, (operation::DELETE, None), false);
    assert_eq!(answer, (ErrorCode::None, None), "{key}");
}

const ONE: (i8, &str) = (resource::BROKER, "1");
const ALL: (i8, &str) = (resource::BROKER, "");
const LOGGERS: (i8, &str) = (resource::BROKER_LOGGER, "1");

#[test]
fn every_setting_that_kafka_names_is_shown_with_its_kind_its_meaning_and_what_it_hides() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let broker = describe(&mut peer, resource::BROKER, "1");
    assert_eq!(broker.error_code, ErrorCode::None);
    assert!(broker.configs.len() > 30, "{}", broker.configs.len());
    for config in &broker.configs {
        assert!(config.config_type > 0 && config.value.is_some(), "{}", config.name);
        assert!(config.documentation.as_ref().is_some_and(|text| text.len() > 10), "{}", config.name);
        let last = config.synonyms.last().unwrap();
        assert_eq!(last.source, source::DEFAULT, "{}", config.name);
        assert_eq!(config.synonyms[0].value, config.value, "{}: the one in force comes first", config.name);
    }
    let value = |key: &str| broker.configs.iter().find(|config| config.name == key).unwrap().value.clone();
    assert_eq!(value("listeners"), Some(format!("PLAINTEXT://{}", node.kafka_address()).into()));
    assert_eq!(value("log.dirs"), Some(node.data_folder().display().to_string().into()));
    assert!(describe(&mut peer, resource::BROKER, "").configs.is_empty(), "nothing was set for all");
    let elsewhere = describe(&mut peer, resource::BROKER, "2");
    assert_eq!(elsewhere.error_code, ErrorCode::InvalidRequest);
}

#[test]
fn a_default_of_topics_that_is_set_for_brokers_holds_at_once_and_over_a_restart() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("modest", 1, &[]);
    peer.create("own", 1, &[("max.message.bytes", "5000")]);
    peer.append("modest", batch_of(2000));
    set(&mut peer, ALL, "message.max.bytes", "1500");
    let too_large = |node: &LocalNode, bytes: usize| {
        eventually("the default holds", WITHIN, || {
            let answer = Peer::connect(node).produce("modest", batch_of(bytes)).error_code;
            (answer == ErrorCode::MessageTooLarge).then_some(())
        });
    };
    too_large(&node, 2000);
    peer.append("modest", batch_of(1000));
    peer.append("own", batch_of(2000));
    let of_topic = |peer: &mut Peer| shown(peer, resource::TOPIC, "modest", "max.message.bytes").unwrap();
    assert_eq!(of_topic(&mut peer), ("1500".to_owned(), source::DYNAMIC_DEFAULT_BROKER));
    assert_eq!(
        of_broker(&mut peer, "message.max.bytes"),
        ("1500".to_owned(), source::DYNAMIC_DEFAULT_BROKER)
    );
    assert_eq!(
        shown(&mut peer, resource::BROKER, "", "message.max.bytes"),
        Some(("1500".to_owned(), source::DYNAMIC_DEFAULT_BROKER))
    );

    set(&mut peer, ONE, "message.max.bytes", "700");
    too_large(&node, 1000);
    for step in [kill_and_start, restart] {
        step(&mut node);
        too_large(&node, 1000);
        let mut peer = Peer::connect(&node);
        assert_eq!(of_topic(&mut peer), ("700".to_owned(), source::DYNAMIC_BROKER));
    }
    let mut peer = Peer::connect(&node);
    delete(&mut peer, ONE, "message.max.bytes");
    delete(&mut peer, ALL, "message.max.bytes");
    assert_eq!(of_topic(&mut peer), ("1048588".to_owned(), source::DEFAULT));
    eventually("the default is gone", WITHIN, || {
        (peer.produce("modest", batch_of(2000)).error_code == ErrorCode::None).then_some(())
    });
}

#[test]
fn a_bound_on_connections_that_is_changed_holds_for_the_next_one() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    set(&mut peer, ONE, "max.connections", "1");
    assert_eq!(of_broker(&mut peer, "max.connections"), ("1".to_owned(), source::DYNAMIC_BROKER));
    let refused = |node: &LocalNode| Peer::connect(node).read_until_closed();
    assert_eq!(refused(&node), Vec::<u8>::new());
    set(&mut peer, ONE, "max.connections", "2");
    assert!(Peer::connect(&node).metadata(&[], false).cluster_id.is_some());
    set(&mut peer, ALL, "max.connections.per.ip", "1");
    assert_eq!(refused(&node), Vec::<u8>::new());
    drop(peer);
    kill_and_start(&mut node);
    let mut peer = eventually("the one place is free", WITHIN, || {
        let mut peer = Peer::connect(&node);
        let heard = peer.frame(12, &polylogue::wire::api::metadata::MetadataRequest::default());
        (peer.send_bytes(&heard.1).is_ok() && peer.receive_bytes().is_ok()).then_some(peer)
    });
    assert_eq!(refused(&node), Vec::<u8>::new(), "it is kept over a restart");
    delete(&mut peer, ALL, "max.connections.per.ip");
    assert!(Peer::connect(&node).metadata(&[], false).cluster_id.is_some());
}

#[test]
fn what_is_read_at_the_start_or_is_not_known_is_refused_with_40_and_named() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    for (resource, key, value, told) in [
        (ONE, "num.partitions", "9", "default-partitions"),
        (ONE, "auto.create.topics.enable", "false", "auto-create-topics"),
        (ALL, "socket.request.max.bytes", "1000000", "limits.request-bytes"),
        (ONE, "broker.id", "7", "node-id"),
        (ONE, "no.such.key", "1", "no.such.key"),
        (ONE, "num.io.threads", "1", "num.io.threads"),
        (ONE, "retention.ms", "1", "retention.ms"),
        (ALL, "log.retention.ms", "soon", "log.retention.ms"),
        (ONE, "log.cleanup.policy", "keep", "log.cleanup.policy"),
        (ONE, "max.connections", "0", "max.connections"),
        ((resource::GROUP, "g"), "consumer.session.timeout.ms", "1", "consumer.session.timeout.ms"),
        ((resource::GROUP, "g"), "share.session.timeout.ms", "45000", "share.session.timeout.ms"),
        ((resource::CLIENT_METRICS, "m"), "interval.ms", "1000", "interval.ms"),
    ] {
        let (code, text) = change(&mut peer, resource, key, (operation::SET, Some(value)), false);
        assert_eq!(code, ErrorCode::InvalidConfig, "{key}={value}");
        let text = text.unwrap();
        assert!(text.contains(key) && text.contains(told), "{key}: {text}");
    }
    for (resource, key, change_) in [
        ((resource::BROKER, "2"), "max.connections", (operation::SET, Some("9"))),
        ((resource::BROKER, "x"), "max.connections", (operation::SET, Some("9"))),
        (ONE, "max.connections", (operation::SET, None)),
        (ONE, "max.connections", (9, Some("9"))),
        ((99, "x"), "max.connections", (operation::SET, Some("9"))),
        ((resource::GROUP, ""), "a.key", (operation::SET, Some("9"))),
    ] {
        let (code, text) = change(&mut peer, resource, key, change_, false);
        assert_eq!(code, ErrorCode::InvalidRequest, "{resource:?} {change_:?}");
        assert!(text.is_some());
    }
    assert!(describe(&mut peer, resource::BROKER, "").configs.is_empty(), "and nothing was changed");
}

#[test]
fn log_levels_are_shown_and_changed_and_forgotten_by_a_restart() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    let level = |peer: &mut Peer, logger: &str| shown(peer, resource::BROKER_LOGGER, "1", logger);
    let at = |level: &str| Some((level.to_owned(), LOGGER));
    assert_eq!((level(&mut peer, "root"), level(&mut peer, "polylogue.kafka")), (at("WARN"), at("INFO")));
    set(&mut peer, LOGGERS, "polylogue.kafka", "DEBUG");
    assert_eq!(level(&mut peer, "polylogue.kafka"), at("DEBUG"));
    assert_eq!(level(&mut peer, "polylogue.storage"), at("INFO"));
    set(&mut peer, LOGGERS, "polylogue", "ERROR");
    set(&mut peer, LOGGERS, "root", "OFF");
    assert_eq!((level(&mut peer, "polylogue.node"), level(&mut peer, "root")), (at("ERROR"), at("OFF")));
    delete(&mut peer, LOGGERS, "polylogue.kafka");
    assert_eq!(level(&mut peer, "polylogue.kafka"), at("ERROR"), "that of what is above it");
    delete(&mut peer, LOGGERS, "polylogue");
    assert_eq!(level(&mut peer, "polylogue.kafka"), at("INFO"), "that of the start");

    for (logger, change_, code) in [
        ("polylogue.kafka", (operation::SET, Some("FATAL")), ErrorCode::InvalidConfig),
        ("polylogue.kafka", (operation::SET, Some("debug")), ErrorCode::InvalidConfig),
        ("kafka.server.KafkaApis", (operation::SET, Some("INFO")), ErrorCode::InvalidConfig),
        ("kafka.server.KafkaApis", (operation::DELETE, None), ErrorCode::InvalidConfig),
        ("root", (operation::DELETE, None), ErrorCode::InvalidRequest),
        ("root", (operation::APPEND, Some("INFO")), ErrorCode::InvalidRequest),
        ("root", (operation::SET, None), ErrorCode::InvalidRequest),
    ] {
        let answer = change(&mut peer, LOGGERS, logger, change_, false);
        assert_eq!(answer.0, code, "{logger} {change_:?}");
        assert!(answer.1.is_some_and(|text| text.contains(logger)), "{logger}");
    }
    let checked = change(&mut peer, LOGGERS, "polylogue.node", (operation::SET, Some("TRACE")), true);
    assert_eq!((checked.0, level(&mut peer, "polylogue.node")), (ErrorCode::None, at("INFO")));
    restart(&mut node);
    assert_eq!(level(&mut Peer::connect(&node), "root"), at("WARN"));
}

#[test]
fn a_level_that_is_lowered_shows_the_lines_and_one_that_is_raised_hides_them() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let line = "log levels were changed";
    set(&mut peer, LOGGERS, "polylogue.kafka", "WARN");
    set(&mut peer, LOGGERS, "polylogue.node", "WARN");
    assert!(!node.log_tail().contains(line), "{}", node.log_tail());
    set(&mut peer, LOGGERS, "polylogue.kafka", "INFO");
    eventually("the line is there", WITHIN, || node.log_tail().contains(line).then_some(()));
}

/// All configs that a resource shall have; what is answered.
fn replace(
    peer: &mut Peer,
    version: i16,
    resource: (i8, &str),
    configs: &[(&str, Option<&str>)],
    validate_only: bool,
) -> ErrorCode {
    let config = |(name, value): &(&str, Option<&str>)| alter_configs::AlterableConfig {
        name: (*name).into(),
        value: value.map(Str::from),
    };
    let resources = vec![alter_configs::AlterConfigsResource {
        resource_type: resource.0,
        resource_name: resource.1.into(),
        configs: configs.iter().map(config).collect(),
    }];
    let answer = peer.call(version, &AlterConfigsRequest { resources, validate_only }).responses.remove(0);
    assert_eq!(answer.error_code.is_none(), answer.error_message.is_none());
    answer.error_code
}

#[test]
fn replaced_configs_are_all_that_is_set_and_the_rest_goes_back_to_its_default() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let topic = (resource::TOPIC, "t");
    peer.create("t", 1, &[("retention.ms", "1000"), ("flush.ms", "5")]);
    let of_topic = |peer: &mut Peer, key: &str| shown(peer, resource::TOPIC, "t", key).unwrap().0;
    for version in 0..=2 {
        let bytes = (2000 + i64::from(version)).to_string();
        let configs = [("retention.ms", Some(bytes.as_str()))];
        assert_eq!(replace(&mut peer, version, topic, &configs, true), ErrorCode::None);
        assert_ne!(of_topic(&mut peer, "retention.ms"), bytes, "it was only checked");
        assert_eq!(replace(&mut peer, version, topic, &configs, false), ErrorCode::None);
        assert_eq!(of_topic(&mut peer, "retention.ms"), bytes);
        assert_eq!(of_topic(&mut peer, "flush.ms"), i64::MAX.to_string());
    }
    assert_eq!(replace(&mut peer, 2, ALL, &[("log.roll.ms", Some("9"))], false), ErrorCode::None);
    assert_eq!(of_topic(&mut peer, "segment.ms"), "9");
    assert_eq!(replace(&mut peer, 2, ALL, &[], false), ErrorCode::None);
    assert_eq!(of_topic(&mut peer, "segment.ms"), "604800000");
    for (resource, configs, code) in [
        (topic, &[("no.such.key", Some("1"))][..], ErrorCode::InvalidConfig),
        (topic, &[("retention.ms", Some("soon"))], ErrorCode::InvalidConfig),
        (topic, &[("retention.ms", None)], ErrorCode::InvalidRequest),
        (topic, &[("flush.ms", Some("1")), ("flush.ms", Some("2"))], ErrorCode::InvalidRequest),
        ((resource::TOPIC, "nobody"), &[], ErrorCode::UnknownTopicOrPartition),
        ((resource::TOPIC, ""), &[], ErrorCode::InvalidRequest),
        (ONE, &[("broker.id", Some("2"))], ErrorCode::InvalidConfig),
        (LOGGERS, &[("root", Some("INFO"))], ErrorCode::InvalidRequest),
        ((99, "x"), &[], ErrorCode::InvalidRequest),
    ] {
        assert_eq!(replace(&mut peer, 2, resource, configs, false), code, "{resource:?} {configs:?}");
    }
    assert_eq!(of_topic(&mut peer, "retention.ms"), "2002");
}
