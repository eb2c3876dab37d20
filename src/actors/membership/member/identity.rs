//! Which cluster a data folder belongs to: one small file beside the quorum's log.
//!
//! The log says it too, in its first record; but a member has to know before it has that record, so that the log of another
//! cluster never reaches it. The file is there before the first entry is.
//!
//! ```text
//! <data folder>/cluster    the envelope of our own files, magic "PLCL", version 1
//! body  0   16 bytes  the cluster's id
//!      16    u8       1: this node may begin the cluster, 0: it was taken in
//! ```

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use crate::storage::{
    fs::Fs,
    own_file::{self, Fields, Kind, OwnFileError},
};

/// The file's name in the data folder.
const FILE: &str = "cluster";
const KIND: Kind = Kind { magic: *b"PLCL", version: 1, max_body: 64 };

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belongs {
    /// The cluster.
    pub cluster_id: Uuid,
    /// Whether this node may begin it: if nothing else is on its disk, it has not.
    pub may_begin: bool,
}

/// Why a message of a cluster is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotOurs {
    /// This data folder belongs to another one.
    #[error("this node belongs to cluster {0}")]
    Another(Uuid),
    /// It cannot be written down that it belongs to this one.
    #[error("the cluster's id cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// The file, and what it says.
#[derive(Debug)]
pub struct Identity {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    known: Mutex<Option<Belongs>>,
}

impl Identity {
    /// Reads the file of a data folder.
    pub fn open(fs: Arc<dyn Fs>, data_dir: &Path) -> Result<Self, OwnFileError> {
        let path = data_dir.join(FILE);
        let known = match own_file::load(fs.as_ref(), &path, KIND)? {
            Some(body) => {
                let mut fields = Fields::new(&body);
                let cluster_id = Uuid::from_bytes(fields.array()?);
                let [may_begin] = fields.array()?;
                fields.end()?;
                Some(Belongs { cluster_id, may_begin: may_begin == 1 })
            }
            None => None,
        };
        Ok(Self { fs, path, known: Mutex::new(known) })
    }

    /// What the data folder belongs to; `None` while that is open.
    pub fn get(&self) -> Option<Belongs> {
        *self.lock()
    }

    /// The cluster begins here. Blocks on the disk.
    pub fn begin(&self, cluster_id: Uuid) -> Result<(), NotOurs> {
        self.settle(Belongs { cluster_id, may_begin: true })
    }

    /// The cluster takes this node in, or has. Blocks on the disk the first time.
    pub fn join(&self, cluster_id: Uuid) -> Result<(), NotOurs> {
        self.settle(Belongs { cluster_id, may_begin: false })
    }

    /// `is_blank`: nothing of a cluster is on this disk, so what the file says is a plan at most.
    pub fn joins_instead(&self, cluster_id: Uuid, is_blank: bool) -> Result<(), NotOurs> {
        let mut known = self.lock();
        match *known {
            Some(belongs) if belongs.cluster_id == cluster_id => Ok(()),
            Some(belongs) if !is_blank => Err(NotOurs::Another(belongs.cluster_id)),
            Some(_) | None => self.write(&mut known, Belongs { cluster_id, may_begin: false }),
        }
    }

    fn settle(&self, belongs: Belongs) -> Result<(), NotOurs> {
        let mut known = self.lock();
        match *known {
            Some(before) if before.cluster_id == belongs.cluster_id => Ok(()),
            Some(before) => Err(NotOurs::Another(before.cluster_id)),
            None => self.write(&mut known, belongs),
        }
    }

    fn write(&self, known: &mut Option<Belongs>, belongs: Belongs) -> Result<(), NotOurs> {
        let mut body = belongs.cluster_id.as_bytes().to_vec();
        body.push(u8::from(belongs.may_begin));
        own_file::replace(self.fs.as_ref(), &self.path, KIND, &body)?;
        *known = Some(belongs);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Belongs>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
