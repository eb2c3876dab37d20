//! Checksums of a sealed segment, 64 KiB by 64 KiB.
//!
//! A record batch's own CRC-32C leaves its first 21 bytes out (base offset, length, leader epoch,
//! magic), since the broker fills them in. Once a segment is sealed nothing in it changes any more, so a
//! file of checksums beside it tells rot there from anything else, and finds it in a scrub without
//! parsing a batch.
//!
//! The file's body, inside the envelope of [`own_file`], magic `PLbc`, version 1:
//!
//! ```text
//! offset size
//!      0    4  block size in bytes, 65536
//!      4    8  length of the segment's file in bytes
//!     12    4  number of blocks: the length divided by the block size, rounded up
//!     16    4  each: crc32 (IEEE, `crc32fast`) of the block's bytes; the last block may be short
//! ```

use std::{io, mem, ops::Range, path::Path};

use super::{
    fs::{File, Fs},
    own_file::{self, Fields, FormatError, Kind, OwnFileError},
};

const KIND: Kind = Kind { magic: *b"PLbc", version: 1, max_body: 64 << 20 };

/// Bytes that one checksum covers.
pub const BLOCK_LEN: usize = 64 * 1024;

/// The checksums of one file that does not change any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockChecksums {
    file_len: u64,
    blocks: Vec<u32>,
}

impl BlockChecksums {
    /// Reads the first `len` bytes of a file and computes their checksums. A file that ends before is
    /// [`io::ErrorKind::UnexpectedEof`].
    pub fn build(file: &dyn File, len: u64) -> io::Result<Self> {
        let mut buf = vec![0; BLOCK_LEN];
        let mut blocks = Vec::new();
        for range in blocks_over(0..len, len) {
            let block = buf.get_mut(..(range.end - range.start) as usize).unwrap_or_default();
            if file.read_at(block, range.start)? < block.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            blocks.push(crc32fast::hash(block));
        }
        Ok(Self { file_len: len, blocks })
    }

    /// Length in bytes of the file that the checksums are of.
    pub const fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The blocks that touch `range` and are no longer what they were, as byte ranges of the file in
    /// ascending order, neighbours joined. Bytes that the file has lost count as changed; `range` beyond
    /// the checksummed length is not looked at. Reads no other block than those that touch the range.
    pub fn mismatches(&self, file: &dyn File, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        let mut buf = vec![0; BLOCK_LEN];
        let mut bad: Vec<Range<u64>> = Vec::new();
        for block in blocks_over(range, self.file_len) {
            let bytes = buf.get_mut(..(block.end - block.start) as usize).unwrap_or_default();
            let read = file.read_at(bytes, block.start)?;
            if read == bytes.len() && self.is_right(block.start, bytes) {
                continue;
            }
            match bad.last_mut() {
                Some(last) if last.end == block.start => last.end = block.end,
                Some(_) | None => bad.push(block),
            }
        }
        Ok(bad)
    }

    /// Whether the block that begins at byte `start` of the file still has these bytes. For callers that
    /// have read it themselves; false where no block of that length begins.
    pub fn is_right(&self, start: u64, block: &[u8]) -> bool {
        let expected_len = self.file_len.saturating_sub(start).min(BLOCK_LEN as u64);
        let index = usize::try_from(start / BLOCK_LEN as u64).ok();
        start.is_multiple_of(BLOCK_LEN as u64)
            && block.len() as u64 == expected_len
            && index.and_then(|at| self.blocks.get(at)).is_some_and(|crc| *crc == crc32fast::hash(block))
    }

    /// Reads the checksums; `None` when there is no such file.
    pub fn load(fs: &dyn Fs, path: &Path) -> Result<Option<Self>, OwnFileError> {
        let Some(body) = own_file::load(fs, path, KIND)? else { return Ok(None) };
        Ok(Some(Self::decode(&body)?))
    }

    /// Writes the checksums durably.
    pub fn store(&self, fs: &dyn Fs, path: &Path) -> io::Result<()> {
        own_file::replace(fs, path, KIND, &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(16 + self.blocks.len() * 4);
        body.extend_from_slice(&(BLOCK_LEN as u32).to_be_bytes());
        body.extend_from_slice(&self.file_len.to_be_bytes());
        body.extend_from_slice(&(self.blocks.len() as u32).to_be_bytes());
        for block in &self.blocks {
            body.extend_from_slice(&block.to_be_bytes());
        }
        body
    }

    fn decode(body: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::new(body);
        if fields.u32()? as usize != BLOCK_LEN {
            return Err(FormatError::Field("block size"));
        }
        let file_len = fields.u64()?;
        let count = fields.count(4)?;
        if count as u64 != file_len.div_ceil(BLOCK_LEN as u64) {
            return Err(FormatError::Field("number of blocks"));
        }
        let blocks = (0..count).map(|_| fields.u32()).collect::<Result<_, _>>()?;
        fields.end()?;
        Ok(Self { file_len, blocks })
    }
}

/// The checksums of a file that is being appended to, computed while its bytes pass by: what stands in them
/// is what was meant to be written, and nobody has to read it again.
#[derive(Clone, Debug, Default)]
pub struct RunningChecksums {
    len: u64,
    blocks: Vec<u32>,
    open: crc32fast::Hasher,
}

impl RunningChecksums {
    /// Takes note of bytes that were appended to the file, from its beginning on and all of them.
    pub fn append(&mut self, bytes: &[u8]) {
        let mut left = bytes;
        while !left.is_empty() {
            let room = BLOCK_LEN - (self.len % BLOCK_LEN as u64) as usize;
            let (now, later) = left.split_at(room.min(left.len()));
            self.open.update(now);
            self.len += now.len() as u64;
            if now.len() == room {
                self.blocks.push(mem::take(&mut self.open).finalize());
            }
            left = later;
        }
    }

    /// Nothing more is appended.
    pub fn finish(mut self) -> BlockChecksums {
        if !self.len.is_multiple_of(BLOCK_LEN as u64) {
            self.blocks.push(self.open.finalize());
        }
        BlockChecksums { file_len: self.len, blocks: self.blocks }
    }
}

/// The blocks that touch `range` of a file of `len` bytes.
fn blocks_over(range: Range<u64>, len: u64) -> impl Iterator<Item = Range<u64>> {
    let size = BLOCK_LEN as u64;
    let from = range.start / size;
    let to = if range.is_empty() { from } else { range.end.min(len).div_ceil(size) };
    (from..to).map(move |block| block * size..len.min((block + 1) * size))
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of one range are meant")]
mod tests {
    use super::{BLOCK_LEN, BlockChecksums, RunningChecksums};
    use crate::storage::fs::{File, Fs, Open, real::RealFs};
    use std::{io, sync::Arc};

    const LEN: u64 = 3 * BLOCK_LEN as u64 + 1000;

    fn sealed(dir: &tempfile::TempDir) -> Arc<dyn File> {
        let file = RealFs.open(&dir.path().join("segment"), Open::CreateNew).unwrap();
        let bytes: Vec<u8> = (0..LEN).map(|i| (i % 249) as u8).collect();
        file.write_all_at(&bytes, 0).unwrap();
        file
    }

    fn flip(file: &dyn File, position: u64) {
        let mut byte = [0];
        file.read_at(&mut byte, position).unwrap();
        file.write_all_at(&[byte[0] ^ 1], position).unwrap();
    }

    #[test]
    fn exactly_the_blocks_that_changed_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = sealed(&dir);
        let sums = BlockChecksums::build(&*file, LEN).unwrap();
        let block = BLOCK_LEN as u64;
        assert!(sums.mismatches(&*file, 0..LEN).unwrap().is_empty());
        flip(&*file, block);
        flip(&*file, LEN - 1);
        assert_eq!(sums.mismatches(&*file, 0..LEN).unwrap(), [block..2 * block, 3 * block..LEN]);
        flip(&*file, 2 * block + 5);
        assert_eq!(sums.mismatches(&*file, 0..u64::MAX).unwrap(), [block..LEN], "neighbours are joined");
        assert_eq!(sums.mismatches(&*file, 0..block).unwrap(), [], "only what touches the range");
        assert_eq!(sums.mismatches(&*file, block..block).unwrap(), []);
        assert_eq!(sums.mismatches(&*file, block - 1..block + 1).unwrap(), [block..2 * block]);
    }

    #[test]
    fn checksums_that_were_computed_as_bytes_passed_by_are_those_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = sealed(&dir);
        let mut bytes = vec![0; LEN as usize];
        file.read_at(&mut bytes, 0).unwrap();
        for len in [0, 1, BLOCK_LEN - 1, BLOCK_LEN, BLOCK_LEN + 1, LEN as usize] {
            for step in [61, 4096, BLOCK_LEN, LEN as usize] {
                let mut running = RunningChecksums::default();
                bytes[..len].chunks(step).for_each(|chunk| running.append(chunk));
                let built = BlockChecksums::build(&*file, len as u64).unwrap();
                assert_eq!(running.finish(), built, "{len} bytes, {step} at a time");
            }
        }
    }

    #[test]
    fn a_file_that_got_shorter_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let file = sealed(&dir);
        let sums = BlockChecksums::build(&*file, LEN).unwrap();
        file.set_len(LEN - 1).unwrap();
        assert_eq!(sums.mismatches(&*file, 0..LEN).unwrap(), [3 * BLOCK_LEN as u64..LEN]);
        let refused = BlockChecksums::build(&*file, LEN).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_stored_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let (file, path) = (sealed(&dir), dir.path().join("sums"));
        for len in [0, 1, BLOCK_LEN as u64, LEN] {
            let sums = BlockChecksums::build(&*file, len).unwrap();
            sums.store(&RealFs, &path).unwrap();
            assert_eq!(BlockChecksums::load(&RealFs, &path).unwrap(), Some(sums));
        }
    }
}
