//! Managing topics, their records and consumer groups.
//!
//! A change is sent once. Where its answer is lost the error is [`ClientError::OutcomeUnknown`], and
//! whether to ask again is the caller's to say: the second try of a creation that went through is refused.

mod configs;
pub mod groups;

use std::time::Duration;

pub use self::configs::{Config, ConfigChange, ConfigSource};
use super::{Client, ClientError, TopicMetadata, cluster::topics_of};
use crate::{
    model::{Offset, PartitionIndex, TopicId, TopicName},
    wire::{
        ApiKey, ErrorCode, Str,
        api::{
            create_partitions::{CreatePartitionsRequest, CreatePartitionsTopic},
            create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest},
            delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic},
            delete_topics::{DeleteTopicState, DeleteTopicsRequest},
            elect_leaders::{ElectLeadersPartitionResult, ElectLeadersRequest, ElectLeadersTopic},
        },
    },
};

/// A topic to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// How many partitions; none: the cluster's default.
    pub partitions: Option<i32>,
    /// How many replicas of each; none: the cluster's default.
    pub replication_factor: Option<i16>,
    /// Its configs, by Kafka's keys.
    pub configs: Vec<(String, String)>,
}

/// Manages topics, records and groups. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

impl Admin {
    /// An admin that uses the client's connections.
    pub fn new(client: &Client) -> Self {
        Self { client: client.clone() }
    }

    /// How long a broker may take for a change: a little less than we wait for its answer.
    fn timeout_ms(&self) -> i32 {
        let within = self.client.config().request_timeout.saturating_sub(Duration::from_secs(1));
        i32::try_from(within.as_millis()).unwrap_or(i32::MAX)
    }

    /// Makes a topic, and says which id it got (nil from a broker that does not tell).
    pub async fn create_topic(&self, topic: &NewTopic) -> Result<TopicId, ClientError> {
        let config = |(name, value): &(String, String)| CreatableTopicConfig {
            name: Str::from(name.as_str()),
            value: Some(Str::from(value.as_str())),
        };
        let topics = vec![CreatableTopic {
            name: Str::from(topic.name.as_str()),
            num_partitions: topic.partitions.unwrap_or(-1),
            replication_factor: topic.replication_factor.unwrap_or(-1),
            assignments: Vec::new(),
            configs: topic.configs.iter().map(config).collect(),
        }];
        let request = CreateTopicsRequest { topics, timeout_ms: self.timeout_ms(), validate_only: false };
        let response = self.client.change_any(&request).await?;
        let made = response.topics.first().ok_or(ClientError::Incomplete(ApiKey::CreateTopics))?;
        check(ApiKey::CreateTopics, made.error_code, made.error_message.as_ref())?;
        Ok(made.topic_id)
    }

    /// Deletes a topic with all its records.
    pub async fn delete_topic(&self, topic: &TopicName) -> Result<(), ClientError> {
        let name = Str::from(topic.as_str());
        let state = DeleteTopicState { name: Some(name.clone()), ..DeleteTopicState::default() };
        let request = DeleteTopicsRequest {
            topics: vec![state],
            topic_names: vec![name],
            timeout_ms: self.timeout_ms(),
        };
        let response = self.client.change_any(&request).await?;
        let gone = response.responses.first().ok_or(ClientError::Incomplete(ApiKey::DeleteTopics))?;
        check(ApiKey::DeleteTopics, gone.error_code, gone.error_message.as_ref())
    }

    /// Raises the number of partitions to `count` in all.
    pub async fn create_partitions(&self, topic: &TopicName, count: i32) -> Result<(), ClientError> {
        let name = Str::from(topic.as_str());
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name, count, assignments: None }],
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let response = self.client.change_any(&request).await?;
        let grown = response.results.first().ok_or(ClientError::Incomplete(ApiKey::CreatePartitions))?;
        check(ApiKey::CreatePartitions, grown.error_code, grown.error_message.as_ref())
    }

    /// Elects leaders for partitions of a topic: their first replicas, where those are in sync; or, where there is no leader,
    /// whoever is there (`unclean`), which gives up what only others have. What became of each that was named.
    pub async fn elect_leaders(
        &self,
        topic: &TopicName,
        partitions: Vec<PartitionIndex>,
        unclean: bool,
    ) -> Result<Vec<(PartitionIndex, Result<(), ClientError>)>, ClientError> {
        let named = ElectLeadersTopic { topic: Str::from(topic.as_str()), partitions };
        let request = ElectLeadersRequest {
            election_type: i8::from(unclean),
            topic_partitions: Some(vec![named]),
            timeout_ms: self.timeout_ms(),
        };
        let response = self.client.change_any(&request).await?;
        check(ApiKey::ElectLeaders, response.error_code, None)?;
        let results = response.replica_election_results.into_iter().flat_map(|of| of.partition_result);
        let outcome = |it: ElectLeadersPartitionResult| {
            (it.partition_id, check(ApiKey::ElectLeaders, it.error_code, it.error_message.as_ref()))
        };
        Ok(results.map(outcome).collect())
    }

    /// Every topic there is, by name.
    pub async fn list_topics(&self) -> Result<Vec<TopicMetadata>, ClientError> {
        let response = self.client.ask_metadata(None).await?;
        let mut topics = topics_of(&response);
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// A topic as it is now, not as it is remembered.
    pub async fn describe_topic(&self, topic: &TopicName) -> Result<TopicMetadata, ClientError> {
        let response = self.client.ask_metadata(Some(std::slice::from_ref(topic))).await?;
        let found = topics_of(&response).into_iter().find(|found| found.name == *topic);
        found.ok_or_else(|| ClientError::UnknownTopic(topic.clone()))
    }

    /// Deletes the records of a partition before an offset, or with none all up to the high watermark;
    /// says where the log begins now.
    pub async fn delete_records(
        &self,
        topic: &TopicName,
        partition: PartitionIndex,
        before: Option<Offset>,
    ) -> Result<Offset, ClientError> {
        let leader = self.client.leader(topic, partition).await?;
        let offset = before.unwrap_or(crate::wire::api::delete_records::HIGH_WATERMARK);
        let partitions = vec![DeleteRecordsPartition { partition_index: partition, offset }];
        let topics = vec![DeleteRecordsTopic { name: Str::from(topic.as_str()), partitions }];
        let request = DeleteRecordsRequest { topics, timeout_ms: self.timeout_ms() };
        let response = self.client.change_at(leader.node, &request).await?;
        let answer = response.topics.first().and_then(|topic| topic.partitions.first());
        let answer = answer.ok_or(ClientError::Incomplete(ApiKey::DeleteRecords))?;
        check(ApiKey::DeleteRecords, answer.error_code, None)?;
        Ok(answer.low_watermark)
    }
}

fn check(api: ApiKey, code: ErrorCode, message: Option<&Str>) -> Result<(), ClientError> {
    if code.is_none() { Ok(()) } else { Err(ClientError::refused(api, code, message.map(Str::as_str))) }
}
