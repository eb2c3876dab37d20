//! The records of `quorum.log`, and the body of `quorum.snapshot`. Numbers are big-endian.
//!
//! The file around the records is that of [`metadata_log`](crate::storage::metadata_log): head (with the
//! magic `PLGQUOR\n`), marks, blocks. A block holds the changes that were written with one sync; the
//! snapshot of a rewritten file holds, one behind the other, each with its length in a u32 before it, the
//! changes that lead to its state.
//!
//! ```text
//! record  0     u8   kind
//!         1     1 owner       u64 raft id
//!               2 append      id, then the payload to the end of the record
//!               3 vote        u64 term, u64 raft id, u8 committed (0 or 1)
//!               4 committed   id
//!               5 truncate    u64 first index that is gone
//!               6 purge       id of the last entry that is gone
//!
//! id      0     u64  term
//!         8     u64  raft id of the term's leader
//!         16    u64  index
//!
//! quorum.snapshot: an envelope of `own_file` with the magic "PLQS", version 1, and in it
//!         0     id   the last entry that the snapshot holds
//!         24    u32  length of the meta
//!         28    meta, then the payload to the end
//! ```

use bytes::Bytes;

use super::state::{Change, Entry, EntryId, Vote};
use crate::storage::metadata_log::JournalKind;

pub(super) const JOURNAL: JournalKind = JournalKind {
    file: "quorum.log",
    new_file: "quorum.log.new",
    magic: *b"PLGQUOR\n",
    ahead_bytes: AHEAD_BYTES,
};

/// A member whose disk others have filled still votes, and hears of tens of thousands of changes.
pub(super) const AHEAD_BYTES: u64 = 4 << 20;

pub(super) fn encode(change: &Change) -> Vec<u8> {
    let mut out = Vec::new();
    match change {
        Change::Owner(owner) => {
            out.push(1);
            out.extend_from_slice(&owner.to_be_bytes());
        }
        Change::Append(entry) => {
            out.push(2);
            put_id(&mut out, entry.id);
            out.extend_from_slice(&entry.payload);
        }
        Change::Vote(vote) => {
            out.push(3);
            out.extend_from_slice(&vote.term.to_be_bytes());
            out.extend_from_slice(&vote.node.to_be_bytes());
            out.push(u8::from(vote.committed));
        }
        Change::Committed(id) => {
            out.push(4);
            put_id(&mut out, *id);
        }
        Change::Truncate(from) => {
            out.push(5);
            out.extend_from_slice(&from.to_be_bytes());
        }
        Change::Purge(upto) => {
            out.push(6);
            put_id(&mut out, *upto);
        }
    }
    out
}

/// `None` if the bytes are no such record.
pub(super) fn decode(record: &[u8]) -> Option<Change> {
    let (kind, mut rest) = record.split_first()?;
    let input = &mut rest;
    let change = match kind {
        1 => Change::Owner(take_u64(input)?),
        2 => {
            let id = take_id(input)?;
            let payload = Bytes::copy_from_slice(std::mem::take(input));
            Change::Append(Entry { id, payload })
        }
        3 => {
            let (term, node) = (take_u64(input)?, take_u64(input)?);
            let committed = match take::<1>(input)? {
                [0] => false,
                [1] => true,
                _ => return None,
            };
            Change::Vote(Vote { term, node, committed })
        }
        4 => Change::Committed(take_id(input)?),
        5 => Change::Truncate(take_u64(input)?),
        6 => Change::Purge(take_id(input)?),
        _ => return None,
    };
    input.is_empty().then_some(change)
}

/// One behind the other; `None` if one is longer than its length can say.
pub(super) fn encode_all(changes: &[Change]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for change in changes {
        let record = encode(change);
        out.extend_from_slice(&u32::try_from(record.len()).ok()?.to_be_bytes());
        out.extend_from_slice(&record);
    }
    Some(out)
}

/// `None` if the bytes are not records one behind the other.
pub(super) fn decode_all(mut bytes: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let len = usize::try_from(u32::from_be_bytes(take(&mut bytes)?)).ok()?;
        let (record, rest) = bytes.split_at_checked(len)?;
        changes.push(decode(record)?);
        bytes = rest;
    }
    Some(changes)
}

pub(super) fn encode_snapshot(last: EntryId, meta: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(28 + meta.len() + payload.len());
    put_id(&mut out, last);
    out.extend_from_slice(&u32::try_from(meta.len()).ok()?.to_be_bytes());
    out.extend_from_slice(meta);
    out.extend_from_slice(payload);
    Some(out)
}

/// The last entry, the meta and the payload.
pub(super) fn decode_snapshot(mut body: &[u8]) -> Option<(EntryId, &[u8], &[u8])> {
    let last = take_id(&mut body)?;
    let len = usize::try_from(u32::from_be_bytes(take(&mut body)?)).ok()?;
    let (meta, payload) = body.split_at_checked(len)?;
    Some((last, meta, payload))
}

fn put_id(out: &mut Vec<u8>, id: EntryId) {
    out.extend_from_slice(&id.term.to_be_bytes());
    out.extend_from_slice(&id.node.to_be_bytes());
    out.extend_from_slice(&id.index.to_be_bytes());
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*taken)
}

fn take_u64(input: &mut &[u8]) -> Option<u64> {
    take(input).map(u64::from_be_bytes)
}

fn take_id(input: &mut &[u8]) -> Option<EntryId> {
    Some(EntryId { term: take_u64(input)?, node: take_u64(input)?, index: take_u64(input)? })
}
