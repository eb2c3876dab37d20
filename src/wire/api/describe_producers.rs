//! Shows the producers that a partition keeps state of (KIP-664).

use crate::{
    model::{Offset, PartitionIndex, ProducerId, Sequence, TimestampMs},
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Asks for producers.
    struct DescribeProducersRequest {
        /// By topic.
        topics: Vec<TopicRequest> [0..],
    }

    /// Partitions of one topic.
    struct TopicRequest {
        /// The topic.
        name: Str [0..],
        /// The partitions.
        partition_indexes: Vec<PartitionIndex> [0..],
    }

    /// Producers.
    struct DescribeProducersResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [0..],
        /// By topic.
        topics: Vec<TopicResponse> [0..],
    }

    /// Producers of one topic.
    struct TopicResponse {
        /// The topic.
        name: Str [0..],
        /// By partition.
        partitions: Vec<PartitionResponse> [0..],
    }

    /// Producers of one partition.
    struct PartitionResponse {
        /// The partition.
        partition_index: PartitionIndex [0..],
        /// Why there are none.
        error_code: ErrorCode [0..],
        /// The same, for a person.
        error_message: Option<Str> [0..; null 0..],
        /// The producers.
        active_producers: Vec<ProducerState> [0..],
    }

    /// A producer.
    struct ProducerState {
        /// Its id.
        producer_id: ProducerId [0..],
        /// Its epoch, here as 32 bits.
        producer_epoch: i32 [0..],
        /// The sequence of its last record; -1: none.
        last_sequence: Sequence [0..] = Sequence::NONE,
        /// The time of its last record; -1: none.
        last_timestamp: TimestampMs [0..] = TimestampMs::NONE,
        /// The epoch of its transaction coordinator.
        coordinator_epoch: i32 [0..],
        /// Where its open transaction begins; -1: none is open.
        current_txn_start_offset: Offset [0..] = Offset::new(-1),
    }
}

wire_api!(DescribeProducers: DescribeProducersRequest -> DescribeProducersResponse);
