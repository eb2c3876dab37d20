//! A file system in memory that fails as real ones do, by a script or by a seed.
//!
//! A [`SimulatedDisk`] keeps what was synced apart from what was only written: for each file its bytes
//! in the cache, on the disk, and the writes and changes of length between; for each folder its names
//! and the creations, renames and removals between. A process sees it through a [`FaultyFs`], which dies
//! with [`SimulatedDisk::kill`]: what it had written stays in the cache, its open files and locks are
//! gone. [`SimulatedDisk::power_cut`] does that and then keeps, loses or tears every pending change.
//!
//! What is promised and what is not:
//!
//! - Pending writes of a file survive in any combination, each whole, not at all, as a beginning cut at
//!   any byte, as any of its sectors, or as its length alone (zeros). Changes of length survive in order,
//!   and nothing of what followed a lost one.
//! - Of a folder's pending changes a beginning survives. A file that was synced but whose name was not
//!   is lost (S15).
//! - A failed sync leaves the cache clean whatever the disk holds (S13); a lying one leaves everything
//!   pending.
//! - Everything is decided by the seed and the order of calls: the same calls give the same disk, as
//!   long as they come from one thread.
//!
//! There are no links, permissions or times, and no file above 4 GiB.

mod disk;
mod faults;
mod handle;
mod inode;
mod tree;
mod world;

pub use disk::SimulatedDisk;
pub use faults::{AfterFailedSync, CachedReads, Counters, Fault, FaultRates};

#[cfg(test)]
mod tests;

use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use handle::{Handle, HeldLock};
use inode::Inode;
use rustix::io::Errno;
use tree::{Child, NodeId};
use world::World;

use super::{Entry, File, Fs, Lock, LockWait, Open};

/// A disk with a folder `/data` that survives everything.
#[cfg(test)]
pub(crate) fn data_disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    let fs = disk.mount();
    fs.create_dir_all(Path::new("/data")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    disk
}

/// The operation came from a process that is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the simulated process has died")]
pub struct ProcessDied;

#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    /// A lock was released or a process died.
    unlocked: Condvar,
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A simulated disk as one process sees it. See [`SimulatedDisk::mount`].
#[derive(Clone, Debug)]
pub struct FaultyFs {
    shared: Arc<Shared>,
    /// Of the machine when the process began; another one means that it is dead.
    generation: u64,
}

impl FaultyFs {
    /// The world, if this process lives.
    fn look(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.shared.world();
        world.check_alive(self.generation)?;
        Ok(world)
    }

    /// The world, to change it; the process may be planned to die right here.
    fn change(&self) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.look()?;
        self.survive_change(&mut world)?;
        Ok(world)
    }

    fn survive_change(&self, world: &mut World) -> io::Result<()> {
        if world.dies_now() {
            self.shared.unlocked.notify_all();
            return Err(died());
        }
        Ok(())
    }

    /// The file at `path`, made if it is missing.
    fn find_or_create(&self, world: &mut World, path: &Path) -> io::Result<NodeId> {
        match world.tree.place(path)?.child {
            Some(Child::File(id)) => Ok(id),
            Some(Child::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => {
                self.survive_change(world)?;
                world.create_file(path)
            }
        }
    }
}

fn died() -> io::Error {
    io::Error::other(ProcessDied)
}

impl Fs for FaultyFs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut world = self.look()?;
        let id = match (how, world.tree.find(path)?) {
            (Open::CreateNew, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (_, Some(Child::Dir(_))) => return Err(io::ErrorKind::IsADirectory.into()),
            (Open::Read | Open::ReadWrite | Open::Create, Some(Child::File(id))) => id,
            (Open::Read | Open::ReadWrite, None) => return Err(io::ErrorKind::NotFound.into()),
            (Open::Create | Open::CreateNew, None) => self.find_or_create(&mut world, path)?,
        };
        world.opened(id);
        let (path, writable) = (path.to_path_buf(), how != Open::Read);
        Ok(Arc::new(Handle { fs: self.clone(), id, path, writable }))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if let Ok(Some(Child::Dir(_))) = self.look()?.tree.find(path) {
            return Ok(());
        }
        self.change()?.tree.create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change()?.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change()?.remove_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let world = self.look()?;
        let dir = world.tree.dir(dir)?;
        let names = world.tree.live(dir).into_iter().flatten();
        let entry = |(name, child): (&String, &Child)| match child {
            Child::Dir(_) => Entry { name: name.clone(), is_dir: true, len: 0 },
            Child::File(id) => Entry { name: name.clone(), is_dir: false, len: world.len_of(*id) },
        };
        Ok(names.map(entry).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.look()?.tree.find(path) {
            Ok(found) => Ok(found.is_some()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change()?.sync_dir(dir)
    }

    fn lock(&self, path: &Path, wait: LockWait) -> io::Result<Box<dyn Lock>> {
        loop {
            let mut world = self.look()?;
            let id = self.find_or_create(&mut world, path)?;
            while world.is_locked(id) {
                if wait == LockWait::Fail {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                world = self.shared.unlocked.wait(world).unwrap_or_else(PoisonError::into_inner);
                world.check_alive(self.generation)?;
            }
            // It may have been removed while we waited: lock what has the name now.
            if world.tree.find(path)? == Some(Child::File(id)) {
                let token = world.take_lock(id);
                return Ok(Box::new(HeldLock { fs: self.clone(), id, token }));
            }
        }
    }

    fn read_from_disk(&self, path: &Path, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut world = self.look()?;
        match world.tree.find(path)? {
            Some(Child::File(id)) => world.read(id, path, position, buf, Inode::read_from_disk),
            Some(Child::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let world = self.look()?;
        world.tree.find(path)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(world.free_bytes())
    }
}

fn io_error() -> io::Error {
    Errno::IO.into()
}
