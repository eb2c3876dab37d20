//! One record of a partition, read where it is led.
//!
//! A record may be larger than a call carries, so it comes in pieces. The node that is asked remembers nothing: it reads the
//! record anew for each piece, and whoever asks sees from offset and length whether it is still the same.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{
    Home, Leaders,
    message::{Answer, Ask, Given, Piece, decode, encode},
};
use crate::{
    actors::partition::{Leader, PartitionHandle, ReadError, ReadOutcome, ReadRequest},
    model::{LeaderEpoch, NodeId, Offset, PartitionId, TimestampMs},
    record::{self, BatchError, Record, RecordHeader},
};

/// Of a record in one answer.
const PIECE_BYTES: usize = 1 << 20;
/// How long one piece may take.
const PIECE_WITHIN: Duration = Duration::from_secs(2);
/// How long a leader on this node may take to be there.
const PATIENCE: Duration = Duration::from_secs(2);

/// A record, and the leader epoch that its batch was written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Found {
    pub(in super::super) record: Record,
    pub(in super::super) leader_epoch: LeaderEpoch,
}

/// Why it cannot be read now.
#[derive(Debug, thiserror::Error)]
pub(super) enum FindError {
    #[error("partition {0} has no leader yet")]
    NoLeader(PartitionId),
    #[error("record at offset {0} is being repaired")]
    Held(Offset),
    #[error("partition {0} does not know its high watermark yet")]
    Unsettled(PartitionId),
    #[error("record cannot be read: {0}")]
    Read(#[from] ReadError),
    #[error("batch cannot be read: {0}")]
    Batch(#[from] BatchError),
    #[error("reading thread ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
    #[error("node {0} gave no record")]
    NoAnswer(NodeId),
    #[error("node {node}: {why}")]
    There { node: NodeId, why: String },
}

/// A record on its way between nodes.
#[derive(Serialize, Deserialize)]
struct Packed {
    offset: Offset,
    leader_epoch: LeaderEpoch,
    timestamp: TimestampMs,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Packed {
    fn of(found: &Found) -> Self {
        let Found { record, leader_epoch } = found;
        let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map(|bytes| bytes.to_vec());
        Self {
            offset: record.offset,
            leader_epoch: *leader_epoch,
            timestamp: record.timestamp,
            key: bytes(&record.key),
            value: bytes(&record.value),
            headers: record.headers.iter().map(|one| (one.name.to_vec(), bytes(&one.value))).collect(),
        }
    }

    fn into_found(self) -> Found {
        let header = |(name, value): (Vec<u8>, Option<Vec<u8>>)| RecordHeader {
            name: name.into(),
            value: value.map(Bytes::from),
        };
        let record = Record {
            offset: self.offset,
            timestamp: self.timestamp,
            key: self.key.map(Bytes::from),
            value: self.value.map(Bytes::from),
            headers: self.headers.into_iter().map(header).collect(),
        };
        Found { record, leader_epoch: self.leader_epoch }
    }
}

impl Leaders {
    /// The first record at or behind `offset`, where there may be a gap; `None` where it is gone or damaged.
    pub(super) async fn find(&self, id: PartitionId, offset: Offset) -> Result<Option<Found>, FindError> {
        match self.home(id) {
            Home::Here(partition) => self.find_here(&partition, offset).await,
            Home::There(node) => self.find_there(node, id, offset).await,
            Home::Nowhere => Err(FindError::NoLeader(id)),
        }
    }

    async fn find_here(
        &self,
        partition: &PartitionHandle,
        offset: Offset,
    ) -> Result<Option<Found>, FindError> {
        let leader = partition.leader_within(PATIENCE).await;
        let leader = leader.ok_or_else(|| FindError::NoLeader(partition.id()))?;
        // What was served was below the watermark, and is again once a new leader knows where that is.
        let upto = leader.settled_high_watermark().ok_or_else(|| FindError::Unsettled(partition.id()))?;
        self.args.io.spawn_blocking(move || read_record(&leader, offset, upto)).await?
    }

    async fn find_there(
        &self,
        node: NodeId,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<Option<Found>, FindError> {
        let (mut whole, mut first) = (Vec::new(), None);
        loop {
            let piece = Ask::Read(Piece { partition, offset, skip: whole.len() as u64 });
            let Some(Answer::Read(given)) = self.ask(node, &piece, PIECE_WITHIN).await else {
                return Err(FindError::NoAnswer(node));
            };
            let (same, bytes) = match given {
                Given::Part { record, total, bytes } => ((record, total), bytes),
                Given::Gone => return Ok(None),
                Given::Failed(why) => return Err(FindError::There { node, why }),
            };
            let came = !bytes.is_empty() && same == *first.get_or_insert(same);
            whole.extend(bytes);
            let (_, total) = same;
            if !came || whole.len() as u64 > total {
                let why = "the record changed while it was read".to_owned();
                return Err(FindError::There { node, why });
            }
            if whole.len() as u64 == total {
                let packed: Option<Packed> = decode(&whole);
                return packed.map(|packed| Some(packed.into_found())).ok_or(FindError::NoAnswer(node));
            }
        }
    }

    /// Answers another node that wants a piece.
    pub(super) async fn give(&self, piece: Piece) -> Given {
        let Home::Here(partition) = self.home(piece.partition) else {
            return Given::Failed(FindError::NoLeader(piece.partition).to_string());
        };
        let found = match self.find_here(&partition, piece.offset).await {
            Ok(Some(found)) => found,
            Ok(None) => return Given::Gone,
            Err(error) => return Given::Failed(error.to_string()),
        };
        let Some(whole) = encode(&Packed::of(&found)) else {
            return Given::Failed("the record is too large".to_owned());
        };
        let from = usize::try_from(piece.skip).unwrap_or(usize::MAX).min(whole.len());
        let until = from.saturating_add(PIECE_BYTES).min(whole.len());
        let (record, total) = (found.record.offset, whole.len() as u64);
        Given::Part { record, total, bytes: whole[from..until].to_vec() }
    }
}

fn read_record(leader: &Leader, offset: Offset, upto: Offset) -> Result<Option<Found>, FindError> {
    let mut from = offset;
    while from < upto {
        let mut bytes = BytesMut::new();
        let request = ReadRequest { from, upto, max_bytes: 1, at_least_one: true, ..ReadRequest::default() };
        let next = match leader.reader.read(&request, &mut bytes) {
            Ok(ReadOutcome::Read { next, skipped, .. }) if skipped.is_empty() && next > from => next,
            Ok(ReadOutcome::Read { skipped, .. }) if skipped.iter().any(|batch| batch.is_held) => {
                return Err(FindError::Held(offset));
            }
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
                    return Ok(Some(Found { record, leader_epoch: header.partition_leader_epoch }));
                }
            }
        }
        from = next;
    }
    Ok(None)
}
