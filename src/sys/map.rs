//! Memory maps for shared reading.

use std::{fs::File, io, os::fd::AsFd};

use super::pread;

/// How much is read at once before it is mapped.
const PROBE_BYTES: usize = 64 * 1024;

/// The beginning of a file in memory. See [`map_populated`] for what its owner promises.
#[derive(Debug)]
pub struct Map(Option<memmap2::Mmap>);

impl Map {
    /// The mapped bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Maps the first `len` bytes of a file that is complete: sealed, never to be written or cut again
/// while the map lives.
///
/// Every byte is read in the ordinary way first, so that a bad sector is an error here; touching a
/// page that cannot be read would end the process with a signal. A file shorter than `len` is
/// [`io::ErrorKind::UnexpectedEof`].
#[expect(unsafe_code, reason = "a memory map can only be made by promising that the file stays")]
pub fn map_populated(file: &File, len: u64) -> io::Result<Map> {
    let size = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
    read_through(file, len)?;
    if size == 0 {
        return Ok(Map(None));
    }
    // SAFETY: the bytes are there (they were just read) and the caller keeps the file as it is: sealed
    // index files are only ever replaced by rename or removed, both of which leave the mapped file
    // alone. The folder's lock (S7) keeps other processes of ours away.
    let map = unsafe { memmap2::MmapOptions::new().len(size).populate().map(file) }?;
    Ok(Map(Some(map)))
}

fn read_through(file: &File, len: u64) -> io::Result<()> {
    let mut scratch = vec![0_u8; PROBE_BYTES];
    let mut position = 0;
    while position < len {
        let wanted = usize::try_from(len - position).unwrap_or(PROBE_BYTES).min(PROBE_BYTES);
        let read = pread(file.as_fd(), scratch.get_mut(..wanted).unwrap_or_default(), position)?;
        if read < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        position += read as u64;
    }
    Ok(())
}
