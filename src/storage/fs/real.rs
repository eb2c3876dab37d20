//! The machine's own file system: a thin layer over `sys`.

use std::{
    fs::{self, OpenOptions},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    sync::Arc,
};

use super::{Entry, File, Fs, Lock, LockWait, Mapped, Open};
use crate::sys;

/// The machine's own file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl RealFs {
    /// Ready to be shared.
    pub fn shared() -> Arc<dyn Fs> {
        Arc::new(Self)
    }
}

impl Fs for RealFs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        // The standard library opens everything O_CLOEXEC.
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => &mut options,
            Open::ReadWrite => options.write(true),
            Open::Create => options.write(true).create(true).truncate(false),
            Open::CreateNew => options.write(true).create_new(true),
        };
        let file = options.open(path)?;
        // A folder opens for reading; say so here rather than at the first read.
        if how == Open::Read && file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Arc::new(RealFile(file)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for item in fs::read_dir(dir)? {
            let item = item?;
            let Ok(name) = item.file_name().into_string() else { continue };
            // Follows links, as opening does; what went away meanwhile, or leads nowhere, is not there.
            let Some(metadata) = found(fs::metadata(item.path()))? else { continue };
            let is_dir = metadata.is_dir();
            entries.push(Entry { name, is_dir, len: if is_dir { 0 } else { metadata.len() } });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sys::fsync_dir(dir)
    }

    fn lock(&self, path: &Path, wait: LockWait) -> io::Result<Box<dyn Lock>> {
        let wait = match wait {
            LockWait::Block => sys::FlockWait::Block,
            LockWait::Fail => sys::FlockWait::Fail,
        };
        loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            sys::flock(&file, wait)?;
            // While we waited, the file may have been removed with its folder: a lock on what has no
            // name any more locks nobody out.
            let held = file.metadata()?;
            let named = found(fs::metadata(path))?;
            if named.is_some_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
                return Ok(Box::new(RealLock(file)));
            }
        }
    }

    fn read_from_disk(&self, path: &Path, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        sys::read_direct(path, position, buf)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        sys::free_bytes(path)
    }
}

/// `None` for what is not there.
fn found<T>(answer: io::Result<T>) -> io::Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// An open file of the machine.
#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn write_all_at(&self, buf: &[u8], position: u64) -> io::Result<()> {
        sys::pwrite_all(self.0.as_fd(), buf, position)
    }

    fn write_both_at(&self, slices: [&[u8]; 2], position: u64) -> io::Result<()> {
        sys::pwrite_both(self.0.as_fd(), slices, position)
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        sys::pread(self.0.as_fd(), buf, position)
    }

    fn read_cached_at(&self, buf: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        sys::pread_cached(self.0.as_fd(), buf, position)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, position: u64, len: u64) -> io::Result<()> {
        sys::allocate(self.0.as_fd(), position, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        sys::fdatasync(self.0.as_fd())
    }

    fn start_writeback(&self, position: u64, len: u64) -> io::Result<()> {
        sys::start_writeback(self.0.as_fd(), position, len)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }

    fn map(&self, len: u64) -> io::Result<Box<dyn Mapped>> {
        Ok(Box::new(sys::map_populated(&self.0, len)?))
    }
}

impl Mapped for sys::Map {
    fn bytes(&self) -> &[u8] {
        sys::Map::bytes(self)
    }
}

/// The system frees the lock when the file is closed: when this is dropped, or the process dies.
#[derive(Debug)]
struct RealLock(fs::File);

impl Lock for RealLock {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}
