use std::{io, sync::Arc};

use super::{
    read::{ReadRequest, Verify},
    reader::FileRange,
    shared::Shared,
};
use crate::{
    model::Offset,
    record::{BATCH_HEADER_LEN, BatchHeader},
    storage::{
        fs::File,
        segment::{Located, Segment, Wait, read_with},
    },
};

/// Finds whole batches by the index and a look at two heads; see [`super::LogReader::file_range`].
pub(super) fn file_range(
    shared: &Shared,
    segment: &Arc<Segment>,
    request: &ReadRequest,
) -> io::Result<Option<FileRange>> {
    let Some(file) = segment.file(request.wait)? else { return Ok(None) };
    let (end, size) = segment.published();
    let Located::At(position, base) = segment.locate(request.from, request.wait)? else { return Ok(None) };
    let mut first = [0; BATCH_HEADER_LEN];
    let Some(BATCH_HEADER_LEN) = read_with(&*file, &mut first, position, request.wait)? else {
        return Ok(None);
    };
    let Ok(header) = BatchHeader::parse(&first) else { return Ok(None) };
    let fits = header.total_len() <= request.max_bytes || request.at_least_one;
    let rule = shared.epoch_rule();
    let in_place = header.base_offset == base
        && rule.allows(base, header.partition_leader_epoch)
        && rule.allows_reach(base, header.next_offset());
    if !in_place
        || !fits
        || header.next_offset() > request.upto
        || header.next_offset() > end
        || position + header.total_len() as u64 > size
    {
        return Ok(None);
    }
    let behind_first = (position + header.total_len() as u64, header.next_offset());
    let wanted = last_boundary(segment, request, position, (end, size))?;
    let wanted = wanted.filter(|(to, _)| *to > behind_first.0);
    let (to, next) = match wanted {
        Some((to, next)) if to == size || begins_at(&*file, to, next, request.wait)? => (to, next),
        Some(_) | None => behind_first,
    };
    if request.verify != Verify::Never && !segment.is_verified(to) {
        return Ok(None);
    }
    segment.remember(next, to);
    let len = usize::try_from(to - position).unwrap_or(usize::MAX);
    Ok(Some(FileRange { file, position, len, next }))
}

/// Whether the batch of this offset begins there: an index is never the truth.
fn begins_at(file: &dyn File, position: u64, base: Offset, wait: Wait) -> io::Result<bool> {
    let mut head = [0; BATCH_HEADER_LEN];
    let Some(BATCH_HEADER_LEN) = read_with(file, &mut head, position, wait)? else { return Ok(false) };
    Ok(BatchHeader::parse(&head).is_ok_and(|header| header.base_offset == base))
}

/// The furthest place that the request reaches to and at which a batch is known to begin.
fn last_boundary(
    segment: &Segment,
    request: &ReadRequest,
    position: u64,
    (end, size): (Offset, u64),
) -> io::Result<Option<(u64, Offset)>> {
    let furthest = position.saturating_add(request.max_bytes as u64);
    if end <= request.upto && size <= furthest {
        return Ok(Some((size, end)));
    }
    if request.upto < end
        && let Located::At(to, at) = segment.locate(request.upto, request.wait)?
        && at == request.upto
        && to <= furthest
    {
        return Ok(Some((to, at)));
    }
    let last = segment.ask(Wait::OnlyCached, |index| index.floor_position(furthest))?.flatten();
    let found = last.map(|entry| (u64::from(entry.position), segment.base().plus(i64::from(entry.relative))));
    Ok(found.filter(|(_, next)| *next <= request.upto))
}
