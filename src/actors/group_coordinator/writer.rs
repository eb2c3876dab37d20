//! One append at a time, and who waits for which.
//!
//! What comes while an append is under way waits for it and shares the next one, so that a thousand commits need
//! few flushes. An answer waits for everything that was to be written before it. It does nothing by itself, so that
//! the simulator drives the same code; `R` is whatever names the one who waits.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::core::{
    Answer,
    stored::{KeyValue, Stored},
};
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
pub struct Writer<R> {
    waiting: Vec<Stored>,
    /// Numbers of appends, to tell who waits for which.
    begun: u64,
    ended: u64,
    answers: VecDeque<(u64, R, Answer)>,
}

impl<R> Default for Writer<R> {
    fn default() -> Self {
        Self { waiting: Vec::new(), begun: 0, ended: 0, answers: VecDeque::new() }
    }
}

impl<R> Writer<R> {
    /// This is to be written.
    pub fn write(&mut self, stored: Stored) {
        self.waiting.push(stored);
    }

    /// This is to be answered when all that was to be written before is on disk: at once, if it is returned.
    #[must_use]
    pub fn answer(&mut self, reply: R, answer: Answer) -> Option<(R, Answer)> {
        let after = if self.waiting.is_empty() { self.begun } else { self.begun + 1 };
        if after <= self.ended {
            return Some((reply, answer));
        }
        self.answers.push_back((after, reply, answer));
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

    /// The append under way has ended well; these may be answered now.
    #[must_use]
    pub fn on_written(&mut self) -> Vec<(R, Answer)> {
        self.ended = self.begun;
        let ready = self.answers.partition_point(|(after, ..)| *after <= self.ended);
        self.answers.drain(..ready).map(|(_, reply, answer)| (reply, answer)).collect()
    }

    /// Nothing of what waits will be written; these have to be told.
    #[must_use]
    pub fn refuse_all(&mut self) -> Vec<R> {
        self.waiting.clear();
        self.ended = self.begun;
        self.answers.drain(..).map(|(_, reply, _)| reply).collect()
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
        actors::group_coordinator::core::{
            Answer,
            stored::{OffsetKey, OffsetValue, Stored},
        },
        model::{PartitionIndex, TimestampMs},
        record,
        wire::ErrorCode,
    };

    const NOW: TimestampMs = TimestampMs::new(1);
    const ANSWER: Answer = Answer::Delete(ErrorCode::None);

    fn offset(metadata: usize) -> Stored {
        let key = OffsetKey { group: "g".into(), topic: "t".into(), partition: PartitionIndex::new(0) };
        let value = OffsetValue { metadata: "m".repeat(metadata).into(), ..OffsetValue::default() };
        Stored::Offset { key, value: Some(value) }
    }

    fn names(answered: Vec<(&'static str, Answer)>) -> Vec<&'static str> {
        answered.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn an_answer_waits_for_what_was_to_be_written_before_it_and_for_nothing_else() {
        let mut writer = Writer::default();
        assert_eq!(writer.answer("at once", ANSWER), Some(("at once", ANSWER)), "nothing is to be written");
        writer.write(offset(0));
        assert_eq!(writer.answer("first", ANSWER), None);
        assert_eq!(writer.next(NOW).unwrap().unwrap().len(), 1);
        assert_eq!(writer.answer("during", ANSWER), None);
        writer.write(offset(0));
        assert_eq!(writer.answer("second", ANSWER), None);
        assert!(writer.next(NOW).unwrap().is_none(), "one append at a time");
        assert_eq!(names(writer.on_written()), ["first", "during"]);
        assert!(writer.next(NOW).unwrap().is_some());
        assert_eq!(names(writer.on_written()), ["second"]);
    }

    #[test]
    fn what_could_not_be_written_is_refused_and_never_answered_well() {
        let mut writer = Writer::default();
        writer.write(offset(0));
        assert_eq!(writer.answer("first", ANSWER), None);
        writer.next(NOW).unwrap();
        writer.write(offset(0));
        assert_eq!(writer.answer("second", ANSWER), None);
        assert_eq!(writer.refuse_all(), ["first", "second"]);
        assert!(writer.next(NOW).unwrap().is_none());
        assert_eq!(names(writer.on_written()), [""; 0]);
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
