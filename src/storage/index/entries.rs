use crate::storage::fs::Mapped;

/// One fixed-size entry of an index file; big-endian on disk.
pub(crate) trait Entry: Copy {
    /// Bytes on disk.
    const SIZE: usize;
    /// Appends the entry as it stands on disk.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads an entry from [`Entry::SIZE`] bytes.
    fn decode(bytes: &[u8]) -> Option<Self>;
    /// Whether this entry may stand behind `before`.
    fn may_follow(&self, before: &Self) -> bool;
}

/// Where a batch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    /// The batch's base offset less the segment's.
    pub(crate) relative: u32,
    /// The batch's first byte.
    pub(crate) position: u32,
}

/// The batch that raised the highest timestamp of its segment; all before it are strictly lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    /// The highest timestamp of the batch.
    pub(crate) timestamp: i64,
    /// The batch's base offset less the segment's.
    pub(crate) relative: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

impl Entry for OffsetEntry {
    const SIZE: usize = 8;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self { relative: u32_at(bytes, 0)?, position: u32_at(bytes, 4)? })
    }

    fn may_follow(&self, before: &Self) -> bool {
        self.relative > before.relative && self.position > before.position
    }
}

impl Entry for TimeEntry {
    const SIZE: usize = 12;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.relative.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let timestamp = i64::from_be_bytes(*bytes.first_chunk()?);
        Some(Self { timestamp, relative: u32_at(bytes, 8)? })
    }

    fn may_follow(&self, before: &Self) -> bool {
        self.timestamp > before.timestamp && self.relative > before.relative
    }
}

/// The entries of one index: those that its file holds, mapped, then those that are not written yet.
#[derive(Debug)]
pub(crate) struct Entries<E> {
    stored: usize,
    map: Option<Box<dyn Mapped>>,
    fresh: Vec<E>,
}

impl<E: Entry> Entries<E> {
    /// No entries, none on disk.
    pub(crate) const fn empty() -> Self {
        Self { stored: 0, map: None, fresh: Vec::new() }
    }

    /// The entries of a mapped file, `None` when they cannot be an index's.
    pub(crate) fn mapped(map: Box<dyn Mapped>) -> Option<Self> {
        let bytes = map.bytes();
        if !bytes.len().is_multiple_of(E::SIZE) {
            return None;
        }
        let mut before: Option<E> = None;
        for chunk in bytes.chunks_exact(E::SIZE) {
            let entry = E::decode(chunk)?;
            if before.is_some_and(|before| !entry.may_follow(&before)) {
                return None;
            }
            before = Some(entry);
        }
        Some(Self { stored: bytes.len() / E::SIZE, map: Some(map), fresh: Vec::new() })
    }

    pub(crate) fn len(&self) -> usize {
        self.stored + self.fresh.len()
    }

    /// How many of them the file holds.
    pub(crate) const fn stored(&self) -> usize {
        self.stored
    }

    pub(crate) fn push(&mut self, entry: E) {
        self.fresh.push(entry);
    }

    pub(crate) fn get(&self, index: usize) -> Option<E> {
        match index.checked_sub(self.stored) {
            Some(fresh) => self.fresh.get(fresh).copied(),
            None => E::decode(self.map.as_ref()?.bytes().get(index * E::SIZE..)?),
        }
    }

    pub(crate) fn last(&self) -> Option<E> {
        self.get(self.len().checked_sub(1)?)
    }

    /// The index of the first entry that `before` does not hold for; it holds for a beginning of them.
    pub(crate) fn partition_point(&self, before: impl Fn(&E) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).is_some_and(|entry| before(&entry)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Those that the file does not hold yet and `below` holds for, as bytes, with their number.
    pub(crate) fn pending(&self, below: impl Fn(&E) -> bool) -> (Vec<u8>, usize) {
        let mut bytes = Vec::new();
        let pending = self.fresh.iter().take_while(|entry| below(entry));
        let count = pending.map(|entry| entry.encode(&mut bytes)).count();
        (bytes, count)
    }

    /// The file now holds `count` more, all of it mapped.
    pub(crate) fn set_stored(&mut self, count: usize, map: Box<dyn Mapped>) {
        self.fresh.drain(..count.min(self.fresh.len()));
        self.stored += count;
        self.map = Some(map);
    }

    /// Keeps the first `count`, in memory only: the file is to be written anew.
    pub(crate) fn keep_in_memory(&mut self, count: usize) {
        *self = self.beginning(count);
    }

    /// The first `count`, in memory, none on disk.
    pub(crate) fn beginning(&self, count: usize) -> Self {
        let kept = (0..count.min(self.len())).map_while(|index| self.get(index)).collect();
        Self { stored: 0, map: None, fresh: kept }
    }
}
