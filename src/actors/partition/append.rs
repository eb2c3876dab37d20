//! Appending all that waits, inside the replica's handler or, while the disk is slow, away from it.
//!
//! A plain positional write into the page cache takes microseconds, less than handing it to a thread.
//! When the kernel throttles a writer or the disk stalls it can take seconds, and then it would hold up
//! a worker of the data runtime. So a replica whose last append was slow lends its log to the blocking
//! pool until appends are fast again.

use std::{collections::VecDeque, time::Duration};

use tokio::sync::oneshot;

use super::{
    core::Acks,
    error::AppendRefusal,
    queue::{AppendReply, AppendRequest, Appended},
};
use crate::{
    clock::Clock,
    model::{Offset, TimestampMs},
    record::TimestampType,
    storage::log::{self, AppendError, Log},
};

/// An append that took longer was slow.
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
    pub(super) took: Duration,
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

/// Appends all of `taken` in order. Refusals are answered here; what stands in the log is left in
/// `outcome` for the core to decide upon.
pub(super) fn append_all(
    log: &mut Log,
    taken: &mut VecDeque<AppendRequest>,
    clock: &dyn Clock,
    outcome: &mut Outcome,
) {
    let began = clock.monotonic();
    let now = clock.wall();
    for request in taken.drain(..) {
        append_one(log, request, now, outcome);
    }
    outcome.took = clock.monotonic().saturating_sub(began);
}

fn append_one(log: &mut Log, request: AppendRequest, now: TimestampMs, outcome: &mut Outcome) {
    let AppendRequest { batch, header, acks, reply, permits } = request;
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
        AppendError::DiskFull => (AppendRefusal::DiskFull, None),
        AppendError::Poisoned(_) | AppendError::Io(_) => (AppendRefusal::Poisoned, Some(error.to_string())),
    }
}
