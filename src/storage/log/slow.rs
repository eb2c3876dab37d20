//! Reading where something is hit: batch by batch, with the index only as far as the batches bear it out.

use std::{io, sync::Arc};

use super::{buffer::ReadSpace, read::ReadRequest, shared::Shared};
use crate::{
    model::Offset,
    storage::{
        index::OffsetEntry,
        segment::{CorruptBatch, Scanner, Segment, Source, Step, Wait},
    },
};

/// What a slow read has found.
#[derive(Debug, Default)]
pub(super) struct Slow {
    pub(super) bytes: usize,
    pub(super) next: Offset,
    pub(super) skipped: Vec<CorruptBatch>,
}

/// Reads whole batches from one segment, leaving out what is corrupt. Waits for the disk.
pub(super) fn read_slow(
    shared: &Shared,
    segment: &Arc<Segment>,
    request: &ReadRequest,
    out: &mut impl ReadSpace,
) -> io::Result<Slow> {
    let start = trusted_start(shared, segment, request.from)?;
    let mut scanner = scanner(shared, segment, start)?;
    let mut slow = Slow { next: request.from, ..Slow::default() };
    loop {
        match scanner.look()? {
            Step::Batch(header) if header.next_offset() > request.upto => break,
            Step::Batch(header) => {
                if header.next_offset() > request.from {
                    let len = header.total_len();
                    let first = slow.bytes == 0 && request.at_least_one;
                    if !first && slow.bytes + len > request.max_bytes {
                        break;
                    }
                    out.append(scanner.batch(&header));
                    slow.bytes += len;
                }
                scanner.pass(&header);
            }
            Step::Bad(_) if scanner.expected() >= request.upto => break,
            Step::Bad(reason) => {
                let hole = scanner.skip(reason)?;
                let corrupt = shared.note_corrupt(segment, &hole, request.upto);
                if corrupt.loses_offsets() && corrupt.next > request.from {
                    let is_held = corrupt.is_held;
                    slow.skipped.push(corrupt);
                    if is_held {
                        break;
                    }
                }
            }
            Step::End => break,
        }
        slow.next = scanner.expected().max(request.from).min(request.upto);
    }
    Ok(slow)
}

/// A scan of a segment's published part that begins there.
pub(super) fn scanner(shared: &Shared, segment: &Arc<Segment>, start: (u64, Offset)) -> io::Result<Scanner> {
    shared.make_room_for(segment);
    let source = Source::Cached(segment.open_file()?);
    // Both at once: the end of the segment is taken for where its bytes end.
    let (end, size) = segment.published();
    let scanner = Scanner::new(source, start, (size, Some(end)), shared.epoch_rule());
    Ok(scanner.over_bad_sectors())
}

/// How many entries in a row are looked at before the index as a whole is doubted.
const NEIGHBOURS: usize = 8;

/// Whether an index entry is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// Its batch stands there.
    Right,
    /// Another batch does.
    Wrong,
    /// No whole batch does: either of them may be hit.
    Unclear,
}

fn look_up(shared: &Shared, segment: &Arc<Segment>, entry: (u64, Offset)) -> io::Result<Entry> {
    Ok(match scanner(shared, segment, entry)?.look_at_any()? {
        Step::Batch(header) if header.base_offset == entry.1 => Entry::Right,
        Step::Batch(_) => Entry::Wrong,
        Step::Bad(_) | Step::End => Entry::Unclear,
    })
}

/// What came of looking for a right entry.
enum Search {
    Found((u64, Offset)),
    NoneIsRight,
    /// The index was wrong and has been built anew: look again.
    Rebuilt,
}

/// The first of these entries whose batch stands where it says. Before a batch is called corrupt the index
/// is built anew if it may be what is wrong.
fn first_right(shared: &Shared, segment: &Arc<Segment>, entries: Vec<OffsetEntry>) -> io::Result<Search> {
    let is_right = segment.index_is_right();
    for entry in entries {
        let entry = (u64::from(entry.position), segment.base().plus(i64::from(entry.relative)));
        match look_up(shared, segment, entry)? {
            Entry::Right => return Ok(Search::Found(entry)),
            Entry::Wrong if !is_right => {
                segment.rebuild_index()?;
                return Ok(Search::Rebuilt);
            }
            Entry::Wrong | Entry::Unclear => {}
        }
    }
    Ok(Search::NoneIsRight)
}

/// Where to begin to read so as to come upon the batch of `offset`: at the nearest whole batch before it
/// that the index knows.
pub(super) fn trusted_start(
    shared: &Shared,
    segment: &Arc<Segment>,
    offset: Offset,
) -> io::Result<(u64, Offset)> {
    let relative = segment.relative(offset).unwrap_or(0);
    loop {
        let entries = segment.ask(Wait::MayBlock, |index| index.before(relative, NEIGHBOURS))?;
        let entries = entries.unwrap_or_default();
        let reaches_the_start = entries.len() < NEIGHBOURS;
        match first_right(shared, segment, entries)? {
            Search::Found(found) => return Ok(found),
            Search::NoneIsRight if reaches_the_start || segment.index_is_right() => {
                return Ok((0, segment.base()));
            }
            Search::NoneIsRight => segment.rebuild_index()?,
            Search::Rebuilt => {}
        }
    }
}
