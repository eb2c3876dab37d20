//! How far groups are behind, as a node's metrics tell it.

use polylogue::{local_cluster::LocalNode, wire::ErrorCode, wire::Str};

use crate::{
    batches::batch,
    groups::{commit, find_coordinator},
    nodes::{kill_and_start, labelled, metric, start_with},
    peer::Peer,
    support::{WITHIN, eventually},
};

const LAG: &str = "polylogue_group_lag";
const LEFT_OUT: &str = "polylogue_group_lag_left_out";

fn start(most: &str) -> (LocalNode, Peer) {
    let node = start_with(&[("groups.offsets-partitions", "4"), ("groups.lag-metrics-max", most)]);
    let mut peer = Peer::connect(&node);
    peer.create("t", 1, &[]);
    peer.append("t", batch(&["v"; 10]));
    (node, peer)
}

#[track_caller]
fn commit_as_nobody(peer: &mut Peer, group: &str, offset: i64) {
    find_coordinator(peer, group);
    assert_eq!(commit(peer, &group.into(), &Str::default(), -1, offset), ErrorCode::None);
}

/// Figures are at most a second old.
#[track_caller]
fn lag_becomes(node: &LocalNode, labels: &str, expected: Option<u64>) {
    eventually(&format!("{labels} has the lag {expected:?}"), WITHIN, || {
        let text = node.get("/metrics").unwrap().body;
        let there = text.contains(&format!("{LAG}{{{labels}}} "));
        let lag = there.then(|| labelled(node, LAG, labels));
        (lag == expected).then_some(())
    });
}

#[test]
fn lag_is_what_was_written_and_not_committed_and_goes_with_the_topic() {
    let (mut node, mut peer) = start("100");
    let labels = r#"group="g",topic="t",partition="0""#;
    commit_as_nobody(&mut peer, "g", 4);
    lag_becomes(&node, labels, Some(6));
    peer.append("t", batch(&["v"; 5]));
    lag_becomes(&node, labels, Some(11));
    commit_as_nobody(&mut peer, "g", 15);
    lag_becomes(&node, labels, Some(0));
    commit_as_nobody(&mut peer, "g", 99);
    lag_becomes(&node, labels, Some(0));
    commit_as_nobody(&mut peer, "g", 14);
    kill_and_start(&mut node);
    lag_becomes(&node, labels, Some(1));
    assert_eq!(metric(&node, LEFT_OUT), 0);
    assert_eq!(Peer::connect(&node).delete("t"), ErrorCode::None);
    lag_becomes(&node, labels, None);
}

#[test]
fn lag_is_shown_up_to_the_bound_and_the_rest_is_counted() {
    let (node, mut peer) = start("2");
    for group in ["a", "b", "c", "d", "e"] {
        commit_as_nobody(&mut peer, group, 1);
    }
    eventually("three are left out", WITHIN, || (metric(&node, LEFT_OUT) == 3).then_some(()));
    let text = node.get("/metrics").unwrap().body;
    assert_eq!(text.matches(&format!("{LAG}{{")).count(), 2, "{text}");
}

#[test]
fn a_group_that_is_named_to_break_the_format_does_not() {
    let (node, mut peer) = start("100");
    commit_as_nobody(&mut peer, "a\"b\\\nc", 4);
    lag_becomes(&node, r#"group="a\"b\\\nc",topic="t",partition="0""#, Some(6));
}

#[test]
fn with_a_bound_of_nothing_nothing_is_measured() {
    let (node, mut peer) = start("0");
    commit_as_nobody(&mut peer, "g", 4);
    assert!(!node.get("/metrics").unwrap().body.contains(&format!("{LAG}{{")));
}
