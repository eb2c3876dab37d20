//! From an offset to the position of its batch.

use std::io;

use super::{Segment, Wait, lock};
use crate::{
    model::Offset,
    record::{BATCH_HEADER_LEN, BatchHeader},
    storage::fs::File,
};

/// Where the batch of an offset stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Located {
    /// Its first byte, and its base offset.
    At(u64, Offset),
    /// Only the disk can tell.
    NeedsDisk,
    /// Index and batches do not agree: something is hit.
    Astray,
}

/// Where recent reads ended, which is where the next ones begin: they need no search.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    ends: [Option<(Offset, u64)>; 8],
    next: usize,
}

impl Recent {
    fn find(&self, offset: Offset) -> Option<u64> {
        self.ends.iter().flatten().find(|(end, _)| *end == offset).map(|(_, position)| *position)
    }

    fn add(&mut self, offset: Offset, position: u64) {
        if self.find(offset).is_none() {
            self.next = (self.next + 1) % self.ends.len();
            if let Some(slot) = self.ends.get_mut(self.next) {
                *slot = Some((offset, position));
            }
        }
    }
}

/// How many bytes of headers are read at once: an index entry is rarely further away.
const WINDOW: usize = 4096;

impl Segment {
    /// Remembers that a batch with this base offset begins, or will begin, at this position.
    pub(crate) fn remember(&self, offset: Offset, position: u64) {
        lock(&self.recent).add(offset, position);
    }

    /// Forgets its index, and where reads have ended: what is served is the same without. Nothing is written any more.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn forget_index(&self) -> io::Result<()> {
        self.retire()?;
        self.adopt_index(crate::storage::index::SegmentIndex::empty());
        *lock(&self.recent) = Recent::default();
        Ok(())
    }

    /// Finds the batch that holds an offset below the published end. Checks heads only.
    pub(crate) fn locate(&self, offset: Offset, wait: Wait) -> io::Result<Located> {
        if let Some(position) = lock(&self.recent).find(offset) {
            return Ok(Located::At(position, offset));
        }
        let Some(relative) = self.relative(offset) else { return Ok(Located::Astray) };
        let Some(entry) = self.ask(wait, |index| index.floor(relative))? else {
            return Ok(Located::NeedsDisk);
        };
        let Some(entry) = entry else { return Ok(Located::Astray) };
        let found = (u64::from(entry.position), self.base.plus(i64::from(entry.relative)));
        if found.1 == offset {
            return Ok(Located::At(found.0, found.1));
        }
        let Some(file) = self.file(wait)? else { return Ok(Located::NeedsDisk) };
        self.walk_to(offset, found, &*file, wait)
    }

    /// Walks from one batch, at `position`, to the one that holds `offset`.
    fn walk_to(
        &self,
        offset: Offset,
        (mut position, mut expected): (u64, Offset),
        file: &dyn File,
        wait: Wait,
    ) -> io::Result<Located> {
        let size = self.size();
        let mut window = [0; WINDOW];
        while position + BATCH_HEADER_LEN as u64 <= size {
            let want = usize::try_from(size - position).unwrap_or(WINDOW).min(WINDOW);
            let target = window.get_mut(..want).unwrap_or_default();
            let Some(read) = read_with(file, target, position, wait)? else { return Ok(Located::NeedsDisk) };
            if read < BATCH_HEADER_LEN {
                let cut = wait == Wait::MayBlock;
                return Ok(if cut { Located::Astray } else { Located::NeedsDisk });
            }
            let mut at = 0;
            while at + BATCH_HEADER_LEN <= read {
                let header = window.get(at..read).and_then(|bytes| BatchHeader::parse(bytes).ok());
                let Some(header) = header.filter(|header| header.base_offset == expected) else {
                    return Ok(Located::Astray);
                };
                if header.next_offset() > offset {
                    return Ok(Located::At(position + at as u64, expected));
                }
                expected = header.next_offset();
                at += header.total_len();
            }
            position += at as u64;
        }
        Ok(Located::Astray)
    }
}

/// Reads, waiting for the disk or not; `None` when it would have to be waited for.
pub(crate) fn read_with(
    file: &dyn File,
    buf: &mut [u8],
    position: u64,
    wait: Wait,
) -> io::Result<Option<usize>> {
    match wait {
        Wait::OnlyCached => file.read_cached_at(buf, position),
        Wait::MayBlock => file.read_at(buf, position).map(Some),
    }
}
