//! Supervision: what starts every actor, watches it, starts it again, and shows it.
//!
//! `ractor` brings mailboxes, links and failure events, and leaves policy to its user; three of its
//! defaults would lose a node (a supervisor stops when any child ends, kills its children when it
//! stops, and an actor's queue has no length). This module decides those things once:
//!
//! - [`spawn`] is the one way to start an actor. It places it on a runtime, enters it in the [`Tree`],
//!   counts its queue, drops its state *before* its supervisor hears of its end, and gives it a fault
//!   point under its path.
//! - [`Supervisor`] keeps named children running under a [`RestartPolicy`], and fails upward when that
//!   is not enough.
//! - [`Tree`] is one node's view of all of it: path, state, restarts, last failure, queue, epoch.
//!
//! **Invariants.** Nothing here is global: two nodes in one process share no tree, no fault point and
//! no name. A supervisor's handler never awaits: children start in tasks of their own, and a
//! completion carries the incarnation it belongs to, so that a late one changes nothing. An actor's
//! state is gone, with every lock and view it held, before its successor starts, but for a `kill`
//! during a blocking call, which nothing can cut short.

/// Makes types the messages of actors of this process. With its cluster switched on, `ractor` takes no type for a message
/// that does not say whether it can be sent to another node; those that are named here cannot.
macro_rules! local_message {
    ($($message:ty),+ $(,)?) => {$(
        impl ractor::Message for $message {}
    )+};
}

mod address;
pub mod fault;
mod path;
mod policy;
mod render;
mod slot;
mod spawn;
mod supervisor;
mod task;
mod tree;
mod vitals;

#[cfg(test)]
mod tests;

use std::{future::Future, pin::Pin};

pub use address::{Address, CallError, Gone};
pub use fault::{Fault, FaultPoints};
pub(crate) use local_message;
pub use path::ActorPath;
pub use policy::{RestartHistory, RestartPolicy, Verdict};
pub use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort as Reply, SupervisionEvent};
pub use render::render_tree;
pub use slot::Slot;
pub(in crate::actors) use spawn::caught;
pub use spawn::{Ended, Exit, Placement, StartError, spawn, spawn_with};
pub use supervisor::{
    ChildContext, ChildSpec, Shutdown, StartedChild, Supervisor, SupervisorError, SupervisorHandle,
    SupervisorMessage, SupervisorOptions,
};
pub use task::{MakeTask, task_spec};
pub use tree::{ActorInfo, ActorState, LastFailure, Tree};
pub use vitals::Vitals;

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
