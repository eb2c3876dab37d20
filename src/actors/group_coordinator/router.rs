//! Keeps a coordinator at work for each partition of `__consumer_offsets` that this node leads.
//!
//! Level-triggered, as the reconciler of partitions: it compares what the metadata says of leaders with the
//! coordinators that it has started. One whose partition has moved to another node is stopped: clients that ask here
//! are told to look for it again. It also tells them what their groups depend on: which topics there are, with how many
//! partitions, and what is configured of groups; and which topics are gone, since their offsets mean nothing any
//! more.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{runtime::Handle, sync::watch};

use super::{
    CoordinatorArgs, CoordinatorMessage, GroupCoordinator, Leaders, OFFSETS_TOPIC,
    core::{Image, TopicImage},
    handle::Groups,
    tenure::{Led, NodeLeases, Tenures, Terms},
};
use crate::{
    actors::{
        membership::{MembershipHandle, MetadataImage},
        partition::{
            Fences, PartitionHandle,
            table::{Topic, TopicTable},
        },
        supervise::{
            Actor, ActorProcessingErr, ActorRef, ChildSpec, Placement, RestartPolicy, Slot, SupervisorError,
            SupervisorHandle,
        },
    },
    clock::Clock,
    config::{group::GroupConfig, node::GroupSettings},
    metrics::Metrics,
    model::{NodeId, PartitionIndex, TopicId},
    wire::Str,
};

/// How often it looks by itself, whatever it was or was not told.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What the coordinators of this node have in common.
#[derive(Clone, Debug)]
pub struct RouterArgs {
    /// Whose children the coordinators are.
    pub supervisor: SupervisorHandle,
    /// This node.
    pub node: NodeId,
    /// Where connections find them.
    pub groups: Groups,
    /// The partitions.
    pub topics: TopicTable,
    /// Their leaders, on whichever node.
    pub leaders: Leaders,
    /// Where configs of groups are kept, and who makes topics of dead letters.
    pub membership: MembershipHandle,
    /// Where coordinators run.
    pub data: Handle,
    /// Where blocking work runs.
    pub io: Handle,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What groups may do.
    pub settings: GroupSettings,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether this node may answer, and who else might.
    pub leases: NodeLeases,
}

/// The protocol of [`GroupRouter`].
#[derive(Debug)]
pub enum RouterMessage {
    /// The watch on the table of topics or on the registry, or the timer: look again.
    Look,
}

crate::actors::supervise::local_message!(RouterMessage);

/// A coordinator that was started.
#[derive(Debug)]
struct Running {
    child: String,
    slot: Slot<CoordinatorMessage>,
}

/// The actor.
#[derive(Debug)]
pub struct GroupRouter;

/// Its state.
#[derive(Debug)]
pub struct RouterState {
    args: RouterArgs,
    /// The topic whose coordinators were started.
    topic: Option<TopicId>,
    /// Those at work, by partition.
    running: BTreeMap<PartitionIndex, Running>,
    /// The topics that there were at the last look.
    known: BTreeSet<TopicId>,
    /// Who has led the partitions, and since when we do.
    leaders: Terms,
    tenures: watch::Sender<Tenures>,
    /// The same for coordinators, also for those that are started later.
    image: watch::Sender<Arc<Image>>,
}

impl Actor for GroupRouter {
    type Msg = RouterMessage;
    type State = RouterState;
    type Arguments = RouterArgs;

    async fn pre_start(
        &self,
        me: ActorRef<RouterMessage>,
        args: RouterArgs,
    ) -> Result<RouterState, ActorProcessingErr> {
        let mut changes = args.topics.changes();
        let watcher = me.clone();
        tokio::spawn(async move {
            while watcher.cast(RouterMessage::Look).is_ok() {
                changes.next().await;
            }
        });
        // What the first look goes by, or something older.
        let known = args.membership.image();
        tokio::spawn(look_at_images(args.membership.watch(), known, me.clone()));
        me.send_interval(LOOK_EVERY, || RouterMessage::Look);
        // After a restart of the router its coordinators still run; they are started anew.
        args.groups.replace(Vec::new());
        for child in args.supervisor.children().await? {
            remove(&args.supervisor, &child).await?;
        }
        let (topic, running, known) = (None, BTreeMap::new(), BTreeSet::new());
        let (leaders, tenures) = (Terms::new(args.node), watch::Sender::default());
        let image = watch::Sender::new(Arc::default());
        Ok(RouterState { args, topic, running, known, leaders, tenures, image })
    }

    async fn handle(
        &self,
        _me: ActorRef<RouterMessage>,
        message: RouterMessage,
        state: &mut RouterState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RouterMessage::Look => state.on_look().await?,
        }
        Ok(())
    }
}

/// Of all that the registry tells, only configs of groups and leaders of their topic are for the router.
async fn look_at_images(
    mut images: watch::Receiver<Arc<MetadataImage>>,
    mut known: Arc<MetadataImage>,
    router: ActorRef<RouterMessage>,
) {
    loop {
        let image = Arc::clone(&images.borrow_and_update());
        if differ(&image, &known) && router.cast(RouterMessage::Look).is_err() {
            return;
        }
        known = image;
        if images.changed().await.is_err() {
            return;
        }
    }
}

/// Whether configs of groups or leaders of their topic have changed; images share what has not.
fn differ(image: &MetadataImage, known: &MetadataImage) -> bool {
    let same_leaders = match (image.topic_named(OFFSETS_TOPIC), known.topic_named(OFFSETS_TOPIC)) {
        (Some(topic), Some(known)) => Arc::ptr_eq(topic, known),
        (topic, known) => topic.is_none() && known.is_none(),
    };
    !same_leaders || !Arc::ptr_eq(image.group_configs(), known.group_configs())
}

/// Fine if it is gone already.
async fn remove(supervisor: &SupervisorHandle, child: &str) -> Result<(), SupervisorError> {
    match supervisor.remove(child).await {
        Ok(()) | Err(SupervisorError::Unknown { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

impl RouterState {
    async fn on_look(&mut self) -> Result<(), SupervisorError> {
        self.tell_of_image();
        let topic = self.args.topics.by_name(OFFSETS_TOPIC);
        if topic.as_ref().map(|topic| topic.id) != self.topic {
            self.stop_all().await?;
        }
        if let Some(topic) = topic {
            self.topic = Some(topic.id);
            self.look_at_leaders(&topic);
            let led = self.led_here(&topic);
            self.stop_moved(&led).await?;
            self.start_missing(&topic, &led).await?;
            self.publish(&topic);
        }
        self.tell_of_deleted();
        Ok(())
    }

    /// Remembers who leads, for those who succeed them.
    fn look_at_leaders(&mut self, topic: &Topic) {
        let (image, now) = (self.args.membership.image(), self.args.clock.monotonic());
        for id in topic.partitions().iter().map(PartitionHandle::id) {
            let Some(partition) = image.partition(id) else { continue };
            let start = |node: NodeId| image.brokers().get(&node).map(|broker| (node, broker.boot));
            let replicas: Vec<_> = partition.replicas.iter().filter_map(|node| start(*node)).collect();
            let by = partition.leader().and_then(start);
            self.leaders.saw(now, id.index, Led { epoch: partition.leader_epoch, by, replicas: &replicas });
        }
        self.tenures.send_replace(self.leaders.tenures());
    }

    /// The partitions that this node is to lead. Whether it does so already is the coordinator's to wait for.
    fn led_here(&self, topic: &Topic) -> BTreeSet<PartitionIndex> {
        let image = self.args.membership.image();
        let is_here = |id| image.partition(id).is_some_and(|partition| partition.leader == self.args.node);
        let ids = topic.partitions().iter().map(PartitionHandle::id);
        ids.filter(|id| is_here(*id)).map(|id| id.index).collect()
    }

    async fn stop_all(&mut self) -> Result<(), SupervisorError> {
        self.args.groups.replace(Vec::new());
        self.stop_moved(&BTreeSet::new()).await?;
        self.leaders = Terms::new(self.args.node);
        self.topic = None;
        Ok(())
    }

    /// Stops coordinators of partitions that are not among these.
    async fn stop_moved(&mut self, led: &BTreeSet<PartitionIndex>) -> Result<(), SupervisorError> {
        let moved: Vec<_> = self.running.keys().filter(|index| !led.contains(index)).copied().collect();
        for index in moved {
            if let Some(running) = self.running.get(&index) {
                remove(&self.args.supervisor, &running.child).await?;
                self.running.remove(&index);
            }
        }
        Ok(())
    }

    async fn start_missing(
        &mut self,
        topic: &Topic,
        led: &BTreeSet<PartitionIndex>,
    ) -> Result<(), SupervisorError> {
        for partition in topic.partitions() {
            let index = partition.id().index;
            if led.contains(&index) && !self.running.contains_key(&index) {
                let running = self.start(topic, partition).await?;
                self.running.insert(index, running);
            }
        }
        Ok(())
    }

    async fn start(&self, topic: &Topic, partition: &PartitionHandle) -> Result<Running, SupervisorError> {
        let label: Arc<str> = format!("{}-{}", topic.name, partition.id().index).into();
        let slot = Slot::new();
        let args = CoordinatorArgs {
            partition: partition.clone(),
            label: Arc::clone(&label),
            io: self.args.io.clone(),
            clock: Arc::clone(&self.args.clock),
            settings: self.args.settings.clone(),
            image: self.image.subscribe(),
            topics: self.args.topics.clone(),
            leaders: self.args.leaders.clone(),
            membership: self.args.membership.clone(),
            metrics: Arc::clone(&self.args.metrics),
            leases: self.args.leases.clone(),
            tenures: self.tenures.subscribe(),
            fences: Fences::default(),
            vitals: None,
        };
        let place = Placement::on(self.args.data.clone());
        let spec = ChildSpec::actor(&label, place, slot.clone(), move |vitals| {
            (GroupCoordinator, CoordinatorArgs { vitals: Some(vitals), ..args.clone() })
        });
        // One that cannot load says nothing about the others, so it is tried for ever.
        match self.args.supervisor.add(spec.with_policy(RestartPolicy::PATIENT)).await {
            Ok(()) | Err(SupervisorError::NotStarted { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(Running { child: label.to_string(), slot })
    }

    fn publish(&self, topic: &Topic) {
        let slot = |partition: &PartitionHandle| {
            self.running.get(&partition.id().index).map(|running| running.slot.clone())
        };
        self.args.groups.replace(topic.partitions().iter().map(slot).collect());
    }

    /// Topics and configs of groups, as coordinators see them.
    fn tell_of_image(&self) {
        let topics = self.args.topics.all();
        let seen = |topic: &Arc<Topic>| {
            let partitions = i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX);
            let delivery = Arc::new(topic.config().delivery.clone());
            (Str::from(topic.name.as_str()), TopicImage { id: topic.id, partitions, delivery })
        };
        let settings = &self.args.settings.consumer;
        let configured = self.args.membership.image();
        let configured = configured
            .group_configs()
            .iter()
            .map(|(group, overrides)| (Str::from(group.as_str()), GroupConfig::resolve(settings, overrides)));
        let of_others = GroupConfig::resolve(settings, &BTreeMap::new());
        let image =
            Image::new(topics.iter().map(seen).collect()).with_groups(configured.collect(), of_others);
        let changed = self.image.send_if_modified(|known| {
            let changed = **known != image;
            if changed {
                *known = Arc::new(image);
            }
            changed
        });
        if changed {
            self.tell(|| CoordinatorMessage::ImageChanged);
        }
    }

    fn tell_of_deleted(&mut self) {
        let now: BTreeSet<_> = self.args.topics.all().iter().map(|topic| topic.id).collect();
        let gone: BTreeSet<_> = self.known.difference(&now).copied().collect();
        self.known = now;
        if gone.is_empty() {
            return;
        }
        let gone = Arc::new(gone);
        // One that is restarting keeps offsets of a topic that nobody can ask for; they expire.
        self.tell(|| CoordinatorMessage::TopicsDeleted(Arc::clone(&gone)));
    }

    fn tell(&self, message: impl Fn() -> CoordinatorMessage) {
        for coordinator in self.running.values().filter_map(|running| running.slot.get()) {
            // One that is restarting will look for itself.
            let _ = coordinator.cast(message());
        }
    }
}
