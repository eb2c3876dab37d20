//! `openraft`'s own tests of a storage, over our files.

use std::{collections::BTreeSet, sync::Arc};

use openraft::{
    EntryPayload, RaftLogReader,
    storage::RaftLogStorage,
    testing::{StoreBuilder, Suite, log_id},
};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};

use super::super::{
    convert::kept_entry,
    disk::{self, Place},
    log_store::LogStore,
    machine::ImageMachine,
    store::MachineStore,
    types::{Entry, StorageError, TypeConfig},
};
use super::set;
use crate::{
    actors::membership::MetadataImage,
    storage::{
        fs::{LockWait, real::RealFs},
        quorum_log::Change,
    },
};

struct OverFiles;

type Machine = MachineStore<ImageMachine>;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for OverFiles {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { fs: RealFs::shared(), dir: dir.path().join("quorum"), wait: LockWait::Fail };
        let started = disk::start(place).await.unwrap();
        let (published, _) = watch::channel(Arc::new(MetadataImage::default()));
        let (alive, _) = oneshot::channel();
        let (voters, _) = watch::channel(BTreeSet::new());
        let machine =
            MachineStore::open(started.snapshots, Arc::new(published), voters, alive).await.unwrap();
        Ok((dir, LogStore::new(started.disk, started.state), machine))
    }
}

#[test]
fn the_storage_passes_the_suite_of_the_consensus_library() {
    Suite::test_all(OverFiles).unwrap();
}

#[tokio::test]
async fn one_request_holds_a_mebibyte_of_entries_or_a_single_larger_one() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place { fs: RealFs::shared(), dir: dir.path().join("quorum"), wait: LockWait::Fail };
    let mut started = disk::start(place).await.unwrap();
    let lengths = (0..30).map(|_| 100 << 10).chain([3 << 20, 10]);
    for (index, len) in (0..).zip(lengths) {
        let payload = EntryPayload::Normal(set(1, &"x".repeat(len), 1));
        let entry = Entry { log_id: log_id(1, 7, index), payload };
        started.state.change(&Change::Append(kept_entry(&entry).unwrap())).unwrap();
    }
    let mut reader = LogStore::new(started.disk, started.state).get_log_reader().await;
    assert_eq!(reader.limited_get_log_entries(0, 32).await.unwrap().len(), 10);
    assert_eq!(reader.limited_get_log_entries(29, 32).await.unwrap().len(), 1);
    assert_eq!(reader.limited_get_log_entries(30, 32).await.unwrap().len(), 1);
    assert_eq!(reader.try_get_log_entries(0..32).await.unwrap().len(), 32);
}
