//! One append at a time, and who waits for which.
//!
//! What comes while an append is under way waits for it and shares the next one, so that a thousand commits need
//! few flushes. An answer, or a dead letter, waits for everything that was to be written before it. It does nothing by itself, so that
//! the simulator drives the same code; `W` is whatever waits.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::core::stored::{KeyValue, Stored};
use crate::{
    actors::partition::{Acks, AppendRefusal, Fence, Leader, PartitionHandle},
    model::TimestampMs,
    record::{BatchBuilder, BatchError, BatchHeader, Compression, NewRecord, Producer},
    wire::EncodeError,
};

/// Bytes of a batch, unless a single record is larger.
const BATCH_BYTES: usize = 1 << 20;

/// Why what was decided cannot be written down. It is not retried: the coordinator begins anew.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A record has no bytes.
    #[error("record cannot be written: {0}")]
    Encode(#[from] EncodeError),
    /// The records make no batch.
    #[error("batch cannot be made: {0}")]
    Batch(#[from] BatchError),
}

/// What is to be written, and who waits for it.
#[derive(Debug)]
pub struct Writer<W> {
    waiting: Vec<Stored>,
    /// Numbers of appends, to tell who waits for which.
    begun: u64,
    ended: u64,
    held: VecDeque<(u64, W)>,
}

impl<W> Default for Writer<W> {
    fn default() -> Self {
        Self { waiting: Vec::new(), begun: 0, ended: 0, held: VecDeque::new() }
    }
}

impl<W> Writer<W> {
    /// This is to be written.
    pub fn write(&mut self, stored: Stored) {
        self.waiting.push(stored);
    }

    /// This is to wait until all that was to be written before is on disk: no longer, if it is returned.
    #[must_use]
    pub fn wait(&mut self, what: W) -> Option<W> {
        let after = if self.waiting.is_empty() { self.begun } else { self.begun + 1 };
        if after <= self.ended {
            return Some(what);
        }
        self.held.push_back((after, what));
        None
    }

    /// The batches of the next append, if there is anything to be written and none is under way.
    pub fn next(&mut self, now: TimestampMs) -> Result<Option<Vec<Bytes>>, WriteError> {
        if self.waiting.is_empty() || self.begun != self.ended {
            return Ok(None);
        }
        self.begun += 1;
        batches(self.waiting.drain(..), now).map(Some)
    }

    /// The append under way has ended well; these need not wait any more.
    #[must_use]
    pub fn on_written(&mut self) -> Vec<W> {
        self.ended = self.begun;
        let ready = self.held.partition_point(|(after, _)| *after <= self.ended);
        self.held.drain(..ready).map(|(_, what)| what).collect()
    }

    /// Nothing of what is to be written will be; these have waited for it.
    #[must_use]
    pub fn give_up(&mut self) -> Vec<W> {
        self.waiting.clear();
        self.ended = self.begun;
        self.held.drain(..).map(|(_, what)| what).collect()
    }
}

fn batches(all: impl Iterator<Item = Stored>, now: TimestampMs) -> Result<Vec<Bytes>, WriteError> {
    let mut done = Vec::new();
    let mut builder = BatchBuilder::new(BATCH_BYTES);
    for stored in all {
        let KeyValue { key, value } = stored.write()?;
        let record = NewRecord { timestamp: now, key: Some(&key), value: value.as_deref(), headers: &[] };
        if !builder.append(&record) {
            let full = std::mem::replace(&mut builder, BatchBuilder::new(BATCH_BYTES));
            done.push(full.finish(Compression::None, None, Producer::NONE)?);
            // An empty one takes a record of any size.
            let _ = builder.append(&record);
        }
    }
    if !builder.is_empty() {
        done.push(builder.finish(Compression::None, None, Producer::NONE)?);
    }
    Ok(done)
}

/// Appends batches to the log of this very leader and waits until they are acknowledged by all.
pub(super) async fn append(
    partition: PartitionHandle,
    leader: Arc<Leader>,
    fence: Fence,
    batches: Vec<Bytes>,
) -> Result<(), AppendRefusal> {
    let mut answers = Vec::with_capacity(batches.len());
    for batch in batches {
        let header = BatchHeader::parse(&batch).map_err(|_| AppendRefusal::Malformed)?;
        answers
            .push(partition.append_to(&leader, batch, header, Acks::All, None, Some(fence.clone())).await?);
    }
    for answer in answers {
        answer.await.map_err(|_| AppendRefusal::OutcomeUnknown)??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{BATCH_BYTES, Writer};
    use crate::{
        actors::group_coordinator::core::stored::{OffsetKey, OffsetValue, Stored},
        model::{PartitionIndex, TimestampMs},
        record,
    };

    const NOW: TimestampMs = TimestampMs::new(1);

    fn offset(metadata: usize) -> Stored {
        let key = OffsetKey { group: "g".into(), topic: "t".into(), partition: PartitionIndex::new(0) };
        let value = OffsetValue { metadata: "m".repeat(metadata).into(), ..OffsetValue::default() };
        Stored::Offset { key, value: Some(value) }
    }

    #[test]
    fn what_waits_does_so_for_what_was_to_be_written_before_it_and_for_nothing_else() {
        let mut writer = Writer::default();
        assert_eq!(writer.wait("at once"), Some("at once"), "nothing is to be written");
        writer.write(offset(0));
        assert_eq!(writer.wait("first"), None);
        assert_eq!(writer.next(NOW).unwrap().unwrap().len(), 1);
        assert_eq!(writer.wait("during"), None);
        writer.write(offset(0));
        assert_eq!(writer.wait("second"), None);
        assert!(writer.next(NOW).unwrap().is_none(), "one append at a time");
        assert_eq!(writer.on_written(), ["first", "during"]);
        assert!(writer.next(NOW).unwrap().is_some());
        assert_eq!(writer.on_written(), ["second"]);
    }

    #[test]
    fn what_could_not_be_written_lets_nothing_go_on() {
        let mut writer = Writer::default();
        writer.write(offset(0));
        assert_eq!(writer.wait("first"), None);
        writer.next(NOW).unwrap();
        writer.write(offset(0));
        assert_eq!(writer.wait("second"), None);
        assert_eq!(writer.give_up(), ["first", "second"]);
        assert!(writer.next(NOW).unwrap().is_none());
        assert_eq!(writer.on_written(), [""; 0]);
    }

    #[test]
    fn a_large_write_is_several_batches_with_every_record_once() {
        let mut writer = Writer::<()>::default();
        let many = 3 * BATCH_BYTES / 4000;
        (0..many).for_each(|_| writer.write(offset(4000)));
        let batches = writer.next(NOW).unwrap().unwrap();
        assert!(batches.len() >= 3, "{}", batches.len());
        let records = batches.into_iter().map(|batch| record::records(batch).unwrap().count());
        assert_eq!(records.sum::<usize>(), many);
    }
}
