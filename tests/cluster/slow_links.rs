//! Links between nodes that are slow, stand still and break.

use std::{env, thread, time::Duration};

use polylogue::local_cluster::LocalCluster;

use crate::{
    cluster::{Cluster, SOON, create_topic},
    load::Load,
    proxies::Proxies,
    replicas,
    support::binary,
};

const TOPIC: &str = "slow-links";
const FAR_TOPIC: &str = "far-apart";
const PARTITIONS: i32 = 3;
/// Each way. The quorum's heartbeats have 50 ms to be answered.
const DELAY: Duration = Duration::from_millis(10);
/// Each way, between continents.
const FAR: Duration = Duration::from_millis(100);
/// Above the round trip over these.
const HEARTBEAT: &str = "cluster.quorum-heartbeat-interval=300ms";
/// Shorter than a lease.
const STALL: Duration = Duration::from_secs(1);
const ROUNDS: u32 = if cfg!(feature = "long") { 60 } else { 6 };
/// Two for each partition that a node leads when it is taken for dead: away from it, and back.
const FAIL_OVERS_MAX: i32 = 2 * 3 * 3;

fn seed() -> u64 {
    let given = env::var("POLYLOGUE_SEED").ok();
    given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap())
}

fn terms(cluster: &Cluster) -> i32 {
    cluster.partitions(TOPIC).unwrap().iter().map(|partition| partition.leader_epoch).sum()
}

#[test]
fn s06_links_that_are_slow_stall_and_break_lose_nothing_and_depose_hardly_anybody() {
    let seed = seed();
    println!("POLYLOGUE_SEED={seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut cluster = Cluster::empty();
    let (proxies, nodes) = Proxies::before(LocalCluster::options(binary(), 3).unwrap(), DELAY);
    for options in nodes {
        cluster.add(options);
    }
    cluster.wait_until_ready(SOON).unwrap();
    create_topic(&cluster.bootstrap(), TOPIC, PARTITIONS, &[("min.insync.replicas", "2")]);
    cluster.until_in_sync(TOPIC, SOON).unwrap();
    let load = Load::start(&cluster, TOPIC, PARTITIONS);

    let (before, mut broken) = (terms(&cluster), 0);
    for _ in 0..ROUNDS {
        let (stalled, other) = (dice.usize(..3), dice.usize(..3));
        broken += u32::from(proxies.break_one(other, &mut dice));
        proxies.stall(stalled, true);
        // How long it stands still is what is tested.
        thread::sleep(STALL);
        proxies.stall(stalled, false);
        broken += u32::from(proxies.break_one(stalled, &mut dice));
        load.goes_on(SOON);
    }
    assert!(broken > ROUNDS, "{broken} connections were broken");
    cluster.until_in_sync(TOPIC, SOON).unwrap();
    let fail_overs = terms(&cluster) - before;
    println!("{broken} connections broken in {ROUNDS} stalls: {fail_overs} fail-overs");
    load.stop_and_check(&cluster);
    replicas::are_equal(&cluster, TOPIC, PARTITIONS);
    // What comes of a stall that meets a broken connection by chance is not more than a few of them.
    assert!(fail_overs <= FAIL_OVERS_MAX * ROUNDS.div_ceil(6) as i32, "{fail_overs} fail-overs");
}

#[test]
fn voters_a_tenth_of_a_second_apart_form_a_cluster_that_bears_a_death() {
    let mut cluster = Cluster::empty();
    let (_proxies, nodes) = Proxies::before(LocalCluster::options(binary(), 3).unwrap(), FAR);
    for options in nodes {
        cluster.add(options.argument("--set").argument(HEARTBEAT));
    }
    cluster.wait_until_ready(SOON).unwrap();
    create_topic(&cluster.bootstrap(), FAR_TOPIC, PARTITIONS, &[("min.insync.replicas", "2")]);
    cluster.until_in_sync(FAR_TOPIC, SOON).unwrap();
    let load = Load::start(&cluster, FAR_TOPIC, PARTITIONS);
    load.goes_on(SOON);
    let victim = cluster.leader(FAR_TOPIC, 0);
    cluster.kill(&[victim]);
    load.goes_on(SOON);
    cluster.node(victim).unwrap().start_again().unwrap();
    cluster.node(victim).unwrap().wait_until_ready(SOON).unwrap();
    cluster.until_in_sync(FAR_TOPIC, SOON).unwrap();
    load.stop_and_check(&cluster);
    replicas::are_equal(&cluster, FAR_TOPIC, PARTITIONS);
}
