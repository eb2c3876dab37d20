//! Imports into a folder that may die at any moment.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{ImportRequest, OfflineError, import_on};
use crate::{
    actors::membership::{LOGS_DIR, MetadataImage, offline::look},
    model::{LeaderEpoch, Offset, PartitionId, PartitionIndex, TimestampMs, TopicName},
    record::{BatchBuilder, Compression, NewRecord, Producer, assign},
    storage::{
        fs::{Fs, Open, faulty::SimulatedDisk},
        inspect,
        log::{Log, LogOptions, OpenError},
        partition_folder,
    },
};

const DATA: &str = "/data";

/// Two partitions of five batches as Kafka lays them down, and a data folder that is new.
fn disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    let fs = disk.mount();
    fs.create_dir_all(Path::new(DATA)).unwrap();
    for partition in 0..2 {
        let folder = Path::new("/kafka").join(format!("orders-{partition}"));
        fs.create_dir_all(&folder).unwrap();
        let mut bytes = Vec::new();
        for number in 0..5 {
            let mut builder = BatchBuilder::new(1000);
            let record = NewRecord { value: Some(b"order"), ..NewRecord::default() };
            assert!(builder.append(&record) && builder.append(&record));
            let mut batch = builder.finish(Compression::None, None, Producer::NONE).unwrap().to_vec();
            assign(&mut batch, Offset::new(2 * number), LeaderEpoch::new(6));
            bytes.extend(batch);
        }
        let file = fs.open(&folder.join("00000000000000000000.log"), Open::CreateNew).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        file.sync_data().unwrap();
        fs.sync_dir(&folder).unwrap();
    }
    fs.sync_dir(Path::new("/kafka")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    disk
}

fn import(disk: &SimulatedDisk) -> Result<(), OfflineError> {
    import_as(disk, None)
}

fn import_as(disk: &SimulatedDisk, name: Option<&str>) -> Result<(), OfflineError> {
    let request = ImportRequest {
        from: "/kafka".into(),
        topic: None,
        name: name.map(|name| TopicName::new(name).unwrap()),
        data_dir: DATA.into(),
        node: None,
        configs: BTreeMap::new(),
        skip_damaged: false,
        fill_missing: false,
        dry_run: false,
    };
    import_on(disk.mount(), &request, &mut |_, _| ()).map(drop)
}

fn image(disk: &SimulatedDisk) -> MetadataImage {
    look(&*disk.mount(), Path::new(DATA)).unwrap().map(|known| known.image).unwrap_or_default()
}

/// Every partition of the topic has its folder with all its records, on disk.
fn assert_whole(disk: &SimulatedDisk, image: &MetadataImage) {
    let fs: Arc<dyn Fs> = disk.mount();
    let topic = image.topic_named("orders").unwrap();
    assert_eq!(topic.partition_count(), 2);
    for index in (0..2).map(PartitionIndex::new) {
        let id = PartitionId { topic: topic.id, index };
        let folder = partition_folder::path_of(&Path::new(DATA).join(LOGS_DIR), &topic.name, index);
        let found = partition_folder::prepare(&*fs, &folder, id, TimestampMs::new(1)).unwrap();
        assert_eq!(found, partition_folder::Prepared::Found);
        let report = inspect::verify(&fs, &folder, &mut |_| ()).unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
        assert_eq!((report.records, report.log_end), (10, Offset::new(10)));
    }
}

#[test]
fn s06_the_epoch_that_was_imported_in_is_no_leaders() {
    let disk = disk(1);
    import(&disk).unwrap();
    let image = image(&disk);
    let id = PartitionId { topic: image.topic_named("orders").unwrap().id, index: PartitionIndex::new(1) };
    assert_eq!(image.partition(id).unwrap().leader_epoch, LeaderEpoch::new(0));
    let folder = Path::new(DATA).join(LOGS_DIR).join("orders-1");
    let open = |epoch| {
        let clock = Arc::new(crate::clock::ManualClock::default());
        Log::open(disk.mount(), &folder, id, LeaderEpoch::new(epoch), LogOptions::default(), clock)
    };
    assert!(matches!(open(0), Err(OpenError::EpochGoesBack { .. })));
    assert_eq!(open(1).unwrap().0.log_end_offset(), Offset::new(10));
}

#[test]
fn s12_a_folder_that_is_in_the_way_is_put_aside_by_an_import_and_not_lost() {
    let disk = disk(2);
    import(&disk).unwrap();
    let fs = disk.mount();
    let stranger = Path::new(DATA).join(LOGS_DIR).join("other-0");
    fs.create_dir_all(&stranger).unwrap();
    fs.open(&stranger.join("somebodys"), Open::CreateNew).unwrap();
    import_as(&disk, Some("other")).unwrap();
    assert!(!fs.exists(&stranger.join("somebodys")).unwrap());
    let aside = fs.list(&Path::new(DATA).join("put-aside")).unwrap();
    assert_eq!(aside.len(), 1);
    let kept = Path::new(DATA).join("put-aside").join(&aside[0].name).join("somebodys");
    assert!(fs.exists(&kept).unwrap());
}

#[test]
fn s15_a_topic_is_there_as_a_whole_or_not_at_all_whenever_the_import_dies() {
    let (mut whole, mut none) = (0, 0);
    for steps in 0..250 {
        let disk = disk(steps);
        disk.die_after(Some(steps));
        let done = import(&disk).is_ok();
        disk.power_cut();
        disk.die_after(None);
        let found = image(&disk);
        if found.topic_named("orders").is_some() {
            whole += 1;
            assert_whole(&disk, &found);
        } else {
            none += 1;
            assert!(!done, "an import that came to its end is kept");
            // What is left of it is in nobody's way.
            import(&disk).unwrap();
            assert_whole(&disk, &image(&disk));
        }
        assert!(matches!(import(&disk), Err(OfflineError::Refused(_))), "the name is taken");
    }
    assert!(whole > 10 && none > 50, "{whole} whole, {none} none");
}
