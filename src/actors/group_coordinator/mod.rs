//! A group coordinator: the one who decides for the groups of one partition of `__consumer_offsets`.
//!
//! **Invariants.**
//! - It works only while it knows everything that its partition's log had when the leader took office (S20), and
//!   only with that leader: another one means that somebody else may have written, so everything is read again.
//! - It answers only while its node holds its lease, and only once nobody else can (S20): [`tenure`].
//! - What it decides is decided by [`core`]. An answer or a dead letter goes out when all that it rests on is on disk; a failed
//!   write throws the whole state away.
//! - Nothing in a handler blocks or waits: reading and appending are tasks whose outcome comes back as a message,
//!   with the term that it belongs to.
//! - Its mailbox holds at most one request of each connection.

pub mod assignor;
pub mod core;
pub mod dead_letters;
mod error;
mod handle;
mod lag;
mod leaders;
mod loading;
mod message;
mod router;
pub mod tenure;
mod writer;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    task::JoinHandle,
};

use self::{
    core::{Answer, AskServed, Coordinator, DeadLetter, Effect, Image, Now, Place, Ticket},
    dead_letters::Undertaker,
    loading::Source,
    message::{Ask, Loaded, Reply},
    tenure::{NodeLeases, Tenures},
};
pub use self::{
    error::Refusal,
    handle::{Groups, Unavailable, home_of},
    lag::LagMeter,
    leaders::{GroupPeers, Leaders, LeadersArgs},
    loading::{LoadError, Replayed, replay},
    message::CoordinatorMessage,
    router::{GroupRouter, RouterArgs, RouterMessage},
    writer::{WriteError, Writer},
};
use super::{
    membership::MembershipHandle,
    partition::{AppendRefusal, Fence, Fences, Leader, PartitionHandle, table::TopicTable},
    supervise::{Actor, ActorProcessingErr, ActorRef, Address, Vitals},
};
pub use crate::wire::consumer_protocol;
use crate::{clock::Clock, config::node::GroupSettings, metrics::Metrics, model::NodeId, wire::Str};

/// The topic that groups are kept in.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// How often offsets are looked for whose time is up.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// What a coordinator needs; the same for each of its incarnations.
#[derive(Clone, Debug)]
pub struct CoordinatorArgs {
    /// The partition of [`OFFSETS_TOPIC`] whose groups these are.
    pub partition: PartitionHandle,
    /// Its name in logs.
    pub label: Arc<str>,
    /// Where blocking work runs.
    pub io: Handle,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What groups may do.
    pub settings: GroupSettings,
    /// What else there is that groups depend on.
    pub image: watch::Receiver<Arc<Image>>,
    /// The partitions, for dead letters.
    pub topics: TopicTable,
    /// Their leaders, for what was served and for dead letters.
    pub leaders: Leaders,
    /// Who makes topics of dead letters.
    pub membership: MembershipHandle,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether this node may answer, and who else might.
    pub leases: NodeLeases,
    /// Since when it leads the partitions of the groups.
    pub tenures: watch::Receiver<Tenures>,
    /// What its incarnations share, so that nothing of one is written after another has read.
    pub fences: Fences,
    /// The live figures of this incarnation.
    pub vitals: Option<Arc<Vitals>>,
}

/// The actor.
#[derive(Debug)]
pub struct GroupCoordinator;

/// Its state.
#[derive(Debug)]
pub struct CoordinatorState {
    args: CoordinatorArgs,
    me: Address<CoordinatorMessage>,
    /// Counts loadings, so that what belongs to an earlier one is known as such.
    term: u64,
    /// What it writes goes through; its predecessors' is closed.
    fence: Fence,
    serving: Option<Serving>,
    /// The task of the moment: loading, or looking after the leader. It ends with this state.
    task: Option<Task>,
    /// When the timer that runs will ring.
    rings_at: Option<Duration>,
    /// What was last told to the gauges.
    sizes: core::Sizes,
}

#[derive(Debug)]
struct Serving {
    leader: Arc<Leader>,
    core: Coordinator,
    writer: Writer<Waits>,
    next_ticket: u64,
    replies: BTreeMap<Ticket, Reply>,
    /// The append under way. It ends with this state; what of it is on its way already is fenced off.
    appending: Option<Task>,
    /// Records on their way to the dead letters, by group and partition: what is done about each. It ends with this state.
    burials: BTreeMap<(Str, Place), Task>,
    /// What is to be asked of leaders on other nodes.
    asks: BTreeMap<NodeId, Vec<AskServed>>,
}

/// What waits until all that was to be written before it is on disk.
#[derive(Debug)]
enum Waits {
    /// An answer.
    Answer(Reply, Answer),
    /// The task that writes a dead letter.
    Burial(oneshot::Sender<()>),
}

/// A task that ends when it is dropped.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Actor for GroupCoordinator {
    type Msg = CoordinatorMessage;
    type State = CoordinatorState;
    type Arguments = CoordinatorArgs;

    async fn pre_start(
        &self,
        me: ActorRef<CoordinatorMessage>,
        args: CoordinatorArgs,
    ) -> Result<CoordinatorState, ActorProcessingErr> {
        let vitals = args.vitals.clone().ok_or("a group coordinator is started with its vitals")?;
        me.send_interval(SWEEP_EVERY, || CoordinatorMessage::Sweep);
        let me = Address::new(me, vitals);
        let sizes = core::Sizes::default();
        let mut state = CoordinatorState {
            fence: args.fences.raise(),
            args,
            me,
            term: 0,
            serving: None,
            task: None,
            rings_at: None,
            sizes,
        };
        state.begin_loading();
        Ok(state)
    }

    async fn handle(
        &self,
        _me: ActorRef<CoordinatorMessage>,
        message: CoordinatorMessage,
        state: &mut CoordinatorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CoordinatorMessage::Ask(ask) => state.on_ask(*ask)?,
            CoordinatorMessage::Loaded(loaded) => state.on_loaded(*loaded)?,
            CoordinatorMessage::Appended { term, outcome } => state.on_appended(term, outcome)?,
            CoordinatorMessage::LeaderChanged { term } => state.on_leader_changed(term),
            CoordinatorMessage::Tick => {
                // One that was set before an earlier one is late, and means nothing.
                let now = state.args.clock.monotonic();
                state.rings_at = state.rings_at.filter(|rings_at| *rings_at > now);
                state.decide(Coordinator::tick)?;
            }
            CoordinatorMessage::Sweep => state.decide(Coordinator::sweep)?,
            CoordinatorMessage::Marked { term, letter, mark } if term == state.term => {
                state.decide(|core, _, effects| core.marked(&letter, mark, effects))?;
            }
            CoordinatorMessage::Buried { term, letter, buried } if term == state.term => {
                state.decide(|core, now, effects| core.buried(now, &letter, buried, effects))?;
            }
            CoordinatorMessage::Served { term, told } if term == state.term => {
                state.decide(|core, now, effects| {
                    for (ask, at) in &told {
                        core.served(now, ask, *at, effects);
                    }
                })?;
            }
            CoordinatorMessage::Marked { .. }
            | CoordinatorMessage::Buried { .. }
            | CoordinatorMessage::Served { .. } => {}
            CoordinatorMessage::ImageChanged => state.on_image_changed()?,
            CoordinatorMessage::Survey { most, reply } => state.on_survey(most, reply),
            CoordinatorMessage::TopicsDeleted(topics) => {
                state.decide(|core, _, effects| core.topics_deleted(&topics, effects))?;
            }
        }
        Ok(())
    }
}

impl CoordinatorState {
    fn begin_loading(&mut self) {
        self.term += 1;
        self.fence = self.args.fences.raise();
        self.serving = None;
        self.report();
        self.me.vitals().set_detail(Some("loading".to_owned()));
        let source = Source {
            partition: self.args.partition.clone(),
            label: Arc::clone(&self.args.label),
            io: self.args.io.clone(),
            clock: Arc::clone(&self.args.clock),
            settings: self.args.settings.clone(),
            leases: self.args.leases.clone(),
            tenures: self.args.tenures.clone(),
        };
        let (me, term) = (self.me.clone(), self.term);
        self.task = Some(Task(tokio::spawn(async move {
            let (leader, core) = loading::load(source).await;
            // Nobody to tell means that this incarnation has ended.
            let _ = me.cast(CoordinatorMessage::Loaded(Box::new(Loaded { term, leader, core })));
        })));
    }

    fn on_loaded(&mut self, loaded: Loaded) -> Result<(), WriteError> {
        let Loaded { term, leader, core } = loaded;
        if term != self.term {
            return Ok(());
        }
        self.me.vitals().set_detail(None);
        self.me.vitals().set_epoch(leader.epoch);
        let (me, partition, watched) = (self.me.clone(), self.args.partition.clone(), Arc::clone(&leader));
        self.task = Some(Task(tokio::spawn(async move {
            loading::until_replaced(partition, watched).await;
            let _ = me.cast(CoordinatorMessage::LeaderChanged { term });
        })));
        let (writer, replies) = (Writer::default(), BTreeMap::new());
        let (burials, asks, appending) = (BTreeMap::new(), BTreeMap::new(), None);
        self.serving =
            Some(Serving { leader, core, writer, next_ticket: 0, replies, appending, burials, asks });
        self.on_image_changed()
    }

    fn on_image_changed(&mut self) -> Result<(), WriteError> {
        let image = Arc::clone(&self.args.image.borrow());
        self.decide(|core, now, effects| {
            core.set_image(now, image, effects);
            core.tick(now, effects);
        })
    }

    fn on_leader_changed(&mut self, term: u64) {
        if term == self.term {
            self.begin_loading();
        }
    }

    fn on_ask(&mut self, ask: Ask) -> Result<(), WriteError> {
        let Ask { caller, request, reply } = ask;
        if let Err(refusal) = self.may_answer() {
            send(reply, Err(refusal));
            return Ok(());
        }
        let Some(serving) = &mut self.serving else {
            send(reply, Err(Refusal::Loading));
            return Ok(());
        };
        let ticket = Ticket(serving.next_ticket);
        serving.next_ticket += 1;
        serving.replies.insert(ticket, reply);
        self.decide(|core, now, effects| core.step(now, ticket, &caller, request, effects))
    }

    /// Whether nobody else can answer for these groups now (S20). Looked at before a request changes anything, and again
    /// before what came of it is told: the node may have stood still in between, and may have a successor.
    fn may_answer(&self) -> Result<(), Refusal> {
        if !(self.args.leases.is_held)() {
            return Err(Refusal::NotCoordinator);
        }
        match &self.serving {
            Some(serving) if loading::is_led_by(&self.args.partition, &serving.leader) => Ok(()),
            Some(_) | None => Err(Refusal::Loading),
        }
    }

    fn answer(&self, reply: Reply, answer: Answer) {
        send(reply, self.may_answer().map(|()| answer));
    }

    fn on_survey(&self, most: usize, reply: oneshot::Sender<core::Survey>) {
        if let Some(serving) = &self.serving {
            // Who has not waited wants nothing any more.
            let _ = reply.send(serving.core.survey(most));
        }
    }

    /// Lets the core decide, and sees to what it says.
    fn decide(
        &mut self,
        step: impl FnOnce(&mut Coordinator, Now, &mut Vec<Effect>),
    ) -> Result<(), WriteError> {
        let Some(serving) = &mut self.serving else { return Ok(()) };
        let now = now(&*self.args.clock);
        let mut effects = Vec::new();
        step(&mut serving.core, now, &mut effects);
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            effects.extend(self.carry_out(now, effect));
        }
        self.ask_elsewhere();
        self.ring_in_time(now);
        self.append_next()?;
        self.report();
        Ok(())
    }

    /// Does one thing; what follows from it is to be done as well.
    fn carry_out(&mut self, now: Now, effect: Effect) -> Vec<Effect> {
        let mut more = Vec::new();
        let Some(serving) = &mut self.serving else { return more };
        match effect {
            Effect::Write(stored) => serving.writer.write(stored),
            Effect::Answer(ticket, answer) => {
                if let Some(reply) = serving.replies.remove(&ticket) {
                    let ready = serving.writer.wait(Waits::Answer(reply, answer));
                    self.go_on(ready);
                }
            }
            Effect::Refuse(ticket, refusal) => {
                if let Some(reply) = serving.replies.remove(&ticket) {
                    send(reply, Err(refusal));
                }
            }
            Effect::AskServed(ask) => {
                if let Some(node) = self.args.leaders.elsewhere(&ask) {
                    serving.asks.entry(node).or_default().push(ask);
                } else {
                    let at = self.args.leaders.served_here(&ask);
                    serving.core.served(now, &ask, at, &mut more);
                }
            }
            Effect::Mark(letter) => self.mark(letter),
            Effect::Bury(letter) => self.bury(letter),
            Effect::Spare { group, place } => {
                serving.burials.remove(&(group, place));
            }
            Effect::DeadLettersStopped { group, place: (topic, partition) } => tracing::warn!(
                %group, %topic, %partition,
                "too many records in a row have failed: nothing of the group becomes a dead letter until one is \
                 consumed there"
            ),
            Effect::DeadLettersGoOn { group, place: (topic, partition) } => {
                tracing::info!(%group, %topic, %partition, "records of the group become dead letters again");
            }
        }
        more
    }

    fn undertaker(&self) -> Undertaker {
        Undertaker {
            topics: self.args.topics.clone(),
            membership: self.args.membership.clone(),
            leaders: self.args.leaders.clone(),
            metrics: Arc::clone(&self.args.metrics),
        }
    }

    fn mark(&mut self, letter: DeadLetter) {
        let (me, term, undertaker) = (self.me.clone(), self.term, self.undertaker());
        self.see_to((letter.group.clone(), letter.place.clone()), async move {
            let mark = undertaker.mark(&letter).await;
            let letter = Box::new(letter);
            let _ = me.cast(CoordinatorMessage::Marked { term, letter, mark });
        });
    }

    /// The letter goes out once its mark is on disk: should somebody else decide by then, it is the same letter that goes out there.
    fn bury(&mut self, letter: DeadLetter) {
        let (me, term, undertaker) = (self.me.clone(), self.term, self.undertaker());
        let (go, may_go) = oneshot::channel();
        self.see_to((letter.group.clone(), letter.place.clone()), async move {
            // Else the groups are read again.
            if may_go.await.is_ok() {
                let buried = undertaker.bury(&letter).await;
                let letter = Box::new(letter);
                let _ = me.cast(CoordinatorMessage::Buried { term, letter, buried });
            }
        });
        let ready = self.serving.as_mut().and_then(|serving| serving.writer.wait(Waits::Burial(go)));
        self.go_on(ready);
    }

    fn see_to(&mut self, place: (Str, Place), what: impl Future<Output = ()> + Send + 'static) {
        let Some(serving) = &mut self.serving else { return };
        serving.burials.retain(|_, burial| !burial.0.is_finished());
        serving.burials.insert(place, Task(tokio::spawn(what)));
    }

    /// What has waited need not wait any more.
    fn go_on(&self, ready: impl IntoIterator<Item = Waits>) {
        for waits in ready {
            match waits {
                Waits::Answer(reply, answer) => self.answer(reply, answer),
                Waits::Burial(go) => {
                    // It may have been spared meanwhile.
                    let _ = go.send(());
                }
            }
        }
    }

    /// Asks leaders on other nodes what they had served; each answer, or that there is none, comes back as a message.
    fn ask_elsewhere(&mut self) {
        let Some(serving) = &mut self.serving else { return };
        for (node, asks) in std::mem::take(&mut serving.asks) {
            let (me, term, leaders) = (self.me.clone(), self.term, self.args.leaders.clone());
            tokio::spawn(async move {
                let told = leaders.served_there(node, asks).await;
                let _ = me.cast(CoordinatorMessage::Served { term, told });
            });
        }
    }

    fn append_next(&mut self) -> Result<(), WriteError> {
        let Some(serving) = &mut self.serving else { return Ok(()) };
        let Some(batches) = serving.writer.next(self.args.clock.wall())? else { return Ok(()) };
        let (me, term) = (self.me.clone(), self.term);
        let (partition, leader) = (self.args.partition.clone(), Arc::clone(&serving.leader));
        let fence = self.fence.clone();
        serving.appending = Some(Task(tokio::spawn(async move {
            let outcome = writer::append(partition, leader, fence, batches).await;
            let _ = me.cast(CoordinatorMessage::Appended { term, outcome });
        })));
        Ok(())
    }

    fn on_appended(&mut self, term: u64, outcome: Result<(), AppendRefusal>) -> Result<(), WriteError> {
        if term != self.term {
            return Ok(());
        }
        let Some(serving) = &mut self.serving else { return Ok(()) };
        match outcome {
            Ok(()) => {
                let ready = serving.writer.on_written();
                self.go_on(ready);
                self.append_next()
            }
            Err(refusal) => {
                // What was decided on top of it is as void as what was refused: the log says what holds.
                tracing::warn!(partition = %self.args.label, "groups are read again: not written: {refusal}");
                let known =
                    matches!(refusal, AppendRefusal::DiskFull | AppendRefusal::NotEnoughReplicas { .. });
                let refusal = if known { Refusal::Storage } else { Refusal::OutcomeUnknown };
                for waits in serving.writer.give_up() {
                    if let Waits::Answer(reply, _) = waits {
                        send(reply, Err(refusal));
                    }
                }
                self.begin_loading();
                Ok(())
            }
        }
    }

    /// Sees to it that the core is asked when something is due.
    fn ring_in_time(&mut self, now: Now) {
        let due = self.serving.as_ref().and_then(|serving| serving.core.next_tick());
        let Some(due) = due else { return };
        if self.rings_at.is_some_and(|rings_at| rings_at <= due) {
            return;
        }
        self.rings_at = Some(due);
        let wait = due.saturating_sub(now.monotonic);
        self.me.actor().send_after(wait, || CoordinatorMessage::Tick);
    }

    /// Brings the gauges up to date.
    fn report(&mut self) {
        let metrics = &self.args.metrics;
        let (sizes, counts) = match &mut self.serving {
            Some(serving) => (serving.core.sizes(), serving.core.take_counts()),
            None => (core::Sizes::default(), core::Counts::default()),
        };
        let grown = |now: usize, before: usize| now as i64 - before as i64;
        metrics.groups.inc_by(grown(sizes.groups, self.sizes.groups));
        metrics.group_members.inc_by(grown(sizes.members, self.sizes.members));
        metrics.group_partitions_unowned.inc_by(grown(sizes.unowned, self.sizes.unowned));
        metrics.dead_letters_stopped.inc_by(grown(sizes.stopped, self.sizes.stopped));
        if sizes.stopped != self.sizes.stopped && self.serving.is_some() {
            let detail = format!("dead letters stopped by {} partition(s)", sizes.stopped);
            self.me.vitals().set_detail((sizes.stopped > 0).then_some(detail));
        }
        self.sizes = sizes;
        metrics.group_rebalances.inc_by(counts.rebalances);
        metrics.group_members_lost.inc_by(counts.lost_members);
        metrics.offsets_expired.inc_by(counts.expired_offsets);
        metrics.offset_commits.inc_by(counts.commits);
        metrics.delivery_attempts.inc_by(counts.attempts);
        metrics.dead_letters.inc_by(counts.dead_letters);
    }
}

/// What is forgotten does not come back: a wall clock that has jumped forward makes nothing old before it has stood.
fn now(clock: &dyn Clock) -> Now {
    Now { monotonic: clock.monotonic(), wall: clock.settled_wall() }
}

fn send(reply: Reply, answer: Result<Answer, Refusal>) {
    // Whoever asked may have gone away meanwhile.
    let _ = reply.send(answer);
}

impl Drop for CoordinatorState {
    /// The groups of a coordinator that ends are nobody's until its successor has read them.
    fn drop(&mut self) {
        self.serving = None;
        self.report();
    }
}
