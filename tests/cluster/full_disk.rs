//! A disk that is full on one node of three: the others go on without it, and it is one of them again when there is space.

use polylogue::{admin::cluster::PartitionReport, local_cluster::LocalCluster, model::NodeId};

use crate::{
    cluster::{Cluster, SOON, create_topic},
    load::{GOES_ON_WITHIN, Load},
    replicas,
    support::{binary, eventually, small_disk::SmallDisk},
};

const TOPIC: &str = "full";
const PARTITIONS: i32 = 3;
const MEBIBYTES: usize = 48;

/// Nodes on small disks. Fields are dropped in this order: the processes, their disks, the folders.
struct Small {
    cluster: Cluster,
    disks: Vec<SmallDisk>,
    _folders: Vec<tempfile::TempDir>,
}

impl Small {
    fn start(test: &str) -> Option<Self> {
        let mut cluster = Cluster::empty();
        let (mut disks, mut folders) = (Vec::new(), Vec::new());
        for options in LocalCluster::options(binary(), 3).unwrap() {
            let folder = tempfile::tempdir().unwrap();
            disks.push(SmallDisk::mount(&folder.path().join("data"), MEBIBYTES, test)?);
            cluster.add(options.folder(folder.path()));
            folders.push(folder);
        }
        cluster.wait_until_ready(SOON).unwrap();
        create_topic(&cluster.bootstrap(), TOPIC, PARTITIONS, &[("min.insync.replicas", "2")]);
        cluster.until_in_sync(TOPIC, SOON).unwrap();
        Some(Self { cluster, disks, _folders: folders })
    }

    fn disk(&self, node: NodeId) -> &SmallDisk {
        &self.disks[usize::try_from(node.get() - 1).unwrap()]
    }
}

/// Fills the disk of a node that leads one partition and follows in two.
#[track_caller]
fn full_under_load(test: &str, whom: impl Fn(&Cluster) -> NodeId) {
    let Some(mut small) = Small::start(test) else { return };
    let full = whom(&small.cluster);
    let load = Load::start(&small.cluster, TOPIC, PARTITIONS);
    let process = small.cluster.node(full).unwrap().pid().unwrap();

    small.disk(full).fill();
    let began = load.now();
    // What is left of a page is written first.
    eventually("others go on without it", SOON, || {
        let partitions = small.cluster.partitions(TOPIC).ok()?;
        let without = |found: &PartitionReport| !found.in_sync.contains(&full.get());
        partitions.iter().all(|found| found.leader.is_some() && without(found)).then_some(())
    });
    load.goes_on(GOES_ON_WITHIN);
    println!("{test}: went on without it {:?} after its disk was full", load.now().saturating_sub(began));
    let node = small.cluster.node(full).unwrap();
    assert!(node.is_running(), "{}", node.log_tail());
    assert_eq!(node.get("/health").unwrap().status, 200);

    small.disk(full).clear();
    small.cluster.until_in_sync(TOPIC, SOON).unwrap();
    assert_eq!(small.cluster.node(full).unwrap().pid().unwrap(), process, "healed without a restart");
    load.goes_on(GOES_ON_WITHIN);
    load.stop_and_check(&small.cluster);
    replicas::are_equal(&small.cluster, TOPIC, PARTITIONS);
}

#[test]
fn s10_others_go_on_without_a_node_whose_disk_is_full_and_with_it_when_there_is_space() {
    full_under_load("a_full_disk", |cluster| {
        let controller = cluster.controller();
        cluster.ids().into_iter().find(|id| *id != controller).unwrap()
    });
}

#[test]
fn s10_others_go_on_without_the_controllers_replicas_when_its_disk_is_full() {
    full_under_load("a_controllers_full_disk", Cluster::controller);
}
