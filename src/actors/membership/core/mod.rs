//! What the cluster knows, and how that may change. No actor, no clock, no file.
//!
//! [`MetadataImage`] is the state machine's state, [`MetadataRecord`] its input, [`Registry`] decides
//! which records a command becomes and what may be seen of them before they are committed.

mod apply;
mod command;
mod image;
mod record;
mod registry;

#[cfg(test)]
mod tests;

pub use apply::ApplyError;
pub use command::{ConfigOwner, CreatedTopic, NewTopic, PARTITIONS_MAX, Refusal, TopicRef};
pub(super) use image::Snapshot;
pub use image::{BrokerImage, DeletedTopic, GroupConfigs, MetadataImage, PartitionImage, TopicImage};
pub use record::{Assignment, Endpoint, MetadataRecord};
pub(super) use registry::{Group, ProposeError, Registry};
pub use registry::{PRODUCER_ID_BLOCK, Rules};

/// The level of our own formats and protocols that this program writes and understands.
pub(super) const FEATURE_LEVEL: u16 = 1;
