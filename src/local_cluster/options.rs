use std::{
    env,
    ffi::OsString,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{LocalNodeError, free_port};
use crate::model::NodeId;

/// The program that is running: where the command line starts nodes, they are of the same build.
pub fn this_program() -> io::Result<PathBuf> {
    env::current_exe()
}

/// How a node is started. Its ports are chosen once and kept over restarts.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    pub(super) through: Vec<OsString>,
    pub(super) binary: PathBuf,
    pub(super) id: NodeId,
    pub(super) kafka: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) cluster: SocketAddr,
    pub(super) folder: Option<PathBuf>,
    pub(super) seeds: Vec<SocketAddr>,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
}

impl NodeOptions {
    /// A node on free ports of 127.0.0.1 with a folder of its own, which goes with it.
    pub fn new(binary: &Path, id: NodeId) -> Result<Self, LocalNodeError> {
        let address = || {
            let port = free_port().map_err(LocalNodeError::NoPort)?;
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        };
        Ok(Self {
            through: Vec::new(),
            binary: binary.to_owned(),
            id,
            kafka: address()?,
            admin: address()?,
            cluster: address()?,
            folder: None,
            seeds: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
        })
    }

    /// Nodes that know each other by a seed list; one node has none.
    pub(super) fn of_one_cluster(all: Vec<Self>) -> Vec<Self> {
        let seeds: Vec<_> = all.iter().map(Self::cluster_address).collect();
        let seeds = if all.len() > 1 { &seeds[..] } else { &[] };
        all.into_iter().map(|options| options.seeds(seeds)).collect()
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Keeps data and log in a folder of the caller's, which stays.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Keeps them in a folder of the node's own below the caller's, where there is one; else in one that goes with the node.
    #[must_use]
    pub fn folder_below(self, all: Option<&Path>) -> Self {
        let Some(all) = all else { return self };
        let own = all.join(format!("node-{}", self.id));
        self.folder(&own)
    }

    /// Runs the node as the last argument of this command, which has to become it (`exec`): what is signalled is the
    /// process that was started.
    #[must_use]
    pub fn through(mut self, command: &[OsString]) -> Self {
        self.through = command.to_vec();
        self
    }

    /// Listens elsewhere than on loopback: for clients, for other nodes, and for whoever asks the admin port.
    #[must_use]
    pub fn addresses(mut self, kafka: SocketAddr, cluster: SocketAddr, admin: SocketAddr) -> Self {
        (self.kafka, self.cluster, self.admin) = (kafka, cluster, admin);
        self
    }

    /// The cluster listeners to join through.
    #[must_use]
    pub fn seeds(mut self, seeds: &[SocketAddr]) -> Self {
        self.seeds = seeds.to_vec();
        self
    }

    /// One more argument behind those of `serve`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// One more variable of the environment.
    #[must_use]
    pub fn environment(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Where the node will listen for other nodes.
    pub fn cluster_address(&self) -> SocketAddr {
        self.cluster
    }
}

/// A folder that a node works in: `data` is its data folder, `log` what it prints.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    /// Takes a folder, making it where it is missing; `None` makes a new one under the system's
    /// temporary folder, removed on drop.
    pub(super) fn open(given: Option<&Path>, node: NodeId) -> Result<Self, LocalNodeError> {
        let temporary = given.is_none();
        let unique = || format!("polylogue-node{node}-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let path = given.map_or_else(|| env::temp_dir().join(unique()), Path::to_owned);
        let made = if temporary { fs::create_dir(&path) } else { fs::create_dir_all(&path) };
        made.map_err(|source| LocalNodeError::Folder { path: path.clone(), source })?;
        Ok(Self { path, temporary })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it in place when the node goes, to be looked at.
    pub fn keep(&mut self) {
        self.temporary = false;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // Nobody is left to be told; a folder that cannot be removed is the system's to clean.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
