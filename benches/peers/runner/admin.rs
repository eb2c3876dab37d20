//! Topics, created and deleted as any Kafka client would.

use std::{future::Future, time::Duration};

use anyhow::{Context, Result, anyhow};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication, TopicResult},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};

const WITHIN: Duration = Duration::from_secs(20);

/// `bootstrap` is the address of one broker, or those of several, parted by commas.
pub(super) fn create_topic(
    bootstrap: &str,
    name: &str,
    (partitions, replicas): (i32, i32),
    configs: &[(&str, &str)],
) -> Result<()> {
    let new = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
    let new = configs.iter().fold(new, |new, (key, value)| new.set(key, value));
    run(bootstrap, async |client, options| one(client.create_topics([&new], options).await?))
}

/// Waits until the broker has said who is in its cluster.
pub(super) fn wait_until_answered(broker: &str, within: Duration) -> Result<()> {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", broker).create()?;
    client.fetch_metadata(None, within).context("the broker answers nothing").map(drop)
}

pub(super) fn delete_topic(bootstrap: &str, name: &str) -> Result<()> {
    run(bootstrap, async |client, options| one(client.delete_topics(&[name], options).await?))
}

fn run(
    bootstrap: &str,
    work: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> Result<()>,
) -> Result<()> {
    // Who waits for a broker that is just starting asks again soon.
    let client = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "2")
        .set("reconnect.backoff.max.ms", "4")
        .set("log_level", "0")
        .create()?;
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
