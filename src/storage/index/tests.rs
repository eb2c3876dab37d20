use proptest::prelude::*;

use super::{Entries, Entry, OffsetEntry, SegmentIndex, TimeEntry};
use crate::storage::fs::Mapped;

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl Mapped for Bytes {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn mapped<E: Entry>(entries: &[E]) -> Option<Entries<E>> {
    let mut bytes = Vec::new();
    entries.iter().for_each(|entry| entry.encode(&mut bytes));
    Entries::mapped(Box::new(Bytes(bytes)))
}

const fn offset(relative: u32, position: u32) -> OffsetEntry {
    OffsetEntry { relative, position }
}

#[test]
fn a_file_whose_entries_do_not_rise_is_no_index() {
    assert!(mapped(&[offset(0, 0), offset(3, 100), offset(9, 200)]).is_some());
    assert!(mapped(&[offset(0, 0), offset(3, 100), offset(3, 200)]).is_none());
    assert!(mapped(&[offset(0, 0), offset(3, 100), offset(9, 99)]).is_none());
    assert!(Entries::<OffsetEntry>::mapped(Box::new(Bytes(vec![0; 9]))).is_none());
}

#[test]
fn an_index_that_points_behind_the_segment_or_not_at_its_start_is_wrong() {
    let times = || mapped::<TimeEntry>(&[]).unwrap();
    let stored =
        |entries: &[OffsetEntry], size| SegmentIndex::stored(mapped(entries).unwrap(), times(), size);
    assert!(stored(&[offset(0, 0), offset(3, 100)], 101).is_some());
    assert!(stored(&[offset(0, 0), offset(3, 100)], 100).is_none());
    assert!(stored(&[offset(1, 5)], 100).is_none());
    assert!(stored(&[], 100).is_none());
    assert!(stored(&[], 0).is_some());
}

/// (length, records, highest timestamp) of each batch.
fn batches() -> impl Strategy<Value = Vec<(u32, u32, i64)>> {
    prop::collection::vec((1_u32..500, 1_u32..5, -3_i64..40), 1..120)
}

/// Each batch's relative base offset and position.
fn places(batches: &[(u32, u32, i64)]) -> Vec<(u32, u32)> {
    let mut next = (0, 0);
    batches
        .iter()
        .map(|(len, records, _)| {
            let here = next;
            next = (here.0 + records, here.1 + len);
            here
        })
        .collect()
}

proptest! {
    #[test]
    fn the_floor_is_a_batch_at_most_an_interval_before_the_one_wanted(
        batches in batches(),
        interval in 0_u64..1000,
        stored in 0_usize..60,
    ) {
        let places = places(&batches);
        let mut index = SegmentIndex::empty();
        for ((relative, position), (_, _, time)) in places.iter().zip(&batches) {
            index.note(interval, *relative, *position, *time);
        }
        // A beginning of it has been written, as while a segment is active.
        let (bytes, count) = index.offsets().pending(|entry| entry.relative < stored as u32);
        index.offsets().set_stored(count, Box::new(Bytes(bytes)));
        for (relative, position) in &places {
            let floor = index.floor(*relative).unwrap();
            prop_assert!(places.contains(&(floor.relative, floor.position)));
            prop_assert!(floor.position <= *position);
            prop_assert!(u64::from(position - floor.position) <= interval);
            let after = index.after(u64::from(*position));
            prop_assert!(after.is_none_or(|after| after.position > *position));
        }
    }

    #[test]
    fn nothing_before_the_floor_of_a_time_is_as_late(batches in batches(), interval in 0_u64..1000) {
        let places = places(&batches);
        let mut index = SegmentIndex::empty();
        for ((relative, position), (_, _, time)) in places.iter().zip(&batches) {
            index.note(interval, *relative, *position, *time);
        }
        index.seal();
        let newest = batches.iter().map(|(_, _, time)| *time).max();
        prop_assert_eq!(index.newest().map(|entry| entry.timestamp), newest);
        for wanted in -4..41 {
            let from = index.floor_time(wanted);
            for ((relative, _), (_, _, time)) in places.iter().zip(&batches) {
                prop_assert!(*relative >= from || *time < wanted, "{} at {} for {}", time, relative, wanted);
            }
        }
    }

    #[test]
    fn an_index_cut_and_noted_again_is_the_same(
        batches in batches(),
        interval in 0_u64..1000,
        cut in 0_usize..120,
    ) {
        let places = places(&batches);
        let mut whole = SegmentIndex::empty();
        for ((relative, position), (_, _, time)) in places.iter().zip(&batches) {
            whole.note(interval, *relative, *position, *time);
        }
        let all = whole.offsets().pending(|_| true);
        let times = whole.times().pending(|_| true);
        let (covered, _) = places[cut.min(places.len() - 1)];
        whole.truncate(covered.max(1));
        let from = whole.floor(covered.max(1) - 1).unwrap();
        for ((relative, position), (_, _, time)) in places.iter().zip(&batches) {
            if *relative >= from.relative {
                whole.note(interval, *relative, *position, *time);
            }
        }
        prop_assert_eq!(whole.offsets().pending(|_| true), all);
        prop_assert_eq!(whole.times().pending(|_| true), times);
    }
}
