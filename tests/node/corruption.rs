//! Rot: bytes on the disk change under a node that runs, or between two starts. Exactly the batch that
//! is hit is not served, it is counted and reported once, and every other record is.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use bytes::Bytes;
use polylogue::{local_cluster::LocalNode, record::BatchHeader};

use crate::{
    batches::{at, batch, batch_at, headers},
    nodes::{files, log, metric, restart, start_again, start_with, stop, wait_for_metric},
    peer::Peer,
    support::{self, start_node},
};

const CORRUPT: &str = "polylogue_corrupt_batches_total";
const BATCHES: i64 = 20;
const RECORDS: i64 = 3;
/// The batch that is hit, unless a test says otherwise.
const HIT: i64 = 7;

/// Every kind of place in a batch: where from its start, and which bit.
const PLACES: [(&str, u64, u8); 13] = [
    ("base-offset-low", at::BASE_OFFSET as u64 + 7, 0x01),
    ("base-offset-high", at::BASE_OFFSET as u64, 0x80),
    ("length-low", at::LENGTH as u64 + 3, 0x04),
    ("length-middle", at::LENGTH as u64 + 2, 0x01),
    ("length-high", at::LENGTH as u64, 0x40),
    ("length-sign", at::LENGTH as u64, 0x80),
    ("leader-epoch", at::LEADER_EPOCH as u64 + 3, 0x02),
    ("magic", at::MAGIC as u64, 0x01),
    ("checksum", at::CRC as u64, 0x10),
    ("attributes", at::ATTRIBUTES as u64 + 1, 0x01),
    ("last-offset-delta", at::LAST_OFFSET_DELTA as u64 + 3, 0x01),
    ("record-count", at::RECORD_COUNT as u64 + 3, 0x01),
    ("payload", at::RECORDS as u64 + 20, 0x20),
];

fn value(batch: i64, record: i64) -> Vec<u8> {
    format!("batch {batch} record {record} of a topic that rots").into_bytes()
}

/// Makes a topic and fills it.
fn fill(peer: &mut Peer, topic: &str, configs: &[(&str, &str)]) {
    peer.create(topic, 1, configs);
    for number in 0..BATCHES {
        let values: Vec<_> = (0..RECORDS).map(|record| value(number, record)).collect();
        assert_eq!(peer.append(topic, batch(&values)), number * RECORDS);
    }
}

/// Every record of [`fill`] but those of some batches.
fn all_but(hit: &[i64]) -> Vec<(i64, Vec<u8>)> {
    let kept = (0..BATCHES).filter(|number| !hit.contains(number));
    kept.flat_map(|number| (0..RECORDS).map(move |record| (number * RECORDS + record, value(number, record))))
        .collect()
}

/// The batches of a segment with their places.
fn batches_in(segment: &Path) -> Vec<(u64, BatchHeader)> {
    let mut position = 0;
    let mut found = Vec::new();
    for header in headers(&Bytes::from(fs::read(segment).unwrap())) {
        found.push((position, header));
        position += header.total_len() as u64;
    }
    found
}

/// Changes bits of a byte in place, as a disk might.
fn flip(file: &Path, position: u64, bits: u8) {
    let file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ bits], position).unwrap();
}

/// Changes a byte of each of these batches, wherever their segments are.
fn hit(node: &LocalNode, topic: &str, numbers: &[i64], (place, bits): (u64, u8)) {
    let segments = files(node, topic, "log").into_iter();
    // All are found before the first is changed.
    let found: Vec<_> = segments
        .flat_map(|segment| batches_in(&segment).into_iter().map(move |found| (segment.clone(), found)))
        .filter(|(_, (_, header))| numbers.contains(&(header.base_offset.get() / RECORDS)))
        .collect();
    assert_eq!(found.len(), numbers.len(), "{topic} has batches {numbers:?}");
    for (segment, (position, _)) in found {
        flip(&segment, position + place, bits);
    }
}

#[track_caller]
fn assert_reads(peer: &mut Peer, topic: &str, without: &[i64]) {
    let read = peer.read_all(topic);
    let expected = all_but(without);
    let missing: Vec<i64> =
        expected.iter().filter(|record| !read.contains(record)).map(|record| record.0).collect();
    let wrong: Vec<i64> =
        read.iter().filter(|record| !expected.contains(record)).map(|record| record.0).collect();
    assert!(missing.is_empty(), "{topic}: records at {missing:?} are not served");
    assert!(wrong.is_empty(), "{topic}: records at {wrong:?} should not be served");
    assert!(read == expected, "{topic}: each once and in order");
}

/// The log has one line about the batch that was hit.
#[track_caller]
fn assert_reported_once(node: &LocalNode, topic: &str) {
    let log = log(node);
    let offsets = format!("offsets {} to {}", HIT * RECORDS, (HIT + 1) * RECORDS);
    let folder = format!("/{topic}-0/");
    let lines = log.lines().filter(|line| line.contains(&folder) && line.contains(&offsets));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 1, "{topic}: {lines:#?}");
}

#[test]
fn a_bit_flipped_under_a_node_that_runs_costs_exactly_its_batch_counted_and_reported_once() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let mut wrong = Vec::new();
    for segment_bytes in ["1073741824", "1100"] {
        for (name, place, bits) in PLACES {
            let topic = format!("{name}-{segment_bytes}");
            fill(&mut peer, &topic, &[("segment.bytes", segment_bytes)]);
            assert_reads(&mut peer, &topic, &[]);
            let before = metric(&node, CORRUPT);
            hit(&node, &topic, &[HIT], (place, bits));
            assert_reads(&mut peer, &topic, &[HIT]);
            assert_reported_once(&node, &topic);
            assert_reads(&mut peer, &topic, &[HIT]);
            let counted = metric(&node, CORRUPT) - before;
            if counted != 1 {
                wrong.push(format!("{topic}: counted {counted} times"));
            }
            // From within, from the batch before and from the one behind: the way on is found.
            for (from, next) in [(21, 24), (22, 24), (23, 24), (18, 18), (24, 24)] {
                let found = headers(&peer.fetch(&topic, from).records.into_bytes());
                assert_eq!(
                    found.first().map(|header| header.base_offset.get()),
                    Some(next),
                    "{topic} at {from}"
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_bit_flipped_between_two_starts_costs_exactly_its_batch() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    let topics: Vec<_> = ["1073741824", "1100"]
        .iter()
        .flat_map(|bytes| {
            PLACES.map(|(name, place, bits)| (format!("{name}-{bytes}"), *bytes, (place, bits)))
        })
        .collect();
    for (topic, segment_bytes, _) in &topics {
        fill(&mut peer, topic, &[("segment.bytes", segment_bytes)]);
    }
    stop(&mut node);
    for (topic, _, place) in &topics {
        hit(&node, topic, &[HIT], *place);
    }
    start_again(&mut node);
    let mut peer = Peer::connect(&node);
    for (topic, _, _) in &topics {
        assert_reads(&mut peer, topic, &[HIT]);
        assert_reported_once(&node, topic);
        assert_eq!(peer.latest(topic), BATCHES * RECORDS, "{topic}: nothing is cut");
    }
    assert_eq!(metric(&node, CORRUPT), topics.len() as u64);
    restart(&mut node);
    let mut peer = Peer::connect(&node);
    for (topic, _, _) in &topics {
        assert_reads(&mut peer, topic, &[HIT]);
        assert_eq!(peer.append(topic, batch(&["next"])), BATCHES * RECORDS, "{topic}: it goes on");
    }
}

#[test]
fn the_first_the_last_and_neighbouring_batches_may_be_hit() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let last = BATCHES - 1;
    for (name, place, bits) in PLACES {
        for (which, hits) in [("first", vec![0]), ("last", vec![last]), ("two", vec![HIT, HIT + 1])] {
            let topic = format!("{which}-{name}");
            fill(&mut peer, &topic, &[]);
            hit(&node, &topic, &hits, (place, bits));
            assert_reads(&mut peer, &topic, &hits);
            assert_eq!(peer.latest(&topic), BATCHES * RECORDS, "{topic}");
            // What is appended behind is reached, by a reader that stands at the hole too.
            assert_eq!(peer.append(&topic, batch(&["behind"])), BATCHES * RECORDS);
            let data = peer.fetch(&topic, hits[0] * RECORDS);
            assert!(!data.records.is_empty(), "{topic}: a reader at the hole goes on");
            let behind = peer.fetch(&topic, BATCHES * RECORDS).records.into_bytes();
            assert_eq!(headers(&behind).len(), 1, "{topic}");
        }
    }
}

#[test]
fn a_reader_gets_past_a_bad_head_also_where_checksums_are_not_checked() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    for verify in ["first", "never"] {
        // What the checksum does not cover.
        for (name, place, bits) in &PLACES[..8] {
            if verify == "never" && ["length-low", "length-middle"].contains(name) {
                // Nothing but the checksum tells that this length is wrong.
                continue;
            }
            let topic = format!("{verify}-{name}");
            fill(&mut peer, &topic, &[("verify.on.read", verify)]);
            hit(&node, &topic, &[HIT], (*place, *bits));
            for from in HIT * RECORDS..(HIT + 1) * RECORDS {
                let found = headers(&peer.fetch(&topic, from).records.into_bytes());
                let next = found.first().map(|header| header.base_offset.get());
                assert_eq!(next, Some((HIT + 1) * RECORDS), "{topic} from {from}");
            }
            assert_reported_once(&node, &topic);
        }
    }
}

#[test]
fn a_real_consumer_reads_past_a_batch_that_is_hit() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    for (name, place, bits) in [PLACES[2], PLACES[12]] {
        fill(&mut peer, name, &[]);
        hit(&node, name, &[HIT], (place, bits));
        let read = support::rdkafka::read_all(&node.kafka_address(), name, 0);
        let read: Vec<_> = read.into_iter().map(|record| (record.offset, record.value.unwrap())).collect();
        assert!(read == all_but(&[HIT]), "{name}");
    }
}

#[test]
fn the_scrub_finds_what_nobody_reads_and_counts_it_once() {
    let settings = [("storage.scrub-interval", "50ms"), ("storage.scrub-bytes-per-second", "64MiB")];
    let node = start_with(&settings);
    let mut peer = Peer::connect(&node);
    let configs = [("segment.bytes", "1100")];
    for (number, (name, place, bits)) in PLACES.into_iter().enumerate() {
        fill(&mut peer, name, if number % 2 == 0 { &configs } else { &[] });
        hit(&node, name, &[HIT], (place, bits));
    }
    wait_for_metric(&node, CORRUPT, |found| found >= PLACES.len() as u64);
    // Several passes over all of them later it is still each once.
    let (scrubbed, stored) = (metric(&node, "polylogue_scrubbed_bytes_total"), 13 * 4000);
    wait_for_metric(&node, "polylogue_scrubbed_bytes_total", |now| now > scrubbed + 5 * stored);
    assert_eq!(metric(&node, CORRUPT), PLACES.len() as u64);
    for (name, _, _) in PLACES {
        assert_reported_once(&node, name);
        assert_reads(&mut peer, name, &[HIT]);
    }
    assert_eq!(metric(&node, CORRUPT), PLACES.len() as u64, "a reader comes upon what is known");
}

/// What may happen to an index file that nobody flushes or checks.
fn garble(file: &Path, how: usize, random: &mut fastrand::Rng) {
    let len = fs::metadata(file).unwrap().len() as usize;
    match how {
        0 => fs::remove_file(file).unwrap(),
        1 => fs::write(file, (0..len).map(|_| random.u8(..)).collect::<Vec<_>>()).unwrap(),
        2 => fs::write(file, vec![0; len]).unwrap(),
        3 => fs::write(file, &fs::read(file).unwrap()[..len / 2]).unwrap(),
        4 => fs::write(file, [fs::read(file).unwrap(), vec![0xff; 1000]].concat()).unwrap(),
        _ => flip(file, random.u64(..len.max(1) as u64), 1 << random.u8(..8)),
    }
}

#[test]
fn index_files_that_are_missing_or_wrong_are_rebuilt_and_no_batch_is_called_corrupt() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    let began = crate::batches::now().get() - 1_000_000;
    peer.create("indexed", 1, &[("segment.bytes", "8000"), ("index.interval.bytes", "200")]);
    let mut expected = Vec::new();
    for number in 0..300 {
        let value = format!("record {number} {}", "x".repeat(100)).into_bytes();
        expected.push((peer.append("indexed", batch_at(&[&value], began + number)), value));
    }
    for how in 0..6 {
        stop(&mut node);
        let indices = [files(&node, "indexed", "index"), files(&node, "indexed", "timeindex")].concat();
        assert!(indices.iter().any(|file| fs::metadata(file).unwrap().len() > 0), "there are indices");
        for file in indices.iter().filter(|file| fs::metadata(file).unwrap().len() > 0) {
            garble(file, how, &mut random);
        }
        start_again(&mut node);
        let mut peer = Peer::connect(&node);
        for (offset, _) in expected.iter().step_by(7) {
            let found = headers(&peer.fetch("indexed", *offset).records.into_bytes());
            assert_eq!(found[0].base_offset.get(), *offset, "way {how}");
            let time = polylogue::model::TimestampMs::new(began + offset);
            assert_eq!(peer.offset_for("indexed", time).offset.get(), *offset, "way {how}");
        }
        assert!(peer.read_all("indexed") == expected, "way {how}");
        assert_eq!(metric(&node, CORRUPT), 0, "way {how}");
    }
}

#[test]
fn index_files_that_change_under_a_node_that_runs_make_no_batch_corrupt() {
    let mut random = fastrand::Rng::with_seed(8);
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("indexed", 1, &[("segment.bytes", "8000"), ("index.interval.bytes", "200")]);
    let mut expected = Vec::new();
    for number in 0..300 {
        let value = format!("record {number} {}", "x".repeat(100)).into_bytes();
        expected.push((peer.append("indexed", batch(&[&value])), value));
    }
    // So that the sealed segments' indices are read from their files.
    restart(&mut node);
    let mut peer = Peer::connect(&node);
    assert!(peer.read_all("indexed") == expected);
    for file in files(&node, "indexed", "index") {
        let len = fs::metadata(&file).unwrap().len();
        let garbage: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
        OpenOptions::new().write(true).open(&file).unwrap().write_all_at(&garbage, 0).unwrap();
    }
    for (offset, _) in &expected {
        let found = headers(&peer.fetch("indexed", *offset).records.into_bytes());
        assert_eq!(found[0].base_offset.get(), *offset);
    }
    assert!(peer.read_all("indexed") == expected);
    assert_eq!(metric(&node, CORRUPT), 0);
}
