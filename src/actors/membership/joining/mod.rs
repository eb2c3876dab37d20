//! A node's life towards its cluster, once it is a member of the quorum: registered, caught up, ready, and out again.
//!
//! The `Registrar` registers this start of the node with the controller, lets the reconciler begin once the image has reached
//! that very entry (S12), asks to lead once the replicas are open, begins again when the controller does not know it any more,
//! and moves its leaders away before it stops.
//!
//! **Invariants.**
//! - Nothing is reconciled by an image from before the registration (S12).
//! - Whoever is superseded ends and says so; whoever finds a live duplicate waits until a predecessor's lease has surely run out,
//!   and only then ends (S17).
//! - Each command has a time-out and does the same when it is carried out twice, so that an unknown outcome is simply asked
//!   again under the same boot.
//! - All that the actor goes by is a level, not an edge: an incarnation after a crash finds out what its predecessor knew.

mod actor;
mod controller;
mod core;

#[cfg(test)]
mod tests;

pub use self::{
    actor::{JoinStatus, Look, Registrar, RegistrarArgs, RegistrarHandle, RegistrarMessage, registrar},
    controller::{Controller, NodeAnswer, NodeCommand, NodeCommandError, NodeRegistration},
    core::{Effect, Input, Joining, JoiningTiming, LeaveError, OurBroker, OurImage},
};
