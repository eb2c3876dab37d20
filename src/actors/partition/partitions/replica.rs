//! One partition's replica on this node: which role it has, and how it comes by another.
//!
//! Leader and follower are two actors of which one is there at a time, under a supervisor of the partition's own. A change of
//! role hands the open log over where it can be had; where it cannot, for the one who had it has just failed, the other
//! opens the folder itself. An epoch that an election has given is used for one take-over (S6): a leader that opens the
//! folder asks for another.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, atomic::AtomicU32},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::PartitionsArgs;
use crate::{
    actors::{
        membership::{NOBODY, PartitionImage},
        partition::{
            ClusterMessage, DiskAlarm, HandedOver, InCluster, Inheritance, LeaderArgs, LeaderMessage,
            LeaderReplica, PartitionHandle, Proposer,
            core::PartitionState,
            follower::{FollowerArgs, FollowerMessage, FollowerReplica, Led},
            replication::Streams,
            scrubber::{LogScrubber, ScrubberArgs},
        },
        supervise::{
            ChildSpec, Placement, RestartPolicy, Slot, SupervisorError, SupervisorHandle, SupervisorOptions,
        },
    },
    config::topic::TopicConfig,
    model::{BootId, BrokerEpoch, LeaderEpoch, NodeId},
};

/// How long a replica may take to hand its log over: it may be in the middle of a truncation.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(5);

/// What replicas need where a partition has several.
#[derive(Clone)]
pub struct Replication {
    /// The streams to leaders.
    pub streams: Streams,
    /// Who asks the controller for another in-sync set.
    pub proposer: Arc<dyn Proposer>,
    /// This node's registration.
    pub broker_epoch: Arc<dyn Fn() -> BrokerEpoch + Send + Sync>,
    /// A follower that has not been at the log's end for so long leaves the in-sync set.
    pub lag_time_max: Duration,
    /// Raised when the disk fails under what only memory was to keep.
    pub alarm: DiskAlarm,
}

impl std::fmt::Debug for Replication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replication").field("lag_time_max", &self.lag_time_max).finish_non_exhaustive()
    }
}

/// What the image says of the partition, as far as its replica here is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    leads: bool,
    led: Led,
    /// The epoch was given by an election, not to an opening.
    by_election: bool,
    state: PartitionState,
}

impl Wanted {
    /// By an image.
    pub(super) fn of(image: &PartitionImage, us: NodeId, on_disk: bool) -> Self {
        let led =
            Led { by: Some(image.leader).filter(|leader| *leader != NOBODY), epoch: image.leader_epoch };
        let state = PartitionState {
            partition_epoch: image.partition_epoch,
            leader_epoch: image.leader_epoch,
            replicas: image.replicas.to_vec(),
            in_sync: image.in_sync.to_vec(),
            electable: image.electable.to_vec(),
            on_disk,
        };
        Self { leads: image.leader == us, led, by_election: image.opening == 0, state }
    }
}

#[derive(Clone, Debug)]
enum Role {
    None,
    Leader(Slot<LeaderMessage>),
    Follower(Slot<FollowerMessage>),
}

/// A partition whose actors were started.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) label: Arc<str>,
    folder: PathBuf,
    partition: PartitionHandle,
    config: Arc<RwLock<Arc<TopicConfig>>>,
    supervisor: SupervisorHandle,
    incarnations: Arc<AtomicU32>,
    state: Arc<RwLock<PartitionState>>,
    led: Arc<RwLock<Led>>,
    role: Role,
    /// What it was last told.
    told: Option<Wanted>,
}

/// What a replica is made of.
#[derive(Debug)]
pub(super) struct NewReplica {
    /// Its name among the children, and in logs.
    pub(super) label: Arc<str>,
    pub(super) folder: PathBuf,
    pub(super) partition: PartitionHandle,
    /// The topic's, as it changes.
    pub(super) config: Arc<RwLock<Arc<TopicConfig>>>,
}

fn write<T>(slot: &RwLock<T>, value: T) {
    *slot.write().unwrap_or_else(PoisonError::into_inner) = value;
}

impl Replica {
    /// One that has no role yet; its supervisor is started, with the scrubber.
    pub(super) async fn start(args: &PartitionsArgs, new: NewReplica) -> Result<Self, SupervisorError> {
        let NewReplica { label, folder, partition, config } = new;
        let supervisor = SupervisorHandle::new(SupervisorOptions::default());
        add(&args.supervisor, supervisor.child_spec(&label, Placement::here())).await?;
        let this = Self {
            label,
            folder,
            partition,
            config,
            supervisor,
            incarnations: Arc::default(),
            state: Arc::default(),
            led: Arc::new(RwLock::new(Led { by: None, epoch: LeaderEpoch::NONE })),
            role: Role::None,
            told: None,
        };
        this.add_scrubber(args).await?;
        Ok(this)
    }

    /// Whether there is nothing to do: each change of a partition raises its epoch.
    pub(super) fn agrees(&self, image: &PartitionImage, is_on_disk: bool) -> bool {
        self.told.as_ref().is_some_and(|told| {
            let PartitionState { partition_epoch, leader_epoch, on_disk, .. } = told.state;
            (partition_epoch, leader_epoch) == (image.partition_epoch, image.leader_epoch)
                && on_disk == is_on_disk
        })
    }

    /// Brings the replica to what is wanted.
    pub(super) async fn agree(
        &mut self,
        args: &PartitionsArgs,
        wanted: Wanted,
    ) -> Result<(), SupervisorError> {
        let before = self.told.take();
        write(&self.state, wanted.state.clone());
        write(&self.led, wanted.led);
        let is_elected = wanted.by_election
            && before.is_some_and(|before| before.led.epoch < wanted.led.epoch || !before.leads);
        match (self.role.clone(), wanted.leads) {
            (Role::None, true) => self.lead(args, Inheritance::default()).await?,
            (Role::None, false) => self.follow(args, Inheritance::default()).await?,
            (Role::Leader(slot), true) if is_elected => {
                let log = resigned(&slot).await;
                self.end("leader").await?;
                self.lead(args, inherited(log, &wanted, is_elected)).await?;
            }
            (Role::Leader(slot), true) => tell_leader(&slot, &wanted.state),
            (Role::Leader(slot), false) => {
                let log = resigned(&slot).await;
                self.end("leader").await?;
                self.follow(args, log.map(Inheritance::of).unwrap_or_default()).await?;
            }
            (Role::Follower(slot), true) => {
                let log = handed_over(&slot).await;
                self.end("follower").await?;
                self.lead(args, inherited(log, &wanted, is_elected)).await?;
            }
            (Role::Follower(slot), false) => tell_follower(&slot, wanted.led),
        }
        self.told = Some(wanted);
        Ok(())
    }

    async fn lead(&mut self, args: &PartitionsArgs, inheritance: Inheritance) -> Result<(), SupervisorError> {
        let (slot, replication) = (Slot::new(), &args.replication);
        let leader = LeaderArgs {
            partition: self.partition.clone(),
            label: Arc::clone(&self.label),
            folder: self.folder.clone(),
            fs: Arc::clone(&args.fs),
            clock: Arc::clone(&args.clock),
            io: args.io.clone(),
            upkeep: args.upkeep.clone(),
            bulk: args.bulk.clone(),
            membership: args.membership.clone(),
            config: Arc::clone(&self.config),
            cluster: InCluster {
                node: args.node,
                state: Arc::clone(&self.state),
                lag_time_max: replication.lag_time_max,
                proposer: Arc::clone(&replication.proposer),
                inheritance,
                alarm: replication.alarm.clone(),
                streams: replication.streams.clone(),
            },
            background_flush: args.background_flush,
            metrics: Arc::clone(&args.metrics),
            vitals: None,
        };
        let place = Placement::on(args.data.clone());
        let spec = ChildSpec::actor("leader", place, slot.clone(), move |vitals| {
            (LeaderReplica, LeaderArgs { vitals: Some(vitals), ..leader.clone() })
        });
        self.role = Role::Leader(slot);
        add(&self.supervisor, spec).await
    }

    async fn follow(
        &mut self,
        args: &PartitionsArgs,
        inheritance: Inheritance,
    ) -> Result<(), SupervisorError> {
        let (slot, replication) = (Slot::new(), args.replication.clone());
        let follower = FollowerArgs {
            partition: self.partition.clone(),
            label: Arc::clone(&self.label),
            folder: self.folder.clone(),
            fs: Arc::clone(&args.fs),
            clock: Arc::clone(&args.clock),
            io: args.io.clone(),
            upkeep: args.upkeep.clone(),
            config: Arc::clone(&self.config),
            background_flush: args.background_flush,
            metrics: Arc::clone(&args.metrics),
            vitals: None,
            node: args.node,
            broker_epoch: (replication.broker_epoch)(),
            incarnations: Arc::clone(&self.incarnations),
            led: Arc::clone(&self.led),
            state: Arc::clone(&self.state),
            streams: replication.streams.clone(),
            proposer: Arc::clone(&replication.proposer),
            inheritance,
            alarm: replication.alarm.clone(),
        };
        let place = Placement::on(args.data.clone());
        let spec = ChildSpec::actor("follower", place, slot.clone(), move |vitals| {
            let broker_epoch = (replication.broker_epoch)();
            (FollowerReplica, FollowerArgs { vitals: Some(vitals), broker_epoch, ..follower.clone() })
        });
        self.role = Role::Follower(slot);
        add(&self.supervisor, spec).await
    }

    async fn end(&mut self, child: &str) -> Result<(), SupervisorError> {
        self.role = Role::None;
        match self.supervisor.remove(child).await {
            Ok(()) | Err(SupervisorError::Unknown { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn add_scrubber(&self, args: &PartitionsArgs) -> Result<(), SupervisorError> {
        let scrubber = ScrubberArgs {
            partition: self.partition.clone(),
            label: Arc::clone(&self.label),
            io: args.upkeep.rest.clone(),
            pace: args.scrub.clone(),
            metrics: Arc::clone(&args.metrics),
        };
        let spec = ChildSpec::actor("scrubber", Placement::here(), Slot::new(), move |_| {
            (LogScrubber, scrubber.clone())
        });
        add(&self.supervisor, spec).await
    }

    /// The topic's configuration has changed. One that is restarting reads it when it opens.
    pub(super) fn configure(&self, config: &Arc<TopicConfig>) {
        match &self.role {
            Role::Leader(slot) => cast(slot, LeaderMessage::Configure(Arc::clone(config))),
            Role::Follower(slot) => cast(slot, FollowerMessage::Configure(Arc::clone(config))),
            Role::None => {}
        }
    }

    /// One that is restarting is asked at the next turn.
    pub(super) fn apply_retention(&self) {
        match &self.role {
            Role::Leader(slot) => cast(slot, LeaderMessage::ApplyRetention),
            Role::Follower(slot) => cast(slot, FollowerMessage::ApplyRetention),
            Role::None => {}
        }
    }

    /// Flushes and marks the log as closed by this boot. A receiver without an answer means that it was not.
    pub(super) fn close_clean(&self, boot: BootId) -> oneshot::Receiver<()> {
        let (reply, closed) = oneshot::channel();
        match &self.role {
            Role::Leader(slot) => cast(slot, LeaderMessage::CloseClean { boot, reply }),
            Role::Follower(slot) => cast(slot, FollowerMessage::CloseClean { boot, reply }),
            Role::None => {}
        }
        closed
    }
}

/// Whoever has ended is replaced, and finds out by itself.
fn cast<M: ractor::Message>(slot: &Slot<M>, message: M) {
    if let Some(replica) = slot.get() {
        let _ended = replica.cast(message);
    }
}

fn tell_leader(slot: &Slot<LeaderMessage>, state: &PartitionState) {
    cast(slot, LeaderMessage::Cluster(ClusterMessage::Partition(Box::new(state.clone()))));
}

fn tell_follower(slot: &Slot<FollowerMessage>, led: Led) {
    cast(slot, FollowerMessage::Led(led));
}

async fn resigned(slot: &Slot<LeaderMessage>) -> Option<HandedOver> {
    let (reply, log) = oneshot::channel();
    cast(slot, LeaderMessage::Cluster(ClusterMessage::Resign { reply }));
    timeout(HAND_OVER_WITHIN, log).await.ok()?.ok()
}

async fn handed_over(slot: &Slot<FollowerMessage>) -> Option<HandedOver> {
    let (reply, log) = oneshot::channel();
    cast(slot, FollowerMessage::HandOver { reply });
    timeout(HAND_OVER_WITHIN, log).await.ok()?.ok()
}

/// The log goes on open only under an epoch that an election has just given; otherwise its folder is opened under another.
fn inherited(log: Option<HandedOver>, wanted: &Wanted, is_elected: bool) -> Inheritance {
    match log {
        Some(log) if is_elected => Inheritance::to_lead(log, wanted.led.epoch),
        Some(_) | None => Inheritance::default(),
    }
}

/// Adds a child that is tried for ever: a partition that cannot be opened says nothing about the others.
async fn add(supervisor: &SupervisorHandle, child: ChildSpec) -> Result<(), SupervisorError> {
    match supervisor.add(child.with_policy(RestartPolicy::PATIENT)).await {
        Ok(()) | Err(SupervisorError::NotStarted { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
