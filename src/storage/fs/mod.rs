//! The seam between the log and the file system.
//!
//! Everything that storage does to a disk goes through [`Fs`] and [`File`]: the real one is a thin
//! layer over system calls, the faulty twin keeps what was synced apart from what was only written,
//! so that tests can cut the power, tear writes, lose renames and fill the disk.

pub mod faulty;
pub mod real;
pub mod sparing;

#[cfg(test)]
mod agreement_tests;

use std::{
    fmt, io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// An existing file, to read only.
    Read,
    /// An existing file, to read and write.
    ReadWrite,
    /// A file to read and write, made if it is missing, kept if it is there.
    Create,
    /// A file that must not be there yet.
    CreateNew,
}

/// What to do when somebody else holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockWait {
    /// Block this thread until it is free.
    Block,
    /// Fail with [`io::ErrorKind::WouldBlock`].
    Fail,
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name within its folder; entries whose names are not UTF-8 are not listed.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Length in bytes; 0 for a folder.
    pub len: u64,
}

/// A file system. Blocking: call it from a thread that may block.
pub trait Fs: Send + Sync + fmt::Debug {
    /// Opens a file. Creating one does not sync its folder (S15): call [`Fs::sync_dir`].
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;
    /// Makes a folder and those above it; fine if it is there.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Renames within one file system, over an existing file if there is one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all that it holds.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The entries of a folder, ordered by name.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Whether something is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Makes the creations, renames and removals in a folder durable (S15).
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lock on a file, which is made if it is missing (S7).
    fn lock(&self, path: &Path, wait: LockWait) -> io::Result<Box<dyn Lock>>;
    /// Like [`File::read_at`], but from the disk itself, past the page cache where the system can: after
    /// a failed sync the cache may hold, marked clean, what the disk does not (S13).
    fn read_from_disk(&self, path: &Path, position: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Bytes that an ordinary user may still write.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// An open file. All positions are absolute; there is no cursor to share.
#[expect(clippy::len_without_is_empty, reason = "the length is asked of the system and may fail")]
pub trait File: Send + Sync + fmt::Debug {
    /// Writes all of `buf`. On an error any part of it may have been written: of a full disk
    /// ([`io::ErrorKind::StorageFull`]) typically what fitted.
    fn write_all_at(&self, buf: &[u8], position: u64) -> io::Result<()>;
    /// Writes both slices, one behind the other, with one system call where there is one. On an error any
    /// part of either may have been written.
    fn write_both_at(&self, slices: [&[u8]; 2], position: u64) -> io::Result<()> {
        let [first, second] = slices;
        self.write_all_at(first, position)?;
        self.write_all_at(second, position + first.len() as u64)
    }
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;
    /// Like [`File::read_at`], but only what needs no disk (`RWF_NOWAIT`): `None` when none of it is
    /// in the page cache or the system cannot tell; fewer bytes where only the beginning is.
    fn read_cached_at(&self, buf: &mut [u8], position: u64) -> io::Result<Option<usize>>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts the file, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Takes space on the disk for a range, so that what is written there later finds some; the length stays as it is. Where
    /// the file system knows no such thing it fails.
    fn allocate(&self, _position: u64, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Makes the data, and the length that it needs to be read, durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// Begins to write dirty pages of the range back without waiting; a hint (`sync_file_range`).
    fn start_writeback(&self, position: u64, len: u64) -> io::Result<()>;
    /// The descriptor to `sendfile` from, where there is one.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
    /// The first `len` bytes for shared reading: a populated memory map where the system has one, a
    /// copy elsewhere. The file must not shrink while it is held.
    fn map(&self, len: u64) -> io::Result<Box<dyn Mapped>>;
}

/// Bytes of a file that stay readable while this is held.
pub trait Mapped: Send + Sync + fmt::Debug {
    /// The bytes.
    fn bytes(&self) -> &[u8];
}

/// An exclusive lock, released when dropped or when the process ends.
pub trait Lock: Send + Sync + fmt::Debug {
    /// The descriptor that holds it, where there is one.
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
}

/// An empty file under this name. What a crash has left there, which nobody has believed yet, is removed.
pub(crate) fn create_anew(fs: &dyn Fs, path: &Path) -> io::Result<Arc<dyn File>> {
    if fs.exists(path)? {
        fs.remove_file(path)?;
    }
    fs.open(path, Open::CreateNew)
}

/// The folder that holds `path`, for [`Fs::sync_dir`].
pub fn folder_of(path: &Path) -> PathBuf {
    path.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
