//! One append at a time, and who waits for which.
//!
//! What comes while an append is under way waits for it and shares the next one, so that a thousand commits need
//! few flushes. An answer waits for everything that was to be written before it.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::{
    core::{
        Answer,
        stored::{KeyValue, Stored},
    },
    error::Refusal,
    message::Reply,
};
use crate::{
    actors::partition::{Acks, AppendRefusal, Leader, PartitionHandle},
    model::TimestampMs,
    record::{BatchBuilder, BatchError, BatchHeader, Compression, NewRecord, Producer},
    wire::EncodeError,
};

/// Bytes of a batch, unless a single record is larger.
const BATCH_BYTES: usize = 1 << 20;

/// Why what was decided cannot be written down. It is not retried: the coordinator begins anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("record cannot be written: {0}")]
    Encode(#[from] EncodeError),
    #[error("batch cannot be made: {0}")]
    Batch(#[from] BatchError),
}

#[derive(Debug, Default)]
pub(super) struct Writer {
    waiting: Vec<Stored>,
    /// Numbers of appends, to tell who waits for which.
    begun: u64,
    ended: u64,
    answers: VecDeque<(u64, Reply, Answer)>,
}

impl Writer {
    pub(super) fn write(&mut self, stored: Stored) {
        self.waiting.push(stored);
    }

    pub(super) fn answer(&mut self, reply: Reply, answer: Answer) {
        let after = if self.waiting.is_empty() { self.begun } else { self.begun + 1 };
        if after <= self.ended {
            send(reply, Ok(answer));
        } else {
            self.answers.push_back((after, reply, answer));
        }
    }

    /// The batches of the next append, if there is anything to be written and none is under way.
    pub(super) fn next(&mut self, now: TimestampMs) -> Result<Option<Vec<Bytes>>, WriteError> {
        if self.waiting.is_empty() || self.begun != self.ended {
            return Ok(None);
        }
        self.begun += 1;
        batches(self.waiting.drain(..), now).map(Some)
    }

    /// The append under way has ended well.
    pub(super) fn on_written(&mut self) {
        self.ended = self.begun;
        while self.answers.front().is_some_and(|(after, ..)| *after <= self.ended) {
            if let Some((_, reply, answer)) = self.answers.pop_front() {
                send(reply, Ok(answer));
            }
        }
    }

    /// Nothing of what waits will be written.
    pub(super) fn refuse_all(&mut self, refusal: Refusal) {
        self.waiting.clear();
        self.ended = self.begun;
        for (_, reply, _) in self.answers.drain(..) {
            send(reply, Err(refusal));
        }
    }
}

pub(super) fn send(reply: Reply, answer: Result<Answer, Refusal>) {
    // Whoever asked may have gone away meanwhile.
    let _ = reply.send(answer);
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
    batches: Vec<Bytes>,
) -> Result<(), AppendRefusal> {
    let mut answers = Vec::with_capacity(batches.len());
    for batch in batches {
        let header = BatchHeader::parse(&batch).map_err(|_| AppendRefusal::Malformed)?;
        answers.push(partition.append_to(&leader, batch, header, Acks::All, None).await?);
    }
    for answer in answers {
        answer.await.map_err(|_| AppendRefusal::OutcomeUnknown)??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::{BATCH_BYTES, Refusal, Writer};
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

    fn offset(metadata: usize) -> Stored {
        let key = OffsetKey { group: "g".into(), topic: "t".into(), partition: PartitionIndex::new(0) };
        let value = OffsetValue { metadata: "m".repeat(metadata).into(), ..OffsetValue::default() };
        Stored::Offset { key, value: Some(value) }
    }

    fn asked(writer: &mut Writer) -> oneshot::Receiver<Result<Answer, Refusal>> {
        let (reply, answer) = oneshot::channel();
        writer.answer(reply, Answer::Delete(ErrorCode::None));
        answer
    }

    #[test]
    fn an_answer_waits_for_what_was_to_be_written_before_it_and_for_nothing_else() {
        let mut writer = Writer::default();
        assert!(asked(&mut writer).try_recv().is_ok(), "nothing is to be written");
        writer.write(offset(0));
        let mut first = asked(&mut writer);
        assert_eq!(writer.next(NOW).unwrap().unwrap().len(), 1);
        let mut during = asked(&mut writer);
        writer.write(offset(0));
        let mut second = asked(&mut writer);
        assert!(writer.next(NOW).unwrap().is_none(), "one append at a time");
        assert!(first.try_recv().is_err() && during.try_recv().is_err());
        writer.on_written();
        assert!(first.try_recv().is_ok() && during.try_recv().is_ok());
        assert!(second.try_recv().is_err());
        assert!(writer.next(NOW).unwrap().is_some());
        writer.on_written();
        assert!(second.try_recv().is_ok());
    }

    #[test]
    fn what_could_not_be_written_is_refused_and_never_answered_well() {
        let mut writer = Writer::default();
        writer.write(offset(0));
        let mut first = asked(&mut writer);
        writer.next(NOW).unwrap();
        writer.write(offset(0));
        let mut second = asked(&mut writer);
        writer.refuse_all(Refusal::Storage);
        assert_eq!(first.try_recv(), Ok(Err(Refusal::Storage)));
        assert_eq!(second.try_recv(), Ok(Err(Refusal::Storage)));
        assert!(writer.next(NOW).unwrap().is_none());
    }

    #[test]
    fn a_large_write_is_several_batches_with_every_record_once() {
        let mut writer = Writer::default();
        let many = 3 * BATCH_BYTES / 4000;
        (0..many).for_each(|_| writer.write(offset(4000)));
        let batches = writer.next(NOW).unwrap().unwrap();
        assert!(batches.len() >= 3, "{}", batches.len());
        let records = batches.into_iter().map(|batch| record::records(batch).unwrap().count());
        assert_eq!(records.sum::<usize>(), many);
    }
}
