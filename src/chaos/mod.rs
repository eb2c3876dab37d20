//! What a workload saw, and whether it was right.
//!
//! A broker that loses data does not say so. The only witness is a client that wrote down what it
//! sent, what was acknowledged and what it read back: the [`history`]. The [`checker`] holds that
//! against the promises of the log. Nothing here is an actor or talks to a node, so that a check can
//! be run again, alone, on a history that somebody kept.

pub mod checker;
pub mod history;
