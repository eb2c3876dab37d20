//! The file `quorum.snapshot`: the one snapshot that a member keeps.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{format, state::EntryId};
use crate::storage::{
    fs::{Fs, Lock},
    own_file::{self, FormatError, Kind, OwnFileError},
};

const FILE: &str = "quorum.snapshot";
const KIND: Kind = Kind { magic: *b"PLQS", version: 1, max_body: 512 << 20 };

/// A state and what its owner has to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry that led to it.
    pub last: EntryId,
    /// About it.
    pub meta: Vec<u8>,
    /// The state.
    pub payload: Vec<u8>,
}

/// The place of the snapshot. Blocking; it may be used from any thread, also while the log is written.
#[derive(Clone, Debug)]
pub struct SnapshotFile {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    /// The last entry of the snapshot there is. A newer one is never replaced by an older one: the log that the
    /// older one needs may have been purged.
    last: Mutex<Option<EntryId>>,
    /// For as long as somebody may write.
    _lock: Arc<dyn Lock>,
}

impl SnapshotFile {
    pub(super) fn open(fs: Arc<dyn Fs>, dir: &Path, lock: Arc<dyn Lock>) -> Result<Self, OwnFileError> {
        let path = dir.join(FILE);
        let last = load(fs.as_ref(), &path)?.map(|snapshot| snapshot.last);
        Ok(Self { shared: Arc::new(Shared { fs, path, last: Mutex::new(last), _lock: lock }) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The last entry of the snapshot there is.
    pub fn last(&self) -> Option<EntryId> {
        *self.shared.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The snapshot there is.
    pub fn load(&self) -> Result<Option<Snapshot>, OwnFileError> {
        // With the lock: no rename in the middle.
        let _last = self.shared.last.lock().unwrap_or_else(PoisonError::into_inner);
        load(self.shared.fs.as_ref(), &self.shared.path)
    }

    /// Keeps this one instead of the one there is: whole and on disk when this returns. An older one is not kept,
    /// and `false` comes back.
    pub fn save(&self, snapshot: &Snapshot) -> io::Result<bool> {
        let mut last = self.shared.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.index > snapshot.last.index) {
            return Ok(false);
        }
        let body = format::encode_snapshot(snapshot.last, &snapshot.meta, &snapshot.payload)
            .filter(|body| body.len() as u64 <= KIND.max_body)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the snapshot is too large"))?;
        own_file::replace(self.shared.fs.as_ref(), &self.shared.path, KIND, &body)?;
        *last = Some(snapshot.last);
        Ok(true)
    }
}

/// The snapshot in `dir`, read without a lock.
pub(super) fn look(fs: &dyn Fs, dir: &Path) -> Result<Option<Snapshot>, OwnFileError> {
    load(fs, &dir.join(FILE))
}

fn load(fs: &dyn Fs, path: &Path) -> Result<Option<Snapshot>, OwnFileError> {
    let Some(body) = own_file::load(fs, path, KIND)? else { return Ok(None) };
    let (last, meta, payload) = format::decode_snapshot(&body).ok_or(FormatError::Field("snapshot"))?;
    Ok(Some(Snapshot { last, meta: meta.to_vec(), payload: payload.to_vec() }))
}
