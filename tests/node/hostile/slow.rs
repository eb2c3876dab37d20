//! Peers that send half, or read nothing: dropped after their time, and nobody waits for them.

use std::{io::Write, net::TcpStream, thread, time::Duration};

use bytes::BufMut;
use polylogue::{
    clock::{Clock, SystemClock},
    local_cluster::LocalNode,
    wire::{ApiKey, ErrorCode, api::metadata::MetadataRequest},
};

use super::{MEMORY, SLOWEST, framed, header, wide_metadata};
use crate::{
    batches::batch_of,
    nodes::{labelled, start_with},
    peer::{FETCH, METADATA, PRODUCE, Peer, fetch_request, versions},
    support::{WITHIN, eventually, start_node},
};

const HALF_OPEN: usize = 400;

/// Connections that are open in every half way there is.
fn half_open(node: &LocalNode) -> Vec<Peer> {
    let mut peers = Vec::new();
    for number in 0..HALF_OPEN {
        let mut peer = Peer::connect(node);
        let mut bytes = Vec::new();
        match number % 4 {
            0 => {}
            1 => bytes.extend([0, 0]),
            2 => {
                bytes.put_i32(100 << 20);
                bytes.extend_from_slice(&header(ApiKey::Produce.code(), PRODUCE));
                bytes.resize(3 << 10, 0);
            }
            _ => {
                bytes.put_i32(60);
                bytes.extend_from_slice(&header(ApiKey::Metadata.code(), METADATA));
            }
        }
        peer.send_bytes(&bytes).unwrap();
        peers.push(peer);
    }
    peers
}

#[test]
fn four_hundred_half_open_connections_keep_no_new_client_waiting_and_take_little_memory() {
    let node = start_node();
    Peer::connect(&node).create("good", 1, &[]);
    Peer::connect(&node).append("good", batch_of(10));
    let before = node.resident_bytes().unwrap();
    let peers = half_open(&node);
    let open = || labelled(&node, "polylogue_connections", "listener=\"kafka\"");
    eventually("all are accepted", WITHIN, || (open() >= HALF_OPEN as u64).then_some(()));
    let clock = SystemClock::new();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let began = clock.monotonic();
        let mut peer = Peer::connect(&node);
        peer.call(3, &versions());
        let offset = peer.append("good", batch_of(100));
        assert_eq!(peer.fetch("good", offset).error_code, ErrorCode::None);
        slowest = slowest.max(clock.monotonic().saturating_sub(began));
    }
    let grown = node.resident_bytes().unwrap().saturating_sub(before);
    println!("beside {HALF_OPEN} half-open connections: new client {slowest:?}, memory +{grown} bytes");
    assert!(slowest < SLOWEST, "a new client waited {slowest:?}");
    assert!(grown < MEMORY, "memory grew by {grown} bytes");
    assert!(open() >= HALF_OPEN as u64, "they were there all the time");
    drop(peers);
    eventually("they are gone", WITHIN, || (open() < 2).then_some(()));
}

/// Half a request.
fn half_request() -> Vec<u8> {
    let whole = framed(&header(ApiKey::Metadata.code(), METADATA));
    whole[..whole.len() - 3].to_vec()
}

#[test]
fn a_half_sent_frame_is_dropped_after_its_time_out_and_an_idle_connection_is_not() {
    let node = start_with(&[("limits.frame-timeout", "300ms")]);
    let mut idle = Peer::connect(&node);
    idle.metadata(&[], false);
    let mut half = Peer::connect(&node);
    half.send_bytes(&half_request()).unwrap();
    half.assert_closed("half a request");
    let mut prefix = Peer::connect(&node);
    prefix.send_bytes(&[0, 0, 1]).unwrap();
    prefix.assert_closed("half a length");
    // A byte now and then is no progress either.
    let mut trickle = TcpStream::connect(node.kafka_address()).unwrap();
    trickle.write_all(&1_000_000_i32.to_be_bytes()).unwrap();
    eventually("a trickle is cut off", WITHIN, || {
        thread::sleep(Duration::from_millis(20));
        trickle.write_all(&[0]).err()
    });
    idle.metadata(&[], false);
}

#[test]
fn a_half_sent_frame_is_dropped_in_time_also_on_a_connection_that_was_idle_before() {
    let clock = SystemClock::new();
    let node = start_with(&[("limits.frame-timeout", "500ms")]);
    let mut peer = Peer::connect(&node);
    peer.metadata(&[], false);
    // Idle for longer than the node keeps the buffers of a silent connection.
    assert!(!peer.hears_within(Duration::from_millis(5500)));
    peer.send_bytes(&half_request()).unwrap();
    let began = clock.monotonic();
    assert!(peer.hears_within(Duration::from_secs(10)), "half a request is still held after 20 time-outs");
    peer.assert_closed("half a request after a silence");
    println!("dropped {:?} after it was half sent", clock.monotonic().saturating_sub(began));
}

#[test]
fn a_frame_in_two_pieces_is_served_also_where_the_connection_was_idle_before() {
    let node = start_with(&[("limits.frame-timeout", "2s")]);
    let mut peer = Peer::connect(&node);
    peer.metadata(&[], false);
    // The first piece comes shortly before the node looks after the connection.
    assert!(!peer.hears_within(Duration::from_millis(4700)));
    let (id, frame) = peer.frame(METADATA, &wide_metadata(1));
    peer.send_bytes(&frame[..10]).unwrap();
    assert!(!peer.hears_within(Duration::from_millis(800)), "closed, although the frame's time is not over");
    peer.send_bytes(&frame[10..]).unwrap();
    peer.receive::<MetadataRequest>(METADATA, id);
}

#[test]
fn a_reader_that_takes_nothing_is_dropped_and_delays_nobody() {
    let node = start_with(&[("limits.write-timeout", "500ms")]);
    let mut good = Peer::connect(&node);
    for (topic, verify) in [("checked", "always"), ("unchecked", "never")] {
        good.create(topic, 1, &[("verify.on.read", verify)]);
        for _ in 0..8 {
            good.append(topic, batch_of(1_000_000));
        }
        let mut slow = Peer::connect(&node);
        let (_, frame) = slow.frame(FETCH, &fetch_request(topic, &[(0, 0)]));
        // Far more answers than the sockets' buffers hold.
        slow.send_bytes(&frame.repeat(40)).unwrap();
        let open = || labelled(&node, "polylogue_connections", "listener=\"kafka\"");
        eventually("the slow reader is dropped", WITHIN, || {
            good.append(topic, batch_of(10));
            (open() < 2).then_some(())
        });
        let taken = slow.read_until_closed().len();
        assert!(taken < 40 * (4 << 20), "{topic}: it was sent everything");
    }
    let reason = "listener=\"kafka\",reason=\"slow_reader\"";
    assert_eq!(labelled(&node, "polylogue_connections_dropped_total", reason), 2);
}
