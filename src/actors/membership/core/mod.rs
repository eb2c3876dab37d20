//! What the cluster knows, and how that may change. No actor, no clock, no file.
//!
//! [`MetadataImage`] is the state machine's state, [`MetadataRecord`] its input, and a [`Proposal`] what of it stands in
//! one entry of the quorum's log. A [`Command`] is what somebody asks for; [`decide`] says which records it becomes.
//! [`Controller`] decides ahead of the log.

mod apply;
mod command;
mod controller;
mod election;
mod image;
mod placement;
mod proposal;
mod record;
mod rules;
mod snapshot;

#[cfg(test)]
mod tests;

pub use apply::{ApplyError, WrongChange};
pub use command::{
    Command, CommandAnswer, ConfigOwner, CreatedTopic, Elections, InSyncChange, NewTopic, PARTITIONS_MAX,
    PREFERRED_MAX, Refusal, Registration, TopicRef, decide,
};
pub(super) use command::{create_topic, open_epoch_here};
pub use controller::{Controller, Decision, Proposed};
pub use image::{BrokerImage, DeletedTopic, GroupConfigs, MetadataImage, NOBODY, PartitionImage, TopicImage};
pub use proposal::{Applied, Proposal};
pub use record::{Assignment, CLUSTER_LISTENER, Endpoint, MetadataRecord, Uncertain};
pub use rules::{PRODUCER_ID_BLOCK, Rules};
pub(super) use snapshot::Snapshot;

/// The level of our own formats and protocols that this program writes and understands: from 2 on there are records of more than
/// one broker, from 3 on those of how many replicas brokers can keep.
pub const FEATURE_LEVEL: u16 = 3;

/// From this level on brokers say how many replicas they can keep.
pub(super) const TELLS_REPLICAS_MAX: u16 = 3;
