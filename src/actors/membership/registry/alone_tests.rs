//! The registry of a node alone as others use it, over a disk that survives the processes that these tests kill.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    time::Duration,
};

use fastrand::Rng;
use tokio::task::JoinSet;

use super::{
    RegistryHandle,
    alone::{begin, of_one},
};
use crate::{
    actors::{
        membership::{MembershipError, MetadataImage, NewTopic, Refusal, Rules, TopicRef},
        supervise::{Ended, Exit, Fault as Crash, Placement, SupervisorHandle, SupervisorOptions, Tree},
    },
    clock::SystemClock,
    config::{node::ConsumerGroupSettings, topic::TopicDefaults},
    model::{LeaderEpoch, NodeId, PartitionId, PartitionIndex, ProducerId, TopicId},
    storage::fs::faulty::{AfterFailedSync, Fault as DiskFault, SimulatedDisk, data_disk},
};

const FILE: &str = "/data/quorum/quorum.log";
const DEADLINE: Duration = Duration::from_secs(30);
/// For one that may have died.
const HASTY: Duration = Duration::from_millis(300);

fn rules() -> Rules {
    Rules {
        node: NodeId::new(1),
        default_partitions: 4,
        default_replication_factor: None,
        partitions_max: 20_000,
        replicas_max: usize::MAX,
        topic_defaults: TopicDefaults::default(),
        group_defaults: ConsumerGroupSettings::default(),
    }
}

/// One process with nothing but a registry in it.
struct Process {
    handle: RegistryHandle,
    root: SupervisorHandle,
    tree: Tree,
    ended: Ended,
    /// Why the first start failed.
    refused: Option<String>,
}

impl Process {
    /// One that serves.
    async fn start(disk: &SimulatedDisk) -> Self {
        let process = Self::open(disk).await;
        assert_eq!(process.refused, None);
        begin(&process.handle, Vec::new(), DEADLINE).await.unwrap();
        process
    }

    async fn open(disk: &SimulatedDisk) -> Self {
        let tree = Tree::new(SystemClock::shared());
        let root = SupervisorHandle::new(SupervisorOptions::default());
        let ended = root.start_root(&tree, &Placement::here(), "node").await.unwrap();
        let (handle, spec) = of_one(disk.mount(), Path::new("/data"), rules());
        let refused = root.add(spec).await.err().map(|error| whole_text(&error));
        Self { handle, root, tree, ended, refused }
    }

    /// Ends the actors; what their disk does of it is the test's business.
    async fn end(self) {
        self.root.stop();
        let _how = tokio::time::timeout(DEADLINE, self.ended).await.unwrap();
    }

    fn restarts(&self) -> u64 {
        self.tree.snapshot().iter().filter(|actor| actor.path == "node/membership").map(|a| a.restarts).sum()
    }
}

fn whole_text(error: &dyn std::error::Error) -> String {
    let below = error.source().map(whole_text);
    below.map_or_else(|| error.to_string(), |below| format!("{error}: {below}"))
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.into(), partitions, replication_factor: -1, ..NewTopic::default() }
}

fn partition(topic: TopicId, index: i32) -> PartitionId {
    PartitionId { topic, index: PartitionIndex::new(index) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_deleted_and_created_again_has_another_id_also_after_a_kill() {
    let disk = data_disk(1);
    let first = Process::start(&disk).await;
    let old = first.handle.create_topic(topic("t", 1), false).await.unwrap().id;
    assert_eq!(first.handle.delete_topic(TopicRef::Name("t".into())).await.unwrap(), old);
    disk.kill();
    first.end().await;
    let second = Process::start(&disk).await;
    assert!(second.handle.image().deleted_topics().contains_key(&old));
    assert_ne!(second.handle.create_topic(topic("t", 1), false).await.unwrap().id, old);
    second.handle.purge_topic(old).await.unwrap();
    assert!(second.handle.image().deleted_topics().is_empty());
    second.end().await;
}

/// Asks for epochs and producer ids until this process has died of its disk.
async fn use_up(
    handle: &RegistryHandle,
    epochs: &mut BTreeMap<i32, LeaderEpoch>,
    ids: &mut HashSet<ProducerId>,
) {
    let id = match handle.create_topic(topic("t", 3), false).await {
        Ok(created) => created.id,
        Err(MembershipError::Refused(Refusal::TopicExists(_))) => handle.image().topic_named("t").unwrap().id,
        Err(_) => return,
    };
    for step in 0..40 {
        let index = step % 3;
        let Ok(epoch) = handle.open_epoch(partition(id, index)).await else { return };
        let last = epochs.insert(index, epoch);
        assert!(last.is_none_or(|last| epoch > last), "epoch {epoch} after {last:?}");
        let Ok(given) = handle.next_producer_id().await else { return };
        assert!(ids.insert(given), "producer id {given} given twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s06_no_epoch_and_no_producer_id_is_handed_out_twice_whenever_the_process_is_killed() {
    for seed in 0..25 {
        let (disk, mut rng) = (data_disk(seed), Rng::with_seed(seed));
        let (mut epochs, mut ids) = (BTreeMap::new(), HashSet::new());
        for _ in 0..4 {
            disk.die_after(Some(rng.u64(0..60)));
            let process = Process::open(&disk).await;
            // Who has died does not answer: no need to wait long for that.
            if process.refused.is_none() && begin(&process.handle, Vec::new(), HASTY).await.is_ok() {
                let hasty = process.handle.answering_within(HASTY);
                use_up(&hasty, &mut epochs, &mut ids).await;
            }
            disk.clear_faults();
            if rng.bool() {
                disk.power_cut();
            } else {
                disk.kill();
            }
            process.end().await;
        }
        let last = Process::start(&disk).await;
        use_up(&last.handle, &mut epochs, &mut ids).await;
        assert!(ids.len() >= 40, "seed {seed}");
        last.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s06_an_actor_that_crashes_gives_no_epoch_and_no_producer_id_twice() {
    let disk = data_disk(1);
    let process = Process::start(&disk).await;
    let (mut epochs, mut ids) = (BTreeMap::new(), HashSet::new());
    let id = process.handle.create_topic(topic("t", 1), false).await.unwrap().id;
    for restarts in 1..=3 {
        let epoch = process.handle.open_epoch(partition(id, 0)).await.unwrap();
        assert!(epochs.insert(0, epoch).is_none_or(|last| epoch > last));
        assert!(ids.insert(process.handle.next_producer_id().await.unwrap()));
        process.tree.faults().arm("node/membership", Crash::Panic, 1);
        // The one that meets the crash is sent again, to the successor.
        let next = process.handle.open_epoch(partition(id, 0)).await.unwrap();
        assert!(next > epochs.insert(0, next).unwrap());
        assert!(ids.insert(process.handle.next_producer_id().await.unwrap()));
        assert_eq!(process.restarts(), restarts);
    }
    process.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_share_few_syncs() {
    let disk = data_disk(1);
    let process = Process::start(&disk).await;
    disk.reset_counters();
    let mut requests = JoinSet::new();
    for number in 0..500 {
        let handle = process.handle.clone();
        requests.spawn(async move { handle.create_topic(topic(&format!("t{number}"), 4), false).await });
    }
    while let Some(created) = requests.join_next().await {
        created.unwrap().unwrap();
    }
    assert_eq!(process.handle.image().partition_count(), 2000);
    let syncs = disk.counters(FILE).syncs;
    assert!(syncs <= 50, "{syncs} syncs for 500 topics");
    process.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_without_a_restart_and_heals_by_itself() {
    let disk = data_disk(1);
    let process = Process::start(&disk).await;
    disk.set_free_bytes(1 << 20);
    // The one that finds out is still written: there is a reserve.
    process.handle.create_topic(topic("last", 1), false).await.unwrap();
    let before = process.handle.image();
    let refused = process.handle.create_topic(topic("t", 1), false).await;
    assert_eq!(refused, Err(MembershipError::StorageFull));
    assert_eq!(process.handle.next_producer_id().await, Err(MembershipError::StorageFull));
    assert_eq!(process.handle.image(), before);
    disk.set_capacity(None);
    process.handle.create_topic(topic("t", 1), false).await.unwrap();
    process.handle.next_producer_id().await.unwrap();
    assert_eq!(process.restarts(), 0);
    process.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s13_a_failed_sync_ends_the_registry_and_the_next_one_reads_the_log_again() {
    for (seed, after) in [(1, AfterFailedSync::FalselyClean), (2, AfterFailedSync::Dropped)] {
        let disk = data_disk(seed);
        let process = Process::start(&disk).await;
        process.handle.create_topic(topic("a", 1), false).await.unwrap();
        disk.inject(FILE, DiskFault::SyncFails(after));
        // Sent again, to the successor.
        process.handle.create_topic(topic("b", 1), false).await.unwrap();
        process.handle.create_topic(topic("c", 1), false).await.unwrap();
        assert_eq!(process.restarts(), 1);
        let before = process.handle.image();
        assert_eq!(before.topics().len(), 3);
        disk.power_cut();
        process.end().await;
        let next = Process::start(&disk).await;
        let now = next.handle.image();
        assert!(now.topics().keys().eq(before.topics().keys()), "what was seen is not unseen");
        next.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_what_was_committed_stops_the_start_with_a_clear_text() {
    let disk = data_disk(1);
    let process = Process::start(&disk).await;
    process.handle.create_topic(topic("t", 1), false).await.unwrap();
    process.end().await;
    assert!(disk.flip(FILE, 4096 + 40, 1));
    disk.kill();
    let process = Process::open(&disk).await;
    let refused = process.refused.clone().unwrap();
    assert!(refused.contains("damaged at byte 4096") && refused.contains("restore the file"), "{refused}");
    process.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s07_a_second_process_on_the_same_folder_is_refused() {
    let disk = data_disk(1);
    let first = Process::start(&disk).await;
    let second = Process::open(&disk).await;
    let refused = second.refused.clone().unwrap();
    assert!(refused.contains("held by another process"), "{refused}");
    first.handle.create_topic(topic("t", 1), false).await.unwrap();
    second.end().await;
    first.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_to_a_registry_that_never_started_was_not_taken() {
    let (handle, _spec) = of_one(data_disk(1).mount(), Path::new("/data"), rules());
    let handle = handle.answering_within(Duration::from_millis(20));
    assert_eq!(handle.next_producer_id().await, Err(MembershipError::NotTaken));
    assert_eq!(*handle.image(), MetadataImage::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s07_a_registry_that_has_stopped_has_let_go_of_its_folder() {
    let disk = data_disk(1);
    for _ in 0..20 {
        let process = Process::start(&disk).await;
        process.handle.next_producer_id().await.unwrap();
        process.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_clean() {
    let process = Process::start(&data_disk(1)).await;
    process.root.stop();
    assert_eq!(tokio::time::timeout(DEADLINE, process.ended).await.unwrap(), Exit::Stopped);
}
