//! `kill -9` of one node under load.

use polylogue::model::NodeId;

use crate::{
    cluster::{Cluster, SOON},
    load::{GOES_ON_WITHIN, Load},
};

const TOPIC: &str = "kills";
const PARTITIONS: i32 = 3;
const ROUNDS: usize = 2;

/// Kills a node in the middle of the load and brings it back, twice.
#[track_caller]
fn kill_under_load(whom: impl Fn(&Cluster) -> NodeId) {
    let mut cluster = Cluster::with_topic(TOPIC, PARTITIONS, &[("min.insync.replicas", "2")]);
    let load = Load::start(&cluster, TOPIC, PARTITIONS);
    for _ in 0..ROUNDS {
        let victim = whom(&cluster);
        cluster.kill(&[victim]);
        load.goes_on(GOES_ON_WITHIN);
        assert_ne!(cluster.leader(TOPIC, 0), victim, "a dead node leads");
        cluster.start_again(&[victim]);
        cluster.until_in_sync(TOPIC, SOON).unwrap();
        load.goes_on(GOES_ON_WITHIN);
    }
    load.stop_and_check(&cluster);
}

#[test]
fn s01_a_leader_killed_under_load_loses_nothing_and_another_goes_on_within_seconds() {
    kill_under_load(|cluster| cluster.leader(TOPIC, 0));
}

#[test]
fn s19_the_controllers_node_killed_under_load_loses_nothing_and_all_goes_on_within_seconds() {
    kill_under_load(Cluster::controller);
}
