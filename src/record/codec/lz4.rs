//! The LZ4 frame format, read block by block over the library's raw blocks.
//!
//! The library's own frame reader clears up to 4 MiB for each small block of a frame that allows blocks of
//! that size (as Go's clients do), takes a frame without an end for a whole one, and goes on with whatever
//! follows; here a batch is exactly one frame, and memory is touched only as blocks fill it.
//!
//! ```text
//!  +-------------+-----+----+----------------+-------------+----+-----------------------+-----+----------+
//!  | 04 22 4D 18 | FLG | BD | content size   | dictionary  | HC | length u32, block,    | 0   | checksum |
//!  | u32         |     |    | u64, if in FLG | refused     |    | checksum if in FLG    | u32 | if in FLG|
//!  +-------------+-----+----+----------------+-------------+----+-----------------------+-----+----------+
//! ```
//!
//! Little-endian. Blocks may refer to those before them (block-dependent) or not; the highest bit of a length
//! marks a block that is not packed. The source is `lz4_Frame_format.md` of the lz4 project.

use std::{
    hash::Hasher,
    io::{self, ErrorKind, Read, Write},
};

use lz4_flex::{
    block::decompress_into_with_dict,
    frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo},
};
use twox_hash::XxHash32;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const WINDOW_LEN: usize = 64 * 1024;
const NOT_PACKED: u32 = 1 << 31;
/// No block unpacks to more than this many times its own length and a little: each byte of a long match's
/// length stands for 255 bytes.
const MOST_GAIN: usize = 255;

/// What a frame's descriptor says.
#[derive(Clone, Copy)]
struct Descriptor {
    linked: bool,
    block_checksums: bool,
    content_checksum: bool,
    content_len: Option<u64>,
    block_len: usize,
}

/// Unpacks one frame.
pub(super) struct Decoder<'a> {
    packed: &'a [u8],
    descriptor: Option<Descriptor>,
    ended: bool,
    /// What the blocks before this one ended with, where blocks refer to it.
    window: Vec<u8>,
    block: Vec<u8>,
    /// The unread part of the block.
    start: usize,
    end: usize,
    content_len: u64,
    content_hash: XxHash32,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(packed: &'a [u8]) -> Self {
        Self {
            packed,
            descriptor: None,
            ended: false,
            window: Vec::new(),
            block: Vec::new(),
            start: 0,
            end: 0,
            content_len: 0,
            content_hash: XxHash32::with_seed(0),
        }
    }

    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.packed.split_at_checked(count).ok_or(ErrorKind::UnexpectedEof)?;
        self.packed = rest;
        Ok(taken)
    }

    fn take_u32(&mut self) -> io::Result<u32> {
        let (taken, rest) = self.packed.split_first_chunk().ok_or(ErrorKind::UnexpectedEof)?;
        self.packed = rest;
        Ok(u32::from_le_bytes(*taken))
    }

    fn read_descriptor(&mut self) -> io::Result<Descriptor> {
        if self.take(MAGIC.len())? != MAGIC {
            return Err(ErrorKind::InvalidData.into());
        }
        let from = self.packed;
        let &[flags, sizes] = self.take(2)? else { return Err(ErrorKind::UnexpectedEof.into()) };
        // Version 01; no dictionary, which nobody could know; reserved bits unset.
        if flags & 0b1100_0011 != 0b0100_0000 || sizes & 0b1000_1111 != 0 {
            return Err(ErrorKind::InvalidData.into());
        }
        let content_len = if flags & 0b1000 == 0 { None } else { self.take(8)?.try_into().ok() };
        let described = from.len() - self.packed.len();
        let checksum = self.take(1)?;
        if checksum != [(hash(from.get(..described).unwrap_or_default()) >> 8) as u8] {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok(Descriptor {
            linked: flags & 0b10_0000 == 0,
            block_checksums: flags & 0b1_0000 != 0,
            content_checksum: flags & 0b100 != 0,
            content_len: content_len.map(u64::from_le_bytes),
            block_len: block_len(sizes >> 4)?,
        })
    }

    fn descriptor(&mut self) -> io::Result<Descriptor> {
        if let Some(descriptor) = self.descriptor {
            return Ok(descriptor);
        }
        let descriptor = self.read_descriptor()?;
        self.descriptor = Some(descriptor);
        Ok(descriptor)
    }

    fn next_block(&mut self) -> io::Result<()> {
        let descriptor = self.descriptor()?;
        let length = self.take_u32()?;
        if length == 0 {
            return self.finish(descriptor);
        }
        let packed = self.take((length & !NOT_PACKED) as usize)?;
        if descriptor.block_checksums && self.take_u32()? != hash(packed) {
            return Err(ErrorKind::InvalidData.into());
        }
        if length & NOT_PACKED == 0 {
            self.unpack(packed, descriptor)?;
        } else {
            self.copy(packed, descriptor)?;
        }
        self.account(descriptor);
        Ok(())
    }

    fn unpack(&mut self, packed: &[u8], descriptor: Descriptor) -> io::Result<()> {
        self.make_room(descriptor.block_len.min(packed.len().saturating_mul(MOST_GAIN)));
        let unpacked = decompress_into_with_dict(packed, &mut self.block, &self.window);
        self.end = unpacked.map_err(|_| ErrorKind::InvalidData)?;
        Ok(())
    }

    fn copy(&mut self, plain: &[u8], descriptor: Descriptor) -> io::Result<()> {
        if plain.len() > descriptor.block_len {
            return Err(ErrorKind::InvalidData.into());
        }
        self.make_room(plain.len());
        self.block.get_mut(..plain.len()).ok_or(ErrorKind::InvalidData)?.copy_from_slice(plain);
        self.end = plain.len();
        Ok(())
    }

    /// Memory that is fresh from the system costs nothing until it is written: it is not cleared by hand.
    fn make_room(&mut self, length: usize) {
        if self.block.len() < length {
            self.block = vec![0; length];
        }
        (self.start, self.end) = (0, 0);
    }

    fn account(&mut self, descriptor: Descriptor) {
        let unpacked = self.block.get(..self.end).unwrap_or_default();
        self.content_len += unpacked.len() as u64;
        if descriptor.content_checksum {
            self.content_hash.write(unpacked);
        }
        if descriptor.linked {
            keep_window(&mut self.window, unpacked);
        }
    }

    fn finish(&mut self, descriptor: Descriptor) -> io::Result<()> {
        let wrong_len = descriptor.content_len.is_some_and(|length| length != self.content_len);
        let wrong_sum = descriptor.content_checksum && self.take_u32()? != self.content_hash.finish() as u32;
        if wrong_len || wrong_sum || !self.packed.is_empty() {
            return Err(ErrorKind::InvalidData.into());
        }
        self.ended = true;
        Ok(())
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.start == self.end && !self.ended {
            self.next_block()?;
        }
        let read = self.block.get(self.start..self.end).unwrap_or_default().read(out)?;
        self.start += read;
        Ok(read)
    }
}

fn block_len(id: u8) -> io::Result<usize> {
    match id {
        4 => Ok(64 << 10),
        5 => Ok(256 << 10),
        6 => Ok(1 << 20),
        7 => Ok(4 << 20),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

fn keep_window(window: &mut Vec<u8>, unpacked: &[u8]) {
    let taken = unpacked.get(unpacked.len().saturating_sub(WINDOW_LEN)..).unwrap_or_default();
    let kept = WINDOW_LEN - taken.len();
    window.drain(..window.len().saturating_sub(kept));
    window.extend_from_slice(taken);
}

fn hash(bytes: &[u8]) -> u32 {
    XxHash32::oneshot(0, bytes)
}

/// Writes independent blocks of 64 KiB: Java's reader takes no others.
pub(super) fn pack(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(plain)?;
    encoder.finish()?;
    Ok(())
}
