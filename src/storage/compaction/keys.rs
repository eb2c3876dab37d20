use std::collections::HashMap;

use crate::model::Offset;

/// What an entry takes besides its key: its place in the map, the offset, and the allocation of the key.
const ENTRY_BYTES: usize = 64;

/// The newest offset of each key. Whole keys, not their hashes: two keys that are taken for one would lose a
/// record, and keys are chosen by whoever writes.
#[derive(Debug)]
pub(crate) struct LatestOffsets {
    offsets: HashMap<Box<[u8]>, Offset>,
    bytes: usize,
    max_bytes: usize,
}

impl LatestOffsets {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { offsets: HashMap::new(), bytes: 0, max_bytes }
    }

    /// Notes a record; false, and nothing is noted, where there is no room for its key. One key is always taken.
    #[must_use = "a record that is not noted ends what can be compacted"]
    pub(crate) fn note(&mut self, key: &[u8], offset: Offset) -> bool {
        if let Some(latest) = self.offsets.get_mut(key) {
            *latest = offset.max(*latest);
            return true;
        }
        let cost = key.len() + ENTRY_BYTES;
        if self.bytes + cost > self.max_bytes && !self.offsets.is_empty() {
            return false;
        }
        self.bytes += cost;
        self.offsets.insert(key.into(), offset);
        true
    }

    /// Whether a newer record of the same key is known.
    pub(crate) fn is_overtaken(&self, key: &[u8], offset: Offset) -> bool {
        self.offsets.get(key).is_some_and(|latest| *latest > offset)
    }
}

#[cfg(test)]
mod tests {
    use super::LatestOffsets;
    use crate::model::Offset;

    #[test]
    fn the_newest_offset_of_a_key_counts_and_memory_is_bounded() {
        let mut latest = LatestOffsets::new(3 * 70);
        let at = Offset::new;
        assert!(latest.note(b"a", at(1)) && latest.note(b"b", at(2)) && latest.note(b"a", at(3)));
        assert!(latest.is_overtaken(b"a", at(1)) && !latest.is_overtaken(b"a", at(3)));
        assert!(!latest.is_overtaken(b"unknown", at(0)));
        assert!(latest.note(b"c", at(4)));
        assert!(!latest.note(b"d", at(5)), "no room for a fourth key");
        assert!(latest.note(b"b", at(6)), "known keys need none");
        assert!(LatestOffsets::new(0).note(b"some key", at(0)), "a pass always gets somewhere");
    }
}
