//! The membership registry of a node in a cluster: its part in what the cluster knows, and in how that changes.
//!
//! Topics, configs, leaders, epochs and producer ids are records in the log of the metadata quorum (`quorum`), and
//! every node has the state that they lead to. The registry drives this node's member of the quorum. Where that member leads,
//! the registry is the cluster's *controller*: it decides commands (`core`) and brings what they become into the log.
//! Everybody else's commands are sent to it (`forward`).
//!
//! **Invariants.**
//! - Nothing is answered before what it rests on is applied: on a majority's disks, and in the image that is published here. A
//!   refusal rests on what is applied too.
//! - An epoch, a producer id and a topic id are handed out once, whatever is killed when (S6).
//! - A controller's epoch is the index of its own entry (S19): what an earlier one had on its way changes nothing after that.
//! - No handler waits for the disk or for a peer: a proposal is a task whose outcome comes back as a message.
//! - A member of the quorum that fails ends the registry, and the next one reads what is on disk. A full disk does not: what was
//!   asked is refused, and nothing has changed.

mod elections;
mod handle;
mod message;
mod office;
mod remote;

#[cfg(test)]
pub(crate) mod alone;
#[cfg(test)]
mod alone_tests;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::AbortHandle};

pub use self::{
    handle::{RegistryHandle, Us},
    message::RegistryMessage,
    remote::{CommandPeers, PeerAttempt},
};
use self::{
    message::{Decided, Told},
    office::Office,
};
use super::{
    core::{ApplyError, Command, MetadataImage, Proposal, Rules},
    forward,
    quorum::{Leadership, Members, Proposed, Quorum, QuorumArgs, QuorumError, RaftPeers},
};
use crate::{
    actors::supervise::{Actor, ActorProcessingErr, ActorRef, Address, ChildSpec, Placement, Slot, Vitals},
    clock::Clock,
    config::node::QuorumPace,
    metrics::Metrics,
    model::{BootId, NodeId},
    storage::fs::{Fs, LockWait},
};

/// How long a member that leads and could not begin as the controller waits until it tries again.
const ENTER_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Whether another start of a node than this one holds its lease.
pub type IsAlive = Arc<dyn Fn(NodeId, BootId) -> bool + Send + Sync>;

/// What a registry stands on.
#[derive(Clone)]
pub struct RegistryArgs {
    /// The file system.
    pub fs: Arc<dyn Fs>,
    /// The node's data folder, which exists.
    pub data_dir: PathBuf,
    /// What commands are decided by.
    pub rules: Rules,
    /// How long other members of the quorum may take.
    pub pace: QuorumPace,
    /// The way to other members of the quorum.
    pub peers: Arc<dyn RaftPeers>,
    /// The way of commands to the controller.
    pub commands: Arc<dyn CommandPeers>,
    /// Who is alive: a registration must not replace a start that is.
    pub is_alive: IsAlive,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for RegistryArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryArgs").field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

/// What is published by each incarnation, and outlives it.
#[derive(Clone)]
struct Published {
    image: Arc<watch::Sender<Arc<MetadataImage>>>,
    leadership: Arc<watch::Sender<forward::Leadership<NodeId>>>,
    quorum: Arc<watch::Sender<Option<Quorum>>>,
    roster: Arc<watch::Sender<Arc<Members>>>,
    /// Whether an incarnation of this process has had the folder: its thread may still be at work, and is waited for.
    had_by_us: Arc<AtomicBool>,
}

/// The registry as the child of a supervisor, and the handle that reaches it over all its restarts.
pub fn registry(name: &str, place: Placement, args: RegistryArgs) -> (RegistryHandle, ChildSpec) {
    let slot = Slot::new();
    let published = Published {
        image: Arc::new(watch::Sender::new(Arc::default())),
        leadership: Arc::new(watch::Sender::new(forward::Leadership::None)),
        quorum: Arc::default(),
        roster: Arc::default(),
        had_by_us: Arc::default(),
    };
    let handle = RegistryHandle::new(slot.clone(), &published, &args);
    let spec = ChildSpec::actor(name, place, slot, move |vitals| {
        (QuorumRegistry, IncarnationArgs { args: args.clone(), published: published.clone(), vitals })
    });
    (handle, spec)
}

/// The actor; made by [`registry`].
#[derive(Clone, Copy, Debug)]
pub struct QuorumRegistry;

/// What an incarnation is started with.
pub struct IncarnationArgs {
    args: RegistryArgs,
    published: Published,
    vitals: Arc<Vitals>,
}

/// Whether this node is the controller.
enum Standing {
    /// Another one is, or nobody.
    Follows,
    /// The quorum's member leads in this term, and has proposed that this node be the controller.
    Enters { term: u64 },
    /// It is.
    InOffice { term: u64, office: Box<Office> },
}

/// The state of an incarnation.
pub struct RegistryState {
    args: RegistryArgs,
    published: Published,
    me: Address<RegistryMessage>,
    quorum: Quorum,
    standing: Standing,
    watchers: [AbortHandle; 3],
}

impl Drop for RegistryState {
    fn drop(&mut self) {
        self.watchers.iter().for_each(AbortHandle::abort);
        self.published.quorum.send_replace(None);
        self.published.leadership.send_replace(forward::Leadership::None);
        // Whoever holds a copy of the handle must not keep the folder from the next incarnation.
        let quorum = self.quorum.clone();
        tokio::spawn(async move { quorum.stop().await });
    }
}

/// What ends a running registry; the next one reads what is on disk.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the metadata quorum's member has failed: {0}")]
    Quorum(String),
    #[error("a command was found good and its records do not fit: {0}")]
    Broken(#[from] ApplyError),
}

impl Actor for QuorumRegistry {
    type Msg = RegistryMessage;
    type State = RegistryState;
    type Arguments = IncarnationArgs;

    async fn pre_start(
        &self,
        me: ActorRef<RegistryMessage>,
        incarnation: IncarnationArgs,
    ) -> Result<RegistryState, ActorProcessingErr> {
        let IncarnationArgs { args, published, vitals } = incarnation;
        let me = Address::new(me, vitals);
        let had_by_us = published.had_by_us.load(Ordering::SeqCst);
        let quorum = Quorum::start(QuorumArgs {
            fs: Arc::clone(&args.fs),
            data_dir: args.data_dir.clone(),
            wait: if had_by_us { LockWait::Block } else { LockWait::Fail },
            pace: args.pace,
            peers: Arc::clone(&args.peers),
            published: Arc::clone(&published.image),
        })
        .await?;
        published.had_by_us.store(true, Ordering::SeqCst);
        published.quorum.send_replace(Some(quorum.clone()));
        let leading = tokio::spawn(watch_leadership(me.clone(), quorum.leadership())).abort_handle();
        let failing = tokio::spawn(watch_failure(me.clone(), quorum.clone())).abort_handle();
        let roster = watch_roster(Arc::clone(&published.roster), quorum.roster());
        let watchers = [leading, failing, tokio::spawn(roster).abort_handle()];
        Ok(RegistryState { args, published, me, quorum, standing: Standing::Follows, watchers })
    }

    async fn handle(
        &self,
        _me: ActorRef<RegistryMessage>,
        message: RegistryMessage,
        state: &mut RegistryState,
    ) -> Result<(), ActorProcessingErr> {
        state.on_message(message)?;
        Ok(())
    }

    async fn post_stop(
        &self,
        _me: ActorRef<RegistryMessage>,
        state: &mut RegistryState,
    ) -> Result<(), ActorProcessingErr> {
        state.leave();
        state.quorum.stop().await;
        Ok(())
    }
}

async fn watch_leadership(me: Address<RegistryMessage>, mut leadership: watch::Receiver<Leadership>) {
    loop {
        let now = leadership.borrow_and_update().clone();
        if me.cast(RegistryMessage::Leadership(now)).is_err() || leadership.changed().await.is_err() {
            return;
        }
    }
}

async fn watch_roster(
    published: Arc<watch::Sender<Arc<Members>>>,
    mut roster: watch::Receiver<Arc<Members>>,
) {
    loop {
        published.send_replace(Arc::clone(&roster.borrow_and_update()));
        if roster.changed().await.is_err() {
            return;
        }
    }
}

async fn watch_failure(me: Address<RegistryMessage>, quorum: Quorum) {
    let why = quorum.wait_failed().await;
    let _may_have_ended = me.cast(RegistryMessage::Failed(why));
}

impl RegistryState {
    fn on_message(&mut self, message: RegistryMessage) -> Result<(), Fault> {
        match message {
            RegistryMessage::Decide { command, told } => self.on_decide(*command, told)?,
            RegistryMessage::Leadership(now) => self.on_leadership(&now),
            RegistryMessage::Elected { term, outcome } => self.on_elected(term, outcome)?,
            RegistryMessage::Written { epoch, outcome } => self.on_written(epoch, outcome)?,
            RegistryMessage::Failed(why) => return Err(Fault::Quorum(why)),
        }
        self.write_next();
        Ok(())
    }

    fn on_decide(&mut self, command: Command, told: Told) -> Result<(), Fault> {
        let Standing::InOffice { office, .. } = &mut self.standing else {
            told.send(Decided::NotController);
            return Ok(());
        };
        if !office.may_decide(&command) {
            told.send(Decided::NotController);
            return Ok(());
        }
        let command = command.seen_alive(|node, boot| (self.args.is_alive)(node, boot));
        Ok(office.decide(&self.args.rules, &command, self.quorum.image().index(), told)?)
    }

    fn on_leadership(&mut self, now: &Leadership) {
        let is_news = match &self.standing {
            Standing::Follows => now.is_self,
            Standing::Enters { term } | Standing::InOffice { term, .. } => !now.is_self || *term != now.term,
        };
        if is_news {
            self.leave();
            if now.is_self {
                self.enter(now.term, Duration::ZERO);
            }
        }
        self.publish_leadership(now);
    }

    /// Others are told of this node only once it decides.
    fn publish_leadership(&self, now: &Leadership) {
        let told = match &self.standing {
            Standing::InOffice { .. } => forward::Leadership::Us,
            Standing::Enters { .. } => forward::Leadership::None,
            Standing::Follows => match &now.leader {
                Some((_, node)) if node.node != self.args.rules.node => forward::Leadership::Peer(node.node),
                Some(_) | None => forward::Leadership::None,
            },
        };
        self.published.leadership.send_if_modified(|before| {
            let has_changed = *before != told;
            *before = told;
            has_changed
        });
    }

    /// Proposes this node as the controller, after a pause.
    fn enter(&mut self, term: u64, after: Duration) {
        self.standing = Standing::Enters { term };
        let (me, quorum, node) = (self.me.clone(), self.quorum.clone(), self.args.rules.node);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let outcome = quorum.propose(Proposal::Elected { node }).await;
            let _may_have_ended = me.cast(RegistryMessage::Elected { term, outcome });
        });
    }

    fn on_elected(&mut self, of: u64, outcome: Result<Proposed, QuorumError>) -> Result<(), Fault> {
        let Standing::Enters { term } = self.standing else { return Ok(()) };
        if term != of {
            return Ok(());
        }
        match outcome {
            Ok(Proposed::Applied { index }) => {
                let image = self.quorum.image();
                if image.controller_epoch() != index {
                    // Somebody else has begun since, who leads.
                    self.standing = Standing::Follows;
                    return Ok(());
                }
                let office = Box::new(Office::enter(&image));
                tracing::info!(epoch = office.epoch(), term, "this node is the cluster's controller");
                self.standing = Standing::InOffice { term, office };
                self.published.leadership.send_replace(forward::Leadership::Us);
                Ok(())
            }
            Err(QuorumError::Ended(why)) => Err(Fault::Quorum(why)),
            Ok(Proposed::Stale) | Err(_) => {
                // Whether it was taken or not, another one after it is right: the last one counts.
                let leadership = self.quorum.leadership().borrow().clone();
                self.standing = Standing::Follows;
                if leadership.is_self {
                    // The disk may be full, or slow: not at once.
                    self.enter(leadership.term, ENTER_AGAIN_AFTER);
                }
                Ok(())
            }
        }
    }

    fn on_written(&mut self, of: u64, outcome: Result<Proposed, QuorumError>) -> Result<(), Fault> {
        let Standing::InOffice { office, .. } = &mut self.standing else { return Ok(()) };
        if office.epoch() != of {
            return Ok(());
        }
        match outcome {
            Ok(Proposed::Applied { index }) => {
                office.on_applied(index, |answer| elections::note(&self.args.metrics, answer));
            }
            Err(QuorumError::StorageFull) => {
                tracing::warn!("metadata was not written: the disk is full");
                office.on_full(&self.quorum.image());
            }
            Err(QuorumError::Ended(why)) => return Err(Fault::Quorum(why)),
            Err(QuorumError::Broken(why)) => {
                tracing::error!(%why, "what the controller has decided does not follow from what there was");
                self.begin_anew();
            }
            Ok(Proposed::Stale)
            | Err(QuorumError::NotLeader { .. } | QuorumError::Unknown | QuorumError::Refused(_)) => {
                self.begin_anew();
            }
        }
        Ok(())
    }

    /// What is on its way may yet be applied: only another epoch shuts it out.
    fn begin_anew(&mut self) {
        self.leave();
        let leadership = self.quorum.leadership().borrow().clone();
        if leadership.is_self {
            self.enter(leadership.term, Duration::ZERO);
        }
        self.publish_leadership(&leadership);
    }

    fn leave(&mut self) {
        match std::mem::replace(&mut self.standing, Standing::Follows) {
            Standing::InOffice { office, .. } => {
                tracing::info!(epoch = office.epoch(), "this node is the cluster's controller no more");
                office.leave();
            }
            Standing::Follows | Standing::Enters { .. } => {}
        }
    }

    fn write_next(&mut self) {
        let Standing::InOffice { office, .. } = &mut self.standing else { return };
        let Some(proposal) = office.next() else { return };
        let (me, quorum, epoch) = (self.me.clone(), self.quorum.clone(), office.epoch());
        tokio::spawn(async move {
            let outcome = quorum.propose(proposal).await;
            let _may_have_ended = me.cast(RegistryMessage::Written { epoch, outcome });
        });
    }
}
