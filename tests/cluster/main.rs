//! Clusters of real processes: how they form, and what they promise while nodes are killed, paused, restarted and wiped.
//!
//! The load is our own client's, and a ledger of what it was told is held against what is in the logs afterwards ([`load`]).
//! The tests run one at a time ([`cluster`]), each has processes and folders of its own, and each wait has a deadline.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alone;
mod any_node;
mod cluster;
mod cut;
mod ends;
mod formation;
mod full_disk;
mod kills;
mod leases;
mod load;
mod majority;
mod many;
mod paused;
mod proxies;
mod repair;
mod replicas;
mod restarts;
mod room;
mod slow_links;
#[path = "../support/mod.rs"]
mod support;
mod wall_clock;
mod wires;
