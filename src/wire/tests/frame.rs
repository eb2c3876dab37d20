//! Headers against the oracle; frames in one piece and in parts; tags that must not be sent.

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey as TheirKey, MetadataRequest as TheirMetadata, RequestHeader as TheirHeader,
        metadata_request::MetadataRequestTopic as TheirTopic,
    },
    protocol::{Decodable, Encodable, StrBytes},
};

use crate::{
    model::PartitionIndex,
    wire::{
        ApiKey, DecodeError, EncodeError, ErrorCode, Layout, Message, Reader, Str,
        api::{
            api_versions::{ApiVersionsRequest, ApiVersionsResponse},
            fetch::{FetchResponse, FetchableTopicResponse, PartitionData, Records},
            metadata::MetadataRequest,
            produce::{
                PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
                TopicProduceData, TopicProduceResponse,
            },
        },
        frame::{self, FrameError, Part, RequestHeader},
        sample::Sample,
    },
};

#[test]
fn request_headers_agree_with_the_oracle_in_every_version_of_every_api() {
    for api in ApiKey::ALL {
        for version in api.served() {
            for client_id in [None, Some(""), Some("kgo")] {
                let ours = RequestHeader {
                    api_key: api.code(),
                    api_version: version,
                    correlation_id: 77,
                    client_id: client_id.map(Str::from),
                };
                let theirs = TheirHeader::default()
                    .with_request_api_key(api.code())
                    .with_request_api_version(version)
                    .with_correlation_id(77)
                    .with_client_id(client_id.map(StrBytes::from_static_str));
                let header_version = TheirKey::try_from(api.code()).unwrap().request_header_version(version);
                let mut expected = BytesMut::new();
                theirs.encode(&mut expected, header_version).unwrap();

                let mut bytes = BytesMut::new();
                ours.encode(&mut bytes).unwrap();
                assert_eq!(bytes, expected, "{api:?} v{version}");
                let mut reader = Reader::new(bytes.freeze());
                assert_eq!(RequestHeader::decode(&mut reader), Ok(ours));
                assert_eq!(reader.finish(), Ok(()));
            }
        }
    }
}

#[test]
fn response_headers_are_flexible_with_their_body_but_never_for_api_versions() {
    for api in ApiKey::ALL {
        for version in api.served() {
            let theirs = TheirKey::try_from(api.code()).unwrap().response_header_version(version);
            let mut bytes = BytesMut::new();
            frame::encode_response_header(&mut bytes, *api, version, 5);
            assert_eq!(bytes.len(), if theirs == 0 { 4 } else { 5 }, "{api:?} v{version}");
            let mut reader = Reader::new(bytes.freeze());
            assert_eq!(frame::decode_response_header(&mut reader, *api, version), Ok(5));
            assert_eq!(reader.finish(), Ok(()));
        }
    }
}

#[test]
fn a_header_of_an_unknown_api_still_tells_what_to_answer() {
    let bytes = Bytes::from_static(&[0x27, 0x0f, 0, 7, 0, 0, 0, 9, 0xff, 0xff, 1, 2, 3]);
    let header = RequestHeader::decode(&mut Reader::new(bytes)).unwrap();
    assert_eq!((header.api(), header.api_version, header.correlation_id), (None, 7, 9));
}

#[test]
fn api_versions_of_a_later_version_is_understood_enough_to_be_answered_in_version_0() {
    let asked =
        RequestHeader { api_key: 18, api_version: 9, correlation_id: 3, client_id: Some("new".into()) };
    let mut bytes = BytesMut::new();
    asked.encode(&mut bytes).unwrap();
    bytes.extend_from_slice(b"fields of a later version");
    let mut reader = Reader::new(bytes.freeze());
    let header = RequestHeader::decode(&mut reader).unwrap();
    assert_eq!(header, asked);
    assert!(matches!(ApiVersionsRequest::decode(&mut reader, 9), Err(DecodeError::Version(_))));

    let mut out = BytesMut::new();
    let answer = ApiVersionsResponse::of_this_node(ErrorCode::UnsupportedVersion);
    frame::encode_response(&mut out, 0, header.correlation_id, &answer).unwrap();
    let framed = frame::take(&mut out, 10_000).unwrap().unwrap();
    assert_eq!(framed.slice(..6)[..], [0, 0, 0, 3, 0, 35]);
    assert_eq!(ApiVersionsResponse::decode_all(framed.slice(4..), 0), Ok(answer));
}

#[test]
fn a_frame_is_taken_when_all_of_it_is_there_and_not_before() {
    let whole = [0, 0, 0, 3, 1, 2, 3, 0, 0];
    for len in 0..7 {
        let mut buffer = BytesMut::from(&whole[..len]);
        assert_eq!(frame::take(&mut buffer, 100), Ok(None));
        assert_eq!(buffer.len(), len);
    }
    let mut buffer = BytesMut::from(&whole[..]);
    assert_eq!(frame::take(&mut buffer, 100), Ok(Some(Bytes::from_static(&[1, 2, 3]))));
    assert_eq!(buffer[..], [0, 0]);
}

#[test]
fn a_frame_is_refused_by_its_size_alone() {
    assert_eq!(
        frame::claimed_size(&[0, 0, 0, 101], 100),
        Err(FrameError::TooLarge { size: 101, limit: 100 })
    );
    assert_eq!(frame::claimed_size(&[0, 0, 0, 100, 1], 100), Ok(Some(100)));
    assert_eq!(frame::claimed_size(&[0xff; 4], 100), Err(FrameError::Negative(-1)));
    assert_eq!(frame::claimed_size(&[0xff; 3], 100), Ok(None));
}

fn fetched(records: impl IntoIterator<Item = Records>) -> FetchResponse {
    let partitions = records.into_iter().zip(0..).map(|(records, index)| PartitionData {
        partition_index: PartitionIndex::new(index),
        records,
        ..PartitionData::default()
    });
    let topic = FetchableTopicResponse { partitions: partitions.collect(), ..Default::default() };
    FetchResponse { responses: vec![topic], ..FetchResponse::default() }
}

/// The frame that the parts make when the sender fills in its records.
fn joined(parts: &[Part], held: &[Bytes]) -> Bytes {
    let mut sent = BytesMut::new();
    for part in parts {
        assert!(!part.is_empty());
        match part {
            Part::Bytes(bytes) => sent.extend_from_slice(bytes),
            Part::Records { slot, len } => {
                assert_eq!(held[*slot].len(), *len);
                sent.extend_from_slice(&held[*slot]);
            }
        }
    }
    sent.freeze()
}

#[test]
fn a_fetch_answer_in_parts_is_the_same_frame_as_in_one_piece() {
    let held = [vec![1; 3000], vec![2; 10], vec![]].map(Bytes::from);
    for version in ApiKey::Fetch.served() {
        let elsewhere = held.iter().enumerate().map(|(slot, b)| Records::Elsewhere { slot, len: b.len() });
        let shared = [Records::Null, Records::Empty, Records::Shared(Bytes::from(vec![3; 2000]))];
        let answer = fetched(elsewhere.chain(shared.clone()));
        let mut buffer = BytesMut::from(&b"left from before"[..]);
        let parts = frame::encode_response_parts(&mut buffer, version, 8, &answer).unwrap();
        assert_eq!(parts.iter().filter(|part| matches!(part, Part::Records { .. })).count(), 2);

        let in_memory = fetched(held.iter().cloned().map(Records::from).chain(shared));
        let mut whole = BytesMut::new();
        frame::encode_response(&mut whole, version, 8, &in_memory).unwrap();
        assert_eq!(joined(&parts, &held), whole.freeze(), "v{version}");
    }
}

#[test]
fn large_records_in_memory_are_shared_and_not_copied() {
    let batch = Bytes::from(vec![9; 4096]);
    let mut buffer = BytesMut::new();
    let answer = fetched([Records::Shared(batch.clone())]);
    let parts = frame::encode_response_parts(&mut buffer, 16, 8, &answer).unwrap();
    let shares = |part: &Part| matches!(part, Part::Bytes(bytes) if bytes.as_ptr() == batch.as_ptr());
    assert_eq!(parts.iter().filter(|part| shares(part)).count(), 1);
    assert_eq!(parts.len(), 3);
}

#[test]
fn a_produce_request_in_parts_is_the_same_frame_and_decodes_to_slices_of_it() {
    let batch = Bytes::from(vec![7; 2048]);
    let data = PartitionProduceData { index: PartitionIndex::new(2), records: Some(batch.clone()) };
    let topic = TopicProduceData { partition_data: vec![data], ..TopicProduceData::default() };
    let request = ProduceRequest { acks: -1, topic_data: vec![topic], ..ProduceRequest::default() };
    for version in ApiKey::Produce.served() {
        let mut buffer = BytesMut::new();
        let id = Str::from("me");
        let parts = frame::encode_request_parts(&mut buffer, version, 1, Some(&id), &request).unwrap();
        assert!(parts.contains(&Part::Bytes(batch.clone())));
        frame::encode_request(&mut buffer, version, 1, Some(&id), &request).unwrap();
        assert_eq!(joined(&parts, &[]), buffer.clone().freeze());

        let frame = frame::take(&mut buffer, 1 << 20).unwrap().unwrap();
        let mut reader = Reader::new(frame.clone());
        RequestHeader::decode(&mut reader).unwrap();
        let read = ProduceRequest::decode(&mut reader, version).unwrap();
        assert_eq!(read, request);
        let records = read.topic_data[0].partition_data[0].records.clone().unwrap();
        assert!(frame.as_ptr_range().contains(&records.as_ptr()), "copied in v{version}");
    }
}

#[test]
fn a_failed_frame_leaves_the_buffer_as_it_was() {
    let mut out = BytesMut::from(&b"sent before"[..]);
    let elsewhere = fetched([Records::Elsewhere { slot: 0, len: 10 }]);
    let refused = frame::encode_response(&mut out, 16, 1, &elsewhere);
    assert_eq!(refused, Err(EncodeError::RecordsElsewhere));
    assert_eq!(out, b"sent before"[..]);
}

#[test]
fn a_tagged_field_at_its_default_is_never_sent() {
    let mut out = BytesMut::new();
    let told = ApiVersionsResponse { throttle_time_ms: 1, ..ApiVersionsResponse::default() };
    told.encode(&mut out, 4).unwrap();
    // Error code, no keys, throttle time, no tags.
    assert_eq!(out[..], [0, 0, 1, 0, 0, 0, 1, 0]);

    let mut out = BytesMut::new();
    let answer = fetched([Records::Empty]);
    answer.encode(&mut out, 17).unwrap();
    // No records; then no tags of the partition, of the topic, of the answer.
    assert_eq!(out[out.len() - 4..], [1, 0, 0, 0]);

    let topic = TopicProduceResponse {
        partition_responses: vec![PartitionProduceResponse::default()],
        ..TopicProduceResponse::default()
    };
    let mut out = BytesMut::new();
    let answer = ProduceResponse { responses: vec![topic], ..ProduceResponse::default() };
    answer.encode(&mut out, 13).unwrap();
    // No message, no tags of the partition, of the topic; throttle time; no tags of the answer.
    assert_eq!(out[out.len() - 8..], [0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn unknown_tags_inside_a_structure_are_skipped() {
    let mut topic = TheirTopic::default().with_name(Some(StrBytes::from_static_str("t").into()));
    topic.unknown_tagged_fields.insert(0, Bytes::from_static(b"first"));
    topic.unknown_tagged_fields.insert(70_000, Bytes::from(vec![0xff; 300]));
    let theirs = TheirMetadata::default().with_topics(Some(vec![topic.clone(), topic]));
    let mut bytes = BytesMut::new();
    theirs.encode(&mut bytes, 9).unwrap();
    let read = MetadataRequest::decode_all(bytes.freeze(), 9).unwrap();
    let names: Vec<_> = read.topics.unwrap().into_iter().map(|topic| topic.name.unwrap()).collect();
    assert_eq!(names, ["t", "t"]);
}

#[test]
fn a_frame_of_ours_is_read_by_the_oracle() {
    let layout = Layout::of(ApiKey::Metadata, 12).unwrap();
    let request = MetadataRequest::sample(&mut fastrand::Rng::with_seed(4), layout);
    let mut out = BytesMut::new();
    frame::encode_request(&mut out, 12, 6, None, &request).unwrap();
    let mut framed = frame::take(&mut out, 1 << 20).unwrap().unwrap();
    let header = TheirHeader::decode(&mut framed, 2).unwrap();
    assert_eq!((header.request_api_key, header.correlation_id), (3, 6));
    TheirMetadata::decode(&mut framed, 12).unwrap();
    assert!(framed.is_empty());
}
