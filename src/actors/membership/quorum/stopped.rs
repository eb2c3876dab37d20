//! The folder of a member that does not run: what it says, and how more is written to it.
//!
//! Only where this member is the one voter may anything be written: then what is in its log is committed, and nobody else can
//! have decided anything since. What is written is what a leader would have written, in a term of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use openraft::{EntryPayload, Membership};

use super::{
    Members, Proposal,
    convert::{entry, entry_id, kept_entry, log_id},
    disk::folder,
    machine::{ImageMachine, StateMachine},
    types::{Entry, LogId, RaftNode, SnapshotMeta, StorageError, StoredMembership},
};
use crate::{
    actors::membership::core::{Applied, ApplyError, MetadataImage, Snapshot},
    model::{NodeId, RaftId},
    storage::{
        fs::{Fs, LockWait},
        metadata_log::codec::{self, CodecError},
        quorum_log::{self, Change, EntryId, LogState, Opened, QuorumLog, Vote, WriteError},
    },
};

/// Why a folder cannot be read, or written to.
#[derive(Debug, thiserror::Error)]
pub enum StoppedError {
    /// Its files cannot be opened, or are damaged.
    #[error(transparent)]
    Open(#[from] quorum_log::OpenError),
    /// What is in the snapshot is of another version, or what is to be written cannot be.
    #[error("metadata quorum: {0}")]
    Codec(#[from] CodecError),
    /// An entry is of another version.
    #[error("metadata quorum: {0}")]
    Entry(Box<StorageError>),
    /// An entry does not follow from those before it.
    #[error("metadata quorum: entry {index}: {source}")]
    Apply {
        /// Which.
        index: u64,
        /// What is wrong with it.
        source: ApplyError,
    },
    /// The changes are not on disk.
    #[error("metadata quorum: {0}")]
    Write(#[from] WriteError),
    /// The snapshot is not on disk.
    #[error("metadata quorum: cannot write the snapshot: {0}")]
    Snapshot(io::Error),
    /// Others vote too, and may have decided otherwise.
    #[error(
        "{} belongs to a node of a cluster of several: what topics there are is for its voters to say",
        .0.display()
    )]
    OthersVote(PathBuf),
    /// The folder is another node's.
    #[error("data folder {} belongs to node {owner}, not to node {given}", path.display())]
    AnotherNode {
        /// The data folder.
        path: PathBuf,
        /// Whose it is.
        owner: NodeId,
        /// Who asked.
        given: NodeId,
    },
}

/// What the folder of a member says.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// The state at the snapshot; an empty one where there is none.
    pub at_snapshot: MetadataImage,
    /// The state that this member knows to be committed.
    pub image: MetadataImage,
    /// The entries behind the snapshot, oldest first, whether they are committed or not.
    pub entries: Vec<(u64, Content)>,
    /// Who is a member, by the last entry that says so.
    pub members: Members,
    /// The member whose folder this is; `None` while it has not got an id.
    pub owner: Option<RaftId>,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A leader has begun.
    Begun,
    /// These are the members now.
    Members(Members),
    /// The state changes.
    Proposal(Proposal),
}

impl Stopped {
    /// Whether this member decides alone.
    pub fn is_only_voter(&self) -> bool {
        let Some(owner) = self.owner else { return false };
        self.members.voters.iter().all(|set| set.iter().eq([&owner])) && !self.members.voters.is_empty()
    }

    /// The node whose folder this is, where it is a member already.
    pub fn node(&self) -> Option<NodeId> {
        self.members.nodes.get(&self.owner?).map(|member| member.node)
    }
}

/// What the folder of the quorum within `data_dir` says, read without changing it; `None` where nothing of a cluster is there.
pub fn look(fs: &dyn Fs, data_dir: &Path) -> Result<Option<Stopped>, StoppedError> {
    let Some((state, snapshot)) = quorum_log::look(fs, &folder(data_dir))? else { return Ok(None) };
    let stopped = replay(&state, snapshot.as_ref())?;
    let is_blank = snapshot.is_none() && state.last().is_none();
    Ok((!is_blank).then_some(stopped))
}

fn replay(state: &LogState, snapshot: Option<&quorum_log::Snapshot>) -> Result<Stopped, StoppedError> {
    let mut machine = ImageMachine::default();
    let (mut membership, mut applied_to) = (StoredMembership::default(), None);
    if let Some(kept) = snapshot {
        let meta: SnapshotMeta = codec::decode(&kept.meta)?;
        machine = ImageMachine::restore(&kept.payload)?;
        membership = meta.last_membership;
        applied_to = Some(kept.last.index);
    }
    let mut stopped = Stopped {
        at_snapshot: MetadataImage::clone(&machine.image()),
        image: MetadataImage::default(),
        entries: Vec::new(),
        members: members(membership.membership()),
        owner: state.owner().map(RaftId::new),
    };
    let kept = state.entries().values().filter(|kept| applied_to.is_none_or(|upto| kept.id.index > upto));
    let entries: Vec<Entry> =
        kept.map(entry).collect::<Result<_, _>>().map_err(|error| StoppedError::Entry(Box::new(error)))?;
    for entry in entries {
        let content = content(entry.payload);
        if let Content::Members(members) = &content {
            stopped.members.clone_from(members);
        }
        stopped.entries.push((entry.log_id.index, content));
    }
    let committed = if stopped.is_only_voter() { state.last() } else { state.committed() };
    for (index, content) in &stopped.entries {
        if let Content::Proposal(proposal) = content
            && committed.is_some_and(|committed| *index <= committed.index)
            && let Applied::Broken(source) = machine.apply(*index, proposal)
        {
            return Err(StoppedError::Apply { index: *index, source });
        }
    }
    stopped.image = MetadataImage::clone(&machine.image());
    Ok(stopped)
}

fn content(payload: EntryPayload<super::types::TypeConfig>) -> Content {
    match payload {
        EntryPayload::Blank => Content::Begun,
        EntryPayload::Membership(membership) => Content::Members(members(&membership)),
        EntryPayload::Normal(proposal) => Content::Proposal(proposal),
    }
}

fn members(membership: &Membership<u64, RaftNode>) -> Members {
    let ids = |set: &BTreeSet<u64>| set.iter().copied().map(RaftId::new).collect();
    Members {
        voters: membership.get_joint_config().iter().map(ids).collect(),
        nodes: membership.nodes().map(|(id, node)| super::types::member(*id, node)).collect(),
        ..Members::default()
    }
}

/// A quorum of this node alone, with an address that its next start knows better.
fn alone(owner: RaftId, node: NodeId) -> Membership<u64, RaftNode> {
    let member = RaftNode { node, address: String::new() };
    Membership::new(vec![BTreeSet::from([owner.get()])], BTreeMap::from([(owner.get(), member)]))
}

/// The one who may write to the folder of a member while this is held.
#[derive(Debug)]
pub struct StoppedQuorum {
    log: QuorumLog,
    owner: RaftId,
    node: NodeId,
    /// Nothing is a member of anything yet: this one begins.
    begins: bool,
}

impl StoppedQuorum {
    /// Opens the folder of the quorum within `data_dir`, whose lock the caller holds, or makes it: then it is to be one of this
    /// node alone.
    pub fn open(
        fs: Arc<dyn Fs>,
        data_dir: &Path,
        node: NodeId,
    ) -> Result<(Self, MetadataImage), StoppedError> {
        let Opened { mut log, snapshots, .. } = QuorumLog::open(fs, &folder(data_dir), LockWait::Fail)?;
        let snapshot = snapshots.load().map_err(|source| quorum_log::OpenError::Snapshot {
            path: snapshots.path().to_path_buf(),
            source,
        })?;
        let begins = snapshot.is_none() && log.state().last().is_none();
        let stopped = replay(log.state(), snapshot.as_ref())?;
        if !begins && !stopped.is_only_voter() {
            return Err(StoppedError::OthersVote(data_dir.to_path_buf()));
        }
        if let Some(owner) = stopped.node().filter(|owner| *owner != node) {
            return Err(StoppedError::AnotherNode { path: data_dir.to_path_buf(), owner, given: node });
        }
        let owner = stopped.owner.unwrap_or(RaftId::UNKNOWN);
        if let Some(kept) = &snapshot {
            go_on_behind(&mut log, kept.last)?;
        }
        Ok((Self { log, owner, node, begins }, stopped.image))
    }

    /// The index of the next entry of [`StoppedQuorum::write`] that changes the state.
    pub fn next_index(&self) -> u64 {
        if self.begins { 1 } else { self.log.state().last().map_or(0, |last| last.index) + 1 }
    }

    /// Writes proposals, all or none: they are on disk, and committed, when this returns.
    pub fn write(&mut self, proposals: &[Proposal]) -> Result<(), StoppedError> {
        let mut entries = Vec::new();
        if self.begins {
            // As the consensus library begins.
            let membership = EntryPayload::Membership(alone(self.owner, self.node));
            entries.push(Entry { log_id: LogId::default(), payload: membership });
        }
        let state = self.log.state();
        let term = state.vote().map_or(0, |vote| vote.term).max(state.last().map_or(0, |last| last.term)) + 1;
        for (index, proposal) in (self.next_index()..).zip(proposals) {
            let log_id = log_id(EntryId { term, node: self.owner.get(), index });
            entries.push(Entry { log_id, payload: EntryPayload::Normal(proposal.clone()) });
        }
        let mut changes = vec![Change::Vote(Vote { term, node: self.owner.get(), committed: true })];
        for entry in &entries {
            changes.push(Change::Append(kept_entry(entry)?));
        }
        changes.extend(entries.last().map(|last| Change::Committed(entry_id(&last.log_id))));
        self.log.write(changes)?;
        self.begins = false;
        Ok(())
    }
}

/// Makes a quorum of this node alone whose state is `image`, of a cluster that had no quorum before. The folder's lock is the
/// caller's. It is there as a whole or not at all.
pub fn adopt(
    fs: Arc<dyn Fs>,
    data_dir: &Path,
    node: NodeId,
    image: &MetadataImage,
) -> Result<(), StoppedError> {
    let Opened { mut log, snapshots, .. } = QuorumLog::open(fs, &folder(data_dir), LockWait::Fail)?;
    let owner = RaftId::new(log.state().owner().unwrap_or_default());
    // Before any term: no leader has written it.
    let last = EntryId { term: 0, node: 0, index: image.index() };
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(last)),
        last_membership: StoredMembership::new(Some(LogId::default()), alone(owner, node)),
        snapshot_id: log_id(last).to_string(),
    };
    let kept = quorum_log::Snapshot {
        last,
        meta: codec::encode(&meta)?,
        payload: codec::encode(&Snapshot::of(image))?,
    };
    snapshots.save(&kept).map_err(StoppedError::Snapshot)?;
    Ok(go_on_behind(&mut log, last)?)
}

/// The next entry of the log is the one behind the snapshot, also where the log knows nothing of that yet.
fn go_on_behind(log: &mut QuorumLog, snapshot: EntryId) -> Result<(), WriteError> {
    if log.state().last().is_some_and(|last| last.index >= snapshot.index) {
        return Ok(());
    }
    log.write(vec![Change::Purge(snapshot)])
}
