//! The children of one incarnation of a supervisor, and what becomes of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use ractor::{ActorCell, ActorId, ActorRef};
use tokio::task::JoinSet;

use super::{
    ChildContext, ChildSpec, Shutdown, StartedChild, SupervisorArgs, SupervisorError, SupervisorMessage,
    error::Escalation, message::Answer,
};
use crate::actors::supervise::{Address, Exit, RestartHistory, StartError, Verdict, spawn::caught};

/// Where one child is.
enum Phase {
    Starting,
    Running(ActorCell),
    /// Failed, waiting for its next start.
    Waiting,
    /// Ended as it should.
    Stopped,
}

struct Child {
    /// Its place in the order of adding.
    number: u64,
    spec: ChildSpec,
    incarnation: u64,
    phase: Phase,
    history: RestartHistory,
    /// Whoever added it, until its first start is over.
    adding: Option<Answer>,
    /// Whoever removes it, until it is gone.
    removing: Vec<Answer>,
    leaving: bool,
}

/// What a supervisor knows.
pub struct SupervisorState {
    args: SupervisorArgs,
    me: Address<SupervisorMessage>,
    children: HashMap<String, Child>,
    by_actor: HashMap<ActorId, String>,
    /// Ends heard of before the start's own completion: supervision overtakes messages.
    early_exits: HashMap<ActorId, Exit>,
    /// The tasks of the starts that are under way, cut short when this incarnation ends.
    starts: JoinSet<()>,
    starting: usize,
}

impl SupervisorState {
    pub(super) fn new(args: SupervisorArgs, me: ActorRef<SupervisorMessage>) -> Self {
        let me = Address::new(me, Arc::clone(&args.vitals));
        args.shared.current.set(me.clone());
        Self {
            args,
            me,
            children: HashMap::new(),
            by_actor: HashMap::new(),
            early_exits: HashMap::new(),
            starts: JoinSet::new(),
            starting: 0,
        }
    }

    /// Starts every child on the roster: all that were added to this incarnation's predecessors.
    pub(super) fn start_roster(&mut self) {
        let roster: Vec<(u64, ChildSpec)> =
            self.args.shared.roster().iter().map(|(number, spec)| (*number, spec.clone())).collect();
        let kept = roster.iter().map(|(_, spec)| spec.name.clone()).collect();
        self.args.tree.forget_below(&self.args.path, &kept);
        for (number, spec) in roster {
            self.enter(number, spec, None);
        }
    }

    pub(super) fn on_add(&mut self, spec: ChildSpec, answer: Answer) {
        match self.children.get(&spec.name).map(|child| &child.phase) {
            None => {}
            Some(Phase::Stopped) => self.forget(&spec.name.clone()),
            Some(Phase::Starting | Phase::Running(_) | Phase::Waiting) => {
                let _asker_gone = answer.send(Err(SupervisorError::Exists { name: spec.name }));
                return;
            }
        }
        let number = self.args.shared.enter(spec.clone());
        self.enter(number, spec, Some(answer));
    }

    fn enter(&mut self, number: u64, spec: ChildSpec, adding: Option<Answer>) {
        let name = spec.name.clone();
        let child = Child {
            number,
            spec,
            incarnation: 0,
            phase: Phase::Waiting,
            history: RestartHistory::default(),
            adding,
            removing: Vec::new(),
            leaving: false,
        };
        self.children.insert(name.clone(), child);
        self.start(&name);
    }

    /// Starts the next incarnation in a task of its own.
    fn start(&mut self, name: &str) {
        let Some(child) = self.children.get_mut(name) else { return };
        child.incarnation += 1;
        child.phase = Phase::Starting;
        let incarnation = child.incarnation;
        let context = ChildContext {
            tree: self.args.tree.clone(),
            path: self.args.path.child(name),
            supervisor: self.me.cell(),
            incarnation,
        };
        let start = Arc::clone(&child.spec.start);
        let (me, name) = (self.me.clone(), name.to_owned());
        self.starting += 1;
        self.starts.spawn(async move {
            let outcome = caught(async { start(context).await }).await;
            let outcome =
                outcome.unwrap_or_else(|text| Err(StartError::Failed { cause: format!("panicked: {text}") }));
            let _supervisor_gone = me.cast(SupervisorMessage::Started { name, incarnation, outcome });
        });
    }

    pub(super) fn on_started(
        &mut self,
        name: &str,
        incarnation: u64,
        outcome: Result<StartedChild, StartError>,
    ) -> Result<(), Escalation> {
        self.starting = self.starting.saturating_sub(1);
        while self.starts.try_join_next().is_some() {}
        let settled = match outcome {
            Ok(started) => self.on_start_succeeded(name, incarnation, started.cell),
            Err(error) => self.on_start_failed(name, incarnation, &error),
        };
        if self.starting == 0 {
            self.early_exits.clear();
        }
        settled
    }

    fn on_start_succeeded(
        &mut self,
        name: &str,
        incarnation: u64,
        cell: ActorCell,
    ) -> Result<(), Escalation> {
        let Some(child) = self.children.get_mut(name).filter(|child| child.incarnation == incarnation) else {
            cell.stop(None);
            return Ok(());
        };
        let actor = cell.get_id();
        child.phase = Phase::Running(cell);
        if let Some(answer) = child.adding.take() {
            let _asker_gone = answer.send(Ok(()));
        }
        let leaving = child.leaving;
        self.by_actor.insert(actor, name.to_owned());
        if let Some(exit) = self.early_exits.remove(&actor) {
            return self.on_exit(actor, exit);
        }
        if leaving {
            self.stop_child(name);
        }
        Ok(())
    }

    fn on_start_failed(
        &mut self,
        name: &str,
        incarnation: u64,
        error: &StartError,
    ) -> Result<(), Escalation> {
        let Some(child) = self.children.get_mut(name).filter(|child| child.incarnation == incarnation) else {
            return Ok(());
        };
        if child.leaving {
            self.forget(name);
            return Ok(());
        }
        if let Some(answer) = child.adding.take() {
            let refusal = SupervisorError::NotStarted { name: name.to_owned(), source: error.clone() };
            let _asker_gone = answer.send(Err(refusal));
        }
        self.on_failure(name, error.to_string())
    }

    /// Takes note that an actor linked to this supervisor has ended.
    pub(super) fn on_exit(&mut self, actor: ActorId, exit: Exit) -> Result<(), Escalation> {
        let Some(name) = self.by_actor.remove(&actor) else {
            if self.starting > 0 {
                self.early_exits.insert(actor, exit);
            }
            return Ok(());
        };
        let Some(child) = self.children.get_mut(&name) else { return Ok(()) };
        if child.leaving {
            self.forget(&name);
            return Ok(());
        }
        match exit {
            Exit::Stopped => {
                child.phase = Phase::Stopped;
                self.args.shared.strike_off(&name);
                tracing::debug!(path = %self.args.path.child(&name), "child stopped");
                Ok(())
            }
            Exit::Failed(_) | Exit::Killed => self.on_failure(&name, exit.to_string()),
        }
    }

    fn on_failure(&mut self, name: &str, cause: String) -> Result<(), Escalation> {
        let now = self.args.tree.clock().monotonic();
        let Some(child) = self.children.get_mut(name) else { return Ok(()) };
        let path = self.args.path.child(name);
        match child.history.on_failure(&child.spec.policy, now) {
            Verdict::Restart { after } => {
                tracing::warn!(%path, incarnation = child.incarnation, %cause, ?after, "child failed, restarting");
                child.phase = Phase::Waiting;
                let (number, incarnation) = (child.number, child.incarnation + 1);
                self.args.tree.on_restarting(&path, after, &cause);
                let name = name.to_owned();
                self.remind(after, SupervisorMessage::BackoffOver { name, number, incarnation });
                Ok(())
            }
            Verdict::Escalate => {
                tracing::error!(%path, incarnation = child.incarnation, %cause, "child failed too often");
                let failures = child.history.recent();
                Err(Escalation { name: name.to_owned(), failures, window: child.spec.policy.window, cause })
            }
        }
    }

    pub(super) fn on_backoff_over(&mut self, name: &str, next: (u64, u64)) {
        let due = self.children.get(name).is_some_and(|child| {
            matches!(child.phase, Phase::Waiting) && (child.number, child.incarnation + 1) == next
        });
        if due {
            self.start(name);
        }
    }

    pub(super) fn on_remove(&mut self, name: &str, answer: Answer) {
        self.args.shared.strike_off(name);
        let Some(child) = self.children.get_mut(name) else {
            let _asker_gone = answer.send(Err(SupervisorError::Unknown { name: name.to_owned() }));
            return;
        };
        child.removing.push(answer);
        let was_leaving = std::mem::replace(&mut child.leaving, true);
        match child.phase {
            // Its end, or the completion of its start, comes as a message of its own.
            Phase::Starting => {}
            Phase::Running(_) if was_leaving => {}
            Phase::Running(_) => self.stop_child(name),
            Phase::Waiting | Phase::Stopped => self.forget(name),
        }
    }

    fn stop_child(&mut self, name: &str) {
        let Some(child) = self.children.get(name) else { return };
        let Phase::Running(cell) = &child.phase else { return };
        cell.stop(None);
        let (number, incarnation, after) = (child.number, child.incarnation, child.spec.stop_time);
        let name = name.to_owned();
        self.remind(after, SupervisorMessage::StopTimeOver { name, number, incarnation });
    }

    pub(super) fn on_stop_time_over(&self, name: &str, asked: (u64, u64)) {
        let is_meant = |child: &&Child| (child.number, child.incarnation) == asked;
        if let Some(child) = self.children.get(name).filter(is_meant)
            && let Phase::Running(cell) = &child.phase
        {
            tracing::warn!(path = %self.args.path.child(name), "child did not stop in time, killed");
            cell.kill();
        }
    }

    /// Takes a child that has ended out of everything and tells who waits for that.
    fn forget(&mut self, name: &str) {
        let Some(child) = self.children.remove(name) else { return };
        self.args.tree.forget(&self.args.path.child(name));
        if let Some(answer) = child.adding {
            let _asker_gone = answer.send(Err(SupervisorError::Removed { name: name.to_owned() }));
        }
        for answer in child.removing {
            let _asker_gone = answer.send(Ok(()));
        }
    }

    /// The children's names in the order they were added.
    pub(super) fn names(&self) -> Vec<String> {
        let in_order: BTreeMap<u64, &String> =
            self.children.iter().map(|(name, child)| (child.number, name)).collect();
        in_order.into_values().cloned().collect()
    }

    /// The running children in the order they were added, with the time each has to stop in. Starts
    /// under way are cut short: what they bring up can no longer be linked, and ends.
    pub(super) fn take_running(&mut self) -> Vec<(ActorCell, Duration)> {
        self.starts.abort_all();
        let running = self.children.drain().filter_map(|(_, child)| match child.phase {
            Phase::Running(cell) => Some((child.number, (cell, child.spec.stop_time))),
            Phase::Starting | Phase::Waiting | Phase::Stopped => None,
        });
        running.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    pub(super) fn shutdown(&self) -> Shutdown {
        self.args.shared.options.shutdown
    }

    fn remind(&self, after: Duration, message: SupervisorMessage) {
        // Sent without the address: it is counted out of the queue and not in, which `Vitals` allows.
        self.me.actor().send_after(after, || message);
    }
}
