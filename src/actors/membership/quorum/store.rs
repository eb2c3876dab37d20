//! The state machine and its snapshots as `openraft` sees them.

use std::{
    collections::BTreeSet,
    io::{self, Cursor},
    sync::Arc,
};

use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, storage::RaftStateMachine};
use tokio::sync::{oneshot, watch};

use super::{
    super::core::{Applied, MetadataImage},
    convert::{any, entry_id},
    error::StartupError,
    machine::StateMachine,
    types::{
        Entry, LogId, RaftNode, SnapshotMeta, StorageError, StorageIoError, StoredMembership, TypeConfig,
    },
};
use crate::{
    model::RaftId,
    storage::{
        metadata_log::codec::{self, CodecError},
        own_file::OwnFileError,
        quorum_log::{self, SnapshotFile},
    },
};

/// The state, how far it has come, and who looks at it.
pub(super) struct MachineStore<M> {
    machine: M,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    snapshots: SnapshotFile,
    published: Arc<watch::Sender<Arc<MetadataImage>>>,
    voters: watch::Sender<BTreeSet<RaftId>>,
    /// Gone when nobody can touch the files any more; last, after them.
    alive: Alive,
}

type Alive = Arc<oneshot::Sender<()>>;

/// A view of the state to make a snapshot of.
pub(super) struct Builder<M> {
    machine: M,
    meta: SnapshotMeta,
    snapshots: SnapshotFile,
    _alive: Alive,
}

impl<M: StateMachine> MachineStore<M> {
    /// The state as the snapshot has it; what the log has beyond is applied again by `openraft`.
    pub(super) async fn open(
        snapshots: SnapshotFile,
        published: Arc<watch::Sender<Arc<MetadataImage>>>,
        voters: watch::Sender<BTreeSet<RaftId>>,
        alive: oneshot::Sender<()>,
    ) -> Result<Self, StartupError> {
        let mut store = Self {
            machine: M::default(),
            last_applied: None,
            membership: StoredMembership::default(),
            snapshots,
            published,
            voters,
            alive: Arc::new(alive),
        };
        if let Some(kept) = load(&store.snapshots).await? {
            let (meta, machine) = read(&kept).map_err(StartupError::Snapshot)?;
            store.replace(&meta, machine);
        }
        Ok(store)
    }

    fn replace(&mut self, meta: &SnapshotMeta, machine: M) {
        self.machine = machine;
        self.last_applied = meta.last_log_id;
        self.entered(meta.last_membership.clone());
        self.publish();
    }

    /// Half of a change counts for nothing yet: who is in one of its two sets only is no voter that could be relied on.
    fn entered(&mut self, membership: StoredMembership) {
        self.membership = membership;
        let sets = self.membership.membership().get_joint_config();
        let in_all = |id: &u64| sets.iter().all(|set| set.contains(id));
        let all = self.membership.membership().voter_ids();
        self.voters.send_replace(all.filter(in_all).map(RaftId::new).collect());
    }

    /// A start begins with what is known to be committed, which may be less than what an earlier start of this process
    /// had shown. Nobody sees the state go back: it waits until it is there again.
    fn publish(&self) {
        let image = self.machine.image();
        self.published.send_if_modified(|before| {
            let is_news = image.index() > before.index();
            if is_news {
                *before = image;
            }
            is_news
        });
    }

    fn apply_one(&mut self, entry: Entry) -> Applied {
        self.last_applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => Applied::Done,
            EntryPayload::Membership(membership) => {
                self.entered(StoredMembership::new(Some(entry.log_id), membership));
                Applied::Done
            }
            EntryPayload::Normal(proposal) => {
                let applied = self.machine.apply(entry.log_id.index, &proposal);
                if let Applied::Broken(why) = &applied {
                    tracing::error!(
                        index = entry.log_id.index,
                        %why,
                        "a committed proposal cannot be applied"
                    );
                }
                applied
            }
        }
    }
}

/// The file, read on a thread that may block.
async fn load(snapshots: &SnapshotFile) -> Result<Option<quorum_log::Snapshot>, StartupError> {
    let file = snapshots.clone();
    let loaded = tokio::task::spawn_blocking(move || file.load()).await;
    Ok(loaded.map_err(|_| StartupError::ThreadEnded)?.map_err(unreadable(snapshots))?)
}

fn unreadable(snapshots: &SnapshotFile) -> impl FnOnce(OwnFileError) -> quorum_log::OpenError {
    let path = snapshots.path().to_path_buf();
    |source| quorum_log::OpenError::Snapshot { path, source }
}

fn read<M: StateMachine>(kept: &quorum_log::Snapshot) -> Result<(SnapshotMeta, M), CodecError> {
    Ok((codec::decode(&kept.meta)?, M::restore(&kept.payload)?))
}

/// Keeps a snapshot on a thread that may block.
async fn save(
    snapshots: SnapshotFile,
    meta: SnapshotMeta,
    payload: impl FnOnce() -> Result<Vec<u8>, CodecError> + Send + 'static,
) -> Result<Vec<u8>, StorageIoError> {
    let signature = Some(meta.signature());
    let work = move || -> Result<Vec<u8>, io::Error> {
        let payload = payload().map_err(io::Error::other)?;
        let Some(last) = meta.last_log_id.as_ref() else { return Ok(payload) };
        let kept = quorum_log::Snapshot {
            last: entry_id(last),
            meta: codec::encode(&meta).map_err(io::Error::other)?,
            payload,
        };
        // Not kept if a newer one came from the leader meanwhile.
        snapshots.save(&kept)?;
        Ok(kept.payload)
    };
    let saved = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    saved.map_err(|error| StorageIoError::write_snapshot(signature, any(&error)))
}

impl<M: StateMachine> RaftSnapshotBuilder<TypeConfig> for Builder<M> {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let (machine, meta) = (self.machine.clone(), self.meta.clone());
        let payload = save(self.snapshots.clone(), meta.clone(), move || machine.snapshot()).await?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(payload)) })
    }
}

impl<M: StateMachine> RaftStateMachine<TypeConfig> for MachineStore<M> {
    type SnapshotBuilder = Builder<M>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Applied>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let applied = entries.into_iter().map(|entry| self.apply_one(entry)).collect();
        // Before anybody is told that something was applied.
        self.publish();
        Ok(applied)
    }

    async fn get_snapshot_builder(&mut self) -> Builder<M> {
        let id = self.last_applied.map_or_else(|| "blank".to_owned(), |last| last.to_string());
        Builder {
            machine: self.machine.clone(),
            meta: SnapshotMeta {
                last_log_id: self.last_applied,
                last_membership: self.membership.clone(),
                snapshot_id: id,
            },
            snapshots: self.snapshots.clone(),
            _alive: Arc::clone(&self.alive),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &openraft::SnapshotMeta<u64, RaftNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let payload = snapshot.into_inner();
        let machine = M::restore(&payload)
            .map_err(|error| StorageIoError::read_snapshot(Some(meta.signature()), any(&error)))?;
        save(self.snapshots.clone(), meta.clone(), move || Ok(payload)).await?;
        self.replace(meta, machine);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let loaded = load(&self.snapshots).await;
        let Some(kept) = loaded.map_err(|error| StorageIoError::read_snapshot(None, any(&error)))? else {
            return Ok(None);
        };
        let meta =
            codec::decode(&kept.meta).map_err(|error| StorageIoError::read_snapshot(None, any(&error)))?;
        Ok(Some(Snapshot { meta, snapshot: Box::new(Cursor::new(kept.payload)) }))
    }
}
