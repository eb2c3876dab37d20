//! One node's register of its actors: what an operator sees, and where chaos finds its victims.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ractor::ActorCell;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{ActorPath, Exit, FaultPoints, Vitals};
use crate::{
    clock::Clock,
    model::{LeaderEpoch, TimestampMs},
};

/// Where an actor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum ActorState {
    /// In `pre_start`.
    Starting,
    /// Taking messages.
    Running,
    /// Failed, and started again after a wait.
    Restarting {
        /// Milliseconds until the next start.
        in_ms: u64,
    },
    /// Ended as it should, or as it was told to.
    Stopped,
    /// Ended by an error, a panic or a kill, or could not start.
    Failed,
}

/// Why an actor last failed, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    /// The error's text, or `panicked: ...`, or `killed`.
    pub cause: String,
    /// Wall time of the failure.
    pub at: TimestampMs,
}

/// One line of the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorInfo {
    /// The path, `/` between names.
    pub path: String,
    /// The actor's type.
    pub kind: String,
    /// Where it is in its life.
    pub state: ActorState,
    /// How often it was started again since it was first started.
    pub restarts: u64,
    /// Messages in its mailbox.
    pub queue_depth: u64,
    /// The last failure of any incarnation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
    /// The leader epoch under which it acts, if it acts under one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<LeaderEpoch>,
    /// What it says it is doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Told of each restart, with the kind of actor: counts them.
type OnRestart = Arc<dyn Fn(&'static str) + Send + Sync>;

#[derive(Clone, Copy, Debug)]
enum State {
    Is(ActorState),
    /// The monotonic time at which it is started again.
    RestartingAt(Duration),
}

struct Entry {
    kind: &'static str,
    state: State,
    restarts: u64,
    last_failure: Option<LastFailure>,
    vitals: Arc<Vitals>,
    cell: Option<ActorCell>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    faults: FaultPoints,
    on_restart: Option<OnRestart>,
    actors: Mutex<BTreeMap<ActorPath, Entry>>,
    changes: watch::Sender<()>,
}

/// The register of one node's actors. Cheap to clone; locked only when an actor starts or ends, and
/// for a snapshot.
#[derive(Clone)]
pub struct Tree {
    inner: Arc<Inner>,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({} actors)", self.actors().len())
    }
}

impl Tree {
    /// An empty tree.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::build(clock, None)
    }

    /// An empty tree that tells `on_restart` the kind of each actor that is started again.
    pub fn observed(
        clock: Arc<dyn Clock>,
        on_restart: impl Fn(&'static str) + Send + Sync + 'static,
    ) -> Self {
        Self::build(clock, Some(Arc::new(on_restart)))
    }

    fn build(clock: Arc<dyn Clock>, on_restart: Option<OnRestart>) -> Self {
        let (faults, actors, changes) = (FaultPoints::default(), Mutex::default(), watch::Sender::default());
        Self { inner: Arc::new(Inner { clock, faults, on_restart, actors, changes }) }
    }

    /// The node's fault points.
    pub fn faults(&self) -> &FaultPoints {
        &self.inner.faults
    }

    /// The node's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Every actor, parents before what is below them.
    pub fn snapshot(&self) -> Vec<ActorInfo> {
        let now = self.inner.clock.monotonic();
        self.actors().iter().map(|(path, entry)| entry.info(path, now)).collect()
    }

    /// One actor.
    pub fn get(&self, path: &ActorPath) -> Option<ActorInfo> {
        let now = self.inner.clock.monotonic();
        self.actors().get(path).map(|entry| entry.info(path, now))
    }

    /// The actor whose path reads `path`.
    pub fn find(&self, path: &str) -> Option<ActorPath> {
        self.actors().keys().find(|known| known.as_str() == path).cloned()
    }

    /// Told whenever an actor is started, runs, has ended, waits for its restart or is forgotten; queue and epoch are not watched.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.inner.changes.subscribe()
    }

    /// Kills the running incarnation at `path`, with everything below it and without a chance to tidy
    /// up; its supervisor starts it again. False if nothing runs there.
    pub fn kill(&self, path: &ActorPath) -> bool {
        let cell = self.actors().get(path).and_then(|entry| entry.cell.clone());
        cell.map(|cell| cell.kill()).is_some()
    }

    /// Takes an actor and everything below it out of the tree, with its past.
    pub fn forget(&self, path: &ActorPath) {
        self.actors().retain(|known, _| known != path && known.name_below(path).is_none());
        self.tell();
    }

    /// Takes out everything below `path` but for what stands below one of the names in `kept`.
    pub(super) fn forget_below(&self, path: &ActorPath, kept: &HashSet<String>) {
        self.actors().retain(|known, _| known.name_below(path).is_none_or(|name| kept.contains(name)));
        self.tell();
    }

    /// Enters a new incarnation of the actor at `path`.
    pub(super) fn on_starting(&self, path: &ActorPath, kind: &'static str) -> Arc<Vitals> {
        let vitals = Arc::new(Vitals::new());
        let mut actors = self.actors();
        let known = actors.remove(path);
        let restarts = known.as_ref().map_or(0, |known| known.restarts + 1);
        let entry = Entry {
            kind,
            state: State::Is(ActorState::Starting),
            restarts,
            last_failure: known.and_then(|known| known.last_failure),
            vitals: Arc::clone(&vitals),
            cell: None,
        };
        actors.insert(path.clone(), entry);
        drop(actors);
        self.tell();
        if restarts > 0
            && let Some(on_restart) = &self.inner.on_restart
        {
            on_restart(kind);
        }
        vitals
    }

    /// Makes the starting incarnation one that [`Self::kill`] finds.
    pub(super) fn on_cell(&self, path: &ActorPath, vitals: &Arc<Vitals>, cell: ActorCell) {
        self.change(path, vitals, |entry| entry.cell = Some(cell));
    }

    pub(super) fn on_running(&self, path: &ActorPath, vitals: &Arc<Vitals>) {
        self.change(path, vitals, |entry| entry.state = State::Is(ActorState::Running));
    }

    pub(super) fn on_ended(&self, path: &ActorPath, vitals: &Arc<Vitals>, exit: &Exit) {
        let at = self.inner.clock.wall();
        vitals.on_ended();
        self.change(path, vitals, |entry| {
            entry.cell = None;
            entry.state = State::Is(match exit {
                Exit::Stopped => ActorState::Stopped,
                Exit::Failed(_) | Exit::Killed => ActorState::Failed,
            });
            if *exit != Exit::Stopped {
                entry.last_failure = Some(LastFailure { cause: exit.to_string(), at });
            }
        });
    }

    /// Says that the failed actor at `path` is started again after a wait. Makes the entry if the
    /// child's start failed before it came to an actor.
    pub(super) fn on_restarting(&self, path: &ActorPath, after: Duration, cause: &str) {
        let until = self.inner.clock.monotonic().saturating_add(after);
        let at = self.inner.clock.wall();
        let mut actors = self.actors();
        let entry = actors.entry(path.clone()).or_insert_with(Entry::unstarted);
        entry.state = State::RestartingAt(until);
        entry.last_failure = Some(LastFailure { cause: cause.to_owned(), at });
        drop(actors);
        self.tell();
    }

    /// Changes the entry unless another incarnation has taken its place.
    fn change(&self, path: &ActorPath, vitals: &Arc<Vitals>, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.actors().get_mut(path)
            && Arc::ptr_eq(&entry.vitals, vitals)
        {
            change(entry);
        }
        self.tell();
    }

    /// What has changed can be seen by now.
    fn tell(&self) {
        self.inner.changes.send_replace(());
    }

    fn actors(&self) -> MutexGuard<'_, BTreeMap<ActorPath, Entry>> {
        self.inner.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn unstarted() -> Self {
        Self {
            kind: "Unstarted",
            state: State::Is(ActorState::Failed),
            restarts: 0,
            last_failure: None,
            vitals: Arc::new(Vitals::new()),
            cell: None,
        }
    }

    fn info(&self, path: &ActorPath, now: Duration) -> ActorInfo {
        let state = match self.state {
            State::Is(state) => state,
            State::RestartingAt(until) => ActorState::Restarting {
                in_ms: u64::try_from(until.saturating_sub(now).as_millis()).unwrap_or(u64::MAX),
            },
        };
        ActorInfo {
            path: path.as_str().to_owned(),
            kind: self.kind.to_owned(),
            state,
            restarts: self.restarts,
            queue_depth: self.vitals.queued(),
            last_failure: self.last_failure.clone(),
            epoch: self.vitals.epoch(),
            detail: self.vitals.detail(),
        }
    }
}
