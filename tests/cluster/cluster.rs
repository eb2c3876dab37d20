//! Nodes of one test, and its turn among the tests.

use std::{
    fs,
    net::TcpStream,
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use polylogue::{
    client::{Admin, Client, ClientConfig, admin::NewTopic},
    local_cluster::{LocalCluster, LocalNode, NodeOptions},
    model::{NodeId, TopicName},
};
use tokio::runtime::Runtime;

use crate::support::{binary, eventually};

/// The deadline of what a cluster does within a second or two on a machine with nothing else to do.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Tests of this program share two cores, and what they time must not be each other.
static TURN: Mutex<()> = Mutex::new(());

/// Nodes that show the ends of their logs where a test fails: their folders go with them.
pub(crate) struct Cluster {
    // Declared before the turn, so that the processes are gone when the next test begins.
    cluster: LocalCluster,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Cluster {
    type Target = LocalCluster;

    fn deref(&self) -> &LocalCluster {
        &self.cluster
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut LocalCluster {
        &mut self.cluster
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            for node in &self.cluster.nodes {
                println!("the log of node {} ends with:\n{}", node.id(), node.log_tail());
            }
        }
    }
}

impl Cluster {
    /// No node yet.
    pub(crate) fn empty() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Self { cluster: LocalCluster { nodes: Vec::new() }, _turn: turn }
    }

    /// Three nodes, up and ready.
    pub(crate) fn of_three() -> Self {
        let mut cluster = Self::empty();
        for options in LocalCluster::options(binary(), 3).unwrap() {
            cluster.add(options);
        }
        cluster.wait_until_ready(SOON).unwrap();
        cluster
    }

    /// Three nodes with this topic, all of its replicas in sync.
    pub(crate) fn with_topic(topic: &str, partitions: i32, configs: &[(&str, &str)]) -> Self {
        let cluster = Self::of_three();
        create_topic(&cluster.bootstrap(), topic, partitions, configs);
        cluster.until_in_sync(topic, SOON).unwrap();
        cluster
    }

    /// Starts one more node and waits for nothing.
    pub(crate) fn add(&mut self, options: NodeOptions) -> &mut LocalNode {
        self.nodes.push(LocalNode::start(options).unwrap());
        self.nodes.last_mut().unwrap()
    }

    /// Each node that is killed is killed before any other is waited for.
    pub(crate) fn kill(&mut self, ids: &[NodeId]) {
        for id in ids {
            self.node(*id).unwrap().kill().unwrap();
        }
    }

    /// Starts nodes again that have ended, and waits until each is ready.
    pub(crate) fn start_again(&mut self, ids: &[NodeId]) {
        for id in ids {
            self.node(*id).unwrap().start_again().unwrap();
        }
        for id in ids {
            self.node(*id).unwrap().wait_until_ready(SOON).unwrap();
        }
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.nodes.iter().map(LocalNode::id).collect()
    }

    /// Who leads a partition, once somebody does.
    #[track_caller]
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> NodeId {
        eventually("the partition has a leader", SOON, || self.leader_of(topic, partition).ok().flatten())
    }

    /// Who decides, once somebody does.
    #[track_caller]
    pub(crate) fn controller(&self) -> NodeId {
        eventually("there is a controller", SOON, || self.report().ok()?.controller.map(NodeId::new))
    }
}

/// Waits until the node listens for other nodes: it is as far as it comes without them.
#[track_caller]
pub(crate) fn until_it_listens(node: &mut LocalNode) {
    let address = node.cluster_address();
    let listens = |_: &mut LocalNode| Ok(TcpStream::connect_timeout(&address, SOON).is_ok());
    node.wait_for("its cluster port did not accept", SOON, listens).unwrap();
}

/// All that the node has printed.
pub(crate) fn log(node: &LocalNode) -> String {
    fs::read_to_string(node.log_path()).unwrap()
}

/// A client of our own, with time-outs for a network that answers within a second or not at all.
pub(crate) fn client(bootstrap: &str) -> Client {
    Client::new(ClientConfig {
        connect_timeout: Duration::from_secs(1),
        request_timeout: Duration::from_secs(1),
        metadata_timeout: SOON,
        ..ClientConfig::new(bootstrap)
    })
}

pub(crate) fn name(topic: &str) -> TopicName {
    TopicName::new(topic).unwrap()
}

/// Makes a topic of three replicas.
#[track_caller]
pub(crate) fn create_topic(bootstrap: &str, topic: &str, partitions: i32, configs: &[(&str, &str)]) {
    let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let topic = NewTopic {
        name: name(topic),
        partitions: Some(partitions),
        replication_factor: Some(3),
        configs: configs.collect(),
    };
    Runtime::new().unwrap().block_on(async {
        Admin::new(&Client::new(ClientConfig::new(bootstrap))).create_topic(&topic).await.unwrap();
    });
}
