//! A whole node as a process, seen from outside: what it does with hostile peers, with every corner of
//! the protocol, with rot on its disk, with signals and starts that should not be, and with a full disk.
//!
//! Most tests speak the protocol byte by byte through [`peer`], since a good client never sends what a
//! broker has to refuse. Each has a node of its own, so that none sees another's topics or limits.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batches;
mod compaction;
mod corruption;
mod dead_letters;
mod disk_full;
mod groups;
mod hostile;
mod lag;
mod lifecycle;
mod nacks;
mod nodes;
mod open_files;
mod peer;
mod protocol;
mod server_side_groups;
#[path = "../support/mod.rs"]
mod support;
