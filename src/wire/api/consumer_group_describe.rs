//! Groups whose partitions the coordinator assigns, with their members (KIP-848).

use crate::{
    model::{PartitionIndex, TopicId},
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Asks for groups.
    struct ConsumerGroupDescribeRequest {
        /// The groups.
        group_ids: Vec<Str> [0..],
        /// Whether to tell what the client may do.
        include_authorized_operations: bool [0..],
    }

    /// The groups.
    struct ConsumerGroupDescribeResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [0..],
        /// By group.
        groups: Vec<DescribedGroup> [0..],
    }

    /// One group.
    struct DescribedGroup {
        /// Why it is not described.
        error_code: ErrorCode [0..],
        /// The same, for a person.
        error_message: Option<Str> [0..; null 0..],
        /// The group.
        group_id: Str [0..],
        /// Its state: `Empty`, `Assigning`, `Reconciling`, `Stable`, `Dead`.
        group_state: Str [0..],
        /// Raised by every change of members and of what they want.
        group_epoch: i32 [0..],
        /// The group epoch that the assignment was made for.
        assignment_epoch: i32 [0..],
        /// The assignor.
        assignor_name: Str [0..],
        /// Its members.
        members: Vec<Member> [0..],
        /// What the client may do, by bits; the lowest number: not told.
        authorized_operations: i32 [0..] = i32::MIN,
    }

    /// One member.
    struct Member {
        /// Its id.
        member_id: Str [0..],
        /// What a static member is known by.
        instance_id: Option<Str> [0..; null 0..],
        /// Where it runs.
        rack_id: Option<Str> [0..; null 0..],
        /// Its epoch.
        member_epoch: i32 [0..],
        /// The client's own name.
        client_id: Str [0..],
        /// Where it comes from.
        client_host: Str [0..],
        /// The topics it wants.
        subscribed_topic_names: Vec<Str> [0..],
        /// The topics it wants, as a regular expression.
        subscribed_topic_regex: Option<Str> [0..; null 0..],
        /// What it owns.
        assignment: Assignment [0..],
        /// What it is to own.
        target_assignment: Assignment [0..],
        /// -1: unknown; 0: classic; 1: consumer.
        member_type: i8 [1..] = -1,
    }

    /// What a member owns.
    struct Assignment {
        /// By topic.
        topic_partitions: Vec<TopicPartitions> [0..],
    }

    /// Partitions of one topic.
    struct TopicPartitions {
        /// The topic.
        topic_id: TopicId [0..],
        /// Its name.
        topic_name: Str [0..],
        /// The partitions.
        partitions: Vec<PartitionIndex> [0..],
    }
}

wire_api!(ConsumerGroupDescribe: ConsumerGroupDescribeRequest -> ConsumerGroupDescribeResponse);
