//! The metadata quorum: one log of proposals that a majority of its voters has on disk, and the state it leads to.
//!
//! Consensus is `openraft`'s; the files, the bytes between members and what an entry means are ours.
//!
//! **Invariants.**
//! - A vote and an entry are on disk before anybody is told of them; the log, the vote, the snapshot and the
//!   member's id are lost together or not at all (S17).
//! - No task waits for the disk: the thread `quorum-log` owns the log, one write and one sync for all that waits.
//! - A start is never leadership: a member that led before it went down asks for votes again, in a higher term.
//! - A proposal is applied once or not at all. Where its outcome is not known, it is [unknown](QuorumError::Unknown),
//!   and nobody here tries again.
//! - A failed write ends the member ([`Quorum::wait_failed`]); the next start reads what is on disk.
#![allow(clippy::result_large_err, reason = "the consensus library's errors are as large as they are")]

mod convert;
mod disk;
mod error;
mod leadership;
mod log_store;
mod machine;
mod members;
mod peers;
mod stopped;
mod store;
mod succession;
mod types;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    Config, RaftState, ServerState, SnapshotPolicy,
    error::{ClientWriteError, Fatal, InitializeError, RaftError},
};
use tokio::{
    sync::{oneshot, watch},
    task::AbortHandle,
};

use self::{
    disk::{Disk, Place},
    error::StartupError,
    leadership::leader_of,
    log_store::LogStore,
    machine::ImageMachine,
    peers::Network,
    store::MachineStore,
    types::{Metrics, Raft},
};
pub use self::{
    error::{QuorumError, Refused, StartupError as QuorumStartupError},
    leadership::Leadership,
    members::Members,
    peers::{PeerError, RaftPeers},
    stopped::{Content, Stopped, StoppedError, StoppedQuorum, adopt, look},
    types::RaftNode,
};
use super::core::MetadataImage;
pub use super::core::{Applied, Proposal};
use crate::{
    config::node::QuorumPace,
    model::RaftId,
    storage::{
        fs::{Fs, LockWait},
        quorum_log::{Change, LogState, Vote},
    },
};

/// The folder of the quorum within the data folder.
pub const QUORUM_DIR: &str = "quorum";

/// How long a proposal may take before its outcome is unknown.
const PROPOSE_WITHIN: Duration = Duration::from_secs(5);
/// Entries after which a snapshot is due.
const SNAPSHOT_EVERY: u64 = 2_000;
/// Entries that are kept beyond a snapshot, for those who are a little behind.
const KEEP_ENTRIES: u64 = 500;

/// What a member stands on.
#[derive(Clone)]
pub struct QuorumArgs {
    /// The file system.
    pub fs: Arc<dyn Fs>,
    /// The node's data folder, which exists: the quorum is in its folder [`QUORUM_DIR`].
    pub data_dir: PathBuf,
    /// [`LockWait::Block`] where an earlier member of this process may still hold the folder.
    pub wait: LockWait,
    /// How long the others may take.
    pub pace: QuorumPace,
    /// The way to the others.
    pub peers: Arc<dyn RaftPeers>,
    /// Where the state is published, over all starts.
    pub published: Arc<watch::Sender<Arc<MetadataImage>>>,
}

/// A member of the quorum that runs; a copy is the same member. When the last one is gone, it ends.
#[derive(Clone)]
pub struct Quorum {
    inner: Arc<Inner>,
}

struct Inner {
    id: RaftId,
    pace: QuorumPace,
    raft: Raft,
    published: Arc<watch::Sender<Arc<MetadataImage>>>,
    leadership: watch::Receiver<Leadership>,
    roster: watch::Receiver<Arc<Members>>,
    committed_voters: watch::Receiver<BTreeSet<RaftId>>,
    follower: AbortHandle,
    /// Until it is stopped.
    disk: Mutex<Option<Disk>>,
    ended: tokio::sync::Mutex<Vec<oneshot::Receiver<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// Where an entry came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// It counts, and the image that is published has it.
    Applied {
        /// The entry's index: of [`Proposal::Elected`], the controller's epoch.
        index: u64,
    },
    /// Another controller had begun before: nothing has changed.
    Stale,
}

impl Quorum {
    /// Opens the files, starts consensus, and goes on with what was known. The only voter leads when this returns,
    /// or soon after.
    pub async fn start(args: QuorumArgs) -> Result<Self, StartupError> {
        Self::start_with(args, SNAPSHOT_EVERY).await
    }

    async fn start_with(args: QuorumArgs, snapshot_every: u64) -> Result<Self, StartupError> {
        let place = Place { dir: disk::folder(&args.data_dir), fs: args.fs, wait: args.wait };
        let started = disk::start(place).await?;
        let id = RaftId::new(started.state.owner().ok_or(StartupError::ThreadEnded)?);
        let (alive, machine_ended) = oneshot::channel();
        let (counted, committed_voters) = watch::channel(BTreeSet::new());
        let published = Arc::clone(&args.published);
        let machine =
            MachineStore::<ImageMachine>::open(started.snapshots, published, counted, alive).await?;
        let log = LogStore::new(started.disk.clone(), without_leadership(started.state));
        let network = Network { us: id, peers: args.peers };
        let pace = args.pace;
        let config = Arc::new(config(pace, snapshot_every));
        let raft = Raft::new(id.get(), config, network, log, machine).await;
        let raft = raft.map_err(|error| StartupError::Raft(error.to_string()))?;
        let (told, leadership) = watch::channel(Leadership::default());
        let (list, roster) = watch::channel(Arc::default());
        let follower = tokio::spawn(leadership::follow(raft.clone(), told, list)).abort_handle();
        let quorum = Self {
            inner: Arc::new(Inner {
                id,
                pace,
                raft,
                published: args.published,
                leadership,
                roster,
                committed_voters,
                follower,
                disk: Mutex::new(Some(started.disk)),
                ended: tokio::sync::Mutex::new(vec![started.ended, machine_ended]),
            }),
        };
        quorum.lead_if_alone().await?;
        Ok(quorum)
    }

    /// The only voter need not wait whether somebody else asks for its vote.
    async fn lead_if_alone(&self) -> Result<(), StartupError> {
        let failed = |error: Fatal<u64>| StartupError::Raft(error.to_string());
        // Asked of the core itself, which has begun once it answers: the metrics are true from here on.
        let voters = |state: &RaftState<u64, RaftNode, _>| -> Vec<u64> {
            state.membership_state.effective().voter_ids().collect()
        };
        let voters = self.inner.raft.with_raft_state(voters).await.map_err(failed)?;
        if voters == [self.inner.id.get()] {
            self.inner.raft.trigger().elect().await.map_err(failed)?;
        }
        Ok(())
    }

    /// Who this member is, for as long as its folder lives.
    pub fn id(&self) -> RaftId {
        self.inner.id
    }

    /// Whether it has never been a member of anything, and never voted.
    pub fn is_blank(&self) -> bool {
        self.metrics(|metrics| {
            metrics.last_log_index.is_none() && metrics.snapshot.is_none() && metrics.vote.leader_id.term == 0
        })
    }

    /// The state, as far as this member has applied it.
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.inner.published.borrow())
    }

    /// The state as it changes.
    pub fn watch_image(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.inner.published.subscribe()
    }

    /// Who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Who is a member, as it changes. How far they have the log is not said.
    pub fn roster(&self) -> watch::Receiver<Arc<Members>> {
        self.inner.roster.clone()
    }

    /// Whose votes are known to count, of whoever leads next too: by what this member knows to be committed, and during a change
    /// those who vote before it and after it.
    pub fn committed_voters(&self) -> BTreeSet<RaftId> {
        self.inner.committed_voters.borrow().clone()
    }

    /// Makes a quorum of these voters. This member is one of them and blank, as all are.
    pub async fn initialize(&self, voters: BTreeMap<RaftId, RaftNode>) -> Result<(), QuorumError> {
        if voters.len().is_multiple_of(2) {
            return Err(Refused::Even(voters.len()).into());
        }
        let nodes: BTreeMap<u64, RaftNode> = voters.into_iter().map(|(id, node)| (id.get(), node)).collect();
        self.inner.raft.initialize(nodes).await.map_err(|error| match error {
            RaftError::APIError(InitializeError::NotAllowed(_)) => Refused::Initialised.into(),
            RaftError::APIError(InitializeError::NotInMembers(_)) => Refused::NotAmongThem.into(),
            RaftError::Fatal(error) => QuorumError::Ended(error.to_string()),
        })
    }

    /// Puts a proposal into the log, and answers when it is applied here. Dropping the future takes nothing back.
    pub async fn propose(&self, proposal: Proposal) -> Result<Proposed, QuorumError> {
        self.check_leads()?;
        let disk = self.inner.disk.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(disk) = disk
            && !proposal.keeps_going()
            && !disk.has_space().await
        {
            return Err(QuorumError::StorageFull);
        }
        let written = tokio::time::timeout(PROPOSE_WITHIN, self.inner.raft.client_write(proposal)).await;
        let written = written.map_err(|_| QuorumError::Unknown)?.map_err(|error| unknown_or(&error))?;
        match written.data {
            Applied::Done => Ok(Proposed::Applied { index: written.log_id.index }),
            Applied::Stale => Ok(Proposed::Stale),
            Applied::Broken(why) => Err(QuorumError::Broken(why.to_string())),
        }
    }

    /// Answers a call of another member.
    pub async fn serve(&self, body: Bytes) -> Bytes {
        peers::serve(self.inner.id, &self.inner.raft, &body).await
    }

    /// Lets go of leadership where there are others to take it: it keeps silent until one of them has asked for votes.
    /// Whether it has let go within the time. What is proposed meanwhile puts it off.
    pub async fn step_down(&self, within: Duration) -> bool {
        let raft = &self.inner.raft;
        raft.runtime_config().heartbeat(false);
        let mut metrics = raft.metrics();
        let follows = metrics.wait_for(|metrics| metrics.state != ServerState::Leader);
        let has_stepped_down = matches!(tokio::time::timeout(within, follows).await, Ok(Ok(_)));
        raft.runtime_config().heartbeat(true);
        has_stepped_down
    }

    /// Resolves when this member has failed, or was stopped, and says why.
    pub async fn wait_failed(&self) -> String {
        let mut metrics = self.inner.raft.metrics();
        match metrics.wait_for(|metrics| metrics.running_state.is_err()).await {
            Ok(metrics) => metrics.running_state.as_ref().err().map_or_else(String::new, ToString::to_string),
            Err(_) => "consensus has ended".to_owned(),
        }
    }

    /// Ends the member, and resolves when its folder is free for whoever opens it next.
    pub async fn stop(&self) {
        let _ended_either_way = self.inner.raft.shutdown().await;
        self.inner.follower.abort();
        drop(self.inner.disk.lock().unwrap_or_else(PoisonError::into_inner).take());
        for ended in self.inner.ended.lock().await.drain(..) {
            let _ended_either_way = ended.await;
        }
    }

    fn metrics<T>(&self, look: impl FnOnce(&Metrics) -> T) -> T {
        look(&self.inner.raft.metrics().borrow())
    }

    fn check_leads(&self) -> Result<(), QuorumError> {
        self.metrics(|metrics| match &metrics.running_state {
            Err(error) => Err(QuorumError::Ended(error.to_string())),
            Ok(()) if metrics.state == ServerState::Leader => Ok(()),
            Ok(()) => Err(QuorumError::NotLeader { leader: leader_of(metrics) }),
        })
    }
}

impl fmt::Debug for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quorum").field("id", &self.inner.id).finish_non_exhaustive()
    }
}

/// Of a proposal that a leader has taken. That another one leads now says nothing about it: what was cut from this
/// member's log may be in another's, and be committed by that one.
fn unknown_or(error: &RaftError<u64, ClientWriteError<u64, RaftNode>>) -> QuorumError {
    match error {
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => members::refused(error).into(),
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) | RaftError::Fatal(_) => {
            QuorumError::Unknown
        }
    }
}

/// A vote that we gave ourselves and that others had joined would make us leader again at once, in the same term. We
/// ask again instead: the promise stays, that it was kept by a majority is forgotten.
fn without_leadership(mut state: LogState) -> LogState {
    if let (Some(vote), owner) = (state.vote(), state.owner())
        && Some(vote.node) == owner
    {
        let asked = Change::Vote(Vote { committed: false, ..vote });
        let _a_vote_is_never_out_of_order = state.change(&asked);
    }
    state
}

fn config(pace: QuorumPace, snapshot_every: u64) -> Config {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: "metadata".to_owned(),
        heartbeat_interval: millis(pace.heartbeat_interval),
        election_timeout_min: millis(pace.election_timeout),
        election_timeout_max: millis(pace.election_timeout.saturating_mul(3) / 2),
        install_snapshot_timeout: 5_000,
        max_payload_entries: 300,
        replication_lag_threshold: snapshot_every.saturating_mul(2),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_every),
        snapshot_max_chunk_size: 512 << 10,
        max_in_snapshot_log_to_keep: KEEP_ENTRIES.min(snapshot_every / 4),
        ..Config::default()
    }
}
