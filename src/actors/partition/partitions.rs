//! Keeps this node's replicas in step with the metadata: level-triggered, never by events alone.
//!
//! The reconciler compares the latest image with the replicas that it has started, and starts, stops,
//! reconfigures and deletes until they agree; an image that comes meanwhile only replaces the one to
//! agree with. A partition is known by its topic's id, so one that was deleted and made again under the
//! same name is another (S12). Of partitions whose replicas are all on other nodes it keeps handles that never have a
//! leader, so that connections can tell "not here" from "not at all". It is a supervisor's child beside the `partitions` supervisor whose
//! children it adds and removes, so its own restart ends no replica.

mod changing;
#[cfg(test)]
mod nobody;
mod purging;
mod replica;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, RwLock},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    task::JoinSet,
    time::{Instant, timeout_at},
};

pub use self::replica::Replication;
use self::{
    changing::{Changed, Changing},
    purging::Purging,
    replica::{NewReplica, Replica, Wanted},
};
use super::{
    BackgroundFlush, Bulk, PartitionHandle, UpkeepThreads,
    scrubber::ScrubPace,
    table::{Topic, TopicMeters, TopicTable},
};
use crate::{
    actors::{
        membership::{MembershipHandle, MetadataImage, TopicImage},
        supervise::{Actor, ActorProcessingErr, ActorRef, SupervisorError, SupervisorHandle},
    },
    clock::Clock,
    config::topic::{TopicConfig, TopicDefaults},
    metrics::Metrics,
    model::{BootId, NodeId, PartitionId, TopicId, TopicName},
    storage::{fs::Fs, partition_folder},
};

/// How often the reconciler looks by itself, whatever it was or was not told.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long a look waits for what it has begun: most of it takes milliseconds.
const WAIT: Duration = Duration::from_millis(100);
/// How soon the reconciler looks again after what takes longer.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How long what is under way is waited for before its log counts as one that could not be closed.
const CLOSE_LENT_WITHIN: Duration = Duration::from_secs(5);
/// How long the end of a look is waited for before logs are closed.
const CLOSE_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// What replicas of this node have in common.
#[derive(Clone, Debug)]
pub struct PartitionsArgs {
    /// Whose children the partitions are.
    pub supervisor: SupervisorHandle,
    /// Where connections find them.
    pub topics: TopicTable,
    /// The folder of logs.
    pub logs: PathBuf,
    /// The disk.
    pub fs: Arc<dyn Fs>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where replicas run.
    pub data: Handle,
    /// Where blocking work runs that somebody waits for.
    pub io: Handle,
    /// Where blocking work runs that can wait.
    pub upkeep: UpkeepThreads,
    /// Where much is appended while small requests come.
    pub bulk: Bulk,
    /// The metadata.
    pub membership: MembershipHandle,
    /// This node.
    pub node: NodeId,
    /// Topic configs that the node sets for all topics.
    pub defaults: TopicDefaults,
    /// Limits of what a crash may leave to be read again.
    pub background_flush: BackgroundFlush,
    /// How often retention looks for what may go.
    pub retention_every: Duration,
    /// How fast the scrub reads.
    pub scrub: ScrubPace,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What it takes to keep partitions that have replicas on other nodes.
    pub replication: Replication,
    /// Told the index of the image that the replicas agree with.
    pub agreed: Arc<watch::Sender<u64>>,
}

/// The protocol of [`Reconciler`].
#[derive(Debug)]
pub enum ReconcilerMessage {
    /// The watch on the image, or the timer: look again.
    Look,
    /// The task that carried out the last look.
    Agreed(Box<Done>),
    /// The timer: let each replica apply retention.
    Retention,
    /// The node on its way down: close all logs in order.
    CloseClean {
        /// The boot that the marks name.
        boot: BootId,
        /// Answered with how many could not be closed, when all others are.
        reply: oneshot::Sender<usize>,
    },
}

crate::actors::supervise::local_message!(ReconcilerMessage);

/// What a look has come to.
#[derive(Debug, Default)]
pub struct Done {
    running: HashMap<PartitionId, Replica>,
    changing: Changing,
    /// Those of them whose topic was configured meanwhile.
    unconfigured: HashSet<PartitionId>,
    purging: Purging,
    /// Some are not started: folders of deleted ones are in their place.
    postponed: bool,
    topics: HashMap<TopicId, Arc<Topic>>,
    /// The image's.
    index: u64,
    failed: Vec<String>,
}

/// The actor.
#[derive(Debug)]
pub struct Reconciler;

/// Its state.
#[derive(Debug)]
pub struct ReconcilerState {
    args: PartitionsArgs,
    /// Lent to the task of a look while it runs.
    agreed: Option<Done>,
    /// Something changed while a look was under way.
    look_again: bool,
}

impl Actor for Reconciler {
    type Msg = ReconcilerMessage;
    type State = ReconcilerState;
    type Arguments = PartitionsArgs;

    async fn pre_start(
        &self,
        me: ActorRef<ReconcilerMessage>,
        args: PartitionsArgs,
    ) -> Result<ReconcilerState, ActorProcessingErr> {
        let mut images = args.membership.watch();
        let watcher = me.clone();
        tokio::spawn(async move {
            while watcher.cast(ReconcilerMessage::Look).is_ok() && images.changed().await.is_ok() {}
        });
        me.send_interval(LOOK_EVERY, || ReconcilerMessage::Look);
        me.send_interval(args.retention_every, || ReconcilerMessage::Retention);
        let agreed = Some(adopt(&args).await?);
        Ok(ReconcilerState { args, agreed, look_again: false })
    }

    async fn handle(
        &self,
        me: ActorRef<ReconcilerMessage>,
        message: ReconcilerMessage,
        state: &mut ReconcilerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ReconcilerMessage::Look => state.on_look(&me),
            ReconcilerMessage::Agreed(done) => state.on_agreed(&me, *done),
            ReconcilerMessage::Retention => state.on_retention(),
            ReconcilerMessage::CloseClean { boot, reply } => state.on_close_clean(&me, boot, reply),
        }
        Ok(())
    }
}

/// After a restart of the reconciler its replicas still run. They are stopped, and started by the next
/// look: what they were is not worth trusting to memory that has just failed.
async fn adopt(args: &PartitionsArgs) -> Result<Done, SupervisorError> {
    let remove = |child: String| {
        let supervisor = args.supervisor.clone();
        async move { supervisor.remove(&child).await }
    };
    let removals: JoinSet<_> = args.supervisor.children().await?.into_iter().map(remove).collect();
    removals.join_all().await.into_iter().collect::<Result<Vec<()>, _>>()?;
    Ok(Done::default())
}

impl ReconcilerState {
    fn on_look(&mut self, me: &ActorRef<ReconcilerMessage>) {
        let Some(agreed) = self.agreed.take() else {
            self.look_again = true;
            return;
        };
        self.look_again = false;
        let image = self.args.membership.image();
        let look = Look { args: self.args.clone(), image, done: agreed };
        let me = me.clone();
        tokio::spawn(async move {
            let _ = me.cast(ReconcilerMessage::Agreed(Box::new(look.agree().await)));
        });
    }

    fn on_agreed(&mut self, me: &ActorRef<ReconcilerMessage>, mut done: Done) {
        let is_settled = done.changing.is_empty() && !done.postponed;
        let is_idle = is_settled && done.purging.is_empty();
        if is_settled && done.failed.is_empty() {
            self.args.agreed.send_replace(done.index);
        }
        for failure in done.failed.drain(..) {
            // The next look tries again.
            tracing::error!("{failure}");
        }
        self.agreed = Some(done);
        if self.look_again {
            self.on_look(me);
        } else if !is_idle {
            me.send_after(LOOK_AGAIN_AFTER, || ReconcilerMessage::Look);
        }
    }

    fn on_retention(&self) {
        let Some(agreed) = &self.agreed else { return };
        agreed.running.values().for_each(Replica::apply_retention);
    }

    /// After a look that is under way: what it starts has to be closed too.
    fn on_close_clean(
        &mut self,
        me: &ActorRef<ReconcilerMessage>,
        boot: BootId,
        reply: oneshot::Sender<usize>,
    ) {
        let Some(mut agreed) = self.agreed.take() else {
            me.send_after(CLOSE_AGAIN_AFTER, move || ReconcilerMessage::CloseClean { boot, reply });
            return;
        };
        let mut closing: Vec<_> = agreed.running.values().map(|replica| replica.close_clean(boot)).collect();
        // Nothing is started any more; what is changing its role has a log too.
        tokio::spawn(async move {
            let deadline = Instant::now() + CLOSE_LENT_WITHIN;
            while let Ok(Some(changed)) = timeout_at(deadline, agreed.changing.next()).await {
                closing.extend(changed.replica.as_ref().map(|replica| replica.close_clean(boot)));
                agreed.running.extend(changed.replica.map(|replica| (changed.id, replica)));
            }
            let mut unclean = agreed.changing.lent().count();
            for closed in closing {
                unclean += usize::from(closed.await.is_err());
            }
            let _asker_may_be_gone = reply.send(unclean);
        });
    }
}

/// One comparison of the image with what runs.
struct Look {
    args: PartitionsArgs,
    image: Arc<MetadataImage>,
    done: Done,
}

impl Look {
    async fn agree(mut self) -> Done {
        let deadline = Instant::now() + WAIT;
        self.take_back_what_has_ended();
        self.stop_what_is_gone();
        let image = Arc::clone(&self.image);
        let defaults = self.args.defaults.with(image.dynamic_configs(self.args.node));
        for topic in image.topics().values() {
            self.see_to(topic, &defaults);
        }
        self.args.topics.replace(self.done.topics.values().cloned());
        self.purge_what_is_deleted();
        self.start_what_is_missing();
        self.give_roles();
        while let Ok(Some(changed)) = timeout_at(deadline, self.done.changing.next()).await {
            self.take_back(changed);
        }
        while let Ok(Some(purged)) = timeout_at(deadline, self.done.purging.next()).await {
            self.done.failed.extend(purged.err());
        }
        self.done.index = image.index();
        self.done
    }

    fn take_back_what_has_ended(&mut self) {
        while let Some(changed) = self.done.changing.ended() {
            self.take_back(changed);
        }
        while let Some(purged) = self.done.purging.ended() {
            self.done.failed.extend(purged.err());
        }
    }

    fn take_back(&mut self, Changed { id, replica, failed }: Changed) {
        self.done.failed.extend(failed);
        let Some(replica) = replica else { return };
        if self.done.unconfigured.remove(&id)
            && let Some(topic) = self.done.topics.get(&id.topic)
        {
            replica.configure(&topic.config());
        }
        self.done.running.insert(id, replica);
    }

    fn stop_what_is_gone(&mut self) {
        let gone = |id: &&PartitionId| !is_kept_by(&self.image, self.args.node, **id);
        let gone: Vec<_> = self.done.running.keys().filter(gone).copied().collect();
        let topics = self.done.topics.len();
        self.done.topics.retain(|id, _| self.image.topic(*id).is_some());
        // A topic may be gone of which nothing runs here.
        if gone.is_empty() && self.done.topics.len() == topics {
            return;
        }
        // Nobody finds them any more; then they stop; then their folders go.
        self.args.topics.replace(self.done.topics.values().cloned());
        for id in gone {
            if let Some(replica) = self.done.running.remove(&id) {
                self.done.changing.remove(self.args.supervisor.clone(), id, replica);
            }
        }
    }

    /// Deletes the folders of topics whose deletion is committed, and says so when they are gone.
    fn purge_what_is_deleted(&mut self) {
        let image = Arc::clone(&self.image);
        for (id, deleted) in image.deleted_topics() {
            let is_open = |open: PartitionId| open.topic == *id;
            let runs =
                self.done.running.keys().copied().any(is_open) || self.done.changing.lent().any(is_open);
            if !runs && deleted.on.contains(&self.args.node) {
                self.done.purging.begin(&self.args, *id, deleted.clone());
            }
        }
    }

    /// Brings the topic's entry up to date: its configuration, and handles for all its partitions.
    fn see_to(&mut self, image: &TopicImage, defaults: &TopicDefaults) {
        let config = match defaults.resolve(&image.configs) {
            Ok(config) => Arc::new(config),
            Err(error) => {
                self.done.failed.push(format!("topic {} has an invalid config: {error}", image.name));
                return;
            }
        };
        match self.done.topics.get(&image.id) {
            Some(topic) if topic.partitions.len() == image.partitions.len() => {
                let topic = Arc::clone(topic);
                self.reconfigure(&topic, &config);
            }
            earlier => {
                let topic = Arc::new(self.entry(image, &config, earlier.map(Arc::as_ref)));
                self.done.topics.insert(image.id, topic);
            }
        }
    }

    fn entry(&self, image: &TopicImage, config: &Arc<TopicConfig>, earlier: Option<&Topic>) -> Topic {
        let kept = earlier.map(|topic| topic.partitions.clone()).unwrap_or_default();
        let new = image.partition_ids().skip(kept.len()).map(PartitionHandle::new);
        let partitions = kept.iter().cloned().chain(new).collect();
        let slot =
            earlier.map_or_else(|| Arc::new(RwLock::new(Arc::clone(config))), |t| Arc::clone(&t.config));
        let meters = TopicMeters::new(&self.args.metrics, &image.name);
        let topic = Topic { id: image.id, name: image.name.clone(), meters, config: slot, partitions };
        topic.set_config(Arc::clone(config));
        topic
    }

    fn reconfigure(&mut self, topic: &Topic, config: &Arc<TopicConfig>) {
        if topic.config() == *config {
            return;
        }
        topic.set_config(Arc::clone(config));
        for partition in &topic.partitions {
            let id = partition.id();
            if let Some(replica) = self.done.running.get(&id) {
                replica.configure(config);
            } else if self.done.changing.has(id) {
                self.done.unconfigured.insert(id);
            }
        }
    }

    fn start_what_is_missing(&mut self) {
        self.done.postponed = false;
        let topics: Vec<_> = self.done.topics.values().cloned().collect();
        for topic in &topics {
            let missing = |partition: &&PartitionHandle| {
                let id = partition.id();
                let is_there = self.done.running.contains_key(&id) || self.done.changing.has(id);
                !is_there && is_kept_by(&self.image, self.args.node, id)
            };
            let missing: Vec<_> = topic.partitions.iter().filter(missing).collect();
            if !missing.is_empty() && self.is_in_the_way(&topic.name) {
                self.done.postponed = true;
                continue;
            }
            for partition in missing {
                self.start(topic, partition);
            }
        }
    }

    /// Whether folders of a deleted topic of this name are still there: they go first. Where they could not be deleted,
    /// they are put aside by those that take their place.
    fn is_in_the_way(&self, name: &TopicName) -> bool {
        self.image.deleted_topics().iter().any(|(id, deleted)| {
            deleted.name == *name
                && deleted.on.contains(&self.args.node)
                && !self.done.purging.has_failed(*id)
        })
    }

    fn start(&mut self, topic: &Topic, partition: &PartitionHandle) {
        let index = partition.id().index;
        let new = NewReplica {
            label: format!("{}-{index}", topic.name).into(),
            folder: partition_folder::path_of(&self.args.logs, &topic.name, index),
            partition: partition.clone(),
            config: Arc::clone(&topic.config),
        };
        let wanted = self.wanted(partition.id());
        self.done.changing.start(self.args.clone(), new, wanted);
    }

    /// All at once: after a fail-over, clients of every one of them wait.
    fn give_roles(&mut self) {
        let ids: Vec<_> = self.done.running.keys().copied().collect();
        for id in ids {
            if self.done.running.get(&id).is_none_or(|replica| self.is_as_told(id, replica)) {
                continue;
            }
            let Some(wanted) = self.wanted(id) else { continue };
            let Some(replica) = self.done.running.remove(&id) else { continue };
            self.done.changing.agree(self.args.clone(), id, replica, wanted);
        }
    }

    /// Whether nothing has changed: asked of every partition at every look, so it takes no memory.
    fn is_as_told(&self, id: PartitionId, replica: &Replica) -> bool {
        let Some(image) = self.image.partition(id) else { return true };
        replica.agrees(image, self.image.is_on_disk(id))
    }

    fn wanted(&self, id: PartitionId) -> Option<Wanted> {
        let on_disk = self.image.is_on_disk(id);
        Some(Wanted::of(self.image.partition(id)?, self.args.node, on_disk))
    }
}

/// Whether a node is one of those that keep the partition.
fn is_kept_by(image: &MetadataImage, node: NodeId, id: PartitionId) -> bool {
    image.partition(id).is_some_and(|partition| partition.replicas.contains(&node))
}
