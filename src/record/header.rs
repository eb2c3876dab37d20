use bytes::Buf;
use crc_fast::CrcAlgorithm;

use super::{Attributes, BatchError, Compression, TimestampType};
use crate::model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// Bytes from the start of a batch to its first record.
pub const BATCH_HEADER_LEN: usize = 61;
/// Bytes of base offset and length, which the length itself does not count.
pub const LENGTH_PREFIX_LEN: usize = 12;
/// The one format that is served.
pub const MAGIC: i8 = 2;

pub(super) const EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
pub(super) const CRC_AT: usize = 17;
/// What the checksum covers begins here.
pub(super) const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_DELTA_AT: usize = 23;
pub(super) const BASE_TIMESTAMP_AT: usize = 27;
pub(super) const MAX_TIMESTAMP_AT: usize = 35;
const PRODUCER_AT: usize = 43;
pub(super) const RECORD_COUNT_AT: usize = 57;

/// The header of one batch, read out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The first record's offset; 0 as clients send it.
    pub base_offset: Offset,
    /// Bytes that follow the length field: the whole batch less [`LENGTH_PREFIX_LEN`].
    pub batch_length: i32,
    /// The term of the leader that appended it; outside the checksum, as the base offset.
    pub partition_leader_epoch: LeaderEpoch,
    /// The format, always [`MAGIC`].
    pub magic: i8,
    /// CRC-32C over everything from the attributes on.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// The last record's offset less the first one's, as the producer wrote it (compaction keeps it).
    pub last_offset_delta: i32,
    /// What the records' timestamps are counted from.
    pub base_timestamp: TimestampMs,
    /// The highest timestamp of the records; the time of the append with [`TimestampType::LogAppendTime`].
    pub max_timestamp: TimestampMs,
    /// The idempotent producer, or [`ProducerId::NONE`].
    pub producer_id: ProducerId,
    /// Its epoch. Without a producer id it means nothing: some clients then write 0.
    pub producer_epoch: ProducerEpoch,
    /// The first record's sequence. Without a producer id it means nothing: some clients then write 0.
    pub base_sequence: Sequence,
    /// How many records there are; fewer than offsets once compaction has been here.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`, of which only the header need be there.
    ///
    /// The length is at least a header's and the format is 2; nothing else has been checked, the checksum
    /// neither.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        if let Some(&magic) = bytes.get(MAGIC_AT) {
            check_magic(magic as i8)?;
        }
        let head = bytes
            .first_chunk::<BATCH_HEADER_LEN>()
            .ok_or(BatchError::Truncated { needed: BATCH_HEADER_LEN, available: bytes.len() })?;
        let header = Self::read(head);
        let least = (BATCH_HEADER_LEN - LENGTH_PREFIX_LEN) as i32;
        if header.batch_length < least || header.batch_length > i32::MAX - LENGTH_PREFIX_LEN as i32 {
            return Err(BatchError::Length(header.batch_length));
        }
        Ok(header)
    }

    fn read(head: &[u8; BATCH_HEADER_LEN]) -> Self {
        let mut from = &head[..];
        Self {
            base_offset: Offset::new(from.get_i64()),
            batch_length: from.get_i32(),
            partition_leader_epoch: LeaderEpoch::new(from.get_i32()),
            magic: from.get_i8(),
            crc: from.get_u32(),
            attributes: Attributes::from_bits(from.get_i16()),
            last_offset_delta: from.get_i32(),
            base_timestamp: TimestampMs::new(from.get_i64()),
            max_timestamp: TimestampMs::new(from.get_i64()),
            producer_id: ProducerId::new(from.get_i64()),
            producer_epoch: ProducerEpoch::new(from.get_i16()),
            base_sequence: Sequence::new(from.get_i32()),
            record_count: from.get_i32(),
        }
    }

    /// Bytes of the whole batch.
    pub const fn total_len(&self) -> usize {
        LENGTH_PREFIX_LEN + self.batch_length as usize
    }

    /// The offset of the last record.
    pub const fn last_offset(&self) -> Offset {
        self.base_offset.plus(self.last_offset_delta as i64)
    }

    /// The offset after the last record's.
    pub const fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// Whether an idempotent producer wrote it.
    pub const fn is_idempotent(&self) -> bool {
        self.producer_id.get() >= 0
    }

    /// Whether it belongs to a transaction.
    pub const fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    /// Whether its records are the brokers' own markers.
    pub const fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    /// The codec, [`BatchError::Codec`] where the attributes name none.
    pub const fn compression(&self) -> Result<Compression, BatchError> {
        self.attributes.compression()
    }

    /// Who gave the timestamps.
    pub const fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    /// The last record's sequence, wrapped at 2^31; [`Sequence::NONE`] for a producer that is not idempotent.
    pub const fn last_sequence(&self) -> Sequence {
        if self.is_idempotent() { self.base_sequence.plus(self.last_offset_delta) } else { Sequence::NONE }
    }
}

fn check_magic(magic: i8) -> Result<(), BatchError> {
    match magic {
        MAGIC => Ok(()),
        0 | 1 => Err(BatchError::OldMagic(magic)),
        _ => Err(BatchError::Magic(magic)),
    }
}

/// Whether the CRC-32C of the batch at the start of `batch` is the one in its header. A batch of which a
/// part is missing is not right.
pub fn crc_is_right(batch: &[u8], header: &BatchHeader) -> bool {
    batch.get(ATTRIBUTES_AT..header.total_len()).is_some_and(|covered| crc32c(covered) == header.crc)
}

pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Writes the leader's offset and term into a whole batch. Both are outside the checksum, which stays right.
///
/// A slice shorter than a header is left as it is.
pub fn assign(batch: &mut [u8], base: Offset, epoch: LeaderEpoch) {
    if let Some(head) = batch.first_chunk_mut::<BATCH_HEADER_LEN>() {
        head[..8].copy_from_slice(&base.get().to_be_bytes());
        head[EPOCH_AT..MAGIC_AT].copy_from_slice(&epoch.get().to_be_bytes());
    }
}

/// Makes `now` the time of every record of one whole batch (`message.timestamp.type=LogAppendTime`), and the
/// checksum right again. `batch` must be exactly one batch.
///
/// A slice shorter than a header is left as it is.
pub fn stamp_log_append_time(batch: &mut [u8], now: TimestampMs) {
    let Some(head) = batch.first_chunk_mut::<BATCH_HEADER_LEN>() else { return };
    let attributes = BatchHeader::read(head).attributes.with_timestamp_type(TimestampType::LogAppendTime);
    head[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.bits().to_be_bytes());
    head[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&now.get().to_be_bytes());
    write_crc(batch);
}

/// Makes a whole batch of another cluster one that stands for itself: producer, sequence and transaction, which
/// mean nothing here, are taken out, and it covers the offsets up to `last_offset_delta`, its own or a higher
/// one where nothing is kept of those behind it (as after compaction). The checksum is right again.
///
/// A slice shorter than a header is left as it is.
pub fn detach(batch: &mut [u8], last_offset_delta: i32) {
    let Some(head) = batch.first_chunk_mut::<BATCH_HEADER_LEN>() else { return };
    let attributes = BatchHeader::read(head).attributes.without_transaction();
    head[ATTRIBUTES_AT..LAST_OFFSET_DELTA_AT].copy_from_slice(&attributes.bits().to_be_bytes());
    head[LAST_OFFSET_DELTA_AT..LAST_OFFSET_DELTA_AT + 4].copy_from_slice(&last_offset_delta.to_be_bytes());
    head[PRODUCER_AT..RECORD_COUNT_AT].fill(0xff);
    write_crc(batch);
}

/// A batch without records over `count` offsets from `base` on, as compaction leaves them: readers go on behind
/// it. `count` is at least 1; `newest` is the highest timestamp of what was there, by which it expires.
pub fn empty_batch(
    base: Offset,
    count: i32,
    epoch: LeaderEpoch,
    newest: TimestampMs,
) -> [u8; BATCH_HEADER_LEN] {
    let mut batch = [0xff; BATCH_HEADER_LEN];
    batch[8..EPOCH_AT].copy_from_slice(&((BATCH_HEADER_LEN - LENGTH_PREFIX_LEN) as i32).to_be_bytes());
    batch[MAGIC_AT] = MAGIC as u8;
    batch[ATTRIBUTES_AT..LAST_OFFSET_DELTA_AT].fill(0);
    batch[LAST_OFFSET_DELTA_AT..LAST_OFFSET_DELTA_AT + 4].copy_from_slice(&(count - 1).to_be_bytes());
    batch[BASE_TIMESTAMP_AT..MAX_TIMESTAMP_AT].copy_from_slice(&newest.get().to_be_bytes());
    batch[MAX_TIMESTAMP_AT..PRODUCER_AT].copy_from_slice(&newest.get().to_be_bytes());
    batch[RECORD_COUNT_AT..].fill(0);
    assign(&mut batch, base, epoch);
    write_crc(&mut batch);
    batch
}

/// The same batch without its records: its offsets, its producer and its sequences stay. `batch` is one whole
/// batch; anything shorter than a header gives nothing.
pub fn without_records(batch: &[u8]) -> Vec<u8> {
    let Some(head) = batch.first_chunk::<BATCH_HEADER_LEN>() else { return Vec::new() };
    let attributes = BatchHeader::read(head).attributes.with_compression(Compression::None);
    let mut empty = head.to_vec();
    let length = (BATCH_HEADER_LEN - LENGTH_PREFIX_LEN) as i32;
    empty.splice(8..EPOCH_AT, length.to_be_bytes());
    empty.splice(ATTRIBUTES_AT..LAST_OFFSET_DELTA_AT, attributes.bits().to_be_bytes());
    empty.splice(RECORD_COUNT_AT.., 0_i32.to_be_bytes());
    write_crc(&mut empty);
    empty
}

/// Sets the checksum of a whole batch; without a header there is nothing to set.
pub(crate) fn write_crc(batch: &mut [u8]) {
    if let Some((head, covered)) = batch.split_at_mut_checked(ATTRIBUTES_AT) {
        head[CRC_AT..].copy_from_slice(&crc32c(covered).to_be_bytes());
    }
}
