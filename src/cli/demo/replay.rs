use std::time::Duration;

use anyhow::Context;

use super::{
    Demo, PATIENCE,
    check::is,
    events::{Event, partition},
};
use crate::{
    cli::progress::Progress,
    client::{OffsetSpec, Polled, StartAt},
    model::{PartitionIndex, TimestampMs},
};

/// How reading again from a time in the middle went.
#[derive(Clone, Debug)]
pub(super) struct Replay {
    pub(super) from: TimestampMs,
    pub(super) records: u64,
    pub(super) expected: u64,
    /// Partitions whose first record was not the first event at that time or later.
    pub(super) wrong_starts: u64,
    pub(super) elapsed: Duration,
}

/// What a replay must find.
struct Wanted {
    records: u64,
    /// By partition, the number of the first event.
    firsts: Vec<Option<u64>>,
}

impl Demo {
    fn wanted(&self, from_number: u64) -> Wanted {
        let mut firsts = vec![None; self.partitions];
        let mut event = Event::default();
        for number in from_number..self.records {
            self.day.make(number, &mut event);
            let to = usize::try_from(partition(&event, self.partitions).get()).ok();
            if let Some(first) = to.and_then(|to| firsts.get_mut(to)) {
                first.get_or_insert(number);
            }
            if firsts.iter().all(Option::is_some) {
                break;
            }
        }
        Wanted { records: self.records - from_number, firsts }
    }

    /// Reads again from the middle of the day, found by time.
    pub(super) async fn replay(&self) -> anyhow::Result<Replay> {
        let middle = self.records / 2;
        // Events at the same millisecond as the middle one come with it.
        let from = self.day.time(middle);
        let first = (0..=middle).rev().take_while(|number| self.day.time(*number) == from).last();
        let wanted = self.wanted(first.unwrap_or(middle));
        let asked: Vec<_> = self.all_partitions().map(|each| (each, OffsetSpec::AtTime(from))).collect();
        let found = self.client.offsets(&self.topic, &asked).await?;
        let starts: Vec<_> =
            found.iter().map(|found| (found.partition, StartAt::Offset(found.offset))).collect();
        let mut consumer = self.consumer(starts.into_iter());
        let mut progress = Progress::towards("replayed from the middle", wanted.records);
        let mut replay =
            Replay { from, records: 0, expected: wanted.records, wrong_starts: 0, elapsed: Duration::ZERO };
        let mut seen = vec![false; self.partitions];
        let mut ended = vec![false; self.partitions];
        while !ended.iter().all(|ended| *ended) {
            let polled = consumer.poll(PATIENCE).await?;
            match polled.context("no more records came, and the end has not been reached")? {
                Polled::Batch(batch) => {
                    let is_first = !std::mem::replace(at(&mut seen, batch.partition)?, true);
                    for (place, record) in batch.iter().enumerate() {
                        let record = record?;
                        replay.records += 1;
                        progress.add(record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len));
                        if is_first && place == 0 {
                            let right = self.is_wanted(&wanted, batch.partition, &record);
                            replay.wrong_starts += u64::from(!right);
                        }
                    }
                }
                Polled::EndOfPartition { partition, .. } => *at(&mut ended, partition)? = true,
            }
        }
        // A partition that has nothing so late must not have been read at all.
        let missing = wanted.firsts.iter().zip(&seen).filter(|(first, seen)| first.is_some() != **seen);
        replay.wrong_starts += missing.count() as u64;
        replay.elapsed = progress.elapsed();
        progress.finish();
        Ok(replay)
    }

    fn is_wanted(
        &self,
        wanted: &Wanted,
        partition: PartitionIndex,
        record: &crate::record::RecordRef<'_>,
    ) -> bool {
        let index = usize::try_from(partition.get()).ok();
        let Some(number) = index.and_then(|index| wanted.firsts.get(index).copied().flatten()) else {
            return false;
        };
        let mut event = Event::default();
        self.day.make(number, &mut event);
        is(record, &event)
    }
}

fn at(flags: &mut [bool], partition: PartitionIndex) -> anyhow::Result<&mut bool> {
    let index = usize::try_from(partition.get()).ok();
    index.and_then(|index| flags.get_mut(index)).context("a partition that was not asked for")
}
