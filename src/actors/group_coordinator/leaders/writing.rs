//! Dead letters, written where their topic is led.
//!
//! The node that leads fetches the record from wherever that is led, so that what goes through calls is pieces of records and
//! never a batch. A letter bears a producer id of its own: when an answer is lost, and the letter is written again, by this
//! coordinator or by its successor, the log knows it, also after another node has taken it over.

use std::time::Duration;

use bytes::Bytes;

use super::{
    Home, Leaders,
    message::{Answer, Ask, Burial, Outcome},
    reading::{FindError, Found},
};
use crate::{
    actors::{
        group_coordinator::dead_letters::HEADER_PREFIX,
        partition::{Acks, AppendRefusal},
    },
    model::{Offset, ProducerEpoch, Sequence},
    record::{BatchBuilder, BatchError, BatchHeader, Compression, NewHeader, NewRecord, Producer, Record},
};

/// How long another node may take for it.
const BURY_WITHIN: Duration = Duration::from_secs(10);
/// How long a leader on this node may take to be there.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum BuryError {
    #[error("{0}")]
    Find(#[from] FindError),
    #[error("nobody leads the topic of dead letters here")]
    NoLeader,
    #[error("batch cannot be made: {0}")]
    Batch(#[from] BatchError),
    #[error("not written: {0}")]
    Append(#[from] AppendRefusal),
}

impl Leaders {
    /// Sees to it once that the record is in the topic of dead letters.
    pub(in super::super) async fn bury(&self, burial: &Burial) -> Outcome {
        match self.home(burial.to) {
            Home::Here(_) => self.bury_here(burial).await,
            Home::There(node) => {
                match self.ask(node, &Ask::Bury(Box::new(burial.clone())), BURY_WITHIN).await {
                    Some(Answer::Buried(outcome)) => outcome,
                    Some(_) | None => Outcome::Failed(format!("no word from node {node}: outcome unknown")),
                }
            }
            Home::Nowhere => Outcome::Failed("the topic of dead letters has no leader yet".to_owned()),
        }
    }

    pub(super) async fn bury_here(&self, burial: &Burial) -> Outcome {
        match self.try_bury(burial).await {
            Ok(Some((found, at))) => {
                Outcome::Written { at, record: found.record.offset, leader_epoch: found.leader_epoch }
            }
            Ok(None) => Outcome::Gone,
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    async fn try_bury(&self, burial: &Burial) -> Result<Option<(Found, Offset)>, BuryError> {
        let Home::Here(to) = self.home(burial.to) else { return Err(BuryError::NoLeader) };
        let Some(found) = self.find(burial.from, burial.offset).await? else { return Ok(None) };
        let leader = to.leader_within(PATIENCE).await.ok_or(BuryError::NoLeader)?;
        let batch = batch_of(burial, &found.record)?;
        let header = BatchHeader::parse(&batch)?;
        let written = to.append_to(&leader, batch, header, Acks::All, None, None).await?;
        let written = written.await.map_err(|_| AppendRefusal::OutcomeUnknown)??;
        Ok(Some((found, written.base_offset)))
    }
}

/// The record as it was, with headers of ours behind its own; those of an earlier death are replaced.
fn batch_of(burial: &Burial, record: &Record) -> Result<Bytes, BatchError> {
    let ours = [
        ("topic", burial.topic.clone()),
        ("partition", burial.from.index.to_string()),
        ("offset", record.offset.to_string()),
        ("group", burial.group.clone()),
        ("attempts", burial.attempts.to_string()),
        ("first-attempt", burial.first.get().to_string()),
        ("last-attempt", burial.last.get().to_string()),
        ("cause", burial.cause.clone()),
    ];
    let ours = ours.map(|(name, value)| (format!("{HEADER_PREFIX}{name}"), value));
    let theirs: Vec<_> = record
        .headers
        .iter()
        .map(|header| (String::from_utf8_lossy(&header.name), header.value.as_deref()))
        .filter(|(name, _)| !name.starts_with(HEADER_PREFIX))
        .collect();
    let theirs = theirs.iter().map(|(name, value)| NewHeader { name, value: *value });
    let ours = ours.iter().map(|(name, value)| NewHeader { name, value: Some(value.as_bytes()) });
    let headers: Vec<_> = theirs.chain(ours).collect();
    let mut builder = BatchBuilder::new(1);
    let new = NewRecord {
        timestamp: record.timestamp,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
    };
    // An empty one takes a record of any size that the format allows; else it is still empty, which is an error.
    let _ = builder.append(&new);
    let producer =
        Producer { id: burial.producer, epoch: ProducerEpoch::new(0), base_sequence: Sequence::new(0) };
    builder.finish(Compression::None, None, producer)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{BatchError, Burial, batch_of};
    use crate::{
        model::{Offset, PartitionId, PartitionIndex, ProducerId, TimestampMs, TopicId},
        record::{self, Record, RecordHeader},
    };

    fn letter() -> Burial {
        let partition = |index| PartitionId { topic: TopicId::random(), index: PartitionIndex::new(index) };
        Burial {
            to: partition(0),
            producer: ProducerId::new(11),
            group: "g".into(),
            topic: "t".into(),
            from: partition(2),
            offset: Offset::new(7),
            attempts: 3,
            first: TimestampMs::new(10),
            last: TimestampMs::new(30),
            cause: "it hurts".into(),
        }
    }

    fn header(name: &'static str, value: Option<&'static str>) -> RecordHeader {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        RecordHeader { name: bytes(name), value: value.map(bytes) }
    }

    #[test]
    fn a_dead_letter_is_the_record_as_it_was_with_where_it_comes_from_and_why() -> Result<(), BatchError> {
        let record = Record {
            offset: Offset::new(8),
            timestamp: TimestampMs::new(5),
            key: None,
            value: Some("v".into()),
            headers: vec![
                header("own", None),
                header("own", Some("twice")),
                header("polylogue.dead-letter.group", Some("of an earlier death")),
            ],
        };
        let batch = batch_of(&letter(), &record)?;
        let written = record::records(batch)?.next().unwrap()?;
        assert_eq!((written.key, written.value), (record.key, record.value));
        assert_eq!(written.timestamp, record.timestamp);
        let expected = [
            header("own", None),
            header("own", Some("twice")),
            header("polylogue.dead-letter.topic", Some("t")),
            header("polylogue.dead-letter.partition", Some("2")),
            header("polylogue.dead-letter.offset", Some("8")),
            header("polylogue.dead-letter.group", Some("g")),
            header("polylogue.dead-letter.attempts", Some("3")),
            header("polylogue.dead-letter.first-attempt", Some("10")),
            header("polylogue.dead-letter.last-attempt", Some("30")),
            header("polylogue.dead-letter.cause", Some("it hurts")),
        ];
        assert_eq!(written.headers, expected);
        Ok(())
    }
}
