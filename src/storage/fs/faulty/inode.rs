//! The bytes of one simulated file, three times: in the cache, on the disk, and on the way.

use fastrand::Rng;

use super::faults::AfterFailedSync;

/// What a disk writes whole or not at all.
const SECTOR_LEN: usize = 512;

/// A change that the cache has and the disk may not have yet.
#[derive(Debug)]
enum Pending {
    Write { position: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// How a power cut treats what is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// The disk had written nothing yet.
    LosesAll,
    /// The disk had written everything.
    KeepsAll,
    /// Each change is kept, lost or torn on its own.
    Mixed,
}

impl Mood {
    pub(super) fn any(rng: &mut Rng) -> Self {
        match rng.u8(0..6) {
            0 => Self::LosesAll,
            1 => Self::KeepsAll,
            _ => Self::Mixed,
        }
    }
}

/// One file. Where cache and disk differ and nothing is pending, the cache is falsely clean.
#[derive(Debug, Default)]
pub(super) struct Inode {
    cache: Vec<u8>,
    disk: Vec<u8>,
    /// In the order in which they were made.
    pending: Vec<Pending>,
    /// Space is taken up to here, where that is behind the end.
    allocated: usize,
    /// How many open files there are of it.
    pub(super) open: usize,
    /// Whether a live folder names it.
    pub(super) is_linked: bool,
}

impl Inode {
    pub(super) fn new_linked() -> Self {
        Self { is_linked: true, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    /// What it takes of the disk.
    pub(super) fn taken(&self) -> usize {
        self.len().max(self.allocated)
    }

    pub(super) fn allocate(&mut self, end: usize) {
        self.allocated = self.allocated.max(end);
    }

    pub(super) fn write(&mut self, position: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        put(&mut self.cache, position, bytes);
        self.pending.push(Pending::Write { position, bytes: bytes.to_vec() });
    }

    pub(super) fn set_len(&mut self, len: usize) {
        self.cache.resize(len, 0);
        self.allocated = 0;
        self.pending.push(Pending::SetLen(len));
    }

    /// Reads what the process sees.
    pub(super) fn read(&self, position: usize, buf: &mut [u8]) -> usize {
        copy_from(&self.cache, position, buf)
    }

    /// Reads past the cache: what is on the disk, and what is on its way there, since a direct read has
    /// dirty pages written first. The length is the one that the system knows.
    pub(super) fn read_from_disk(&self, position: usize, buf: &mut [u8]) -> usize {
        if !self.pending.is_empty() {
            return copy_from(&self.behind_the_cache(), position, buf);
        }
        let taken = self.cache.len().saturating_sub(position).min(buf.len());
        let buf = buf.get_mut(..taken).unwrap_or_default();
        let on_disk = copy_from(&self.disk, position, buf);
        buf.get_mut(on_disk..).unwrap_or_default().fill(0);
        taken
    }

    fn behind_the_cache(&self) -> Vec<u8> {
        let mut bytes = self.disk.clone();
        self.pending.iter().for_each(|change| apply(&mut bytes, change));
        bytes.resize(self.cache.len(), 0);
        bytes
    }

    /// What a power cut now could not take away.
    pub(super) fn durable(&self) -> &[u8] {
        &self.disk
    }

    pub(super) fn visible(&self) -> &[u8] {
        &self.cache
    }

    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            apply(&mut self.disk, &change);
        }
    }

    /// A sync that fails: some of what was pending reaches the disk, and the system forgets that the rest
    /// was ever to be written.
    pub(super) fn fail_sync(&mut self, after: AfterFailedSync, rng: &mut Rng) {
        self.settle(Mood::any(rng), rng);
        match after {
            AfterFailedSync::FalselyClean => {}
            AfterFailedSync::Dropped => self.drop_cache(),
        }
    }

    /// Forgets what is clean.
    pub(super) fn drop_cache(&mut self) {
        let len = self.cache.len();
        self.cache = self.behind_the_cache();
        self.cache.resize(len, 0);
    }

    pub(super) fn power_cut(&mut self, mood: Mood, rng: &mut Rng) {
        self.settle(mood, rng);
        self.cache.clone_from(&self.disk);
        // Nobody has waited for that to be durable.
        self.allocated = 0;
        self.open = 0;
    }

    /// Turns bits, wherever the byte is kept.
    pub(super) fn flip(&mut self, position: usize, mask: u8) {
        for bytes in [&mut self.cache, &mut self.disk] {
            if let Some(byte) = bytes.get_mut(position) {
                *byte ^= mask;
            }
        }
        for change in &mut self.pending {
            if let Pending::Write { position: start, bytes } = change
                && let Some(byte) = position.checked_sub(*start).and_then(|at| bytes.get_mut(at))
            {
                *byte ^= mask;
            }
        }
    }

    /// Decides for each pending change whether the disk has it. A file system keeps the order of changes
    /// of length: what came after a lost one is lost too. Writes know no order.
    fn settle(&mut self, mood: Mood, rng: &mut Rng) {
        for change in std::mem::take(&mut self.pending) {
            match (mood, change) {
                (Mood::LosesAll, _) => return,
                (Mood::KeepsAll, change) => apply(&mut self.disk, &change),
                (Mood::Mixed, Pending::SetLen(len)) => {
                    if rng.bool() {
                        return;
                    }
                    self.disk.resize(len, 0);
                }
                (Mood::Mixed, Pending::Write { position, bytes }) => {
                    tear(&mut self.disk, position, &bytes, rng);
                }
            }
        }
    }
}

fn apply(to: &mut Vec<u8>, change: &Pending) {
    match change {
        Pending::Write { position, bytes } => put(to, *position, bytes),
        Pending::SetLen(len) => to.resize(*len, 0),
    }
}

fn put(to: &mut Vec<u8>, position: usize, bytes: &[u8]) {
    let end = position + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    if let Some(range) = to.get_mut(position..end) {
        range.copy_from_slice(bytes);
    }
}

fn copy_from(from: &[u8], position: usize, buf: &mut [u8]) -> usize {
    let rest = from.get(position..).unwrap_or_default();
    let taken = rest.len().min(buf.len());
    buf.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    taken
}

/// Writes as a disk does that loses its power: all, nothing, the beginning up to any byte, any of the
/// sectors, or the length alone.
fn tear(to: &mut Vec<u8>, position: usize, bytes: &[u8], rng: &mut Rng) {
    match rng.u8(0..8) {
        0..=2 => put(to, position, bytes),
        3 | 4 => {}
        5 => put(to, position, bytes.get(..rng.usize(0..bytes.len())).unwrap_or_default()),
        6 => put_some_sectors(to, position, bytes, rng),
        _ => to.resize(to.len().max(position + bytes.len()), 0),
    }
}

fn put_some_sectors(to: &mut Vec<u8>, position: usize, bytes: &[u8], rng: &mut Rng) {
    let mut done = 0;
    while done < bytes.len() {
        let at = position + done;
        let end = bytes.len().min(done + SECTOR_LEN - at % SECTOR_LEN);
        if rng.bool() {
            put(to, at, bytes.get(done..end).unwrap_or_default());
        }
        done = end;
    }
}
