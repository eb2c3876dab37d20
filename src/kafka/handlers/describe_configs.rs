//! `DescribeConfigs`: configs of topics and groups, a node's settings under Kafka's names, log levels (KIP-133, KIP-226,
//! KIP-412, KIP-569).

use tracing::level_filters::LevelFilter;

use crate::{
    actors::membership::ConfigOwner,
    config::{
        broker::DynamicConfigs,
        group,
        node::NodeConfig,
        topic::{ConfigEntry, ConfigKind, ConfigSource},
    },
    kafka::{Broker, connection::Session},
    model::TopicName,
    wire::{
        ApiKey, ErrorCode, Str,
        api::describe_configs::{
            DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
            DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
        },
    },
};

use super::{config_owner::Owner, once_each::once_each, refusals::Refused};

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
    let owner = Owner::of(broker.node_id, asked.resource_type, &asked.resource_name)?;
    let image = broker.membership.image();
    match owner {
        Owner::Registry(ConfigOwner::Topic(name)) => {
            TopicName::new(&name)
                .map_err(|error| Refused::new(ErrorCode::InvalidTopic, error.to_string()))?;
            let topic = image.topic_named(&name).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            Ok(broker.topic_defaults().describe(&topic.configs))
        }
        Owner::Registry(ConfigOwner::Broker(node)) => {
            Ok(broker.settings.describe(image.dynamic_configs(node)))
        }
        Owner::Registry(ConfigOwner::AllBrokers) => {
            Ok(of_all_brokers(&broker.settings, image.dynamic_configs(broker.node_id)))
        }
        Owner::Registry(ConfigOwner::Group(id)) => {
            Ok(group::describe(&broker.settings.groups.consumer, image.configs_of_group(&id)))
        }
        Owner::Loggers => Ok(broker.levels.all().into_iter().map(of_logger).collect()),
        Owner::Keyless(_) => Ok(Vec::new()),
    }
}

/// What was set for all of them while they run, and nothing else: the rest is each broker's own.
fn of_all_brokers(settings: &NodeConfig, dynamic: DynamicConfigs<'_>) -> Vec<ConfigEntry> {
    let of_one = DynamicConfigs::NONE.of_one;
    let mut entries = settings.describe(DynamicConfigs { of_one, ..dynamic });
    entries.retain(|entry| entry.source == ConfigSource::AllBrokers);
    for entry in &mut entries {
        entry.synonyms.retain(|synonym| synonym.source == ConfigSource::AllBrokers);
    }
    entries
}

fn of_logger((name, level): (&'static str, LevelFilter)) -> ConfigEntry {
    ConfigEntry {
        name,
        value: level.to_string().to_ascii_uppercase(),
        source: ConfigSource::Logger,
        read_only: false,
        sensitive: false,
        kind: ConfigKind::String,
        documentation: "The lowest level of log lines that are written of this target and all below it.",
        synonyms: Vec::new(),
    }
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

    use super::{Show, of_all_brokers, result};
    use crate::{
        config::{
            broker::DynamicConfigs,
            node::{NodeConfig, NodeFlags, Surroundings},
            topic::{ConfigSource, TopicDefaults},
        },
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
    fn of_all_brokers_only_what_was_set_for_them_is_shown() {
        let settings = NodeConfig::load(&NodeFlags::default(), None, &Surroundings::default()).unwrap();
        let (of_one, of_all) =
            (values(&[("max.connections", "5")]), values(&[("log.roll.ms", "9"), ("max.connections", "7")]));
        let dynamic = DynamicConfigs { of_one: &of_one, of_all: &of_all };
        let shown = of_all_brokers(&settings, dynamic);
        let shown: Vec<_> =
            shown.iter().map(|entry| (entry.name, entry.value.as_str(), entry.synonyms.len())).collect();
        assert_eq!(shown, [("log.roll.ms", "9", 1), ("max.connections", "7", 1)]);
        assert!(of_all_brokers(&settings, DynamicConfigs::NONE).is_empty());
    }

    #[test]
    fn a_brokers_value_is_told_with_all_that_it_hides() {
        let settings = NodeConfig::load(&NodeFlags::default(), None, &Surroundings::default()).unwrap();
        let (of_one, of_all) = (values(&[("max.connections", "5")]), values(&[("max.connections", "7")]));
        let entries = settings.describe(DynamicConfigs { of_one: &of_one, of_all: &of_all });
        let entry = entries.into_iter().find(|entry| entry.name == "max.connections").unwrap();
        let hidden: Vec<_> =
            entry.synonyms.iter().map(|hidden| (hidden.value.as_str(), hidden.source.code())).collect();
        assert_eq!(hidden, [("5", 2), ("7", 3), ("10000", 5)]);
        assert_eq!((entry.value.as_str(), entry.read_only), ("5", false));
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
