//! Reading the disk itself, past the page cache.

use std::{fs::File, fs::OpenOptions, io, os::fd::AsFd, os::unix::fs::OpenOptionsExt, path::Path};

use super::{pread, uninterrupted};

/// What a direct read's memory, position and length are multiples of. Disks ask for 512 or 4,096.
const ALIGNMENT: usize = 4096;
/// The most that is read in one call.
const CHUNK: usize = 1 << 20;

/// Reads until `buf` is full or the file ends, from the disk and not from the page cache, which after
/// a failed `fsync` may hold what the disk does not, marked clean (S13).
///
/// Where the file system refuses `O_DIRECT` (it may have no disk at all, as tmpfs), the page cache is
/// asked to forget the range first, and it is read in the usual way.
pub fn read_direct(path: &Path, position: u64, buf: &mut [u8]) -> io::Result<usize> {
    match open_direct(path) {
        Ok(file) => match read_aligned(&file, position, buf) {
            Err(error) if is_refusal(&error) => read_dropped(path, position, buf),
            answer => answer,
        },
        Err(error) if is_refusal(&error) => read_dropped(path, position, buf),
        Err(error) => Err(error),
    }
}

fn open_direct(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECT | libc::O_CLOEXEC).open(path)
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOTTY))
}

fn read_aligned(file: &File, position: u64, buf: &mut [u8]) -> io::Result<usize> {
    let room = buf.len().saturating_add(2 * ALIGNMENT).min(CHUNK) / ALIGNMENT * ALIGNMENT;
    let mut memory = vec![0_u8; room + ALIGNMENT];
    let shift = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let chunk = memory.get_mut(shift..shift + room).unwrap_or_default();
    let mut done = 0;
    while done < buf.len() {
        let at = position + done as u64;
        let lead = (at % ALIGNMENT as u64) as usize;
        let read = uninterrupted(|| rustix::io::pread(file.as_fd(), &mut *chunk, at - lead as u64))?;
        let fresh = chunk.get(lead..read).unwrap_or_default();
        let taken = fresh.len().min(buf.len() - done);
        if taken == 0 {
            break;
        }
        if let (Some(to), Some(from)) = (buf.get_mut(done..done + taken), fresh.get(..taken)) {
            to.copy_from_slice(from);
        }
        done += taken;
        if read % ALIGNMENT != 0 {
            break; // Only the end of the file is not aligned.
        }
    }
    Ok(done)
}

fn read_dropped(path: &Path, position: u64, buf: &mut [u8]) -> io::Result<usize> {
    let file = File::open(path)?;
    // Advice: a file system that cannot follow it has nothing else to read from either.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    pread(file.as_fd(), buf, position)
}
