use std::{io, sync::Arc};

use super::{buffer::ReadSpace, shared::Shared};
use crate::{
    model::Offset,
    record::{BATCH_HEADER_LEN, BatchHeader, crc_is_right},
    storage::segment::{CorruptBatch, EpochRule, Located, Segment, Wait, read_with},
};

/// When a batch's checksum is computed before the batch is served (`verify.on.read`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// For each batch.
    Always,
    /// When the batch is served for the first time since the log was opened.
    First,
    /// Not at all; heads are still checked.
    Never,
}

/// What is to be read.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    /// The first offset wanted; the batch that holds it is returned whole.
    pub from: Offset,
    /// Nothing at or above this offset is returned.
    pub upto: Offset,
    /// The most bytes.
    pub max_bytes: usize,
    /// Return the first batch even if it is larger than that.
    pub at_least_one: bool,
    /// Which batches to check.
    pub verify: Verify,
    /// Whether the disk may be waited for.
    pub wait: Wait,
}

/// What came of a read.
#[derive(Debug)]
pub enum ReadOutcome {
    /// It was carried out.
    Read {
        /// How many bytes were added to the buffer: whole batches.
        bytes: usize,
        /// The offset after the last of them: where to go on.
        next: Offset,
        /// What was left out because it is corrupt.
        skipped: Vec<CorruptBatch>,
    },
    /// Nothing was added: only the disk has it, and the request was not to wait for it.
    NeedsDisk,
}

/// What came of a read on the short way.
pub(super) enum Quick {
    /// Whole batches up to this offset, none if it is where the read began.
    Read(usize, Offset),
    /// Only the disk has it.
    NeedsDisk,
    /// Something is not as it should be: the slow way finds out what.
    Astray,
}

/// Why a walk over bytes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The next batch is not wanted, or there are no bytes left.
    Limit,
    /// The next batch, which is whole, ends at this offset, and so much is not wanted.
    Above(Offset),
    /// The next batch, of this many bytes, is not here whole.
    Partial(usize),
    /// The next batch is not what it should be.
    Bad,
}

/// The whole batches at the start of `bytes`.
#[derive(Debug, PartialEq, Eq)]
struct Walk {
    len: usize,
    next: Offset,
    stop: Stop,
}

/// Walks over batches that begin at offset `base`: as many as are whole, right and below `upto`. `sealed_end` is
/// where the segment ends if that is settled: no batch reaches over it, whatever its checksum says.
fn walk(
    bytes: &[u8],
    base: Offset,
    (upto, sealed_end): (Offset, Option<Offset>),
    rule: &EpochRule,
    verify: Verify,
) -> Walk {
    let (mut len, mut next) = (0, base);
    let stop = loop {
        let rest = bytes.get(len..).unwrap_or_default();
        if rest.is_empty() || next >= upto {
            break Stop::Limit;
        }
        if rest.len() < BATCH_HEADER_LEN {
            break Stop::Partial(BATCH_HEADER_LEN);
        }
        let Ok(header) = BatchHeader::parse(rest) else { break Stop::Bad };
        let in_place = header.base_offset == next
            && header.last_offset_delta >= 0
            && rule.allows(header.base_offset, header.partition_leader_epoch)
            && rule.allows_reach(header.base_offset, header.next_offset());
        if !in_place || sealed_end.is_some_and(|end| header.next_offset() > end) {
            break Stop::Bad;
        }
        if header.next_offset() > upto {
            // Unless the flipped bit is in its count of offsets: nothing comes of a read that stops here.
            let trusted = len > 0 || crc_is_right(rest, &header);
            break if trusted { Stop::Above(header.next_offset()) } else { Stop::Bad };
        }
        if rest.len() < header.total_len() {
            break Stop::Partial(header.total_len());
        }
        if verify != Verify::Never && !crc_is_right(rest, &header) {
            break Stop::Bad;
        }
        len += header.total_len();
        next = header.next_offset();
    };
    Walk { len, next, stop }
}

/// Reads from one segment in one piece: position, one read, one walk over what came.
pub(super) fn read_quick(
    shared: &Shared,
    segment: &Arc<Segment>,
    request: &ReadRequest,
    out: &mut impl ReadSpace,
) -> io::Result<Quick> {
    let (position, base) = match segment.locate(request.from, request.wait)? {
        Located::At(position, base) => (position, base),
        Located::NeedsDisk => return Ok(Quick::NeedsDisk),
        Located::Astray => return Ok(Quick::Astray),
    };
    let Some(file) = segment.file(request.wait)? else { return Ok(Quick::NeedsDisk) };
    let left = usize::try_from(segment.size().saturating_sub(position)).unwrap_or(usize::MAX);
    if left == 0 {
        return Ok(Quick::Astray);
    }
    let rule = shared.epoch_rule();
    let sealed_end = segment.is_sealed().then(|| segment.end());
    let mut want = request.max_bytes.max(BATCH_HEADER_LEN).min(left);
    for _attempt in 0..2 {
        let mut seen = None;
        let kept = out.append_with(want, |space| {
            let read = read_with(&*file, space, position, request.wait)?;
            let bytes = space.get(..read.unwrap_or(0)).unwrap_or_default();
            let walk = walk(bytes, base, (request.upto, sealed_end), &rule, request.verify);
            // Over the limit only if it is the first batch that is.
            let fits = walk.len <= request.max_bytes || request.at_least_one;
            let kept = if fits { walk.len } else { 0 };
            seen = read.map(|read| (read, walk));
            Ok(kept)
        })?;
        let Some((read, walk)) = seen else { return Ok(Quick::NeedsDisk) };
        if walk.len > 0 {
            if kept == 0 {
                return Ok(Quick::Read(0, request.from));
            }
            segment.remember(walk.next, position + kept as u64);
            if request.verify != Verify::Never {
                segment.note_verified(position, position + kept as u64);
            }
            return Ok(Quick::Read(kept, walk.next));
        }
        match walk.stop {
            // All that was read is published by now, and so is where it ends.
            Stop::Above(next) if next > segment.published().0 => return Ok(Quick::Astray),
            Stop::Limit | Stop::Above(_) => return Ok(Quick::Read(0, request.from)),
            Stop::Bad => return Ok(Quick::Astray),
            Stop::Partial(_) if read < want => {
                let short = request.wait == Wait::OnlyCached;
                return Ok(if short { Quick::NeedsDisk } else { Quick::Astray });
            }
            Stop::Partial(needed) if !may_be(segment, position, needed, left)? => return Ok(Quick::Astray),
            Stop::Partial(_) if !request.at_least_one => return Ok(Quick::Read(0, request.from)),
            Stop::Partial(needed) => want = needed,
        }
    }
    Ok(Quick::Astray)
}

/// Whether a batch of this length can stand there: no memory is taken because a flipped bit says so.
fn may_be(segment: &Segment, position: u64, len: usize, left: usize) -> io::Result<bool> {
    let anchor = segment.ask(Wait::OnlyCached, |index| index.after(position))?.flatten();
    let room = anchor.map_or(left as u64, |anchor| u64::from(anchor.position) - position);
    Ok(len as u64 <= room.min(left as u64))
}
