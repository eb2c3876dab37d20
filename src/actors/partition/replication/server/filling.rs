//! Frames for a follower, in the buffer that is written next.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicI64, Ordering},
};

use bytes::BytesMut;

use super::{
    super::{
        WINDOW,
        frame::{Channel, DATA_HEAD, ToFollower, Watermark, put_data_head},
    },
    Fed,
};
use crate::{
    actors::partition::{ReadBuffer, ReadRequest, Verify, Wait},
    model::Offset,
    storage::log::ReadSpace,
};

/// A follower that is below the log's start although it was not when it subscribed begins within the batch that holds it.
pub(super) fn request(fed: &Fed, credit: usize, wait: Wait) -> ReadRequest {
    ReadRequest {
        from: fed.next.max(fed.leader.reader.log_start_offset()),
        upto: Offset::MAX,
        max_bytes: WINDOW.min(credit),
        at_least_one: true,
        // The follower checks each batch before it appends it.
        verify: if fed.is_first { Verify::Always } else { Verify::Never },
        wait,
    }
}

/// Makes a frame of what stands in `out` from `at` on: the place of its head, and batches.
pub(super) fn put(
    fed: &mut Fed,
    channel: Channel,
    next: Offset,
    at: usize,
    credit: &AtomicI64,
    (head, out): (&mut BytesMut, &mut ReadBuffer),
) {
    let bytes = out.len().saturating_sub(at + DATA_HEAD);
    let (high_watermark, log_start) = fed.ends();
    let ends = Watermark { channel, session: fed.session, high_watermark, log_start };
    head.clear();
    put_data_head(head, &ends, fed.next, next, bytes);
    if let Some(place) = out.as_mut_slice().get_mut(at..at + DATA_HEAD) {
        place.copy_from_slice(head);
    }
    credit.fetch_sub(bytes as i64, Ordering::AcqRel);
    fed.on_the_way.push_back((next, bytes));
    fed.bytes_on_the_way += bytes;
    fed.is_first = false;
    (fed.next, fed.told) = (next, (high_watermark, log_start));
}

pub(super) fn put_frame(frame: &ToFollower, head: &mut BytesMut, out: &mut ReadBuffer) {
    head.clear();
    frame.encode(head);
    out.append(head);
}

pub(super) fn resign(
    all: &mut BTreeMap<Channel, Fed>,
    channel: Channel,
    head: &mut BytesMut,
    out: &mut ReadBuffer,
) {
    if let Some(fed) = all.remove(&channel) {
        put_frame(&ToFollower::Resigned { channel, session: fed.session }, head, out);
    }
}
