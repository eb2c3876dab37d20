//! Bytes that are no request, and requests that nobody in his senses sends.

use std::{
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::{BufMut, BytesMut};
use polylogue::{
    clock::{Clock, SystemClock},
    model::Offset,
    wire::{
        ApiKey, Str,
        api::{
            create_topics::{CreatableTopic, CreateTopicsRequest},
            delete_topics::DeleteTopicsRequest,
            fetch::{FetchRequest, FetchTopic},
            list_offsets::{ListOffsetsRequest, ListOffsetsTopic},
            produce::{ProduceRequest, TopicProduceData},
        },
        frame,
    },
};

use super::{MEMORY, SLOWEST, framed, header, wide_metadata};
use crate::{
    batches::{batch, batch_of, headers},
    nodes::{labelled, log},
    peer::{FETCH, LIST, METADATA, PRODUCE, Peer, fetch_request, produce_request},
    support::{WITHIN, eventually, start_node},
};

const GARBAGE_FRAMES: usize = 6000;

/// Produces and fetches in a loop, each time over a new connection, until it is told to stop; gives its
/// slowest round and how many there were.
fn good_client(address: String, stop: Arc<AtomicBool>) -> JoinHandle<(Duration, usize)> {
    thread::spawn(move || {
        let (clock, mut slowest, mut rounds) = (SystemClock::new(), Duration::ZERO, 0);
        while !stop.load(Ordering::SeqCst) {
            let began = clock.monotonic();
            let mut peer = Peer::over(TcpStream::connect(&address).unwrap());
            let offset = peer.append("good", batch(&[format!("round {rounds}")]));
            let data = peer.fetch("good", offset);
            assert_eq!(headers(&data.records.into_bytes())[0].base_offset, Offset::new(offset));
            slowest = slowest.max(clock.monotonic().saturating_sub(began));
            rounds += 1;
        }
        (slowest, rounds)
    })
}

/// What a frame must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It cannot be a request: the node closes without an answer.
    Closed,
    /// It may happen to be a request: answered or not, the node lives.
    Any,
}

fn random_bytes(random: &mut fastrand::Rng, most: usize) -> Vec<u8> {
    (0..random.usize(..most)).map(|_| random.u8(..)).collect()
}

fn any_api(random: &mut fastrand::Rng) -> (ApiKey, i16) {
    let api = *random.choice(ApiKey::ALL).unwrap();
    (api, random.i16(api.served()))
}

/// A request that is right, as far as its form goes.
fn right_request(random: &mut fastrand::Rng) -> BytesMut {
    let mut out = BytesMut::new();
    let name = Some(&Str::from("tests"));
    match random.u8(..5) {
        0 => {
            frame::encode_request(&mut out, PRODUCE, 1, name, &produce_request(-1, "good", 0, batch_of(200)))
        }
        1 => frame::encode_request(&mut out, FETCH, 1, name, &fetch_request("good", &[(0, 0)])),
        2 => frame::encode_request(&mut out, METADATA, 1, name, &wide_metadata(3)),
        3 => frame::encode_request(&mut out, LIST, 1, name, &wide_list(2)),
        _ => frame::encode_request(
            &mut out,
            3,
            1,
            name,
            &DeleteTopicsRequest {
                topic_names: vec!["never-there".into()],
                ..DeleteTopicsRequest::default()
            },
        ),
    }
    .unwrap();
    out
}

fn wide_list(topics: usize) -> ListOffsetsRequest {
    ListOffsetsRequest { topics: vec![ListOffsetsTopic::default(); topics], ..ListOffsetsRequest::default() }
}

/// One frame of garbage, by its number.
fn garbage(number: usize, random: &mut fastrand::Rng) -> (Vec<u8>, Fate) {
    let (api, version) = any_api(random);
    match number % 9 {
        0 => (random_bytes(random, 600), Fate::Any),
        // A right request, cut short: the frame says so itself, so it is whole.
        1 => {
            let request = right_request(random);
            let cut = random.usize(frame::SIZE_LEN + 8..request.len());
            (framed(&request[frame::SIZE_LEN..cut]), Fate::Closed)
        }
        // A right request with one byte of its body changed.
        2 => {
            let mut request = right_request(random);
            let at = random.usize(frame::SIZE_LEN..request.len());
            request[at] ^= 1 << random.u8(..8);
            (request.to_vec(), Fate::Any)
        }
        3 => {
            let claimed = random.i32(101 << 20..=i32::MAX);
            ([&claimed.to_be_bytes()[..], &random_bytes(random, 100)].concat(), Fate::Closed)
        }
        4 => {
            let claimed = random.i32(i32::MIN..0);
            ([&claimed.to_be_bytes()[..], &random_bytes(random, 100)].concat(), Fate::Closed)
        }
        5 => {
            let unknown = [-1, 1000, i16::MAX, 11, 24][random.usize(..5)];
            (framed(&header(unknown, random.i16(..))), Fate::Closed)
        }
        6 => {
            let version = if random.bool() { random.i16(20..) } else { random.i16(..0) };
            // ApiVersions is answered in any version.
            let api = if api == ApiKey::ApiVersions { ApiKey::Fetch } else { api };
            (framed(&header(api.code(), version)), Fate::Closed)
        }
        // A right header and garbage behind it, for each API in turn.
        7 => {
            let mut request = header(api.code(), version);
            request.put_slice(&random_bytes(random, 400));
            (framed(&request), Fate::Any)
        }
        // A right header and arrays that claim more than there is.
        _ => {
            let mut request = header(api.code(), version);
            let claims = [i32::MAX, i32::MIN, -2, 1 << 28, 0x00ff_ffff];
            for _ in 0..random.usize(1..40) {
                request.put_i32(random.choice(claims).unwrap());
            }
            (framed(&request), Fate::Any)
        }
    }
}

#[test]
fn thousands_of_garbage_frames_neither_stop_the_node_nor_fill_it_nor_delay_a_good_client() {
    let seed = std::env::var("POLYLOGUE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let node = start_node();
    Peer::connect(&node).create("good", 1, &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let good = good_client(node.kafka_address(), Arc::clone(&stop));
    let before = node.resident_bytes().unwrap();
    let mut most = 0;
    for number in 0..GARBAGE_FRAMES {
        let (bytes, fate) = garbage(number, &mut random);
        let mut peer = Peer::connect(&node);
        // The node may close before it has been given everything.
        let _ = peer.send_bytes(&bytes);
        if fate == Fate::Closed {
            peer.assert_closed(&format!("seed {seed}, frame {number}"));
        } else {
            peer.finish_sending();
            peer.read_until_closed();
        }
        if number % 200 == 0 {
            most = most.max(node.resident_bytes().unwrap());
        }
    }
    stop.store(true, Ordering::SeqCst);
    let (slowest, rounds) = good.join().unwrap();
    let grown = most.max(node.resident_bytes().unwrap()).saturating_sub(before);
    println!("seed {seed}: {rounds} rounds of a good client, the slowest {slowest:?}; memory +{grown} bytes");
    assert!(slowest < SLOWEST, "seed {seed}: a good client waited {slowest:?}");
    assert!(grown < MEMORY, "seed {seed}: memory grew by {grown} bytes");
    assert!(!log(&node).contains("panicked"), "seed {seed}: {}", node.log_tail());
}

#[test]
fn bad_requests_are_counted_and_reported_with_the_peer_that_sent_them() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.send_bytes(&framed(&header(1000, 0))).unwrap();
    peer.assert_closed("an unknown API");
    let dropped = || {
        labelled(&node, "polylogue_connections_dropped_total", "listener=\"kafka\",reason=\"bad_request\"")
    };
    eventually("the bad request is counted", WITHIN, || (dropped() > 0).then_some(()));
    let log = log(&node);
    let line =
        log.lines().find(|line| line.contains("1000")).unwrap_or_else(|| panic!("no line about it: {log}"));
    assert!(line.contains("127.0.0.1:"), "{line}");
}

/// Frames of about a mebibyte that are nothing but elements of the least size.
fn wide_frames() -> Vec<(ApiKey, BytesMut)> {
    const MANY: usize = 150_000;
    fn frame_of<R: polylogue::wire::Request>(version: i16, request: &R) -> (ApiKey, BytesMut) {
        let mut out = BytesMut::new();
        frame::encode_request(&mut out, version, 1, None, request).unwrap();
        (R::API, out)
    }
    let topics = |topic| CreateTopicsRequest { topics: vec![topic; MANY], ..CreateTopicsRequest::default() };
    vec![
        frame_of(METADATA, &wide_metadata(MANY)),
        frame_of(LIST, &wide_list(MANY)),
        frame_of(
            FETCH,
            &FetchRequest { topics: vec![FetchTopic::default(); MANY], ..FetchRequest::default() },
        ),
        frame_of(
            PRODUCE,
            &ProduceRequest {
                acks: 1,
                topic_data: vec![TopicProduceData::default(); MANY],
                ..ProduceRequest::default()
            },
        ),
        frame_of(5, &topics(CreatableTopic::default())),
        frame_of(
            5,
            &DeleteTopicsRequest { topic_names: vec![Str::from(""); MANY], ..DeleteTopicsRequest::default() },
        ),
    ]
}

#[test]
fn requests_of_a_hundred_thousand_elements_take_no_memory_that_stays() {
    let node = start_node();
    Peer::connect(&node).create("good", 1, &[]);
    let before = node.resident_bytes().unwrap();
    for (api, frame) in wide_frames() {
        for _ in 0..3 {
            let mut peer = Peer::connect(&node);
            let _ = peer.send_bytes(&frame);
            peer.finish_sending();
            peer.read_until_closed();
        }
        let now = node.resident_bytes().unwrap().saturating_sub(before);
        println!("{api:?}: {} bytes sent, memory +{now} bytes", frame.len());
        assert!(now < MEMORY, "{api:?}: memory grew by {now} bytes");
    }
    Peer::connect(&node).append("good", batch_of(10));
}
