//! The data folder: one process at a time, and nothing in it that belongs to nobody.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::NodeError;
use crate::{
    actors::membership::MetadataImage,
    model::{PartitionIndex, TimestampMs},
    storage::{
        fs::{Fs, Lock, LockWait, folder_of},
        partition_folder,
    },
};

/// The lock of a data folder: one process at a time (S7).
const LOCK_FILE: &str = "lock";

/// The folders of all partitions there are, and of those whose deletion is not finished.
pub(super) fn known_folders(logs: &Path, image: &MetadataImage) -> BTreeSet<PathBuf> {
    let living = image.topics().values().flat_map(|topic| {
        topic.partition_ids().map(|id| partition_folder::path_of(logs, &topic.name, id.index))
    });
    let deleted = image.deleted_topics().values().flat_map(|topic| {
        (0..topic.partitions)
            .map(|index| partition_folder::path_of(logs, &topic.name, PartitionIndex::new(index)))
    });
    living.chain(deleted).collect()
}

pub(super) fn sweep(
    fs: &dyn Fs,
    logs: &Path,
    known: &BTreeSet<PathBuf>,
    now: TimestampMs,
) -> Result<(), NodeError> {
    let failed = |source| NodeError::DataDir { path: logs.to_owned(), source };
    fs.create_dir_all(logs).map_err(failed)?;
    fs.sync_dir(&folder_of(logs)).map_err(failed)?;
    partition_folder::sweep(fs, logs, known, now).map_err(failed)?;
    Ok(())
}

pub(super) fn lock_data_folder(fs: &dyn Fs, path: &Path) -> Result<Box<dyn Lock>, NodeError> {
    let failed = |source| NodeError::DataDir { path: path.to_owned(), source };
    fs.create_dir_all(path).map_err(failed)?;
    match fs.lock(&path.join(LOCK_FILE), LockWait::Fail) {
        Ok(lock) => Ok(lock),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(NodeError::InUse { path: path.to_owned() })
        }
        Err(error) => Err(failed(error)),
    }
}
