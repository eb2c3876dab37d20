//! A cluster on a network that can be cut, where one can be made.

use polylogue::local_cluster::Wires;

use crate::{
    cluster::{Cluster, SOON},
    support::{binary, skip::skip},
};

/// Wires for so many nodes; none, after having said so, where this needs more rights than there are. The test's thread
/// is in their hub until they are dropped.
#[track_caller]
pub(crate) fn lay(test: &str, nodes: u8) -> Option<Wires> {
    match Wires::lay(nodes) {
        Ok(wires) => Some(wires),
        Err(why) => {
            skip(test, "network namespaces", &why.to_string());
            None
        }
    }
}

/// A cluster whose nodes are each at the end of one wire, up and ready.
#[track_caller]
pub(crate) fn cluster(wires: &Wires) -> Cluster {
    let mut cluster = Cluster::empty();
    for options in wires.options(binary()).unwrap() {
        cluster.add(options);
    }
    cluster.wait_until_ready(SOON).unwrap();
    cluster
}
