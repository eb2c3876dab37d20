//! Which folder belongs to which partition.
//!
//! A folder is named `<topic>-<index>` for people and tools, but a topic can be deleted and made again
//! under the same name, so each folder carries the id of its topic in a file of its own, and only that
//! counts (S12). A folder that nobody knows is put aside, never deleted; a folder is deleted only after
//! its topic's deletion has been committed, and renamed first, so that a crash half-way is finished at
//! the next start.
//!
//! The file `partition`, in the envelope of our own files (magic `PLid`, version 1), has the body:
//!
//! ```text
//! offset size
//!      0   16  topic id
//!     16    4  partition index
//! ```
//!
//! All integers are big-endian.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use super::{
    fs::Fs,
    own_file::{self, Fields, FormatError, Kind, OwnFileError},
};
use crate::model::{PartitionId, PartitionIndex, TimestampMs, TopicId, TopicName};

const KIND: Kind = Kind { magic: *b"PLid", version: 1, max_body: 64 };
const ID_FILE: &str = "partition";
/// The ending of a folder whose topic's deletion is committed.
const DELETED: &str = ".deleted";
/// Where unknown folders go, beside the folder of logs.
const ASIDE: &str = "put-aside";
/// Bytes of a folder's name that are kept there: a file system takes 255, and the time is added. What is
/// longer is told whole in the log, and by the folder's own id.
const ASIDE_NAME_MAX: usize = 220;

/// Why a partition has no folder to work in.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The disk failed.
    #[error("folder {folder} cannot be prepared")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// The disk's error.
        #[source]
        source: io::Error,
    },
    /// The folder's id cannot be read, so what it holds might be anybody's.
    #[error("folder {folder} does not say whose it is")]
    Id {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with its id.
        #[source]
        source: OwnFileError,
    },
}

/// What came of preparing a folder.
#[derive(Debug, PartialEq, Eq)]
pub enum Prepared {
    /// It was there, with this partition's id.
    Found,
    /// It was made.
    Made,
}

/// The folder of a partition below the folder of logs.
pub fn path_of(logs: &Path, topic: &TopicName, index: PartitionIndex) -> PathBuf {
    logs.join(format!("{topic}-{index}"))
}

/// Makes sure that `folder` is there and is this partition's; durable when it returns. A folder of
/// another partition in its place is put aside first.
pub fn prepare(
    fs: &dyn Fs,
    folder: &Path,
    id: PartitionId,
    now: TimestampMs,
) -> Result<Prepared, FolderError> {
    let failed = |source| FolderError::Io { folder: folder.to_owned(), source };
    if fs.exists(folder).map_err(failed)? {
        match id_of(fs, folder)? {
            Some(found) if found == id => return Ok(Prepared::Found),
            // A crash between making the folder and naming its owner: nothing can be in it yet.
            None if fs.list(folder).map_err(failed)?.is_empty() => {}
            Some(_) | None => {
                put_aside(fs, folder, now).map_err(failed)?;
            }
        }
    }
    make(fs, folder, id).map_err(failed)?;
    Ok(Prepared::Made)
}

fn make(fs: &dyn Fs, folder: &Path, id: PartitionId) -> io::Result<()> {
    fs.create_dir_all(folder)?;
    let mut body = Vec::with_capacity(20);
    body.extend_from_slice(&id.topic.to_bytes());
    body.extend_from_slice(&id.index.get().to_be_bytes());
    own_file::replace(fs, &folder.join(ID_FILE), KIND, &body)?;
    fs.sync_dir(&super::fs::folder_of(folder))
}

/// Whose folder it is; `None` where it does not say.
pub fn id_of(fs: &dyn Fs, folder: &Path) -> Result<Option<PartitionId>, FolderError> {
    let failed = |source| FolderError::Id { folder: folder.to_owned(), source };
    let Some(body) = own_file::load(fs, &folder.join(ID_FILE), KIND).map_err(failed)? else {
        return Ok(None);
    };
    parse(&body).map(Some).map_err(|format| failed(format.into()))
}

fn parse(body: &[u8]) -> Result<PartitionId, FormatError> {
    let mut fields = Fields::new(body);
    let topic = TopicId::from_bytes(fields.array()?);
    let index = PartitionIndex::new(fields.i32()?);
    fields.end()?;
    Ok(PartitionId { topic, index })
}

/// Moves a folder out of the way, to where an operator finds it.
pub fn put_aside(fs: &dyn Fs, folder: &Path, now: TimestampMs) -> io::Result<PathBuf> {
    let logs = super::fs::folder_of(folder);
    let aside = super::fs::folder_of(&logs).join(ASIDE);
    fs.create_dir_all(&aside)?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let kept = &name[..name.floor_char_boundary(ASIDE_NAME_MAX)];
    let mut to = aside.join(format!("{kept}.{now}"));
    let mut try_again = 0;
    while fs.exists(&to)? {
        try_again += 1;
        to = aside.join(format!("{kept}.{now}.{try_again}"));
    }
    fs.rename(folder, &to)?;
    fs.sync_dir(&aside)?;
    fs.sync_dir(&logs)?;
    fs.sync_dir(&super::fs::folder_of(&logs))?;
    tracing::warn!("folder {} belongs to no partition here; it was moved to {}", name, to.display());
    Ok(to)
}

/// Whether the name is one that [`delete`] gave; any other folder is somebody's.
fn is_condemned(name: &str) -> bool {
    let id = name.strip_suffix(DELETED).and_then(|id| id.rsplit_once('-'));
    id.is_some_and(|(topic, index)| uuid::Uuid::parse_str(topic).is_ok() && index.parse::<u32>().is_ok())
}

/// At start: finishes deletions that a crash cut short, and puts every folder aside that is not one of
/// `known`, by name. The new places of those that were moved.
pub fn sweep(
    fs: &dyn Fs,
    logs: &Path,
    known: &BTreeSet<PathBuf>,
    now: TimestampMs,
) -> io::Result<Vec<PathBuf>> {
    let mut moved = Vec::new();
    for entry in fs.list(logs)? {
        let folder = logs.join(&entry.name);
        if !entry.is_dir || known.contains(&folder) {
            continue;
        }
        if is_condemned(&entry.name) {
            fs.remove_dir_all(&folder)?;
            fs.sync_dir(logs)?;
        } else {
            moved.push(put_aside(fs, &folder, now)?);
        }
    }
    Ok(moved)
}

/// Deletes the folder of a partition whose topic's deletion is committed: renamed first, which is on
/// disk when the deletion begins. A folder that is not this partition's is left alone.
pub fn delete(fs: &dyn Fs, folder: &Path, id: PartitionId) -> Result<(), FolderError> {
    let failed = |source| FolderError::Io { folder: folder.to_owned(), source };
    if !fs.exists(folder).map_err(failed)? || id_of(fs, folder)? != Some(id) {
        return Ok(());
    }
    let logs = super::fs::folder_of(folder);
    // By its id, so that no name can be too long or meet another deletion's.
    let condemned = logs.join(format!("{}-{}{DELETED}", id.topic, id.index));
    let removed = fs
        .rename(folder, &condemned)
        .and_then(|()| fs.sync_dir(&logs))
        .and_then(|()| fs.remove_dir_all(&condemned))
        .and_then(|()| fs.sync_dir(&logs));
    removed.map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use tempfile::TempDir;

    use super::{Prepared, delete, path_of, prepare, sweep};
    use crate::{
        model::{PartitionId, PartitionIndex, TimestampMs, TopicId, TopicName},
        storage::fs::{Fs, Open, real::RealFs},
    };

    const NOW: TimestampMs = TimestampMs::new(7);

    fn id() -> PartitionId {
        PartitionId { topic: TopicId::random(), index: PartitionIndex::new(3) }
    }

    fn logs() -> (TempDir, std::path::PathBuf) {
        let dir = TempDir::new().unwrap();
        let logs = dir.path().join("logs");
        RealFs.create_dir_all(&logs).unwrap();
        (dir, logs)
    }

    fn folder(logs: &Path) -> std::path::PathBuf {
        path_of(logs, &TopicName::new("orders").unwrap(), PartitionIndex::new(3))
    }

    fn write_segment(folder: &Path) {
        let segment = RealFs.open(&folder.join("0.log"), Open::CreateNew).unwrap();
        segment.write_all_at(b"records", 0).unwrap();
    }

    #[test]
    fn a_folder_is_made_once_and_found_again() {
        let (_dir, logs) = logs();
        let (folder, id) = (folder(&logs), id());
        assert_eq!(prepare(&RealFs, &folder, id, NOW).unwrap(), Prepared::Made);
        assert_eq!(prepare(&RealFs, &folder, id, NOW).unwrap(), Prepared::Found);
    }

    #[test]
    fn s12_a_folder_of_a_topic_that_was_made_again_is_put_aside_not_reused() {
        let (dir, logs) = logs();
        let folder = folder(&logs);
        prepare(&RealFs, &folder, id(), NOW).unwrap();
        write_segment(&folder);
        assert_eq!(prepare(&RealFs, &folder, id(), NOW).unwrap(), Prepared::Made);
        assert!(!RealFs.exists(&folder.join("0.log")).unwrap());
        let aside = dir.path().join("put-aside").join("orders-3.7").join("0.log");
        assert!(RealFs.exists(&aside).unwrap(), "the old records are kept");
    }

    #[test]
    fn s12_an_unknown_folder_is_put_aside_never_deleted() {
        let (dir, logs) = logs();
        let known = folder(&logs);
        prepare(&RealFs, &known, id(), NOW).unwrap();
        let stranger = logs.join("stranger-0");
        RealFs.create_dir_all(&stranger).unwrap();
        write_segment(&stranger);
        let moved = sweep(&RealFs, &logs, &BTreeSet::from([known.clone()]), NOW).unwrap();
        assert_eq!(moved, [dir.path().join("put-aside").join("stranger-0.7")]);
        assert!(RealFs.exists(&moved[0].join("0.log")).unwrap());
        assert!(RealFs.exists(&known).unwrap());
    }

    #[test]
    fn a_deletion_that_a_crash_cut_short_is_finished_at_the_next_start() {
        let (_dir, logs) = logs();
        let (folder, id) = (folder(&logs), id());
        prepare(&RealFs, &folder, id, NOW).unwrap();
        let condemned = logs.join(format!("{}-{}.deleted", id.topic, id.index));
        RealFs.rename(&folder, &condemned).unwrap();
        assert_eq!(sweep(&RealFs, &logs, &BTreeSet::new(), NOW).unwrap(), Vec::<std::path::PathBuf>::new());
        assert!(!RealFs.exists(&condemned).unwrap());
    }

    #[test]
    fn a_deletion_leaves_the_folder_of_a_successor_alone() {
        let (_dir, logs) = logs();
        let (folder, old, new) = (folder(&logs), id(), id());
        prepare(&RealFs, &folder, new, NOW).unwrap();
        delete(&RealFs, &folder, old).unwrap();
        assert!(RealFs.exists(&folder).unwrap());
        delete(&RealFs, &folder, new).unwrap();
        assert!(!RealFs.exists(&folder).unwrap());
    }
}
