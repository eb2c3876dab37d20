//! The simulated folders: what they name now, what they name on the disk, and the changes between.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Component, Path},
};

use fastrand::Rng;

use super::inode::Mood;

/// A file or a folder, for its whole life.
pub(super) type NodeId = u64;

/// The folder that everything is in.
pub(super) const ROOT: NodeId = 0;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Child {
    Dir(NodeId),
    File(NodeId),
}

/// A change of folders that is not on the disk yet.
#[derive(Debug)]
enum FolderOp {
    Link { dir: NodeId, name: String, child: Child },
    Unlink { dir: NodeId, name: String },
    Rename { from: (NodeId, String), to: (NodeId, String), child: Child },
}

impl FolderOp {
    fn dirs(&self) -> [NodeId; 2] {
        match self {
            Self::Link { dir, .. } | Self::Unlink { dir, .. } => [*dir, *dir],
            Self::Rename { from, to, .. } => [from.0, to.0],
        }
    }
}

#[derive(Debug, Default)]
struct Dir {
    live: BTreeMap<String, Child>,
    disk: BTreeMap<String, Child>,
}

/// All folders.
#[derive(Debug)]
pub(super) struct Tree {
    dirs: BTreeMap<NodeId, Dir>,
    /// In the order in which they were made.
    pending: Vec<FolderOp>,
    next_id: NodeId,
}

/// A place in a folder, whether something is there or not.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) dir: NodeId,
    pub(super) name: String,
    pub(super) child: Option<Child>,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { dirs: BTreeMap::from([(ROOT, Dir::default())]), pending: Vec::new(), next_id: ROOT + 1 }
    }

    /// Finds a path; `None` when its last part, and nothing before it, is missing.
    pub(super) fn find(&self, path: &Path) -> io::Result<Option<Child>> {
        let parts = parts_of(path)?;
        let Some((name, above)) = parts.split_last() else { return Ok(Some(Child::Dir(ROOT))) };
        let dir = self.walk(above)?;
        Ok(self.live(dir).and_then(|names| names.get(*name)).copied())
    }

    /// Finds a path that cannot be the root, to change what is there.
    pub(super) fn place(&self, path: &Path) -> io::Result<Place> {
        let parts = parts_of(path)?;
        let (name, above) = parts.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.walk(above)?;
        let child = self.live(dir).and_then(|names| names.get(*name)).copied();
        Ok(Place { dir, name: (*name).to_owned(), child })
    }

    pub(super) fn dir(&self, path: &Path) -> io::Result<NodeId> {
        match self.find(path)? {
            Some(Child::Dir(dir)) => Ok(dir),
            Some(Child::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn walk(&self, parts: &[&str]) -> io::Result<NodeId> {
        let mut dir = ROOT;
        for part in parts {
            dir = match self.live(dir).and_then(|names| names.get(*part)) {
                Some(Child::Dir(next)) => *next,
                Some(Child::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(dir)
    }

    pub(super) fn live(&self, dir: NodeId) -> Option<&BTreeMap<String, Child>> {
        self.dirs.get(&dir).map(|dir| &dir.live)
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut dir = ROOT;
        let mut parts = parts_of(path)?.into_iter().peekable();
        while let Some(part) = parts.next() {
            dir = match self.live(dir).and_then(|names| names.get(part)) {
                Some(Child::Dir(next)) => *next,
                Some(Child::File(_)) if parts.peek().is_none() => {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                Some(Child::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    let id = self.new_id();
                    self.dirs.insert(id, Dir::default());
                    self.link(dir, part, Child::Dir(id));
                    id
                }
            };
        }
        Ok(())
    }

    pub(super) fn create_file(&mut self, place: &Place) -> NodeId {
        let id = self.new_id();
        self.link(place.dir, &place.name, Child::File(id));
        id
    }

    fn new_id(&mut self) -> NodeId {
        self.next_id += 1;
        self.next_id
    }

    fn link(&mut self, dir: NodeId, name: &str, child: Child) {
        if let Some(names) = self.dirs.get_mut(&dir) {
            names.live.insert(name.to_owned(), child);
        }
        self.pending.push(FolderOp::Link { dir, name: name.to_owned(), child });
    }

    pub(super) fn unlink(&mut self, dir: NodeId, name: &str) {
        if let Some(names) = self.dirs.get_mut(&dir) {
            names.live.remove(name);
        }
        self.pending.push(FolderOp::Unlink { dir, name: name.to_owned() });
    }

    /// Removes all that is in a folder; gives the files that have lost their name.
    pub(super) fn clear_dir(&mut self, dir: NodeId) -> Vec<NodeId> {
        let children = self.live(dir).cloned().unwrap_or_default();
        let mut files = Vec::new();
        for (name, child) in children {
            match child {
                Child::File(id) => files.push(id),
                Child::Dir(id) => files.extend(self.clear_dir(id)),
            }
            self.unlink(dir, &name);
        }
        files
    }

    pub(super) fn rename(&mut self, from: &Place, to: &Place, child: Child) {
        if let Some(names) = self.dirs.get_mut(&from.dir) {
            names.live.remove(&from.name);
        }
        if let Some(names) = self.dirs.get_mut(&to.dir) {
            names.live.insert(to.name.clone(), child);
        }
        let (from, to) = ((from.dir, from.name.clone()), (to.dir, to.name.clone()));
        self.pending.push(FolderOp::Rename { from, to, child });
    }

    /// Whether `dir` is `inner` or above it.
    pub(super) fn is_above(&self, dir: NodeId, inner: NodeId) -> bool {
        let children = self.live(dir).into_iter().flat_map(BTreeMap::values);
        let mut folders = children.filter_map(|child| match child {
            Child::Dir(id) => Some(*id),
            Child::File(_) => None,
        });
        dir == inner || folders.any(|folder| self.is_above(folder, inner))
    }

    /// Puts the changes of one folder on the disk, and those of others that they follow from.
    pub(super) fn sync(&mut self, dir: NodeId) {
        let mut touched = BTreeSet::from([dir]);
        let mut due: Vec<bool> = Vec::new();
        for op in self.pending.iter().rev() {
            let is_due = op.dirs().iter().any(|dir| touched.contains(dir));
            if is_due {
                touched.extend(op.dirs());
            }
            due.push(is_due);
        }
        for op in std::mem::take(&mut self.pending) {
            if due.pop() == Some(true) {
                self.apply(op);
            } else {
                self.pending.push(op);
            }
        }
    }

    /// Of each folder's pending changes a beginning survives, as a journal keeps it; each folder has its
    /// own, and a rename between two survives only in both. Then the disk is all there is.
    pub(super) fn power_cut(&mut self, mood: Mood, rng: &mut Rng) {
        let mut lost: BTreeSet<NodeId> = BTreeSet::new();
        for op in std::mem::take(&mut self.pending) {
            let goes_on = match mood {
                Mood::LosesAll => false,
                Mood::KeepsAll => true,
                Mood::Mixed => rng.u8(0..4) > 0,
            };
            if goes_on && !op.dirs().iter().any(|dir| lost.contains(dir)) {
                self.apply(op);
            } else {
                lost.extend(op.dirs());
            }
        }
        for dir in self.dirs.values_mut() {
            dir.live.clone_from(&dir.disk);
        }
    }

    fn apply(&mut self, op: FolderOp) {
        match op {
            FolderOp::Link { dir, name, child } => self.put_on_disk(dir, name, Some(child)),
            FolderOp::Unlink { dir, name } => self.put_on_disk(dir, name, None),
            FolderOp::Rename { from, to, child } => {
                self.put_on_disk(from.0, from.1, None);
                self.put_on_disk(to.0, to.1, Some(child));
            }
        }
    }

    fn put_on_disk(&mut self, dir: NodeId, name: String, child: Option<Child>) {
        let Some(dir) = self.dirs.get_mut(&dir) else { return };
        match child {
            Some(child) => dir.disk.insert(name, child),
            None => dir.disk.remove(&name),
        };
    }

    /// Forgets folders that nothing leads to any more; gives all files that something leads to: a live
    /// name, one on the disk, or one on its way there.
    pub(super) fn reachable_files(&mut self) -> BTreeSet<NodeId> {
        let (mut files, mut dirs) = (BTreeSet::new(), BTreeSet::new());
        let linked = self.pending.iter().filter_map(|op| match op {
            FolderOp::Link { child, .. } | FolderOp::Rename { child, .. } => Some(*child),
            FolderOp::Unlink { .. } => None,
        });
        let mut open: Vec<Child> = linked.chain([Child::Dir(ROOT)]).collect();
        while let Some(child) = open.pop() {
            match child {
                Child::File(id) => {
                    files.insert(id);
                }
                Child::Dir(id) => {
                    if let Some(dir) = self.dirs.get(&id).filter(|_| dirs.insert(id)) {
                        open.extend(dir.live.values().chain(dir.disk.values()).copied());
                    }
                }
            }
        }
        self.dirs.retain(|id, _| dirs.contains(id));
        files
    }
}

fn parts_of(path: &Path) -> io::Result<Vec<&str>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => parts.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?),
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(parts)
}
