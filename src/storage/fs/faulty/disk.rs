//! The hands that hold a simulated machine: its switch, its faults, and a look at its platters.

use std::{
    ops::Range,
    path::Path,
    sync::{Arc, Condvar, Mutex},
};

use super::{
    FaultyFs, Shared,
    faults::{CachedReads, Counters, Fault, FaultRates},
    inode::Inode,
    tree::Child,
    world::World,
};

/// A machine's disk with its page cache. Clones share it.
///
/// Where a method takes a path to match, it is the whole path or its end by components: a file's name
/// alone matches that name in every folder, an empty path matches everything.
#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    shared: Arc<Shared>,
}

impl SimulatedDisk {
    /// An empty disk. All that is left to chance comes from the seed.
    pub fn new(seed: u64) -> Self {
        let world = Mutex::new(World::new(seed));
        Self { shared: Arc::new(Shared { world, unlocked: Condvar::new() }) }
    }

    /// The file system as a process sees it that runs from now until the next [`SimulatedDisk::kill`] or
    /// [`SimulatedDisk::power_cut`]; after that every call through it, and through what was opened with
    /// it, fails with [`ProcessDied`](super::ProcessDied).
    pub fn mount(&self) -> Arc<FaultyFs> {
        let generation = self.shared.world().generation;
        Arc::new(FaultyFs { shared: Arc::clone(&self.shared), generation })
    }

    /// All processes die: open files and locks are gone. What was written stays, synced or not.
    pub fn kill(&self) {
        self.shared.world().kill();
        self.shared.unlocked.notify_all();
    }

    /// The power goes: all processes die, and each change that was not synced is kept, lost or torn.
    pub fn power_cut(&self) {
        self.shared.world().power_cut();
        self.shared.unlocked.notify_all();
    }

    /// The process dies by itself before the change after the next `changes` ones, or in the middle of
    /// it if that is a write. Opening what exists, reading and locking what exists are no changes; writes,
    /// lengths, syncs, creations, renames and removals are. `None` lets it live.
    pub fn die_after(&self, changes: Option<u64>) {
        self.shared.world().faults.changes_left = changes;
    }

    /// The next operation on `path` that this fault can hit fails.
    pub fn inject(&self, path: impl AsRef<Path>, fault: Fault) {
        self.shared.world().faults.script(path.as_ref(), fault);
    }

    /// Every read that touches these bytes fails with EIO, until [`SimulatedDisk::clear_faults`].
    pub fn fail_reads(&self, path: impl AsRef<Path>, range: Range<u64>) {
        self.shared.world().faults.fail_reads(path.as_ref(), range);
    }

    /// Sets how often things go wrong by chance.
    pub fn set_fault_rates(&self, rates: FaultRates) {
        self.shared.world().faults.rates = rates;
    }

    /// Sets what reads of the page cache find.
    pub fn set_cached_reads(&self, cached_reads: CachedReads) {
        self.shared.world().faults.cached_reads = cached_reads;
    }

    /// Nothing more goes wrong by plan or by chance; a planned death is off too.
    pub fn clear_faults(&self) {
        self.shared.world().faults.clear();
    }

    /// Limits how many bytes all files together may have; `None` for no limit. A write past it takes what
    /// fits and fails with [`StorageFull`](std::io::ErrorKind::StorageFull). Removing files gives space
    /// back, raising the limit too.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.shared.world().faults.capacity = bytes;
    }

    /// Whether space can be taken ahead of what is written, as file systems allow that have `fallocate`; not unless this is
    /// said.
    pub fn set_allocates(&self, allocates: bool) {
        self.shared.world().faults.allocates = allocates;
    }

    /// Leaves space for `bytes` more than there are now.
    pub fn set_free_bytes(&self, bytes: u64) {
        let mut world = self.shared.world();
        world.faults.capacity = Some(u64::MAX);
        let used = u64::MAX - world.free_bytes();
        world.faults.capacity = Some(used.saturating_add(bytes));
    }

    /// Turns the bits of `mask` in one byte, on the disk and in the cache. False if there is no such byte.
    pub fn flip(&self, path: impl AsRef<Path>, position: u64, mask: u8) -> bool {
        let at = usize::try_from(position).unwrap_or(usize::MAX);
        self.with_file(path.as_ref(), |file| {
            file.flip(at, mask);
            at < file.len()
        })
        .unwrap_or(false)
    }

    /// The system forgets what it has cached and need not write: the next read sees the disk.
    pub fn drop_caches(&self) {
        self.shared.world().files.values_mut().for_each(Inode::drop_cache);
    }

    /// How many bytes of the disk a file takes, what was taken ahead included.
    pub fn taken(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.with_file(path.as_ref(), |file| file.taken() as u64)
    }

    /// The bytes of a file as a process would read them; `None` if there is no such file.
    pub fn visible(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.with_file(path.as_ref(), |file| file.visible().to_vec())
    }

    /// The bytes of a file that a power cut now could not take away. The file itself may still be lost
    /// if its folder was not synced.
    pub fn durable(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.with_file(path.as_ref(), |file| file.durable().to_vec())
    }

    fn with_file<T>(&self, path: &Path, what: impl FnOnce(&mut Inode) -> T) -> Option<T> {
        let mut world = self.shared.world();
        match world.tree.find(path) {
            Ok(Some(Child::File(id))) => world.files.get_mut(&id).map(what),
            Ok(Some(Child::Dir(_)) | None) | Err(_) => None,
        }
    }

    /// What was done to the files that match, by the paths under which they were opened.
    pub fn counters(&self, path: impl AsRef<Path>) -> Counters {
        self.shared.world().faults.counted(path.as_ref())
    }

    /// What was done in all.
    pub fn counters_in_all(&self) -> Counters {
        self.shared.world().faults.counted_in_all()
    }

    /// Begins to count anew.
    pub fn reset_counters(&self) {
        self.shared.world().faults.forget_counts();
    }
}
