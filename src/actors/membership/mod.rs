//! The membership registry: what the cluster knows, and how that changes.
//!
//! Topics, configs, leaders, epochs, producer ids and brokers are records in the log of the metadata quorum
//! ([`quorum`]), and every node has the state that they lead to. Who asks for a change asks the [`registry`], which
//! has the controller decide it (`core`) and answers when it holds. A node alone is a quorum of one.

mod core;
mod error;
pub mod formation;
pub mod forward;
pub mod joining;
pub mod member;
pub mod offline;
pub mod quorum;
pub mod registry;
pub mod voters;

pub use self::{
    core::{
        Applied, ApplyError, Assignment, BrokerImage, CLUSTER_LISTENER, Command, CommandAnswer, ConfigOwner,
        Controller, CreatedTopic, Decision, DeletedTopic, Elections, Endpoint, FEATURE_LEVEL, GroupConfigs,
        InSyncChange, MetadataImage, MetadataRecord, NOBODY, NewTopic, PARTITIONS_MAX, PREFERRED_MAX,
        PRODUCER_ID_BLOCK, PartitionImage, Proposal, Proposed, Refusal, Registration as BrokerRegistration,
        Rules, TopicImage, TopicRef, Uncertain, WrongChange, decide,
    },
    error::MembershipError,
    registry::RegistryHandle as MembershipHandle,
};

/// The folder of the partitions within the data folder.
pub const LOGS_DIR: &str = "logs";
