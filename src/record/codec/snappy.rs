//! Snappy as Kafka's clients write it: raw blocks, either one bare (librdkafka) or many in the framing of
//! the library `xerial/snappy-java` (Java and most others). The official snappy framing is neither.
//!
//! ```text
//!  0                                8             12              16
//!  +--------------------------------+-------------+---------------+------------+-----------+---
//!  | 82 'S' 'N' 'A' 'P' 'P' 'Y' 00  | version i32 | lowest version| length i32 | raw block | ...
//!  +--------------------------------+-------------+---------------+------------+-----------+---
//! ```

use std::io::{self, ErrorKind, Read};

const XERIAL_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const XERIAL_HEADER_LEN: usize = 16;
const XERIAL_VERSION: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
/// Bytes per block as snappy-java writes them.
const BLOCK_LEN: usize = 32 * 1024;
/// No raw block unpacks to more than this many times its own length: three bytes copy at most 64.
const MOST_GAIN: usize = 22;

/// Unpacks block by block.
pub(super) struct Decoder<'a> {
    packed: &'a [u8],
    framed: bool,
    max: usize,
    block: Vec<u8>,
    at: usize,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(packed: &'a [u8], max: usize) -> Self {
        let framed = packed.starts_with(&XERIAL_MAGIC) && packed.len() >= XERIAL_HEADER_LEN;
        let packed = if framed { packed.get(XERIAL_HEADER_LEN..).unwrap_or_default() } else { packed };
        Self { packed, framed, max, block: Vec::new(), at: 0 }
    }

    fn next_packed_block(&mut self) -> io::Result<&'a [u8]> {
        if !self.framed {
            return Ok(std::mem::take(&mut self.packed));
        }
        let (length, rest) = self.packed.split_first_chunk::<4>().ok_or(ErrorKind::UnexpectedEof)?;
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| ErrorKind::InvalidData)?;
        let (block, rest) = rest.split_at_checked(length).ok_or(ErrorKind::UnexpectedEof)?;
        self.packed = rest;
        Ok(block)
    }

    fn unpack_block(&mut self) -> io::Result<()> {
        let packed = self.next_packed_block()?;
        let length = snap::raw::decompress_len(packed)?;
        // What a block claims is believed only as far as its own bytes can reach, and up to the bound.
        if length > packed.len().saturating_mul(MOST_GAIN) {
            return Err(ErrorKind::InvalidData.into());
        }
        if length > self.max {
            return Err(ErrorKind::FileTooLarge.into());
        }
        self.block.resize(length, 0);
        snap::raw::Decoder::new().decompress(packed, &mut self.block)?;
        self.at = 0;
        Ok(())
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if self.packed.is_empty() {
                return Ok(0);
            }
            self.unpack_block()?;
        }
        let read = self.block.get(self.at..).unwrap_or_default().read(out)?;
        self.at += read;
        Ok(read)
    }
}

/// Writes xerial's framing, which every client reads.
pub(super) fn pack(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&XERIAL_VERSION);
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(BLOCK_LEN) {
        let packed = encoder.compress_vec(block)?;
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(())
}
