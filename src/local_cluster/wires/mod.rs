//! A network of the caller's own, whose wires can be cut while everything runs.
//!
//! Each node has a network namespace, and so has the thread that lays the wires: the hub, where a bridge joins them. What
//! that thread starts afterwards, threads and processes, is in the hub as well, so its clients reach a node by the bridge or
//! not at all; threads that there were before stay where they were. A client on the far side of a cut is started
//! [inside](Wires::inside) of the node's namespace. The admin ports have wires of their own, which are never cut: a node can
//! be asked what it believes while nobody else can reach it.
//!
//! The namespaces have no names and the nodes' cookie is a file without one. They are there as long as a thread, a process or
//! a descriptor is in them, so nothing is left of a run however it ends, and runs at the same time do not see each other;
//! each has the same addresses.
//!
//! It takes Linux, the rights to make namespaces and what is in them (`CAP_SYS_ADMIN`, `CAP_NET_ADMIN`), `unshare` and
//! `nsenter` (util-linux) and `ip` (iproute2).

mod namespace;

use std::{
    ffi::OsString,
    fs::{File, Permissions},
    io::{self, Write as _},
    marker::PhantomData,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use rustix::fs::{MemfdFlags, memfd_create};
use uuid::Uuid;

use self::namespace::{Namespace, path_of};
use super::{LocalNodeError, NodeOptions};
use crate::model::NodeId;

const KAFKA: u16 = 9092;
const ADMIN: u16 = 8092;
const CLUSTER: u16 = 7092;
const BRIDGE: &str = "hub";
/// A bridge that is never up: what comes there is lost, and the wire looks as before.
const NOWHERE: &str = "nowhere";
/// A node's end of its wire to the others.
const WIRE: &str = "wire";
const HUB: &str = "02:00:00:00:00:01";
/// Nobody has it, so what is sent to it is lost without a word.
const NOBODY: &str = "02:00:00:00:00:fe";

/// Why a network cannot be made, or not be cut.
#[derive(Debug, thiserror::Error)]
pub enum WiresError {
    /// A program is missing.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Which.
        program: &'static str,
        /// What failed.
        source: io::Error,
    },
    /// A program said no; mostly because it has no right to.
    #[error("{command}: {said}")]
    Refused {
        /// What was run.
        command: String,
        /// Its last words.
        said: String,
    },
    /// A namespace cannot be opened or entered.
    #[error("{what}: {source}")]
    Namespace {
        /// Which, or which system call.
        what: String,
        /// What failed.
        source: io::Error,
    },
    /// The nodes' cookie cannot be made.
    #[error("cannot make a cookie: {0}")]
    Cookie(#[source] io::Error),
    /// It has no wire.
    #[error("node {0} has no wire")]
    NoSuchNode(NodeId),
}

impl WiresError {
    fn refused(command: &str, complaint: &[u8]) -> Self {
        let complaint = String::from_utf8_lossy(complaint);
        let said = complaint.lines().last().unwrap_or("it failed without a word").to_owned();
        Self::Refused { command: command.to_owned(), said }
    }
}

/// The network. The thread that made it is in its hub until it is dropped, and keeps it to itself.
#[derive(Debug)]
pub struct Wires {
    home: Namespace,
    hub: Namespace,
    nodes: Vec<Namespace>,
    /// Nodes that are reached by anything but loopback must prove who they are.
    cookie: File,
    /// Another thread that dropped it would be moved in the place of this one.
    stays_here: PhantomData<*const ()>,
}

impl Drop for Wires {
    fn drop(&mut self) {
        // A thread that cannot go home is left alone in the hub, which has its own loopback only.
        let _ = self.home.enter();
    }
}

impl Wires {
    /// Wires for nodes with ids from 1, 200 at most. The calling thread is in the hub from here on.
    pub fn lay(nodes: u8) -> Result<Self, WiresError> {
        let (home, hub) = (Namespace::here()?, Namespace::new()?);
        let nodes: Vec<_> = (0..nodes).map(|_| Namespace::new()).collect::<Result<_, _>>()?;
        hub.ip(&format!("link add {NOWHERE} type bridge"))?;
        // An address of its own: that of one of its wires would change when the wire is cut.
        hub.ip(&format!("link add {BRIDGE} address {HUB} type bridge"))?;
        hub.ip(&format!("addr add {}/24 dev {BRIDGE}", address(254)))?;
        hub.ip(&format!("link set {BRIDGE} up"))?;
        for (id, node) in (1..).zip(&nodes) {
            let there = node.path();
            hub.ip(&format!("link add to{id} type veth peer name {WIRE} netns {there}"))?;
            hub.ip(&format!("link set to{id} master {BRIDGE} up"))?;
            node.ip(&format!("addr add {}/24 dev {WIRE}", address(id)))?;
            node.ip(&format!("link set {WIRE} up"))?;
            hub.ip(&format!("link add admin{id} type veth peer name admin netns {there}"))?;
            hub.ip(&format!("addr add {}/24 dev admin{id}", admin_address(id, 1)))?;
            hub.ip(&format!("link set admin{id} up"))?;
            node.ip(&format!("addr add {}/24 dev admin", admin_address(id, 2)))?;
            node.ip("link set admin up")?;
        }
        let cookie = cookie().map_err(WiresError::Cookie)?;
        hub.enter()?;
        Ok(Self { home, hub, nodes, cookie, stays_here: PhantomData })
    }

    /// How nodes of one cluster are started, each at the end of its wire.
    pub fn options(&self, binary: &Path) -> Result<Vec<NodeOptions>, LocalNodeError> {
        let at_ends = (1..).zip(&self.nodes).map(|(id, namespace)| self.node_at(id, namespace, binary));
        Ok(NodeOptions::of_one_cluster(at_ends.collect::<Result<_, _>>()?))
    }

    fn node_at(&self, id: u8, namespace: &Namespace, binary: &Path) -> Result<NodeOptions, LocalNodeError> {
        let at = |ip: Ipv4Addr, port| SocketAddr::from((ip, port));
        let (kafka, cluster) = (at(address(id), KAFKA), at(address(id), CLUSTER));
        let there = format!("--net={}", namespace.path());
        Ok(NodeOptions::new(binary, NodeId::new(id.into()))?
            .through(&[OsString::from("nsenter"), OsString::from(there)])
            .addresses(kafka, cluster, at(admin_address(id, 2), ADMIN))
            .argument("--cluster-cookie-file")
            .argument(path_of(&self.cookie)))
    }

    fn find(&self, node: NodeId) -> Result<(u8, &Namespace), WiresError> {
        let mut all = (1..).zip(&self.nodes);
        all.find(|(id, _)| NodeId::new((*id).into()) == node).ok_or(WiresError::NoSuchNode(node))
    }

    /// Runs on a thread at the node's end of its wire; clients that are started there stay there.
    pub fn inside<T: Send>(&self, node: NodeId, what: impl FnOnce() -> T + Send) -> Result<T, WiresError> {
        self.find(node)?.1.inside(what)
    }

    /// Nothing passes between the node and the hub any more, and nobody is told: a switch that has failed.
    pub fn cut(&self, node: NodeId) -> Result<(), WiresError> {
        let (id, _) = self.find(node)?;
        self.hub.ip(&format!("link set to{id} master {NOWHERE}"))
    }

    /// The wire is whole again.
    pub fn mend(&self, node: NodeId) -> Result<(), WiresError> {
        let (id, _) = self.find(node)?;
        self.hub.ip(&format!("link set to{id} master {BRIDGE}"))
    }

    /// What one node sends to another is lost; the other way all arrives.
    pub fn drop_between(&self, from: NodeId, to: NodeId) -> Result<(), WiresError> {
        let ((_, from), (to, _)) = (self.find(from)?, self.find(to)?);
        from.ip(&format!("neigh replace {} lladdr {NOBODY} dev {WIRE} nud permanent", address(to)))
    }

    /// What one node sends to another arrives again.
    pub fn pass_between(&self, from: NodeId, to: NodeId) -> Result<(), WiresError> {
        let ((_, from), (to, _)) = (self.find(from)?, self.find(to)?);
        from.ip(&format!("neigh del {} dev {WIRE}", address(to)))
    }
}

/// For its owner only, as files of that kind are made.
fn cookie() -> io::Result<File> {
    let mut file = File::from(memfd_create("cookie", MemfdFlags::CLOEXEC)?);
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(Uuid::new_v4().simple().to_string().as_bytes())?;
    Ok(file)
}

fn address(id: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, id)
}

fn admin_address(id: u8, end: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, id, end)
}
