//! Positional reading and writing, syncing, locking.

use std::{
    fs::OpenOptions,
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::{
    fs::{FallocateFlags, FlockOperation},
    io::{Errno, ReadWriteFlags},
};

use super::uninterrupted;

/// What [`flock`] does when another open file holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlockWait {
    /// Blocks this thread.
    Block,
    /// Fails with [`io::ErrorKind::WouldBlock`].
    Fail,
}

/// Writes all of `buf` at `position`. After an error any part of it may have been written: a full
/// disk typically takes a part and refuses the rest.
pub fn pwrite_all(fd: BorrowedFd<'_>, mut buf: &[u8], mut position: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match uninterrupted(|| rustix::io::pwrite(fd, buf, position))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                buf = buf.get(written..).unwrap_or_default();
                position += written as u64;
            }
        }
    }
    Ok(())
}

/// Writes all of both slices, one behind the other, with one call where the system takes them at once.
/// After an error any part of either may have been written.
pub fn pwrite_both(fd: BorrowedFd<'_>, slices: [&[u8]; 2], position: u64) -> io::Result<()> {
    let [first, second] = slices;
    let both = [IoSlice::new(first), IoSlice::new(second)];
    let written = uninterrupted(|| rustix::io::pwritev(fd, &both, position))?;
    let in_second = written.saturating_sub(first.len());
    if written < first.len() {
        pwrite_all(fd, first.get(written..).unwrap_or_default(), position + written as u64)?;
    }
    let from = position + (first.len() + in_second) as u64;
    pwrite_all(fd, second.get(in_second..).unwrap_or_default(), from)
}

/// Reads until `buf` is full or the file ends.
pub fn pread(fd: BorrowedFd<'_>, buf: &mut [u8], position: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match uninterrupted(|| rustix::io::pread(fd, &mut *rest, position + done as u64))? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

/// Reads what the page cache holds from `position` on, without ever waiting for a disk: `None` when it
/// does not even hold the first byte, or where the file system cannot tell. `Some(0)` is the end of
/// the file.
pub fn pread_cached(fd: BorrowedFd<'_>, buf: &mut [u8], position: u64) -> io::Result<Option<usize>> {
    let mut done = 0;
    while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let mut slices = [IoSliceMut::new(rest)];
        let at = position + done as u64;
        let read = uninterrupted(|| rustix::io::preadv2(fd, &mut slices, at, ReadWriteFlags::NOWAIT));
        match read {
            Ok(0) => break,
            Ok(read) => done += read,
            // What follows is on the disk only; an error there is for the blocking read to report.
            Err(_) if done > 0 => break,
            Err(error) if cannot_tell(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(done))
}

/// Whether an error of `RWF_NOWAIT` means "only by waiting" or "not on this system".
fn cannot_tell(error: &io::Error) -> bool {
    const ANSWERS: [Errno; 4] = [Errno::AGAIN, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL];
    ANSWERS.iter().any(|answer| error.raw_os_error() == Some(answer.raw_os_error()))
}

/// Makes a file's data durable, with the length that is needed to read it.
pub fn fdatasync(fd: BorrowedFd<'_>) -> io::Result<()> {
    uninterrupted(|| rustix::fs::fdatasync(fd))
}

/// Makes the creations, renames and removals in a folder durable.
pub fn fsync_dir(dir: &Path) -> io::Result<()> {
    let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
    let folder = OpenOptions::new().read(true).custom_flags(flags).open(dir)?;
    uninterrupted(|| rustix::fs::fsync(&folder))
}

/// Begins to write the range's dirty pages back, without waiting for them. A hint: where the file
/// system knows no such thing, nothing happens.
#[expect(unsafe_code, reason = "no safe wrapper of this call exists")]
pub fn start_writeback(fd: BorrowedFd<'_>, position: u64, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(()); // The call would take 0 as "to the end of the file".
    }
    let offset = i64::try_from(position).map_err(|_| io::ErrorKind::InvalidInput)?;
    let bytes = i64::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open for as long as it is borrowed, and the call takes no pointer.
    let answer = unsafe { libc::sync_file_range(fd.as_raw_fd(), offset, bytes, libc::SYNC_FILE_RANGE_WRITE) };
    if answer == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::ESPIPE | libc::EINVAL | libc::EINTR) => Ok(()),
        _ => Err(error),
    }
}

/// Takes space on the disk for a range of the file; its length stays as it is.
pub fn allocate(fd: BorrowedFd<'_>, position: u64, len: u64) -> io::Result<()> {
    uninterrupted(|| rustix::fs::fallocate(fd, FallocateFlags::KEEP_SIZE, position, len))
}

/// Takes the exclusive lock of an open file. It belongs to the open file, not to the process: a second
/// opening within the same process is locked out too, and the system frees it when the process dies.
pub fn flock(file: impl AsFd, wait: FlockWait) -> io::Result<()> {
    let operation = match wait {
        FlockWait::Block => FlockOperation::LockExclusive,
        FlockWait::Fail => FlockOperation::NonBlockingLockExclusive,
    };
    uninterrupted(|| rustix::fs::flock(file.as_fd(), operation))
}

/// Bytes that an ordinary user may still write to the file system that holds `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let answer = uninterrupted(|| rustix::fs::statvfs(path))?;
    Ok(answer.f_bavail.saturating_mul(answer.f_frsize))
}

/// All bytes of the file system that holds `path`, used or not.
pub fn total_bytes(path: &Path) -> io::Result<u64> {
    let answer = uninterrupted(|| rustix::fs::statvfs(path))?;
    Ok(answer.f_blocks.saturating_mul(answer.f_frsize))
}
