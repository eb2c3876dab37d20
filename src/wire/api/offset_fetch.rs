//! How far groups had come; from version 8 on for many groups at once.
//!
//! Kafka has no field for records that were tried and failed. Tags from 10000 on are our own: they are sent only to a
//! client that asks for them by one, and whoever does not know them skips them (KIP-482).

use crate::{
    model::{LeaderEpoch, Offset, PartitionIndex},
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Asks for committed offsets.
    struct OffsetFetchRequest {
        /// The group.
        group_id: Str [..=7],
        /// The partitions; null: all that have one.
        topics: Option<Vec<OffsetFetchRequestTopic>> [..=7; null 2..=7] = Some(Vec::new()),
        /// The groups.
        groups: Vec<OffsetFetchRequestGroup> [8..],
        /// Wait for open transactions (KIP-447).
        require_stable: bool [7..],
        /// Our own: tell what was tried and failed, too.
        with_attempts: bool [8..; tag 10000],
    }

    /// Partitions of one topic.
    struct OffsetFetchRequestTopic {
        /// The topic.
        name: Str [..=7],
        /// The partitions.
        partition_indexes: Vec<PartitionIndex> [..=7],
    }

    /// One group.
    struct OffsetFetchRequestGroup {
        /// The group.
        group_id: Str [8..],
        /// The member that asks (KIP-848).
        member_id: Option<Str> [9..; null 9..],
        /// Its epoch.
        member_epoch: i32 [9..] = -1,
        /// The partitions; null: all that have one.
        topics: Option<Vec<OffsetFetchRequestTopics>> [8..; null 8..] = Some(Vec::new()),
    }

    /// Partitions of one topic.
    struct OffsetFetchRequestTopics {
        /// The topic.
        name: Str [8..],
        /// The partitions.
        partition_indexes: Vec<PartitionIndex> [8..],
    }

    /// Committed offsets.
    struct OffsetFetchResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [3..],
        /// By topic.
        topics: Vec<OffsetFetchResponseTopic> [..=7],
        /// Why there are none.
        error_code: ErrorCode [2..=7],
        /// By group.
        groups: Vec<OffsetFetchResponseGroup> [8..],
    }

    /// Of one topic.
    struct OffsetFetchResponseTopic {
        /// The topic.
        name: Str [..=7],
        /// By partition.
        partitions: Vec<OffsetFetchResponsePartition> [..=7],
    }

    /// Of one partition.
    struct OffsetFetchResponsePartition {
        /// The partition.
        partition_index: PartitionIndex [..=7],
        /// The offset to go on from; -1: none is committed.
        committed_offset: Offset [..=7],
        /// The leader epoch of the record before it; -1: unknown.
        committed_leader_epoch: LeaderEpoch [5..=7] = LeaderEpoch::NONE,
        /// What the client kept with it.
        metadata: Option<Str> [..=7; null ..=7] = Some(Str::default()),
        /// Why there is none.
        error_code: ErrorCode [..=7],
    }

    /// Of one group.
    struct OffsetFetchResponseGroup {
        /// The group.
        group_id: Str [8..],
        /// By topic.
        topics: Vec<OffsetFetchResponseTopics> [8..],
        /// Why there are none.
        error_code: ErrorCode [8..],
    }

    /// Of one topic.
    struct OffsetFetchResponseTopics {
        /// The topic.
        name: Str [8..],
        /// By partition.
        partitions: Vec<OffsetFetchResponsePartitions> [8..],
    }

    /// Of one partition.
    struct OffsetFetchResponsePartitions {
        /// The partition.
        partition_index: PartitionIndex [8..],
        /// The offset to go on from; -1: none is committed.
        committed_offset: Offset [8..],
        /// The leader epoch of the record before it; -1: unknown.
        committed_leader_epoch: LeaderEpoch [8..] = LeaderEpoch::NONE,
        /// What the client kept with it.
        metadata: Option<Str> [8..; null 8..] = Some(Str::default()),
        /// Why there is none.
        error_code: ErrorCode [8..],
        /// Our own: how often deliveries of the record that comes next have failed.
        attempts: i32 [8..; tag 10000],
        /// Our own: the offset of that record; -1: there is none.
        attempted_offset: Offset [8..; tag 10001] = Offset::new(-1),
        /// Our own: so many records in a row had failed that no more are given up.
        dead_letters_stopped: bool [8..; tag 10002],
    }
}

wire_api!(OffsetFetch: OffsetFetchRequest -> OffsetFetchResponse);
