//! The actor that feeds the core and carries out what it says.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{self, timeout},
};

use super::{
    Controller, Effect, Input, Joining, JoiningTiming, LeaveError, NodeAnswer, NodeCommandError,
    NodeRegistration, OurImage,
};
use crate::{
    actors::{
        membership::core::MetadataImage,
        supervise::{Actor, ActorProcessingErr, ActorRef, Address, ChildSpec, Placement, Slot, Vitals},
    },
    clock::Clock,
    model::BrokerEpoch,
};

/// How much longer than its leaders may take a node is waited for until it may stop.
const STOP_SLACK: Duration = Duration::from_millis(500);

/// What an image says about this node.
pub type Look = Arc<dyn Fn(&MetadataImage) -> OurImage + Send + Sync>;

/// What a registrar stands on.
#[derive(Clone)]
pub struct RegistrarArgs {
    /// Who the node is.
    pub us: NodeRegistration,
    /// Where commands go.
    pub controller: Arc<dyn Controller>,
    /// What this node's quorum has applied.
    pub image: watch::Receiver<Arc<MetadataImage>>,
    /// Reads it.
    pub look: Look,
    /// Whether all replicas are open, or have said why they are not; from the reconciler.
    pub opened: watch::Receiver<bool>,
    /// The last registration of ours of which the controller has said, answering a heartbeat, that it does not know it.
    pub unknown: watch::Receiver<Option<BrokerEpoch>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long things may take.
    pub timing: JoiningTiming,
}

impl fmt::Debug for RegistrarArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrarArgs").field("us", &self.us).finish_non_exhaustive()
    }
}

/// How far the node is, for whoever depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a level of its own, for another reader")]
pub struct JoinStatus {
    /// Whether the image says what the node is to keep (S12). Never goes back.
    pub reconcile: bool,
    /// The registration, for heartbeats to carry.
    pub broker_epoch: Option<BrokerEpoch>,
    /// Whether the node is about to stop, for heartbeats to carry.
    pub stopping: bool,
    /// Whether the node may lead: what readiness says.
    pub serves: bool,
    /// What it waits for, if anything.
    pub waits_for: Option<String>,
    /// Why the process is to end with an error, if it is.
    pub gave_up: Option<LeaveError>,
    /// Whether a node that was told to stop may do so.
    pub may_stop: bool,
}

/// The registrar, as others hold it; good over all restarts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RegistrarHandle {
    status: watch::Receiver<JoinStatus>,
    stop: Arc<watch::Sender<Option<Duration>>>,
    clock: Arc<dyn Clock>,
}

impl RegistrarHandle {
    /// How far the node is now.
    pub fn status(&self) -> JoinStatus {
        self.status.borrow().clone()
    }

    /// How far it is, and each change of it.
    pub fn watch(&self) -> watch::Receiver<JoinStatus> {
        self.status.clone()
    }

    /// Tells the cluster that the node stops, and resolves when its leaders have moved or the time is over; `false` if some
    /// had not, as far as is known.
    pub async fn leave(&self, within: Duration) -> bool {
        self.stop.send_if_modified(|until| {
            let is_first = until.is_none();
            until.get_or_insert(self.clock.monotonic() + within);
            is_first
        });
        let mut status = self.status.clone();
        let free = status.wait_for(|status| status.may_stop || status.gave_up.is_some());
        matches!(timeout(within + STOP_SLACK, free).await, Ok(Ok(_)))
    }
}

/// The registrar as the child of a supervisor, and the handle that reaches it over all its restarts. It belongs on the control
/// runtime.
pub fn registrar(name: &str, place: Placement, args: RegistrarArgs) -> (RegistrarHandle, ChildSpec) {
    let slot = Slot::new();
    let (published, status) = watch::channel(JoinStatus::default());
    let (published, stop) = (Arc::new(published), Arc::new(watch::Sender::new(None)));
    let handle = RegistrarHandle { status, stop: Arc::clone(&stop), clock: Arc::clone(&args.clock) };
    let spec = ChildSpec::actor(name, place, slot, move |vitals| {
        let (args, published) = (args.clone(), Arc::clone(&published));
        (Registrar, IncarnationArgs { args, published, stop: stop.subscribe(), vitals })
    });
    (handle, spec)
}

/// The actor; made by [`registrar`].
#[derive(Clone, Copy, Debug)]
pub struct Registrar;

/// What an incarnation is started with.
pub struct IncarnationArgs {
    args: RegistrarArgs,
    published: Arc<watch::Sender<JoinStatus>>,
    stop: watch::Receiver<Option<Duration>>,
    vitals: Arc<Vitals>,
}

/// All of them come from the registrar's own tasks and timers.
#[derive(Debug)]
pub enum RegistrarMessage {
    /// Something that is watched has changed.
    Look,
    /// A timer has run out.
    Tick,
    /// A command has an outcome.
    Answered(u64, Result<NodeAnswer, NodeCommandError>),
}

crate::actors::supervise::local_message!(RegistrarMessage);

/// The state of an incarnation.
pub struct RegistrarState {
    core: Joining,
    args: RegistrarArgs,
    published: Arc<watch::Sender<JoinStatus>>,
    stop: watch::Receiver<Option<Duration>>,
    me: Address<RegistrarMessage>,
    wakes_at: Option<Duration>,
    watcher: AbortHandle,
}

impl Drop for RegistrarState {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Actor for Registrar {
    type Msg = RegistrarMessage;
    type State = RegistrarState;
    type Arguments = IncarnationArgs;

    async fn pre_start(
        &self,
        me: ActorRef<RegistrarMessage>,
        incarnation: IncarnationArgs,
    ) -> Result<RegistrarState, ActorProcessingErr> {
        let IncarnationArgs { args, published, stop, vitals } = incarnation;
        published.send_modify(|status| status.serves = false);
        let me = Address::new(me, vitals);
        let watcher = tokio::spawn(watch_all(me.clone(), args.clone(), stop.clone())).abort_handle();
        let core = Joining::new(args.us.clone(), args.timing);
        Ok(RegistrarState { core, args, published, stop, me, wakes_at: None, watcher })
    }

    async fn handle(
        &self,
        _me: ActorRef<RegistrarMessage>,
        message: RegistrarMessage,
        state: &mut RegistrarState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RegistrarMessage::Look => state.look(),
            RegistrarMessage::Tick => {
                state.wakes_at = None;
                state.step(Input::Tick);
            }
            RegistrarMessage::Answered(id, outcome) => state.step(Input::Answered(id, outcome)),
        }
        state.wake_later();
        Ok(())
    }
}

/// Says when to look, at once for the first time. A sender that is gone changes nothing any more.
async fn watch_all(
    me: Address<RegistrarMessage>,
    mut args: RegistrarArgs,
    mut stop: watch::Receiver<Option<Duration>>,
) {
    async fn changed<T>(watched: &mut watch::Receiver<T>) {
        if watched.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
    while me.cast(RegistrarMessage::Look).is_ok() {
        tokio::select! {
            () = changed(&mut args.image) => {}
            () = changed(&mut args.opened) => {}
            () = changed(&mut args.unknown) => {}
            () = changed(&mut stop) => {}
        }
    }
}

impl RegistrarState {
    /// Levels, in the order in which they make sense of each other.
    fn look(&mut self) {
        let image = (self.args.look)(&self.args.image.borrow().clone());
        self.step(Input::Image(image));
        if *self.args.opened.borrow() {
            self.step(Input::ReplicasOpened);
        }
        let unknown = *self.args.unknown.borrow();
        if let Some(epoch) = unknown {
            self.step(Input::UnknownToController(epoch));
        }
        let until = *self.stop.borrow();
        if let Some(until) = until {
            self.step(Input::Stop(until.saturating_sub(self.args.clock.monotonic())));
        }
    }

    fn step(&mut self, input: Input) {
        for effect in self.core.step(self.args.clock.monotonic(), input) {
            self.carry_out(effect);
        }
        let waits_for = self.core.waits_for();
        self.publish(|status| status.waits_for = waits_for);
    }

    fn publish(&self, change: impl FnOnce(&mut JoinStatus)) {
        self.published.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Command(id, command, within) => {
                let (controller, me) = (Arc::clone(&self.args.controller), self.me.clone());
                tokio::spawn(async move {
                    let answer = time::timeout(within, controller.command(command, within)).await;
                    let outcome = answer.unwrap_or(Err(NodeCommandError::OutcomeUnknown));
                    let _may_have_ended = me.cast(RegistrarMessage::Answered(id, outcome));
                });
            }
            Effect::Reconcile => self.publish(|status| status.reconcile = true),
            Effect::Beat { broker_epoch, stopping } => self.publish(|status| {
                (status.broker_epoch, status.stopping) = (Some(broker_epoch), stopping);
            }),
            Effect::Serves(serves) => {
                tracing::info!(serves, "this node's place in the cluster has changed");
                self.publish(|status| status.serves = serves);
            }
            Effect::Say(sentence) => tracing::info!("{sentence}"),
            Effect::GiveUp(why) => {
                tracing::error!(error = %why, "this node has no place in its cluster");
                self.publish(|status| status.gave_up = Some(why));
            }
            Effect::MayStop => self.publish(|status| status.may_stop = true),
        }
    }

    fn wake_later(&mut self) {
        let now = self.args.clock.monotonic();
        let Some(wake) = self.core.next_wake(now) else { return };
        if self.wakes_at.is_none_or(|before| wake < before) {
            self.wakes_at = Some(wake);
            // A little later than asked for is not too early.
            let after = wake.saturating_sub(now) + Duration::from_millis(1);
            self.me.actor().send_after(after, || RegistrarMessage::Tick);
        }
    }
}
