//! Records that are written one after the other while nodes fail, and when each was acknowledged.
//!
//! A gap is counted from the fault to the first acknowledgement of a record that was *sent* after it: an answer that
//! was on its way already says nothing about who leads now.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};

use crate::{
    client::{
        Assignment, Client, Consumer, ConsumerConfig, Polled, Producer, ProducerConfig, ProducerRecord,
        StartAt, producer::Delivery,
    },
    model::{Offset, PartitionIndex, TopicName},
};

/// How often a record is sent to each partition.
const EVERY: Duration = Duration::from_millis(1);
/// How long nothing may come while all is read back.
const PATIENCE: Duration = Duration::from_secs(30);

/// An acknowledged record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acked {
    /// Which of the records that were sent to its partition.
    pub(super) number: u64,
    /// None where the log has it and no longer knows where.
    pub(super) offset: Option<Offset>,
    pub(super) sent: Instant,
    pub(super) at: Instant,
}

/// What was acknowledged so far, by partition, and what failed.
#[derive(Debug, Default)]
pub(super) struct Acks {
    state: Mutex<AckState>,
    changed: Notify,
}

#[derive(Debug, Default)]
pub(super) struct AckState {
    pub(super) of: BTreeMap<PartitionIndex, Vec<Acked>>,
    pub(super) failed: u64,
    pub(super) first_failure: Option<String>,
}

impl Acks {
    pub(super) fn lock(&self) -> MutexGuard<'_, AckState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, partition: PartitionIndex, acked: Acked) {
        self.lock().of.entry(partition).or_default().push(acked);
        self.changed.notify_waiters();
    }

    pub(super) fn fail(&self, error: String) {
        let mut state = self.lock();
        state.failed += 1;
        state.first_failure.get_or_insert(error);
    }

    /// How long after `fault` the first record was acknowledged that was sent after it.
    pub(super) async fn gap_after(
        &self,
        partition: PartitionIndex,
        fault: Instant,
        within: Duration,
    ) -> anyhow::Result<Duration> {
        let deadline = fault + within;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(at) = self.lock().first_sent_after(partition, fault) {
                return Ok(at - fault);
            }
            if timeout_at(deadline, changed).await.is_err() {
                bail!("no record was acknowledged within {within:?} of the fault");
            }
        }
    }

    /// The longest time between two acknowledgements of one partition since `began`.
    pub(super) fn worst_gap_since(&self, began: Instant) -> Duration {
        self.lock().of.values().map(|acked| worst_gap(acked, began)).max().unwrap_or_default()
    }

    pub(super) fn count(&self) -> u64 {
        self.lock().of.values().map(|acked| acked.len() as u64).sum()
    }
}

impl AckState {
    fn first_sent_after(&self, partition: PartitionIndex, fault: Instant) -> Option<Instant> {
        let acked = self.of.get(&partition)?;
        // Records are acknowledged in the order they were sent, so the end is where to look.
        let after =
            acked.iter().rev().take_while(|acked| acked.at > fault).filter(|acked| acked.sent > fault);
        after.map(|acked| acked.at).min()
    }
}

fn worst_gap(acked: &[Acked], began: Instant) -> Duration {
    let times: Vec<_> = acked.iter().map(|acked| acked.at).filter(|at| *at >= began).collect();
    times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max().unwrap_or_default()
}

/// Our own client, writing until it is told to stop.
pub(super) struct Load {
    pub(super) acks: Arc<Acks>,
    stop: watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Load {
    pub(super) fn start(client: &Client, topic: &TopicName, partitions: i32) -> Self {
        let config = ProducerConfig { linger: Duration::ZERO, ..ProducerConfig::default() };
        let producer = Producer::new(client, config);
        let acks = Arc::new(Acks::default());
        let (stop, stopped) = watch::channel(false);
        let writing = write(producer, topic.clone(), partitions, Arc::clone(&acks), stopped);
        Self { acks, stop, task: tokio::spawn(writing) }
    }

    /// Stops it, once all that was sent has a result.
    pub(super) async fn stop(self) -> anyhow::Result<Arc<Acks>> {
        self.stop.send_replace(true);
        self.task.await.context("the task that writes ended")??;
        Ok(self.acks)
    }
}

async fn write(
    producer: Producer,
    topic: TopicName,
    partitions: i32,
    acks: Arc<Acks>,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let settle = |partition| {
        let (sender, receiver) = mpsc::unbounded_channel();
        (partition, sender, tokio::spawn(settle(partition, receiver, Arc::clone(&acks))))
    };
    // Bounded by the producer's buffer, which waits for results.
    let settling: Vec<_> = (0..partitions).map(PartitionIndex::new).map(settle).collect();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            _ = ticks.tick() => {}
        }
        for (partition, results, _) in &settling {
            let sent = Instant::now();
            let value = number.to_be_bytes();
            let record = ProducerRecord {
                partition: Some(*partition),
                value: Some(&value),
                ..ProducerRecord::default()
            };
            let delivery = producer.send(&topic, record).await?;
            // Its task ends only with this one.
            let _ = results.send((number, sent, delivery));
        }
    }
    producer.flush().await;
    for (_, results, settled) in settling {
        drop(results);
        settled.await.context("a task that waits for results ended")?;
    }
    producer.close().await;
    Ok(())
}

type Sent = (u64, Instant, Delivery);

async fn settle(partition: PartitionIndex, mut results: mpsc::UnboundedReceiver<Sent>, acks: Arc<Acks>) {
    while let Some((number, sent, delivery)) = results.recv().await {
        match delivery.await {
            Ok(written) => {
                let at = Instant::now();
                acks.add(partition, Acked { number, offset: written.offset, sent, at });
            }
            Err(error) => acks.fail(error.to_string()),
        }
    }
}

/// What is in the logs, beside what was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) acknowledged: u64,
    pub(super) read: u64,
    /// Acknowledged and not where the acknowledgement says, or nowhere.
    pub(super) lost: u64,
    /// There more than once.
    pub(super) duplicates: u64,
    /// Behind a record that was sent later.
    pub(super) out_of_order: u64,
}

impl Verdict {
    pub(super) fn is_right(&self) -> bool {
        self.lost == 0 && self.duplicates == 0 && self.out_of_order == 0
    }

    /// Of one partition: the numbers that were read, by offset.
    pub(super) fn add(&mut self, acked: &[Acked], read: &BTreeMap<Offset, u64>) {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        let mut last = None;
        for number in read.values() {
            *counts.entry(*number).or_default() += 1;
            self.out_of_order += u64::from(last.is_some_and(|last| last > *number));
            last = Some(*number);
        }
        let is_there = |acked: &&Acked| match acked.offset {
            Some(offset) => read.get(&offset) == Some(&acked.number),
            None => counts.contains_key(&acked.number),
        };
        self.acknowledged += acked.len() as u64;
        self.read += read.len() as u64;
        self.lost += (acked.len() - acked.iter().filter(is_there).count()) as u64;
        self.duplicates += counts.values().map(|count| count - 1).sum::<u64>();
    }
}

/// Reads all partitions to their ends and compares.
pub(super) async fn verify(
    client: &Client,
    topic: &TopicName,
    partitions: i32,
    acks: &Acks,
) -> anyhow::Result<Verdict> {
    let mut consumer = Consumer::new(client, ConsumerConfig::default());
    let assign = |partition| Assignment { topic: topic.clone(), partition, start: StartAt::BEGINNING };
    consumer.assign(&(0..partitions).map(PartitionIndex::new).map(assign).collect::<Vec<_>>());
    let mut read: BTreeMap<PartitionIndex, BTreeMap<Offset, u64>> = BTreeMap::new();
    let mut left = partitions;
    while left > 0 {
        match consumer.poll(PATIENCE).await?.context("reading back has come to a halt")? {
            Polled::EndOfPartition { .. } => left -= 1,
            Polled::Batch(batch) => {
                let of_partition = read.entry(batch.partition).or_default();
                for record in batch.iter() {
                    let record = record?;
                    let number = record.value.and_then(|value| value.try_into().ok()).map(u64::from_be_bytes);
                    let number = number.context("a record is there that nobody wrote")?;
                    of_partition.insert(record.offset, number);
                }
            }
        }
    }
    let mut verdict = Verdict::default();
    let state = acks.lock();
    for partition in (0..partitions).map(PartitionIndex::new) {
        let acked = state.of.get(&partition).map(Vec::as_slice).unwrap_or_default();
        verdict.add(acked, read.get(&partition).unwrap_or(&BTreeMap::new()));
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use tokio::time::{Instant, advance};

    use super::{Acked, Acks, Verdict};
    use crate::model::{Offset, PartitionIndex};

    const P: PartitionIndex = PartitionIndex::new(0);

    fn acked(number: u64, offset: Option<i64>) -> Acked {
        let now = Instant::now();
        Acked { number, offset: offset.map(Offset::new), sent: now, at: now }
    }

    fn read(numbers: &[(i64, u64)]) -> BTreeMap<Offset, u64> {
        numbers.iter().map(|(offset, number)| (Offset::new(*offset), *number)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_that_was_sent_before_the_fault_does_not_end_the_gap() {
        let acks = Acks::default();
        let before = Instant::now();
        advance(Duration::from_millis(5)).await;
        let fault = Instant::now();
        let at = |millis| fault + Duration::from_millis(millis);
        acks.add(P, Acked { sent: before, at: at(1), ..acked(1, Some(0)) });
        let within = Duration::from_secs(1);
        assert!(acks.gap_after(P, fault, within).await.is_err());
        acks.add(P, Acked { sent: at(2), at: at(70), ..acked(2, Some(1)) });
        acks.add(P, Acked { sent: at(3), at: at(71), ..acked(3, Some(2)) });
        assert_eq!(acks.gap_after(P, fault, within).await.unwrap(), Duration::from_millis(70));
        assert_eq!(acks.worst_gap_since(fault), Duration::from_millis(69));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_moved_doubled_or_out_of_order_is_counted() {
        let verdict = |acked: &[Acked], there: &[(i64, u64)]| {
            let mut verdict = Verdict::default();
            verdict.add(acked, &read(there));
            (verdict.lost, verdict.duplicates, verdict.out_of_order)
        };
        let two = [acked(1, Some(0)), acked(2, Some(1))];
        assert_eq!(verdict(&two, &[(0, 1), (1, 2), (2, 3)]), (0, 0, 0), "3 was written and not acknowledged");
        assert_eq!(verdict(&two, &[(0, 1)]), (1, 0, 0));
        assert_eq!(verdict(&two, &[(0, 1), (1, 9)]), (1, 0, 0));
        assert_eq!(verdict(&two, &[(0, 1), (1, 2), (2, 2)]), (0, 1, 0));
        assert_eq!(verdict(&two, &[(0, 1), (1, 2), (2, 0)]), (0, 0, 1));
        assert_eq!(verdict(&[acked(1, None)], &[(4, 1)]), (0, 0, 0));
        assert_eq!(verdict(&[acked(1, None)], &[]), (1, 0, 0));
    }
}
