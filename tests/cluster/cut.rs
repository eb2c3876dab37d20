//! A network that is cut: on either side are nodes that live, and clients.
//!
//! The figures that are printed are from the cut to the next acknowledged record of every partition.

use std::{thread, time::Duration};

use polylogue::{local_cluster::Wires, model::NodeId};

use crate::{
    cluster::{Cluster, SOON, create_topic},
    load::{GOES_ON_WITHIN, Load},
    replicas, wires,
};

const TOPIC: &str = "cut";
/// As many as nodes: each leads one.
const PARTITIONS: i32 = 3;
/// Twice a lease.
const CUT_FOR: Duration = Duration::from_secs(3);

/// Three nodes at wires of their own, and a topic with all of its replicas in sync.
fn start(test: &str, partitions: i32) -> Option<(Wires, Cluster)> {
    let wires = wires::lay(test, 3)?;
    let cluster = wires::cluster(&wires);
    create_topic(&cluster.bootstrap(), TOPIC, partitions, &[("min.insync.replicas", "2")]);
    cluster.until_in_sync(TOPIC, SOON).unwrap();
    Some((wires, cluster))
}

/// Cuts a node off from the others, with a client on its side and one on theirs, and mends the wire.
#[track_caller]
fn cut_under_load(test: &str, partitions: i32, whom: impl Fn(&Cluster) -> NodeId) {
    let Some((wires, cluster)) = start(test, partitions) else { return };
    let lonely = whom(&cluster);
    let load = Load::start(&cluster, TOPIC, partitions);
    let far = wires.inside(lonely, || Load::start(&cluster, TOPIC, partitions)).unwrap();
    let terms = cluster.partitions(TOPIC).unwrap();

    wires.cut(lonely).unwrap();
    let (cut, far_cut) = (load.now(), far.now());
    println!("{test}: went on {:?} after the cut", load.goes_on(GOES_ON_WITHIN));
    for (now, before) in cluster.partitions(TOPIC).unwrap().iter().zip(terms) {
        let is_moved = before.leader == Some(lonely.get());
        assert_ne!(now.leader, Some(lonely.get()));
        assert_eq!(now.leader_epoch > before.leader_epoch, is_moved, "{now:?}, before: {before:?}");
    }
    // How long it is alone is what is tested.
    thread::sleep(CUT_FOR.saturating_sub(load.now().saturating_sub(cut)));
    for now in cluster.partitions(TOPIC).unwrap() {
        assert!(!now.in_sync.contains(&lonely.get()), "{now:?}");
    }
    assert_eq!(far.acknowledged_since(far_cut), 0, "acknowledged with acks=all by a node that is alone");

    wires.mend(lonely).unwrap();
    cluster.until_in_sync(TOPIC, SOON).unwrap();
    far.goes_on(SOON);
    load.goes_on(GOES_ON_WITHIN);
    load.stop_and_check(&cluster);
    far.stop_and_check(&cluster);
    replicas::are_equal(&cluster, TOPIC, partitions);
}

#[test]
fn s06_a_leader_that_is_cut_off_with_its_clients_acknowledges_nothing_and_the_others_go_on() {
    cut_under_load("a_leader_that_is_cut_off", PARTITIONS, |cluster| cluster.leader(TOPIC, 0));
}

#[test]
fn s19_a_controller_that_is_cut_off_is_succeeded_and_comes_back() {
    cut_under_load("a_controller_that_is_cut_off", PARTITIONS, Cluster::controller);
}

#[test]
fn s02_a_follower_that_is_cut_off_is_not_waited_for_and_catches_up() {
    cut_under_load("a_follower_that_is_cut_off", 1, |cluster| {
        let (leader, controller) = (cluster.leader(TOPIC, 0), cluster.controller());
        cluster.ids().into_iter().find(|id| ![leader, controller].contains(id)).unwrap()
    });
}

/// Cuts a leader off in one direction, from the other nodes and not from clients.
#[track_caller]
fn one_way_under_load(test: &str, ends: impl Fn(NodeId, NodeId) -> (NodeId, NodeId)) {
    let Some((wires, cluster)) = start(test, PARTITIONS) else { return };
    let half_cut = cluster.leader(TOPIC, 0);
    let lost: Vec<_> =
        cluster.ids().into_iter().filter(|id| *id != half_cut).map(|other| ends(half_cut, other)).collect();
    let load = Load::start(&cluster, TOPIC, PARTITIONS);
    for (from, to) in &lost {
        wires.drop_between(*from, *to).unwrap();
    }
    println!("{test}: went on {:?} after the cut", load.goes_on(SOON));
    for (from, to) in &lost {
        wires.pass_between(*from, *to).unwrap();
    }
    cluster.until_in_sync(TOPIC, SOON).unwrap();
    load.goes_on(GOES_ON_WITHIN);
    load.stop_and_check(&cluster);
    replicas::are_equal(&cluster, TOPIC, PARTITIONS);
}

#[test]
fn s06_a_leader_that_hears_the_others_and_is_not_heard_is_succeeded() {
    one_way_under_load("a_leader_that_is_not_heard", |leader, other| (leader, other));
}

#[test]
fn s06_a_leader_that_is_heard_and_does_not_hear_the_others_is_succeeded() {
    one_way_under_load("a_leader_that_does_not_hear", |leader, other| (other, leader));
}
