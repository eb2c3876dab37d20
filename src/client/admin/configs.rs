use super::{Admin, check};
use crate::{
    client::ClientError,
    model::TopicName,
    wire::{
        ApiKey, Str,
        api::{
            describe_configs::{
                DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, resource,
                source,
            },
            incremental_alter_configs::{
                AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, operation,
            },
        },
    },
};

/// [`Config::source`] of a group's own value on the wire.
const DYNAMIC_GROUP: i8 = 8;

/// Where a config's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set for the topic.
    Topic,
    /// Set for the group.
    Group,
    /// Set for a broker or for all of them.
    Broker,
    /// The program's default.
    Default,
    /// Not told, or of a kind that this client does not know.
    Unknown,
}

/// A config with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its key.
    pub name: String,
    /// Its value; none: a secret.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed.
    pub read_only: bool,
    /// What it means, where the broker tells.
    pub documentation: Option<String>,
}

/// A change of one config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Gives it a value.
    Set {
        /// Its key.
        name: String,
        /// Its value.
        value: String,
    },
    /// Takes the value away, so that the default counts.
    Delete {
        /// Its key.
        name: String,
    },
}

impl ConfigChange {
    fn message(&self) -> AlterableConfig {
        let (name, config_operation, value) = match self {
            Self::Set { name, value } => (name, operation::SET, Some(Str::from(value.as_str()))),
            Self::Delete { name } => (name, operation::DELETE, None),
        };
        AlterableConfig { name: Str::from(name.as_str()), config_operation, value }
    }
}

impl Config {
    fn read(config: &DescribeConfigsResourceResult) -> Self {
        let text = |text: &Str| text.as_str().to_owned();
        Self {
            name: text(&config.name),
            value: config.value.as_ref().map(text),
            source: match config.config_source {
                source::DYNAMIC_TOPIC => ConfigSource::Topic,
                DYNAMIC_GROUP => ConfigSource::Group,
                source::DYNAMIC_BROKER | source::DYNAMIC_DEFAULT_BROKER | source::STATIC_BROKER => {
                    ConfigSource::Broker
                }
                source::DEFAULT => ConfigSource::Default,
                _ => ConfigSource::Unknown,
            },
            read_only: config.read_only,
            documentation: config.documentation.as_ref().map(text),
        }
    }
}

impl Admin {
    /// The configs of a topic, all of them, by name.
    pub async fn topic_configs(&self, topic: &TopicName) -> Result<Vec<Config>, ClientError> {
        self.configs(resource::TOPIC, topic.as_str()).await
    }

    /// The configs of a group, all of them, by name; whether or not there is such a group.
    pub async fn group_configs(&self, group: &str) -> Result<Vec<Config>, ClientError> {
        self.configs(resource::GROUP, group).await
    }

    /// Changes configs of a topic, all or none; others stay as they are.
    pub async fn alter_topic_configs(
        &self,
        topic: &TopicName,
        changes: &[ConfigChange],
    ) -> Result<(), ClientError> {
        self.alter_configs(resource::TOPIC, topic.as_str(), changes).await
    }

    /// The same for a group.
    pub async fn alter_group_configs(
        &self,
        group: &str,
        changes: &[ConfigChange],
    ) -> Result<(), ClientError> {
        self.alter_configs(resource::GROUP, group, changes).await
    }

    async fn configs(&self, resource_type: i8, name: &str) -> Result<Vec<Config>, ClientError> {
        let resource = DescribeConfigsResource {
            resource_type,
            resource_name: Str::from(name),
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            include_synonyms: false,
            include_documentation: true,
        };
        let response = self.client.call_any(&request).await?;
        let result = response.results.first().ok_or(ClientError::Incomplete(ApiKey::DescribeConfigs))?;
        check(ApiKey::DescribeConfigs, result.error_code, result.error_message.as_ref())?;
        let mut configs: Vec<Config> = result.configs.iter().map(Config::read).collect();
        configs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(configs)
    }

    async fn alter_configs(
        &self,
        resource_type: i8,
        name: &str,
        changes: &[ConfigChange],
    ) -> Result<(), ClientError> {
        let resource = AlterConfigsResource {
            resource_type,
            resource_name: Str::from(name),
            configs: changes.iter().map(ConfigChange::message).collect(),
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let response = self.client.change_any(&request).await?;
        let api = ApiKey::IncrementalAlterConfigs;
        let result = response.responses.first().ok_or(ClientError::Incomplete(api))?;
        check(api, result.error_code, result.error_message.as_ref())
    }
}
