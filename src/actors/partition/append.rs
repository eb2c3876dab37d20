//! Appending all that waits, inside the replica's handler or, while the disk is slow, away from it.
//!
//! A plain positional write into the page cache takes microseconds, less than handing it to a thread.
//! When the kernel throttles a writer or the disk stalls it can take seconds, and then it would hold up
//! a worker of the data runtime. So a replica whose last append was slow lends its log to the blocking
//! pool until appends are fast again.

use std::{collections::VecDeque, time::Duration};

use tokio::sync::oneshot;

use super::{
    core::{Acks, TooFewInSync},
    error::AppendRefusal,
    queue::{AppendReply, AppendRequest, Appended},
};
use crate::{
    clock::Clock,
    model::{Offset, TimestampMs},
    record::TimestampType,
    storage::log::{self, AppendError, Log},
};

/// One request's append that took longer was slow. Many that waited take long together on the fastest disk; a handler stops
/// after as long and leaves the rest to others.
pub(super) const SLOW: Duration = Duration::from_millis(20);

/// One batch that went through the log, and what is left to do about it.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) ticket: Ticket,
    pub(super) acks: Acks,
    /// The offset after the batch's last record.
    pub(super) end: Offset,
}

/// A producer that is to be answered, and with what once it may be.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) reply: oneshot::Sender<AppendReply>,
    pub(super) appended: Appended,
}

/// A producer's answer that is sent when this is dropped.
///
/// A batch that is appended makes two tasks ready, its producer's and that of a consumer who waits for it, and a worker that
/// makes two tasks ready wakes another one. So the replica leaves this to the consumer's task where it can, which drops it
/// when the consumer has been served, or once that takes longer: the producer's task is next then, on the same worker.
#[derive(Debug)]
pub struct HeldAnswer(Option<Ticket>);

impl HeldAnswer {
    pub(super) fn new(ticket: Ticket) -> Self {
        Self(Some(ticket))
    }
}

impl Drop for HeldAnswer {
    fn drop(&mut self) {
        if let Some(Ticket { reply, appended }) = self.0.take() {
            // A producer that is gone needs no answer.
            drop(reply.send(Ok(appended)));
        }
    }
}

impl PartialEq for Ticket {
    fn eq(&self, other: &Self) -> bool {
        self.appended == other.appended
    }
}

/// What an append of all that waited came to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) settled: Vec<Settled>,
    pub(super) batches: u64,
    pub(super) duplicates: u64,
    pub(super) disk_full: u64,
    /// The log is of no more use; the replica has to end.
    pub(super) fault: Option<String>,
    /// How long one request took, at most.
    pub(super) longest: Duration,
}

impl Outcome {
    /// Ready for the next append, with its memory kept.
    pub(super) fn reset(&mut self) {
        let settled = std::mem::take(&mut self.settled);
        *self = Self { settled, ..Self::default() };
    }
}

/// A log that was lent to the blocking pool, on its way back.
#[derive(Debug)]
pub struct AwayAppends {
    pub(super) log: Box<Log>,
    /// The emptied queue, kept for its memory.
    pub(super) taken: VecDeque<AppendRequest>,
    pub(super) outcome: Outcome,
}

/// Appends `taken` in order, until that has taken as long as `within` says. Refusals are answered here; what stands in the log is
/// left in `outcome` for the core to decide upon. With `too_few` in sync those who ask for all are refused.
pub(super) fn append_waiting(
    log: &mut Log,
    taken: &mut VecDeque<AppendRequest>,
    clock: &dyn Clock,
    too_few: Option<TooFewInSync>,
    within: Duration,
    outcome: &mut Outcome,
) {
    let now = clock.wall();
    let first = clock.monotonic();
    let mut began = first;
    while let Some(request) = taken.pop_front() {
        match too_few.filter(|_| request.acks == Acks::All) {
            // Before the append (S10): nothing of it is in the log.
            Some(TooFewInSync { in_sync, required }) => {
                let _ = request.reply.send(Err(AppendRefusal::NotEnoughReplicas { in_sync, required }));
            }
            None => append_one(log, request, now, outcome),
        }
        let ended = clock.monotonic();
        outcome.longest = outcome.longest.max(ended.saturating_sub(began));
        if ended.saturating_sub(first) >= within {
            break;
        }
        began = ended;
    }
}

fn append_one(log: &mut Log, request: AppendRequest, now: TimestampMs, outcome: &mut Outcome) {
    let AppendRequest { batch, header, fence, acks, reply, permits } = request;
    if fence.is_some_and(|fence| !fence.is_open()) {
        let _ = reply.send(Err(AppendRefusal::Fenced));
        return;
    }
    let result = log.append(&batch, &header, now);
    drop(permits);
    match result {
        Ok(done) => {
            let (base_offset, last) = match done {
                log::Appended::New { base, last } => {
                    outcome.batches += 1;
                    (base, last)
                }
                log::Appended::Duplicate { base, last } => {
                    outcome.duplicates += 1;
                    (base, last)
                }
            };
            let log_append_time = match log.options().timestamp_type {
                TimestampType::CreateTime => TimestampMs::NONE,
                TimestampType::LogAppendTime => now,
            };
            let appended =
                Appended { base_offset, log_append_time, log_start_offset: log.log_start_offset() };
            outcome.settled.push(Settled { ticket: Ticket { reply, appended }, acks, end: last.plus(1) });
        }
        Err(error) => {
            if matches!(error, AppendError::DiskFull) {
                outcome.disk_full += 1;
            }
            let (refusal, fault) = refusal_of(&error, batch.len());
            outcome.fault = outcome.fault.take().or(fault);
            let _ = reply.send(Err(refusal));
        }
    }
}

/// What the producer is told, and whether the log is beyond use.
fn refusal_of(error: &AppendError, bytes: usize) -> (AppendRefusal, Option<String>) {
    match error {
        AppendError::Producer(error) => ((*error).into(), None),
        AppendError::TooLarge { max, .. } => (AppendRefusal::LargerThanSegment { bytes, limit: *max }, None),
        AppendError::Malformed => (AppendRefusal::Malformed, None),
        // A leader's log has the leader's epoch.
        AppendError::DiskFull => (AppendRefusal::DiskFull, None),
        AppendError::Follows | AppendError::Poisoned(_) | AppendError::Io(_) => {
            (AppendRefusal::Poisoned, Some(error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Arc, time::Duration};

    use bytes::Bytes;
    use tokio::sync::{Semaphore, oneshot};

    use super::{AppendReply, AppendRequest, Outcome, SLOW, append_waiting};
    use crate::{
        actors::partition::{AppendRefusal, Fence, Fences, core::Acks, queue::Permits},
        clock::{ManualClock, TickingClock},
        model::{LeaderEpoch, Offset, PartitionId, PartitionIndex, TimestampMs, TopicId},
        record::{BatchBuilder, BatchHeader, Compression, NewRecord, Producer},
        storage::{
            fs::real::RealFs,
            log::{Log, LogOptions},
        },
    };

    fn batch() -> Bytes {
        let mut builder = BatchBuilder::new(1000);
        let record = NewRecord { timestamp: TimestampMs::new(1), key: None, value: Some(b"v"), headers: &[] };
        assert!(builder.append(&record));
        builder.finish(Compression::None, None, Producer::NONE).unwrap()
    }

    fn request(fence: &Fence) -> (AppendRequest, oneshot::Receiver<AppendReply>) {
        let batch = batch();
        let header = BatchHeader::parse(&batch).unwrap();
        let (reply, answer) = oneshot::channel();
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let permits = Permits::new(room, None);
        let fence = Some(fence.clone());
        (AppendRequest { batch, header, fence, acks: Acks::All, reply, permits }, answer)
    }

    #[test]
    fn many_appends_that_take_long_together_are_not_slow() {
        let folder = tempfile::tempdir().unwrap();
        let id = PartitionId { topic: TopicId::random(), index: PartitionIndex::new(0) };
        let (options, clock) = (LogOptions::default(), Arc::new(ManualClock::default()));
        let (mut log, _) =
            Log::open(RealFs::shared(), folder.path(), id, LeaderEpoch::new(1), options, clock).unwrap();
        let each = SLOW / 4;
        let fence = Fences::default().raise();
        let (mut waiting, _answers): (VecDeque<_>, Vec<_>) = (0..10).map(|_| request(&fence)).unzip();
        let mut outcome = Outcome::default();
        append_waiting(&mut log, &mut waiting, &TickingClock::new(each), None, SLOW, &mut outcome);
        assert_eq!((outcome.batches, outcome.longest), (4, each), "a turn ends");
        append_waiting(&mut log, &mut waiting, &TickingClock::new(each), None, Duration::MAX, &mut outcome);
        assert_eq!((outcome.batches, outcome.longest, waiting.len()), (10, each, 0));
    }

    /// The batch of a coordinator that died is still in the queue when its successor has read the log.
    #[test]
    fn s20_what_a_predecessor_had_on_its_way_is_not_appended_once_a_successor_has_come() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        let id = PartitionId { topic: TopicId::random(), index: PartitionIndex::new(0) };
        let options = LogOptions::default();
        let (mut log, _) =
            Log::open(RealFs::shared(), folder.path(), id, LeaderEpoch::new(1), options, clock.clone())
                .unwrap();
        let fences = Fences::default();
        let former = fences.raise();
        let mut outcome = Outcome::default();
        let (before, _answer) = request(&former);
        append_waiting(&mut log, &mut VecDeque::from([before]), &*clock, None, SLOW, &mut outcome);
        assert_eq!(log.reader().log_end_offset(), Offset::new(1));
        let (late, mut refused) = request(&former);
        let successor = fences.raise();
        let (of_successor, _answer) = request(&successor);
        let mut both = VecDeque::from([late, of_successor]);
        append_waiting(&mut log, &mut both, &*clock, None, SLOW, &mut outcome);
        assert_eq!(refused.try_recv().unwrap(), Err(AppendRefusal::Fenced));
        assert_eq!(log.reader().log_end_offset(), Offset::new(2), "the successor's alone");
    }
}
