//! Bounds on connections, frames and memory, and the order of answers within them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::BytesMut;
use polylogue::{
    clock::{Clock, SystemClock},
    local_cluster::LocalNode,
    record::{Compression, Producer},
    wire::{
        ApiKey, ErrorCode,
        api::{
            api_versions::ApiVersionsRequest, fetch::FetchRequest, metadata::MetadataRequest,
            produce::ProduceRequest,
        },
    },
};

use super::{MEMORY, SLOWEST};
use crate::{
    batches::{batch, batch_of, build, headers, now},
    nodes::{labelled, start_with},
    peer::{FETCH, METADATA, PRODUCE, Peer, fetch_request, produce_request, versions},
    support::{WITHIN, eventually, start_node},
};

/// A connection from an address of our own choice.
fn connect_from(node: &LocalNode, from: Ipv4Addr) -> Peer {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&node.kafka_address().parse::<SocketAddr>().unwrap().into()).unwrap();
    Peer::over(socket.into())
}

#[test]
fn connections_are_bounded_in_all_and_per_address_and_a_place_that_is_free_again_is_given_away() {
    let node = start_with(&[("limits.connections", "6"), ("limits.connections-per-address", "4")]);
    let open = || labelled(&node, "polylogue_connections", "listener=\"kafka\"");
    let refused = |reason: &str| {
        let labels = format!("listener=\"kafka\",reason=\"{reason}\"");
        labelled(&node, "polylogue_connections_refused_total", &labels)
    };
    eventually("the start's own connection is gone", WITHIN, || (open() == 0).then_some(()));
    let (here, there) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
    let serve = |mut peer: Peer| {
        peer.call(0, &versions());
        peer
    };
    let mut kept: Vec<Peer> = (0..4).map(|_| serve(connect_from(&node, here))).collect();
    connect_from(&node, here).assert_closed("a fifth of one address");
    assert_eq!((refused("per_address"), refused("total")), (1, 0));
    kept.extend((0..2).map(|_| serve(connect_from(&node, there))));
    connect_from(&node, there).assert_closed("a seventh in all");
    assert_eq!((refused("per_address"), refused("total")), (1, 1));
    kept.remove(0);
    eventually("a place is free", WITHIN, || (open() == 5).then_some(()));
    kept.push(serve(connect_from(&node, here)));
    for peer in &mut kept {
        peer.call(0, &versions());
    }
}

#[test]
fn a_frame_above_the_bound_closes_the_connection_and_one_at_the_bound_is_served() {
    let node = start_with(&[("limits.request-bytes", "1MiB")]);
    for claimed in [(1 << 20) + 1, i32::MAX, -1, i32::MIN, 0, 7] {
        let mut peer = Peer::connect(&node);
        peer.send_bytes(&claimed.to_be_bytes()).unwrap();
        peer.assert_closed(&format!("a frame of {claimed} bytes"));
    }
    let mut peer = Peer::connect(&node);
    peer.create("large", 1, &[("max.message.bytes", "2000000")]);
    let (_, empty) = peer.frame(PRODUCE, &produce_request(-1, "large", 0, batch_of(100_000)));
    let overhead = empty.len() - 100_000;
    let (id, frame) =
        peer.frame(PRODUCE, &produce_request(-1, "large", 0, batch_of((1 << 20) + 4 - overhead)));
    assert_eq!(frame.len(), (1 << 20) + 4, "exactly the bound behind the length");
    peer.send_bytes(&frame).unwrap();
    let answer = peer.receive::<ProduceRequest>(PRODUCE, id);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, ErrorCode::None);
}

#[test]
fn pipelined_requests_of_all_kinds_are_answered_in_their_order() {
    /// Stands for what is not answered; never sent itself.
    const SILENT: ApiKey = ApiKey::DescribeProducers;
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("order", 2, &[]);
    peer.create("memory", 1, &[("durability", "replicated")]);
    let mut bytes = BytesMut::new();
    let mut expected = Vec::new();
    for round in 0..40_i32 {
        let mut add = |api, (id, frame): (i32, BytesMut)| {
            bytes.extend_from_slice(&frame);
            expected.extend((api != SILENT).then_some((api, id)));
        };
        let value = batch(&[format!("round {round}")]);
        add(ApiKey::Produce, peer.frame(PRODUCE, &produce_request(-1, "order", round % 2, value.clone())));
        add(ApiKey::Produce, peer.frame(PRODUCE, &produce_request(1, "memory", 0, value.clone())));
        add(ApiKey::Produce, peer.frame(PRODUCE, &produce_request(-1, "nobody", 0, value.clone())));
        // No acknowledgement asked for: no answer, and the next one is another request's.
        add(SILENT, peer.frame(PRODUCE, &produce_request(0, "memory", 0, value.clone())));
        if round % 3 == 0 {
            add(ApiKey::Metadata, peer.frame(METADATA, &MetadataRequest::default()));
            add(ApiKey::Fetch, peer.frame(FETCH, &fetch_request("order", &[(round % 2, 0)])));
        }
        add(ApiKey::Produce, peer.frame(PRODUCE, &produce_request(-1, "order", round % 2, value)));
        if round % 5 == 0 {
            add(ApiKey::ApiVersions, peer.frame(3, &versions()));
        }
    }
    peer.send_bytes(&bytes).unwrap();
    let mut next = [0, 0];
    for (api, id) in expected {
        if api == ApiKey::Produce {
            let answer = peer.receive::<ProduceRequest>(PRODUCE, id).responses.remove(0);
            let partition = &answer.partition_responses[0];
            match answer.name.as_str() {
                "nobody" => assert_eq!(partition.error_code, ErrorCode::UnknownTopicOrPartition),
                "order" => {
                    let next = &mut next[partition.index.get() as usize];
                    assert_eq!((partition.error_code, partition.base_offset.get()), (ErrorCode::None, *next));
                    *next += 1;
                }
                _ => assert_eq!(partition.error_code, ErrorCode::None),
            }
        } else if api == ApiKey::Fetch {
            let answer = peer.receive::<FetchRequest>(FETCH, id);
            let data = answer.responses[0].partitions[0].clone();
            let end = headers(&data.records.into_bytes()).last().unwrap().next_offset().get();
            let written = next[data.partition_index.get() as usize];
            assert_eq!(end, written, "a fetch sees what its own connection was told is written");
        } else if api == ApiKey::Metadata {
            peer.receive::<MetadataRequest>(METADATA, id);
        } else {
            peer.receive::<ApiVersionsRequest>(3, id);
        }
    }
}

#[test]
fn records_that_unpack_to_a_thousand_times_their_size_take_no_memory_and_delay_nobody() {
    const AT_ONCE: usize = 8;
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("good", 1, &[]);
    peer.append("good", batch_of(10));
    for (codec, mebibytes) in [(Compression::Zstd, 60), (Compression::Gzip, 60)] {
        let bomb = build(&[vec![0; mebibytes << 20]], now(), codec, Producer::NONE);
        assert!(bomb.len() < 100_000, "{codec:?}: {}", bomb.len());
        let before = node.resident_bytes().unwrap();
        let mut bombers: Vec<Peer> = (0..AT_ONCE).map(|_| Peer::connect(&node)).collect();
        let request = produce_request(1, "good", 0, bomb);
        let sent: Vec<i32> = bombers.iter_mut().map(|bomber| bomber.send(PRODUCE, &request)).collect();
        let (clock, mut slowest, mut most) = (SystemClock::new(), Duration::ZERO, 0);
        for _ in 0..20 {
            let began = clock.monotonic();
            Peer::connect(&node).append("good", batch_of(10));
            slowest = slowest.max(clock.monotonic().saturating_sub(began));
            most = most.max(node.resident_bytes().unwrap());
        }
        for (bomber, id) in bombers.iter_mut().zip(sent) {
            bomber.receive::<ProduceRequest>(PRODUCE, id);
        }
        let grown = most.max(node.resident_bytes().unwrap()).saturating_sub(before);
        println!("{codec:?}: {AT_ONCE} at once, a good client {slowest:?}, memory +{grown} bytes");
        assert!(slowest < SLOWEST, "{codec:?}: a good client waited {slowest:?}");
        assert!(grown < MEMORY, "{codec:?}: memory grew by {grown} bytes");
    }
}

#[test]
fn half_requests_that_wait_for_each_others_memory_give_it_back_in_time() {
    let limits = [
        ("limits.request-bytes", "1MiB"),
        ("limits.in-flight-bytes", "1MiB"),
        ("limits.frame-timeout", "1s"),
    ];
    let node = start_with(&limits);
    let mut peer = Peer::connect(&node);
    peer.create("large", 1, &[]);
    // Each has more than half of what there is for all, and needs the rest of it.
    let mut waiting: Vec<Peer> = (0..3).map(|_| Peer::connect(&node)).collect();
    for peer in &mut waiting {
        let (_, frame) = peer.frame(PRODUCE, &produce_request(-1, "large", 0, batch_of(1_000_000)));
        peer.send_bytes(&frame[..frame.len() - 1]).unwrap();
    }
    // A small one needs no share of it.
    peer.append("large", batch_of(100));
    eventually("a large request of somebody else is taken", WITHIN, || {
        let mut peer = Peer::connect(&node);
        let (_, frame) = peer.frame(PRODUCE, &produce_request(-1, "large", 0, batch_of(500_000)));
        // It may have waited too long itself, and been closed.
        peer.send_bytes(&frame).and_then(|()| peer.receive_bytes()).ok()
    });
    for peer in waiting {
        peer.assert_closed("half a request");
    }
    assert!(peer.latest("large") >= 2);
}
