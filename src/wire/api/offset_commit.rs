//! How far a group has come.
//!
//! Kafka has no word for a delivery that failed. Tag 10000 is our own: it says that the record at the committed offset
//! was delivered and refused. Who does not know it keeps the offset, which is right in any case, and answers without
//! the tag, which tells the client that nothing was counted. Nothing of it goes to a client that does not send it.

use crate::{
    model::{LeaderEpoch, Offset, PartitionIndex},
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Commits offsets.
    struct OffsetCommitRequest {
        /// The group.
        group_id: Str [2..],
        /// The member's generation, or its epoch (KIP-848); -1: a client that is no member.
        generation_id_or_member_epoch: i32 [2..] = -1,
        /// The member; empty for a client that is none.
        member_id: Str [2..],
        /// What a static member is known by.
        group_instance_id: Option<Str> [7..; null 7..],
        /// How long to keep them, in ms; -1: as the node says. Of old clients.
        retention_time_ms: i64 [2..=4] = -1,
        /// By topic.
        topics: Vec<OffsetCommitRequestTopic> [2..],
    }

    /// Offsets of one topic.
    struct OffsetCommitRequestTopic {
        /// The topic.
        name: Str [2..],
        /// By partition.
        partitions: Vec<OffsetCommitRequestPartition> [2..],
    }

    /// One partition's offset.
    struct OffsetCommitRequestPartition {
        /// The partition.
        partition_index: PartitionIndex [2..],
        /// The offset after the last record that was consumed.
        committed_offset: Offset [2..],
        /// The leader epoch of that record; -1: unknown.
        committed_leader_epoch: LeaderEpoch [6..] = LeaderEpoch::NONE,
        /// Whatever the client wants to keep with it.
        committed_metadata: Option<Str> [2..; null 2..] = Some(Str::default()),
        /// Our own: the delivery of the record at this offset has failed.
        nack: Option<Nack> [8..; null 8..; tag 10000],
    }

    /// A delivery that failed, as the consumer tells it.
    struct Nack {
        /// Which of the record's failed deliveries this is, from 1 on; one that is counted already is not counted again.
        /// 0: not known, count it.
        attempt: i32 [8..],
        /// Why, for a person.
        cause: Str [8..],
    }

    /// What came of it.
    struct OffsetCommitResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [3..],
        /// By topic.
        topics: Vec<OffsetCommitResponseTopic> [2..],
    }

    /// Of one topic.
    struct OffsetCommitResponseTopic {
        /// The topic.
        name: Str [2..],
        /// By partition.
        partitions: Vec<OffsetCommitResponsePartition> [2..],
    }

    /// Of one partition.
    struct OffsetCommitResponsePartition {
        /// The partition.
        partition_index: PartitionIndex [2..],
        /// Why the offset was not kept.
        error_code: ErrorCode [2..],
        /// Our own: what became of a delivery that failed.
        nacked: Option<Nacked> [8..; null 8..; tag 10000],
    }

    /// What became of it.
    struct Nacked {
        /// How often the record's deliveries have failed by now; 0: that is not counted, or the group is past it.
        attempts: i32 [8..],
        /// The group goes on behind the record. `OffsetFetch` says where, as soon as the dead letter is on disk.
        given_up: bool [8..],
        /// So many records in a row had failed that no more are given up.
        dead_letters_stopped: bool [8..],
    }
}

nullable_structs!(Nack, Nacked);

wire_api!(OffsetCommit: OffsetCommitRequest -> OffsetCommitResponse);
