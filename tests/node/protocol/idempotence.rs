//! Idempotent producers: no duplicate from a retry, no gap unseen, no id twice.

use std::collections::HashSet;

use polylogue::wire::ErrorCode;

use crate::{
    batches::{headers, sequenced},
    nodes::{kill_and_start, metric, restart},
    peer::Peer,
    support::start_node,
};

/// Sends three batches of two records, and checks where they are.
fn send_three(peer: &mut Peer, topic: &str, id: i64) {
    for number in 0..3 {
        let values = [format!("{number} a"), format!("{number} b")];
        assert_eq!(peer.append(topic, sequenced(&values, id, 0, number * 2)), i64::from(number) * 2);
    }
}

fn assert_all_are_duplicates(peer: &mut Peer, topic: &str, id: i64, when: &str) {
    for number in 0..3 {
        let values = [format!("{number} a"), format!("{number} b")];
        let answer = peer.produce(topic, sequenced(&values, id, 0, number * 2));
        let found = (answer.error_code, answer.base_offset.get());
        assert_eq!(found, (ErrorCode::None, i64::from(number) * 2), "batch {number} {when}");
    }
    assert_eq!(peer.latest(topic), 6, "{when}");
}

#[test]
fn s09_a_repeated_batch_is_answered_with_its_original_offset_also_after_kill_9_and_restart() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("once", 1, &[]);
    let id = peer.producer_id();
    send_three(&mut peer, "once", id);
    assert_all_are_duplicates(&mut peer, "once", id, "at once");
    assert_eq!(metric(&node, "polylogue_duplicate_batches_total"), 3);
    kill_and_start(&mut node);
    assert_all_are_duplicates(&mut Peer::connect(&node), "once", id, "after kill -9");
    restart(&mut node);
    assert_all_are_duplicates(&mut Peer::connect(&node), "once", id, "after a restart");
    let mut peer = Peer::connect(&node);
    assert_eq!(peer.append("once", sequenced(&["next"], id, 0, 6)), 6, "and it goes on where it was");
    let data = peer.fetch("once", 0).records.into_bytes();
    assert_eq!(headers(&data).len(), 4);
}

#[test]
fn the_last_five_batches_are_remembered_and_an_older_one_is_no_duplicate() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("five", 1, &[]);
    let id = peer.producer_id();
    for number in 0..8 {
        peer.append("five", sequenced(&["x"], id, 0, number));
    }
    for number in 3..8 {
        assert_eq!(peer.append("five", sequenced(&["x"], id, 0, number)), i64::from(number));
    }
    let older = peer.produce("five", sequenced(&["x"], id, 0, 2));
    assert!(
        matches!(older.error_code, ErrorCode::OutOfOrderSequenceNumber | ErrorCode::DuplicateSequenceNumber),
        "{:?}",
        older.error_code
    );
    assert_eq!(peer.latest("five"), 8);
}

#[test]
fn a_gap_is_refused_with_45_and_an_old_epoch_with_47() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("gaps", 1, &[]);
    let id = peer.producer_id();
    peer.append("gaps", sequenced(&["a", "b"], id, 0, 0));
    for sequence in [3, 1, 100] {
        let answer = peer.produce("gaps", sequenced(&["c"], id, 0, sequence));
        assert_eq!(answer.error_code, ErrorCode::OutOfOrderSequenceNumber, "sequence {sequence}");
    }
    peer.append("gaps", sequenced(&["c"], id, 0, 2));
    let late = peer.produce("gaps", sequenced(&["d"], id, 1, 3));
    assert_eq!(late.error_code, ErrorCode::OutOfOrderSequenceNumber, "an epoch begins with 0");
    assert_eq!(peer.append("gaps", sequenced(&["d"], id, 1, 0)), 3);
    let old = peer.produce("gaps", sequenced(&["e"], id, 0, 3));
    assert_eq!(old.error_code, ErrorCode::InvalidProducerEpoch);
    let mixed = peer.produce("gaps", sequenced(&["e"], id, -1, 3));
    assert_ne!(mixed.error_code, ErrorCode::None, "an id without an epoch");
    assert_eq!(peer.latest("gaps"), 4);
}

#[test]
fn sequences_wrap_at_2_to_the_31() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("wrap", 1, &[]);
    // Without state any sequence is taken.
    let id = peer.producer_id();
    let last = sequenced(&["a", "b", "c", "d"], id, 0, i32::MAX - 1);
    assert_eq!(peer.append("wrap", last.clone()), 0);
    assert_eq!(peer.append("wrap", last), 0, "a retry of the batch that wraps");
    let gap = peer.produce("wrap", sequenced(&["e"], id, 0, 3));
    assert_eq!(gap.error_code, ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(peer.append("wrap", sequenced(&["e"], id, 0, 2)), 4);
}

#[test]
fn producer_ids_are_never_given_twice_whatever_is_killed() {
    let mut node = start_node();
    let mut given = HashSet::new();
    for _ in 0..4 {
        let mut peer = Peer::connect(&node);
        for _ in 0..30 {
            let id = peer.producer_id();
            assert!(id >= 0);
            assert!(given.insert(id), "{id} was given twice");
        }
        kill_and_start(&mut node);
    }
    restart(&mut node);
    assert!(given.insert(Peer::connect(&node).producer_id()));
}

#[test]
fn producers_do_not_see_each_others_sequences() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("shared", 1, &[]);
    let ids: Vec<i64> = (0..3).map(|_| peer.producer_id()).collect();
    for sequence in 0..4 {
        for id in &ids {
            peer.append("shared", sequenced(&["x"], *id, 0, sequence));
        }
    }
    assert_eq!(peer.latest("shared"), 12);
}
