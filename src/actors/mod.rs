//! The actors of a node, and the only place (beside `node`) that names `ractor`.
//!
//! Each actor is a folder of its own: `mod.rs` (invariants, state, one exhaustive match), `message.rs`,
//! `handle.rs` (what other layers see), `error.rs` and, where it decides anything, `core/` without
//! actors, clocks or files. All are started by [`supervise::spawn`] and stand in [`supervise::Tree`].

pub mod cluster_link;
pub mod controller;
pub mod group_coordinator;
pub mod listener;
pub mod membership;
pub mod partition;
pub mod supervise;
