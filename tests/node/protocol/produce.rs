//! What is taken, what is refused, and with which error.

use std::time::Duration;

use bytes::Bytes;
use polylogue::{
    model::{ProducerId, TimestampMs},
    record::{Compression, Producer, TimestampType, crc_is_right},
    wire::{
        ErrorCode, Message, Reader, Str,
        api::{api_versions::ApiVersionsResponse, produce::ProduceRequest},
        frame,
    },
};

use crate::{
    batches::{at, batch, batch_at, batch_of, build, forged, headers, now, overwritten, values},
    peer::{PRODUCE, Peer, produce_request, versions},
    support::{WITHIN, eventually, start_node},
};

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0_with_error_35_and_the_table() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let header = frame::RequestHeader {
        api_key: 18,
        api_version: 99,
        correlation_id: 5,
        client_id: Some(Str::from("from the future")),
    };
    let mut content = bytes::BytesMut::new();
    header.encode(&mut content).unwrap();
    // A body that nobody here can know.
    content.extend_from_slice(&[9; 20]);
    peer.send_bytes(&[&(content.len() as i32).to_be_bytes()[..], &content].concat()).unwrap();
    let mut reader = Reader::new(peer.receive_bytes().unwrap());
    assert_eq!(reader.i32().unwrap(), 5);
    let answer = ApiVersionsResponse::decode(&mut reader, 0).unwrap();
    reader.finish().unwrap();
    assert_eq!(answer.error_code, ErrorCode::UnsupportedVersion);
    let known = peer.call(3, &versions());
    assert_eq!(answer.api_keys, known.api_keys, "and the connection goes on");
    let produce = known.api_keys.iter().find(|api| api.api_key == 0).unwrap();
    assert_eq!((produce.min_version, produce.max_version), (0, 13));
}

#[test]
fn acks_0_gets_no_answer_and_an_error_closes_the_connection() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("quiet", 1, &[]);
    peer.send(PRODUCE, &produce_request(0, "quiet", 0, batch_of(10)));
    // What comes next is the answer to another request; nothing says when the record can be read.
    eventually("the record is there", WITHIN, || (peer.latest("quiet") == 1).then_some(()));
    peer.send(PRODUCE, &produce_request(0, "nobody", 0, batch_of(10)));
    peer.assert_closed("an error that cannot be told");
}

#[test]
fn acks_other_than_three_are_refused_with_21() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("acks", 1, &[]);
    for acks in [2, -2, i16::MAX] {
        let answer = peer.produce_with(acks, "acks", 0, batch_of(10));
        assert_eq!((answer.error_code, answer.base_offset.get()), (ErrorCode::InvalidRequiredAcks, -1));
    }
    assert_eq!(peer.latest("acks"), 0);
}

#[test]
fn unknown_topics_and_partitions_are_refused_one_by_one_and_the_others_are_taken() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("known", 2, &[]);
    let mut request = produce_request(-1, "known", 0, batch_of(10));
    for (topic, partition) in [("known", 1), ("known", 2), ("known", -1), ("nobody", 0), ("", 0)] {
        request.topic_data.extend(produce_request(-1, topic, partition, batch_of(10)).topic_data);
    }
    let answer = peer.call(PRODUCE, &request);
    let codes: Vec<_> =
        answer.responses.iter().map(|topic| topic.partition_responses[0].error_code).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(codes, [ErrorCode::None, ErrorCode::None, unknown, unknown, unknown, unknown]);
}

/// Batches that must be refused, with the error that says so.
fn refused() -> Vec<(&'static str, Bytes, ErrorCode)> {
    let good = batch(&["one", "two", "three"]);
    let packed = build(&[vec![7; 5000]], now(), Compression::Zstd, Producer::NONE);
    let two = [&good[..], &good[..]].concat();
    let mut flipped = good.to_vec();
    *flipped.last_mut().unwrap() ^= 0x40;
    let later = now().get() + 1_000_000;
    vec![
        ("a flipped bit", flipped.into(), ErrorCode::CorruptMessage),
        ("a wrong checksum", overwritten(&good, at::CRC, &[1, 2, 3, 4]), ErrorCode::CorruptMessage),
        ("half a batch", good.slice(..good.len() / 2), ErrorCode::CorruptMessage),
        ("half a header", good.slice(..30), ErrorCode::CorruptMessage),
        ("a length of 0", overwritten(&good, at::LENGTH, &[0; 4]), ErrorCode::CorruptMessage),
        ("a negative length", overwritten(&good, at::LENGTH, &[0xff; 4]), ErrorCode::CorruptMessage),
        ("a codec of nobody", forged(&good, at::ATTRIBUTES, &[0, 5]), ErrorCode::UnsupportedCompressionType),
        (
            "another codec of nobody",
            forged(&good, at::ATTRIBUTES, &[0, 7]),
            ErrorCode::UnsupportedCompressionType,
        ),
        ("a control batch", forged(&good, at::ATTRIBUTES, &[0, 1 << 5]), ErrorCode::InvalidRecord),
        ("a transactional batch", forged(&good, at::ATTRIBUTES, &[0, 1 << 4]), ErrorCode::InvalidRecord),
        ("two batches", two.into(), ErrorCode::InvalidRecord),
        ("a byte behind the batch", [&good[..], &[0]].concat().into(), ErrorCode::InvalidRecord),
        (
            "more records than there are",
            forged(&good, at::RECORD_COUNT, &[0, 0, 0, 4]),
            ErrorCode::InvalidRecord,
        ),
        (
            "fewer records than there are",
            forged(&good, at::RECORD_COUNT, &[0, 0, 0, 2]),
            ErrorCode::InvalidRecord,
        ),
        ("a negative count", forged(&good, at::RECORD_COUNT, &[0xff; 4]), ErrorCode::InvalidRecord),
        ("no records", forged(&good, at::RECORD_COUNT, &[0; 4]), ErrorCode::InvalidRecord),
        ("offsets for more", forged(&good, at::LAST_OFFSET_DELTA, &[0, 0, 0, 9]), ErrorCode::InvalidRecord),
        ("negative offsets", forged(&good, at::LAST_OFFSET_DELTA, &[0xff; 4]), ErrorCode::InvalidRecord),
        ("a record cut short", forged(&good, at::RECORDS, &[100]), ErrorCode::InvalidRecord),
        ("packed records that are not", forged(&packed, at::RECORDS, &[0; 8]), ErrorCode::InvalidRecord),
        (
            "another codec than it was packed with",
            forged(&packed, at::ATTRIBUTES, &[0, 1]),
            ErrorCode::InvalidRecord,
        ),
        ("plain records called packed", forged(&good, at::ATTRIBUTES, &[0, 4]), ErrorCode::InvalidRecord),
        (
            "log append time from a producer",
            forged(&good, at::ATTRIBUTES, &[0, 1 << 3]),
            ErrorCode::InvalidTimestamp,
        ),
        (
            "a highest timestamp below the records'",
            forged(&good, at::MAX_TIMESTAMP, &(later - 90_000_000).to_be_bytes()),
            ErrorCode::InvalidTimestamp,
        ),
        ("nothing at all", Bytes::new(), ErrorCode::CorruptMessage),
    ]
}

#[test]
fn batches_that_are_not_what_they_say_are_refused_and_leave_no_trace() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("strict", 1, &[]);
    let mut wrong = Vec::new();
    for (what, batch, expected) in refused() {
        let answer = peer.produce("strict", batch);
        if answer.error_code != expected {
            wrong.push(format!("{what}: {:?} instead of {expected:?}", answer.error_code));
        }
        assert_ne!(answer.error_code, ErrorCode::None, "{what} was taken");
        assert_eq!(answer.base_offset.get(), -1, "{what}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(peer.latest("strict"), 0);
    assert_eq!(peer.append("strict", batch_of(10)), 0, "and the connection goes on");
}

#[test]
fn transactional_produce_is_refused_for_good() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("plain", 1, &[]);
    let request = ProduceRequest {
        transactional_id: Some(Str::from("mine")),
        ..produce_request(-1, "plain", 0, batch_of(10))
    };
    let code = peer.call(PRODUCE, &request).responses[0].partition_responses[0].error_code;
    assert!(code != ErrorCode::None && !code.is_retriable(), "{code:?}");
    assert_eq!(peer.latest("plain"), 0);
}

#[test]
fn a_batch_above_the_topics_bound_is_refused_with_10_and_one_above_a_segment_with_18() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("bound", 1, &[("max.message.bytes", "2000")]);
    let most = 2000 - (batch_of(1500).len() - 1500);
    assert_eq!(batch_of(most).len(), 2000);
    assert_eq!(peer.append("bound", batch_of(most)), 0);
    assert_eq!(peer.produce("bound", batch_of(most + 1)).error_code, ErrorCode::MessageTooLarge);
    peer.create("segment", 1, &[("segment.bytes", "1024")]);
    assert_eq!(peer.produce("segment", batch_of(1100)).error_code, ErrorCode::RecordListTooLarge);
    assert_eq!(peer.append("segment", batch_of(500)), 0);
}

#[test]
fn times_too_far_from_now_are_refused_with_32() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    let limits = [("message.timestamp.before.max.ms", "60000"), ("message.timestamp.after.max.ms", "60000")];
    peer.create("times", 1, &limits);
    for (far, expected) in [
        (-120_000, ErrorCode::InvalidTimestamp),
        (120_000, ErrorCode::InvalidTimestamp),
        (-10_000, ErrorCode::None),
        (10_000, ErrorCode::None),
    ] {
        let answer = peer.produce("times", batch_at(&["x"], now().get() + far));
        assert_eq!(answer.error_code, expected, "{far} ms from now");
    }
}

#[test]
fn log_append_time_is_stamped_answered_and_served_with_a_right_checksum() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("stamped", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let before = now();
    let values_sent = ["one", "two"];
    // The limits on a producer's own times do not count here.
    for codec in [Compression::None, Compression::Zstd] {
        let batch = build(&values_sent, TimestampMs::new(1000), codec, Producer::NONE);
        let answer = peer.produce("stamped", batch);
        assert_eq!(answer.error_code, ErrorCode::None);
        assert!(answer.log_append_time_ms >= before && answer.log_append_time_ms <= now());
        let data = peer.fetch("stamped", answer.base_offset.get()).records.into_bytes();
        let header = headers(&data)[0];
        assert!(crc_is_right(&data, &header));
        assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(header.max_timestamp, answer.log_append_time_ms);
        assert_eq!(values(&data).len(), 2);
    }
    peer.create("created", 1, &[]);
    assert_eq!(peer.produce("created", batch_of(1)).log_append_time_ms, TimestampMs::NONE);
}

#[test]
fn more_in_sync_replicas_than_there_are_can_be_demanded_and_then_acks_all_is_refused_with_19() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("demanding", 1, &[("min.insync.replicas", "2")]);
    assert_eq!(peer.produce("demanding", batch_of(10)).error_code, ErrorCode::NotEnoughReplicas);
    assert_eq!(peer.produce_with(1, "demanding", 0, batch_of(10)).error_code, ErrorCode::None);
    // What is appended becomes visible with the next flush.
    eventually("one record is there", WITHIN, || (peer.latest("demanding") == 1).then_some(()));
}

#[test]
fn every_codec_is_stored_byte_for_byte_but_for_offset_and_epoch() {
    let node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("codecs", 1, &[]);
    for codec in Compression::ALL {
        let sent = build(&[vec![1; 3000], vec![2; 3000]], now(), codec, Producer::NONE);
        let offset = peer.append("codecs", sent.clone());
        let mut served = peer.fetch("codecs", offset).records.into_bytes();
        served.truncate(sent.len());
        assert_eq!(headers(&served)[0].base_offset.get(), offset);
        assert_eq!(headers(&served)[0].compression().unwrap(), codec);
        assert_eq!(headers(&served)[0].producer_id, ProducerId::NONE);
        assert_eq!(served[at::MAGIC..], sent[at::MAGIC..], "{codec:?}");
    }
}

#[test]
fn an_acknowledged_record_is_there_after_kill_9_whatever_the_acks() {
    let mut node = start_node();
    let mut peer = Peer::connect(&node);
    peer.create("kept", 1, &[]);
    let mut sent = Vec::new();
    for number in 0..50 {
        let acks = [-1, 1][number % 2];
        let answer = peer.produce_with(acks, "kept", 0, batch(&[format!("record {number}")]));
        assert_eq!(answer.error_code, ErrorCode::None);
        sent.push((answer.base_offset.get(), format!("record {number}").into_bytes()));
    }
    crate::nodes::kill_and_start(&mut node);
    let mut peer = Peer::connect(&node);
    // A kill is no power cut: what was written is in the page cache.
    assert_eq!(peer.read_all("kept"), sent);
    assert!(!peer.hears_within(Duration::from_millis(1)));
}
