//! The reconciler on a node that is alone, with real logs in a folder of its own.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep},
};

use super::{PartitionsArgs, Reconciler, Replication};
use crate::{
    actors::{
        membership::{
            ConfigOwner, LOGS_DIR, MembershipHandle, NewTopic, Rules, TopicRef,
            registry::alone::{begin, of_one},
        },
        partition::{
            BackgroundFlush, Bulk, PartitionHandle, UpkeepThreads, scrubber::ScrubPace, table::TopicTable,
        },
        supervise::{ChildSpec, Ended, Fault, Placement, Slot, SupervisorHandle, SupervisorOptions, Tree},
    },
    clock::{Clock, SystemClock},
    config::{
        node::ConsumerGroupSettings,
        topic::{ConfigChange, TopicDefaults},
    },
    metrics::Metrics,
    model::{NodeId, PartitionIndex},
    storage::fs::{Fs, real::RealFs},
};

/// Ten times what is usual, and more.
const DEADLINE: Duration = Duration::from_mins(1);
const NODE: NodeId = NodeId::new(3);

/// A registry and a reconciler under one root.
struct World {
    tree: Tree,
    topics: TopicTable,
    membership: MembershipHandle,
    folder: tempfile::TempDir,
    root: SupervisorHandle,
    ended: Ended,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(LOGS_DIR)).unwrap();
        let clock = SystemClock::shared();
        let root = SupervisorHandle::new(SupervisorOptions::default());
        let tree = Tree::new(Arc::clone(&clock));
        let ended = root.start_root(&tree, &Placement::here(), "node").await.unwrap();
        let (membership, spec) = of_one(Arc::new(RealFs), folder.path(), rules());
        root.add(spec).await.unwrap();
        begin(&membership, Vec::new(), DEADLINE).await.unwrap();
        let supervisor = SupervisorHandle::new(SupervisorOptions::default());
        root.add(supervisor.child_spec("partitions", Placement::here())).await.unwrap();
        let topics = TopicTable::default();
        let args = partitions(folder.path(), (supervisor, topics.clone(), membership.clone()), clock);
        let make = move |_| (Reconciler, args.clone());
        root.add(ChildSpec::actor("reconciler", Placement::here(), Slot::new(), make)).await.unwrap();
        Self { tree, topics, membership, folder, root, ended }
    }

    async fn create(&self, name: &str, partitions: i32) {
        let new =
            NewTopic { name: name.to_owned(), partitions, replication_factor: -1, ..NewTopic::default() };
        self.membership.create_topic(new, false).await.unwrap();
    }

    /// Every partition of a topic, once it is led.
    async fn led(&self, name: &str) -> Vec<PartitionHandle> {
        let is_led = || {
            let partitions = self.topics.by_name(name)?.partitions().to_vec();
            partitions.iter().all(|partition| partition.leader().is_some()).then_some(partitions)
        };
        eventually("the topic is led", is_led).await
    }

    fn is_there(&self, path: &str) -> bool {
        self.tree.find(path).is_some()
    }

    async fn end(self) {
        self.root.stop();
        let _how = tokio::time::timeout(DEADLINE, self.ended).await.unwrap();
        drop(self.folder);
    }
}

fn rules() -> Rules {
    Rules {
        node: NODE,
        default_partitions: 1,
        default_replication_factor: None,
        partitions_max: 1_000,
        replicas_max: usize::MAX,
        topic_defaults: TopicDefaults::default(),
        group_defaults: ConsumerGroupSettings::default(),
    }
}

fn partitions(
    folder: &Path,
    (supervisor, topics, membership): (SupervisorHandle, TopicTable, MembershipHandle),
    clock: Arc<dyn Clock>,
) -> PartitionsArgs {
    let fs: Arc<dyn Fs> = Arc::new(RealFs);
    PartitionsArgs {
        replication: Replication::with_nobody(),
        supervisor,
        topics,
        logs: folder.join(LOGS_DIR),
        fs,
        metrics: Metrics::new(clock.wall()),
        clock,
        data: Handle::current(),
        io: Handle::current(),
        upkeep: UpkeepThreads::all_by(&Handle::current()),
        bulk: Bulk::new(Handle::current()),
        membership,
        node: NODE,
        defaults: TopicDefaults::default(),
        background_flush: BackgroundFlush { bytes: 1 << 20, after: Duration::from_secs(1) },
        retention_every: Duration::from_mins(1),
        scrub: ScrubPace::new(0, Duration::from_mins(1)),
        agreed: Arc::new(watch::channel(0).0),
    }
}

async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not in time");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Sends every replica of a topic a message.
async fn configure(world: &World, topic: &str) {
    let change = ConfigChange::set("segment.ms", "86400000");
    let owner = ConfigOwner::Topic(topic.to_owned());
    world.membership.alter_configs(&owner, &[change], false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_stuck_does_not_keep_others_from_being_led() {
    let world = World::start().await;
    world.create("stuck", 1).await;
    world.led("stuck").await;
    let leader = "node/partitions/stuck-0/leader";
    assert!(world.is_there(leader));
    world.tree.faults().arm(leader, Fault::Delay(DEADLINE), 1);
    configure(&world, "stuck").await;
    let stuck = TopicRef::Name("stuck".to_owned());
    world.membership.delete_topic(stuck).await.unwrap();
    eventually("the deleted topic is not found", || world.topics.by_name("stuck").is_none().then_some(()))
        .await;

    world.create("other", 3).await;
    let led = world.led("other").await;
    assert_eq!(led.len(), 3);
    assert!(world.is_there(leader), "it did not stop meanwhile: nobody has waited for it");

    eventually("it is killed when its time to stop is over", || (!world.is_there(leader)).then_some(()))
        .await;
    let folder = world.folder.path().join(LOGS_DIR).join("stuck-0");
    eventually("its folder goes", || (!folder.exists()).then_some(())).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_partitions_are_started_and_deleted_and_their_name_is_free_again() {
    let world = World::start().await;
    world.create("many", 300).await;
    let first = world.led("many").await;
    world.membership.delete_topic(TopicRef::Name("many".to_owned())).await.unwrap();
    world.create("many", 2).await;
    let second = eventually("another topic has the name", || {
        let topic = world.topics.by_name("many")?;
        (topic.partition(PartitionIndex::new(0))?.id() != first[0].id()).then_some(topic)
    })
    .await;
    world.led("many").await;
    assert_eq!(second.partitions().len(), 2);
    eventually("the deleted folders are gone", || {
        let logs = std::fs::read_dir(world.folder.path().join(LOGS_DIR)).unwrap();
        (logs.count() == 2).then_some(())
    })
    .await;
    world.end().await;
}
