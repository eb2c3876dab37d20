//! Records with everything in them that a client may send, and a look at how they are stored.

use std::fs;

use polylogue::{
    clock::{Clock, SystemClock},
    local_cluster::LocalNode,
};

use crate::{
    CODECS,
    support::{rdkafka::Received, stored_bytes},
};

/// `count` records from a seed: keys and values that are null, empty, short and long, headers with
/// and without value, twice of one name; ASCII, so that every client can print it, and repetitive, so
/// that every codec can show. Offsets count from 0, timestamps rise up to now.
pub(crate) fn samples(seed: u64, count: i64) -> Vec<Received> {
    let mut random = fastrand::Rng::with_seed(seed);
    let now = SystemClock::new().wall().get();
    (0..count).map(|offset| sample(&mut random, offset, now - 7 * (count - offset))).collect()
}

fn sample(random: &mut fastrand::Rng, offset: i64, timestamp: i64) -> Received {
    let key = match random.u8(0..10) {
        0 => None,
        1 => Some(Vec::new()),
        _ => Some(format!("key-{}", random.u16(0..500)).into_bytes()),
    };
    let value = match random.u8(0..20) {
        0 => None,
        1 => Some(Vec::new()),
        _ => {
            let length = 1 << random.u32(0..11);
            Some(b"value ".iter().cycle().take(random.usize(1..=length)).copied().collect())
        }
    };
    let headers = match random.u8(0..4) {
        0 => vec![
            ("offset".to_owned(), Some(offset.to_string().into_bytes())),
            ("null".to_owned(), None),
            ("empty".to_owned(), Some(Vec::new())),
            ("offset".to_owned(), Some(b"again".to_vec())),
        ],
        _ => Vec::new(),
    };
    Received { offset, timestamp: Some(timestamp), key, value, headers }
}

/// The codec of each batch that is stored in a partition's first segment.
fn stored_codecs(node: &LocalNode, topic: &str, partition: i32) -> Vec<u16> {
    let segment = node.partition_folder(topic, partition).join("00000000000000000000.log");
    let bytes = fs::read(segment).unwrap();
    let mut codecs = Vec::new();
    let mut rest = &bytes[..];
    // The layout of a record batch, version 2: length at 8, counted from 12 on; attributes at 21.
    while rest.len() >= 61 {
        let length = u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
        codecs.push(u16::from_be_bytes(rest[21..23].try_into().unwrap()) & 7);
        rest = rest.get(12 + length..).unwrap();
    }
    codecs
}

/// Holds what is stored against the codec that the client was told to use, and against the size of
/// what it sent: a codec that did nothing for the size was not used.
#[track_caller]
pub(crate) fn assert_stored_with(node: &LocalNode, topic: &str, codec: u16, sent: &[Received]) {
    let codecs = stored_codecs(node, topic, 0);
    // A client leaves a batch as it is where its codec would make it larger.
    assert!(codecs.contains(&codec), "{topic}: batches are stored with codecs {codecs:?}");
    assert!(codecs.iter().all(|stored| [0, codec].contains(stored)), "{topic}: {codecs:?}");
    let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len) as u64;
    let sent: u64 = sent.iter().map(|record| length(&record.key) + length(&record.value)).sum();
    let stored = stored_bytes(node, topic, 0);
    let compressed = stored < sent / 2;
    assert_eq!(compressed, codec != 0, "{topic}: {sent} bytes were sent, {stored} are stored");
}

/// Compares record by record; a difference is shown alone, not within thousands of others.
#[track_caller]
pub(crate) fn assert_same(what: &str, received: &[Received], sent: &[Received]) {
    for (received, sent) in received.iter().zip(sent) {
        assert_eq!(received, sent, "{what}");
    }
    assert_eq!(received.len(), sent.len(), "{what}: records");
}

/// Looks at what a client's program left behind: a topic `codec-NAME` for each codec, whose batches are
/// compressed with it, and `positions`, which is one batch.
#[track_caller]
pub(crate) fn assert_program_stored(node: &LocalNode) {
    assert_stored(node, |stored, id| stored == id);
}

/// The same of a client that leaves a batch as it is where compression would make it larger.
#[track_caller]
pub(crate) fn assert_program_stored_where_it_pays(node: &LocalNode) {
    assert_stored(node, |stored, id| stored == id || stored == 0);
}

#[track_caller]
fn assert_stored(node: &LocalNode, may_be: impl Fn(u16, u16) -> bool) {
    for (codec, id) in CODECS {
        let codecs = stored_codecs(node, &format!("codec-{codec}"), 0);
        assert!(codecs.contains(&id), "{codec}: batches are stored with {codecs:?}");
        assert!(
            codecs.iter().all(|stored| may_be(*stored, id)),
            "{codec}: batches are stored with {codecs:?}"
        );
    }
    assert_eq!(stored_codecs(node, "positions", 0).len(), 1, "positions: batches");
}
