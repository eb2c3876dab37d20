//! `openraft`'s own tests of a storage, over our files.

use std::sync::Arc;

use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};

use super::super::{
    disk::{self, Place},
    log_store::LogStore,
    machine::ImageMachine,
    store::MachineStore,
    types::{StorageError, TypeConfig},
};
use crate::{
    actors::membership::MetadataImage,
    storage::fs::{LockWait, real::RealFs},
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
        let machine = MachineStore::open(started.snapshots, Arc::new(published), alive).await.unwrap();
        Ok((dir, LogStore::new(started.disk, started.state), machine))
    }
}

#[test]
fn the_storage_passes_the_suite_of_the_consensus_library() {
    Suite::test_all(OverFiles).unwrap();
}
