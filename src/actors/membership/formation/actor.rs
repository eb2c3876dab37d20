//! The actor that feeds the core and carries out what it says.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{self, timeout},
};
use uuid::Uuid;

use super::{
    ClusterView, Effect, Formation, FormationArgs, GiveUp, Hello, HelloAnswer, HelloRefusal, Input,
    JoinAnswer, Member, OnDisk, SeedAnswer, Timing,
};
use crate::{
    actors::supervise::{
        Actor, ActorProcessingErr, ActorRef, Address, BoxFuture, ChildSpec, Placement, Reply, Slot, Vitals,
    },
    clock::Clock,
    config::node::HostPort,
};

/// How long another node's question may take.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// What a node that forms a cluster stands on.
pub trait Surroundings: Send + Sync + 'static {
    /// What the quorum's log holds now.
    fn on_disk(&self) -> OnDisk;

    /// Says hello to a seed.
    fn ask(&self, seed: HostPort, hello: Hello, within: Duration) -> BoxFuture<SeedAnswer>;

    /// Writes the cluster's id and its first membership; an error if the quorum's log is not blank any more, or while another
    /// call is under way.
    fn initialise(
        &self,
        cluster_id: Uuid,
        voters: Vec<Member>,
        learners: Vec<Member>,
    ) -> BoxFuture<Result<(), String>>;

    /// Asks a member of the cluster to take this node in.
    fn join(&self, at: HostPort, us: Member, cluster_id: Uuid, within: Duration) -> BoxFuture<JoinAnswer>;

    /// A member is reached there now.
    fn learned(&self, member: Member);
}

/// What the actor is started with.
#[derive(Clone)]
pub struct FormerArgs {
    /// Who the node is.
    pub us: Member,
    /// Its seeds, as given.
    pub seeds: Vec<HostPort>,
    /// `cluster.voters`.
    pub voters_max: usize,
    /// How long things may take.
    pub timing: Timing,
    /// The link and the quorum.
    pub surroundings: Arc<dyn Surroundings>,
    /// The cluster whose entries are in the quorum's log, once there are any.
    pub member: watch::Receiver<Option<Uuid>>,
    /// What the quorum knows of the cluster.
    pub cluster: watch::Receiver<Option<ClusterView>>,
    /// Whether the node is registered and served.
    pub settled: watch::Receiver<bool>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for FormerArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FormerArgs").field("us", &self.us).field("seeds", &self.seeds).finish_non_exhaustive()
    }
}

/// How far the node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormationStatus {
    /// The cluster that it belongs to.
    pub cluster_id: Option<Uuid>,
    /// Whom it waits for, if anybody.
    pub waits_for: Option<String>,
    /// Why the process is to end with an error, if it is.
    pub gave_up: Option<GiveUp>,
}

/// The actor, as others hold it; good over all restarts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FormerHandle {
    slot: Slot<FormerMessage>,
    status: watch::Receiver<FormationStatus>,
}

impl FormerHandle {
    /// What a node that says hello is told.
    pub async fn answer(&self, hello: Hello) -> HelloAnswer {
        let not_now = || HelloAnswer::Refused(HelloRefusal::NotTaken("it is starting".to_owned()));
        let Some(former) = self.slot.get() else { return not_now() };
        let asked = former.call(|reply| FormerMessage::Asked { hello, reply }, ANSWER_WITHIN);
        asked.await.unwrap_or_else(|_| not_now())
    }

    /// How far the node is now.
    pub fn status(&self) -> FormationStatus {
        self.status.borrow().clone()
    }

    /// How far it is, and each change of it.
    pub fn watch(&self) -> watch::Receiver<FormationStatus> {
        self.status.clone()
    }
}

/// The actor as the child of a supervisor, and the handle that reaches it. It belongs on the control runtime.
pub fn former(name: &str, place: Placement, args: FormerArgs) -> (FormerHandle, ChildSpec) {
    let slot = Slot::new();
    let (published, status) = watch::channel(FormationStatus::default());
    let published = Arc::new(published);
    let spec = ChildSpec::actor(name, place, slot.clone(), move |vitals| {
        let (args, published) = (args.clone(), Arc::clone(&published));
        (Former, IncarnationArgs { args, published, vitals })
    });
    (FormerHandle { slot, status }, spec)
}

/// The actor; made by [`former`].
#[derive(Clone, Copy, Debug)]
pub struct Former;

/// What an incarnation is started with.
pub struct IncarnationArgs {
    args: FormerArgs,
    published: Arc<watch::Sender<FormationStatus>>,
    vitals: Arc<Vitals>,
}

/// All but the first come from the actor's own tasks and timers.
#[derive(Debug)]
pub enum FormerMessage {
    /// From the link: another node says hello.
    Asked {
        /// What it says.
        hello: Hello,
        /// What it is told.
        reply: Reply<HelloAnswer>,
    },
    /// Something that is watched has changed.
    Look,
    /// A timer has run out.
    Tick,
    /// Something that was to be done has an outcome.
    Done(Input),
}

crate::actors::supervise::local_message!(FormerMessage);

/// The state of an incarnation.
pub struct FormerState {
    core: Formation,
    args: FormerArgs,
    published: Arc<watch::Sender<FormationStatus>>,
    me: Address<FormerMessage>,
    wakes_at: Option<Duration>,
    watcher: AbortHandle,
}

impl Drop for FormerState {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Actor for Former {
    type Msg = FormerMessage;
    type State = FormerState;
    type Arguments = IncarnationArgs;

    async fn pre_start(
        &self,
        me: ActorRef<FormerMessage>,
        incarnation: IncarnationArgs,
    ) -> Result<FormerState, ActorProcessingErr> {
        let IncarnationArgs { args, published, vitals } = incarnation;
        let me = Address::new(me, vitals);
        let watcher = tokio::spawn(watch_all(me.clone(), args.clone())).abort_handle();
        let core = Formation::new(FormationArgs {
            us: args.us.clone(),
            disk: args.surroundings.on_disk(),
            seeds: args.seeds.clone(),
            voters_max: args.voters_max,
            timing: args.timing,
        });
        Ok(FormerState { core, args, published, me, wakes_at: None, watcher })
    }

    async fn handle(
        &self,
        _me: ActorRef<FormerMessage>,
        message: FormerMessage,
        state: &mut FormerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            FormerMessage::Asked { hello, reply } => {
                let _asker_may_be_gone = reply.send(state.core.answer(&hello));
                state.step(Input::Asked(hello));
            }
            FormerMessage::Look => state.look(),
            FormerMessage::Tick => {
                state.wakes_at = None;
                state.step(Input::Tick);
            }
            FormerMessage::Done(input) => state.step(input),
        }
        state.wake_later();
        Ok(())
    }
}

/// Says when to look, at once for the first time. A sender that is gone changes nothing any more.
async fn watch_all(me: Address<FormerMessage>, mut args: FormerArgs) {
    async fn changed<T>(watched: &mut watch::Receiver<T>) {
        if watched.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
    while me.cast(FormerMessage::Look).is_ok() {
        tokio::select! {
            () = changed(&mut args.member) => {}
            () = changed(&mut args.cluster) => {}
            () = changed(&mut args.settled) => {}
        }
    }
}

impl FormerState {
    /// Levels, in the order in which they make sense of each other.
    fn look(&mut self) {
        let (member, cluster) = (*self.args.member.borrow(), self.args.cluster.borrow().clone());
        if let Some(cluster_id) = member {
            self.step(Input::BecameMember(cluster_id));
        }
        if let Some(view) = cluster {
            self.step(Input::Cluster(view));
        }
        let is_settled = *self.args.settled.borrow();
        self.step(if is_settled { Input::Settled } else { Input::Tick });
    }

    fn step(&mut self, input: Input) {
        for effect in self.core.step(self.args.clock.monotonic(), input) {
            self.carry_out(effect);
        }
        let (cluster_id, waits_for) = (self.core.cluster_id(), self.core.waits_for().map(str::to_owned));
        self.publish(|status| (status.cluster_id, status.waits_for) = (cluster_id, waits_for));
    }

    fn publish(&self, change: impl FnOnce(&mut FormationStatus)) {
        self.published.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }

    fn carry_out(&self, effect: Effect) {
        let (around, timing) = (Arc::clone(&self.args.surroundings), self.args.timing);
        match effect {
            Effect::Ask(id, seed) => {
                let answer = around.ask(seed, self.core.hello(), timing.ask_within);
                self.then(async move {
                    let answer = timeout(timing.ask_within, answer).await;
                    Input::SeedAnswered(id, answer.unwrap_or(SeedAnswer::Unreachable))
                });
            }
            // Not cut short: what is being written is written, and its end is waited for.
            Effect::Initialise { cluster_id, voters, learners } => {
                tracing::info!(%cluster_id, voters = voters.len(), learners = learners.len(), "beginning a cluster");
                let written = around.initialise(cluster_id, voters, learners);
                self.then(async move { Input::Initialised(written.await) });
            }
            Effect::Join { id, at, cluster_id } => {
                let answer = around.join(at, self.args.us.clone(), cluster_id, timing.join_within);
                self.then(async move {
                    let answer = time::timeout(timing.join_within, answer).await;
                    Input::JoinAnswered(id, answer.unwrap_or(JoinAnswer::Unreachable))
                });
            }
            Effect::GoOn => {}
            Effect::Learned(member) => around.learned(member),
            Effect::Say(sentence) => tracing::info!("{sentence}"),
            Effect::GiveUp(why) => {
                tracing::error!(error = %why, "this node cannot be part of a cluster");
                self.publish(|status| status.gave_up = Some(why));
            }
        }
    }

    fn then(&self, done: impl Future<Output = Input> + Send + 'static) {
        let me = self.me.clone();
        tokio::spawn(async move {
            let _may_have_ended = me.cast(FormerMessage::Done(done.await));
        });
    }

    fn wake_later(&mut self) {
        let Some(wake) = self.core.next_wake() else { return };
        if self.wakes_at.is_none_or(|before| wake < before) {
            self.wakes_at = Some(wake);
            // A little later than asked for is not too early.
            let after = wake.saturating_sub(self.args.clock.monotonic()) + Duration::from_millis(1);
            self.me.actor().send_after(after, || FormerMessage::Tick);
        }
    }
}
