//! What the metadata log holds: facts, decided and valid, one after the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{
    BootId, BrokerEpoch, LeaderEpoch, NodeId, PartitionId, PartitionIndex, ProducerId, TopicId, TopicName,
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

/// Who keeps a new partition. The first replica leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// At least one broker, none twice.
    pub replicas: Vec<NodeId>,
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
}
