//! Polylogue: a distributed, append-only commit log built on the actor model.
//!
//! Read `docs/ARCHITECTURE.md` first. Modules may import only what stands to their left:
//! `model, clock, sys <- wire <- record <- storage <- config <- client <- actors <- kafka, admin <-
//! node <- local_cluster <- cli`; `chaos` sees `model` and `client` only, `fuzzing` nothing right of `storage`.
//! A test checks it.

pub mod actors;
pub mod admin;
pub mod chaos;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod kafka;
pub mod local_cluster;
pub mod metrics;
pub mod model;
pub mod node;
pub mod record;
pub mod storage;
pub mod sys;
pub mod telemetry;
pub mod wire;
