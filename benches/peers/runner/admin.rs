//! Topics, created and deleted as any Kafka client would.

use std::{future::Future, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, anyhow};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication, TopicResult},
    client::DefaultClientContext,
};

use super::rows::Topic;

const WITHIN: Duration = Duration::from_secs(20);

pub(super) fn create_topic(broker: SocketAddr, name: &str, partitions: i32, topic: Topic) -> Result<()> {
    let new = NewTopic::new(name, partitions, TopicReplication::Fixed(1))
        .set("durability", topic.durability)
        .set("verify.on.read", topic.verify_on_read);
    run(broker, async |client, options| one(client.create_topics([&new], options).await?))
}

pub(super) fn delete_topic(broker: SocketAddr, name: &str) -> Result<()> {
    run(broker, async |client, options| one(client.delete_topics(&[name], options).await?))
}

fn run(
    broker: SocketAddr,
    work: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> Result<()>,
) -> Result<()> {
    let client = ClientConfig::new().set("bootstrap.servers", broker.to_string()).create()?;
    let options = AdminOptions::new().operation_timeout(Some(WITHIN)).request_timeout(Some(WITHIN));
    block_on(work(&client, &options))
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn one(results: Vec<TopicResult>) -> Result<()> {
    let result = results.into_iter().next().context("an answer without the topic")?;
    result.map(drop).map_err(|(topic, code)| anyhow!("{topic}: {code}"))
}
