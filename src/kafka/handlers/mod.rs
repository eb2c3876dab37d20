//! One handler per API: from a request to its answer.
//!
//! A handler decides nothing that outlives it: it asks the registry's and the partitions' handles,
//! and puts what they say into the form of the request's version. What they refuse becomes an error
//! code by the tables in [`refusals`] and `kafka::errors`, which have no wildcard. Work and memory are
//! bounded by the request: a name that is given twice is answered once, or refused, as in Kafka.
#![allow(clippy::unused_async, reason = "the dispatcher calls every handler in the same way")]
#![allow(clippy::needless_pass_by_value, reason = "a handler owns its request")]

pub(crate) mod alter_configs;
pub(crate) mod api_versions;
pub(crate) mod consumer_group_describe;
pub(crate) mod consumer_group_heartbeat;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_groups;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_groups;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_producers;
pub(crate) mod describe_topic_partitions;
pub(crate) mod elect_leaders;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod heartbeat;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_config_resources;
pub(crate) mod list_groups;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod sync_group;

mod at_once;
mod config_owner;
mod groups;
mod hints;
mod leaders;
mod once_each;
mod readiness;
mod refusals;
#[cfg(test)]
mod tests;
