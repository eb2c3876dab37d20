//! Every API in every served version against the crate `kafka-protocol`: what we write it reads, it
//! writes the same bytes again, and we read back the value that we began with. Its names of the
//! fields are ours, in the same order, so that no two fields of one type are swapped.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    messages as theirs,
    protocol::{Decodable, Encodable},
};

use crate::wire::{Layout, Message, api, sample::Sample};

const VALUES_PER_VERSION: u64 = 60;
/// Tags of our own, which the oracle keeps as unknown ones.
const OURS_ALONE: [&str; 9] = [
    "with_attempts",
    "attempts",
    "attempted_offset",
    "dead_letters_stopped",
    "nack",
    "attempt",
    "cause",
    "nacked",
    "given_up",
];

/// Names of fields in a value's debug text, in order; texts in quotes are passed over.
fn field_names(debug: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut word = String::new();
    let mut chars = debug.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                while let Some(inner) = chars.next().filter(|c| *c != '"') {
                    if inner == '\\' {
                        chars.next();
                    }
                }
            }
            ':' if !word.is_empty() => names.push(std::mem::take(&mut word)),
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            _ => word.clear(),
        }
    }
    names
}

/// Names of the oracle's fields but for those that no served version has.
fn names_of_theirs(value: &impl Debug, unserved: &[&str]) -> Vec<String> {
    let mut names = field_names(&format!("{value:?}"));
    // Unknown tags stand there by their numbers.
    let is_tag = |name: &str| name == "unknown_tagged_fields" || name.parse::<u32>().is_ok();
    names.retain(|name| !is_tag(name) && !unserved.contains(&name.as_str()));
    names
}

fn agrees<M, O>(unserved: &[&str], add_unknown_tag: fn(&mut O))
where
    M: Message + Sample + PartialEq + Debug,
    O: Encodable + Decodable + Debug,
{
    for version in M::API.served() {
        let layout = Layout::of(M::API, version).unwrap();
        for seed in 0..VALUES_PER_VERSION {
            let value = M::sample(&mut fastrand::Rng::with_seed(seed), layout);
            let context = format!("{:?} v{version} seed {seed}: {value:?}", M::API);

            let mut ours = BytesMut::new();
            value.encode(&mut ours, version).expect(&context);
            let mut unread = ours.clone().freeze();
            let mut their_value = O::decode(&mut unread, version).expect(&context);
            assert!(unread.is_empty(), "the oracle left bytes: {context}");
            let mut ours_by_name = field_names(&format!("{value:?}"));
            ours_by_name.retain(|name| !OURS_ALONE.contains(&name.as_str()));
            assert_eq!(ours_by_name, names_of_theirs(&their_value, unserved), "{context}");

            assert_eq!(their_bytes(&their_value, version), ours, "{context}");
            assert_eq!(M::decode_all(ours.freeze(), version).expect(&context), value);

            if layout.flexible {
                add_unknown_tag(&mut their_value);
                let with_tag = their_bytes(&their_value, version).freeze();
                assert_eq!(M::decode_all(with_tag, version).expect(&context), value);
            }
        }
    }
}

fn their_bytes(value: &impl Encodable, version: i16) -> BytesMut {
    let mut bytes = BytesMut::new();
    value.encode(&mut bytes, version).unwrap();
    bytes
}

macro_rules! agree {
    ($($test:ident: $module:ident :: $message:ident $(without $($unserved:literal),+)?;)*) => {$(
        #[test]
        fn $test() {
            agrees::<api::$module::$message, theirs::$message>(&[$($($unserved),+)?], |value| {
                value.unknown_tagged_fields.insert(9_999, Bytes::from_static(b"of a later version"));
            });
        }
    )*};
}

/// Messages that have no flexible version, so that nothing can be added to them.
macro_rules! agree_without_tags {
    ($($test:ident: $module:ident :: $message:ident;)*) => {$(
        #[test]
        fn $test() {
            agrees::<api::$module::$message, theirs::$message>(&[], |_| {});
        }
    )*};
}

agree_without_tags! {
    offset_delete_request_agrees_with_the_oracle: offset_delete::OffsetDeleteRequest;
    offset_delete_response_agrees_with_the_oracle: offset_delete::OffsetDeleteResponse;
}

agree! {
    api_versions_request_agrees_with_the_oracle: api_versions::ApiVersionsRequest;
    api_versions_response_agrees_with_the_oracle: api_versions::ApiVersionsResponse;
    metadata_request_agrees_with_the_oracle: metadata::MetadataRequest;
    metadata_response_agrees_with_the_oracle: metadata::MetadataResponse;
    produce_request_agrees_with_the_oracle: produce::ProduceRequest;
    produce_response_agrees_with_the_oracle: produce::ProduceResponse;
    fetch_request_agrees_with_the_oracle: fetch::FetchRequest;
    fetch_response_agrees_with_the_oracle: fetch::FetchResponse;
    list_offsets_request_agrees_with_the_oracle: list_offsets::ListOffsetsRequest;
    list_offsets_response_agrees_with_the_oracle: list_offsets::ListOffsetsResponse;
    create_topics_request_agrees_with_the_oracle: create_topics::CreateTopicsRequest;
    create_topics_response_agrees_with_the_oracle: create_topics::CreateTopicsResponse;
    delete_topics_request_agrees_with_the_oracle: delete_topics::DeleteTopicsRequest;
    delete_topics_response_agrees_with_the_oracle: delete_topics::DeleteTopicsResponse;
    init_producer_id_request_agrees_with_the_oracle: init_producer_id::InitProducerIdRequest without "enable_2_pc", "keep_prepared_txn";
    init_producer_id_response_agrees_with_the_oracle: init_producer_id::InitProducerIdResponse without "ongoing_txn_producer_id", "ongoing_txn_producer_epoch";
    find_coordinator_request_agrees_with_the_oracle: find_coordinator::FindCoordinatorRequest;
    find_coordinator_response_agrees_with_the_oracle: find_coordinator::FindCoordinatorResponse;
    list_config_resources_request_agrees_with_the_oracle: list_config_resources::ListConfigResourcesRequest;
    list_config_resources_response_agrees_with_the_oracle: list_config_resources::ListConfigResourcesResponse;
    describe_configs_request_agrees_with_the_oracle: describe_configs::DescribeConfigsRequest;
    describe_configs_response_agrees_with_the_oracle: describe_configs::DescribeConfigsResponse;
    incremental_alter_configs_request_agrees_with_the_oracle: incremental_alter_configs::IncrementalAlterConfigsRequest;
    incremental_alter_configs_response_agrees_with_the_oracle: incremental_alter_configs::IncrementalAlterConfigsResponse;
    create_partitions_request_agrees_with_the_oracle: create_partitions::CreatePartitionsRequest;
    create_partitions_response_agrees_with_the_oracle: create_partitions::CreatePartitionsResponse;
    elect_leaders_request_agrees_with_the_oracle: elect_leaders::ElectLeadersRequest;
    elect_leaders_response_agrees_with_the_oracle: elect_leaders::ElectLeadersResponse;
    delete_records_request_agrees_with_the_oracle: delete_records::DeleteRecordsRequest;
    delete_records_response_agrees_with_the_oracle: delete_records::DeleteRecordsResponse;
    describe_cluster_request_agrees_with_the_oracle: describe_cluster::DescribeClusterRequest;
    describe_cluster_response_agrees_with_the_oracle: describe_cluster::DescribeClusterResponse;
    offset_for_leader_epoch_request_agrees_with_the_oracle: offset_for_leader_epoch::OffsetForLeaderEpochRequest;
    offset_for_leader_epoch_response_agrees_with_the_oracle: offset_for_leader_epoch::OffsetForLeaderEpochResponse;
    alter_configs_request_agrees_with_the_oracle: alter_configs::AlterConfigsRequest;
    alter_configs_response_agrees_with_the_oracle: alter_configs::AlterConfigsResponse;
    describe_topic_partitions_request_agrees_with_the_oracle: describe_topic_partitions::DescribeTopicPartitionsRequest;
    describe_topic_partitions_response_agrees_with_the_oracle: describe_topic_partitions::DescribeTopicPartitionsResponse;
    describe_log_dirs_request_agrees_with_the_oracle: describe_log_dirs::DescribeLogDirsRequest;
    describe_log_dirs_response_agrees_with_the_oracle: describe_log_dirs::DescribeLogDirsResponse;
    describe_producers_request_agrees_with_the_oracle: describe_producers::DescribeProducersRequest;
    describe_producers_response_agrees_with_the_oracle: describe_producers::DescribeProducersResponse;
    consumer_group_describe_request_agrees_with_the_oracle: consumer_group_describe::ConsumerGroupDescribeRequest;
    consumer_group_describe_response_agrees_with_the_oracle: consumer_group_describe::ConsumerGroupDescribeResponse;
    consumer_group_heartbeat_request_agrees_with_the_oracle: consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
    consumer_group_heartbeat_response_agrees_with_the_oracle: consumer_group_heartbeat::ConsumerGroupHeartbeatResponse;
    delete_groups_request_agrees_with_the_oracle: delete_groups::DeleteGroupsRequest;
    delete_groups_response_agrees_with_the_oracle: delete_groups::DeleteGroupsResponse;
    describe_groups_request_agrees_with_the_oracle: describe_groups::DescribeGroupsRequest;
    describe_groups_response_agrees_with_the_oracle: describe_groups::DescribeGroupsResponse;
    heartbeat_request_agrees_with_the_oracle: heartbeat::HeartbeatRequest;
    heartbeat_response_agrees_with_the_oracle: heartbeat::HeartbeatResponse;
    join_group_request_agrees_with_the_oracle: join_group::JoinGroupRequest;
    join_group_response_agrees_with_the_oracle: join_group::JoinGroupResponse;
    leave_group_request_agrees_with_the_oracle: leave_group::LeaveGroupRequest;
    leave_group_response_agrees_with_the_oracle: leave_group::LeaveGroupResponse;
    list_groups_request_agrees_with_the_oracle: list_groups::ListGroupsRequest;
    list_groups_response_agrees_with_the_oracle: list_groups::ListGroupsResponse;
    offset_commit_request_agrees_with_the_oracle: offset_commit::OffsetCommitRequest without "topic_id";
    offset_commit_response_agrees_with_the_oracle: offset_commit::OffsetCommitResponse without "topic_id";
    offset_fetch_request_agrees_with_the_oracle: offset_fetch::OffsetFetchRequest without "topic_id";
    offset_fetch_response_agrees_with_the_oracle: offset_fetch::OffsetFetchResponse without "topic_id";
    sync_group_request_agrees_with_the_oracle: sync_group::SyncGroupRequest;
    sync_group_response_agrees_with_the_oracle: sync_group::SyncGroupResponse;
}

#[test]
fn names_are_found_outside_of_texts_only() {
    let debug = r#"A { one: "b: \" c: 1", two: Some([B { three: b"\"x: y", four: 1 }]) }"#;
    assert_eq!(field_names(debug), ["one", "two", "three", "four"]);
}
