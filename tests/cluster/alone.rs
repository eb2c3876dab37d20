//! A node without seeds is a cluster of one: it serves at once, and others may join it later.

use polylogue::{
    client::{Admin, admin::NewTopic},
    local_cluster::NodeOptions,
    model::NodeId,
};
use tokio::runtime::Runtime;

use crate::{
    cluster::{Cluster, SOON, client, create_topic, name},
    load::{GOES_ON_WITHIN, Load},
    support::{binary, eventually},
};

const FIRST: NodeId = NodeId::new(1);
const EARLY: &str = "early";
const LATE: &str = "late";
const PARTITIONS: i32 = 2;

fn options(id: i32) -> NodeOptions {
    NodeOptions::new(binary(), NodeId::new(id)).unwrap()
}

/// Waits until these nodes vote, as each of them sees it.
#[track_caller]
fn until_voters(cluster: &Cluster, voters: &[i32]) {
    eventually("all of them vote", SOON, || {
        let is_so = |report: polylogue::admin::cluster::ClusterReport| report.voters == voters;
        cluster.nodes.iter().all(|node| node.report().is_ok_and(is_so)).then_some(())
    });
}

/// Makes a topic with as many replicas as the cluster has nodes for.
#[track_caller]
fn create_small_topic(cluster: &Cluster, topic: &str) {
    let new = NewTopic {
        name: name(topic),
        partitions: Some(PARTITIONS),
        replication_factor: None,
        configs: Vec::new(),
    };
    let admin = Admin::new(&client(&cluster.bootstrap()));
    Runtime::new().unwrap().block_on(admin.create_topic(&new)).unwrap();
}

#[test]
fn s16_a_node_without_seeds_is_joined_by_others_and_all_goes_on_when_it_is_killed() {
    let mut cluster = Cluster::empty();
    let first = options(1);
    let seed = first.cluster_address();
    cluster.add(first).wait_until_ready(SOON).unwrap();
    until_voters(&cluster, &[1]);
    create_small_topic(&cluster, EARLY);
    let early = Load::start(&cluster, EARLY, PARTITIONS);
    for id in [2, 3] {
        cluster.add(options(id).seeds(&[seed])).wait_until_ready(SOON).unwrap();
    }
    until_voters(&cluster, &[1, 2, 3]);
    early.goes_on(GOES_ON_WITHIN);
    early.stop_and_check(&cluster);

    create_topic(&cluster.bootstrap(), LATE, PARTITIONS, &[("min.insync.replicas", "2")]);
    cluster.until_in_sync(LATE, SOON).unwrap();
    let late = Load::start(&cluster, LATE, PARTITIONS);
    cluster.kill(&[FIRST]);
    late.goes_on(GOES_ON_WITHIN);
    // It has no seeds now either: its folder says where it belongs.
    cluster.start_again(&[FIRST]);
    until_voters(&cluster, &[1, 2, 3]);
    late.stop_and_check(&cluster);
    cluster.until_in_sync(EARLY, SOON).unwrap();
}

#[test]
fn a_node_without_seeds_that_is_killed_has_all_that_it_had_after_a_restart() {
    let mut cluster = Cluster::empty();
    cluster.add(options(1)).wait_until_ready(SOON).unwrap();
    let id = cluster.report().unwrap().cluster_id;
    create_small_topic(&cluster, EARLY);
    let load = Load::start(&cluster, EARLY, PARTITIONS);
    for _ in 0..2 {
        cluster.kill(&[FIRST]);
        cluster.start_again(&[FIRST]);
        load.goes_on(GOES_ON_WITHIN);
    }
    load.stop_and_check(&cluster);
    assert_eq!(cluster.report().unwrap().cluster_id, id);
}
