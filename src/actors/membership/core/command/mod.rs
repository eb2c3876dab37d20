//! What the controller may be asked for: data, so that whoever is not the controller can pass it on, and what each
//! command becomes.
//!
//! A command is decided on the state that will be, as a function of that state, the command and the [`Rules`]. It
//! becomes records that are applied all or none, an answer that holds once they are, or a refusal.

mod brokers;
mod configs;
mod partitions;
mod refusal;
mod topics;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::refusal::Refusal;
use self::{
    configs::{alter_configs, replace_configs},
    topics::{create_partitions, delete_topic, purge_topic},
};
pub(in crate::actors::membership) use self::{partitions::open_epoch_here, topics::create_topic};
use super::{
    FEATURE_LEVEL,
    image::MetadataImage,
    record::{Endpoint, MetadataRecord},
    rules::{PRODUCER_ID_BLOCK, Rules},
};
use crate::{
    config::topic::ConfigChange,
    model::{
        BootId, BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionId, ProducerId, RaftId, TopicId, TopicName,
    },
};

/// The most partitions of one topic.
pub const PARTITIONS_MAX: i32 = 10_000;

/// The most groups with configs of their own: each is kept in memory, and nothing says that there is such a group.
const CONFIGURED_GROUPS_MAX: usize = 100_000;

/// What the controller is asked for. The encoding grows at its end only, as a record's does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Answered with [`CommandAnswer::TopicCreated`].
    CreateTopic {
        /// What is asked for.
        new: NewTopic,
        /// The id that it gets, chosen at random by who asks. A topic that is there under this id and name has been
        /// created by this very command, which is answered as it was then.
        id: TopicId,
        /// Whether it is only checked.
        validate_only: bool,
    },
    /// Answered with [`CommandAnswer::Done`].
    CreatePartitions {
        /// The topic.
        name: String,
        /// How many there shall be in all.
        count: i32,
        /// Whether it is only checked.
        validate_only: bool,
    },
    /// Answered with [`CommandAnswer::TopicDeleted`].
    DeleteTopic(TopicRef),
    /// A deleted topic's data is gone from a broker. Answered with [`CommandAnswer::Done`], also when it is known.
    PurgeTopic {
        /// Which.
        topic: TopicId,
        /// From whom.
        node: NodeId,
    },
    /// Answered with [`CommandAnswer::Done`], or with [`CommandAnswer::Elected`] where they let somebody lead.
    AlterConfigs {
        /// Whose.
        owner: ConfigOwner,
        /// All or none.
        changes: Vec<ConfigChange>,
        /// Whether it is only checked.
        validate_only: bool,
    },
    /// Answered with [`CommandAnswer::Done`], or with [`CommandAnswer::Elected`] where they let somebody lead.
    ReplaceConfigs {
        /// Whose.
        owner: ConfigOwner,
        /// All of them.
        configs: BTreeMap<String, String>,
        /// Whether it is only checked.
        validate_only: bool,
    },
    /// From a leader that opens its log again in the term that it has had already (S6). Answered with
    /// [`CommandAnswer::EpochOpened`].
    OpenEpoch {
        /// Which partition.
        partition: PartitionId,
        /// The leader.
        node: NodeId,
        /// Its registration.
        broker_epoch: BrokerEpoch,
        /// The term that it knows of: in another one it may not be the leader any more.
        leader_epoch: LeaderEpoch,
        /// This opening: random, not 0, and the same each time that the command is sent.
        opening: u64,
    },
    /// A block of ids for one broker to give out. Answered with [`CommandAnswer::ProducerIds`].
    AllocateProducerIds {
        /// Who.
        node: NodeId,
        /// Its registration.
        broker_epoch: BrokerEpoch,
    },
    /// A broker has started. Answered with [`CommandAnswer::Registered`].
    RegisterBroker(Registration),
    /// It has its replicas open and can lead. Answered with [`CommandAnswer::Elected`].
    BrokerReady {
        /// Who.
        node: NodeId,
        /// Its registration.
        broker_epoch: BrokerEpoch,
    },
    /// It is not heard of any more. Answered with [`CommandAnswer::Elected`].
    BrokerDown {
        /// Who.
        node: NodeId,
        /// Its registration.
        broker_epoch: BrokerEpoch,
    },
    /// It wants to stop. Asked again until it leads nothing. Answered with [`CommandAnswer::Stopping`].
    BrokerStopping {
        /// Who.
        node: NodeId,
        /// Its registration.
        broker_epoch: BrokerEpoch,
    },
    /// A leader's proposal of another in-sync set (KIP-497). Answered with [`CommandAnswer::InSync`].
    AlterInSync(InSyncChange),
    /// Gives leaders back to the first replicas, [`PREFERRED_MAX`] at a time. Answered with
    /// [`CommandAnswer::Elected`].
    ElectPreferred,
    /// Elects for partitions without a leader whoever there is, and so gives up what only others have. Answered with
    /// [`CommandAnswer::Elected`].
    ElectUnclean(Vec<PartitionId>),
    /// What a broker has found in logs of which it may have lost the end (S11). Answered with
    /// [`CommandAnswer::Elected`].
    ReportEnds {
        /// Who.
        node: NodeId,
        /// Its registration.
        broker_epoch: BrokerEpoch,
        /// Of each: the epoch of its last batch, and its end.
        ends: Vec<(PartitionId, LeaderEpoch, Offset)>,
    },
    /// Lets all use what all understand. Answered with [`CommandAnswer::Done`].
    RaiseFeatureLevel(u16),
    /// The first command of all, from the first controller. Answered with [`CommandAnswer::Done`], also where there
    /// is a cluster.
    CreateCluster(Uuid),
    /// Gives the leaders of these partitions back to their first replicas. Answered with [`CommandAnswer::Elected`].
    ElectPreferredOf(Vec<PartitionId>),
    /// The same as [`Command::AlterInSync`], from a leader that knows everybody who may lead before and after it to have on disk
    /// what was acknowledged (S11). Answered with [`CommandAnswer::InSync`].
    AlterInSyncOnDisk(InSyncChange),
    /// A replica that cannot write does not count any more where others are enough, and whoever of them can leads if it did.
    /// Answered with [`CommandAnswer::Elected`].
    GiveUp {
        /// Which partition.
        partition: PartitionId,
        /// Who.
        node: NodeId,
        /// Its registration.
        broker_epoch: BrokerEpoch,
    },
    /// How many replicas a broker can keep. In a cluster below feature level 3 nothing becomes of it. Answered with
    /// [`CommandAnswer::Done`].
    TellReplicasMax {
        /// Who.
        node: NodeId,
        /// Its registration.
        broker_epoch: BrokerEpoch,
        /// How many.
        max: u32,
    },
}

/// Leaders that [`Command::ElectPreferred`] moves at a time: each takes its clients with it.
pub const PREFERRED_MAX: usize = 1_000;

/// A broker's start, as it tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Who.
    pub node: NodeId,
    /// Which start; registering twice is the same as once.
    pub boot: BootId,
    /// Which data folder.
    pub raft_id: RaftId,
    /// Where it is reached.
    pub endpoints: Vec<Endpoint>,
    /// What it shares power, network or a building with.
    pub rack: Option<String>,
    /// The highest feature level that it understands.
    pub feature_level: u16,
    /// The start that has left a clean mark in its data folder (S11).
    pub clean: Option<BootId>,
    /// Whether another start of the node holds its lease. Only the controller knows: it says so when it
    /// takes the command, whatever the sender has written ([`Command::seen_alive`]).
    pub another_is_alive: bool,
}

/// Another in-sync set, as a leader wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InSyncChange {
    /// Which partition.
    pub partition: PartitionId,
    /// The leader.
    pub leader: NodeId,
    /// Its term.
    pub leader_epoch: LeaderEpoch,
    /// The change that it knows of last; nothing may have come since.
    pub partition_epoch: i32,
    /// The members, the leader among them, each with the registration under which it was found in sync (KIP-903).
    pub in_sync: Vec<(NodeId, BrokerEpoch)>,
}

/// What a command has led to, once its records are applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandAnswer {
    /// It is as was asked for.
    Done,
    /// Such a topic is there.
    TopicCreated(CreatedTopic),
    /// The topic of this id is not there any more.
    TopicDeleted(TopicId),
    /// The leader may write in this term.
    EpochOpened(LeaderEpoch),
    /// These ids are the asker's, and nobody else's.
    ProducerIds {
        /// The first.
        first: ProducerId,
        /// How many.
        count: u32,
    },
    /// The broker is registered, and fenced until it is ready.
    Registered {
        /// Its registration.
        epoch: BrokerEpoch,
        /// What became of what it led.
        elections: Elections,
    },
    /// The broker gets nothing to lead any more.
    Stopping {
        /// How many partitions it leads yet.
        leads: u32,
        /// What became of the others.
        elections: Elections,
    },
    /// The partition is this now.
    InSync {
        /// Its epoch.
        partition_epoch: i32,
        /// Its set.
        in_sync: Vec<NodeId>,
    },
    /// Leaders are these now.
    Elected(Elections),
}

impl CommandAnswer {
    /// The elections that the command has led to, of whatever kind it was.
    pub fn elections(&self) -> Option<&Elections> {
        match self {
            Self::Registered { elections, .. }
            | Self::Stopping { elections, .. }
            | Self::Elected(elections) => Some(elections),
            Self::Done
            | Self::TopicCreated(_)
            | Self::TopicDeleted(_)
            | Self::EpochOpened(_)
            | Self::ProducerIds { .. }
            | Self::InSync { .. } => None,
        }
    }
}

/// What elections have come to. What is not clean is named, so that it is said where operators look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elections {
    /// How many partitions have another leader.
    pub elected: u32,
    /// How many of those that were looked at have none.
    pub leaderless: u32,
    /// How many there was no room for in this call.
    pub left: u32,
    /// Where a replica leads that may lack what was acknowledged.
    pub unclean: Vec<PartitionId>,
    /// Where all that had everything may have lost something, and who has most of it leads (S11).
    pub recovered: Vec<PartitionId>,
}

/// A topic to create.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTopic {
    /// The name, unchecked.
    pub name: String,
    /// How many partitions; -1: the default.
    pub partitions: i32,
    /// How many replicas of each; -1: the default.
    pub replication_factor: i16,
    /// Instead of both numbers: the replicas of each partition.
    pub assignments: BTreeMap<i32, Vec<NodeId>>,
    /// The topic's own configs, unchecked.
    pub configs: BTreeMap<String, String>,
}

/// A topic as it was created, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedTopic {
    /// Its id.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many replicas each of them has.
    pub replication_factor: i16,
    /// Its own configs.
    pub configs: BTreeMap<String, String>,
}

/// A topic by name or by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicRef {
    /// By name, unchecked.
    Name(String),
    /// By id.
    Id(TopicId),
}

/// Whose configs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigOwner {
    /// A topic's, by its name, unchecked.
    Topic(String),
    /// A broker's, set while it runs.
    Broker(NodeId),
    /// Those of all brokers that set nothing themselves.
    AllBrokers,
    /// A group's, by its id. It need not exist.
    Group(String),
}

/// What a command becomes: records to be applied all or none, and what is true once they are.
pub(super) type Decided = (Vec<MetadataRecord>, CommandAnswer);

impl Command {
    /// Says of a registration whether another start than its own is alive; its own sends heartbeats before it is registered. Of
    /// other commands, nothing.
    #[must_use]
    pub fn seen_alive(mut self, is_alive: impl FnOnce(NodeId, BootId) -> bool) -> Self {
        if let Self::RegisterBroker(registration) = &mut self {
            registration.another_is_alive = is_alive(registration.node, registration.boot);
        }
        self
    }

    /// Whether sending it again after an unknown outcome does no harm, and is answered as the first time.
    pub fn is_idempotent(&self) -> bool {
        match self {
            Self::CreateTopic { .. }
            | Self::PurgeTopic { .. }
            | Self::ReplaceConfigs { .. }
            | Self::OpenEpoch { .. }
            | Self::AllocateProducerIds { .. }
            | Self::RegisterBroker(_)
            | Self::BrokerReady { .. }
            | Self::BrokerDown { .. }
            | Self::BrokerStopping { .. }
            | Self::ElectPreferred
            | Self::ElectPreferredOf(_)
            | Self::ElectUnclean(_)
            | Self::ReportEnds { .. }
            | Self::RaiseFeatureLevel(_)
            | Self::CreateCluster(_)
            | Self::GiveUp { .. }
            | Self::TellReplicasMax { .. } => true,
            Self::CreatePartitions { .. }
            | Self::DeleteTopic(_)
            | Self::AlterConfigs { .. }
            | Self::AlterInSync(_)
            | Self::AlterInSyncOnDisk(_) => false,
        }
    }
}

/// What `command` becomes on `image`. Nothing has changed yet.
pub fn decide(image: &MetadataImage, rules: &Rules, command: &Command) -> Result<Decided, Refusal> {
    match command {
        Command::CreateTopic { new, id, validate_only } => {
            topics::create(image, rules, new, *id).map(|decided| only_if(decided, *validate_only))
        }
        Command::CreatePartitions { name, count, validate_only } => {
            let record = create_partitions(image, rules, name, *count)?;
            Ok(only_if((vec![record], CommandAnswer::Done), *validate_only))
        }
        Command::DeleteTopic(which) => {
            delete_topic(image, which).map(|(id, record)| (vec![record], CommandAnswer::TopicDeleted(id)))
        }
        Command::PurgeTopic { topic, node } => {
            Ok((purge_topic(image, *topic, *node).into_iter().collect(), CommandAnswer::Done))
        }
        Command::AlterConfigs { owner, changes, validate_only } => {
            Ok(only_if(alter_configs(image, rules, owner, changes)?, *validate_only))
        }
        Command::ReplaceConfigs { owner, configs, validate_only } => {
            Ok(only_if(replace_configs(image, rules, owner, configs)?, *validate_only))
        }
        Command::OpenEpoch { partition, node, broker_epoch, leader_epoch, opening } => {
            brokers::check(image, *node, *broker_epoch)?;
            partitions::open_epoch(image, rules, *partition, *node, *leader_epoch, *opening)
        }
        Command::AllocateProducerIds { node, broker_epoch } => {
            brokers::check(image, *node, *broker_epoch)?;
            Ok(allocate(image, *node))
        }
        Command::RegisterBroker(registration) => brokers::register(image, rules, registration),
        Command::BrokerReady { node, broker_epoch } => brokers::ready(image, rules, *node, *broker_epoch),
        Command::BrokerDown { node, broker_epoch } => brokers::down(image, rules, *node, *broker_epoch),
        Command::BrokerStopping { node, broker_epoch } => {
            brokers::stopping(image, rules, *node, *broker_epoch)
        }
        Command::AlterInSync(change) => partitions::alter_in_sync(image, rules, change),
        Command::ElectPreferred => Ok(partitions::elect_preferred(image, rules, |_| true)),
        Command::ElectPreferredOf(which) => {
            let which: BTreeSet<_> = which.iter().copied().collect();
            Ok(partitions::elect_preferred(image, rules, |id| which.contains(&id)))
        }
        Command::AlterInSyncOnDisk(change) => partitions::alter_in_sync_on_disk(image, rules, change),
        Command::ElectUnclean(which) => partitions::elect_unclean(image, rules, which),
        Command::ReportEnds { node, broker_epoch, ends } => {
            brokers::check(image, *node, *broker_epoch)?;
            Ok(partitions::report_ends(image, rules, *node, ends))
        }
        Command::RaiseFeatureLevel(level) => brokers::raise_feature_level(image, *level),
        Command::CreateCluster(cluster_id) => Ok(create_cluster(image, *cluster_id)),
        Command::GiveUp { partition, node, broker_epoch } => {
            brokers::check(image, *node, *broker_epoch)?;
            partitions::give_up(image, rules, *partition, *node)
        }
        Command::TellReplicasMax { node, broker_epoch, max } => {
            brokers::tell_replicas_max(image, *node, *broker_epoch, *max)
        }
    }
}

fn only_if((records, answer): Decided, validate_only: bool) -> Decided {
    (if validate_only { Vec::new() } else { records }, answer)
}

fn create_cluster(image: &MetadataImage, cluster_id: Uuid) -> Decided {
    let feature_level = FEATURE_LEVEL;
    let record = MetadataRecord::ClusterCreated { cluster_id, feature_level };
    let is_first = image.cluster_id().is_nil();
    (is_first.then_some(record).into_iter().collect(), CommandAnswer::Done)
}

fn allocate(image: &MetadataImage, node: NodeId) -> Decided {
    let (first, count) = (image.next_producer_id(), PRODUCER_ID_BLOCK);
    (
        vec![MetadataRecord::ProducerIdsAllocated { node, first, count }],
        CommandAnswer::ProducerIds { first, count },
    )
}
