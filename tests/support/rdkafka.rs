//! librdkafka as a user has it, but for back-offs short enough for tests.

use std::time::Duration;

use polylogue::chaos::history::ContentDigest;
use rdkafka::{
    ClientConfig, Message, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::{BorrowedMessage, Headers, OwnedHeaders},
    topic_partition_list::Offset,
};

use super::{WITHIN, eventually};

/// How long one poll waits for a message before its caller looks at its deadline again.
pub(crate) const POLL: Duration = Duration::from_millis(100);

/// Settings for any client: it is back within milliseconds of a restart.
pub(crate) fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("broker.address.family", "v4")
        .set("reconnect.backoff.ms", "5")
        .set("reconnect.backoff.max.ms", "50")
        .set("retry.backoff.ms", "5")
        .set("retry.backoff.max.ms", "50")
        .set("topic.metadata.refresh.fast.interval.ms", "20");
    config
}

/// Settings for a producer that waits for the whole in-sync set.
pub(crate) fn producer(bootstrap: &str) -> ClientConfig {
    let mut config = client(bootstrap);
    config.set("acks", "all").set("linger.ms", "1").set("message.timeout.ms", "120000");
    config
}

/// A consumer without a group, which reads what it is told to and commits nothing.
pub(crate) fn consumer(bootstrap: &str) -> BaseConsumer {
    let mut config = client(bootstrap);
    config
        // librdkafka asks for a group's name even where no group is used.
        .set("group.id", "not-used")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.error.backoff.ms", "5")
        .set("check.crcs", "true");
    config.create().unwrap()
}

/// Makes a topic with one replica and waits until it is there.
pub(crate) fn create_topic(bootstrap: &str, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    create_replicated_topic(bootstrap, name, (partitions, 1), configs);
}

/// Makes a topic of so many partitions and replicas, and waits until it is there.
pub(crate) fn create_replicated_topic(
    bootstrap: &str,
    name: &str,
    (partitions, replicas): (i32, i32),
    configs: &[(&str, &str)],
) {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create().unwrap();
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
    let topic = configs.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
    let options = AdminOptions::new().operation_timeout(Some(WITHIN)).request_timeout(Some(WITHIN));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let made = runtime.block_on(admin.create_topics([&topic], &options)).unwrap();
    assert_eq!(made, [Ok(name.to_owned())]);
    let consumer = consumer(bootstrap);
    eventually("the new topic is in the metadata", WITHIN, || {
        let metadata = consumer.fetch_metadata(Some(name), WITHIN).ok()?;
        let topic = metadata.topics().first()?;
        (topic.error().is_none() && topic.partitions().len() == partitions as usize).then_some(())
    });
}

/// A record as a reader was given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) offset: i64,
    pub(crate) timestamp: Option<i64>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Received {
    pub(crate) fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = headers(message).into_iter();
        Self {
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec))).collect(),
        }
    }
}

fn headers<'a>(message: &'a BorrowedMessage<'_>) -> Vec<(&'a str, Option<&'a [u8]>)> {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    headers.map(|header| (header.key, header.value)).collect()
}

/// The digest of a record that was read, as [`ContentDigest::of`] gave it when it was sent.
pub(crate) fn digest(message: &BorrowedMessage<'_>) -> ContentDigest {
    ContentDigest::of(message.key(), message.payload(), &headers(message))
}

/// Headers as a record takes them.
pub(crate) fn owned_headers(headers: &[(String, Option<Vec<u8>>)]) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new(), |owned, (key, value)| {
        owned.insert(rdkafka::message::Header { key, value: value.as_ref() })
    })
}

/// Log start offset and high watermark, asked until the node answers.
pub(crate) fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    eventually("watermarks", WITHIN, || consumer.fetch_watermarks(topic, partition, WITHIN).ok())
}

/// Points a consumer at one offset of each partition given.
pub(crate) fn assign(consumer: &BaseConsumer, topic: &str, from: &[(i32, i64)]) {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in from {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).unwrap();
    }
    consumer.assign(&list).unwrap();
}

/// Gives every record of a partition from `from` until `until` to `each`, in the order of arrival.
///
/// Errors of the connection are not the reader's business: librdkafka goes on by itself.
pub(crate) fn read_range(
    consumer: &BaseConsumer,
    topic: &str,
    partition: i32,
    (from, until): (i64, i64),
    mut each: impl FnMut(&BorrowedMessage<'_>),
) {
    assign(consumer, topic, &[(partition, from)]);
    let mut next = from;
    while next < until {
        eventually(&format!("{topic}-{partition} from offset {next} until {until}"), WITHIN, || {
            let message = consumer.poll(POLL)?.ok()?;
            each(&message);
            next = next.max(message.offset() + 1);
            Some(())
        });
    }
    consumer.unassign().unwrap();
}

/// Everything that is in a partition.
pub(crate) fn read_all(bootstrap: &str, topic: &str, partition: i32) -> Vec<Received> {
    let consumer = consumer(bootstrap);
    let range = watermarks(&consumer, topic, partition);
    let mut read = Vec::new();
    read_range(&consumer, topic, partition, range, |message| read.push(Received::of(message)));
    read
}
