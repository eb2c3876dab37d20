//! The one way to start an actor.
//!
//! Every actor runs inside [`Supervised`], which passes each callback on and adds what all need: entry
//! in the tree, queue count, fault point, a check of the runtime it landed on, and an orderly death. On
//! an error or a panic the actor's state is dropped here, *before* `ractor` tells the supervisor: a
//! successor must find the log's lock free, and readers must learn at once that the replica is gone.

use std::{
    any::type_name,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::{runtime::Handle, sync::oneshot};

use super::{ActorPath, Address, Fault, Tree, Vitals, fault::Moment};

/// On which runtime an actor runs: where the spawn is polled, not where it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    runtime: Option<Handle>,
}

impl Placement {
    /// On the runtime of whoever starts it.
    pub fn here() -> Self {
        Self { runtime: None }
    }

    /// On this runtime, wherever its supervisor runs, now and after each restart.
    pub fn on(runtime: Handle) -> Self {
        Self { runtime: Some(runtime) }
    }

    /// The runtime, unless it is the starter's.
    pub fn runtime(&self) -> Option<&Handle> {
        self.runtime.as_ref()
    }
}

/// How an incarnation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It stopped by itself or was told to, and ran its `post_stop`.
    Stopped,
    /// It failed with this error or panic.
    Failed(String),
    /// It was killed, or its start was cut short.
    Killed,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped"),
            Self::Failed(cause) => f.write_str(cause),
            Self::Killed => f.write_str("killed"),
        }
    }
}

/// Resolves when the incarnation has ended and its state is gone.
#[derive(Debug)]
pub struct Ended(oneshot::Receiver<Exit>);

impl Future for Ended {
    type Output = Exit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Exit> {
        Pin::new(&mut self.0).poll(cx).map(|exit| exit.unwrap_or(Exit::Killed))
    }
}

/// Why an actor did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Its `pre_start` failed, panicked or was cut short, or its supervisor is stopping.
    #[error("start failed: {cause}")]
    Failed {
        /// The error's text.
        cause: String,
    },
    /// The runtime it was to run on is shutting down.
    #[error("runtime is shutting down")]
    NoRuntime,
}

impl From<SpawnErr> for StartError {
    fn from(error: SpawnErr) -> Self {
        match error {
            SpawnErr::StartupFailed(cause) => Self::Failed { cause: with_sources(cause.as_ref()) },
            SpawnErr::ActorAlreadyStarted | SpawnErr::ActorAlreadyRegistered(_) => {
                Self::Failed { cause: error.to_string() }
            }
        }
    }
}

/// Starts an actor at `path`, linked to `supervisor` if there is one, and resolves once its
/// `pre_start` has succeeded. Its kind in the tree is the name of its type.
///
/// An entry of an earlier incarnation at this path is taken over: its restart count goes up.
pub async fn spawn<A: Actor>(
    place: &Placement,
    tree: &Tree,
    path: ActorPath,
    supervisor: Option<ActorCell>,
    actor: A,
    args: A::Arguments,
) -> Result<(Address<A::Msg>, Ended), StartError> {
    spawn_with(place, tree, path, supervisor, |_| (actor, args)).await
}

/// Like [`spawn`], for an actor that wants its own [`Vitals`]: to show its epoch, or to address itself
/// with [`Address::new`].
pub async fn spawn_with<A: Actor>(
    place: &Placement,
    tree: &Tree,
    path: ActorPath,
    supervisor: Option<ActorCell>,
    make: impl FnOnce(Arc<Vitals>) -> (A, A::Arguments),
) -> Result<(Address<A::Msg>, Ended), StartError> {
    let vitals = tree.on_starting(&path, kind_of::<A>());
    let (ended, on_end) = oneshot::channel();
    let life = Life { tree: tree.clone(), path, vitals: Arc::clone(&vitals), ended: Some(ended) };
    let (actor, args) = make(Arc::clone(&vitals));
    let args = (args, life);
    let runtime = place.runtime.as_ref();
    let actor = Supervised { actor, vitals: Arc::clone(&vitals), runtime: runtime.map(Handle::id) };
    let started = match runtime {
        None => start(actor, args, supervisor).await,
        Some(runtime) => {
            let started = runtime.spawn(start(actor, args, supervisor));
            started.await.map_err(|_| StartError::NoRuntime)?
        }
    };
    Ok((Address::new(started?, vitals), Ended(on_end)))
}

async fn start<A: Actor>(
    actor: Supervised<A>,
    args: (A::Arguments, Life),
    supervisor: Option<ActorCell>,
) -> Result<ActorRef<A::Msg>, StartError> {
    let (actor, _join) = match supervisor {
        Some(supervisor) => Actor::spawn_linked(None, actor, args, supervisor).await?,
        None => Actor::spawn(None, actor, args).await?,
    };
    Ok(actor)
}

fn kind_of<A>() -> &'static str {
    let whole = type_name::<A>();
    let without_generics = whole.split('<').next().unwrap_or(whole);
    without_generics.rsplit("::").next().unwrap_or(whole)
}

/// An incarnation's line in the tree. Whatever way it ends, dropping this says so.
struct Life {
    tree: Tree,
    path: ActorPath,
    vitals: Arc<Vitals>,
    ended: Option<oneshot::Sender<Exit>>,
}

impl Life {
    fn end(&mut self, exit: Exit) {
        let Some(ended) = self.ended.take() else { return };
        self.tree.on_ended(&self.path, &self.vitals, &exit);
        let _nobody_may_wait = ended.send(exit);
    }

    async fn fault(&self, moment: Moment) -> Result<(), ActorProcessingErr> {
        match self.tree.faults().take(&self.path, moment) {
            None => Ok(()),
            Some(fault) => strike(fault).await,
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end(Exit::Killed);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("fault point")]
struct InjectedFault;

#[expect(clippy::panic, reason = "this is the panic that was asked for")]
async fn strike(fault: Fault) -> Result<(), ActorProcessingErr> {
    match fault {
        Fault::Panic | Fault::PanicStart => panic!("fault point"),
        Fault::Err | Fault::FailStart => Err(InjectedFault.into()),
        Fault::Delay(time) => {
            tokio::time::sleep(time).await;
            Ok(())
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum LifeError {
    #[error("panicked: {0}")]
    Panicked(String),
    #[error("placed on another runtime than asked for")]
    Misplaced,
    #[error("state is gone")]
    NoState,
}

struct Supervised<A> {
    actor: A,
    vitals: Arc<Vitals>,
    runtime: Option<tokio::runtime::Id>,
}

/// The actor's own state, until it fails or stops; then its life is over as well.
struct Alive<S> {
    state: Option<S>,
    life: Life,
}

impl<A: Actor> Actor for Supervised<A> {
    type Msg = A::Msg;
    type State = Alive<A::State>;
    type Arguments = (A::Arguments, Life);

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        (args, mut life): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        life.tree.on_cell(&life.path, &life.vitals, me.get_cell());
        let started = unpanicked(async {
            self.check_place()?;
            life.fault(Moment::Start).await?;
            self.actor.pre_start(me, args).await
        })
        .await;
        match started {
            Ok(state) => {
                life.tree.on_running(&life.path, &life.vitals);
                Ok(Alive { state: Some(state), life })
            }
            Err(error) => {
                life.end(Exit::Failed(with_sources(error.as_ref())));
                Err(error)
            }
        }
    }

    async fn post_start(
        &self,
        me: ActorRef<Self::Msg>,
        alive: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let outcome = match &mut alive.state {
            Some(state) => unpanicked(self.actor.post_start(me, state)).await,
            None => Err(LifeError::NoState.into()),
        };
        alive.settle(outcome)
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: Self::Msg,
        alive: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        self.vitals.on_taken();
        let Alive { state, life } = alive;
        let outcome = match state {
            Some(state) => {
                unpanicked(async {
                    life.fault(Moment::Message).await?;
                    self.actor.handle(me, message, state).await
                })
                .await
            }
            None => Err(LifeError::NoState.into()),
        };
        alive.settle(outcome)
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        alive: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let outcome = match &mut alive.state {
            Some(state) => unpanicked(self.actor.handle_supervisor_evt(me, event, state)).await,
            None => Err(LifeError::NoState.into()),
        };
        alive.settle(outcome)
    }

    async fn post_stop(
        &self,
        me: ActorRef<Self::Msg>,
        alive: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let outcome = match &mut alive.state {
            Some(state) => unpanicked(self.actor.post_stop(me, state)).await,
            None => Err(LifeError::NoState.into()),
        };
        alive.settle(outcome)?;
        alive.state = None;
        alive.life.end(Exit::Stopped);
        Ok(())
    }
}

impl<A> Supervised<A> {
    fn check_place(&self) -> Result<(), LifeError> {
        match self.runtime {
            Some(runtime) if Handle::current().id() != runtime => Err(LifeError::Misplaced),
            Some(_) | None => Ok(()),
        }
    }
}

impl<S> Alive<S> {
    /// Drops the state and records the end if a callback failed.
    #[inline]
    fn settle(&mut self, outcome: Result<(), ActorProcessingErr>) -> Result<(), ActorProcessingErr> {
        let Err(error) = outcome else { return Ok(()) };
        self.state = None;
        self.life.end(Exit::Failed(with_sources(error.as_ref())));
        Err(error)
    }
}

/// Runs a callback and turns its panic into an error.
async fn unpanicked<T>(
    callback: impl Future<Output = Result<T, ActorProcessingErr>>,
) -> Result<T, ActorProcessingErr> {
    caught(callback).await.unwrap_or_else(|text| Err(LifeError::Panicked(text).into()))
}

/// Runs a future and gives back the text of its panic as an error. What a panic leaves half changed
/// must be thrown away by the caller: here it is always an actor's state.
pub(in crate::actors) async fn caught<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(payload) => Poll::Ready(Err(panic_text(payload.as_ref()))),
    })
    .await
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no text").to_owned()
}

/// An error's text followed by those of its sources.
pub(super) fn with_sources(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
