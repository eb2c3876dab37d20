//! What commands are decided by, beside the state.

use super::image::MetadataImage;
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
    /// The most replicas that this broker may keep: it has no open files for more. Others say theirs.
    pub replicas_max: usize,
    /// Topic configs that the node sets.
    pub topic_defaults: TopicDefaults,
    /// What the node sets for groups, and what they may set themselves.
    pub group_defaults: ConsumerGroupSettings,
}

impl Rules {
    /// The most replicas that a broker may keep; none where that is not known.
    pub(super) fn replicas_max_of(&self, image: &MetadataImage, node: NodeId) -> Option<usize> {
        let own = Some(self.replicas_max).filter(|max| node == self.node && *max != usize::MAX);
        let told = image.replicas_max(node).map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        own.into_iter().chain(told).min()
    }
}
