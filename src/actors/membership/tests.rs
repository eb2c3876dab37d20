//! The registry as others use it, over a disk that survives the processes that these tests kill.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use tokio::task::JoinSet;

use super::*;
use crate::{
    actors::supervise::{Ended, Exit, Fault as Crash, SupervisorHandle, SupervisorOptions, Tree},
    clock::SystemClock,
    config::{
        node::ConsumerGroupSettings,
        topic::{ConfigChange, TopicDefaults},
    },
    model::{BootId, LeaderEpoch, NodeId, PartitionId, PartitionIndex},
    storage::fs::faulty::{AfterFailedSync, Fault as DiskFault, SimulatedDisk},
};

const FILE: &str = "/data/meta/metadata.log";
const DEADLINE: Duration = Duration::from_secs(30);

/// A disk with a data folder that survives everything.
fn disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    let fs = disk.mount();
    fs.create_dir_all(Path::new("/data")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    disk
}

fn args(fs: Arc<dyn Fs>, node: i32) -> MembershipArgs {
    let node = NodeId::new(node);
    MembershipArgs {
        fs,
        data_dir: "/data".into(),
        registration: Registration {
            node,
            boot: BootId::random(),
            endpoints: vec![Endpoint { listener: "kafka".into(), host: "localhost".into(), port: 9092 }],
        },
        rules: Rules {
            node,
            default_partitions: 4,
            default_replication_factor: None,
            partitions_max: 20_000,
            topic_defaults: TopicDefaults::default(),
            group_defaults: ConsumerGroupSettings::default(),
        },
    }
}

/// One process with nothing but a registry in it.
struct Process {
    handle: MembershipHandle,
    root: SupervisorHandle,
    tree: Tree,
    ended: Ended,
    /// Why the first start failed.
    refused: Option<String>,
}

impl Process {
    async fn start(disk: &SimulatedDisk) -> Self {
        Self::with(args(disk.mount(), 1)).await
    }

    async fn with(args: MembershipArgs) -> Self {
        let tree = Tree::new(SystemClock::shared());
        let root = SupervisorHandle::new(SupervisorOptions::default());
        let ended = root.start_root(&tree, &Placement::here(), "node").await.unwrap();
        let (handle, spec) = membership("membership", Placement::here(), args);
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

fn partition(topic: crate::model::TopicId, index: i32) -> PartitionId {
    PartitionId { topic, index: PartitionIndex::new(index) }
}

#[tokio::test]
async fn what_was_answered_is_in_the_image_at_once_and_after_a_kill() {
    let disk = disk(1);
    let first = Process::start(&disk).await;
    let created = first.handle.create_topic(topic("t", 3), false).await.unwrap();
    assert_eq!(first.handle.image().topic_named("t").unwrap().id, created.id);
    first.handle.create_partitions("t", 5, false).await.unwrap();
    first
        .handle
        .alter_configs(&ConfigOwner::Topic("t".to_owned()), &[ConfigChange::set("flush.ms", "9")], false)
        .await
        .unwrap();
    first.handle.create_topic(topic("gone", 1), false).await.unwrap();
    first.handle.delete_topic(TopicRef::Name("gone".into())).await.unwrap();
    let before = first.handle.image();
    disk.power_cut();
    first.end().await;

    let second = Process::start(&disk).await;
    let after = second.handle.image();
    assert_eq!(after.topics(), before.topics());
    assert_eq!(after.deleted_topics(), before.deleted_topics());
    assert_eq!(after.cluster_id(), before.cluster_id());
    let us = NodeId::new(1);
    assert!(after.brokers()[&us].epoch > before.brokers()[&us].epoch, "another boot, another epoch");
    assert_ne!(after.brokers()[&us].boot, before.brokers()[&us].boot);
    second.end().await;
}

#[tokio::test]
async fn a_topic_deleted_and_created_again_has_another_id_also_after_a_kill() {
    let disk = disk(1);
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
    handle: &MembershipHandle,
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

#[tokio::test]
async fn s06_no_epoch_and_no_producer_id_is_handed_out_twice_whenever_the_process_is_killed() {
    for seed in 0..25 {
        let (disk, mut rng) = (disk(seed), Rng::with_seed(seed));
        let (mut epochs, mut ids) = (BTreeMap::new(), HashSet::new());
        for _ in 0..4 {
            disk.die_after(Some(rng.u64(0..60)));
            let process = Process::start(&disk).await;
            if process.refused.is_none() {
                // Who has died does not answer: no need to wait long for that.
                let hasty = process.handle.answering_within(Duration::from_millis(300));
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
        assert_eq!(last.refused, None, "seed {seed}");
        use_up(&last.handle, &mut epochs, &mut ids).await;
        assert!(ids.len() >= 40, "seed {seed}");
        last.end().await;
    }
}

#[tokio::test]
async fn s06_an_actor_that_crashes_gives_no_epoch_and_no_producer_id_twice() {
    let disk = disk(1);
    let process = Process::start(&disk).await;
    let (mut epochs, mut ids) = (BTreeMap::new(), HashSet::new());
    let id = process.handle.create_topic(topic("t", 1), false).await.unwrap().id;
    for restarts in 1..=3 {
        let epoch = process.handle.open_epoch(partition(id, 0)).await.unwrap();
        assert!(epochs.insert(0, epoch).is_none_or(|last| epoch > last));
        assert!(ids.insert(process.handle.next_producer_id().await.unwrap()));
        process.tree.faults().arm("node/membership", Crash::Panic, 1);
        // The one that meets the crash has no answer; the next one finds the successor.
        assert_eq!(process.handle.next_producer_id().await, Err(MembershipError::OutcomeUnknown));
        assert!(ids.insert(process.handle.next_producer_id().await.unwrap()));
        assert_eq!(process.restarts(), restarts);
    }
    process.end().await;
}

#[tokio::test]
async fn many_requests_share_few_syncs() {
    let disk = disk(1);
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

#[tokio::test]
async fn a_full_disk_refuses_without_a_restart_and_heals_by_itself() {
    let disk = disk(1);
    let process = Process::start(&disk).await;
    let before = process.handle.image();
    disk.set_free_bytes(0);
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

#[tokio::test]
async fn s13_a_failed_sync_ends_the_registry_and_the_next_one_reads_the_log_again() {
    for (seed, after) in [(1, AfterFailedSync::FalselyClean), (2, AfterFailedSync::Dropped)] {
        let disk = disk(seed);
        let process = Process::start(&disk).await;
        process.handle.create_topic(topic("a", 1), false).await.unwrap();
        disk.inject(FILE, DiskFault::SyncFails(after));
        let unknown = process.handle.create_topic(topic("b", 1), false).await;
        assert_eq!(unknown, Err(MembershipError::OutcomeUnknown));
        process.handle.create_topic(topic("c", 1), false).await.unwrap();
        assert_eq!(process.restarts(), 1);
        let before = process.handle.image();
        assert!(before.topic_named("a").is_some() && before.topic_named("c").is_some());
        disk.power_cut();
        process.end().await;
        let next = Process::start(&disk).await;
        assert_eq!(next.handle.image().topics(), before.topics(), "what was seen is not unseen");
        next.end().await;
    }
}

#[tokio::test]
async fn logs_without_metadata_are_never_taken_for_a_new_node() {
    let disk = disk(1);
    let fs = disk.mount();
    fs.create_dir_all(Path::new("/data/logs/t-0")).unwrap();
    let process = Process::start(&disk).await;
    let refused = process.refused.clone().unwrap();
    assert!(refused.contains("/data/meta is missing and /data/logs is not empty"), "{refused}");
    assert!(!fs.exists(Path::new("/data/meta/metadata.log")).unwrap());
    process.end().await;
}

#[tokio::test]
async fn a_flipped_bit_in_what_was_committed_stops_the_start_with_a_clear_text() {
    let disk = disk(1);
    let process = Process::start(&disk).await;
    process.handle.create_topic(topic("t", 1), false).await.unwrap();
    process.end().await;
    assert!(disk.flip(FILE, 4096 + 40, 1));
    disk.kill();
    let process = Process::start(&disk).await;
    let refused = process.refused.clone().unwrap();
    assert!(refused.contains("damaged at byte 4096") && refused.contains("restore the file"), "{refused}");
    process.end().await;
}

#[tokio::test]
async fn a_data_folder_of_another_node_is_refused() {
    let disk = disk(1);
    Process::start(&disk).await.end().await;
    disk.kill();
    let process = Process::with(args(disk.mount(), 2)).await;
    let refused = process.refused.clone().unwrap();
    assert!(refused.contains("belongs to node 1, not to node 2"), "{refused}");
    process.end().await;
}

#[tokio::test]
async fn s07_a_second_process_on_the_same_folder_is_refused() {
    let disk = disk(1);
    let first = Process::start(&disk).await;
    let second = Process::start(&disk).await;
    let refused = second.refused.clone().unwrap();
    assert!(refused.contains("held by another process"), "{refused}");
    first.handle.create_topic(topic("t", 1), false).await.unwrap();
    second.end().await;
    first.end().await;
}

#[tokio::test]
async fn the_log_is_rewritten_as_it_grows_and_nothing_is_lost_by_it() {
    let disk = disk(1);
    let process = Process::start(&disk).await;
    let id = process.handle.create_topic(topic("t", 10_000), false).await.unwrap().id;
    let mut last = LeaderEpoch::NONE;
    // Each group of a hundred is about 3 KiB: some 3 MiB of records over a snapshot of 0.2 MiB.
    for _ in 0..1000 {
        let mut requests = JoinSet::new();
        for index in 0..100 {
            let handle = process.handle.clone();
            requests.spawn(async move { handle.open_epoch(partition(id, index)).await });
        }
        while let Some(epoch) = requests.join_next().await {
            last = last.max(epoch.unwrap().unwrap());
        }
    }
    assert_eq!(last, LeaderEpoch::new(999));
    let len = disk.visible(FILE).unwrap().len();
    assert!(len < 3 << 20, "{len} bytes");
    let before = process.handle.image();
    disk.power_cut();
    process.end().await;
    let next = Process::start(&disk).await;
    assert_eq!(next.handle.image().topics(), before.topics());
    next.end().await;
}

#[tokio::test]
async fn a_request_to_a_registry_that_never_started_was_not_taken() {
    let (handle, _spec) = membership("membership", Placement::here(), args(disk(1).mount(), 1));
    let handle = handle.answering_within(Duration::from_millis(20));
    assert_eq!(handle.next_producer_id().await, Err(MembershipError::NotTaken));
    assert_eq!(*handle.image(), MetadataImage::default());
}

#[tokio::test]
async fn s07_a_registry_that_has_stopped_has_let_go_of_its_folder() {
    let disk = disk(1);
    for round in 0..20 {
        let process = Process::start(&disk).await;
        assert_eq!(process.refused, None, "round {round}");
        process.handle.next_producer_id().await.unwrap();
        process.end().await;
    }
}

#[tokio::test]
async fn a_stop_is_clean() {
    let process = Process::start(&disk(1)).await;
    process.root.stop();
    assert_eq!(tokio::time::timeout(DEADLINE, process.ended).await.unwrap(), Exit::Stopped);
}
