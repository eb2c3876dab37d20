//! Peers that mean no good, or are broken: the node survives them, and others do not notice.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpStream},
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
    local_cluster::LocalNode,
    model::Offset,
    record::{Compression, Producer},
    wire::{
        ApiKey, ErrorCode, Str,
        api::{
            api_versions::ApiVersionsRequest,
            create_topics::{CreatableTopic, CreateTopicsRequest},
            delete_topics::DeleteTopicsRequest,
            fetch::{FetchRequest, FetchTopic},
            list_offsets::{ListOffsetsRequest, ListOffsetsTopic},
            metadata::{MetadataRequest, MetadataRequestTopic},
            produce::{ProduceRequest, TopicProduceData},
        },
        frame::{self, RequestHeader},
    },
};

use crate::{
    batches::{batch, batch_of, build, headers, now},
    nodes::{labelled, log, metric, start_with},
    peer::{FETCH, LIST, METADATA, PRODUCE, Peer, fetch_request, produce_request, versions},
    support::{WITHIN, eventually, start_node},
};

/// How much a node's memory may grow by hostile peers.
const MEMORY: u64 = 64 << 20;
/// A good client's slowest round trip beside hostile ones. Generous: the machine may be busy.
const SLOWEST: Duration = Duration::from_secs(2);
const GARBAGE_FRAMES: usize = 6000;
const HALF_OPEN: usize = 400;

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

/// A request's header, for any API and version.
fn header(api_key: i16, api_version: i16) -> BytesMut {
    let mut out = BytesMut::new();
    let header = RequestHeader { api_key, api_version, correlation_id: 7, client_id: Some(Str::from("x")) };
    header.encode(&mut out).unwrap();
    out
}

fn framed(content: &[u8]) -> Vec<u8> {
    let mut out = (content.len() as i32).to_be_bytes().to_vec();
    out.extend_from_slice(content);
    out
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

fn wide_metadata(topics: usize) -> MetadataRequest {
    let topic = MetadataRequestTopic { name: Some(Str::from("")), ..MetadataRequestTopic::default() };
    MetadataRequest {
        topics: Some(vec![topic; topics]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    }
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
    eventually("the bad request is counted", WITHIN, || (dropped() > 0.0).then_some(()));
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
    eventually("all are accepted", WITHIN, || (open() >= HALF_OPEN as f64).then_some(()));
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
    assert!(open() >= HALF_OPEN as f64, "they were there all the time");
    drop(peers);
    eventually("they are gone", WITHIN, || (open() < 2.0).then_some(()));
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
            (open() < 2.0).then_some(())
        });
        let taken = slow.read_until_closed().len();
        assert!(taken < 40 * (4 << 20), "{topic}: it was sent everything");
    }
}

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
    eventually("the start's own connection is gone", WITHIN, || (open() == 0.0).then_some(()));
    let (here, there) = (Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2));
    let serve = |mut peer: Peer| {
        peer.call(0, &versions());
        peer
    };
    let mut kept: Vec<Peer> = (0..4).map(|_| serve(connect_from(&node, here))).collect();
    connect_from(&node, here).assert_closed("a fifth of one address");
    assert_eq!((refused("per_address"), refused("total")), (1.0, 0.0));
    kept.extend((0..2).map(|_| serve(connect_from(&node, there))));
    connect_from(&node, there).assert_closed("a seventh in all");
    assert_eq!((refused("per_address"), refused("total")), (1.0, 1.0));
    kept.remove(0);
    eventually("a place is free", WITHIN, || (open() == 5.0).then_some(()));
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
    assert_eq!(metric(&node, "polylogue_in_flight_bytes"), 0.0);
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
