//! What commands are decided by, beside the state.

use crate::{
    config::{node::ConsumerGroupSettings, topic::TopicDefaults},
    model::NodeId,
};

/// Producer ids in a block, as in Kafka (KIP-730).
pub const PRODUCER_ID_BLOCK: u32 = 1_000;

/// What commands are decided by, beside the state.
#[derive(Clone, Debug)]
pub struct Rules {
    /// This broker.
    pub node: NodeId,
    /// Of a topic that is created without a number.
    pub default_partitions: i32,
    /// Replicas of a topic that is created without a number; none: three, or as many as there are brokers.
    pub default_replication_factor: Option<u16>,
    /// The most partitions of all topics together: each takes memory and open files.
    pub partitions_max: usize,
    /// The most replicas that this broker may keep: it has no open files for more.
    pub replicas_max: usize,
    /// Topic configs that the node sets.
    pub topic_defaults: TopicDefaults,
    /// What the node sets for groups, and what they may set themselves.
    pub group_defaults: ConsumerGroupSettings,
}
