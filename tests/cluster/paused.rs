//! A leader that stands still, as a machine does that swaps or is moved, and then goes on as if nothing had been.

use std::{thread, time::Duration};

use polylogue::clock::{Clock, SystemClock};

use crate::{
    cluster::{Cluster, SOON},
    load::{GOES_ON_WITHIN, Load},
};

const TOPIC: &str = "paused";
const PARTITIONS: i32 = 3;
/// More than twice a lease.
const PAUSE: Duration = Duration::from_secs(4);

#[test]
fn s06_a_paused_leader_is_fenced_and_follows_again_with_all_that_it_had_acknowledged() {
    let mut cluster = Cluster::with_topic(TOPIC, PARTITIONS, &[("min.insync.replicas", "2")]);
    let load = Load::start(&cluster, TOPIC, PARTITIONS);
    let paused = cluster.leader(TOPIC, 0);
    let term = cluster.partitions(TOPIC).unwrap()[0].leader_epoch;

    let clock = SystemClock::new();
    cluster.node(paused).unwrap().pause().unwrap();
    println!("went on {:?} after the leader stood still", load.goes_on(GOES_ON_WITHIN));
    let now = cluster.partitions(TOPIC).unwrap().remove(0);
    assert!(now.leader != Some(paused.get()) && now.leader_epoch > term, "{now:?} in term {term}");
    assert!(!now.in_sync.contains(&paused.get()), "{now:?}");
    // How long it stands still is what is tested.
    thread::sleep(PAUSE.saturating_sub(clock.monotonic()));

    cluster.node(paused).unwrap().resume().unwrap();
    cluster.until_in_sync(TOPIC, SOON).unwrap();
    load.goes_on(GOES_ON_WITHIN);
    load.stop_and_check(&cluster);
}
