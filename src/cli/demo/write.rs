use std::{collections::VecDeque, time::Duration};

use super::{Demo, events::Event};
use crate::{
    cli::progress::Progress,
    client::{
        Producer, ProducerConfig, ProducerRecord,
        producer::{Delivery, ProduceError, Written},
    },
    model::Offset,
    record::NewHeader,
};

/// Results that may be waited for before some are looked at.
const DELIVERIES: usize = 64 * 1024;

/// How writing went.
#[derive(Clone, Debug, Default)]
pub(super) struct Writing {
    pub(super) acknowledged: u64,
    pub(super) failed: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    /// Acknowledged at another offset than the one that follows its predecessor's.
    pub(super) misplaced: u64,
    pub(super) first_error: Option<String>,
}

/// Checks each acknowledgement as it comes: every record right behind the one before it.
struct Acknowledgements {
    waiting: VecDeque<Delivery>,
    next: Vec<Offset>,
    seen: Writing,
}

impl Acknowledgements {
    async fn settle(&mut self, down_to: usize) {
        while self.waiting.len() > down_to {
            let Some(first) = self.waiting.pop_front() else { return };
            self.on_result(first.await);
        }
    }

    fn on_result(&mut self, result: Result<Written, ProduceError>) {
        match result {
            Ok(written) => {
                self.seen.acknowledged += 1;
                let index = usize::try_from(written.partition.get()).unwrap_or(usize::MAX);
                let Some(next) = self.next.get_mut(index) else { return };
                self.seen.misplaced += u64::from(written.offset != Some(*next));
                *next = written.offset.unwrap_or(*next).plus(1);
            }
            Err(error) => {
                self.seen.failed += 1;
                self.seen.first_error.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

impl Demo {
    /// Writes all events, each acknowledged by the disk.
    pub(super) async fn write(&self) -> anyhow::Result<Writing> {
        let config = ProducerConfig { batch_bytes: 256 * 1024, ..ProducerConfig::default() };
        let producer = Producer::new(&self.client, config);
        let (waiting, next) = (VecDeque::with_capacity(DELIVERIES), vec![Offset::ZERO; self.partitions]);
        let mut acknowledgements = Acknowledgements { waiting, next, seen: Writing::default() };
        let mut progress = Progress::towards("written", self.records);
        let mut event = Event::default();
        for number in 0..self.records {
            self.day.make(number, &mut event);
            acknowledgements.waiting.push_back(self.send(&producer, &event).await?);
            progress.add(event.key.len() + event.value.len());
            if acknowledgements.waiting.len() >= DELIVERIES {
                acknowledgements.settle(DELIVERIES / 2).await;
            }
        }
        producer.flush().await;
        acknowledgements.settle(0).await;
        let elapsed = progress.elapsed();
        progress.finish();
        producer.close().await;
        Ok(Writing { bytes: progress.bytes, elapsed, ..acknowledgements.seen })
    }

    async fn send(&self, producer: &Producer, event: &Event) -> Result<Delivery, ProduceError> {
        let headers = [NewHeader { name: "type", value: Some(event.kind.as_bytes()) }];
        let record = ProducerRecord {
            partition: None,
            key: Some(event.key.as_bytes()),
            value: Some(event.value.as_bytes()),
            headers: &headers,
            timestamp: Some(event.timestamp),
        };
        producer.send(&self.topic, record).await
    }
}
