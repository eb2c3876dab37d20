//! A network of the test's own, whose wires can be cut while everything runs.
//!
//! Each node has a network namespace, and so has the test's thread: the hub, where a bridge joins the nodes' wires. What the
//! test starts afterwards, threads and processes, is in the hub as well, so its clients reach a node by the bridge or not at
//! all. A client on the far side of a cut is started [inside](Wires::inside) of the node's namespace. The admin ports have
//! wires of their own, which are never cut: a node can be asked what it believes while nobody else can reach it.
//!
//! The namespaces have no names. They are there as long as a thread, a process or a descriptor is in them, so nothing is left
//! of a run however it ends, and runs at the same time do not see each other; each has the same addresses.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _},
    process::{Command, Stdio},
    thread,
};

use polylogue::{local_cluster::NodeOptions, model::NodeId};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::NamedTempFile;

use crate::{
    cluster::{Cluster, SOON},
    support::{
        binary,
        skip::{run, skip},
    },
};

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

/// A network namespace.
#[derive(Debug)]
struct Namespace(File);

impl Namespace {
    fn here() -> Result<Self, String> {
        Self::of("thread-self")
    }

    fn of(process: &str) -> Result<Self, String> {
        let path = format!("/proc/{process}/ns/net");
        File::open(&path).map(Self).map_err(|error| format!("{path}: {error}"))
    }

    /// A new one with its loopback up; a child makes it, since only unsafe code could here.
    fn new() -> Result<Self, String> {
        let mut maker = Command::new("unshare");
        maker.args(["--net", "sh", "-c", "ip link set lo up && echo made && read -r _"]);
        maker.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = maker.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut said = String::new();
        let out = child.stdout.take().unwrap();
        let is_made = BufReader::new(out).read_line(&mut said).is_ok() && said.trim() == "made";
        let made = if is_made { Self::of(&child.id().to_string()) } else { Err(String::new()) };
        drop(child.stdin.take());
        let ended = child.wait_with_output().map_err(|error| error.to_string())?;
        made.map_err(|error| format!("{error}{}", String::from_utf8_lossy(&ended.stderr).trim()))
    }

    /// Moves this thread there.
    fn enter(&self) -> Result<(), String> {
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(self.0.as_fd(), network).map_err(|error| format!("setns: {error}"))
    }

    /// How other processes name it.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs on a thread that is there, and with it all that is started meanwhile.
    fn inside<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                self.enter().unwrap();
                what()
            });
            there.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
        })
    }

    fn ip(&self, arguments: &str) -> Result<(), String> {
        self.inside(|| run(Command::new("ip").args(arguments.split(' '))).map(drop))
            .map_err(|error| format!("ip {arguments}: {error}"))
    }
}

/// The network. The thread that made it is in its hub until it is dropped.
#[derive(Debug)]
pub(crate) struct Wires {
    home: Namespace,
    hub: Namespace,
    nodes: Vec<Namespace>,
    cookie: NamedTempFile,
}

impl Drop for Wires {
    fn drop(&mut self) {
        self.home.enter().unwrap();
    }
}

impl Wires {
    /// Wires for nodes with ids from 1; none, after having said so, where this needs more rights than there are.
    #[track_caller]
    pub(crate) fn lay(test: &str, nodes: u8) -> Option<Self> {
        match Self::try_lay(nodes) {
            Ok(wires) => Some(wires),
            Err(why) => {
                skip(test, "network namespaces", &why);
                None
            }
        }
    }

    fn try_lay(nodes: u8) -> Result<Self, String> {
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
        let cookie = cookie().map_err(|error| error.to_string())?;
        hub.enter()?;
        Ok(Self { home, hub, nodes, cookie })
    }

    /// A cluster whose nodes are each at the end of one wire, up and ready.
    #[track_caller]
    pub(crate) fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::empty();
        let ids = 1..=u8::try_from(self.nodes.len()).unwrap();
        let seeds: Vec<_> = ids.clone().map(|id| SocketAddr::from((address(id), CLUSTER))).collect();
        for id in ids {
            cluster.add(self.options(id).seeds(&seeds));
        }
        cluster.wait_until_ready(SOON).unwrap();
        cluster
    }

    fn options(&self, id: u8) -> NodeOptions {
        let at = |ip: Ipv4Addr, port| SocketAddr::from((ip, port));
        let namespace = format!("--net={}", self.namespace(NodeId::new(id.into())).path());
        let (kafka, cluster) = (at(address(id), KAFKA), at(address(id), CLUSTER));
        NodeOptions::new(binary(), NodeId::new(id.into()))
            .unwrap()
            .through(&[OsString::from("nsenter"), OsString::from(namespace)])
            .addresses(kafka, cluster, at(admin_address(id, 2), ADMIN))
            .argument("--cluster-cookie-file")
            .argument(self.cookie.path())
    }

    fn namespace(&self, node: NodeId) -> &Namespace {
        &self.nodes[usize::try_from(node.get() - 1).unwrap()]
    }

    /// Runs on a thread at the node's end of its wire; clients that are started there stay there.
    pub(crate) fn inside<T: Send>(&self, node: NodeId, what: impl FnOnce() -> T + Send) -> T {
        self.namespace(node).inside(what)
    }

    /// Nothing passes between the node and the hub any more, and nobody is told: a switch that has failed.
    pub(crate) fn cut(&self, node: NodeId) {
        self.hub.ip(&format!("link set to{node} master {NOWHERE}")).unwrap();
    }

    /// The wire is whole again.
    pub(crate) fn mend(&self, node: NodeId) {
        self.hub.ip(&format!("link set to{node} master {BRIDGE}")).unwrap();
    }

    /// What one node sends to another is lost; the other way all arrives.
    pub(crate) fn drop_between(&self, from: NodeId, to: NodeId) {
        let to = address(u8::try_from(to.get()).unwrap());
        let lost = format!("neigh replace {to} lladdr {NOBODY} dev {WIRE} nud permanent");
        self.namespace(from).ip(&lost).unwrap();
    }

    /// What one node sends to another arrives again.
    pub(crate) fn pass_between(&self, from: NodeId, to: NodeId) {
        let to = address(u8::try_from(to.get()).unwrap());
        self.namespace(from).ip(&format!("neigh del {to} dev {WIRE}")).unwrap();
    }
}

/// For its owner only, as files of that kind are made.
fn cookie() -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(b"a secret of this test")?;
    Ok(file)
}

fn address(id: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, id)
}

fn admin_address(id: u8, end: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, id, end)
}
