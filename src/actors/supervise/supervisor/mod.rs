//! Keeps named children running.
//!
//! **Invariants.** A handler never awaits. Each start runs in a task of its own and reports with the
//! incarnation it belongs to. A child is in one phase at a time (starting, running, waiting for its
//! restart, stopped); one that is being removed leaves when its actor has ended, and whoever removes it
//! is answered only then. Added children outlive the supervisor: its next incarnation starts them
//! again. The supervisor fails, and thereby all below it, only by escalation; its own supervisor then
//! applies its own policy.

mod children;
mod error;
mod handle;
mod message;
mod spec;

use std::{sync::Arc, time::Duration};

pub use error::SupervisorError;
pub use handle::SupervisorHandle;
pub use message::SupervisorMessage;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
pub use spec::{ChildContext, ChildSpec, StartedChild};

use self::{children::SupervisorState, handle::Shared};
use crate::actors::supervise::{ActorPath, Exit, Tree, Vitals, spawn::with_sources};

/// In which order a supervisor that stops stops its children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shutdown {
    /// All at once: for children that do not need each other.
    #[default]
    Together,
    /// One after another, the last added first: for children that stand on earlier ones.
    Reverse,
}

/// How a supervisor behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupervisorOptions {
    /// The order in which it stops its children.
    pub shutdown: Shutdown,
    /// How long it may itself take to stop before its own supervisor kills it.
    pub stop_time: Duration,
}

impl Default for SupervisorOptions {
    fn default() -> Self {
        Self { shutdown: Shutdown::default(), stop_time: Duration::from_secs(30) }
    }
}

/// What an incarnation is started with.
pub struct SupervisorArgs {
    tree: Tree,
    path: ActorPath,
    shared: Arc<Shared>,
    vitals: Arc<Vitals>,
}

/// The actor; made by [`SupervisorHandle`].
#[derive(Clone, Copy, Debug)]
pub struct Supervisor;

impl Actor for Supervisor {
    type Msg = SupervisorMessage;
    type State = SupervisorState;
    type Arguments = SupervisorArgs;

    async fn pre_start(
        &self,
        me: ActorRef<SupervisorMessage>,
        args: SupervisorArgs,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        let mut state = SupervisorState::new(args, me);
        state.start_roster();
        Ok(state)
    }

    async fn handle(
        &self,
        _me: ActorRef<SupervisorMessage>,
        message: SupervisorMessage,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMessage::Add { spec, answer } => state.on_add(spec, answer),
            SupervisorMessage::Remove { name, answer } => state.on_remove(&name, answer),
            SupervisorMessage::List { answer } => {
                let _asker_gone = answer.send(state.names());
            }
            SupervisorMessage::Started { name, incarnation, outcome } => {
                state.on_started(&name, incarnation, outcome)?;
            }
            SupervisorMessage::BackoffOver { name, number, incarnation } => {
                state.on_backoff_over(&name, (number, incarnation));
            }
            SupervisorMessage::StopTimeOver { name, number, incarnation } => {
                state.on_stop_time_over(&name, (number, incarnation));
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<SupervisorMessage>,
        event: SupervisionEvent,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(child, its_state, reason) => {
                // First, so that a successor finds nothing held.
                drop(its_state);
                state.on_exit(child.get_id(), exit_of(reason.as_deref()))?;
            }
            SupervisionEvent::ActorFailed(child, error) => {
                state.on_exit(child.get_id(), Exit::Failed(with_sources(error.as_ref())))?;
            }
            // Nothing is learnt from who lives elsewhere: no actor of ours has a name or a group.
            SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_)
            | SupervisionEvent::PidLifecycleEvent(_) => {}
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _me: ActorRef<SupervisorMessage>,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        let running = state.take_running();
        match state.shutdown() {
            Shutdown::Together => {
                for (child, _) in &running {
                    child.stop(None);
                }
                for (child, stop_time) in running {
                    wait_or_kill(child, stop_time).await;
                }
            }
            Shutdown::Reverse => {
                for (child, stop_time) in running.into_iter().rev() {
                    child.stop(None);
                    wait_or_kill(child, stop_time).await;
                }
            }
        }
        Ok(())
    }
}

/// `ractor` tells a kill from a stop by its reason alone.
fn exit_of(reason: Option<&str>) -> Exit {
    match reason {
        Some("killed" | "actor_task_cancelled") => Exit::Killed,
        Some(_) | None => Exit::Stopped,
    }
}

async fn wait_or_kill(child: ActorCell, stop_time: Duration) {
    if child.wait(Some(stop_time)).await.is_err() {
        tracing::warn!(actor = %child.get_id(), "child did not stop in time, killed");
        child.kill();
    }
}
