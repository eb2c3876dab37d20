//! More nodes lost than may be: nothing is promised that cannot be kept, and what was promised is there afterwards.

use std::time::Duration;

use polylogue::model::NodeId;

use crate::{
    cluster::{Cluster, SOON},
    load::{GOES_ON_WITHIN, Load, try_once},
};

const TOPIC: &str = "majority";
const PARTITIONS: i32 = 3;
/// How long a record is tried to be written where it cannot be.
const TRIED_FOR: Duration = Duration::from_secs(2);

#[test]
fn s10_two_of_three_killed_acknowledge_nothing_lose_nothing_and_all_goes_on_when_one_is_back() {
    let mut cluster = Cluster::with_topic(TOPIC, PARTITIONS, &[("min.insync.replicas", "2")]);
    let load = Load::start(&cluster, TOPIC, PARTITIONS);
    let (survivor, rest) = (cluster.leader(TOPIC, 0), cluster.ids());
    let killed: Vec<NodeId> = rest.into_iter().filter(|id| *id != survivor).collect();
    cluster.kill(&killed);

    for result in try_once(&cluster.bootstrap(), TOPIC, PARTITIONS, TRIED_FOR) {
        let written = result.ok();
        assert_eq!(
            written, None,
            "one node of three acknowledged a record with acks=all and two to be in sync"
        );
    }
    cluster.start_again(&killed[..1]);
    load.goes_on(SOON);
    cluster.start_again(&killed[1..]);
    cluster.until_in_sync(TOPIC, SOON).unwrap();
    load.goes_on(GOES_ON_WITHIN);
    load.stop_and_check(&cluster);
}

#[test]
fn s04_all_nodes_killed_at_once_under_load_have_all_that_was_acknowledged() {
    let mut cluster = Cluster::with_topic(TOPIC, PARTITIONS, &[("min.insync.replicas", "2")]);
    let load = Load::start(&cluster, TOPIC, PARTITIONS);
    let all = cluster.ids();
    cluster.kill(&all);
    cluster.start_again(&all);
    load.goes_on(SOON);
    load.stop_and_check(&cluster);
}
