//! Members leave a group of the classic protocol; from version 3 on many at once (KIP-345).

use crate::wire::{ErrorCode, Str};

wire_structs! {
    /// Leaves.
    struct LeaveGroupRequest {
        /// The group.
        group_id: Str [0..],
        /// The member.
        member_id: Str [..=2],
        /// The members.
        members: Vec<MemberIdentity> [3..],
    }

    /// Who leaves.
    struct MemberIdentity {
        /// The member; empty where only the instance is known.
        member_id: Str [3..],
        /// What a static member is known by.
        group_instance_id: Option<Str> [3..; null 3..],
        /// Why, for a person (KIP-800).
        reason: Option<Str> [5..; null 5..],
    }

    /// What came of it.
    struct LeaveGroupResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [1..],
        /// Why nobody left.
        error_code: ErrorCode [0..],
        /// By member.
        members: Vec<MemberResponse> [3..],
    }

    /// Whether one member left.
    struct MemberResponse {
        /// The member.
        member_id: Str [3..],
        /// What a static member is known by.
        group_instance_id: Option<Str> [3..; null 3..],
        /// Why it did not leave.
        error_code: ErrorCode [3..],
    }
}

wire_api!(LeaveGroup: LeaveGroupRequest -> LeaveGroupResponse);
