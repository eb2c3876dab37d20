//! A member of a group of the classic protocol says that it is alive, and hears of a rebalance.

use crate::wire::{ErrorCode, Str};

wire_structs! {
    /// A sign of life.
    struct HeartbeatRequest {
        /// The group.
        group_id: Str [0..],
        /// The generation that the member is in.
        generation_id: i32 [0..],
        /// The member.
        member_id: Str [0..],
        /// What a static member is known by.
        group_instance_id: Option<Str> [3..; null 3..],
    }

    /// Whether all is as it was.
    struct HeartbeatResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [1..],
        /// Not so: the group rebalances, or the member is not one any more.
        error_code: ErrorCode [0..],
    }
}

wire_api!(Heartbeat: HeartbeatRequest -> HeartbeatResponse);
