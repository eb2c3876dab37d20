//! What a child is, and how it is started, again and again.

use std::{fmt, sync::Arc, time::Duration};

use ractor::{Actor, ActorCell};

use crate::actors::supervise::{
    ActorPath, Address, BoxFuture, Placement, RestartPolicy, Slot, StartError, Tree, Vitals, spawn_with,
};

/// Starts one incarnation of a child.
pub(super) type StartChild =
    Arc<dyn Fn(ChildContext) -> BoxFuture<Result<StartedChild, StartError>> + Send + Sync>;

/// How long a child may take to stop before it is killed, unless its spec says otherwise.
const STOP_TIME: Duration = Duration::from_secs(10);

/// A named child of a supervisor. Cheap to clone.
#[derive(Clone)]
pub struct ChildSpec {
    pub(super) name: String,
    pub(super) policy: RestartPolicy,
    pub(super) stop_time: Duration,
    pub(super) start: StartChild,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .field("stop_time", &self.stop_time)
            .finish_non_exhaustive()
    }
}

impl ChildSpec {
    /// A child that `start` brings to life. It runs in a task of its own and may take long; dropping
    /// it must leave nothing behind but what [`ChildContext::spawn`] cleans up.
    pub fn new<F>(name: &str, start: impl Fn(ChildContext) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<StartedChild, StartError>> + Send + 'static,
    {
        Self {
            name: name.replace('/', "_"),
            policy: RestartPolicy::default(),
            stop_time: STOP_TIME,
            start: Arc::new(move |context| Box::pin(start(context))),
        }
    }

    /// A child that is one actor: `make` gives the actor and its arguments for each incarnation, and
    /// each incarnation's address is put into `slot`.
    pub fn actor<A: Actor>(
        name: &str,
        place: Placement,
        slot: Slot<A::Msg>,
        make: impl Fn(Arc<Vitals>) -> (A, A::Arguments) + Send + Sync + 'static,
    ) -> Self {
        let make = Arc::new(make);
        Self::new(name, move |context| {
            let (place, slot, make) = (place.clone(), slot.clone(), Arc::clone(&make));
            async move {
                let address = context.spawn_with(&place, |vitals| make(vitals)).await?;
                slot.set(address.clone());
                Ok(address.into())
            }
        })
    }

    /// The same child under another restart policy.
    #[must_use]
    pub fn with_policy(self, policy: RestartPolicy) -> Self {
        Self { policy, ..self }
    }

    /// The same child with another time to stop in, after which it is killed.
    #[must_use]
    pub fn with_stop_time(self, stop_time: Duration) -> Self {
        Self { stop_time, ..self }
    }

    /// The child's name, the last of its path.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What a start gets from the supervisor.
#[derive(Clone, Debug)]
pub struct ChildContext {
    /// The node's tree.
    pub tree: Tree,
    /// The child's path.
    pub path: ActorPath,
    /// To whom the child is to be linked.
    pub supervisor: ActorCell,
    /// 1 for the first start under this supervisor, and one more for each further start.
    pub incarnation: u64,
}

impl ChildContext {
    /// Starts the child's actor under its path, linked to its supervisor.
    pub async fn spawn<A: Actor>(
        &self,
        place: &Placement,
        actor: A,
        args: A::Arguments,
    ) -> Result<Address<A::Msg>, StartError> {
        self.spawn_with(place, |_| (actor, args)).await
    }

    /// Like [`Self::spawn`], for an actor that wants its own vitals.
    pub async fn spawn_with<A: Actor>(
        &self,
        place: &Placement,
        make: impl FnOnce(Arc<Vitals>) -> (A, A::Arguments),
    ) -> Result<Address<A::Msg>, StartError> {
        let (path, supervisor) = (self.path.clone(), Some(self.supervisor.clone()));
        let (address, _ended) = spawn_with(place, &self.tree, path, supervisor, make).await?;
        Ok(address)
    }
}

/// A child that has started: the actor whose end is the child's end.
#[derive(Clone, Debug)]
pub struct StartedChild {
    pub(super) cell: ActorCell,
}

impl<M> From<Address<M>> for StartedChild {
    fn from(address: Address<M>) -> Self {
        Self { cell: address.cell() }
    }
}
