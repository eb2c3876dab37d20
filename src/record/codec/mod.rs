//! The four codecs: packing for the producer, unpacking as a stream for whoever checks or reads.
//!
//! Decoders are fed from memory and asked for bytes until a bound. What they allocate is bounded by what the
//! formats call a window or a block, or by the bytes that are there, never by a total that the bytes claim.

mod lz4;
mod snappy;

use std::io::{ErrorKind, Read, Write};

use bytes::Bytes;
use flate2::{bufread::MultiGzDecoder, write::GzEncoder};

use super::{
    BatchError, Compression,
    source::StreamSource,
    walk::{Deltas, Expected, walk},
};

/// Walks packed records through their decoder.
pub(super) fn walk_packed(packed: &[u8], expected: Expected, absent: i64) -> Result<Deltas, BatchError> {
    let decoder = decoder(expected.compression, packed, expected.max_unpacked)?;
    walk(StreamSource::new(decoder, expected.max_unpacked), expected, absent)
}

/// Unpacks all, or fails where that would be more than `max` bytes.
pub(super) fn unpack(compression: Compression, packed: &[u8], max: usize) -> Result<Bytes, BatchError> {
    let mut unpacked = Vec::new();
    let read = decoder(compression, packed, max)?.take(max as u64 + 1).read_to_end(&mut unpacked);
    read.map_err(|error| {
        let over = error.kind() == ErrorKind::FileTooLarge;
        if over { BatchError::UnpackedTooLarge { max } } else { BatchError::Unpack(compression) }
    })?;
    if unpacked.len() > max {
        return Err(BatchError::UnpackedTooLarge { max });
    }
    Ok(unpacked.into())
}

/// The decoder of one codec over what is in memory.
enum Decoder<'a> {
    Plain(&'a [u8]),
    Gzip(MultiGzDecoder<&'a [u8]>),
    Snappy(snappy::Decoder<'a>),
    Lz4(lz4::Decoder<'a>),
    Zstd(zstd::stream::read::Decoder<'static, &'a [u8]>),
}

fn decoder(compression: Compression, packed: &[u8], max: usize) -> Result<Decoder<'_>, BatchError> {
    Ok(match compression {
        Compression::None => Decoder::Plain(packed),
        Compression::Gzip => Decoder::Gzip(MultiGzDecoder::new(packed)),
        Compression::Snappy => Decoder::Snappy(snappy::Decoder::new(packed, max)),
        Compression::Lz4 => Decoder::Lz4(lz4::Decoder::new(packed)),
        // The library grants a frame's header no window above 128 MiB, what the highest level asks for, and
        // touches no more of it than is unpacked.
        Compression::Zstd => Decoder::Zstd(
            zstd::stream::read::Decoder::with_buffer(packed).map_err(|_| BatchError::Unpack(compression))?,
        ),
    })
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(from) => from.read(out),
            Self::Gzip(from) => from.read(out),
            Self::Snappy(from) => from.read(out),
            Self::Lz4(from) => from.read(out),
            Self::Zstd(from) => from.read(out),
        }
    }
}

/// Packs `plain` and appends it to `out`. `level` is the codec's own, none for its default; snappy and lz4
/// have none.
pub(super) fn pack(
    compression: Compression,
    level: Option<i32>,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), BatchError> {
    let packed = match compression {
        Compression::None => out.write_all(plain),
        Compression::Gzip => pack_gzip(level, plain, out),
        Compression::Snappy => snappy::pack(plain, out),
        Compression::Lz4 => lz4::pack(plain, out),
        Compression::Zstd => pack_zstd(level, plain, out),
    };
    packed.map_err(|_| BatchError::Pack(compression))
}

fn pack_gzip(level: Option<i32>, plain: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let level = level.map_or_else(flate2::Compression::default, |level| {
        flate2::Compression::new(level.clamp(0, 9) as u32)
    });
    let mut encoder = GzEncoder::new(out, level);
    encoder.write_all(plain)?;
    encoder.finish().map(|_| ())
}

/// The size is written in the frame's header, so that readers take a window no larger than that.
fn pack_zstd(level: Option<i32>, plain: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    out.extend_from_slice(&zstd::bulk::compress(plain, level)?);
    Ok(())
}
