//! Registries of one and of three nodes, in one process over a network of function calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::time::timeout;
use uuid::Uuid;

use super::*;
use crate::{
    actors::{
        membership::{
            MembershipError,
            core::{Endpoint, FEATURE_LEVEL, NewTopic, Registration},
            forward::Leadership as Who,
            quorum::{PeerError, RaftNode},
        },
        supervise::{BoxFuture, SupervisorHandle, SupervisorOptions, Tree},
    },
    clock::SystemClock,
    config::{
        node::{ConsumerGroupSettings, QuorumPace},
        topic::TopicDefaults,
    },
    model::{BootId, BrokerEpoch, RaftId, TimestampMs},
    storage::fs::faulty::SimulatedDisk,
};

const LONG: Duration = Duration::from_secs(20);

/// Where everybody is reached; who is away is not in it.
#[derive(Clone, Default)]
struct Net(Arc<Mutex<BTreeMap<NodeId, RegistryHandle>>>);

impl Net {
    fn at(&self, node: NodeId) -> Option<RegistryHandle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    fn join(&self, node: NodeId, handle: RegistryHandle) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(node, handle);
    }

    fn leave(&self, node: NodeId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
    }
}

impl RaftPeers for Net {
    fn call(
        &self,
        _to: RaftId,
        node: &RaftNode,
        body: Bytes,
        _within: Duration,
    ) -> BoxFuture<Result<Bytes, PeerError>> {
        let quorum = self.at(node.node).and_then(|handle| handle.quorum());
        Box::pin(async move {
            match quorum {
                Some(quorum) => Ok(quorum.serve(body).await),
                None => Err(PeerError::Unreachable("away".to_owned())),
            }
        })
    }
}

impl CommandPeers for Net {
    fn send(&self, to: NodeId, body: Bytes, _within: Duration) -> BoxFuture<PeerAttempt> {
        let handle = self.at(to);
        Box::pin(async move {
            match handle {
                Some(handle) => PeerAttempt::Answered(handle.serve(&body).await),
                None => PeerAttempt::NotSent,
            }
        })
    }
}

struct Process {
    node: NodeId,
    net: Net,
    handle: RegistryHandle,
    root: SupervisorHandle,
    ended: crate::actors::supervise::Ended,
}

impl Process {
    async fn start(net: &Net, disk: &SimulatedDisk, node: i32) -> Self {
        let fs: Arc<dyn Fs> = disk.mount();
        fs.create_dir_all(Path::new("/data")).unwrap();
        let node = NodeId::new(node);
        let rules = Rules {
            node,
            default_partitions: 4,
            default_replication_factor: None,
            partitions_max: 20_000,
            replicas_max: usize::MAX,
            topic_defaults: TopicDefaults::default(),
            group_defaults: ConsumerGroupSettings::default(),
        };
        let args = RegistryArgs {
            fs,
            data_dir: "/data".into(),
            rules,
            pace: QuorumPace::default(),
            peers: Arc::new(net.clone()),
            commands: Arc::new(net.clone()),
            is_alive: Arc::new(|_, _| false),
            clock: SystemClock::shared(),
            metrics: Metrics::new(TimestampMs::new(0)),
        };
        let tree = Tree::new(SystemClock::shared());
        let root = SupervisorHandle::new(SupervisorOptions::default());
        let ended = root.start_root(&tree, &Placement::here(), "node").await.unwrap();
        let (handle, spec) = registry("registry", Placement::here(), args);
        root.add(spec).await.unwrap();
        net.join(node, handle.clone());
        Self { node, net: net.clone(), handle, root, ended }
    }

    async fn end(self) {
        self.net.leave(self.node);
        self.root.stop();
        let _how = timeout(LONG, self.ended).await.unwrap();
    }

    fn raft_node(&self) -> (RaftId, RaftNode) {
        let id = self.handle.quorum().unwrap().id();
        (id, RaftNode { node: self.node, address: format!("node-{}:1", self.node) })
    }

    async fn register(&self) {
        let registration = Registration {
            node: self.node,
            boot: BootId::random(),
            raft_id: self.handle.quorum().unwrap().id(),
            endpoints: vec![Endpoint { listener: "kafka".into(), host: "localhost".into(), port: 9092 }],
            rack: None,
            feature_level: FEATURE_LEVEL,
            clean: None,
            another_is_alive: false,
        };
        let answer = self.handle.command(Command::RegisterBroker(registration), LONG).await.unwrap();
        let crate::actors::membership::CommandAnswer::Registered { epoch, .. } = answer else {
            panic!("{answer:?}")
        };
        self.handle.us().registered(epoch);
        let ready = Command::BrokerReady { node: self.node, broker_epoch: epoch };
        self.handle.command(ready, LONG).await.unwrap();
    }

    async fn new_topic(&self, name: &str) -> Result<(), MembershipError> {
        let new =
            NewTopic { name: name.into(), partitions: 3, replication_factor: -1, ..NewTopic::default() };
        self.handle.create_topic(new, false).await.map(drop)
    }
}

async fn form(of: &[Process]) {
    let members = of.iter().map(Process::raft_node).collect();
    of[0].handle.quorum().unwrap().initialize(members).await.unwrap();
    of[0].handle.command(Command::CreateCluster(Uuid::new_v4()), LONG).await.unwrap();
    for process in of {
        process.register().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_alone_has_answered_is_in_its_image_and_there_after_a_power_cut() {
    let (net, disk) = (Net::default(), SimulatedDisk::new(1));
    let alone = [Process::start(&net, &disk, 1).await];
    form(&alone).await;
    let [alone] = alone;
    alone.new_topic("t").await.unwrap();
    assert_eq!(alone.handle.image().topic_named("t").unwrap().partition_count(), 3);
    let again = alone.new_topic("t").await.unwrap_err();
    assert_eq!(again.to_string(), "topic t already exists");
    let ids =
        [alone.handle.next_producer_id().await.unwrap(), alone.handle.next_producer_id().await.unwrap()];
    let before = alone.handle.image();
    disk.power_cut();
    alone.end().await;
    let back = Process::start(&net, &disk, 1).await;
    let created = back.new_topic("u").await;
    created.unwrap();
    let image = back.handle.image();
    assert!(image.topic_named("t").is_some());
    assert!(image.controller_epoch() > before.controller_epoch());
    // It is not registered by this start, and nobody's ids are given to it.
    back.handle.us().registered(BrokerEpoch::new(99));
    assert!(back.handle.next_producer_id().await.is_err());
    back.register().await;
    let next = back.handle.next_producer_id().await.unwrap();
    assert!(!ids.contains(&next));
    back.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_commands_of_every_node_reach_the_controller_and_the_next_one_when_it_dies() {
    let net = Net::default();
    let disks = [11, 12, 13].map(SimulatedDisk::new);
    let mut nodes = Vec::new();
    for (at, disk) in (1..).zip(&disks) {
        nodes.push(Process::start(&net, disk, at).await);
    }
    form(&nodes).await;
    let mut ids = BTreeSet::new();
    for (at, node) in nodes.iter().enumerate() {
        node.new_topic(&format!("by-{at}")).await.unwrap();
        assert!(ids.insert(node.handle.next_producer_id().await.unwrap()));
    }
    let leads = |node: &Process| *node.handle.leadership().borrow() == Who::Us;
    let epoch = nodes[0].handle.image().controller_epoch();
    let controller = nodes.remove(nodes.iter().position(leads).unwrap());
    controller.end().await;
    for (at, node) in nodes.iter().enumerate() {
        node.new_topic(&format!("after-{at}")).await.unwrap();
        assert!(ids.insert(node.handle.next_producer_id().await.unwrap()));
    }
    // Who asked last has seen it; the others hear of it in their time.
    let image = nodes[1].handle.image();
    assert!(image.controller_epoch() > epoch);
    assert_eq!(image.topics().len(), 5);
    for node in nodes {
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_at_once_are_each_carried_out_once() {
    let (net, disk) = (Net::default(), SimulatedDisk::new(3));
    let alone = [Process::start(&net, &disk, 1).await];
    form(&alone).await;
    let [alone] = alone;
    let alone = Arc::new(alone);
    let mut asked = tokio::task::JoinSet::new();
    for at in 0..200 {
        let alone = Arc::clone(&alone);
        asked.spawn(async move { alone.new_topic(&format!("t-{}", at % 100)).await });
    }
    let outcomes = asked.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 100);
    assert_eq!(alone.handle.image().topics().len(), 100);
}
