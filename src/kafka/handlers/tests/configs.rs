//! Configs: altered, described, refused.

use super::{Door, codes, creatable};
use crate::wire::api::{
    alter_configs::{
        AlterConfigsRequest, AlterConfigsResource as WholeResource, AlterableConfig as WholeConfig,
    },
    create_topics::{CreatableTopicConfig, CreateTopicsRequest},
    describe_configs::{
        DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResult, resource, source,
    },
    incremental_alter_configs::{
        AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, operation,
    },
    list_config_resources::ListConfigResourcesRequest,
};

fn described(resource_type: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource {
        resource_type,
        resource_name: name.into(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
    }
}

fn alter(name: &str, key: &str, config_operation: i8, value: Option<&str>) -> AlterConfigsResource {
    let config = AlterableConfig { name: key.into(), config_operation, value: value.map(Into::into) };
    AlterConfigsResource { resource_type: resource::TOPIC, resource_name: name.into(), configs: vec![config] }
}

fn value(result: &DescribeConfigsResult, key: &str) -> Option<(String, i8)> {
    let config = result.configs.iter().find(|config| config.name == key)?;
    Some((config.value.as_ref()?.to_string(), config.config_source))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_is_what_was_set_last_and_its_default_when_deleted() {
    let (door, mut client) = Door::open().await;
    let mut topic = creatable("t", 1);
    topic.configs = vec![CreatableTopicConfig { name: "retention.ms".into(), value: Some("5000".into()) }];
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    assert!(client.ask(7, &request).await.topics[0].error_code.is_none());
    let describe = DescribeConfigsRequest {
        resources: vec![described(resource::TOPIC, "t", Some(&["retention.ms"]))],
        ..DescribeConfigsRequest::default()
    };
    let set = alter("t", "retention.ms", operation::SET, Some("6000"));
    let delete = alter("t", "retention.ms", operation::DELETE, None);
    let steps = [(set.clone(), true), (set, false), (delete, false)];
    let mut seen = vec![value(&client.ask(4, &describe).await.results[0], "retention.ms").unwrap()];
    for (change, validate_only) in steps {
        let request = IncrementalAlterConfigsRequest { resources: vec![change], validate_only };
        assert!(client.ask(1, &request).await.responses[0].error_code.is_none());
        seen.push(value(&client.ask(4, &describe).await.results[0], "retention.ms").unwrap());
    }
    let own = |value: &str| (value.to_owned(), source::DYNAMIC_TOPIC);
    let default = ("604800000".to_owned(), source::DEFAULT);
    assert_eq!(seen, [own("5000"), own("5000"), own("6000"), default]);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_cannot_be_made_changes_nothing_and_says_why() {
    let (door, mut client) = Door::open().await;
    client.create(&["a", "b", "c", "d"], 1).await;
    let resources = vec![
        alter("a", "no.such.key", operation::SET, Some("1")),
        alter("b", "retention.ms", operation::APPEND, Some("1")),
        alter("c", "retention.ms", operation::SET, None),
        alter("no-such", "retention.ms", operation::SET, Some("1")),
        alter("d", "retention.ms", operation::SET, Some("1")),
        alter("d", "retention.ms", operation::SET, Some("2")),
    ];
    let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
    let answer = client.ask(1, &request).await;
    assert_eq!(codes(answer.responses.iter().map(|answer| answer.error_code)), [40, 40, 42, 3, 42]);
    assert!(answer.responses.iter().all(|answer| answer.error_message.is_some()));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_and_this_node_are_described_and_nothing_else() {
    let (door, mut client) = Door::open().await;
    client.create(&["t"], 1).await;
    let resources = vec![
        described(resource::TOPIC, "t", None),
        described(resource::TOPIC, "no-such", None),
        described(resource::TOPIC, "no/name", None),
        described(resource::BROKER, "3", None),
        described(resource::BROKER, "", None),
        described(resource::BROKER, "4", None),
        described(resource::BROKER_LOGGER, "3", None),
        described(resource::BROKER, "3", None),
    ];
    let request = DescribeConfigsRequest { resources, include_synonyms: true, include_documentation: true };
    let results = client.ask(4, &request).await.results;
    assert_eq!(codes(results.iter().map(|result| result.error_code)), [0, 3, 17, 42, 0, 42, 0]);
    assert!(results[0].configs.iter().all(|config| config.documentation.is_some()));
    let request = DescribeConfigsRequest {
        resources: vec![described(resource::BROKER, "3", None)],
        ..DescribeConfigsRequest::default()
    };
    let node = client.ask(4, &request).await.results.remove(0);
    assert_eq!(value(&node, "node.id"), Some(("3".to_owned(), source::STATIC_BROKER)));
    assert_eq!(value(&node, "num.partitions").unwrap().0, "2");
    let read_only = |key: &str| node.configs.iter().find(|config| config.name == key).unwrap().read_only;
    assert!(read_only("num.partitions") && !read_only("log.retention.ms"));
    assert!(node.configs.is_sorted_by(|a, b| a.name < b.name), "each name once, in order");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_described_and_altered_whether_it_exists_or_not() {
    let (door, mut client) = Door::open().await;
    let describe = DescribeConfigsRequest {
        resources: vec![described(resource::GROUP, "g", None)],
        include_synonyms: true,
        ..DescribeConfigsRequest::default()
    };
    let of_group = |key: &str, op, value| AlterConfigsResource {
        resource_type: resource::GROUP,
        ..alter("g", key, op, value)
    };
    let before = client.ask(4, &describe).await.results.remove(0);
    let session = "consumer.session.timeout.ms";
    assert_eq!(value(&before, session), Some(("15000".to_owned(), source::DEFAULT)));
    assert_eq!(value(&before, "assignor"), Some((String::new(), source::DEFAULT)));
    let resources = vec![of_group(session, operation::SET, Some("10000"))];
    let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
    assert!(client.ask(1, &request).await.responses[0].error_code.is_none());
    let after = client.ask(4, &describe).await.results.remove(0);
    assert_eq!(value(&after, session), Some(("10000".to_owned(), source::DYNAMIC_GROUP)));

    let config = WholeConfig { name: "assignor".into(), value: Some("exclusive".into()) };
    let resource =
        WholeResource { resource_type: resource::GROUP, resource_name: "g".into(), configs: vec![config] };
    let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert!(client.ask(2, &request).await.responses[0].error_code.is_none());
    let replaced = client.ask(4, &describe).await.results.remove(0);
    assert_eq!(value(&replaced, "assignor"), Some(("exclusive".to_owned(), source::DYNAMIC_GROUP)));
    assert_eq!(value(&replaced, session), Some(("15000".to_owned(), source::DEFAULT)));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_groups_config_that_cannot_be_is_refused_with_40_and_the_reason() {
    let (door, mut client) = Door::open().await;
    for (key, value, reason) in [
        ("no.such.key", "1", "unknown group config"),
        ("share.session.timeout.ms", "45000", "share groups are not served"),
        ("consumer.session.timeout.ms", "5", "group.consumer.min.session.timeout.ms"),
        ("consumer.heartbeat.interval.ms", "often", "a whole number"),
        ("assignor", "range", "exclusive"),
    ] {
        let resource = AlterConfigsResource {
            resource_type: resource::GROUP,
            ..alter("g", key, operation::SET, Some(value))
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let refused = client.ask(1, &request).await.responses.remove(0);
        let text = refused.error_message.unwrap();
        assert!(refused.error_code.code() == 40 && text.contains(reason), "{key}: {text}");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_configs_is_listed_by_type() {
    let (door, mut client) = Door::open().await;
    client.create(&["t"], 1).await;
    let change = AlterConfigsResource {
        resource_type: resource::GROUP,
        ..alter("g", "assignor", operation::SET, Some("exclusive"))
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![change], validate_only: false };
    assert!(client.ask(1, &request).await.responses[0].error_code.is_none());
    let all = [
        (resource::TOPIC, "t".to_owned()),
        (resource::BROKER, "3".to_owned()),
        (resource::BROKER_LOGGER, "3".to_owned()),
        (resource::GROUP, "g".to_owned()),
    ];
    for (version, resource_types, code, expected) in [
        (1, vec![], 0, &all[..]),
        (1, vec![resource::GROUP, resource::TOPIC], 0, &[all[0].clone(), all[3].clone()]),
        (1, vec![3], 35, &[]),
        (0, vec![], 0, &[]),
    ] {
        let answer = client.ask(version, &ListConfigResourcesRequest { resource_types }).await;
        let listed = answer.config_resources.iter();
        let listed: Vec<_> =
            listed.map(|each| (each.resource_type, each.resource_name.to_string())).collect();
        assert_eq!((answer.error_code.code(), &listed[..]), (code, expected));
    }
    door.close().await;
}
