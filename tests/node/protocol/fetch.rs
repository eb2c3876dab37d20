//! Reading: from any offset, within any limit, with any wait.

use std::time::Duration;

use polylogue::{
    clock::{Clock, SystemClock},
    local_cluster::LocalNode,
    model::{LeaderEpoch, Offset, PartitionIndex, TopicId},
    wire::{
        ErrorCode,
        api::{
            fetch::{FetchPartition, FetchRequest, FetchTopic},
            list_offsets::{EARLIEST, LATEST, MAX_TIMESTAMP},
        },
    },
};

use crate::{
    batches::{batch, batch_at, batch_of, headers},
    nodes::labelled,
    peer::{FETCH, Peer, fetch_request},
    support::{WITHIN, eventually, start_node},
};

/// Waits until the node has as many fetches in hand.
fn wait_for_fetches(node: &LocalNode, count: u64) {
    let fetches = || labelled(node, "polylogue_requests_total", "api=\"Fetch\",error=\"none\"");
    eventually("the fetch has arrived", WITHIN, || (fetches() >= count).then_some(()));
}

#[test]
fn a_fetch_within_a_batch_gets_the_whole_batch_whatever_is_verified() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    for verify in ["always", "first", "never"] {
        peer.create(verify, 1, &[("verify.on.read", verify)]);
        for number in 0..5 {
            peer.append(
                verify,
                batch(&[format!("{number} a"), format!("{number} b"), format!("{number} c")]),
            );
        }
        for from in 0..15 {
            let data = peer.fetch(verify, from);
            let found = headers(&data.records.into_bytes());
            assert_eq!(found[0].base_offset.get(), from / 3 * 3, "{verify}, from {from}");
            assert_eq!(found.last().unwrap().next_offset().get(), 15, "{verify}, from {from}");
        }
    }
}

#[test]
fn the_first_batch_is_returned_also_when_it_is_over_every_limit() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    for verify in ["always", "never"] {
        peer.create(verify, 1, &[("verify.on.read", verify)]);
        for _ in 0..3 {
            peer.append(verify, batch_of(50_000));
        }
        for limit in [0, 1, 1000] {
            let mut request = fetch_request(verify, &[(0, 1)]);
            (request.max_bytes, request.topics[0].partitions[0].partition_max_bytes) = (limit, limit);
            let found = headers(&peer.fetch_with(&request).records.into_bytes());
            assert_eq!(found.len(), 1, "{verify}, at most {limit} bytes");
            assert_eq!(found[0].base_offset.get(), 1);
        }
    }
}

#[test]
fn limits_hold_for_a_partition_and_for_the_whole_answer() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    for verify in ["always", "never"] {
        peer.create(verify, 3, &[("verify.on.read", verify)]);
        for partition in 0..3 {
            for _ in 0..10 {
                let answer = peer.produce_with(-1, verify, partition, batch_of(10_000));
                assert_eq!(answer.error_code, ErrorCode::None);
            }
        }
        let mut request = fetch_request(verify, &[(0, 0), (1, 0), (2, 0)]);
        for partition in &mut request.topics[0].partitions {
            partition.partition_max_bytes = 35_000;
        }
        let sizes = |peer: &mut Peer, request: &FetchRequest| {
            let partitions = peer.call(FETCH, request).responses.remove(0).partitions;
            assert!(partitions.iter().all(|data| data.error_code == ErrorCode::None));
            assert!(partitions.iter().all(|data| data.high_watermark.get() == 10));
            partitions.into_iter().map(|data| headers(&data.records.into_bytes()).len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&mut peer, &request), [3, 3, 3], "{verify}: each partition's bound");
        request.max_bytes = 45_000;
        let sizes = sizes(&mut peer, &request);
        assert_eq!(sizes.iter().sum::<usize>(), 4, "{verify}: the answer's bound: {sizes:?}");
        assert_eq!(sizes[0], 3, "{verify}: in the order asked for: {sizes:?}");
    }
}

#[test]
fn a_fetch_beyond_the_end_or_below_the_start_is_refused_with_1_and_one_at_the_end_is_empty() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("range", 1, &[]);
    for number in 0..4 {
        peer.append("range", batch(&[format!("{number}")]));
    }
    for beyond in [5, 1000, i64::MAX, -1, i64::MIN] {
        let data = peer.fetch("range", beyond);
        assert_eq!(data.error_code, ErrorCode::OffsetOutOfRange, "at {beyond}");
        assert!(data.records.is_empty());
    }
    let data = peer.fetch("range", 4);
    assert_eq!((data.error_code, data.high_watermark.get(), data.records.len()), (ErrorCode::None, 4, 0));
    assert_eq!((data.log_start_offset.get(), data.last_stable_offset.get()), (0, 4));
}

#[test]
fn s05_between_the_high_watermark_and_the_logs_end_a_fetch_is_empty_and_no_error() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("between", 1, &[]);
    let (mut empty, mut full) = (0, 0);
    for number in 0..300 {
        // Answered once it is appended; the watermark follows the disk.
        let answer = peer.produce_with(1, "between", 0, batch_of(100));
        assert_eq!((answer.error_code, answer.base_offset.get()), (ErrorCode::None, number));
        let data = peer.fetch("between", number);
        assert_eq!(data.error_code, ErrorCode::None, "at {number}");
        assert_eq!(data.high_watermark.get() > number, !data.records.is_empty(), "only below the watermark");
        if data.records.is_empty() { empty += 1 } else { full += 1 }
    }
    println!("{empty} fetches came before the flush, {full} after it");
    eventually("all of it is flushed at last", WITHIN, || (peer.latest("between") == 300).then_some(()));
}

#[test]
fn a_fetch_that_waits_is_answered_as_soon_as_something_is_produced() {
    let clock = SystemClock::new();
    let node = start_node();
    let (mut reader, mut writer) = (Peer::connect(&node), Peer::connect(&node));
    for (number, durability) in ["disk", "replicated"].into_iter().enumerate() {
        writer.create(durability, 1, &[("durability", durability)]);
        let mut request = fetch_request(durability, &[(0, 0)]);
        (request.max_wait_ms, request.min_bytes) = (60_000, 1);
        let id = reader.send(FETCH, &request);
        wait_for_fetches(&node, number as u64 + 1);
        let began = clock.monotonic();
        writer.append(durability, batch(&["at last"]));
        let data = reader.receive::<FetchRequest>(FETCH, id).responses.remove(0).partitions.remove(0);
        let took = clock.monotonic().saturating_sub(began);
        assert_eq!(headers(&data.records.into_bytes()).len(), 1);
        println!("{durability}: produced and fetched within {took:?}");
        assert!(took < Duration::from_secs(5), "{durability}: took {took:?}");
    }
}

#[test]
fn a_fetch_waits_for_min_bytes_or_until_its_time_is_over() {
    let clock = SystemClock::new();
    let node = start_node();
    let (mut reader, mut writer) = (Peer::connect(&node), Peer::connect(&node));
    writer.create("enough", 1, &[]);
    let mut request = fetch_request("enough", &[(0, 0)]);
    (request.max_wait_ms, request.min_bytes) = (60_000, 2500);
    let id = reader.send(FETCH, &request);
    for _ in 0..2 {
        writer.append("enough", batch_of(1000));
        assert!(!reader.hears_within(Duration::from_millis(50)), "answered with too little");
    }
    writer.append("enough", batch_of(1000));
    let data = reader.receive::<FetchRequest>(FETCH, id).responses.remove(0).partitions.remove(0);
    assert_eq!(headers(&data.records.into_bytes()).len(), 3);
    (request.max_wait_ms, request.min_bytes) = (300, 1_000_000);
    let began = clock.monotonic();
    let data = reader.fetch_with(&request);
    let took = clock.monotonic().saturating_sub(began);
    assert_eq!(headers(&data.records.into_bytes()).len(), 3, "what there is, when the time is over");
    assert!((Duration::from_millis(299)..Duration::from_secs(5)).contains(&took), "took {took:?}");
}

#[test]
fn an_error_in_one_partition_is_told_at_once_and_the_others_are_served() {
    let clock = SystemClock::new();
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("some", 2, &[]);
    peer.append("some", batch_of(10));
    let mut request = fetch_request("some", &[(0, 0), (1, 0), (2, 0), (0, 77)]);
    request.topics.extend(fetch_request("nobody", &[(0, 0)]).topics);
    (request.max_wait_ms, request.min_bytes) = (60_000, 1_000_000);
    let began = clock.monotonic();
    let answer = peer.call(FETCH, &request);
    assert!(clock.monotonic().saturating_sub(began) < Duration::from_secs(10));
    let partitions: Vec<_> = answer.responses.into_iter().flat_map(|topic| topic.partitions).collect();
    let codes: Vec<_> = partitions.iter().map(|data| data.error_code).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(codes, [ErrorCode::None, ErrorCode::None, unknown, ErrorCode::OffsetOutOfRange, unknown]);
    assert_eq!(headers(&partitions[0].records.clone().into_bytes()).len(), 1);
}

#[test]
fn topics_are_fetched_by_id_and_an_unknown_id_is_refused_with_100() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let id = peer.create("by-id", 1, &[]);
    peer.append("by-id", batch(&["x"]));
    let other = peer.create("other", 1, &[]);
    assert_eq!(peer.delete("other"), ErrorCode::None);
    let topic = |topic_id: TopicId| FetchTopic {
        topic_id,
        partitions: vec![FetchPartition { partition_max_bytes: i32::MAX, ..FetchPartition::default() }],
        ..FetchTopic::default()
    };
    let request = FetchRequest { topics: vec![topic(id), topic(other)], ..FetchRequest::default() };
    let mut answer = peer.call(16, &request);
    assert_eq!(answer.responses[0].topic_id, id);
    assert_eq!(answer.responses[1].partitions[0].error_code, ErrorCode::UnknownTopicId);
    let data = answer.responses.remove(0).partitions.remove(0);
    assert_eq!(headers(&data.records.into_bytes()).len(), 1);
}

#[test]
fn a_reader_with_another_idea_of_the_leaders_term_is_told_so() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("term", 1, &[]);
    let led = peer.metadata(&["term"], false).topics[0].partitions[0].leader_epoch.get();
    for (epoch, expected) in [
        (led, ErrorCode::None),
        (led + 1, ErrorCode::UnknownLeaderEpoch),
        (led - 1, if led > 0 { ErrorCode::FencedLeaderEpoch } else { ErrorCode::None }),
    ] {
        let mut request = fetch_request("term", &[(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = LeaderEpoch::new(epoch);
        assert_eq!(peer.fetch_with(&request).error_code, expected, "epoch {epoch} where {led} leads");
    }
}

#[test]
fn offsets_are_listed_by_time_and_for_start_end_and_the_latest_time() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("list", 1, &[]);
    let empty = peer.offset_for("list", MAX_TIMESTAMP);
    assert_eq!((empty.error_code, empty.offset.get()), (ErrorCode::None, -1));
    assert_eq!((peer.earliest("list"), peer.latest("list")), (0, 0));
    let base = crate::batches::now().get() - 1_000_000;
    // Not in the order of time: 0 at 1000, 1 at 5000, 2 at 3000, 3 at 4000.
    for ahead in [1000, 5000, 3000, 4000] {
        peer.append("list", batch_at(&["x"], base + ahead));
    }
    for (ahead, offset, found_at) in [(0, 0, 1000), (1000, 0, 1000), (1001, 1, 5000), (4500, 1, 5000)] {
        let found = peer.offset_for("list", polylogue::model::TimestampMs::new(base + ahead));
        let found = (found.offset.get(), found.timestamp.get() - base);
        assert_eq!(found, (offset, found_at), "asked for {ahead}");
    }
    let never = peer.offset_for("list", polylogue::model::TimestampMs::new(base + 5001));
    assert_eq!((never.error_code, never.offset.get(), never.timestamp.get()), (ErrorCode::None, -1, -1));
    let latest = peer.offset_for("list", MAX_TIMESTAMP);
    assert_eq!((latest.offset.get(), latest.timestamp.get()), (1, base + 5000));
    assert_eq!((peer.earliest("list"), peer.latest("list")), (0, 4));
    assert_eq!(peer.offset_for("nobody", LATEST).error_code, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(peer.delete_records("list", 2).low_watermark, Offset::new(2));
    assert_eq!(peer.offset_for("list", EARLIEST).offset.get(), 2);
    let found = peer.offset_for("list", polylogue::model::TimestampMs::new(base));
    assert_eq!(found.offset.get(), 2, "what is deleted is not found");
}

#[test]
fn a_request_for_many_partitions_finds_each() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("wide", 40, &[]);
    for partition in 0..40 {
        peer.produce_with(-1, "wide", partition, batch(&[format!("partition {partition}")]));
    }
    let from: Vec<_> = (0..40).rev().map(|partition| (partition, 0)).collect();
    let answer = peer.call(FETCH, &fetch_request("wide", &from)).responses.remove(0);
    for (data, (partition, _)) in answer.partitions.into_iter().zip(from) {
        assert_eq!(data.partition_index, PartitionIndex::new(partition));
        let values = crate::batches::values(&data.records.into_bytes());
        assert_eq!(values, [(0, format!("partition {partition}").into_bytes())]);
    }
}
