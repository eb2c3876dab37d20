//! Finds the batch that holds an offset or a time without reading the segment from its start.
//!
//! Two sparse files beside each segment, big-endian entries of fixed size, one for every
//! `index.interval.bytes` of batches, so that a map and a binary search do (as in Apache Kafka):
//!
//! ```text
//! <base>.index       relative offset u32 | position u32           the batch at `position` begins there
//! <base>.timeindex   timestamp i64       | relative offset u32    the batch that raised the maximum
//! ```
//!
//! Both counts grow strictly from entry to entry; the first entry of `.index` is `0 | 0`, the last of a
//! sealed segment's `.timeindex` is the segment's highest timestamp. The entries of an active segment
//! live in memory and are written in batches. An index is never the truth: whoever follows an entry
//! checks the batch that stands there, and a wrong index is built anew from the batches.

mod entries;

pub(crate) use entries::{Entries, Entry, OffsetEntry, TimeEntry};

/// Both indexes of one segment.
#[derive(Debug)]
pub(crate) struct SegmentIndex {
    offsets: Entries<OffsetEntry>,
    times: Entries<TimeEntry>,
    last_position: u64,
    newest: Option<TimeEntry>,
}

impl SegmentIndex {
    /// The index of a segment without batches.
    pub(crate) const fn empty() -> Self {
        Self { offsets: Entries::empty(), times: Entries::empty(), last_position: 0, newest: None }
    }

    /// The index that its files hold; `None` when that is not one of a segment of `size` bytes.
    pub(crate) fn stored(
        offsets: Entries<OffsetEntry>,
        times: Entries<TimeEntry>,
        size: u64,
    ) -> Option<Self> {
        let begins = offsets.get(0).is_none_or(|first| first.relative == 0 && first.position == 0);
        let position = offsets.last().map_or(0, |last| u64::from(last.position));
        if !begins || (size > 0 && (offsets.len() == 0 || position >= size)) {
            return None;
        }
        let newest = times.last();
        Some(Self { offsets, times, last_position: position, newest })
    }

    /// Takes note of a batch that has just been written, all before it having been noted.
    pub(crate) fn note(&mut self, interval: u64, relative: u32, position: u32, max_timestamp: i64) {
        if self.newest.is_none_or(|newest| max_timestamp > newest.timestamp) {
            self.newest = Some(TimeEntry { timestamp: max_timestamp, relative });
        }
        let due = u64::from(position) > self.last_position + interval;
        if due || self.offsets.len() == 0 {
            self.offsets.push(OffsetEntry { relative, position });
            self.last_position = u64::from(position);
            self.note_time();
        }
    }

    /// Writes the highest timestamp down as the last entry: nothing follows.
    pub(crate) fn seal(&mut self) {
        self.note_time();
    }

    fn note_time(&mut self) {
        let Some(newest) = self.newest else { return };
        if self.times.last().is_none_or(|last| newest.may_follow(&last)) {
            self.times.push(newest);
        }
    }

    /// The last entry at or before this offset.
    pub(crate) fn floor(&self, relative: u32) -> Option<OffsetEntry> {
        let is_before = |entry: &OffsetEntry| entry.relative <= relative;
        let after = self.offsets.partition_point(is_before);
        self.offsets.get(after.checked_sub(1)?).filter(is_before)
    }

    /// The last entries at or before this offset, the nearest first.
    ///
    /// A mapped file may be hit at any time: whatever comes out of a search is looked at again.
    pub(crate) fn before(&self, relative: u32, count: usize) -> Vec<OffsetEntry> {
        let is_before = |entry: &OffsetEntry| entry.relative <= relative;
        let after = self.offsets.partition_point(is_before);
        (0..after).rev().take(count).filter_map(|at| self.offsets.get(at)).filter(is_before).collect()
    }

    /// The first entry behind this position: no batch reaches over it.
    pub(crate) fn after(&self, position: u64) -> Option<OffsetEntry> {
        let is_behind = |entry: &OffsetEntry| u64::from(entry.position) > position;
        self.offsets.get(self.offsets.partition_point(|entry| !is_behind(entry))).filter(is_behind)
    }

    /// The last entry at or before this position.
    pub(crate) fn floor_position(&self, position: u64) -> Option<OffsetEntry> {
        let after = self.offsets.partition_point(|entry| u64::from(entry.position) <= position);
        self.offsets.get(after.checked_sub(1)?)
    }

    /// Where to begin to look for the first record at or after a time: all before are earlier.
    pub(crate) fn floor_time(&self, timestamp: i64) -> u32 {
        let after = self.times.partition_point(|entry| entry.timestamp <= timestamp);
        after.checked_sub(1).and_then(|at| self.times.get(at)).map_or(0, |entry| entry.relative)
    }

    /// The highest timestamp and its batch.
    pub(crate) const fn newest(&self) -> Option<TimeEntry> {
        self.newest
    }

    /// Bytes that the offset index takes on disk once written.
    pub(crate) fn offset_index_bytes(&self) -> usize {
        self.offsets.len() * OffsetEntry::SIZE
    }

    /// The part that finds offsets.
    pub(crate) const fn offsets(&mut self) -> &mut Entries<OffsetEntry> {
        &mut self.offsets
    }

    /// The part that finds times.
    pub(crate) const fn times(&mut self) -> &mut Entries<TimeEntry> {
        &mut self.times
    }

    /// Whether its files hold all of it.
    pub(crate) fn is_written(&self) -> bool {
        self.offsets.stored() == self.offsets.len() && self.times.stored() == self.times.len()
    }

    /// The entries below `relative`, in memory, to be written anew. The batches from the last of them on are to be
    /// noted again.
    pub(crate) fn beginning(&self, relative: u32) -> Self {
        let offsets = self.offsets.beginning(self.offsets.partition_point(|entry| entry.relative < relative));
        let times = self.times.beginning(self.times.partition_point(|entry| entry.relative < relative));
        let last_position = offsets.last().map_or(0, |last| u64::from(last.position));
        let newest = times.last();
        Self { offsets, times, last_position, newest }
    }

    /// Forgets the entries at or above `relative`, and then keeps the rest in memory, to be written anew.
    ///
    /// The highest timestamp is then that of the last entry: the batches from the last entry on are to be
    /// noted again.
    pub(crate) fn truncate(&mut self, relative: u32) {
        let offsets = self.offsets.partition_point(|entry| entry.relative < relative);
        let times = self.times.partition_point(|entry| entry.relative < relative);
        if offsets < self.offsets.len() || times < self.times.len() {
            self.offsets.keep_in_memory(offsets);
            self.times.keep_in_memory(times);
        }
        self.last_position = self.offsets.last().map_or(0, |last| u64::from(last.position));
        self.newest = self.times.last();
    }

    /// Takes over what another index of the same segment has noted from `position` on.
    pub(crate) fn adopt(&mut self, other: &Self, position: u64) {
        let first = other.offsets.partition_point(|entry| u64::from(entry.position) < position);
        for entry in (first..other.offsets.len()).filter_map(|at| other.offsets.get(at)) {
            self.offsets.push(entry);
            self.last_position = u64::from(entry.position);
        }
        let newer = |entry: &TimeEntry| self.newest.is_none_or(|newest| entry.timestamp > newest.timestamp);
        self.newest = other.newest.filter(newer).or(self.newest);
        self.note_time();
    }
}

#[cfg(test)]
mod tests;
