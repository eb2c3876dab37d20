//! Ends in order and ends by force, and what the next start has to do.

use std::{thread, time::Duration};

use polylogue::{
    clock::{Clock, SystemClock},
    wire::{ErrorCode, api::fetch::FetchRequest},
};

use crate::{
    batches::{batch, batch_of},
    nodes::{kill_and_start, metric, restart, start_again, stop},
    peer::{FETCH, Peer, fetch_request},
    support::{WITHIN, eventually, start_node},
};

#[test]
fn sigterm_ends_with_0_and_the_next_start_has_nothing_to_recover() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    for (topic, durability) in [("disk", "disk"), ("memory", "replicated")] {
        peer.create(topic, 2, &[("durability", durability)]);
        for _ in 0..20 {
            peer.append(topic, batch_of(50_000));
        }
    }
    let before = (peer.read_all("disk"), peer.read_all("memory"));
    stop(&mut node);
    start_again(&mut node);
    assert_eq!(metric(&node, "polylogue_recoveries_total"), 0);
    // The last batch of each log, to see that it is the one that was left.
    let read = metric(&node, "polylogue_recovery_bytes_total");
    assert!(read < 4 * 51_000, "{read} bytes of 2 MB were read again");
    let mut peer = Peer::connect(&node);
    assert!((peer.read_all("disk"), peer.read_all("memory")) == before);
    // Also when nothing was done in between.
    restart(&mut node);
    assert_eq!(metric(&node, "polylogue_recoveries_total"), 0);
}

#[test]
fn a_kill_leaves_something_to_recover_and_the_metric_says_so() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("killed", 1, &[]);
    for _ in 0..20 {
        peer.append("killed", batch_of(50_000));
    }
    kill_and_start(&mut node);
    assert!(metric(&node, "polylogue_recoveries_total") >= 1);
    assert_eq!(Peer::connect(&node).latest("killed"), 20);
}

#[test]
fn sigterm_under_load_keeps_every_acknowledged_record_and_ends_in_time() {
    let clock = SystemClock::new();
    let mut node = start_node();
    Peer::connect(&node).create("busy", 1, &[]);
    let mut peer = Peer::connect(&node);
    let writer = thread::spawn(move || {
        let mut acknowledged = Vec::new();
        for number in 0.. {
            let value = format!("record {number}").into_bytes();
            let (id, frame) = peer
                .frame(crate::peer::PRODUCE, &crate::peer::produce_request(-1, "busy", 0, batch(&[&value])));
            let sent = peer.send_bytes(&frame);
            if sent.is_err() || !peer.hears_more() {
                break;
            }
            let answer =
                peer.receive::<polylogue::wire::api::produce::ProduceRequest>(crate::peer::PRODUCE, id);
            let partition = &answer.responses[0].partition_responses[0];
            if partition.error_code != ErrorCode::None {
                break;
            }
            acknowledged.push((partition.base_offset.get(), value));
        }
        acknowledged
    });
    let mut reader = Peer::connect(&node);
    eventually("the load runs", WITHIN, || (reader.latest("busy") > 100).then_some(()));
    let began = clock.monotonic();
    stop(&mut node);
    let took = clock.monotonic().saturating_sub(began);
    let acknowledged = writer.join().unwrap();
    println!("stopped under load within {took:?}, {} acknowledged", acknowledged.len());
    assert!(took < Duration::from_secs(15), "took {took:?}");
    start_again(&mut node);
    let read = Peer::connect(&node).read_all("busy");
    assert!(read.len() >= acknowledged.len(), "{} of {} are there", read.len(), acknowledged.len());
    assert!(read[..acknowledged.len()] == acknowledged);
}

#[test]
fn sigterm_waits_neither_for_idle_nor_for_half_open_connections_nor_for_fetches_that_wait() {
    let clock = SystemClock::new();
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("quiet", 1, &[]);
    let mut half = Peer::connect(&node);
    half.send_bytes(&[0, 0, 1, 0, 0, 3]).unwrap();
    let mut waiting = Peer::connect(&node);
    let mut request = fetch_request("quiet", &[(0, 0)]);
    (request.max_wait_ms, request.min_bytes) = (120_000, 1);
    waiting.send::<FetchRequest>(FETCH, &request);
    // A reader that takes nothing.
    peer.create("large", 1, &[]);
    for _ in 0..8 {
        peer.append("large", batch_of(1_000_000));
    }
    let mut slow = Peer::connect(&node);
    let (_, frame) = slow.frame(FETCH, &fetch_request("large", &[(0, 0)]));
    slow.send_bytes(&frame.repeat(20)).unwrap();
    let began = clock.monotonic();
    stop(&mut node);
    let took = clock.monotonic().saturating_sub(began);
    println!("stopped within {took:?}");
    assert!(took < Duration::from_secs(15), "took {took:?}");
    start_again(&mut node);
    assert_eq!(metric(&node, "polylogue_recoveries_total"), 0);
}
