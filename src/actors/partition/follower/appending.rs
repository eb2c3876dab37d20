//! Appending what a leader sent, with what it says that it has not.

use bytes::Bytes;

use crate::{
    actors::partition::{
        core::{DataHead, Session},
        replication::Data,
    },
    model::{LeaderEpoch, Offset, TimestampMs},
    record::BatchHeader,
    storage::log::{Log, ReplicateError},
};

/// What the core has to know of data. They are not checked: what they claim to be is borne out when they are appended.
pub(super) fn head_of(session: Session, data: &Data, last_epoch: LeaderEpoch) -> DataHead {
    let (mut first, mut last) = (None, last_epoch);
    let mut rest = &data.batches[..];
    while let Ok(header) = BatchHeader::parse(rest) {
        first.get_or_insert(header.partition_leader_epoch);
        last = header.partition_leader_epoch;
        rest = rest.get(header.total_len()..).unwrap_or_default();
    }
    DataHead {
        session,
        from: data.from,
        end: data.end,
        first_epoch: first.unwrap_or(last),
        last_epoch: last,
        high_watermark: data.high_watermark,
        log_start: data.log_start,
    }
}

/// Appends whole batches, each run of those that follow each other at once. What is missing between them, and before
/// `end`, the leader has not: batches without records stand for it.
pub(super) fn append(
    log: &mut Log,
    batches: &Bytes,
    end: Offset,
    epoch: LeaderEpoch,
    now: TimestampMs,
) -> Result<u64, ReplicateError> {
    let mut appended = 0;
    let mut rest = &batches[..];
    while !rest.is_empty() {
        let (run, base) = run_of(rest);
        if let Some(base) = base.filter(|base| *base > log.log_end_offset() && *base < end) {
            appended += log.append_gap(base, now)?.batches;
        }
        appended += log.append_replicated(run, epoch, now)?.batches;
        rest = rest.get(run.len()..).unwrap_or_default();
    }
    if log.log_end_offset() < end {
        appended += log.append_gap(end, now)?.batches;
    }
    Ok(appended)
}

/// The batches at the beginning that follow each other, all of the bytes where that cannot be told, and the offset of
/// the first.
fn run_of(bytes: &[u8]) -> (&[u8], Option<Offset>) {
    let (mut len, mut next, mut base) = (0, None, None);
    loop {
        let rest = bytes.get(len..).unwrap_or_default();
        if rest.is_empty() {
            return (bytes, base);
        }
        let Ok(header) = BatchHeader::parse(rest) else { return (bytes, base) };
        base = base.or(Some(header.base_offset));
        if next.is_some_and(|next| header.base_offset > next) {
            return (bytes.get(..len).unwrap_or(bytes), base);
        }
        next = Some(header.next_offset());
        len += header.total_len();
    }
}
