//! Reading where something is hit: batch by batch, with the index only as far as the batches bear it out.

use std::{io, sync::Arc};

use super::{buffer::ReadSpace, read::ReadRequest, shared::Shared};
use crate::{
    model::Offset,
    storage::segment::{CorruptBatch, Scanner, Segment, Source, Step, Wait},
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
                let anchor = anchor_after(segment, scanner.position())?;
                let hole = scanner.skip(reason, anchor)?;
                let corrupt = segment.note_corrupt(&hole);
                if corrupt.next > request.from {
                    slow.skipped.push(corrupt);
                }
            }
            Step::End => break,
        }
        slow.next = scanner.expected().max(request.from);
    }
    Ok(slow)
}

/// A scan of a segment's published part that begins there.
pub(super) fn scanner(shared: &Shared, segment: &Arc<Segment>, start: (u64, Offset)) -> io::Result<Scanner> {
    shared.make_room_for(segment);
    let source = Source::Cached(segment.open_file()?);
    let end = segment.end();
    Ok(Scanner::new(source, start, (segment.size(), Some(end)), shared.epoch_rule()))
}

/// The first batch behind `position` that the index knows.
pub(crate) fn anchor_after(segment: &Segment, position: u64) -> io::Result<Option<(u64, Offset)>> {
    let entry = segment.ask(Wait::MayBlock, |index| index.after(position))?.flatten();
    Ok(entry.map(|entry| (u64::from(entry.position), segment.base().plus(i64::from(entry.relative)))))
}

fn anchor_at(segment: &Segment, offset: Offset) -> io::Result<(u64, Offset)> {
    let relative = segment.relative(offset).unwrap_or(0);
    let entry = segment.ask(Wait::MayBlock, |index| index.floor(relative))?.flatten();
    let found =
        entry.map(|entry| (u64::from(entry.position), segment.base().plus(i64::from(entry.relative))));
    Ok(found.unwrap_or((0, segment.base())))
}

/// Where to begin to read so as to come upon the batch of `offset`. An index entry is believed when the
/// batch there is whole, or the one at the next entry is: then it is the batch that is hit. Otherwise
/// the index is built anew before any batch is called corrupt.
pub(super) fn trusted_start(
    shared: &Shared,
    segment: &Arc<Segment>,
    offset: Offset,
) -> io::Result<(u64, Offset)> {
    let anchor = anchor_at(segment, offset)?;
    if anchor.0 == 0 || segment.index_is_right() || stands(shared, segment, anchor)? {
        return Ok(anchor);
    }
    if let Some(next) = anchor_after(segment, anchor.0)?
        && stands(shared, segment, next)?
    {
        return Ok(anchor);
    }
    segment.rebuild_index()?;
    anchor_at(segment, offset)
}

fn stands(shared: &Shared, segment: &Arc<Segment>, anchor: (u64, Offset)) -> io::Result<bool> {
    Ok(matches!(scanner(shared, segment, anchor)?.look()?, Step::Batch(_)))
}
