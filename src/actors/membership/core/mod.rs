//! What the cluster knows, and how that may change. No actor, no clock, no file.
//!
//! [`MetadataImage`] is the state machine's state, [`MetadataRecord`] its input, and a [`Proposal`] what of it stands in
//! one entry of the quorum's log. A [`Command`] is what somebody asks for; [`decide`] says which records it becomes.
//! [`Controller`] decides for a cluster, ahead of the log; `Registry` for one node with a log of its own.

mod apply;
mod command;
mod controller;
mod election;
mod image;
mod placement;
mod proposal;
mod record;
mod registry;
mod snapshot;

#[cfg(test)]
mod tests;

pub use apply::{ApplyError, WrongChange};
pub use command::{
    Command, CommandAnswer, ConfigOwner, CreatedTopic, Elections, InSyncChange, NewTopic, PARTITIONS_MAX,
    PREFERRED_MAX, Refusal, Registration, TopicRef, decide,
};
pub use controller::{Controller, Decision, Proposed};
pub use image::{BrokerImage, DeletedTopic, GroupConfigs, MetadataImage, NOBODY, PartitionImage, TopicImage};
pub use proposal::{Applied, Proposal};
pub use record::{Assignment, CLUSTER_LISTENER, Endpoint, MetadataRecord, Uncertain};
pub(super) use registry::{Group, ProposeError, Registry};
pub use registry::{PRODUCER_ID_BLOCK, Rules};
pub(super) use snapshot::Snapshot;

/// The level of our own formats and protocols that this program writes and understands: 2, since there are records of
/// more than one broker.
pub const FEATURE_LEVEL: u16 = 2;
