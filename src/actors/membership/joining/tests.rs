use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

use super::*;
use crate::{
    actors::{
        membership::core::MetadataImage,
        supervise::{BoxFuture, Fault, Placement, SupervisorHandle, SupervisorOptions, Tree},
    },
    clock::SystemClock,
    model::{BootId, BrokerEpoch, NodeId, RaftId},
};

const SECOND: Duration = Duration::from_secs(1);
const NODE: NodeId = NodeId::new(3);
const BOOT: BootId = BootId::from_bytes([7; 16]);

fn us() -> NodeRegistration {
    NodeRegistration {
        node: NODE,
        raft_id: RaftId::new(33),
        boot: BOOT,
        endpoints: Vec::new(),
        rack: None,
        stopped_cleanly: None,
    }
}

fn broker(epoch: i64, fenced: bool) -> OurBroker {
    OurBroker { boot: BOOT, epoch: BrokerEpoch::new(epoch), fenced, stopping: false }
}

fn image(index: u64, broker: Option<OurBroker>) -> OurImage {
    OurImage { index, broker, movable_leaders: 0 }
}

/// The core with its clock, and what it has said.
struct Node {
    core: Joining,
    now: Duration,
    done: Vec<Effect>,
    out: Option<(u64, NodeCommand)>,
}

impl Node {
    fn new() -> Self {
        let core = Joining::new(us(), JoiningTiming::default());
        let mut node = Self { core, now: SECOND * 100, done: Vec::new(), out: None };
        node.step(Input::Tick);
        node
    }

    fn step(&mut self, input: Input) {
        for effect in self.core.step(self.now, input) {
            if let Effect::Command(id, command, _) = effect {
                self.out = Some((id, command));
            } else {
                self.done.push(effect);
            }
        }
    }

    /// The command that is out.
    #[track_caller]
    fn answer(&mut self, outcome: Result<NodeAnswer, NodeCommandError>) -> NodeCommand {
        let (id, command) = self.out.take().expect("no command is out");
        self.step(Input::Answered(id, outcome));
        command
    }

    #[track_caller]
    fn wait(&mut self) {
        let wake = self.core.next_wake(self.now).expect("nothing to wait for");
        self.now = wake.max(self.now);
        self.step(Input::Tick);
    }

    fn registered(epoch: i64, index: u64) -> Self {
        let mut node = Self::new();
        node.answer(Ok(NodeAnswer::Registered { broker_epoch: BrokerEpoch::new(epoch), index }));
        node
    }

    fn serving() -> Self {
        let mut node = Self::registered(5, 10);
        node.step(Input::Image(image(10, Some(broker(5, true)))));
        node.step(Input::ReplicasOpened);
        node.answer(Ok(NodeAnswer::Done { index: 12 }));
        node.step(Input::Image(image(12, Some(broker(5, false)))));
        node
    }

    fn said(&self, effect: &Effect) -> usize {
        self.done.iter().filter(|done| *done == effect).count()
    }

    fn gave_up(&self) -> Option<&LeaveError> {
        self.done.iter().find_map(|effect| {
            let Effect::GiveUp(why) = effect else { return None };
            Some(why)
        })
    }
}

#[test]
fn s12_nothing_is_reconciled_before_the_image_has_reached_the_registration() {
    let mut node = Node::registered(5, 10);
    assert_eq!(node.said(&Effect::Beat { broker_epoch: BrokerEpoch::new(5), stopping: false }), 1);
    let before = OurBroker { boot: BootId::from_bytes([1; 16]), ..broker(2, false) };
    node.step(Input::Image(image(9, Some(before))));
    assert_eq!(node.said(&Effect::Reconcile), 0, "a predecessor's registration is not ours");
    assert_eq!(node.gave_up(), None);
    node.step(Input::Image(image(10, Some(broker(5, true)))));
    assert_eq!(node.said(&Effect::Reconcile), 1);
    node.step(Input::Image(image(11, Some(broker(5, true)))));
    assert_eq!(node.said(&Effect::Reconcile), 1);
}

#[test]
fn a_node_leads_only_once_its_replicas_are_open_and_the_controller_says_so() {
    let mut node = Node::registered(5, 10);
    node.step(Input::Image(image(10, Some(broker(5, true)))));
    assert_eq!(node.out, None, "its replicas are not open");
    node.step(Input::ReplicasOpened);
    let ready = NodeCommand::Ready { node: NODE, broker_epoch: BrokerEpoch::new(5) };
    assert_eq!(node.answer(Ok(NodeAnswer::Done { index: 12 })), ready);
    assert_eq!(node.said(&Effect::Serves(true)), 0);
    assert!(node.core.waits_for().unwrap().contains("to let it lead"));
    node.step(Input::Image(image(12, Some(broker(5, false)))));
    assert_eq!((node.said(&Effect::Serves(true)), node.core.waits_for()), (1, None));
}

#[test]
fn an_unknown_outcome_is_asked_again_under_the_same_boot() {
    let mut node = Node::new();
    let first = node.answer(Err(NodeCommandError::OutcomeUnknown));
    assert_eq!(node.out, None, "not at once");
    node.wait();
    let again = node.answer(Err(NodeCommandError::NotNow("there is no controller".into())));
    assert_eq!(first, again);
    assert!(node.core.waits_for().unwrap().contains("there is no controller"));
}

#[test]
fn an_answer_that_never_comes_holds_nothing_up() {
    let mut node = Node::new();
    assert!(node.out.take().is_some());
    for _ in 0..20 {
        if node.out.is_none() {
            node.wait();
        }
    }
    assert!(matches!(node.out, Some((_, NodeCommand::Register(_)))));
}

#[test]
fn a_registration_whose_answer_was_lost_is_found_in_the_image() {
    let mut node = Node::new();
    node.answer(Err(NodeCommandError::OutcomeUnknown));
    node.step(Input::Image(image(10, Some(broker(5, true)))));
    assert_eq!(node.said(&Effect::Reconcile), 1);
    node.now += SECOND * 2;
    node.step(Input::ReplicasOpened);
    assert!(matches!(node.out, Some((_, NodeCommand::Ready { .. }))));
}

#[test]
fn a_node_that_the_controller_does_not_know_any_more_registers_again_and_reconciles_once() {
    let mut node = Node::serving();
    node.step(Input::UnknownToController(BrokerEpoch::new(4)));
    assert_eq!(node.out, None, "that was an earlier registration");
    node.step(Input::UnknownToController(BrokerEpoch::new(5)));
    let again = node.answer(Ok(NodeAnswer::Registered { broker_epoch: BrokerEpoch::new(20), index: 20 }));
    assert_eq!(again, NodeCommand::Register(us()));
    node.step(Input::Image(image(20, Some(broker(20, true)))));
    assert_eq!(node.said(&Effect::Serves(false)), 1);
    let ready = NodeCommand::Ready { node: NODE, broker_epoch: BrokerEpoch::new(20) };
    assert_eq!(node.answer(Ok(NodeAnswer::Done { index: 21 })), ready);
    assert_eq!(node.said(&Effect::Reconcile), 1);
}

#[test]
fn a_node_that_was_fenced_for_its_silence_asks_to_lead_again() {
    let mut node = Node::serving();
    node.step(Input::Image(image(15, Some(broker(5, true)))));
    assert_eq!(node.said(&Effect::Serves(false)), 1);
    node.answer(Ok(NodeAnswer::Done { index: 17 }));
    node.step(Input::Image(image(16, Some(broker(5, true)))));
    assert_eq!(node.out, None, "the image has not reached the answer");
    // It was let lead by entry 17 and fenced again by entry 18; this node has seen only the latter.
    node.step(Input::Image(image(18, Some(broker(5, true)))));
    node.answer(Ok(NodeAnswer::Done { index: 19 }));
    node.step(Input::Image(image(19, Some(broker(5, false)))));
    assert_eq!(node.said(&Effect::Serves(true)), 2);
}

#[test]
fn s17_a_live_duplicate_ends_the_node_only_when_no_lease_can_explain_it() {
    let mut node = Node::new();
    let began = node.now;
    while node.gave_up().is_none() {
        assert!(node.now < began + SECOND * 10, "never");
        node.answer(Err(NodeCommandError::DuplicateNode(NODE)));
        if node.gave_up().is_none() {
            while node.out.is_none() {
                node.wait();
            }
        }
    }
    assert!(node.now >= began + SECOND * 5, "after {:?}", node.now.saturating_sub(began));
    assert_eq!(node.gave_up(), Some(&LeaveError::DuplicateNode(NODE)));
    assert_eq!(node.core.next_wake(node.now), None);
}

#[test]
fn s17_a_duplicate_whose_lease_has_run_out_was_a_predecessor() {
    let mut node = Node::new();
    node.answer(Err(NodeCommandError::DuplicateNode(NODE)));
    node.wait();
    node.answer(Ok(NodeAnswer::Registered { broker_epoch: BrokerEpoch::new(5), index: 10 }));
    node.now += SECOND * 20;
    node.step(Input::UnknownToController(BrokerEpoch::new(5)));
    node.answer(Err(NodeCommandError::DuplicateNode(NODE)));
    assert_eq!(node.gave_up(), None, "each time it has to last");
}

#[test]
fn a_node_whose_place_another_start_has_taken_ends() {
    let mut node = Node::serving();
    let other = OurBroker { boot: BootId::from_bytes([9; 16]), ..broker(30, false) };
    node.step(Input::Image(image(30, Some(other))));
    assert_eq!(node.gave_up(), Some(&LeaveError::Superseded(NODE)));
    assert_eq!(node.said(&Effect::Serves(false)), 1);
}

#[test]
fn a_stopping_node_waits_until_its_leaders_have_moved() {
    let mut node = Node::serving();
    node.step(Input::Stop(SECOND * 10));
    assert_eq!(node.said(&Effect::Beat { broker_epoch: BrokerEpoch::new(5), stopping: true }), 1);
    let stopping = NodeCommand::Stopping { node: NODE, broker_epoch: BrokerEpoch::new(5) };
    assert_eq!(node.answer(Ok(NodeAnswer::Done { index: 20 })), stopping);
    assert_eq!(node.said(&Effect::MayStop), 0, "the image is older than the answer");
    node.step(Input::Image(OurImage { movable_leaders: 2, ..image(20, Some(broker(5, false))) }));
    assert_eq!(node.said(&Effect::MayStop), 0);
    node.step(Input::Image(image(22, Some(broker(5, false)))));
    assert_eq!((node.said(&Effect::MayStop), node.said(&Effect::Serves(false))), (1, 1));
}

#[test]
fn a_stopping_node_does_not_wait_longer_than_it_may() {
    let mut node = Node::serving();
    node.step(Input::Stop(SECOND));
    let until = node.now + SECOND;
    for _ in 0..50 {
        if node.out.is_some() {
            node.answer(Err(NodeCommandError::NotNow("there is no controller".into())));
        }
        if node.said(&Effect::MayStop) == 1 {
            return assert_eq!(node.now, until);
        }
        node.wait();
    }
    panic!("never stopped");
}

#[test]
fn a_node_that_was_never_registered_stops_at_once() {
    let mut node = Node::new();
    node.step(Input::Stop(SECOND));
    assert_eq!(node.said(&Effect::MayStop), 1);
}

/// A controller that is right there, and whose image the node sees.
#[derive(Clone)]
struct Here {
    ours: Arc<Mutex<OurImage>>,
    published: Arc<watch::Sender<Arc<MetadataImage>>>,
    registrations: Arc<AtomicU64>,
    /// Answers that get lost first.
    loses: Arc<AtomicU64>,
}

impl Here {
    fn change(&self, change: impl FnOnce(&mut OurImage)) -> u64 {
        let mut ours = self.ours.lock().unwrap();
        ours.index += 1;
        change(&mut ours);
        self.published.send_modify(|_| {});
        ours.index
    }

    fn decide(&self, command: &NodeCommand) -> NodeAnswer {
        let fenced = |fenced: bool| {
            self.change(|ours| ours.broker = ours.broker.map(|broker| OurBroker { fenced, ..broker }))
        };
        match command {
            NodeCommand::Register(us) => {
                self.registrations.fetch_add(1, Ordering::SeqCst);
                let known = self.ours.lock().unwrap().broker.filter(|broker| broker.boot == us.boot);
                if let Some(OurBroker { epoch: broker_epoch, .. }) = known {
                    return NodeAnswer::Registered { broker_epoch, index: broker_epoch.get() as u64 };
                }
                let index = self.change(|ours| {
                    ours.broker = Some(OurBroker { boot: us.boot, ..broker(ours.index as i64, true) });
                });
                NodeAnswer::Registered { broker_epoch: BrokerEpoch::new(index as i64), index }
            }
            NodeCommand::Ready { .. } => NodeAnswer::Done { index: fenced(false) },
            NodeCommand::Stopping { .. } => {
                NodeAnswer::Done { index: self.change(|ours| ours.movable_leaders = 0) }
            }
        }
    }
}

impl Controller for Here {
    fn command(
        &self,
        command: NodeCommand,
        _within: Duration,
    ) -> BoxFuture<Result<NodeAnswer, NodeCommandError>> {
        let here = self.clone();
        Box::pin(async move {
            let answer = here.decide(&command);
            let loses =
                here.loses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            if loses.is_ok() { Err(NodeCommandError::OutcomeUnknown) } else { Ok(answer) }
        })
    }
}

struct Running {
    here: Here,
    handle: RegistrarHandle,
    tree: Tree,
    root: SupervisorHandle,
    opened: watch::Sender<bool>,
    unknown: watch::Sender<Option<BrokerEpoch>>,
}

async fn run(loses: u64) -> Running {
    let (published, image) = watch::channel(Arc::new(MetadataImage::default()));
    let here = Here {
        ours: Arc::new(Mutex::new(OurImage { movable_leaders: 3, ..OurImage::default() })),
        published: Arc::new(published),
        registrations: Arc::default(),
        loses: Arc::new(AtomicU64::new(loses)),
    };
    let (opened, is_opened) = watch::channel(false);
    let (unknown, is_unknown) = watch::channel(None);
    let ours = Arc::clone(&here.ours);
    let timing = JoiningTiming { again_after_min: Duration::from_millis(1), ..JoiningTiming::default() };
    let args = RegistrarArgs {
        us: us(),
        controller: Arc::new(here.clone()),
        image,
        look: Arc::new(move |_| *ours.lock().unwrap()),
        opened: is_opened,
        unknown: is_unknown,
        clock: SystemClock::shared(),
        timing,
    };
    let tree = Tree::new(SystemClock::shared());
    let root = SupervisorHandle::new(SupervisorOptions::default());
    root.start_root(&tree, &Placement::here(), "node").await.unwrap();
    let (handle, spec) = registrar("registrar", Placement::here(), args);
    root.add(spec).await.unwrap();
    Running { here, handle, tree, root, opened, unknown }
}

impl Running {
    fn restarts(&self) -> u64 {
        self.tree.snapshot().iter().filter(|actor| actor.path == "node/registrar").map(|a| a.restarts).sum()
    }

    async fn until(&self, what: &str, holds: impl FnMut(&JoinStatus) -> bool) -> JoinStatus {
        let mut status = self.handle.watch();
        let reached = timeout(SECOND * 30, status.wait_for(holds)).await;
        reached.unwrap_or_else(|_| panic!("never {what}: {:?}", self.handle.status())).unwrap().clone()
    }
}

#[tokio::test]
async fn s12_the_actor_registers_reconciles_serves_and_leaves_though_answers_get_lost() {
    let node = run(3).await;
    let status = node.until("reconciles", |status| status.reconcile).await;
    assert!(!status.serves, "its replicas are not open");
    node.opened.send_replace(true);
    let status = node.until("serves", |status| status.serves).await;
    assert_eq!((status.waits_for, status.broker_epoch.is_some()), (None, true));
    assert!(node.handle.leave(SECOND * 20).await);
    let status = node.handle.status();
    assert!(status.may_stop && status.stopping && !status.serves, "{status:?}");
    assert_eq!(node.here.ours.lock().unwrap().movable_leaders, 0);
    node.root.stop();
}

#[tokio::test]
async fn a_registrar_that_crashes_finds_its_registration_again() {
    let node = run(0).await;
    node.opened.send_replace(true);
    let before = node.until("serves", |status| status.serves).await;
    node.tree.faults().arm("node/registrar", Fault::Panic, 1);
    node.here.change(|ours| ours.broker = ours.broker.map(|broker| OurBroker { fenced: true, ..broker }));
    let leads_again = async {
        while node.restarts() == 0
            || node.here.ours.lock().unwrap().broker.is_some_and(|broker| broker.fenced)
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(SECOND * 30, leads_again).await.unwrap();
    let after = node.until("serves again", |status| status.serves).await;
    assert_eq!(after.broker_epoch, before.broker_epoch);
    node.root.stop();
}

#[tokio::test]
async fn a_registration_that_the_controller_has_forgotten_is_made_again_by_the_actor() {
    let node = run(0).await;
    node.opened.send_replace(true);
    let before = node.until("serves", |status| status.serves).await;
    node.here.change(|ours| ours.broker = None);
    node.unknown.send_replace(before.broker_epoch);
    let after =
        node.until("is new", |status| status.serves && status.broker_epoch > before.broker_epoch).await;
    assert!(after.gave_up.is_none());
    node.root.stop();
}
