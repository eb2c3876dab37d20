use super::{
    Attributes, BATCH_HEADER_LEN, BatchError, Compression, LENGTH_PREFIX_LEN, MAGIC, codec,
    header::write_crc, varint,
};
use crate::model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// Room that a batch takes from the start, unless it may not have as much: growing copies what is there.
const FIRST_CAPACITY: usize = 16 * 1024;

/// One header of a record to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewHeader<'a> {
    /// UTF-8 by the protocol's word.
    pub name: &'a str,
    /// Anything, or nothing.
    pub value: Option<&'a [u8]>,
}

/// One record to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// Its time, as the producer sees it.
    pub timestamp: TimestampMs,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, written in this order.
    pub headers: &'a [NewHeader<'a>],
}

/// The idempotent producer's mark on a batch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Given out by the cluster.
    pub id: ProducerId,
    /// Given out with it.
    pub epoch: ProducerEpoch,
    /// Of the batch's first record.
    pub base_sequence: Sequence,
}

impl Producer {
    /// A producer that is not idempotent.
    pub const NONE: Self =
        Self { id: ProducerId::NONE, epoch: ProducerEpoch::NONE, base_sequence: Sequence::NONE };
}

/// Collects records into one batch, until it has as many bytes as it may have.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// The header's place, then the records as they go on the wire.
    bytes: Vec<u8>,
    max_bytes: usize,
    records: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// An empty batch that takes records until it has `max_bytes`, header and all, before it is packed.
    pub fn new(max_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(max_bytes.clamp(BATCH_HEADER_LEN, FIRST_CAPACITY));
        bytes.resize(BATCH_HEADER_LEN, 0);
        Self {
            bytes,
            max_bytes: max_bytes.min(i32::MAX as usize),
            records: 0,
            base_timestamp: 0,
            max_timestamp: i64::MIN,
        }
    }

    /// How many records there are.
    pub const fn record_count(&self) -> i32 {
        self.records
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes of the batch so far, before it is packed.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a record; false, and nothing is added, when the batch is full. An empty batch takes a record of
    /// any size that the format allows, so that a large one is refused by the topic and not by a client for ever.
    #[inline]
    #[must_use = "a record that is not added belongs into the next batch"]
    pub fn append(&mut self, record: &NewRecord<'_>) -> bool {
        let base = if self.records == 0 { record.timestamp.get() } else { self.base_timestamp };
        let Some(timestamp_delta) = record.timestamp.get().checked_sub(base) else { return false };
        let body = body_len(record, timestamp_delta, self.records);
        let whole = self.bytes.len().saturating_add(body).saturating_add(varint::len(body as i64));
        let max = if self.records == 0 { i32::MAX as usize } else { self.max_bytes };
        if whole > max {
            return false;
        }
        self.base_timestamp = base;
        self.max_timestamp = self.max_timestamp.max(record.timestamp.get());
        self.write(record, body, timestamp_delta);
        self.records += 1;
        true
    }

    #[inline]
    fn write(&mut self, record: &NewRecord<'_>, body: usize, timestamp_delta: i64) {
        let out = &mut self.bytes;
        // Once for the record: what follows then finds its room.
        out.reserve(body + varint::MAX_VARINT_LEN);
        varint::write(out, body as i64);
        // The record's own attributes have no bit defined.
        out.push(0);
        varint::write(out, timestamp_delta);
        varint::write(out, i64::from(self.records));
        write_field(out, record.key);
        write_field(out, record.value);
        varint::write(out, record.headers.len() as i64);
        for header in record.headers {
            write_field(out, Some(header.name.as_bytes()));
            write_field(out, header.value);
        }
    }

    /// Packs and seals the batch with base offset 0, ready to be sent. `level` is the codec's own, none for its
    /// default. Where packing gains nothing the batch goes uncompressed, as its attributes then say.
    ///
    /// Without a record it is [`BatchError::Count`]: no broker takes an empty batch.
    pub fn finish(
        mut self,
        compression: Compression,
        level: Option<i32>,
        producer: Producer,
    ) -> Result<bytes::Bytes, BatchError> {
        if self.records == 0 {
            return Err(BatchError::Count { records: 0, last_offset_delta: -1 });
        }
        let used = self.pack(compression, level)?;
        self.seal(Attributes::default().with_compression(used), producer);
        Ok(self.bytes.into())
    }

    /// Replaces the records by their packed form where it is smaller, and says which form they are left in.
    fn pack(&mut self, compression: Compression, level: Option<i32>) -> Result<Compression, BatchError> {
        if compression == Compression::None {
            return Ok(Compression::None);
        }
        let plain = self.bytes.get(BATCH_HEADER_LEN..).unwrap_or_default();
        let mut packed = Vec::with_capacity(BATCH_HEADER_LEN + plain.len() / 2);
        packed.resize(BATCH_HEADER_LEN, 0);
        codec::pack(compression, level, plain, &mut packed)?;
        if packed.len() >= self.bytes.len() {
            return Ok(Compression::None);
        }
        self.bytes = packed;
        Ok(compression)
    }

    fn seal(&mut self, attributes: Attributes, producer: Producer) {
        let batch_length = (self.bytes.len() - LENGTH_PREFIX_LEN) as i32;
        let mut head = Vec::with_capacity(BATCH_HEADER_LEN);
        head.extend_from_slice(&Offset::ZERO.get().to_be_bytes());
        head.extend_from_slice(&batch_length.to_be_bytes());
        head.extend_from_slice(&LeaderEpoch::NONE.get().to_be_bytes());
        head.extend_from_slice(&MAGIC.to_be_bytes());
        head.extend_from_slice(&0_u32.to_be_bytes());
        head.extend_from_slice(&attributes.bits().to_be_bytes());
        head.extend_from_slice(&(self.records - 1).to_be_bytes());
        head.extend_from_slice(&self.base_timestamp.to_be_bytes());
        head.extend_from_slice(&self.max_timestamp.to_be_bytes());
        head.extend_from_slice(&producer.id.get().to_be_bytes());
        head.extend_from_slice(&producer.epoch.get().to_be_bytes());
        head.extend_from_slice(&producer.base_sequence.get().to_be_bytes());
        head.extend_from_slice(&self.records.to_be_bytes());
        if let Some(place) = self.bytes.get_mut(..head.len()) {
            place.copy_from_slice(&head);
        }
        write_crc(&mut self.bytes);
    }
}

/// Bytes of a record after its length.
#[inline]
fn body_len(record: &NewRecord<'_>, timestamp_delta: i64, offset_delta: i32) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|header| field_len(Some(header.name.as_bytes())) + field_len(header.value))
        .sum();
    1 + varint::len(timestamp_delta)
        + varint::len(i64::from(offset_delta))
        + field_len(record.key)
        + field_len(record.value)
        + varint::len(record.headers.len() as i64)
        + headers
}

#[inline]
fn field_len(bytes: Option<&[u8]>) -> usize {
    varint::len(len_field(bytes)) + bytes.map_or(0, <[u8]>::len)
}

#[inline]
fn len_field(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

#[inline]
fn write_field(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    varint::write(out, len_field(bytes));
    if let Some(bytes) = bytes {
        out.extend_from_slice(bytes);
    }
}
