//! How others speak to a supervisor, over all its incarnations.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{ChildSpec, Supervisor, SupervisorArgs, SupervisorError, SupervisorMessage, SupervisorOptions};
use crate::actors::supervise::{
    ActorPath, Address, CallError, Ended, Placement, Reply, Slot, StartError, Tree, spawn_with,
};

/// How long a request waits for its answer, unless the handle says otherwise.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What outlives a supervisor's incarnations.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: SupervisorOptions,
    pub(super) current: Slot<SupervisorMessage>,
    roster: Mutex<BTreeMap<u64, ChildSpec>>,
    /// Numbers that were given to children. None is given twice: timers of one that is gone bear its number.
    numbers: AtomicU64,
}

impl Shared {
    /// The children that the next incarnation starts, in the order they were added, by number.
    pub(super) fn roster(&self) -> MutexGuard<'_, BTreeMap<u64, ChildSpec>> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a child; its number.
    pub(super) fn enter(&self, spec: ChildSpec) -> u64 {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.roster().insert(number, spec);
        number
    }

    /// Strikes a child off.
    pub(super) fn strike_off(&self, name: &str) {
        self.roster().retain(|_, spec| spec.name != name);
    }
}

/// A supervisor, as others hold it. Cheap to clone; stays good when the supervisor is restarted, and
/// so does its list of children.
#[derive(Clone, Debug)]
pub struct SupervisorHandle {
    shared: Arc<Shared>,
    answer_within: Duration,
}

impl SupervisorHandle {
    /// A supervisor that does not run yet: start it with [`Self::start_root`], or hang it under
    /// another by [`Self::child_spec`].
    pub fn new(options: SupervisorOptions) -> Self {
        let shared =
            Shared { options, current: Slot::new(), roster: Mutex::default(), numbers: AtomicU64::new(0) };
        Self { shared: Arc::new(shared), answer_within: ANSWER_WITHIN }
    }

    /// The same supervisor with another time for requests to be answered in (30 s otherwise).
    #[must_use]
    pub fn answering_within(&self, answer_within: Duration) -> Self {
        Self { shared: Arc::clone(&self.shared), answer_within }
    }

    /// Starts it as the root of a tree. What is returned resolves when it ends, for whatever reason:
    /// the process must watch it, for nobody else does.
    pub async fn start_root(&self, tree: &Tree, place: &Placement, name: &str) -> Result<Ended, StartError> {
        let path = ActorPath::root(name);
        let args = self.args(tree, &path);
        let made = |vitals| (Supervisor, args(vitals));
        let (_address, ended) = spawn_with(place, tree, path.clone(), None, made).await?;
        Ok(ended)
    }

    /// It as the child of another supervisor.
    pub fn child_spec(&self, name: &str, place: Placement) -> ChildSpec {
        let handle = self.clone();
        let stop_time = self.shared.options.stop_time;
        let spec = ChildSpec::new(name, move |context| {
            let (handle, place) = (handle.clone(), place.clone());
            async move {
                let args = handle.args(&context.tree, &context.path);
                let address = context.spawn_with(&place, |vitals| (Supervisor, args(vitals))).await?;
                Ok(address.into())
            }
        });
        spec.with_stop_time(stop_time)
    }

    /// Adds a child and resolves when it has started. If its first start fails the error says so, and
    /// the child stays and is tried again under its policy.
    pub async fn add(&self, spec: ChildSpec) -> Result<(), SupervisorError> {
        self.ask(|answer| SupervisorMessage::Add { spec, answer }).await?
    }

    /// Stops a child and everything below it, waits for its end, and forgets it.
    pub async fn remove(&self, name: &str) -> Result<(), SupervisorError> {
        let name = name.to_owned();
        // Also when no incarnation is there to hear of it: the next one must not bring the child back.
        self.shared.strike_off(&name);
        self.ask(|answer| SupervisorMessage::Remove { name, answer }).await?
    }

    /// The children's names in the order they were added.
    pub async fn children(&self) -> Result<Vec<String>, SupervisorError> {
        self.ask(|answer| SupervisorMessage::List { answer }).await
    }

    /// Tells the current incarnation to stop, children first; [`Ended`] says when it has.
    pub fn stop(&self) {
        if let Some(current) = self.shared.current.get() {
            current.cell().stop(None);
        }
    }

    /// The current incarnation.
    pub fn current(&self) -> Option<Address<SupervisorMessage>> {
        self.shared.current.get()
    }

    async fn ask<R: Send + 'static>(
        &self,
        request: impl FnOnce(Reply<R>) -> SupervisorMessage,
    ) -> Result<R, SupervisorError> {
        let current = self.shared.current.get().ok_or(CallError::Gone)?;
        Ok(current.call(request, self.answer_within).await?)
    }

    fn args(
        &self,
        tree: &Tree,
        path: &ActorPath,
    ) -> impl FnOnce(Arc<crate::actors::supervise::Vitals>) -> SupervisorArgs + use<> {
        let (tree, path, shared) = (tree.clone(), path.clone(), Arc::clone(&self.shared));
        move |vitals| SupervisorArgs { tree, path, shared, vitals }
    }
}
