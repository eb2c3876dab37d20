//! The way of one record to the topic of dead letters.
//!
//! It is read from its partition as it stands there, written to the other topic with where it comes from and why as
//! headers, and waited for until it is on disk. What fails is tried again for as long as it takes, since the group
//! may not move past a record that is nowhere else. A coordinator that dies in between writes it again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep, timeout_at},
};

use super::core::{Buried, DeadLetter};
use crate::{
    actors::{
        membership::{MembershipError, MembershipHandle, NewTopic, Refusal},
        partition::{
            Acks, AppendRefusal, Leader, PartitionHandle, ReadError, ReadOutcome, ReadRequest,
            table::{Topic, TopicTable},
        },
    },
    metrics::Metrics,
    model::{LeaderEpoch, Offset, TopicName},
    record::{
        self, BatchBuilder, BatchError, BatchHeader, Compression, NewHeader, NewRecord, Producer, Record,
    },
};

/// What the names of our headers begin with.
pub const HEADER_PREFIX: &str = "polylogue.dead-letter.";

/// How long to wait at first, and at most, before what failed is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a topic may take to be made and a leader to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// What it takes.
#[derive(Clone, Debug)]
pub(super) struct Undertaker {
    pub(super) topics: TopicTable,
    pub(super) membership: MembershipHandle,
    pub(super) io: Handle,
    pub(super) metrics: Arc<Metrics>,
}

#[derive(Debug, thiserror::Error)]
enum BuryError {
    #[error("{0} cannot take the dead letters of this topic")]
    Unfit(String),
    #[error("topic of dead letters could not be made: {0}")]
    Make(#[from] MembershipError),
    #[error("{0} has no leader yet")]
    NoLeader(String),
    #[error("its leader does not know yet how far the partition is committed")]
    Unsettled,
    #[error("record cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("batch cannot be read or made: {0}")]
    Batch(#[from] BatchError),
    #[error("reading thread ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
    #[error("dead letter is not written: {0}")]
    Append(#[from] AppendRefusal),
}

/// A record, and the leader epoch that its batch was written in.
type Found = (Record, LeaderEpoch);

impl Undertaker {
    /// Sees to it that the record is in the topic of dead letters, on disk.
    pub(super) async fn bury(self, letter: DeadLetter) -> Buried {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.try_bury(&letter).await {
                Ok(buried) => return buried,
                Err(error) => {
                    self.metrics.dead_letter_failures.inc();
                    let (topic, partition) = &letter.place;
                    tracing::error!(
                        group = %letter.group, %topic, %partition, offset = %letter.offset,
                        "record is no dead letter yet, its group waits for that; next try in {pause:?}: {error}"
                    );
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn try_bury(&self, letter: &DeadLetter) -> Result<Buried, BuryError> {
        let Some(origin) = self.topics.by_id(letter.topic) else { return Ok(Buried::Gone) };
        let Some(partition) = origin.partition(letter.place.1) else { return Ok(Buried::Gone) };
        let leader = leader_of(partition, &origin.name).await?;
        let offset = letter.offset;
        let reading = self.io.spawn_blocking(move || read_record(&leader, offset));
        let Some((record, leader_epoch)) = reading.await?? else { return Ok(Buried::Gone) };
        let to = self.topic_for(&origin).await?;
        let index = letter.place.1.get().unsigned_abs() as usize % to.partitions().len().max(1);
        let Some(partition) = to.partitions().get(index) else {
            return Err(BuryError::NoLeader(to.name.as_str().to_owned()));
        };
        let leader = leader_of(partition, &to.name).await?;
        let batch = batch_of(letter, &record)?;
        let header = BatchHeader::parse(&batch)?;
        let written = partition.append_to(&leader, batch, header, Acks::All, None, None).await?;
        let written = written.await.map_err(|_| AppendRefusal::OutcomeUnknown)??;
        tracing::warn!(
            group = %letter.group, topic = %origin.name, partition = %letter.place.1, offset = %record.offset,
            attempts = letter.attempts, cause = %letter.cause,
            "record is a dead letter now, in {}-{index} at offset {}", to.name, written.base_offset
        );
        Ok(Buried::There { next: record.offset.plus(1), leader_epoch })
    }

    /// The topic of dead letters, made if it is not there.
    async fn topic_for(&self, origin: &Topic) -> Result<Arc<Topic>, BuryError> {
        let delivery = origin.config().delivery.clone();
        let name = delivery.dead_letters_of(origin.name.as_str());
        let fits = TopicName::new(&name).is_ok_and(|name| !name.is_internal() && name != origin.name);
        if !fits {
            return Err(BuryError::Unfit(name));
        }
        if let Some(topic) = self.topics.by_name(&name) {
            return Ok(topic);
        }
        let partitions = match delivery.dead_letter_partitions {
            0 => origin.partitions().len(),
            count => count as usize,
        };
        self.make(&name, i32::try_from(partitions).unwrap_or(1)).await?;
        let deadline = Instant::now() + PATIENCE;
        let mut changes = self.topics.changes();
        loop {
            if let Some(topic) = self.topics.by_name(&name) {
                return Ok(topic);
            }
            if timeout_at(deadline, changes.next()).await.is_err() {
                return Err(BuryError::NoLeader(name));
            }
        }
    }

    /// Dead letters stay until somebody has seen to them, on disk, and are given up for nobody.
    async fn make(&self, name: &str, partitions: i32) -> Result<(), MembershipError> {
        let configs = [
            ("cleanup.policy", "delete"),
            ("durability", "disk"),
            ("max.delivery.attempts", "0"),
            ("retention.bytes", "-1"),
            ("retention.ms", "-1"),
        ];
        let new = NewTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: -1,
            assignments: BTreeMap::new(),
            configs: configs.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        };
        match self.membership.create_topic(new, false).await {
            Ok(_) | Err(MembershipError::Refused(Refusal::TopicExists(_))) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

async fn leader_of(partition: &PartitionHandle, topic: &TopicName) -> Result<Arc<Leader>, BuryError> {
    let leader = partition.leader_within(PATIENCE).await;
    leader.ok_or_else(|| BuryError::NoLeader(format!("{topic}-{}", partition.id().index)))
}

/// The first record at or behind `offset`, where there may be a gap; `None` where it is gone or damaged.
fn read_record(leader: &Leader, offset: Offset) -> Result<Option<Found>, BuryError> {
    // Below a watermark that its predecessors' may be beyond, a record that is there would seem to be gone (S5).
    let upto = leader.settled_high_watermark().ok_or(BuryError::Unsettled)?;
    let mut from = offset;
    while from < upto {
        let mut bytes = BytesMut::new();
        let request = ReadRequest { from, upto, max_bytes: 1, at_least_one: true, ..ReadRequest::default() };
        let next = match leader.reader.read(&request, &mut bytes) {
            Ok(ReadOutcome::Read { next, skipped, .. }) if skipped.is_empty() && next > from => next,
            Ok(_) | Err(ReadError::OutOfRange { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        for batch in record::batches(bytes.freeze()) {
            let (header, batch) = batch?;
            if header.is_control() {
                continue;
            }
            for record in record::records(batch)? {
                let record = record?;
                if record.offset >= offset {
                    return Ok(Some((record, header.partition_leader_epoch)));
                }
            }
        }
        from = next;
    }
    Ok(None)
}

/// The record as it was, with headers of ours behind its own; those of an earlier death are replaced.
fn batch_of(letter: &DeadLetter, record: &Record) -> Result<Bytes, BatchError> {
    let (topic, partition) = &letter.place;
    let ours = [
        ("topic", topic.to_string()),
        ("partition", partition.to_string()),
        ("offset", record.offset.to_string()),
        ("group", letter.group.to_string()),
        ("attempts", letter.attempts.to_string()),
        ("first-attempt", letter.first.get().to_string()),
        ("last-attempt", letter.last.get().to_string()),
        ("cause", letter.cause.to_string()),
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
    builder.finish(Compression::None, None, Producer::NONE)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{BatchError, DeadLetter, batch_of};
    use crate::{
        model::{Offset, PartitionIndex, TimestampMs, TopicId},
        record::{self, Record, RecordHeader},
    };

    fn letter() -> DeadLetter {
        DeadLetter {
            group: "g".into(),
            place: ("t".into(), PartitionIndex::new(2)),
            topic: TopicId::random(),
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
