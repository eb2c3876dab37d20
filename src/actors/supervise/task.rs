//! A supervised task: an actor whose one job is to end when its task does, so that it is started again.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::{Actor, ActorProcessingErr, ActorRef, BoxFuture, ChildSpec, Placement, Slot, SupervisionEvent};

/// Makes the task of one incarnation.
pub type MakeTask = Arc<dyn Fn() -> BoxFuture<()> + Send + Sync>;

/// The task as the child of a supervisor.
pub fn task_spec(name: &str, place: Placement, task: MakeTask) -> ChildSpec {
    ChildSpec::actor(name, place, Slot::new(), move |_| (SupervisedTask, Arc::clone(&task)))
}

/// What the actor is told; by itself alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TaskMessage {
    /// From the task's guard: it has ended although it never should, by a panic too.
    Ended,
}

super::local_message!(TaskMessage);

#[derive(Debug, thiserror::Error)]
#[error("its task ended by itself")]
struct TaskEnded;

/// The actor.
#[derive(Clone, Copy, Debug)]
pub(super) struct SupervisedTask;

/// The running task; cut off when this is dropped.
pub(super) struct RunningTask(JoinHandle<()>);

impl Drop for RunningTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Actor for SupervisedTask {
    type Msg = TaskMessage;
    type State = RunningTask;
    type Arguments = MakeTask;

    async fn pre_start(
        &self,
        me: ActorRef<TaskMessage>,
        make: MakeTask,
    ) -> Result<RunningTask, ActorProcessingErr> {
        let task = make();
        Ok(RunningTask(tokio::spawn(async move {
            let _tells = TellsEnd(me);
            task.await;
        })))
    }

    async fn handle(
        &self,
        _me: ActorRef<TaskMessage>,
        message: TaskMessage,
        _state: &mut RunningTask,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            TaskMessage::Ended => Err(TaskEnded.into()),
        }
    }

    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<TaskMessage>,
        _event: SupervisionEvent,
        _state: &mut RunningTask,
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

struct TellsEnd(ActorRef<TaskMessage>);

impl Drop for TellsEnd {
    fn drop(&mut self) {
        let _actor_gone = self.0.cast(TaskMessage::Ended);
    }
}
