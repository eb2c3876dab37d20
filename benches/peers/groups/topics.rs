//! A topic, made as soon as a cluster that is just starting can: librdkafka's own client asks for the controller at
//! intervals of its own, which would be measured.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use polylogue::wire::{
    ErrorCode,
    api::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest},
};

use super::{block_on, commits::until_true, connection::Connection};

const CREATE: i16 = 5;

/// Asks one broker again and again, until the topic of one partition is there.
pub(crate) fn topic_made(
    broker: SocketAddr,
    name: &str,
    replicas: i16,
    configs: &[(&str, &str)],
) -> Result<()> {
    let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: (*name).into(),
        value: Some((*value).into()),
    };
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: 1,
        replication_factor: replicas,
        configs: configs.iter().map(config).collect(),
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    block_on(until_true(async || {
        let answer = Connection::open(broker).await?.call(CREATE, &request).await?;
        let error = answer.topics.first().context("an answer without the topic")?.error_code;
        ensure!(error.is_none() || error == ErrorCode::TopicAlreadyExists, "{}", error.message());
        Ok(())
    }))
}
