//! Appends record batches.
//!
//! The hot path inward: decoding makes one vector of topics and one of partitions for each topic;
//! names and records are slices of the frame. Topics go by name up to version 12 and by id from 13.

use bytes::Bytes;

use crate::{
    model::{LeaderEpoch, NodeId, Offset, PartitionIndex, TimestampMs, TopicId},
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Records to append.
    struct ProduceRequest {
        /// The transaction; null: none.
        transactional_id: Option<Str> [3..; null 3..],
        /// Who must hold the records before the answer: 0 nobody (and there is no answer), 1 the
        /// leader, -1 the whole in-sync set.
        acks: i16 [3..],
        /// How long to wait for that.
        timeout_ms: i32 [3..],
        /// The records by topic.
        topic_data: Vec<TopicProduceData> [3..],
    }

    /// The records for one topic.
    struct TopicProduceData {
        /// The topic's name.
        name: Str [..=12],
        /// The topic's id.
        topic_id: TopicId [13..],
        /// The records by partition.
        partition_data: Vec<PartitionProduceData> [3..],
    }

    /// The records for one partition.
    struct PartitionProduceData {
        /// The partition.
        index: PartitionIndex [3..],
        /// One record batch.
        records: Option<Bytes> [3..; null 3..],
    }

    /// What became of the records.
    struct ProduceResponse {
        /// By topic.
        responses: Vec<TopicProduceResponse> [3..],
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [3..],
        /// Where the leaders named below are (KIP-951).
        node_endpoints: Vec<NodeEndpoint> [10..; tag 0],
    }

    /// What became of one topic's records.
    struct TopicProduceResponse {
        /// The topic's name.
        name: Str [..=12],
        /// The topic's id.
        topic_id: TopicId [13..],
        /// By partition.
        partition_responses: Vec<PartitionProduceResponse> [3..],
    }

    /// What became of one partition's records.
    struct PartitionProduceResponse {
        /// The partition.
        index: PartitionIndex [3..],
        /// Why they were refused.
        error_code: ErrorCode [3..],
        /// The offset of the first record; -1 with an error.
        base_offset: Offset [3..],
        /// When the log took them, if the topic stamps that time; -1: it does not.
        log_append_time_ms: TimestampMs [3..] = TimestampMs::NONE,
        /// The first offset of the log; -1: unknown.
        log_start_offset: Offset [5..] = Offset::new(-1),
        /// The records that made the batch fail.
        record_errors: Vec<BatchIndexAndErrorMessage> [8..],
        /// Why the batch was refused, for a person.
        error_message: Option<Str> [8..; null 8..],
        /// The leader to turn to (KIP-951).
        current_leader: LeaderIdAndEpoch [10..; tag 0],
    }

    /// A record that made its batch fail.
    struct BatchIndexAndErrorMessage {
        /// Its place in the batch.
        batch_index: i32 [8..],
        /// Why, for a person.
        batch_index_error_message: Option<Str> [8..; null 8..],
    }

    /// A leader and its term.
    struct LeaderIdAndEpoch {
        /// The leader; -1: unknown.
        leader_id: NodeId [0..] = NodeId::new(-1),
        /// Its term; -1: unknown.
        leader_epoch: LeaderEpoch [0..] = LeaderEpoch::NONE,
    }

    /// Where a broker is.
    struct NodeEndpoint {
        /// Its id.
        node_id: NodeId [0..],
        /// Where clients reach it.
        host: Str [0..],
        /// Where clients reach it.
        port: i32 [0..],
        /// Its rack.
        rack: Option<Str> [0..; null 0..],
    }
}

wire_api!(Produce: ProduceRequest -> ProduceResponse);
