//! How nodes find each other, and whom they refuse.

use std::{collections::BTreeSet, time::Duration};

use polylogue::{
    local_cluster::{LocalCluster, LocalNode, LocalNodeError, NodeOptions},
    model::NodeId,
};

use crate::{
    cluster::{Cluster, SOON, create_topic, log, until_it_listens},
    support::{binary, eventually},
};

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

fn options(id: i32) -> NodeOptions {
    NodeOptions::new(binary(), NodeId::new(id)).unwrap()
}

/// Waits until all nodes say that they are of one cluster with these members, and gives its id.
#[track_caller]
fn until_one_cluster(cluster: &Cluster, members: &[i32]) -> String {
    eventually("all nodes are of one cluster", SOON, || {
        let reports: Vec<_> = cluster.nodes.iter().map(|node| node.report().ok()).collect::<Option<_>>()?;
        let ids: BTreeSet<_> = reports.iter().map(|report| report.cluster_id.clone()).collect();
        assert!(ids.iter().flatten().count() <= 1, "more than one cluster: {ids:?}");
        let is_whole = reports.iter().all(|report| {
            report.nodes.iter().map(|node| node.id).eq(members.iter().copied())
                && report.voters == members
                && report.controller.is_some()
        });
        let id = ids.into_iter().next().flatten();
        if is_whole && reports.iter().all(|report| report.cluster_id == id) { id } else { None }
    })
}

/// Waits for a process that is to end by itself, and gives what it printed.
#[track_caller]
fn until_it_refuses(node: &mut LocalNode) -> String {
    let ended = node.wait_for("it did not end by itself", SOON, |_| Ok(false)).unwrap_err();
    let LocalNodeError::Ended { status, .. } = ended else { panic!("{ended}") };
    assert!(!status.success(), "it ended with {status}:\n{}", log(node));
    log(node)
}

#[test]
fn s16_three_seeds_started_in_any_order_become_exactly_one_cluster() {
    for order in ORDERS {
        let mut cluster = Cluster::empty();
        let options = LocalCluster::options(binary(), 3).unwrap();
        for place in order {
            // Nobody begins before all have been heard.
            assert!(
                cluster
                    .nodes
                    .iter()
                    .all(|node| node.report().is_ok_and(|report| report.cluster_id.is_none()))
            );
            until_it_listens(cluster.add(options[place].clone()));
        }
        cluster.wait_until_ready(SOON).unwrap();
        until_one_cluster(&cluster, &[1, 2, 3]);
    }
}

#[test]
fn s16_a_list_with_only_oneself_begins_at_once_and_a_later_node_joins_through_one_live_seed() {
    let mut cluster = Cluster::empty();
    let first = options(1);
    let seed = first.cluster_address();
    cluster.add(first.seeds(&[seed])).wait_until_ready(SOON).unwrap();
    let id = until_one_cluster(&cluster, &[1]);

    // The other entry of its list is nobody.
    let nobody = options(9).cluster_address();
    let second = options(2).seeds(&[nobody, seed]);
    cluster.add(second).wait_until_ready(SOON).unwrap();
    let third = options(3).seeds(&[seed]);
    cluster.add(third).wait_until_ready(SOON).unwrap();
    assert_eq!(until_one_cluster(&cluster, &[1, 2, 3]), id);
    create_topic(&cluster.bootstrap(), "joined", 1, &[]);
    cluster.until_in_sync("joined", SOON).unwrap();
}

#[test]
fn s16_a_node_of_another_cluster_is_refused_with_both_ids() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::empty();
    let mut others = LocalCluster::options(binary(), 3).unwrap();
    others[1] = others[1].clone().folder(folder.path());
    let stranger = others[1].clone();
    for options in others {
        cluster.add(options);
    }
    cluster.wait_until_ready(SOON).unwrap();
    let theirs = until_one_cluster(&cluster, &[1, 2, 3]);
    cluster.stop(SOON).unwrap();
    cluster.nodes.clear();

    let first = options(1);
    let seed = first.cluster_address();
    cluster.add(first.seeds(&[seed])).wait_until_ready(SOON).unwrap();
    let ours = until_one_cluster(&cluster, &[1]);
    let mut refused = LocalNode::start(stranger.seeds(&[seed])).unwrap();
    let said = until_it_refuses(&mut refused);
    let told = format!("data folder belongs to cluster {theirs}, and all seeds to another: {seed} to {ours}");
    assert!(said.contains(&told), "{told:?} is missing:\n{said}");
    assert_eq!(until_one_cluster(&cluster, &[1]), ours);
}

#[test]
fn s17_a_second_node_with_an_id_that_lives_is_refused_and_the_first_one_stays() {
    let mut cluster = Cluster::of_three();
    let seeds: Vec<_> = cluster.nodes.iter().map(LocalNode::cluster_address).collect();
    let mut refused = LocalNode::start(options(2).seeds(&seeds)).unwrap();
    let said = until_it_refuses(&mut refused);
    assert!(said.contains("node id 2 is taken"), "{said}");
    until_one_cluster(&cluster, &[1, 2, 3]);
    cluster.wait_until_ready(Duration::from_secs(5)).unwrap();
}
