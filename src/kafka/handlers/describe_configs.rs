//! `DescribeConfigs`: a topic's configs, and what of a node's settings clients may want to know (KIP-133).

use std::collections::BTreeMap;

use crate::{
    config::node::HostPort,
    config::topic::{ConfigEntry, ConfigKind, ConfigSource, TopicDefaults},
    kafka::{AdvertisedListener, Broker, connection::Session},
    model::TopicName,
    wire::{
        ApiKey, ErrorCode, Str,
        api::describe_configs::{
            DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
            DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym, resource,
        },
    },
};

use super::{once_each::once_each, refusals::Refused};

/// Describes each resource on its own.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: DescribeConfigsRequest,
    _version: i16,
) -> DescribeConfigsResponse {
    let show = Show { synonyms: request.include_synonyms, documentation: request.include_documentation };
    let key = |asked: &DescribeConfigsResource| (asked.resource_type, asked.resource_name.clone());
    let results = once_each(request.resources, key).into_iter().map(|(asked, once)| {
        let described = if once {
            entries(broker, &asked)
        } else {
            Err(Refused::invalid_request("the resource is named more than once"))
        };
        if let Err(refused) = &described {
            broker.meters.refused(ApiKey::DescribeConfigs, refused.code);
        }
        result(asked, described, show)
    });
    DescribeConfigsResponse { results: results.collect(), ..DescribeConfigsResponse::default() }
}

fn entries(broker: &Broker, asked: &DescribeConfigsResource) -> Result<Vec<ConfigEntry>, Refused> {
    let name = asked.resource_name.as_str();
    match asked.resource_type {
        resource::TOPIC => {
            TopicName::new(name).map_err(|error| Refused::new(ErrorCode::InvalidTopic, error.to_string()))?;
            let image = broker.membership.image();
            let topic = image.topic_named(name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            Ok(broker.defaults.describe(&topic.configs))
        }
        // What all brokers have in common is set in each one's file: there is nothing to show.
        resource::BROKER if name.is_empty() => Ok(Vec::new()),
        resource::BROKER if name.parse() == Ok(broker.node_id.get()) => Ok(of_node(broker)),
        resource::BROKER => {
            let text = format!("this is broker {}, not {name:?}", broker.node_id);
            Err(Refused::invalid_request(text))
        }
        other => Err(Refused::invalid_request(format!("configs of resource type {other} are not served"))),
    }
}

/// The settings of this node under the names that Kafka has for them.
fn of_node(broker: &Broker) -> Vec<ConfigEntry> {
    let limits = &broker.limits;
    let setting = |name, kind, value, documentation| ConfigEntry {
        name,
        value,
        source: ConfigSource::Node,
        read_only: true,
        sensitive: false,
        kind,
        documentation,
        synonyms: Vec::new(),
    };
    let (boolean, int, long, list) =
        (ConfigKind::Boolean, ConfigKind::Int, ConfigKind::Long, ConfigKind::List);
    let node_id = broker.node_id.to_string();
    let advertised = listeners(broker, |listener| &listener.advertised);
    let listens = listeners(broker, |listener| &listener.listens);
    let protocols =
        broker.listeners.iter().enumerate().map(|(at, listener)| (name_of(at, listener), "PLAINTEXT"));
    let protocols =
        protocols.map(|(name, protocol)| format!("{name}:{protocol}")).collect::<Vec<_>>().join(",");
    let auto_create = broker.auto_create.enabled.to_string();
    let partitions = broker.auto_create.partitions.to_string();
    let idle = limits.idle_timeout.as_millis().to_string();
    let mut entries = vec![
        setting("advertised.listeners", list, advertised, "Where clients are told to connect to."),
        setting("auto.create.topics.enable", boolean, auto_create, "Whether asking for a topic makes it."),
        setting("broker.id", int, node_id.clone(), "Who this broker is."),
        setting("connections.max.idle.ms", long, idle, "A connection without requests is closed then."),
        setting("default.replication.factor", int, "1".to_owned(), "Replicas of each partition."),
        setting("delete.topic.enable", boolean, "true".to_owned(), "Whether topics can be deleted."),
        setting("listener.security.protocol.map", list, protocols, "How each listener is spoken to."),
        setting("listeners", list, listens, "Where clients are listened for."),
        setting("node.id", int, node_id, "Who this broker is."),
        setting("num.partitions", int, partitions, "Of a topic that is made without a number."),
        setting(
            "socket.request.max.bytes",
            int,
            limits.request_bytes.to_string(),
            "The largest request; a larger one closes the connection.",
        ),
    ];
    entries.extend(topic_defaults(&broker.defaults));
    entries.sort_unstable_by_key(|entry| entry.name);
    entries
}

/// Every listener as Kafka writes them: `NAME://host:port`, parted by commas.
fn listeners(broker: &Broker, address: impl Fn(&AdvertisedListener) -> &HostPort) -> String {
    let all = broker.listeners.iter().enumerate();
    let written = all.map(|(at, listener)| format!("{}://{}", name_of(at, listener), address(listener)));
    written.collect::<Vec<_>>().join(",")
}

/// The first listener has the name that Kafka gives to the only one of a broker.
fn name_of(at: usize, listener: &AdvertisedListener) -> String {
    if at == 0 { "PLAINTEXT".to_owned() } else { listener.name.to_ascii_uppercase() }
}

/// What topics get that do not say otherwise, under the broker-wide names.
fn topic_defaults(defaults: &TopicDefaults) -> impl Iterator<Item = ConfigEntry> {
    defaults.describe(&BTreeMap::new()).into_iter().map(|entry| {
        let name = entry.synonyms.first().map_or(entry.name, |synonym| synonym.name);
        ConfigEntry { name, read_only: true, ..entry }
    })
}

/// What was asked for beside names and values.
#[derive(Clone, Copy, Debug)]
struct Show {
    synonyms: bool,
    documentation: bool,
}

fn result(
    asked: DescribeConfigsResource,
    described: Result<Vec<ConfigEntry>, Refused>,
    show: Show,
) -> DescribeConfigsResult {
    let DescribeConfigsResource { resource_type, resource_name, configuration_keys } = asked;
    match described {
        Ok(entries) => {
            let keys = configuration_keys.filter(|keys| !keys.is_empty());
            let wanted = |entry: &ConfigEntry| {
                keys.as_ref().is_none_or(|keys| keys.iter().any(|key| *key == entry.name))
            };
            let configs = entries.into_iter().filter(wanted).map(|entry| config(entry, show)).collect();
            DescribeConfigsResult {
                resource_type,
                resource_name,
                configs,
                ..DescribeConfigsResult::default()
            }
        }
        Err(refused) => DescribeConfigsResult {
            error_code: refused.code,
            error_message: Some(refused.into_text()),
            resource_type,
            resource_name,
            configs: Vec::new(),
        },
    }
}

/// A secret has no value here. The encoder leaves out what a version does not have.
fn config(entry: ConfigEntry, show: Show) -> DescribeConfigsResourceResult {
    let secret = entry.sensitive;
    let shown = move |value: String| if secret { None } else { Some(Str::from(value)) };
    let synonyms = if show.synonyms { entry.synonyms } else { Vec::new() };
    let synonyms = synonyms.into_iter().map(|synonym| DescribeConfigsSynonym {
        name: Str::from_static(synonym.name),
        value: shown(synonym.value),
        source: synonym.source.code(),
    });
    DescribeConfigsResourceResult {
        name: Str::from_static(entry.name),
        read_only: entry.read_only,
        config_source: entry.source.code(),
        is_sensitive: entry.sensitive,
        synonyms: synonyms.collect(),
        config_type: entry.kind.code(),
        documentation: show.documentation.then(|| Str::from_static(entry.documentation)),
        value: shown(entry.value),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Show, result, topic_defaults};
    use crate::{
        config::topic::{ConfigSource, TopicDefaults},
        kafka::handlers::refusals::Refused,
        wire::{
            ErrorCode, Str,
            api::describe_configs::{DescribeConfigsResource, DescribeConfigsResult, kind, resource},
        },
    };

    const ALL: Show = Show { synonyms: true, documentation: true };
    const BARE: Show = Show { synonyms: false, documentation: false };

    fn values(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn describe(keys: Option<&[&str]>, show: Show) -> DescribeConfigsResult {
        let asked = DescribeConfigsResource {
            resource_type: resource::TOPIC,
            resource_name: "a".into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|key| Str::from(*key)).collect()),
        };
        let defaults = TopicDefaults::new(&values(&[("retention.ms", "7"), ("segment.ms", "9")])).unwrap();
        result(asked, Ok(defaults.describe(&values(&[("retention.ms", "5")]))), show)
    }

    #[test]
    fn only_the_keys_that_were_asked_for_are_shown_and_without_keys_all() {
        let names = |keys| describe(keys, BARE).configs.len();
        assert_eq!(names(Some(&["retention.ms", "no.such.key"])), 1);
        assert!(names(None) > 10);
        assert_eq!(names(Some(&[])), names(None));
    }

    #[test]
    fn a_value_is_told_with_its_source_and_what_it_hides() {
        let shown = describe(Some(&["retention.ms"]), ALL).configs.remove(0);
        assert_eq!(shown.value, Some("5".into()));
        assert_eq!(shown.config_source, ConfigSource::Topic.code());
        assert_eq!(shown.config_type, kind::LONG);
        assert!(shown.documentation.is_some_and(|text| !text.is_empty()));
        let hidden: Vec<_> =
            shown.synonyms.iter().map(|synonym| (synonym.name.as_str(), synonym.source)).collect();
        assert_eq!(hidden, [("retention.ms", 1), ("log.retention.ms", 4), ("log.retention.ms", 5)]);
        let bare = describe(Some(&["retention.ms"]), BARE).configs.remove(0);
        assert!(bare.synonyms.is_empty() && bare.documentation.is_none());
    }

    #[test]
    fn a_node_shows_its_defaults_under_broker_wide_names_and_read_only() {
        let defaults = TopicDefaults::new(&values(&[("segment.ms", "9")])).unwrap();
        let entries: Vec<_> = topic_defaults(&defaults).collect();
        let rolled = entries.iter().find(|entry| entry.name == "log.roll.ms").unwrap();
        assert_eq!((rolled.value.as_str(), rolled.source), ("9", ConfigSource::Node));
        assert!(entries.iter().all(|entry| entry.read_only));
        assert!(!entries.iter().any(|entry| entry.name == "segment.ms"));
    }

    #[test]
    fn a_refusal_names_the_resource_and_the_reason() {
        let asked = DescribeConfigsResource {
            resource_type: 99,
            resource_name: "x".into(),
            configuration_keys: None,
        };
        let refused = result(asked, Err(Refused::invalid_request("why")), ALL);
        assert_eq!((refused.error_code, refused.resource_type), (ErrorCode::InvalidRequest, 99));
        assert_eq!(refused.error_message, Some("why".into()));
        assert!(refused.configs.is_empty());
    }
}
