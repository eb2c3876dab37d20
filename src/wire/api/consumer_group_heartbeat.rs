//! A member of a group whose partitions the coordinator assigns (KIP-848): it joins, lives, owns and leaves by this alone.

use crate::{
    model::{PartitionIndex, TopicId},
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// What a member is, wants and owns; what it leaves out is as it was.
    struct ConsumerGroupHeartbeatRequest {
        /// The group.
        group_id: Str [0..],
        /// The member; chosen by the client from version 1 on.
        member_id: Str [0..],
        /// Its epoch; 0: joins, -1: leaves, -2: leaves and comes back as a static member.
        member_epoch: i32 [0..],
        /// What a static member is known by.
        instance_id: Option<Str> [0..; null 0..],
        /// Where it runs.
        rack_id: Option<Str> [0..; null 0..],
        /// How long it may take to give partitions back, in ms; -1: as it was.
        rebalance_timeout_ms: i32 [0..] = -1,
        /// The topics it wants.
        subscribed_topic_names: Option<Vec<Str>> [0..; null 0..],
        /// The topics it wants, as a regular expression.
        subscribed_topic_regex: Option<Str> [1..; null 1..],
        /// The assignor it wants.
        server_assignor: Option<Str> [0..; null 0..],
        /// What it owns.
        topic_partitions: Option<Vec<TopicPartitions>> [0..; null 0..],
    }

    /// Partitions of one topic.
    struct TopicPartitions {
        /// The topic.
        topic_id: TopicId [0..],
        /// The partitions.
        partitions: Vec<PartitionIndex> [0..],
    }

    /// What the member is to do.
    struct ConsumerGroupHeartbeatResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [0..],
        /// Why it is no member.
        error_code: ErrorCode [0..],
        /// The same, for a person.
        error_message: Option<Str> [0..; null 0..],
        /// The member.
        member_id: Option<Str> [0..; null 0..],
        /// Its epoch from now on.
        member_epoch: i32 [0..],
        /// When to say so again, in ms.
        heartbeat_interval_ms: i32 [0..],
        /// What it may own from now on; null: as it was.
        assignment: Option<Assignment> [0..; null 0..],
    }

    /// What a member may own.
    struct Assignment {
        /// By topic.
        topic_partitions: Vec<TopicPartitions> [0..],
    }
}

nullable_structs!(Assignment);

wire_api!(ConsumerGroupHeartbeat: ConsumerGroupHeartbeatRequest -> ConsumerGroupHeartbeatResponse);
