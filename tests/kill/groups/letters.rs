//! Reads the dead letters of a group and writes down what is there.

use std::{collections::BTreeMap, time::Duration};

use polylogue::{
    chaos::history::{DeadLetter, DeadLettersRead, Event},
    client::{Assignment, Client, ClientError, Consumer, ConsumerConfig, OffsetSpec, Polled, StartAt},
    model::{Offset, PartitionIndex, TopicName},
    record::Record,
};
use tokio::time::sleep;

use super::{
    member::Shared,
    refusing::{Fate, client},
};
use crate::workload::Topic;

const PAUSE: Duration = Duration::from_millis(20);
/// How long a poll waits for what is known to be there.
const WAIT: Duration = Duration::from_secs(1);

pub(super) struct Letters {
    topic: Topic,
    client: Client,
    consumer: Consumer,
    /// How far each of their partitions was read.
    read: BTreeMap<PartitionIndex, Offset>,
    /// How far the group was when they were read last.
    passed: BTreeMap<PartitionIndex, Offset>,
}

impl Letters {
    pub(super) fn new(shared: &Shared, topic: Topic) -> Self {
        let client = client(&shared.bootstrap, &format!("{}-letters", shared.group));
        let mut consumer = Consumer::new(&client, ConsumerConfig::default());
        let name = TopicName::new(topic.name).unwrap();
        let partitions = || (0..topic.partitions).map(PartitionIndex::new);
        let start = StartAt::Offset(Offset::ZERO);
        let assign = |partition| Assignment { topic: name.clone(), partition, start };
        consumer.assign(&partitions().map(assign).collect::<Vec<_>>());
        let read = partitions().map(|partition| (partition, Offset::ZERO)).collect();
        Self { topic, client, consumer, read, passed: BTreeMap::new() }
    }

    /// The group was told to be there: where that is past a record that it refuses, that is among the dead letters by now.
    pub(super) async fn look(
        &mut self,
        shared: &Shared,
        told: &[(PartitionIndex, Option<Offset>)],
        last: bool,
    ) {
        let mut news = Vec::new();
        for (partition, offset) in told {
            let (Some(offset), from) = (*offset, self.passed.get(partition).copied().unwrap_or(Offset::ZERO))
            else {
                continue;
            };
            let refused = |at| Fate::of(shared.seed, *partition, Offset::new(at)) == Fate::Refused;
            if last || (from.get()..offset.get()).any(refused) {
                news.push((*partition, offset));
            }
        }
        if news.is_empty() {
            return;
        }
        while let Err(error) = self.read_to_the_end(shared).await {
            shared.record(&Event::Note(format!("dead letters cannot be read: {error}")));
            sleep(PAUSE).await;
        }
        for (partition, passed) in news {
            self.passed.insert(partition, passed);
            let (group, partition) = (shared.group.clone(), shared.topic.partition(partition.get()));
            shared.record(&Event::DeadLettersRead(DeadLettersRead { group, partition, passed }));
        }
    }

    async fn read_to_the_end(&mut self, shared: &Shared) -> Result<(), ClientError> {
        let name = TopicName::new(self.topic.name).unwrap();
        let asked: Vec<_> = self.read.keys().map(|partition| (*partition, OffsetSpec::Latest)).collect();
        let ends = self.client.offsets(&name, &asked).await?;
        let is_read = |read: &BTreeMap<PartitionIndex, Offset>| {
            ends.iter().all(|end| read.get(&end.partition).is_some_and(|read| *read >= end.offset))
        };
        while !is_read(&self.read) {
            // Where a node is away, polls go on by themselves.
            if let Some(Polled::Batch(batch)) = self.consumer.poll(WAIT).await.unwrap() {
                self.read.insert(batch.partition, batch.next_offset);
                for record in batch.into_records() {
                    note(shared, &record.unwrap());
                }
            }
        }
        Ok(())
    }
}

fn note(shared: &Shared, record: &Record) {
    let said = |name: &str| {
        let name = format!("polylogue.dead-letter.{name}");
        let found = record.headers.iter().find(|header| header.name == name.as_bytes());
        String::from_utf8(found.unwrap().value.as_ref().unwrap().to_vec()).unwrap()
    };
    assert_eq!((said("group"), said("topic")), (shared.group.clone(), shared.topic.name.to_owned()));
    shared.record(&Event::DeadLetter(DeadLetter {
        group: said("group"),
        partition: shared.topic.partition(said("partition").parse().unwrap()),
        offset: Offset::new(said("offset").parse().unwrap()),
        attempts: said("attempts").parse().unwrap(),
    }));
}
