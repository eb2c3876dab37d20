//! Folders from before there was a quorum, and what is written to the folder of a node that has stopped.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use uuid::Uuid;

use super::{OLD_DIR, OfflineMetadataError, OfflineRegistry, look, prepare};
use crate::{
    actors::{
        membership::{
            Assignment, FEATURE_LEVEL, MetadataImage, MetadataRecord, NewTopic, Rules,
            member::Identity,
            quorum::StoppedError,
            registry::alone::{begin, of_one},
        },
        supervise::{Placement, SupervisorHandle, SupervisorOptions, Tree},
    },
    clock::SystemClock,
    config::{node::ConsumerGroupSettings, topic::TopicDefaults},
    model::{BootId, BrokerEpoch, LeaderEpoch, NodeId, PartitionId, PartitionIndex, TopicId, TopicName},
    storage::{
        fs::{
            Fs, LockWait,
            faulty::{SimulatedDisk, data_disk},
        },
        metadata_log::{MetadataLog, codec},
    },
};

const DATA: &str = "/data";
const US: NodeId = NodeId::new(1);
const WITHIN: Duration = Duration::from_secs(30);

fn rules() -> Rules {
    Rules {
        node: US,
        default_partitions: 4,
        default_replication_factor: None,
        partitions_max: 100,
        replicas_max: usize::MAX,
        topic_defaults: TopicDefaults::default(),
        group_defaults: ConsumerGroupSettings::default(),
    }
}

fn new_topic(name: &str) -> NewTopic {
    NewTopic { name: name.to_owned(), partitions: 2, replication_factor: -1, ..NewTopic::default() }
}

/// As a node alone wrote it before there was a quorum.
fn old_records() -> Vec<MetadataRecord> {
    let id = TopicId::random();
    let partition = PartitionId { topic: id, index: PartitionIndex::new(0) };
    vec![
        MetadataRecord::ClusterCreated { cluster_id: Uuid::from_u128(7), feature_level: 1 },
        MetadataRecord::BrokerRegistered {
            node: US,
            boot: BootId::random(),
            epoch: BrokerEpoch::new(2),
            endpoints: Vec::new(),
        },
        MetadataRecord::TopicCreated {
            id,
            name: TopicName::new("old").unwrap(),
            partitions: vec![Assignment { replicas: vec![US] }],
            configs: BTreeMap::from([("durability".to_owned(), "replicated".to_owned())]),
        },
        MetadataRecord::EpochOpened { partition, leader: US, epoch: LeaderEpoch::new(4) },
    ]
}

fn write_old(fs: &Arc<dyn Fs>, records: &[MetadataRecord]) {
    let dir = Path::new(DATA).join(OLD_DIR);
    let (mut log, _) = MetadataLog::open(Arc::clone(fs), &dir, LockWait::Fail).unwrap();
    let records: Vec<_> = records.iter().map(|record| codec::encode(record).unwrap()).collect();
    log.append(&records).unwrap();
}

fn image(disk: &SimulatedDisk) -> MetadataImage {
    look(&*disk.mount(), Path::new(DATA)).unwrap().unwrap().image
}

/// The node as it starts on the folder: it makes another topic, and ends.
async fn go_on(disk: &SimulatedDisk, topic: &str) -> Arc<MetadataImage> {
    let tree = Tree::new(SystemClock::shared());
    let root = SupervisorHandle::new(SupervisorOptions::default());
    let ended = root.start_root(&tree, &Placement::here(), "node").await.unwrap();
    let (handle, spec) = of_one(disk.mount(), Path::new(DATA), rules());
    root.add(spec).await.unwrap();
    begin(&handle, Vec::new(), WITHIN).await.unwrap();
    handle.create_topic(new_topic(topic), false).await.unwrap();
    let image = handle.image();
    root.stop();
    tokio::time::timeout(WITHIN, ended).await.unwrap();
    image
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_from_before_there_was_a_quorum_goes_on_as_that_of_a_cluster_of_one() {
    let disk = data_disk(1);
    let fs: Arc<dyn Fs> = disk.mount();
    let records = old_records();
    write_old(&fs, &records);
    let before = image(&disk);
    prepare(&fs, Path::new(DATA)).unwrap();
    let after = image(&disk);
    assert_eq!((after.topics(), after.cluster_id()), (before.topics(), before.cluster_id()));
    assert_eq!(after.feature_level(), FEATURE_LEVEL);
    assert!(!fs.exists(&Path::new(DATA).join(OLD_DIR)).unwrap());
    let identity = Identity::open(Arc::clone(&fs), Path::new(DATA)).unwrap();
    assert_eq!(identity.get().unwrap().cluster_id, before.cluster_id());
    // Again and again, as with every start.
    prepare(&fs, Path::new(DATA)).unwrap();
    drop(fs);
    let now = go_on(&disk, "new").await;
    let old = now.topic_named("old").unwrap().partition(PartitionIndex::new(0)).unwrap();
    assert_eq!(old.leader, US, "what its only replica has is all there is");
    assert!(old.leader_epoch > LeaderEpoch::new(4));
    assert!(now.topic_named("new").is_some());
    let again = go_on(&disk, "newer").await;
    assert!(again.topic_named("new").is_some() && again.topic_named("old").is_some());
}

#[test]
fn s15_an_old_folder_is_taken_over_as_a_whole_or_not_at_all_whenever_the_process_dies() {
    let (mut done, mut undone) = (0, 0);
    for steps in 0..120 {
        let disk = data_disk(steps);
        write_old(&(disk.mount() as Arc<dyn Fs>), &old_records());
        let before = image(&disk);
        disk.die_after(Some(steps));
        let outcome = prepare(&(disk.mount() as Arc<dyn Fs>), Path::new(DATA));
        disk.power_cut();
        disk.die_after(None);
        if outcome.is_ok() {
            done += 1;
        } else {
            undone += 1;
        }
        assert_eq!(image(&disk).topics(), before.topics(), "after {steps} steps");
        prepare(&(disk.mount() as Arc<dyn Fs>), Path::new(DATA)).unwrap();
        assert_eq!(image(&disk).topics(), before.topics(), "after {steps} steps and another start");
    }
    assert!(done > 3 && undone > 10, "{done} done, {undone} not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_made_while_the_node_is_stopped_is_there_when_it_starts_and_on_any_folder_of_its_own()
{
    let disk = data_disk(1);
    let fs: Arc<dyn Fs> = disk.mount();
    // A new folder, then that of a node that has run, then again.
    for (offline, online) in [("a", "b"), ("c", "d")] {
        let mut registry = OfflineRegistry::open(Arc::clone(&fs), Path::new(DATA), rules()).unwrap();
        let id = registry.create_topic(&new_topic(offline)).unwrap().id;
        let partition = PartitionId { topic: id, index: PartitionIndex::new(1) };
        let epoch = registry.open_epoch(partition).unwrap();
        registry.commit().unwrap();
        drop(registry);
        assert!(image(&disk).topic_named(offline).is_some());
        let now = go_on(&disk, online).await;
        let found = now.partition(partition).unwrap();
        assert_eq!(found.leader, US);
        assert!(found.leader_epoch > epoch, "no leader has the epoch that was written in (S6)");
    }
    assert_eq!(image(&disk).topics().len(), 4);
}

#[test]
fn a_folder_of_another_node_is_refused() {
    let disk = data_disk(1);
    let fs: Arc<dyn Fs> = disk.mount();
    OfflineRegistry::open(Arc::clone(&fs), Path::new(DATA), rules()).unwrap().commit().unwrap();
    let other = Rules { node: NodeId::new(2), ..rules() };
    let refused = OfflineRegistry::open(fs, Path::new(DATA), other).unwrap_err();
    assert!(
        matches!(refused, OfflineMetadataError::Quorum(StoppedError::AnotherNode { owner: US, .. })),
        "{refused}"
    );
}

#[test]
fn s17_logs_without_metadata_are_never_taken_for_a_new_node() {
    let disk = data_disk(1);
    let fs: Arc<dyn Fs> = disk.mount();
    fs.create_dir_all(&Path::new(DATA).join("logs/t-0")).unwrap();
    let refused = prepare(&fs, Path::new(DATA)).unwrap_err().to_string();
    assert!(refused.contains("/data/quorum is missing and /data/logs is not empty"), "{refused}");
    assert!(!fs.exists(&Path::new(DATA).join("quorum")).unwrap());
}
