//! Nodes that are stopped in order, and one that comes back with nothing.

use std::fs;

use crate::{
    cluster::{Cluster, SOON},
    load::{GOES_ON_WITHIN, Load},
    support::eventually,
};

const TOPIC: &str = "restarts";
const PARTITIONS: i32 = 3;

#[test]
fn a_rolling_restart_under_load_fails_no_record() {
    let mut cluster = Cluster::with_topic(TOPIC, PARTITIONS, &[("min.insync.replicas", "2")]);
    let load = Load::start(&cluster, TOPIC, PARTITIONS);
    for id in cluster.ids() {
        let node = cluster.node(id).unwrap();
        assert_eq!(node.stop(SOON).unwrap().code(), Some(0), "{}", node.log_tail());
        load.goes_on(GOES_ON_WITHIN);
        cluster.start_again(&[id]);
        cluster.until_in_sync(TOPIC, SOON).unwrap();
    }
    load.goes_on(GOES_ON_WITHIN);
    load.stop_and_check(&cluster);
}

#[test]
fn s17_a_wiped_node_comes_back_as_a_new_member_and_counts_again() {
    let mut cluster = Cluster::with_topic(TOPIC, PARTITIONS, &[("min.insync.replicas", "2")]);
    let load = Load::start(&cluster, TOPIC, PARTITIONS);
    let (wiped, other) = (cluster.leader(TOPIC, 0), cluster.leader(TOPIC, 1));
    cluster.kill(&[wiped]);
    fs::remove_dir_all(cluster.node(wiped).unwrap().data_folder()).unwrap();
    cluster.start_again(&[wiped]);
    cluster.until_in_sync(TOPIC, SOON).unwrap();
    eventually("the wiped node votes again", SOON, || {
        (cluster.report().ok()?.voters == [1, 2, 3]).then_some(())
    });

    // Now nothing goes on without it: neither records nor elections.
    let other = if other == wiped { cluster.leader(TOPIC, 2) } else { other };
    cluster.kill(&[other]);
    load.goes_on(GOES_ON_WITHIN);
    cluster.start_again(&[other]);
    load.stop_and_check(&cluster);
}
