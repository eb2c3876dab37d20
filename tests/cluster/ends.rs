//! Topics whose acknowledged records are in memory only, after all nodes were killed at once.

use polylogue::client::{Admin, admin::ConfigChange};
use tokio::runtime::Runtime;

use crate::{
    cluster::{Cluster, SOON, client, log, name},
    load::{Load, try_once},
    support::eventually,
};

const TOPIC: &str = "ends";
const PARTITIONS: i32 = 3;
const IN_MEMORY: &[(&str, &str)] = &[("min.insync.replicas", "2"), ("durability", "replicated")];

/// The page cache outlives a killed process, so that nothing is lost although nobody can know.
#[test]
fn s11_all_nodes_killed_at_once_with_records_in_memory_serve_again_and_have_all_that_was_acknowledged() {
    let mut cluster = Cluster::with_topic(TOPIC, PARTITIONS, IN_MEMORY);
    let load = Load::start(&cluster, TOPIC, PARTITIONS);
    let all = cluster.ids();
    cluster.kill(&all);
    cluster.start_again(&all);
    load.goes_on(SOON);
    let recovered: f64 = cluster
        .nodes
        .iter()
        .filter_map(|node| node.metric("polylogue_recovered_leaders_total").unwrap())
        .sum();
    assert!(recovered >= f64::from(PARTITIONS), "{recovered} elections were told of");
    load.stop_and_check(&cluster);
}

#[test]
fn s11_without_one_of_the_last_set_a_topic_waits_and_says_for_whom_until_unclean_leaders_are_allowed() {
    let mut cluster = Cluster::with_topic(TOPIC, PARTITIONS, IN_MEMORY);
    assert!(try_once(&cluster.bootstrap(), TOPIC, PARTITIONS, SOON).iter().all(Result::is_ok));
    let all = cluster.ids();
    cluster.kill(&all);
    let (gone, back) = (all[2], &all[..2]);
    cluster.start_again(back);
    eventually("it is said who is waited for", SOON, || {
        let partitions = cluster.report().ok()?.partitions;
        let is_said = partitions.waiting_for == [gone.get()];
        (is_said && partitions.without_leader.count >= PARTITIONS as usize).then_some(())
    });
    // One of the two may have been taken for dead while the others were still thought to go on: it is not waited for.
    let says = format!("these nodes are waited for partitions={PARTITIONS} nodes=\"{gone}\"");
    let has_said = || cluster.nodes.iter().any(|node| back.contains(&node.id()) && log(node).contains(&says));
    eventually("one of those that are back says it too", SOON, || has_said().then_some(()));
    assert!(cluster.partitions(TOPIC).unwrap().iter().all(|partition| partition.leader.is_none()));

    Runtime::new().unwrap().block_on(async {
        let allowed = [ConfigChange::Set {
            name: "unclean.leader.election.enable".to_owned(),
            value: "true".to_owned(),
        }];
        let admin = Admin::new(&client(&cluster.bootstrap()));
        admin.alter_topic_configs(&name(TOPIC), &allowed).await.unwrap();
    });
    cluster.until_led(TOPIC, SOON).unwrap();
    let unclean: f64 =
        cluster.nodes.iter().filter_map(|node| node.metric("polylogue_unclean_elections_total").ok()?).sum();
    assert!(unclean >= f64::from(PARTITIONS), "{unclean} elections were told of");
    cluster.start_again(&[gone]);
    cluster.until_in_sync(TOPIC, SOON).unwrap();
    assert!(try_once(&cluster.bootstrap(), TOPIC, PARTITIONS, SOON).iter().all(Result::is_ok));
}
