//! The batches of one partition, in order, from the open one to those that wait for their answers.
//!
//! **Order.** Batches are sent in the order they were filled, up to a few at once. When one fails and
//! is to be tried again, nothing more is sent until all that is on its way has come back, and then all of
//! it goes again in order from the first: after a while, which grows with each such failure of all together, or at once where
//! another leads the partition by now.
//!
//! **Sequences.** A batch gets its sequence when it is first sent, and keeps it, byte for byte, over
//! retries: the log recognises it. A batch that fails for good leaves a hole in the sequences that the
//! log would never accept; then the partition takes a new producer id and the batches behind are sealed
//! anew. Those of them that may be in the log already under the old id are not sent again but fail
//! with an unknown outcome, since the log could no longer tell the duplicate.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    Obstacle, ProduceError, ProducerConfig,
    batch::{Batch, Contents},
    delivery::{Delivery, Promise, Written},
};
use crate::{
    client::{ConnectionError, metadata::Leader},
    model::{Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TimestampMs, TopicName},
    record::{NewRecord, Producer},
    wire::ErrorCode,
};

/// A producer id with its epoch, as a cluster gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

/// How one try to write a batch ended.
#[derive(Clone, Debug)]
pub(super) enum Attempt {
    /// It is written, from this offset on.
    Written { base: Option<Offset>, log_append_time: Option<TimestampMs> },
    /// The broker refused it.
    Refused { code: ErrorCode, message: Option<String> },
    /// The connection failed.
    Failed(ConnectionError),
    /// It never left: it cannot be packed.
    Unpackable(crate::record::BatchError),
}

/// A batch on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) batch: u64,
    pub(super) contents: Contents,
    pub(super) mark: Producer,
}

/// What a look at a queue came to.
#[derive(Debug)]
pub(super) enum Next {
    /// Something to send.
    Send(Outgoing),
    /// Nothing to do until then, unless an answer comes.
    WaitUntil(Instant),
    /// Nothing to do until an answer comes.
    WaitForAnswer,
    /// A producer id is needed, another one than this.
    NeedsIdentity(Option<Identity>),
    /// There is nothing in it.
    Idle,
}

/// One partition's queue.
#[derive(Debug)]
pub(super) struct PartitionQueue {
    pub(super) topic: TopicName,
    pub(super) partition: PartitionIndex,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Batches without a result, oldest first; only the last may still be filled.
    batches: VecDeque<Batch>,
    next_id: u64,
    in_flight: usize,
    /// A try has failed: nothing is sent while others are on their way.
    draining: bool,
    retry_at: Option<Instant>,
    failures: u32,
    /// Whom the last batch was sent to: what is waited for after a failure.
    sent_to: Option<Leader>,
    identity: Option<Identity>,
    /// The identity whose sequences have a hole.
    retired: Option<Identity>,
    next_sequence: Sequence,
    /// The sender has it on its list.
    listed: bool,
}

/// What adding a record came to.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) delivery: Delivery,
    /// A batch became full.
    pub(super) filled: bool,
    /// The sender must look, as it does not know of this queue or of its new batch.
    pub(super) wake: bool,
    /// The sender does not have the queue on its list.
    pub(super) list: bool,
}

impl PartitionQueue {
    pub(super) fn new(topic: TopicName, partition: PartitionIndex) -> Arc<Self> {
        Arc::new(Self { topic, partition, state: Mutex::default() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record to the open batch, or to a new one. None where it is larger than a batch can be.
    pub(super) fn append(&self, record: &NewRecord<'_>, cost: usize, batch_bytes: usize) -> Option<Appended> {
        let mut state = self.lock();
        let mut filled = false;
        let mut wake = false;
        if !state.batches.back_mut().is_some_and(|open| open.append(record, cost)) {
            filled = state.batches.back().is_some_and(|last| matches!(last.contents, Contents::Building(_)));
            wake = true;
            let mut open = Batch::new(state.next_id, batch_bytes, Instant::now());
            state.next_id += 1;
            if !open.append(record, cost) {
                return None;
            }
            state.batches.push_back(open);
        }
        let list = !std::mem::replace(&mut state.listed, true);
        let last = state.batches.back()?;
        Some(Appended { delivery: last.promise.delivery(last.records - 1), filled, wake, list })
    }

    /// The promises of all batches that have no result.
    pub(super) fn promises(&self) -> Vec<Delivery> {
        self.lock().batches.iter().map(|batch| batch.promise.delivery(0)).collect()
    }

    /// Looks what is to be sent to this leader; with `hurry` batches do not wait for more records.
    pub(super) fn next(&self, leader: Leader, now: Instant, hurry: bool, config: &ProducerConfig) -> Next {
        self.lock().next(leader, now, hurry, config)
    }

    /// Ends what has taken too long. The results are to be told once the lock is released.
    pub(super) fn expire(&self, now: Instant, after: Duration) -> Vec<Told> {
        let mut state = self.lock();
        let late = |batch: &Batch| !batch.in_flight && now >= batch.since + after;
        let ids: Vec<u64> = state.batches.iter().filter(|batch| late(batch)).map(|batch| batch.id).collect();
        let expired = ids.into_iter().filter_map(|id| state.remove(id));
        let expired: Vec<Batch> = expired.collect();
        expired
            .into_iter()
            .map(|batch| {
                state.leave_hole(&batch);
                let error = self.gave_up(&batch, after);
                Told { promise: batch.promise, result: Err(error), cost: batch.cost }
            })
            .collect()
    }

    fn gave_up(&self, batch: &Batch, after: Duration) -> ProduceError {
        let (topic, partition, last) = (self.topic.clone(), self.partition, batch.last.clone());
        if batch.maybe_written {
            ProduceError::OutcomeUnknown { topic, partition, last }
        } else {
            ProduceError::TimedOut { topic, partition, after, last }
        }
    }

    /// Keeps what was packed, to be sent again as it is.
    pub(super) fn packed(&self, id: u64, bytes: Bytes, mark: Producer) {
        if let Some(batch) = self.lock().find(id) {
            batch.contents = Contents::Packed(bytes, mark);
        }
    }

    /// Takes note of how a try ended; the result of the batch if that was its last.
    pub(super) fn on_attempt(
        &self,
        id: u64,
        attempt: Attempt,
        backoff: impl Fn(u32) -> Duration,
    ) -> Option<Told> {
        let mut state = self.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        let is_first = state.batches.front().is_some_and(|first| first.id == id);
        let batch = state.find(id)?;
        batch.in_flight = false;
        let verdict = judge(batch, attempt, is_first);
        match verdict {
            Verdict::Written { base, log_append_time } => {
                state.failures = 0;
                let written = Written { partition: self.partition, offset: base, log_append_time };
                state.remove(id).map(|batch| Told {
                    promise: batch.promise,
                    result: Ok(written),
                    cost: batch.cost,
                })
            }
            Verdict::Again => {
                state.try_again(&backoff);
                None
            }
            Verdict::AgainWithNewIdentity => {
                state.retire();
                state.try_again(&backoff);
                None
            }
            Verdict::Failed(error) => {
                let batch = state.remove(id)?;
                state.leave_hole(&batch);
                let error = self.place(error);
                Some(Told { promise: batch.promise, result: Err(error), cost: batch.cost })
            }
        }
    }

    fn place(&self, failure: Failure) -> ProduceError {
        let (topic, partition) = (self.topic.clone(), self.partition);
        match failure {
            Failure::Refused { code, message } => ProduceError::Refused { topic, partition, code, message },
            Failure::Unknown(last) => ProduceError::OutcomeUnknown { topic, partition, last },
            Failure::Connection(error) => ProduceError::Client(error.into()),
            Failure::Pack(error) => ProduceError::Pack(error),
        }
    }

    /// Gives the partition an identity, if it has none and this is not the one it gave up.
    pub(super) fn identify(&self, identity: Identity) {
        let mut state = self.lock();
        if state.identity.is_none() && state.retired != Some(identity) {
            state.identity = Some(identity);
            state.next_sequence = Sequence::new(0);
        }
    }

    /// Ends the batches that a change of identity has made impossible to try again.
    pub(super) fn give_up_unknown(&self) -> Vec<Told> {
        let mut state = self.lock();
        if state.retired.is_none() || state.in_flight > 0 {
            return Vec::new();
        }
        let Some(identity) = state.identity else { return Vec::new() };
        let lost =
            |batch: &Batch| batch.maybe_written && batch.mark().is_some_and(|mark| mark.id != identity.id);
        let ids: Vec<u64> = state.batches.iter().filter(|batch| lost(batch)).map(|batch| batch.id).collect();
        let lost = ids.into_iter().filter_map(|id| state.remove(id));
        lost.map(|batch| {
            let failure = Failure::Unknown(batch.last.clone());
            Told { promise: batch.promise, result: Err(self.place(failure)), cost: batch.cost }
        })
        .collect()
    }

    /// Whether the sender may forget it, which it then must.
    pub(super) fn unlist(&self) -> bool {
        let mut state = self.lock();
        let idle = state.batches.is_empty();
        state.listed = !idle;
        idle
    }
}

/// A result to tell, with the room that it frees.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) promise: Arc<Promise>,
    pub(super) result: Result<Written, ProduceError>,
    pub(super) cost: usize,
}

impl State {
    fn find(&mut self, id: u64) -> Option<&mut Batch> {
        self.batches.iter_mut().find(|batch| batch.id == id)
    }

    fn remove(&mut self, id: u64) -> Option<Batch> {
        let at = self.batches.iter().position(|batch| batch.id == id)?;
        self.batches.remove(at)
    }

    fn next(&mut self, leader: Leader, now: Instant, hurry: bool, config: &ProducerConfig) -> Next {
        if self.draining && self.in_flight == 0 {
            self.draining = false;
        }
        if self.batches.is_empty() {
            return Next::Idle;
        }
        if self.draining || self.in_flight >= config.in_flight_limit() {
            return Next::WaitForAnswer;
        }
        let is_asked_again = self.sent_to == Some(leader);
        if let Some(retry_at) = self.retry_at.filter(|retry_at| *retry_at > now && is_asked_again) {
            return Next::WaitUntil(retry_at);
        }
        self.retry_at = None;
        let Some(at) = self.batches.iter().position(|batch| !batch.in_flight) else {
            return Next::WaitForAnswer;
        };
        if let Some(ready_at) = self.ready_at(at, config.linger).filter(|ready_at| *ready_at > now && !hurry)
        {
            return Next::WaitUntil(ready_at);
        }
        let Some(mark) = self.mark(at, config.is_idempotent()) else {
            return Next::NeedsIdentity(self.retired);
        };
        self.sent_to = Some(leader);
        self.send(at, mark)
    }

    /// When a batch is to go although it is not full; none if it is ready now.
    fn ready_at(&self, at: usize, linger: Duration) -> Option<Instant> {
        let batch = self.batches.get(at)?;
        let open = at + 1 == self.batches.len() && matches!(batch.contents, Contents::Building(_));
        open.then(|| batch.since + linger)
    }

    /// The mark that a batch goes with: the one it has, unless that has been retired.
    fn mark(&self, at: usize, idempotent: bool) -> Option<Producer> {
        if !idempotent {
            return Some(Producer::NONE);
        }
        let identity = self.identity?;
        let has = self.batches.get(at).and_then(Batch::mark).filter(|mark| mark.id == identity.id);
        let next = Producer { id: identity.id, epoch: identity.epoch, base_sequence: self.next_sequence };
        Some(has.unwrap_or(next))
    }

    fn send(&mut self, at: usize, mark: Producer) -> Next {
        let Some(batch) = self.batches.get_mut(at) else { return Next::Idle };
        if batch.mark() != Some(mark) && mark != Producer::NONE {
            self.next_sequence = mark.base_sequence.plus(batch.records);
        }
        batch.in_flight = true;
        self.in_flight += 1;
        // A sealed batch is shared, so that it stays here to be tried again.
        let contents = match &batch.contents {
            Contents::Packed(bytes, was) => Contents::Packed(bytes.clone(), *was),
            Contents::Building(_) | Contents::Away(_) => {
                std::mem::replace(&mut batch.contents, Contents::Away(mark))
            }
        };
        Next::Send(Outgoing { batch: batch.id, contents, mark })
    }

    /// Batches that were on their way together and fail together are one failure.
    fn try_again(&mut self, backoff: &impl Fn(u32) -> Duration) {
        let others = self.retry_at.filter(|_| self.draining);
        self.failures += u32::from(others.is_none());
        self.draining = true;
        let retry_at = Instant::now() + backoff(self.failures);
        self.retry_at = Some(others.map_or(retry_at, |others| others.min(retry_at)));
    }

    /// A batch is gone without being written: its sequence is given back if it was the last one given,
    /// else the identity cannot go on.
    fn leave_hole(&mut self, gone: &Batch) {
        let Some(mark) = gone.mark().filter(|mark| self.identity.is_some_and(|now| now.id == mark.id)) else {
            return;
        };
        let after = mark.base_sequence.plus(gone.records);
        if after == self.next_sequence && !gone.maybe_written {
            self.next_sequence = mark.base_sequence;
        } else {
            self.retire();
            self.draining = self.in_flight > 0;
        }
    }

    fn retire(&mut self) {
        if let Some(identity) = self.identity.take() {
            self.retired = Some(identity);
        }
    }
}

enum Verdict {
    Written { base: Option<Offset>, log_append_time: Option<TimestampMs> },
    Again,
    AgainWithNewIdentity,
    Failed(Failure),
}

enum Failure {
    Refused { code: ErrorCode, message: Option<String> },
    Unknown(Obstacle),
    Connection(ConnectionError),
    Pack(crate::record::BatchError),
}

fn judge(batch: &mut Batch, attempt: Attempt, is_first: bool) -> Verdict {
    match attempt {
        Attempt::Written { base, log_append_time } => Verdict::Written { base, log_append_time },
        Attempt::Unpackable(error) => Verdict::Failed(Failure::Pack(error)),
        Attempt::Failed(error) => {
            batch.maybe_written |= error.outcome_is_unknown();
            let is_final = !error.is_retriable() && !error.outcome_is_unknown();
            batch.last = Obstacle::Connection(error.clone());
            if is_final { Verdict::Failed(Failure::Connection(error)) } else { Verdict::Again }
        }
        Attempt::Refused { code, message } => judge_refusal(batch, code, message, is_first),
    }
}

/// Codes after which the broker may have appended the batch although it did not say so.
fn may_have_appended(code: ErrorCode) -> bool {
    use ErrorCode::{KafkaStorageError, NetworkException, NotEnoughReplicasAfterAppend, RequestTimedOut};
    [RequestTimedOut, NotEnoughReplicasAfterAppend, NetworkException, KafkaStorageError].contains(&code)
}

fn judge_refusal(batch: &mut Batch, code: ErrorCode, message: Option<String>, is_first: bool) -> Verdict {
    use ErrorCode::{
        DuplicateSequenceNumber, InvalidProducerEpoch, OutOfOrderSequenceNumber, UnknownProducerId,
    };
    batch.last = Obstacle::Refused(code);
    let idempotent = batch.mark().is_some_and(|mark| mark != Producer::NONE);
    if idempotent && code == DuplicateSequenceNumber {
        // It is in the log, which no longer knows where.
        return Verdict::Written { base: None, log_append_time: None };
    }
    if idempotent && code == OutOfOrderSequenceNumber && !is_first {
        // One before it is still to be written.
        return Verdict::Again;
    }
    if idempotent && [OutOfOrderSequenceNumber, UnknownProducerId, InvalidProducerEpoch].contains(&code) {
        return if batch.maybe_written {
            Verdict::Failed(Failure::Unknown(batch.last.clone()))
        } else {
            Verdict::AgainWithNewIdentity
        };
    }
    if code.is_retriable() {
        batch.maybe_written |= may_have_appended(code);
        return Verdict::Again;
    }
    if batch.maybe_written {
        // An earlier try may have been taken, whatever this one was refused for.
        return Verdict::Failed(Failure::Unknown(batch.last.clone()));
    }
    Verdict::Failed(Failure::Refused { code, message })
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, sync::Arc, time::Duration};

    use tokio::time::Instant;

    use super::{Attempt, Identity, Next, PartitionQueue};
    use crate::{
        client::{ConnectionError, ProducerConfig, metadata::Leader},
        model::{LeaderEpoch, NodeId, PartitionIndex, ProducerEpoch, ProducerId, TopicId, TopicName},
        record::NewRecord,
    };

    fn leader(node: i32, epoch: i32) -> Leader {
        Leader { node: NodeId::new(node), epoch: LeaderEpoch::new(epoch), topic_id: TopicId::default() }
    }

    /// A queue of which so many batches are on their way to the leader.
    fn on_their_way(batches: usize, to: Leader) -> (Arc<PartitionQueue>, Vec<u64>) {
        let queue = PartitionQueue::new(TopicName::new("t").unwrap(), PartitionIndex::new(0));
        queue.identify(Identity { id: ProducerId::new(7), epoch: ProducerEpoch::new(0) });
        let sent = (0..batches).map(|_| {
            queue.append(&NewRecord::default(), 1, 1).unwrap();
            let Next::Send(outgoing) = send(&queue, to) else { panic!("nothing is sent") };
            outgoing.batch
        });
        let sent = sent.collect();
        (queue, sent)
    }

    fn send(queue: &PartitionQueue, to: Leader) -> Next {
        queue.next(to, Instant::now(), true, &ProducerConfig::default())
    }

    fn closed() -> Attempt {
        Attempt::Failed(ConnectionError::Closed { address: "a:1".to_owned() })
    }

    #[tokio::test(start_paused = true)]
    async fn batches_that_fail_together_are_one_failure() {
        let (queue, sent) = on_their_way(5, leader(1, 1));
        let failures = RefCell::new(Vec::new());
        for batch in sent {
            let wait = |count| {
                failures.borrow_mut().push(count);
                Duration::from_millis(100) * count
            };
            assert!(queue.on_attempt(batch, closed(), wait).is_none());
        }
        assert_eq!(*failures.borrow(), [1; 5]);
        let Next::WaitUntil(at) = send(&queue, leader(1, 1)) else { panic!("not waited") };
        assert_eq!(at - Instant::now(), Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_the_same_leader_is_left_alone_and_another_is_asked_at_once() {
        let (queue, sent) = on_their_way(1, leader(1, 1));
        queue.on_attempt(sent[0], closed(), |_| Duration::from_secs(1));
        assert!(matches!(send(&queue, leader(1, 1)), Next::WaitUntil(_)));
        let Next::Send(again) = send(&queue, leader(2, 2)) else { panic!("the new leader is not asked") };
        assert_eq!(again.batch, sent[0]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_on_its_way_is_waited_for_before_another_leader_is_asked() {
        let (queue, sent) = on_their_way(2, leader(1, 1));
        queue.on_attempt(sent[0], closed(), |_| Duration::from_secs(1));
        assert!(matches!(send(&queue, leader(2, 2)), Next::WaitForAnswer));
        queue.on_attempt(sent[1], closed(), |_| Duration::from_secs(1));
        let Next::Send(again) = send(&queue, leader(2, 2)) else { panic!("the new leader is not asked") };
        assert_eq!(again.batch, sent[0], "in order, from the first");
    }
}
