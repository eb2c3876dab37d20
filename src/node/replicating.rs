//! How partitions of several nodes come by each other: streams to leaders, and proposals to the controller.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{runtime::Handle, time::sleep};

use crate::{
    actors::{
        cluster_link::{ClusterLink, Expected, StreamHandler},
        membership::{
            CLUSTER_LISTENER, InSyncChange, MembershipError, MetadataImage, PartitionImage, member::Member,
            registry::RegistryHandle,
        },
        partition::{
            Answer, DiskAlarm, Proposer,
            core::{PartitionState, SetAnswer, SetChange},
            partitions::Replication,
            replication::{
                ByteStream, ConnectError, Connecting, Connector, Feeders, Leaders, Streams, serve,
            },
            table::TopicTable,
        },
    },
    config::node::HostPort,
    model::{NodeId, PartitionId},
};

/// How long opening a stream may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long the controller may take to answer a proposal.
const PROPOSE_WITHIN: Duration = Duration::from_secs(5);
/// How long a partition that others were asked to go on with is not asked about again.
const GIVE_UP_EVERY: Duration = Duration::from_secs(1);

/// What the replicas of a member need; followers run their streams on `data`.
pub(super) fn replication(
    member: &Member,
    data: &Handle,
    lag_time_max: Duration,
    alarm: DiskAlarm,
) -> Replication {
    let dial = Dial { link: member.link.clone(), registry: member.registry.clone() };
    let us = Arc::clone(member.registry.us());
    Replication {
        streams: Streams::new(Arc::new(dial), data.clone()),
        proposer: Arc::new(ToController {
            registry: member.registry.clone(),
            runtime: Handle::current(),
            given_up: Arc::default(),
        }),
        broker_epoch: Arc::new(move || us.broker_epoch()),
        lag_time_max,
        alarm,
    }
}

/// Feeds the followers of other nodes, on `data`, with a task for each two of its workers.
pub(super) fn feed(topics: TopicTable, data: Handle, io: Handle) -> StreamHandler {
    let leaders: Arc<dyn Leaders> = Arc::new(move |id| topics.replica(id));
    let feeders = Arc::new(Feeders::start(data.metrics().num_workers() / 2, &data));
    Arc::new(move |peer, mut stream| {
        let (feeders, leaders, data, io) =
            (Arc::clone(&feeders), Arc::clone(&leaders), data.clone(), io.clone());
        Box::pin(async move {
            if let Err(error) = stream.move_to(&data) {
                return tracing::warn!(%peer, %error, "the stream of its followers could not be served");
            }
            match feeders.run(serve(stream, peer.node, leaders, io)).await {
                Ok(ended) => tracing::info!(%peer, %ended, "the stream of its followers ended"),
                Err(lost) => tracing::error!(%peer, %lost, "the stream of its followers was lost"),
            }
        })
    })
}

/// Opens streams where the metadata says that leaders are.
struct Dial {
    link: ClusterLink,
    registry: RegistryHandle,
}

impl Connector for Dial {
    fn connect(&self, leader: NodeId) -> Connecting {
        let link = self.link.clone();
        let image = self.registry.image();
        let endpoint =
            image.brokers().get(&leader).and_then(|broker| broker.endpoint(CLUSTER_LISTENER)).cloned();
        Box::pin(async move {
            let endpoint =
                endpoint.ok_or_else(|| ConnectError(format!("node {leader} is not registered")))?;
            let at = HostPort::new(endpoint.host, endpoint.port);
            let expected = Expected { node: Some(leader), raft_id: None };
            let opened = link.open_replication(&at, expected, CONNECT_WITHIN).await;
            let (_, stream) = opened.map_err(|error| ConnectError(error.to_string()))?;
            let stream: Box<dyn ByteStream> = Box::new(stream);
            Ok(stream)
        })
    }
}

/// Brings what replicas ask for to the controller.
#[derive(Debug)]
struct ToController {
    registry: RegistryHandle,
    runtime: Handle,
    /// What was asked to go on without this node a moment ago: a replica says that it cannot write with each record.
    given_up: Arc<Mutex<BTreeSet<PartitionId>>>,
}

impl Proposer for ToController {
    fn propose(&self, partition: PartitionId, change: SetChange, answer: Answer) {
        let registry = self.registry.clone();
        self.runtime.spawn(async move { answer(ask(&registry, partition, change).await) });
    }

    fn give_up(&self, partition: PartitionId) {
        let us = self.registry.us().node();
        let counts = |known: &PartitionImage| known.in_sync.contains(&us);
        let is_new = || lock(&self.given_up).insert(partition);
        if !self.registry.image().partition(partition).is_some_and(counts) || !is_new() {
            return;
        }
        let (registry, given_up) = (self.registry.clone(), Arc::clone(&self.given_up));
        self.runtime.spawn(async move {
            match registry.give_up(partition).await {
                Ok(()) => tracing::warn!(%partition, "others were asked to go on without this replica"),
                Err(error) => tracing::warn!(%partition, %error, "others cannot go on without this replica"),
            }
            sleep(GIVE_UP_EVERY).await;
            lock(&given_up).remove(&partition);
        });
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn ask(registry: &RegistryHandle, partition: PartitionId, change: SetChange) -> SetAnswer {
    let image = registry.image();
    let Some(known) = image.partition(partition) else { return SetAnswer::Refused(None) };
    let registered = |node: NodeId| image.brokers().get(&node).map(|broker| broker.epoch);
    let in_sync = change.in_sync.iter().map(|member| {
        // A member that has not been heard of in this term is meant as it is registered.
        let known = if member.broker_epoch.get() < 0 { registered(member.node) } else { None };
        (member.node, known.unwrap_or(member.broker_epoch))
    });
    let asked = InSyncChange {
        partition,
        leader: known.leader,
        leader_epoch: known.leader_epoch,
        partition_epoch: change.expected_partition_epoch,
        in_sync: in_sync.collect(),
    };
    let is_on_disk = change.on_disk && !image.is_on_disk(partition);
    match registry.alter_in_sync(asked, is_on_disk, PROPOSE_WITHIN).await {
        Ok(_) => {
            let now = registry.image();
            let state = now.partition(partition).map(|state| state_of(&now, partition, state));
            state.map_or(SetAnswer::Unknown, SetAnswer::Done)
        }
        Err(MembershipError::Refused(why)) => {
            tracing::debug!(%partition, %why, "another in-sync set was refused");
            SetAnswer::Refused(None)
        }
        Err(MembershipError::StorageFull | MembershipError::NotTaken) => SetAnswer::Refused(None),
        Err(MembershipError::OutcomeUnknown) => SetAnswer::Unknown,
    }
}

/// A partition as its leader is told of it.
fn state_of(image: &MetadataImage, id: PartitionId, partition: &PartitionImage) -> PartitionState {
    PartitionState {
        partition_epoch: partition.partition_epoch,
        leader_epoch: partition.leader_epoch,
        replicas: partition.replicas.to_vec(),
        in_sync: partition.in_sync.to_vec(),
        electable: partition.electable.to_vec(),
        on_disk: image.is_on_disk(id),
    }
}
