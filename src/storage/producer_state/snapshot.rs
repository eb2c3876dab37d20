//! The snapshot's bytes, as drawn in the parent module.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::Path,
};

use super::{BATCHES_REMEMBERED, Producer, ProducerLimits, ProducerState, Remembered};
use crate::{
    model::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs},
    storage::{
        fs::Fs,
        own_file::{self, Fields, FormatError, Kind, OwnFileError},
    },
};

const KIND: Kind = Kind { magic: *b"PLps", version: 1, max_body: 256 << 20 };
const BATCH_LEN: usize = 32;
const PRODUCER_LEN_MIN: usize = 19 + BATCH_LEN;

impl ProducerState {
    /// Reads a snapshot, with the end offset of the log whose state it is; `None` when there is no such
    /// file.
    pub fn load(
        fs: &dyn Fs,
        path: &Path,
        limits: ProducerLimits,
    ) -> Result<Option<(Self, Offset)>, OwnFileError> {
        let Some(body) = own_file::load(fs, path, KIND)? else { return Ok(None) };
        Ok(Some(Self::decode(&body, limits)?))
    }

    /// Writes a snapshot durably: the state of the log below `end`.
    pub fn store(&self, fs: &dyn Fs, path: &Path, end: Offset) -> io::Result<()> {
        write_snapshot(fs, path, &self.encode(end))
    }

    /// The body of a snapshot, to be written by [`write_snapshot`] on a thread that may block.
    pub fn encode(&self, end: Offset) -> Vec<u8> {
        let mut body = Vec::with_capacity(12 + self.producers.len() * PRODUCER_LEN_MIN);
        body.extend_from_slice(&end.get().to_be_bytes());
        body.extend_from_slice(&(self.producers.len() as u32).to_be_bytes());
        for (id, producer) in &self.producers {
            encode_producer(&mut body, *id, producer);
        }
        body
    }

    /// Takes a snapshot's body apart.
    pub fn decode(body: &[u8], limits: ProducerLimits) -> Result<(Self, Offset), FormatError> {
        let mut fields = Fields::new(body);
        let end = Offset::new(fields.i64()?);
        let count = fields.count(PRODUCER_LEN_MIN)?;
        let mut producers = BTreeMap::new();
        for _ in 0..count {
            let (id, producer) = decode_producer(&mut fields)?;
            if producers.last_key_value().is_some_and(|(last, _)| *last >= id) {
                return Err(FormatError::Field("producer id"));
            }
            if producer.last_offset() >= end {
                return Err(FormatError::Field("last offset"));
            }
            producers.insert(id, producer);
        }
        fields.end()?;
        Ok((Self { limits, producers }, end))
    }
}

/// Writes an encoded snapshot durably.
pub fn write_snapshot(fs: &dyn Fs, path: &Path, body: &[u8]) -> io::Result<()> {
    own_file::replace(fs, path, KIND, body)
}

fn encode_producer(body: &mut Vec<u8>, id: ProducerId, producer: &Producer) {
    body.extend_from_slice(&id.get().to_be_bytes());
    body.extend_from_slice(&producer.epoch.get().to_be_bytes());
    body.extend_from_slice(&producer.last_used.get().to_be_bytes());
    body.push(producer.batches.len() as u8);
    for batch in &producer.batches {
        body.extend_from_slice(&batch.base_sequence.get().to_be_bytes());
        body.extend_from_slice(&batch.last_sequence.get().to_be_bytes());
        body.extend_from_slice(&batch.base_offset.get().to_be_bytes());
        body.extend_from_slice(&batch.last_offset.get().to_be_bytes());
        body.extend_from_slice(&batch.max_timestamp.get().to_be_bytes());
    }
}

fn decode_producer(fields: &mut Fields<'_>) -> Result<(ProducerId, Producer), FormatError> {
    let id = ProducerId::new(fields.i64()?);
    let epoch = ProducerEpoch::new(fields.i16()?);
    let last_used = TimestampMs::new(fields.i64()?);
    let [count] = fields.array()?;
    let count = usize::from(count);
    if count == 0 || count > BATCHES_REMEMBERED {
        return Err(FormatError::Field("number of batches"));
    }
    let mut batches = VecDeque::with_capacity(BATCHES_REMEMBERED);
    for _ in 0..count {
        batches.push_back(decode_batch(fields)?);
    }
    Ok((id, Producer { epoch, last_used, batches }))
}

fn decode_batch(fields: &mut Fields<'_>) -> Result<Remembered, FormatError> {
    Ok(Remembered {
        base_sequence: Sequence::new(fields.i32()?),
        last_sequence: Sequence::new(fields.i32()?),
        base_offset: Offset::new(fields.i64()?),
        last_offset: Offset::new(fields.i64()?),
        max_timestamp: TimestampMs::new(fields.i64()?),
    })
}
