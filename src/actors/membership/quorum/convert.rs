//! Between `openraft`'s names for things and those of the files.

use openraft::{CommittedLeaderId, EntryPayload};

use super::types::{Entry, LogId, StorageError, StorageIoError, Vote};
use crate::storage::{
    metadata_log::codec::{self, CodecError},
    quorum_log::{self, EntryId},
};

pub(super) fn entry_id(id: &LogId) -> EntryId {
    EntryId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

pub(super) fn log_id(id: EntryId) -> LogId {
    LogId::new(CommittedLeaderId::new(id.term, id.node), id.index)
}

pub(super) fn kept_vote(vote: &Vote) -> quorum_log::Vote {
    quorum_log::Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

pub(super) fn vote(kept: quorum_log::Vote) -> Vote {
    if kept.committed { Vote::new_committed(kept.term, kept.node) } else { Vote::new(kept.term, kept.node) }
}

pub(super) fn kept_entry(entry: &Entry) -> Result<quorum_log::Entry, CodecError> {
    Ok(quorum_log::Entry { id: entry_id(&entry.log_id), payload: codec::encode(&entry.payload)?.into() })
}

pub(super) fn entry(kept: &quorum_log::Entry) -> Result<Entry, StorageError> {
    let log_id = log_id(kept.id);
    let payload: EntryPayload<_> =
        codec::decode(&kept.payload).map_err(|error| StorageIoError::read_log_entry(log_id, any(&error)))?;
    Ok(Entry { log_id, payload })
}

/// An error as `openraft` passes it on.
pub(super) fn any(error: &(impl std::error::Error + 'static)) -> openraft::AnyError {
    openraft::AnyError::new(error)
}
