//! What the metadata log holds: facts, decided and valid, one after the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{
    BootId, BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionId, PartitionIndex, ProducerId, RaftId,
    TopicId, TopicName,
};

/// Where a broker is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Who is meant to use it: `kafka` or `cluster`.
    pub listener: String,
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The listener that other nodes connect to.
pub const CLUSTER_LISTENER: &str = "cluster";

/// Who keeps a new partition. The first replica that can lead does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// At least one broker, none twice.
    pub replicas: Vec<NodeId>,
}

/// A replica that had all that was acknowledged and may have lost its end (S11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncertain {
    /// Whose replica.
    pub node: NodeId,
    /// What it has found in its log since its last start: the epoch of its last batch, and its end.
    pub end: Option<(LeaderEpoch, Offset)>,
}

/// One change of the state. The encoding knows a variant and a field by its place: variants are added
/// at the end, and none is ever changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadataRecord {
    /// The first record of all.
    ClusterCreated {
        /// Random.
        cluster_id: Uuid,
        /// What all members understand.
        feature_level: u16,
    },
    /// A broker has started, or its endpoints have changed.
    BrokerRegistered {
        /// Who.
        node: NodeId,
        /// Which start of it.
        boot: BootId,
        /// The index of this very record; higher for each registration.
        epoch: BrokerEpoch,
        /// Where it is reached.
        endpoints: Vec<Endpoint>,
    },
    /// A topic is there, its partitions from 0 on.
    TopicCreated {
        /// Never used before.
        id: TopicId,
        /// Not in use.
        name: TopicName,
        /// One for each partition.
        partitions: Vec<Assignment>,
        /// The topic's own configs.
        configs: BTreeMap<String, String>,
    },
    /// A topic has more partitions.
    PartitionsAdded {
        /// Which.
        topic: TopicId,
        /// The first one added: the number there were.
        first: PartitionIndex,
        /// One for each partition.
        partitions: Vec<Assignment>,
    },
    /// A topic's own configs are these now.
    ConfigsReplaced {
        /// Which.
        topic: TopicId,
        /// All of them.
        configs: BTreeMap<String, String>,
    },
    /// A topic is gone; from here on its data may be deleted.
    TopicDeleted {
        /// Which.
        topic: TopicId,
    },
    /// A deleted topic's data is gone too.
    TopicPurged {
        /// Which.
        topic: TopicId,
    },
    /// A leader is about to open its log for writing (S6).
    EpochOpened {
        /// Which partition.
        partition: PartitionId,
        /// By whom.
        leader: NodeId,
        /// One more than the last.
        epoch: LeaderEpoch,
    },
    /// Producer ids that may be given out, by this broker only.
    ProducerIdsAllocated {
        /// By whom.
        node: NodeId,
        /// The first.
        first: ProducerId,
        /// How many.
        count: u32,
    },
    /// What was set for brokers while they run is this now.
    BrokerConfigsReplaced {
        /// For which; none: for all that set nothing themselves.
        broker: Option<NodeId>,
        /// All of it, by Kafka's names.
        configs: BTreeMap<String, String>,
    },
    /// A group's own configs are these now. The group need not exist.
    GroupConfigsReplaced {
        /// Which.
        group: String,
        /// All of them.
        configs: BTreeMap<String, String>,
    },
    /// A controller begins; its epoch is the index of the entry that says so (S19). Never one of a group.
    ControllerElected {
        /// Who.
        node: NodeId,
    },
    /// A broker has started, or what is said of it here has changed. It is fenced until it is ready.
    BrokerRegisteredV2 {
        /// Who.
        node: NodeId,
        /// Which start of it.
        boot: BootId,
        /// Higher than that of any registration before.
        epoch: BrokerEpoch,
        /// Which data folder it stands on (S17).
        raft_id: RaftId,
        /// Where it is reached.
        endpoints: Vec<Endpoint>,
        /// What it shares power, network or a building with.
        rack: Option<String>,
        /// The highest feature level that it understands.
        feature_level: u16,
    },
    /// A broker is not to lead or to be listed until it is ready again.
    BrokerFenced {
        /// Who.
        node: NodeId,
        /// Its registration.
        epoch: BrokerEpoch,
    },
    /// A broker is ready.
    BrokerUnfenced {
        /// Who.
        node: NodeId,
        /// Its registration.
        epoch: BrokerEpoch,
    },
    /// A broker is about to stop: it gets nothing to lead any more.
    BrokerStopping {
        /// Who.
        node: NodeId,
        /// Its registration.
        epoch: BrokerEpoch,
    },
    /// A partition is this now.
    PartitionChanged {
        /// Which.
        partition: PartitionId,
        /// Who leads, or nobody.
        leader: NodeId,
        /// One more than the last where the leader is another one, or opens its log; else the last one.
        leader_epoch: LeaderEpoch,
        /// Who counts for what is acknowledged.
        in_sync: Vec<NodeId>,
        /// Who does not, and still has all that was (KIP-966).
        electable: Vec<NodeId>,
        /// Who did, and may have lost its end (S11).
        uncertain: Vec<Uncertain>,
        /// The opening that the leader epoch was given to; 0: an election.
        opening: u64,
        /// One more than the last.
        partition_epoch: i32,
    },
    /// A deleted topic's data is gone from one broker.
    TopicPurgedOn {
        /// Which.
        topic: TopicId,
        /// From whom.
        node: NodeId,
    },
    /// All members understand this level now.
    FeatureLevelRaised {
        /// Higher than before.
        level: u16,
    },
    /// A topic has become `disk`: until [`MetadataRecord::DiskReached`], what its partitions have may be in memory only (S11).
    DiskDemanded {
        /// Which.
        topic: TopicId,
    },
    /// Everybody who may lead a partition has on disk what was acknowledged.
    DiskReached {
        /// Which.
        partition: PartitionId,
    },
    /// How many replicas a broker can keep, by its own word. Its next registration takes that back.
    ReplicasMaxTold {
        /// Who.
        node: NodeId,
        /// Its registration.
        epoch: BrokerEpoch,
        /// How many.
        max: u32,
    },
}
