//! What an operator may set, checked before anything starts.
//!
//! A setting that is misspelt, out of range or not served yet must stop the start or be refused with
//! its name, never be carried in silence. So everything enters raw, as text with its origin, and
//! leaves typed: [`node::NodeConfig`] for the process, [`topic::TopicConfig`] for a topic,
//! [`group::GroupConfig`] for a group. Keys of topics and groups and their meanings are Kafka's, and so are those
//! of [`broker`]: what of a node's settings can be
//! changed while it runs.

pub mod broker;
pub mod group;
pub mod node;
pub mod phrase;
pub mod topic;
pub mod units;
