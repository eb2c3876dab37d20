//! Polylogue: a distributed, append-only commit log built on the actor model.
//!
//! Read `docs/ARCHITECTURE.md` first. Modules may import only what stands to their left:
//! `model, clock, sys <- wire <- record <- storage <- config <- client <- actors <- kafka, admin <-
//! node <- local_cluster <- cli`; `chaos` sees `model` and `client` only, `fuzzing` nothing right of `storage`.
//! A test checks it.

#[cfg(feature = "server")]
pub mod actors;
#[cfg(feature = "server")]
pub mod admin;
pub mod chaos;
#[cfg(feature = "server")]
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "server")]
pub mod kafka;
#[cfg(feature = "server")]
pub mod local_cluster;
pub mod metrics;
pub mod model;
#[cfg(feature = "server")]
pub mod node;
pub mod record;
pub mod storage;
pub mod sys;
pub mod telemetry;
pub mod wire;
