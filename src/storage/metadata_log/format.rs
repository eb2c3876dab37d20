//! The bytes of `metadata.log`. Numbers are big-endian; checksums are CRC-32 (`crc32fast`).
//!
//! ```text
//! file    0     header, 36 bytes, written once
//!         512   mark A, 28 bytes       the one with the higher end counts
//!         1024  mark B, 28 bytes
//!         4096  blocks, back to back
//!
//! header  0     "PLGMETA\n"
//!         8     u16  format version, 1
//!         10    u16, u32  zero
//!         16    u64  generation: raised each time that the file is rewritten
//!         24    u64  salt: random, so that no bytes of another file pass for this one's
//!         32    u32  checksum of bytes 0..32
//!
//! mark    0     u64  salt
//!         8     u64  durable end: what lies below has been synced
//!         16    u64  zero
//!         24    u32  checksum of bytes 0..24
//!
//! block   0     u32  0x504C4D42 ("PLMB")
//!         4     u8   kind: 1 snapshot, 2 records
//!         5     u8, u16  zero
//!         8     u32  payload length
//!         12    u32  number of records (0 in a snapshot)
//!         16    u64  index of the last record that the block or the snapshot holds
//!         24    u32  checksum of salt, bytes 0..24 and payload
//!         28    payload: of a snapshot, one value; of records, for each: u32 length, value
//! ```

/// Where mark A and mark B lie.
pub(super) const MARKS: [u64; 2] = [512, 1024];
/// Where blocks begin.
pub(super) const BLOCKS: u64 = 4096;
pub(super) const HEADER_LEN: usize = 36;
pub(super) const MARK_LEN: usize = 28;
pub(super) const BLOCK_HEADER_LEN: usize = 28;
pub(super) const VERSION: u16 = 1;

/// Of the one-node metadata log; a journal of another kind has another.
pub(super) const MAGIC: [u8; 8] = *b"PLGMETA\n";
const BLOCK_MAGIC: u32 = 0x504C_4D42;

/// The head of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) generation: u64,
    pub(super) salt: u64,
}

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    NotOurs,
    Version(u16),
    Checksum,
}

impl Header {
    pub(super) fn encode(self, magic: [u8; 8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&magic);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.salt.to_be_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out
    }

    pub(super) fn parse(bytes: &[u8], expected: [u8; 8]) -> Result<Self, HeaderError> {
        let mut input = Input(bytes);
        let body = bytes.get(..HEADER_LEN - 4).ok_or(HeaderError::NotOurs)?;
        let magic = input.take::<8>().ok_or(HeaderError::NotOurs)?;
        let version = input.u16().ok_or(HeaderError::NotOurs)?;
        let _zero = input.take::<6>();
        let fields = (input.u64(), input.u64(), input.u32());
        let (Some(generation), Some(salt), Some(checksum)) = fields else {
            return Err(HeaderError::NotOurs);
        };
        if crc32fast::hash(body) == checksum && magic == expected && version == VERSION {
            return Ok(Self { generation, salt });
        }
        // A later version may have laid out the rest in another way, checksum included.
        match (magic == expected, version) {
            (false, _) => Err(HeaderError::NotOurs),
            (true, VERSION) => Err(HeaderError::Checksum),
            (true, other) => Err(HeaderError::Version(other)),
        }
    }
}

pub(super) fn encode_mark(salt: u64, durable_end: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(MARK_LEN);
    out.extend_from_slice(&salt.to_be_bytes());
    out.extend_from_slice(&durable_end.to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
    out
}

/// The durable end that a mark gives, if it is whole and this file's.
pub(super) fn parse_mark(bytes: &[u8], salt: u64) -> Option<u64> {
    let mut input = Input(bytes);
    let (of_file, durable_end, _zero) = (input.u64()?, input.u64()?, input.u64()?);
    let checksum = input.u32()?;
    let whole = crc32fast::hash(bytes.get(..MARK_LEN - 4)?) == checksum;
    (whole && of_file == salt).then_some(durable_end)
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    Snapshot,
    Records,
}

/// A whole block whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    pub(super) kind: BlockKind,
    pub(super) last_index: u64,
    pub(super) count: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Block<'a> {
    /// The block at the beginning of `bytes`; `None` if there is none that is whole.
    pub(super) fn parse(bytes: &'a [u8], salt: u64) -> Option<Self> {
        let mut input = Input(bytes);
        if input.u32()? != BLOCK_MAGIC {
            return None;
        }
        let [kind, zero @ ..] = input.take::<4>()?;
        let (length, count, last_index) = (input.u32()?, input.u32()?, input.u64()?);
        let checksum = input.u32()?;
        let payload = input.0.get(..usize::try_from(length).ok()?)?;
        let head = bytes.get(..BLOCK_HEADER_LEN - 4)?;
        if zero != [0; 3] || block_checksum(salt, head, payload) != checksum {
            return None;
        }
        let kind = match kind {
            1 => BlockKind::Snapshot,
            2 => BlockKind::Records,
            _ => return None,
        };
        Some(Self { kind, last_index, count, payload })
    }

    pub(super) fn len(&self) -> usize {
        BLOCK_HEADER_LEN + self.payload.len()
    }

    /// The records, if the block holds as many as it says and nothing else.
    pub(super) fn records(&self) -> Option<Vec<Vec<u8>>> {
        let mut input = Input(self.payload);
        let mut records = Vec::new();
        for _ in 0..self.count {
            let length = usize::try_from(input.u32()?).ok()?;
            records.push(input.bytes(length)?.to_vec());
        }
        input.0.is_empty().then_some(records)
    }
}

/// `None` if the payload is longer than its length can say.
pub(super) fn encode_block(
    salt: u64,
    kind: BlockKind,
    last_index: u64,
    count: u32,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok()?;
    let mut out = Vec::with_capacity(BLOCK_HEADER_LEN + payload.len());
    out.extend_from_slice(&BLOCK_MAGIC.to_be_bytes());
    let kind = match kind {
        BlockKind::Snapshot => 1,
        BlockKind::Records => 2,
    };
    out.extend_from_slice(&[kind, 0, 0, 0]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&last_index.to_be_bytes());
    out.extend_from_slice(&block_checksum(salt, &out, payload).to_be_bytes());
    out.extend_from_slice(payload);
    Some(out)
}

/// The payload of a block of records; `None` if one is longer than its length can say.
pub(super) fn encode_records(records: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(records.iter().map(|record| record.len() + 4).sum());
    for record in records {
        out.extend_from_slice(&u32::try_from(record.len()).ok()?.to_be_bytes());
        out.extend_from_slice(record);
    }
    Some(out)
}

fn block_checksum(salt: u64, head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_be_bytes());
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

/// Where a whole block begins in `bytes` after its first byte, if one does.
pub(super) fn find_block(bytes: &[u8], salt: u64) -> Option<usize> {
    let magic = BLOCK_MAGIC.to_be_bytes();
    (1..bytes.len()).find(|at| {
        bytes.get(*at..).is_some_and(|rest| rest.starts_with(&magic) && Block::parse(rest, salt).is_some())
    })
}

/// Reads fixed fields and never past the end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }
}
