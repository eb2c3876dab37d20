//! Groups of the classic protocol, with their members.

use bytes::Bytes;

use crate::wire::{ErrorCode, Str};

wire_structs! {
    /// Asks for groups.
    struct DescribeGroupsRequest {
        /// The groups.
        groups: Vec<Str> [0..],
        /// Whether to tell what the client may do.
        include_authorized_operations: bool [3..],
    }

    /// The groups.
    struct DescribeGroupsResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [1..],
        /// By group.
        groups: Vec<DescribedGroup> [0..],
    }

    /// One group.
    struct DescribedGroup {
        /// Why it is not described.
        error_code: ErrorCode [0..],
        /// The same, for a person.
        error_message: Option<Str> [6..; null 6..],
        /// The group.
        group_id: Str [0..],
        /// Its state: `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable`, `Dead`.
        group_state: Str [0..],
        /// The kind of group.
        protocol_type: Str [0..],
        /// The protocol chosen, while it is stable.
        protocol_data: Str [0..],
        /// Its members.
        members: Vec<DescribedGroupMember> [0..],
        /// What the client may do, by bits; the lowest number: not told.
        authorized_operations: i32 [3..] = i32::MIN,
    }

    /// One member.
    struct DescribedGroupMember {
        /// Its id.
        member_id: Str [0..],
        /// What a static member is known by.
        group_instance_id: Option<Str> [4..; null 4..],
        /// The client's own name.
        client_id: Str [0..],
        /// Where it comes from.
        client_host: Str [0..],
        /// What it told under the chosen protocol, while the group is stable.
        member_metadata: Bytes [0..],
        /// What it was assigned, while the group is stable.
        member_assignment: Bytes [0..],
    }
}

wire_api!(DescribeGroups: DescribeGroupsRequest -> DescribeGroupsResponse);
