use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    task::{JoinError, JoinHandle},
    time::Instant,
};

use super::{Demo, events::Event};
use crate::{
    cli::progress::Progress,
    client::{
        Producer, ProducerConfig, ProducerRecord,
        producer::{Delivery, ProduceError, Written},
    },
    model::{Offset, PartitionIndex},
    record::NewHeader,
};

/// Results that may be waited for before some are looked at.
const DELIVERIES: usize = 64 * 1024;
/// So many records that are sent after a node died are timed; enough for each partition to be among them.
const TIMED: usize = 1000;

/// How writing went.
#[derive(Clone, Debug, Default)]
pub(super) struct Writing {
    pub(super) acknowledged: u64,
    pub(super) failed: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    /// From the death of a node to the first acknowledgement by every partition of a record sent after it.
    pub(super) failover: Option<Duration>,
    /// Acknowledged at another offset than the one that follows its predecessor's.
    pub(super) misplaced: u64,
    pub(super) first_error: Option<String>,
}

/// Checks each acknowledgement as it comes: every record right behind the one before it.
struct Acknowledgements {
    waiting: VecDeque<Waiting>,
    next: Vec<Offset>,
    /// How soon after the fault each partition acknowledged.
    after_fault: BTreeMap<PartitionIndex, Duration>,
    seen: Writing,
}

/// A record without a result that has been looked at.
enum Waiting {
    Plainly(Delivery),
    /// One of the first that were sent after a node died.
    ByTheClock(JoinHandle<Timed>),
}

/// A result and when it came.
struct Timed {
    fault: Instant,
    at: Instant,
    result: Result<Written, ProduceError>,
}

fn by_the_clock(delivery: Delivery, fault: Instant) -> Waiting {
    Waiting::ByTheClock(tokio::spawn(async move {
        let result = delivery.await;
        Timed { fault, at: Instant::now(), result }
    }))
}

impl Acknowledgements {
    async fn settle(&mut self, down_to: usize) {
        while self.waiting.len() > down_to {
            let Some(first) = self.waiting.pop_front() else { return };
            match first {
                Waiting::Plainly(delivery) => self.on_result(delivery.await),
                Waiting::ByTheClock(timed) => self.on_timed(timed.await),
            }
        }
    }

    fn on_timed(&mut self, timed: Result<Timed, JoinError>) {
        // Its task is aborted only with the runtime.
        let Ok(Timed { fault, at, result }) = timed else { return };
        if let Ok(written) = &result {
            let took = at.saturating_duration_since(fault);
            let first = self.after_fault.entry(written.partition).or_insert(took);
            *first = took.min(*first);
        }
        self.on_result(result);
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
    /// Writes all events, each acknowledged by the disk, and tells when half of them are on their way.
    pub(super) async fn write(
        &self,
        at_half: oneshot::Sender<()>,
        on_strike: watch::Receiver<Option<Instant>>,
    ) -> anyhow::Result<Writing> {
        let config = ProducerConfig { batch_bytes: 256 * 1024, ..ProducerConfig::default() };
        let producer = Producer::new(&self.client, config);
        let (waiting, next) = (VecDeque::with_capacity(DELIVERIES), vec![Offset::ZERO; self.partitions]);
        let (after_fault, seen) = (BTreeMap::new(), Writing::default());
        let mut acknowledgements = Acknowledgements { waiting, next, after_fault, seen };
        let (mut at_half, mut timed) = (Some(at_half), 0);
        let mut progress = Progress::towards("written", self.records);
        let mut event = Event::default();
        for number in 0..self.records {
            self.day.make(number, &mut event);
            if number >= self.records / 2
                && let Some(at_half) = at_half.take()
            {
                // Nobody listens where there is one node.
                let _ = at_half.send(());
            }
            // Looked at before the record is sent.
            let fault = *on_strike.borrow();
            let delivery = self.send(&producer, &event).await?;
            acknowledgements.waiting.push_back(match fault {
                Some(fault) if timed < TIMED => {
                    timed += 1;
                    by_the_clock(delivery, fault)
                }
                Some(_) | None => Waiting::Plainly(delivery),
            });
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
        let failover = acknowledgements.after_fault.values().max().copied();
        Ok(Writing { bytes: progress.bytes, elapsed, failover, ..acknowledgements.seen })
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
