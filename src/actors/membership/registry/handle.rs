//! How others ask the registry, over all its incarnations and wherever the controller is.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Mutex, watch},
    time::{self, Instant},
};

use super::{
    Published, RegistryArgs, RegistryMessage,
    remote::{Failure, SharedWays, WaysOfNode},
};
use crate::{
    actors::{
        membership::{
            core::{
                Command, CommandAnswer, ConfigOwner, CreatedTopic, InSyncChange, MetadataImage, NewTopic,
                TopicRef,
            },
            error::MembershipError,
            forward::{Forward, ForwardError, Leadership},
            quorum::{Members, Quorum},
        },
        supervise::Slot,
    },
    config::topic::ConfigChange,
    model::{BrokerEpoch, LeaderEpoch, NodeId, PartitionId, ProducerId, TopicId},
};

/// How long an answer is waited for before the outcome counts as unknown.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// This node, as it speaks to the controller.
#[derive(Debug)]
pub struct Us {
    node: NodeId,
    /// Its registration; -1 before there is one.
    broker_epoch: AtomicI64,
}

impl Us {
    /// Which node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// It speaks for this registration from now on.
    pub fn registered(&self, epoch: BrokerEpoch) {
        self.broker_epoch.store(epoch.get(), Ordering::Release);
    }

    /// The registration that it speaks for; -1 before there is one.
    pub fn broker_epoch(&self) -> BrokerEpoch {
        BrokerEpoch::new(self.broker_epoch.load(Ordering::Acquire))
    }
}

/// The registry as others hold it. Cheap to clone, valid over restarts.
#[derive(Clone)]
pub struct RegistryHandle {
    us: Arc<Us>,
    forward: Forward<Command, NodeId>,
    ways: Arc<WaysOfNode>,
    image: watch::Receiver<Arc<MetadataImage>>,
    quorum: watch::Receiver<Option<Quorum>>,
    roster: watch::Receiver<Arc<Members>>,
    /// Producer ids that were given to this node, and that it has given to nobody.
    ids: Arc<Mutex<Range<i64>>>,
    answer_within: Duration,
}

impl fmt::Debug for RegistryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryHandle").field("us", &self.us).finish_non_exhaustive()
    }
}

impl RegistryHandle {
    pub(super) fn new(slot: Slot<RegistryMessage>, published: &Published, args: &RegistryArgs) -> Self {
        let leadership = published.leadership.subscribe();
        let ways = Arc::new(WaysOfNode::new(slot, Arc::clone(&args.commands), leadership.clone()));
        let forward =
            Forward::new(Arc::new(SharedWays(Arc::clone(&ways))), leadership, Arc::clone(&args.clock));
        Self {
            us: Arc::new(Us { node: args.rules.node, broker_epoch: AtomicI64::new(-1) }),
            forward,
            ways,
            image: published.image.subscribe(),
            quorum: published.quorum.subscribe(),
            roster: published.roster.subscribe(),
            ids: Arc::new(Mutex::new(0..0)),
            answer_within: ANSWER_WITHIN,
        }
    }

    /// The same registry with another time for requests to be answered in (30 s otherwise).
    #[must_use]
    pub fn answering_within(&self, answer_within: Duration) -> Self {
        Self { answer_within, ..self.clone() }
    }

    /// The state that this node has applied.
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image.borrow())
    }

    /// It, and each change of it. An image may be skipped, never the last one.
    pub fn watch(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.image.clone()
    }

    /// This node's member of the quorum, while it runs.
    pub fn quorum(&self) -> Option<Quorum> {
        self.quorum.borrow().clone()
    }

    /// It, over all its starts.
    pub fn watch_quorum(&self) -> watch::Receiver<Option<Quorum>> {
        self.quorum.clone()
    }

    /// Who is a member of the quorum as far as this node knows, and each change of it. How far they have the log is not said.
    pub fn watch_members(&self) -> watch::Receiver<Arc<Members>> {
        self.roster.clone()
    }

    /// Who the controller is.
    pub fn leadership(&self) -> watch::Receiver<Leadership<NodeId>> {
        self.ways.leadership.clone()
    }

    /// How this node speaks to the controller.
    pub fn us(&self) -> &Arc<Us> {
        &self.us
    }

    /// Answers a command that another node has sent here.
    pub async fn serve(&self, body: &[u8]) -> Bytes {
        Arc::clone(&self.ways).serve(body, self.answer_within).await
    }

    /// Has a command carried out by the controller. It can be seen in [`Self::image`] when this returns.
    pub async fn command(
        &self,
        command: Command,
        within: Duration,
    ) -> Result<CommandAnswer, MembershipError> {
        self.command_at(command, within).await.map(|(_, answer)| answer)
    }

    /// The same, with the entry of the quorum's log by which it can be seen.
    pub async fn command_at(
        &self,
        command: Command,
        within: Duration,
    ) -> Result<(u64, CommandAnswer), MembershipError> {
        let deadline = Instant::now() + within;
        let (index, answer) = match self.forward.command(command, within).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(Failure::Refused(refusal))) => return Err(refusal.into()),
            Ok(Err(Failure::StorageFull)) => return Err(MembershipError::StorageFull),
            Err(ForwardError::NoController) => return Err(MembershipError::NotTaken),
            Err(ForwardError::OutcomeUnknown) => return Err(MembershipError::OutcomeUnknown),
        };
        let mut image = self.image.clone();
        // What was decided holds, whether this node hears of it in time or not.
        let _late = time::timeout_at(deadline, image.wait_for(|image| image.index() >= index)).await;
        Ok((index, answer))
    }

    async fn ask(&self, command: Command) -> Result<CommandAnswer, MembershipError> {
        self.command(command, self.answer_within).await
    }

    /// Creates a topic, or only checks whether it could be created.
    pub async fn create_topic(
        &self,
        new: NewTopic,
        validate_only: bool,
    ) -> Result<CreatedTopic, MembershipError> {
        let CommandAnswer::TopicCreated(created) =
            self.ask(Command::CreateTopic { new, id: TopicId::random(), validate_only }).await?
        else {
            return Err(MembershipError::OutcomeUnknown);
        };
        Ok(created)
    }

    /// Lets a topic grow to `count` partitions in all.
    pub async fn create_partitions(
        &self,
        name: &str,
        count: i32,
        validate_only: bool,
    ) -> Result<(), MembershipError> {
        self.ask(Command::CreatePartitions { name: name.to_owned(), count, validate_only }).await.map(drop)
    }

    /// Gives the leaders of these partitions back to their first replicas, where those are in sync.
    pub async fn elect_preferred(&self, which: Vec<PartitionId>) -> Result<(), MembershipError> {
        self.ask(Command::ElectPreferredOf(which)).await.map(drop)
    }

    /// Elects whoever is there for those of these partitions that have no leader, and gives up what only others have.
    pub async fn elect_unclean(&self, which: Vec<PartitionId>) -> Result<(), MembershipError> {
        self.ask(Command::ElectUnclean(which)).await.map(drop)
    }

    /// Deletes a topic; its data may go once the image says so.
    pub async fn delete_topic(&self, which: TopicRef) -> Result<TopicId, MembershipError> {
        let CommandAnswer::TopicDeleted(id) = self.ask(Command::DeleteTopic(which)).await? else {
            return Err(MembershipError::OutcomeUnknown);
        };
        Ok(id)
    }

    /// Says that a deleted topic's data is gone from this node.
    pub async fn purge_topic(&self, topic: TopicId) -> Result<(), MembershipError> {
        self.ask(Command::PurgeTopic { topic, node: self.us.node }).await.map(drop)
    }

    /// Changes some configs, all of the changes or none.
    pub async fn alter_configs(
        &self,
        owner: &ConfigOwner,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), MembershipError> {
        let (owner, changes) = (owner.clone(), changes.to_vec());
        self.ask(Command::AlterConfigs { owner, changes, validate_only }).await.map(drop)
    }

    /// Sets all configs of an owner.
    pub async fn replace_configs(
        &self,
        owner: &ConfigOwner,
        configs: &BTreeMap<String, String>,
        validate_only: bool,
    ) -> Result<(), MembershipError> {
        let (owner, configs) = (owner.clone(), configs.clone());
        self.ask(Command::ReplaceConfigs { owner, configs, validate_only }).await.map(drop)
    }

    /// Another epoch for this node, which leads the partition in the term that the image names (S6).
    pub async fn open_epoch(&self, partition: PartitionId) -> Result<LeaderEpoch, MembershipError> {
        let known = self.image().partition(partition).map_or(LeaderEpoch::NONE, |known| known.leader_epoch);
        let command = Command::OpenEpoch {
            partition,
            node: self.us.node,
            broker_epoch: self.us.broker_epoch(),
            leader_epoch: known,
            opening: fastrand::u64(1..),
        };
        let CommandAnswer::EpochOpened(epoch) = self.ask(command).await? else {
            return Err(MembershipError::OutcomeUnknown);
        };
        Ok(epoch)
    }

    /// Another in-sync set for a partition that this node leads: its epoch and members afterwards. With `is_on_disk` it says
    /// too that everybody who may lead has on disk what was acknowledged (S11).
    pub async fn alter_in_sync(
        &self,
        change: InSyncChange,
        is_on_disk: bool,
        within: Duration,
    ) -> Result<(i32, Vec<NodeId>), MembershipError> {
        let command =
            if is_on_disk { Command::AlterInSyncOnDisk(change) } else { Command::AlterInSync(change) };
        let CommandAnswer::InSync { partition_epoch, in_sync } = self.command(command, within).await? else {
            return Err(MembershipError::OutcomeUnknown);
        };
        Ok((partition_epoch, in_sync))
    }

    /// This node's replica does not count any more where others are enough, and does not lead.
    pub async fn give_up(&self, partition: PartitionId) -> Result<(), MembershipError> {
        let (node, broker_epoch) = (self.us.node, self.us.broker_epoch());
        self.ask(Command::GiveUp { partition, node, broker_epoch }).await.map(drop)
    }

    /// A producer id that no one has had, out of a block that is this node's.
    pub async fn next_producer_id(&self) -> Result<ProducerId, MembershipError> {
        let mut ids = self.ids.lock().await;
        if let Some(id) = ids.next() {
            return Ok(ProducerId::new(id));
        }
        let (node, broker_epoch) = (self.us.node, self.us.broker_epoch());
        let CommandAnswer::ProducerIds { first, count } =
            self.ask(Command::AllocateProducerIds { node, broker_epoch }).await?
        else {
            return Err(MembershipError::OutcomeUnknown);
        };
        *ids = first.get()..first.get().saturating_add(i64::from(count));
        ids.next().map(ProducerId::new).ok_or(MembershipError::OutcomeUnknown)
    }
}
