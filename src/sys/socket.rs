//! From a file to a socket without a copy.

use std::{io, os::fd::BorrowedFd};

use super::uninterrupted;

/// Sends up to `len` bytes of `file` from `position` to `socket`, page cache to socket buffer, and says
/// how many went; 0 means that the file ends there.
///
/// On a socket in non-blocking mode a full buffer is [`io::ErrorKind::WouldBlock`]: wait until it is
/// writable and call again. Cold pages of the file do block this thread.
pub fn sendfile(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    position: u64,
    len: usize,
) -> io::Result<usize> {
    let mut from = position;
    uninterrupted(|| rustix::fs::sendfile(socket, file, Some(&mut from), len))
}
