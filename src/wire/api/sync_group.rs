//! The second half of a rebalance of the classic protocol: the leader brings the assignment, everybody gets their own.

use bytes::Bytes;

use crate::wire::{ErrorCode, Str};

wire_structs! {
    /// Asks for the member's assignment.
    struct SyncGroupRequest {
        /// The group.
        group_id: Str [0..],
        /// The generation that the member is in.
        generation_id: i32 [0..],
        /// The member.
        member_id: Str [0..],
        /// What a static member is known by.
        group_instance_id: Option<Str> [3..; null 3..],
        /// The kind of group, to be checked.
        protocol_type: Option<Str> [5..; null 5..],
        /// The protocol chosen, to be checked.
        protocol_name: Option<Str> [5..; null 5..],
        /// From the leader: what each member gets.
        assignments: Vec<SyncGroupRequestAssignment> [0..],
    }

    /// What a member gets.
    struct SyncGroupRequestAssignment {
        /// The member.
        member_id: Str [0..],
        /// Its assignment; the coordinator does not read it.
        assignment: Bytes [0..],
    }

    /// The member's assignment.
    struct SyncGroupResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [1..],
        /// Why there is none.
        error_code: ErrorCode [0..],
        /// The kind of group.
        protocol_type: Option<Str> [5..; null 5..],
        /// The protocol chosen.
        protocol_name: Option<Str> [5..; null 5..],
        /// What the leader gave to this member.
        assignment: Bytes [0..],
    }
}

wire_api!(SyncGroup: SyncGroupRequest -> SyncGroupResponse);
