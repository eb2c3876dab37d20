//! The state of a simulated machine, behind one lock.

use std::{collections::BTreeMap, io, path::Path};

use fastrand::Rng;
use rustix::io::Errno;

use super::{
    died,
    faults::{Counters, Fault, Faults, Hit},
    inode::{Inode, Mood},
    io_error,
    tree::{Child, NodeId, Tree},
};

/// Above this a file is refused: it is all in memory.
const FILE_LEN_MAX: u64 = 4 << 30;
/// What is free on a disk without a limit.
const UNLIMITED: u64 = 1 << 50;

#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) tree: Tree,
    pub(super) files: BTreeMap<NodeId, Inode>,
    pub(super) faults: Faults,
    /// Raised when a process dies.
    pub(super) generation: u64,
    /// Who holds the lock of which file.
    locks: BTreeMap<NodeId, u64>,
    last_token: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            tree: Tree::new(),
            files: BTreeMap::new(),
            faults: Faults::default(),
            generation: 0,
            locks: BTreeMap::new(),
            last_token: 0,
        }
    }

    pub(super) fn check_alive(&self, generation: u64) -> io::Result<()> {
        if generation == self.generation { Ok(()) } else { Err(died()) }
    }

    /// Counts a change; true when the process was to die before it.
    pub(super) fn dies_now(&mut self) -> bool {
        match &mut self.faults.changes_left {
            Some(0) => {
                self.kill();
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    /// The process is gone: its open files, its locks. What it wrote stays in the cache.
    pub(super) fn kill(&mut self) {
        self.generation += 1;
        self.faults.changes_left = None;
        self.locks.clear();
        self.files.values_mut().for_each(|file| file.open = 0);
        self.forget_unreachable();
    }

    pub(super) fn power_cut(&mut self) {
        let mood = Mood::any(&mut self.rng);
        self.tree.power_cut(mood, &mut self.rng);
        for file in self.files.values_mut() {
            file.power_cut(mood, &mut self.rng);
        }
        self.kill();
        // Nothing is pending any more, so what can be reached is what has a name.
        self.files.values_mut().for_each(|file| file.is_linked = true);
    }

    fn forget_unreachable(&mut self) {
        let reachable = self.tree.reachable_files();
        self.files.retain(|id, file| file.open > 0 || reachable.contains(id));
    }

    pub(super) fn opened(&mut self, id: NodeId) {
        if let Some(file) = self.files.get_mut(&id) {
            file.open += 1;
        }
    }

    pub(super) fn closed(&mut self, id: NodeId, generation: u64) {
        if generation == self.generation
            && let Some(file) = self.files.get_mut(&id)
        {
            file.open = file.open.saturating_sub(1);
        }
    }

    pub(super) fn is_locked(&self, id: NodeId) -> bool {
        self.locks.contains_key(&id)
    }

    pub(super) fn take_lock(&mut self, id: NodeId) -> u64 {
        self.last_token += 1;
        self.locks.insert(id, self.last_token);
        self.last_token
    }

    pub(super) fn release_lock(&mut self, id: NodeId, token: u64) {
        if self.locks.get(&id) == Some(&token) {
            self.locks.remove(&id);
        }
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<NodeId> {
        let place = self.tree.place(path)?;
        let id = self.tree.create_file(&place);
        self.files.insert(id, Inode::new_linked());
        Ok(id)
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let place = self.tree.place(path)?;
        match place.child {
            Some(Child::File(id)) => self.unlinked(id),
            Some(Child::Dir(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        self.tree.unlink(place.dir, &place.name);
        Ok(())
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let place = self.tree.place(path)?;
        match place.child {
            Some(Child::Dir(id)) => self.tree.clear_dir(id).into_iter().for_each(|id| self.unlinked(id)),
            Some(Child::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        self.tree.unlink(place.dir, &place.name);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.tree.place(from)?, self.tree.place(to)?);
        let moved = from.child.ok_or(io::ErrorKind::NotFound)?;
        if to.child == from.child {
            return Ok(());
        }
        match (moved, to.child) {
            (Child::Dir(dir), _) if self.tree.is_above(dir, to.dir) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            (_, Some(Child::Dir(old))) if self.tree.is_above(old, from.dir) => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            (Child::File(_), Some(Child::Dir(_))) => return Err(io::ErrorKind::IsADirectory.into()),
            (Child::Dir(_), Some(Child::File(_))) => return Err(io::ErrorKind::NotADirectory.into()),
            (Child::Dir(_), Some(Child::Dir(old))) => {
                if self.tree.live(old).is_some_and(|names| !names.is_empty()) {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
            }
            (Child::File(_), Some(Child::File(old))) => self.unlinked(old),
            (Child::File(_) | Child::Dir(_), None) => {}
        }
        self.tree.rename(&from, &to, moved);
        Ok(())
    }

    fn unlinked(&mut self, id: NodeId) {
        if let Some(file) = self.files.get_mut(&id) {
            file.is_linked = false;
        }
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.tree.dir(path)?;
        self.faults.count(path, Counters { syncs: 1, ..Counters::default() });
        if self.faults.strike(path, Hit::SyncDir, &mut self.rng).is_some() {
            return Err(io_error());
        }
        self.tree.sync(dir);
        self.forget_unreachable();
        Ok(())
    }

    pub(super) fn len_of(&self, id: NodeId) -> u64 {
        self.files.get(&id).map_or(0, |file| file.len() as u64)
    }

    pub(super) fn file(&mut self, id: NodeId) -> io::Result<&mut Inode> {
        self.files.get_mut(&id).ok_or_else(died)
    }

    pub(super) fn free_bytes(&self) -> u64 {
        let Some(capacity) = self.faults.capacity else { return UNLIMITED };
        let taken = self.files.values().filter(|file| file.is_linked || file.open > 0);
        capacity.saturating_sub(taken.map(|file| file.taken() as u64).sum())
    }

    pub(super) fn read(
        &mut self,
        id: NodeId,
        path: &Path,
        position: u64,
        buf: &mut [u8],
        how: impl Fn(&Inode, usize, &mut [u8]) -> usize,
    ) -> io::Result<usize> {
        let range = position..position.saturating_add(buf.len() as u64);
        let fails = self.faults.read_fails(path, &range, &mut self.rng);
        let at = usize::try_from(position).unwrap_or(usize::MAX);
        let read = if fails { 0 } else { how(self.file(id)?, at, buf) };
        self.faults.count(path, Counters { reads: 1, bytes_read: read as u64, ..Counters::default() });
        if fails { Err(io_error()) } else { Ok(read) }
    }

    pub(super) fn write(&mut self, id: NodeId, path: &Path, position: u64, buf: &[u8]) -> io::Result<()> {
        let end = position.checked_add(buf.len() as u64).filter(|end| *end <= FILE_LEN_MAX);
        let end = end.ok_or(io::ErrorKind::FileTooLarge)?;
        let growth = end.saturating_sub(self.file(id)?.taken() as u64);
        let missing = growth.saturating_sub(self.free_bytes()) as usize;
        let mut outcome = Ok(());
        let mut taken = buf.len();
        if missing > 0 {
            outcome = Err(Errno::NOSPC.into());
            taken = taken.saturating_sub(missing);
        }
        let hit = Hit::Write { len: buf.len() };
        if let Some(Fault::WriteFails { after_bytes }) = self.faults.strike(path, hit, &mut self.rng) {
            outcome = Err(io_error());
            taken = taken.min(after_bytes);
        }
        self.file(id)?.write(position as usize, buf.get(..taken).unwrap_or_default());
        self.faults.count(path, Counters { writes: 1, bytes_written: taken as u64, ..Counters::default() });
        outcome
    }

    pub(super) fn set_len(&mut self, id: NodeId, len: u64) -> io::Result<()> {
        if len > FILE_LEN_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.file(id)?.set_len(len as usize);
        Ok(())
    }

    /// Takes space for a range; all of it or none.
    pub(super) fn allocate(&mut self, id: NodeId, position: u64, len: u64) -> io::Result<()> {
        let end = position.checked_add(len).filter(|end| *end <= FILE_LEN_MAX);
        let end = end.ok_or(io::ErrorKind::FileTooLarge)?;
        let growth = end.saturating_sub(self.file(id)?.taken() as u64);
        if growth > self.free_bytes() {
            return Err(Errno::NOSPC.into());
        }
        self.file(id)?.allocate(end as usize);
        Ok(())
    }

    pub(super) fn sync(&mut self, id: NodeId, path: &Path) -> io::Result<()> {
        self.faults.count(path, Counters { syncs: 1, ..Counters::default() });
        let fault = self.faults.strike(path, Hit::Sync, &mut self.rng);
        let file = self.files.get_mut(&id).ok_or_else(died)?;
        match fault {
            Some(Fault::SyncFails(after)) => {
                file.fail_sync(after, &mut self.rng);
                Err(io_error())
            }
            Some(Fault::SyncLies) => Ok(()),
            Some(Fault::SyncDirFails | Fault::WriteFails { .. }) | None => {
                file.sync();
                Ok(())
            }
        }
    }
}
