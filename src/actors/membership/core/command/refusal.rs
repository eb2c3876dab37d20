//! Why a command becomes nothing.

use serde::{Deserialize, Serialize};

use super::{CONFIGURED_GROUPS_MAX, PARTITIONS_MAX};
use crate::{
    config::{
        broker::BrokerConfigError,
        group::GroupConfigError,
        phrase::{Phrase, phrase},
        topic::TopicConfigError,
    },
    model::{BrokerEpoch, LeaderEpoch, NodeId, PartitionId, TopicId, TopicName, TopicNameError},
};

/// An expected refusal; nothing has changed. The number is Kafka's code for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// 17
    #[error("{0}")]
    InvalidName(#[from] TopicNameError),
    /// 36
    #[error("topic {0} already exists")]
    TopicExists(TopicName),
    /// 3
    #[error("there is no topic {0:?}")]
    UnknownTopic(String),
    /// 100
    #[error("there is no topic with id {0}")]
    UnknownTopicId(TopicId),
    /// 3
    #[error("there is no partition {0}")]
    UnknownPartition(PartitionId),
    /// 37
    #[error("partition count {asked} is not from {min} to {max}", max = PARTITIONS_MAX)]
    InvalidPartitions {
        /// The count asked for.
        asked: i32,
        /// The least that would do.
        min: i32,
    },
    /// 44
    #[error("{existing} partitions are there and {asked} more would be over the limit of {max}")]
    TooManyPartitions {
        /// In all topics.
        existing: usize,
        /// How many more were asked for.
        asked: usize,
        /// The most there may be.
        max: usize,
    },
    /// 38
    #[error("replication factor {asked} is not from 1 to the number of brokers, {brokers}")]
    InvalidReplicationFactor {
        /// The factor asked for.
        asked: i16,
        /// How many brokers there are.
        brokers: usize,
    },
    /// 39
    #[error("replica assignment: {0}")]
    InvalidAssignment(#[serde(deserialize_with = "phrase")] Phrase),
    /// 40
    #[error("{0}")]
    InvalidConfig(#[from] TopicConfigError),
    /// 40
    #[error(transparent)]
    InvalidBrokerConfig(#[from] BrokerConfigError),
    /// 40
    #[error(transparent)]
    InvalidGroupConfig(#[from] GroupConfigError),
    /// 44
    #[error("{max} groups have configs of their own, and no more may", max = CONFIGURED_GROUPS_MAX)]
    TooManyGroups,
    /// 42
    #[error("{0}")]
    InvalidRequest(#[serde(deserialize_with = "phrase")] Phrase),
    /// 6
    #[error("broker {node} keeps no replica of {partition}")]
    NotReplica {
        /// Who asked.
        node: NodeId,
        /// For which.
        partition: PartitionId,
    },
    /// 56: a number that must never be used twice has come to its end.
    #[error("leader epochs of {0} are used up")]
    EpochsUsedUp(PartitionId),
    /// 102
    #[error("broker {0} is not registered")]
    NotRegistered(NodeId),
    /// 77
    #[error("broker {node} speaks for registration {given}, and {registered} is the last")]
    StaleBrokerEpoch {
        /// Who asked, or who was to become a member.
        node: NodeId,
        /// Under which registration.
        given: BrokerEpoch,
        /// Its last one.
        registered: BrokerEpoch,
    },
    /// 101: the other one is alive, so this is a second broker and not the same one again (S17).
    #[error("another broker {0} is running; its node id cannot be used twice")]
    DuplicateBroker(NodeId),
    /// 35
    #[error("the cluster is on feature level {cluster}, and broker {node} understands {broker} at most")]
    FeatureLevel {
        /// Whose fault it is.
        node: NodeId,
        /// What it understands.
        broker: u16,
        /// What it would have to.
        cluster: u16,
    },
    /// 6
    #[error("broker {node} does not lead {partition}")]
    NotLeader {
        /// Who asked.
        node: NodeId,
        /// For which.
        partition: PartitionId,
    },
    /// 74
    #[error("leader epoch of {partition} is {current}")]
    OtherLeaderEpoch {
        /// The partition.
        partition: PartitionId,
        /// What it is.
        current: LeaderEpoch,
    },
    /// 95
    #[error("{partition} has changed since: its partition epoch is {current}")]
    OtherPartitionEpoch {
        /// The partition.
        partition: PartitionId,
        /// What it is.
        current: i32,
    },
    /// 107
    #[error("broker {0} cannot be taken into an in-sync set: it is fenced or about to stop")]
    Ineligible(NodeId),
    /// 44
    #[error(
        "broker {node} keeps {existing} replicas, and {asked} more would be over the {max} for which it may open files: raise \
         its hard limit of open files (`ulimit -Hn`, `LimitNOFILE=`)"
    )]
    TooManyReplicas {
        /// Which broker.
        node: NodeId,
        /// How many it keeps.
        existing: usize,
        /// How many more were asked for.
        asked: usize,
        /// The most that it may keep.
        max: usize,
    },
}
