use std::{collections::VecDeque, time::Duration};

use anyhow::{Context, bail};

use super::{
    Demo, PATIENCE,
    events::{Event, partition},
};
use crate::{
    cli::progress::Progress,
    client::{Assignment, Consumer, ConsumerConfig, Polled, StartAt, consumer::ConsumedBatch},
    model::{Offset, PartitionIndex},
    record::RecordRef,
};

/// How reading all of it went.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    /// Not what was sent at this place of the partition.
    pub(super) different: u64,
    /// At another offset than the one that follows its predecessor's.
    pub(super) out_of_order: u64,
}

/// What each partition is to hold, in order: the numbers of its events, found by walking the day.
///
/// It walks as far as the partition that is ahead, so what waits is at most the numbers of the others.
struct Expected<'a> {
    demo: &'a Demo,
    walked: u64,
    event: Event,
    numbers: Vec<VecDeque<u64>>,
    offsets: Vec<Offset>,
}

impl<'a> Expected<'a> {
    fn new(demo: &'a Demo) -> Self {
        let numbers = vec![VecDeque::new(); demo.partitions];
        let offsets = vec![Offset::ZERO; demo.partitions];
        Self { demo, walked: 0, event: Event::default(), numbers, offsets }
    }

    /// The number of the next event of a partition; none if there are no more.
    fn next(&mut self, index: usize) -> Option<u64> {
        loop {
            if let Some(number) = self.numbers.get_mut(index)?.pop_front() {
                return Some(number);
            }
            if self.walked == self.demo.records {
                return None;
            }
            self.demo.day.make(self.walked, &mut self.event);
            let to = partition(&self.event, self.demo.partitions);
            if let Some(numbers) = usize::try_from(to.get()).ok().and_then(|to| self.numbers.get_mut(to)) {
                numbers.push_back(self.walked);
            }
            self.walked += 1;
        }
    }
}

/// Whether a record is this event, in everything that was sent.
pub(super) fn is(record: &RecordRef<'_>, event: &Event) -> bool {
    let mut headers = record.headers.clone();
    let header = headers.next() == Some((&b"type"[..], Some(event.kind.as_bytes())));
    record.key == Some(event.key.as_bytes())
        && record.value == Some(event.value.as_bytes())
        && record.timestamp == event.timestamp
        && header
        && headers.next().is_none()
}

impl Demo {
    /// A consumer of every partition.
    pub(super) fn consumer(&self, starts: impl Iterator<Item = (PartitionIndex, StartAt)>) -> Consumer {
        let mut consumer = Consumer::new(&self.client, ConsumerConfig::default());
        let assign = |(partition, start)| Assignment { topic: self.topic.clone(), partition, start };
        consumer.assign(&starts.map(assign).collect::<Vec<_>>());
        consumer
    }

    pub(super) fn all_partitions(&self) -> impl Iterator<Item = PartitionIndex> + use<> {
        (0..self.partitions as i32).map(PartitionIndex::new)
    }

    /// Reads all and compares each record with what was sent.
    pub(super) async fn read_all(&self) -> anyhow::Result<Reading> {
        let mut consumer = self.consumer(self.all_partitions().map(|each| (each, StartAt::BEGINNING)));
        let mut expected = Expected::new(self);
        let mut progress = Progress::towards("read and compared", self.records);
        let mut reading = Reading::default();
        let mut ended = vec![false; self.partitions];
        while !ended.iter().all(|ended| *ended) {
            let polled = consumer.poll(PATIENCE).await?;
            match polled.context("no more records came, and the end has not been reached")? {
                Polled::Batch(batch) => compare(&batch, &mut expected, &mut progress, &mut reading)?,
                Polled::EndOfPartition { partition, .. } => {
                    let ended = usize::try_from(partition.get()).ok().and_then(|at| ended.get_mut(at));
                    *ended.context("a partition that was not asked for")? = true;
                }
            }
        }
        reading.elapsed = progress.elapsed();
        reading.bytes = progress.bytes;
        progress.finish();
        Ok(reading)
    }
}

fn compare(
    batch: &ConsumedBatch,
    expected: &mut Expected<'_>,
    progress: &mut Progress,
    reading: &mut Reading,
) -> anyhow::Result<()> {
    let index = usize::try_from(batch.partition.get())?;
    let mut event = Event::default();
    for record in batch.iter() {
        let record = record?;
        reading.records += 1;
        progress.add(record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len));
        match expected.next(index) {
            Some(number) => {
                expected.demo.day.make(number, &mut event);
                reading.different += u64::from(!is(&record, &event));
            }
            None => reading.different += 1,
        }
        let Some(next) = expected.offsets.get_mut(index) else { bail!("a partition that was not asked for") };
        reading.out_of_order += u64::from(record.offset != *next);
        *next = record.offset.plus(1);
    }
    Ok(())
}
