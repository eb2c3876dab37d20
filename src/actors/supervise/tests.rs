//! Supervision in virtual time: what is started again, when, and what others see of it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::*;
use crate::{clock::Clock, model::LeaderEpoch, model::TimestampMs};

/// The runtime's own time, so that a paused runtime pauses the policies too.
struct RuntimeClock(Instant);

impl fmt::Debug for RuntimeClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RuntimeClock")
    }
}

impl Clock for RuntimeClock {
    fn wall(&self) -> TimestampMs {
        TimestampMs::new(self.monotonic().as_millis() as i64)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

fn tree() -> Tree {
    Tree::new(Arc::new(RuntimeClock(Instant::now())))
}

enum WorkerMessage {
    Crash,
    Fail,
    End,
    Count(Reply<u32>),
    SetEpoch(LeaderEpoch),
    /// Say that it has come, and wait.
    Hold(oneshot::Sender<()>, oneshot::Receiver<()>),
}

crate::actors::supervise::local_message!(WorkerMessage);

#[derive(Clone, Default)]
struct Counts {
    started: Arc<AtomicU32>,
    stopped: Arc<AtomicU32>,
    /// States that exist: one for each incarnation that has not been cleaned up.
    states: Arc<AtomicU32>,
}

impl Counts {
    fn started(&self) -> u32 {
        self.started.load(Ordering::SeqCst)
    }

    fn stopped(&self) -> u32 {
        self.stopped.load(Ordering::SeqCst)
    }

    fn states(&self) -> u32 {
        self.states.load(Ordering::SeqCst)
    }
}

struct Worker;

struct WorkerState {
    counts: Counts,
    vitals: Arc<Vitals>,
}

impl Drop for WorkerState {
    fn drop(&mut self) {
        self.counts.states.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Actor for Worker {
    type Msg = WorkerMessage;
    type State = WorkerState;
    type Arguments = (Counts, Arc<Vitals>);

    async fn pre_start(
        &self,
        _me: ActorRef<WorkerMessage>,
        (counts, vitals): Self::Arguments,
    ) -> Result<WorkerState, ActorProcessingErr> {
        counts.started.fetch_add(1, Ordering::SeqCst);
        assert_eq!(counts.states.fetch_add(1, Ordering::SeqCst), 0, "the predecessor's state is still there");
        Ok(WorkerState { counts, vitals })
    }

    async fn handle(
        &self,
        me: ActorRef<WorkerMessage>,
        message: WorkerMessage,
        state: &mut WorkerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMessage::Crash => panic!("boom"),
            WorkerMessage::Fail => return Err("io error".into()),
            WorkerMessage::End => me.stop(None),
            WorkerMessage::Count(reply) => {
                let _ = reply.send(state.counts.started());
            }
            WorkerMessage::SetEpoch(epoch) => state.vitals.set_epoch(epoch),
            WorkerMessage::Hold(has_come, until) => {
                let _ = has_come.send(());
                let _ = until.await;
            }
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _me: ActorRef<WorkerMessage>,
        state: &mut WorkerState,
    ) -> Result<(), ActorProcessingErr> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        state.counts.stopped.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

type WorkerSlot = Slot<WorkerMessage>;

fn worker(name: &str, counts: &Counts, slot: &WorkerSlot) -> ChildSpec {
    let counts = counts.clone();
    ChildSpec::actor(name, Placement::here(), slot.clone(), move |vitals| (Worker, (counts.clone(), vitals)))
}

/// A root supervisor, its tree and how it ended.
async fn root() -> (SupervisorHandle, Tree, Ended) {
    let (handle, tree) = (SupervisorHandle::new(SupervisorOptions::default()), tree());
    let ended = handle.start_root(&tree, &Placement::here(), "node").await.unwrap();
    (handle, tree, ended)
}

/// Waits for what the tree shows, or what actors have counted before it is shown there that they run or have ended.
async fn until(tree: &Tree, what: &str, condition: impl Fn() -> bool) {
    let mut changes = tree.changes();
    let holds = async {
        while !condition() {
            changes.changed().await.unwrap();
        }
    };
    assert!(timeout(DEADLINE, holds).await.is_ok(), "waited in vain: {what}");
}

fn info(tree: &Tree, path: &str) -> ActorInfo {
    tree.snapshot().into_iter().find(|actor| actor.path == path).unwrap_or_else(|| panic!("no {path}"))
}

fn is_restarting(tree: &Tree, path: &str) -> bool {
    matches!(info(tree, path).state, ActorState::Restarting { .. })
}

const SECOND: Duration = Duration::from_secs(1);
/// For what is bound to come.
const DEADLINE: Duration = Duration::from_mins(10);

/// Has the worker wait in its handler until what is returned is used or dropped.
async fn hold(worker: &Address<WorkerMessage>) -> oneshot::Sender<()> {
    let ((has_come, came), (release, until)) = (oneshot::channel(), oneshot::channel());
    worker.cast(WorkerMessage::Hold(has_come, until)).unwrap();
    timeout(DEADLINE, came).await.unwrap().unwrap();
    release
}

async fn count(slot: &WorkerSlot) -> u32 {
    slot.get().unwrap().call(WorkerMessage::Count, SECOND).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_child_is_started_again_after_a_panic_and_after_an_error() {
    let ((root, tree, _ended), counts, slot) = (root().await, Counts::default(), Slot::new());
    root.add(worker("w", &counts, &slot)).await.unwrap();
    assert_eq!(count(&slot).await, 1);

    let failures = [(WorkerMessage::Crash, "panicked: boom", 50), (WorkerMessage::Fail, "io error", 100)];
    for (restarts, (message, cause, backoff)) in (1..).zip(failures) {
        let failed_at = Instant::now();
        slot.get().unwrap().cast(message).unwrap();
        until(&tree, "the failure is seen", || is_restarting(&tree, "node/w")).await;
        assert_eq!(info(&tree, "node/w").last_failure.unwrap().cause, cause);
        until(&tree, "it runs again", || info(&tree, "node/w").state == ActorState::Running).await;
        let took = failed_at.elapsed().as_millis() as u64;
        assert!((backoff..backoff + 20).contains(&took), "restarted after {took} ms");
        assert_eq!(info(&tree, "node/w").restarts, restarts);
        assert_eq!(count(&slot).await, restarts as u32 + 1);
    }
    assert_eq!(counts.stopped(), 0, "a failed actor runs no post_stop");
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_a_failure_and_is_tried_again() {
    let ((root, tree, _ended), counts, slot) = (root().await, Counts::default(), Slot::new());
    tree.faults().arm("node/w", Fault::FailStart, 1);
    tree.faults().arm("node/w", Fault::PanicStart, 1);
    let refusal = root.add(worker("w", &counts, &slot)).await.unwrap_err();
    assert!(matches!(refusal, SupervisorError::NotStarted { .. }), "{refusal}");
    slot.wait(SECOND).await.unwrap();
    assert_eq!(counts.started(), 1);
    let info = info(&tree, "node/w");
    assert_eq!((info.state, info.restarts), (ActorState::Running, 2));
    assert_eq!(info.last_failure.unwrap().cause, "start failed: panicked: fault point");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_panics_outside_any_actor_is_a_failure_too() {
    let (root, tree, ended) = root().await;
    let spec = ChildSpec::new("w", |_context| async { panic!("no actor yet") });
    let spec = spec.with_policy(RestartPolicy { failures_max: Some(1), ..RestartPolicy::default() });
    root.add(spec).await.unwrap_err();
    assert!(is_restarting(&tree, "node/w"));
    let Exit::Failed(cause) = ended.await else { panic!("the root survived") };
    assert!(cause.contains("no actor yet"), "{cause}");
}

#[tokio::test(start_paused = true)]
async fn too_many_failures_end_the_root_with_the_cause_and_kill_its_children() {
    let ((root, tree, ended), counts, slot) = (root().await, Counts::default(), Slot::new());
    let policy = RestartPolicy { failures_max: Some(3), ..RestartPolicy::default() };
    root.add(worker("w", &counts, &slot).with_policy(policy)).await.unwrap();
    let sibling = (Counts::default(), Slot::new());
    root.add(worker("z", &sibling.0, &sibling.1)).await.unwrap();
    tree.faults().arm("node/w", Fault::FailStart, 3);
    slot.get().unwrap().cast(WorkerMessage::Fail).unwrap();
    let exit = ended.await;
    let Exit::Failed(cause) = exit else { panic!("{exit:?}") };
    assert_eq!(cause, "child w failed 4 times within 60s, last: start failed: fault point");
    until(&tree, "the sibling is gone", || sibling.0.states() == 0).await;
    assert_eq!(info(&tree, "node").state, ActorState::Failed);
    assert_eq!(info(&tree, "node/z").state, ActorState::Failed);
    assert_eq!(root.children().await, Err(SupervisorError::NotRunning));
}

#[tokio::test(start_paused = true)]
async fn the_process_sees_a_root_that_is_killed_or_does_not_start() {
    let (_root, tree, ended) = root().await;
    assert!(tree.kill(&ActorPath::root("node")));
    assert_eq!(ended.await, Exit::Killed);

    let tree = self::tree();
    tree.faults().arm("node", Fault::FailStart, 1);
    let root = SupervisorHandle::new(SupervisorOptions::default());
    let error = root.start_root(&tree, &Placement::here(), "node").await.unwrap_err();
    assert_eq!(error, StartError::Failed { cause: "fault point".to_owned() });
    assert_eq!(info(&tree, "node").state, ActorState::Failed);
}

#[tokio::test(start_paused = true)]
async fn escalation_below_the_root_restarts_the_failed_supervisor_with_its_children() {
    let (root, tree, _ended) = root().await;
    let middle = SupervisorHandle::new(SupervisorOptions::default());
    root.add(middle.child_spec("middle", Placement::here())).await.unwrap();
    let (counts, slot) = (Counts::default(), Slot::new());
    let policy = RestartPolicy { failures_max: Some(0), ..RestartPolicy::default() };
    middle.add(worker("w", &counts, &slot).with_policy(policy)).await.unwrap();

    slot.get().unwrap().cast(WorkerMessage::Crash).unwrap();
    until(&tree, "the child is back", || counts.started() == 2 && counts.states() == 1).await;
    assert_eq!(info(&tree, "node/middle").restarts, 1);
    assert!(info(&tree, "node/middle").last_failure.unwrap().cause.contains("panicked: boom"));
    assert_eq!(middle.children().await.unwrap(), ["w"], "the handle outlives the incarnation");
}

#[tokio::test(start_paused = true)]
async fn a_killed_supervisor_takes_its_children_along_and_all_come_back() {
    let (root, tree, _ended) = root().await;
    let middle = SupervisorHandle::new(SupervisorOptions::default());
    root.add(middle.child_spec("middle", Placement::here())).await.unwrap();
    let workers: Vec<_> = (0..3).map(|_| (Counts::default(), WorkerSlot::new())).collect();
    for (n, (counts, slot)) in workers.iter().enumerate() {
        middle.add(worker(&format!("w{n}"), counts, slot)).await.unwrap();
    }
    let old = workers[0].1.get().unwrap();
    assert!(tree.kill(&tree.find("node/middle").unwrap()));
    until(&tree, "all are back", || workers.iter().all(|(c, _)| c.started() == 2 && c.states() == 1)).await;
    until(&tree, "all run", || tree.snapshot().iter().all(|actor| actor.state == ActorState::Running)).await;
    assert!(workers.iter().all(|(counts, _)| counts.stopped() == 0), "killed, not stopped");
    assert_eq!(info(&tree, "node/middle").last_failure.unwrap().cause, "killed");
    assert_eq!(info(&tree, "node/middle/w0").restarts, 1);
    assert_eq!(old.cast(WorkerMessage::End), Err(Gone));
    assert_eq!(middle.children().await.unwrap(), ["w0", "w1", "w2"]);
}

#[tokio::test(start_paused = true)]
async fn a_killed_child_is_started_again() {
    let ((root, tree, _ended), counts, slot) = (root().await, Counts::default(), Slot::new());
    root.add(worker("w", &counts, &slot)).await.unwrap();
    assert!(tree.kill(&tree.find("node/w").unwrap()));
    until(&tree, "it is back", || counts.started() == 2).await;
    assert!(!tree.kill(&ActorPath::root("nobody")));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_stops_by_itself_is_not_started_again() {
    let ((root, tree, _ended), counts, slot) = (root().await, Counts::default(), Slot::new());
    root.add(worker("w", &counts, &slot)).await.unwrap();
    slot.get().unwrap().cast(WorkerMessage::End).unwrap();
    until(&tree, "it has stopped", || info(&tree, "node/w").state == ActorState::Stopped).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((counts.started(), counts.stopped(), counts.states()), (1, 1, 0));
    assert_eq!(info(&tree, "node/w").last_failure, None);
    root.add(worker("w", &counts, &slot)).await.unwrap();
    assert_eq!(counts.started(), 2, "its name is free again");
}

#[tokio::test(start_paused = true)]
async fn removal_is_answered_when_the_child_has_ended_and_is_forgotten() {
    let ((root, tree, _ended), counts, slot) = (root().await, Counts::default(), Slot::new());
    root.add(worker("w", &counts, &slot)).await.unwrap();
    root.remove("w").await.unwrap();
    assert_eq!((counts.stopped(), counts.states()), (1, 0));
    assert_eq!(tree.find("node/w"), None);
    assert_eq!(root.remove("w").await, Err(SupervisorError::Unknown { name: "w".to_owned() }));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(counts.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_child_waiting_for_its_restart_can_be_removed() {
    let ((root, tree, _ended), counts, slot) = (root().await, Counts::default(), Slot::new());
    root.add(worker("w", &counts, &slot)).await.unwrap();
    slot.get().unwrap().cast(WorkerMessage::Fail).unwrap();
    until(&tree, "the failure is seen", || is_restarting(&tree, "node/w")).await;
    root.remove("w").await.unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(counts.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_still_starting_can_be_removed() {
    let (root, _tree, _ended) = root().await;
    let (let_start, may_start) = tokio::sync::watch::channel(false);
    let (is_starting, mut starting) = tokio::sync::mpsc::unbounded_channel();
    let counts = Counts::default();
    let spec = ChildSpec::new("w", {
        let counts = counts.clone();
        move |context| {
            let (counts, is_starting, mut may_start) =
                (counts.clone(), is_starting.clone(), may_start.clone());
            async move {
                is_starting.send(()).unwrap();
                let _ = may_start.wait_for(|may| *may).await;
                let place = Placement::here();
                let address = context.spawn_with(&place, |vitals| (Worker, (counts, vitals))).await?;
                Ok(address.into())
            }
        }
    });
    let adding = tokio::spawn({
        let root = root.clone();
        async move { root.add(spec).await }
    });
    timeout(DEADLINE, starting.recv()).await.unwrap().unwrap();
    let mut removing = std::pin::pin!(root.remove("w"));
    tokio::select! {
        biased;
        done = &mut removing => panic!("removed although it is still starting: {done:?}"),
        // Asked for behind it: the supervisor has both.
        children = root.children() => assert_eq!(children.unwrap(), ["w"]),
    }
    let_start.send(true).unwrap();
    removing.await.unwrap();
    adding.await.unwrap().unwrap();
    assert_eq!((counts.started(), counts.stopped(), counts.states()), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_stop_in_time_is_killed() {
    let ((root, _tree, _ended), counts, slot) = (root().await, Counts::default(), Slot::new());
    root.add(worker("w", &counts, &slot).with_stop_time(SECOND)).await.unwrap();
    let _never = hold(&slot.get().unwrap()).await;
    let asked_at = Instant::now();
    root.remove("w").await.unwrap();
    assert!(asked_at.elapsed() >= SECOND);
    assert_eq!((counts.stopped(), counts.states()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_once() {
    let ((root, _tree, _ended), counts, slot) = (root().await, Counts::default(), Slot::new());
    root.add(worker("w", &counts, &slot)).await.unwrap();
    let refusal = root.add(worker("w", &counts, &slot)).await;
    assert_eq!(refusal, Err(SupervisorError::Exists { name: "w".to_owned() }));
    assert_eq!(counts.started(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_time_that_a_removed_child_had_to_stop_in_is_not_its_successors() {
    let ((root, tree, _ended), counts, slot) = (root().await, Counts::default(), Slot::new());
    for _ in 0..2 {
        root.add(worker("w", &counts, &slot).with_stop_time(SECOND)).await.unwrap();
        root.remove("w").await.unwrap();
    }
    root.add(worker("w", &counts, &slot).with_stop_time(SECOND)).await.unwrap();
    tokio::time::sleep(3 * SECOND).await;
    assert_eq!(count(&slot).await, 3, "none was started again");
    assert_eq!(info(&tree, "node/w").last_failure, None);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_root_stops_its_children_in_the_order_asked_for_and_waits() {
    for (shutdown, takes_ms) in [(Shutdown::Together, 20), (Shutdown::Reverse, 60)] {
        let tree = tree();
        let root = SupervisorHandle::new(SupervisorOptions { shutdown, ..SupervisorOptions::default() });
        let ended = root.start_root(&tree, &Placement::here(), "node").await.unwrap();
        let workers: Vec<_> = (0..3).map(|_| (Counts::default(), WorkerSlot::new())).collect();
        for (n, (counts, slot)) in workers.iter().enumerate() {
            root.add(worker(&format!("w{n}"), counts, slot)).await.unwrap();
        }
        let asked_at = Instant::now();
        root.stop();
        assert_eq!(ended.await, Exit::Stopped);
        assert!(workers.iter().all(|(counts, _)| counts.stopped() == 1), "each ran its post_stop");
        let took = asked_at.elapsed().as_millis() as u64;
        assert!((takes_ms..takes_ms + 15).contains(&took), "{shutdown:?} took {took} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn fault_points_strike_the_actor_they_name_and_no_other() {
    let (root, tree, _ended) = root().await;
    let (a, b) = ((Counts::default(), Slot::new()), (Counts::default(), Slot::new()));
    root.add(worker("a", &a.0, &a.1)).await.unwrap();
    root.add(worker("b", &b.0, &b.1)).await.unwrap();
    tree.faults().arm("node/a", Fault::Panic, 1);
    assert_eq!(count(&b.1).await, 1);
    let answer = a.1.get().unwrap().call(WorkerMessage::Count, SECOND).await;
    assert_eq!(answer, Err(CallError::Dropped));
    until(&tree, "a is back", || a.0.started() == 2).await;
    assert_eq!(info(&tree, "node/a").last_failure.unwrap().cause, "panicked: fault point");
    assert_eq!(b.0.started(), 1);

    tree.faults().arm("node/*", Fault::Delay(2 * SECOND), 1);
    let answer = b.1.get().unwrap().call(WorkerMessage::Count, SECOND).await;
    assert_eq!(answer, Err(CallError::Timeout { after: SECOND }));
}

#[tokio::test(start_paused = true)]
async fn the_queue_depth_is_shown_and_goes_back_to_zero() {
    let ((root, tree, _ended), counts, slot) = (root().await, Counts::default(), Slot::new());
    root.add(worker("w", &counts, &slot)).await.unwrap();
    let address = slot.get().unwrap();
    let release = hold(&address).await;
    assert_eq!(info(&tree, "node/w").queue_depth, 0);
    for epoch in 0..5 {
        address.cast(WorkerMessage::SetEpoch(LeaderEpoch::new(epoch))).unwrap();
    }
    assert_eq!(info(&tree, "node/w").queue_depth, 5);
    assert_eq!(info(&tree, "node/w").epoch, None);
    // A message past the address, as from a timer, must not turn the count round.
    address.actor().cast(WorkerMessage::SetEpoch(LeaderEpoch::new(9))).unwrap();
    release.send(()).unwrap();
    assert_eq!(count(&slot).await, 1);
    assert_eq!(info(&tree, "node/w").queue_depth, 0);
    assert_eq!(info(&tree, "node/w").epoch, Some(LeaderEpoch::new(9)));

    let _release = hold(&address).await;
    address.cast(WorkerMessage::End).unwrap();
    assert_eq!(info(&tree, "node/w").queue_depth, 1);
    tree.kill(&tree.find("node/w").unwrap());
    until(&tree, "it is back", || counts.started() == 2).await;
    assert_eq!(info(&tree, "node/w").queue_depth, 0, "what died with the old mailbox is not counted");
    assert_eq!(address.cast(WorkerMessage::End), Err(Gone));
}

#[tokio::test(start_paused = true)]
async fn each_restart_is_told_to_the_observer() {
    let told = Arc::new(AtomicU32::new(0));
    let tree = Tree::observed(Arc::new(RuntimeClock(Instant::now())), {
        let told = told.clone();
        move |kind| {
            assert_eq!(kind, "Worker");
            told.fetch_add(1, Ordering::SeqCst);
        }
    });
    let root = SupervisorHandle::new(SupervisorOptions::default());
    let _ended = root.start_root(&tree, &Placement::here(), "node").await.unwrap();
    let (counts, slot) = (Counts::default(), Slot::new());
    root.add(worker("w", &counts, &slot)).await.unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 0);
    tree.kill(&tree.find("node/w").unwrap());
    until(&tree, "it is back", || counts.started() == 2).await;
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

#[test]
fn an_actor_runs_on_the_runtime_it_is_placed_on_also_after_a_restart() {
    struct Placed(tokio::runtime::Id, Arc<AtomicU32>);
    impl Actor for Placed {
        type Msg = ();
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _me: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
            assert_eq!(tokio::runtime::Handle::current().id(), self.0);
            self.1.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }

        async fn handle(&self, _me: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
            assert_eq!(tokio::runtime::Handle::current().id(), self.0);
            Err("once".into())
        }
    }

    let build =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (data, control) = (build(), build());
    let starts = Arc::new(AtomicU32::new(0));
    control.block_on(async {
        let (root, tree) = (SupervisorHandle::new(SupervisorOptions::default()), tree());
        let _ended = root.start_root(&tree, &Placement::here(), "node").await.unwrap();
        let (slot, place) = (Slot::new(), Placement::on(data.handle().clone()));
        let (id, starts_too) = (data.handle().id(), starts.clone());
        root.add(ChildSpec::actor("p", place, slot.clone(), move |_| (Placed(id, starts_too.clone()), ())))
            .await
            .unwrap();
        slot.get().unwrap().cast(()).unwrap();
        until(&tree, "it is back", || starts.load(Ordering::SeqCst) == 2).await;
        assert_eq!(info(&tree, "node/p").last_failure.unwrap().cause, "once");
    });
}

/// On real threads, where supervision events, completions and requests overtake each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_any_mixture_of_failures_kills_and_removals_exactly_the_added_children_run() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (root, tree, _ended) = root().await;
    let middle = SupervisorHandle::new(SupervisorOptions::default());
    root.add(middle.child_spec("middle", Placement::here())).await.unwrap();
    let policy = RestartPolicy { backoff_min: Duration::from_millis(1), ..RestartPolicy::PATIENT };
    let policy = RestartPolicy { backoff_max: Duration::from_millis(4), ..policy };
    let workers: Vec<_> = (0..8).map(|_| (Counts::default(), WorkerSlot::new())).collect();
    let mut added = [false; 8];
    for _ in 0..600 {
        let n = random.usize(0..workers.len());
        let (name, (counts, slot)) = (format!("w{n}"), &workers[n]);
        match random.u8(0..6) {
            _ if !added[n] => {
                let outcome = middle.add(worker(&name, counts, slot).with_policy(policy)).await;
                assert!(matches!(outcome, Ok(()) | Err(SupervisorError::NotStarted { .. })), "{outcome:?}");
                added[n] = true;
            }
            0 => drop(slot.get().map(|worker| worker.cast(WorkerMessage::Crash))),
            1 => drop(slot.get().map(|worker| worker.cast(WorkerMessage::Fail))),
            2 => drop(tree.find(&format!("node/middle/{name}")).map(|path| tree.kill(&path))),
            3 => tree.faults().arm(&format!("node/middle/{name}"), Fault::FailStart, 1),
            4 => tokio::task::yield_now().await,
            _ => {
                middle.remove(&name).await.unwrap();
                assert_eq!(counts.states(), 0, "removed, and its state is still there");
                added[n] = false;
            }
        }
    }
    tree.faults().disarm_all();
    for (n, (counts, _)) in workers.iter().enumerate() {
        let path = format!("node/middle/w{n}");
        until(&tree, "it runs if it was added", || {
            let found = tree.snapshot().into_iter().find(|actor| actor.path == path);
            let runs = found.as_ref().is_some_and(|actor| actor.state == ActorState::Running);
            if added[n] { runs && counts.states() == 1 } else { found.is_none() && counts.states() == 0 }
        })
        .await;
    }
    let mut running = middle.children().await.unwrap();
    running.sort();
    let expected: Vec<_> = (0..8).filter(|n| added[*n]).map(|n| format!("w{n}")).collect();
    assert_eq!(running, expected);
}
