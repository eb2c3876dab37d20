use bytes::Bytes;

use super::turns::Turn;
use crate::{
    model::{Offset, PartitionIndex, TopicName},
    record::{BatchError, DEFAULT_MAX_UNPACKED_BYTES, RecordIter, RecordRef, UnpackedBatch, unpack},
};

/// Records of one partition, in order, as one batch of the log holds them.
#[derive(Clone, Debug)]
pub struct ConsumedBatch {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionIndex,
    /// The end of what consumers may read, as of the fetch.
    pub high_watermark: Offset,
    /// The offset after the batch: where reading goes on.
    pub next_offset: Offset,
    /// The first offset that was asked for; the batch may begin before it.
    from: Offset,
    batch: UnpackedBatch,
}

impl ConsumedBatch {
    /// The records, borrowed. An error ends them.
    pub fn iter(&self) -> impl Iterator<Item = Result<RecordRef<'_>, BatchError>> {
        let from = self.from;
        self.batch.iter().filter(move |record| record.as_ref().map_or(true, |record| record.offset >= from))
    }

    /// The records, each holding its share of the memory. An error ends them.
    pub fn into_records(self) -> impl Iterator<Item = Result<crate::record::Record, BatchError>> {
        let from = self.from;
        let records: RecordIter = self.batch.into_records();
        records.filter(move |record| record.as_ref().map_or(true, |record| record.offset >= from))
    }
}

/// A batch as it was fetched, checked and not unpacked.
#[derive(Debug)]
pub(super) struct FetchedBatch {
    pub(super) topic: TopicName,
    pub(super) partition: PartitionIndex,
    pub(super) high_watermark: Offset,
    pub(super) next_offset: Offset,
    pub(super) from: Offset,
    pub(super) turn: Turn,
    pub(super) bytes: Bytes,
    pub(super) is_control: bool,
}

impl FetchedBatch {
    pub(super) fn unpack(self) -> Result<ConsumedBatch, BatchError> {
        let batch = unpack(&self.bytes, DEFAULT_MAX_UNPACKED_BYTES)?;
        Ok(ConsumedBatch {
            topic: self.topic,
            partition: self.partition,
            high_watermark: self.high_watermark,
            next_offset: self.next_offset,
            from: self.from,
            batch,
        })
    }
}
