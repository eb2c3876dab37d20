//! One batch from its first record to its answer.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::{Obstacle, ProducerConfig, delivery::Promise};
use crate::record::{
    BatchBuilder, BatchError, DEFAULT_MAX_UNPACKED_BYTES, NewHeader, NewRecord, Producer, unpack,
};

/// What a batch is made of.
#[derive(Debug)]
pub(super) enum Contents {
    /// Not sealed: it has no sequence yet.
    Building(BatchBuilder),
    /// Sealed, with this mark on it. Each try sends these very bytes.
    Packed(Bytes, Producer),
    /// With whoever packs it, to be sealed with this mark.
    Away(Producer),
}

/// A batch that has no result yet.
#[derive(Debug)]
pub(super) struct Batch {
    /// Its number within its partition's queue.
    pub(super) id: u64,
    pub(super) contents: Contents,
    pub(super) promise: Arc<Promise>,
    pub(super) records: i32,
    /// Bytes that it takes of the producer's buffer.
    pub(super) cost: usize,
    pub(super) since: Instant,
    pub(super) in_flight: bool,
    /// A try has ended without saying that it was not written.
    pub(super) maybe_written: bool,
    pub(super) last: Obstacle,
}

impl Batch {
    pub(super) fn new(id: u64, batch_bytes: usize, now: Instant) -> Self {
        Self {
            id,
            contents: Contents::Building(BatchBuilder::new(batch_bytes)),
            promise: Arc::default(),
            records: 0,
            cost: 0,
            since: now,
            in_flight: false,
            maybe_written: false,
            last: Obstacle::NotTried,
        }
    }

    /// Adds a record; false where the batch is full or sealed.
    #[inline]
    pub(super) fn append(&mut self, record: &NewRecord<'_>, cost: usize) -> bool {
        let Contents::Building(builder) = &mut self.contents else { return false };
        let added = builder.append(record);
        if added {
            self.records += 1;
            self.cost += cost;
        }
        added
    }

    /// The mark on it, if it has been sealed.
    pub(super) const fn mark(&self) -> Option<Producer> {
        match &self.contents {
            Contents::Packed(_, mark) | Contents::Away(mark) => Some(*mark),
            Contents::Building(_) => None,
        }
    }
}

/// Makes the bytes to send, which carry `mark`. Those of an earlier try are kept if the mark is the same.
pub(super) fn pack(contents: Contents, mark: Producer, config: &ProducerConfig) -> Result<Bytes, BatchError> {
    let builder = match contents {
        Contents::Packed(bytes, was) if was == mark => return Ok(bytes),
        Contents::Packed(bytes, _) => rebuild(&bytes)?,
        Contents::Building(builder) => builder,
        // Nothing takes contents that are away; an empty batch is refused as one.
        Contents::Away(_) => BatchBuilder::new(0),
    };
    builder.finish(config.compression, config.compression_level, mark)
}

/// The records of a sealed batch, to be sealed with another mark.
fn rebuild(packed: &Bytes) -> Result<BatchBuilder, BatchError> {
    let unpacked = unpack(packed, DEFAULT_MAX_UNPACKED_BYTES)?;
    let mut builder = BatchBuilder::new(usize::MAX);
    for record in &unpacked {
        let record = record?;
        let headers: Vec<NewHeader<'_>> = record
            .headers
            .map(|(name, value)| NewHeader { name: str::from_utf8(name).unwrap_or_default(), value })
            .collect();
        let (timestamp, key, value) = (record.timestamp, record.key, record.value);
        let added = builder.append(&NewRecord { timestamp, key, value, headers: &headers });
        debug_assert!(added, "what fitted once fits again");
    }
    Ok(builder)
}
