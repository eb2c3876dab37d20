//! An open file and a held lock of a simulated process.

use std::{io, os::fd::BorrowedFd, path::PathBuf};

use rustix::io::Errno;

use super::{FaultyFs, faults::CachedReads, inode::Inode, tree::NodeId};
use crate::storage::fs::{File, Lock, Mapped};

/// An open file.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) fs: FaultyFs,
    pub(super) id: NodeId,
    /// Where it was opened: what faults and counters go by, also after it was renamed.
    pub(super) path: PathBuf,
    pub(super) writable: bool,
}

impl Handle {
    /// The system has another answer for each call.
    fn check_writable(&self, refusal: Errno) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(refusal.into()) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.fs.shared.world().closed(self.id, self.fs.generation);
    }
}

impl File for Handle {
    fn write_all_at(&self, buf: &[u8], position: u64) -> io::Result<()> {
        self.check_writable(Errno::BADF)?;
        let mut world = self.fs.look()?;
        if world.faults.changes_left == Some(0) {
            // Dies in the middle of it.
            let taken = world.rng.usize(0..=buf.len());
            let _ = world.write(self.id, &self.path, position, buf.get(..taken).unwrap_or_default());
        }
        self.fs.survive_change(&mut world)?;
        world.write(self.id, &self.path, position, buf)
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        self.fs.look()?.read(self.id, &self.path, position, buf, Inode::read)
    }

    fn read_cached_at(&self, buf: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        let mut world = self.fs.look()?;
        let cached = match world.faults.cached_reads {
            CachedReads::All => buf.len(),
            CachedReads::Nothing => 0,
            CachedReads::Any => match world.rng.u8(0..3) {
                0 => 0,
                1 => buf.len(),
                _ => world.rng.usize(0..=buf.len()),
            },
        };
        if cached == 0 && !buf.is_empty() && position < world.len_of(self.id) {
            return Ok(None);
        }
        let buf = buf.get_mut(..cached).unwrap_or_default();
        world.read(self.id, &self.path, position, buf, Inode::read).map(Some)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.fs.look()?.len_of(self.id))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable(Errno::INVAL)?;
        self.fs.change()?.set_len(self.id, len)
    }

    fn allocate(&self, position: u64, len: u64) -> io::Result<()> {
        self.check_writable(Errno::BADF)?;
        if !self.fs.look()?.faults.allocates {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.fs.change()?.allocate(self.id, position, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fs.change()?.sync(self.id, &self.path)
    }

    fn start_writeback(&self, _position: u64, _len: u64) -> io::Result<()> {
        self.fs.look().map(drop)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn map(&self, len: u64) -> io::Result<Box<dyn Mapped>> {
        if len > self.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; len as usize];
        self.read_at(&mut bytes, 0)?;
        Ok(Box::new(Copied(bytes)))
    }
}

/// A copy in place of a memory map.
#[derive(Debug)]
struct Copied(Vec<u8>);

impl Mapped for Copied {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A lock, until it is dropped or its process dies.
#[derive(Debug)]
pub(super) struct HeldLock {
    pub(super) fs: FaultyFs,
    pub(super) id: NodeId,
    pub(super) token: u64,
}

impl Lock for HeldLock {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.fs.shared.world().release_lock(self.id, self.token);
        self.fs.shared.unlocked.notify_all();
    }
}
