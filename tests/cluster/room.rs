//! Nodes that may open different numbers of files: replicas go where there is room for them, whoever decides.

use std::ffi::OsString;

use polylogue::{
    client::{Admin, Client, ClientConfig, admin::NewTopic},
    local_cluster::LocalCluster,
    model::NodeId,
};
use tokio::runtime::Runtime;

use crate::{
    cluster::{Cluster, SOON, name},
    support::{binary, eventually},
};

/// Half of them for replicas, of which each takes three.
const LIMIT: u32 = 256;
const MAX: u32 = 42;

/// Three nodes, the last of which may open few files. The shell becomes the node, and passes its limit on.
fn with_a_small_one() -> (Cluster, NodeId) {
    let mut cluster = Cluster::empty();
    for (at, options) in LocalCluster::options(binary(), 3).unwrap().into_iter().enumerate() {
        let script = format!("ulimit -n {LIMIT}; exec \"$0\" \"$@\"");
        let limited: [OsString; 3] = ["sh".into(), "-c".into(), script.into()];
        cluster.add(if at == 2 { options.through(&limited) } else { options });
    }
    cluster.wait_until_ready(SOON).unwrap();
    let small = cluster.ids()[2];
    (cluster, small)
}

fn create(cluster: &Cluster, topic: &str, partitions: i32, replicas: i16) -> Result<(), String> {
    let topic = NewTopic {
        name: name(topic),
        partitions: Some(partitions),
        replication_factor: Some(replicas),
        configs: Vec::new(),
    };
    let client = Client::new(ClientConfig::new(&cluster.bootstrap()));
    let created = Runtime::new().unwrap().block_on(async { Admin::new(&client).create_topic(&topic).await });
    created.map(drop).map_err(|error| error.to_string())
}

#[track_caller]
fn told(cluster: &Cluster, node: NodeId) -> (usize, Option<u32>) {
    let report = cluster.report().unwrap();
    let found = report.nodes.iter().find(|found| found.id == node.get()).unwrap();
    (found.replicas, found.replicas_max)
}

#[test]
fn no_replica_is_given_to_a_node_that_has_no_files_for_it_by_any_controller() {
    let (mut cluster, small) = with_a_small_one();
    assert_eq!(told(&cluster, small), (0, Some(MAX)));
    create(&cluster, "everywhere", 40, 3).unwrap();
    create(&cluster, "elsewhere", 40, 2).unwrap();
    cluster.until_in_sync("elsewhere", SOON).unwrap();
    assert_eq!(told(&cluster, small), (MAX as usize, Some(MAX)));

    // Of those that are left one has to decide that has not been told.
    let dead = cluster.controller();
    cluster.kill(&[dead]);
    eventually("another one decides", SOON, || {
        let controller = cluster.report().ok()?.controller?;
        (controller != dead.get()).then_some(())
    });
    let refused = eventually("a refusal", SOON, || {
        let refused = create(&cluster, "too-much", 1, 3).unwrap_err();
        refused.contains("open files").then_some(refused)
    });
    let expected = format!("broker {small} keeps {MAX} replicas, and 1 more would be over the {MAX}");
    assert!(refused.contains(&expected), "{refused}");

    cluster.start_again(&[dead]);
    create(&cluster, "beside-it", 10, 2).unwrap();
    cluster.until_in_sync("beside-it", SOON).unwrap();
    assert_eq!(told(&cluster, small), (MAX as usize, Some(MAX)));
}
