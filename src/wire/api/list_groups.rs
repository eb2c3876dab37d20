//! All groups that a node coordinates.

use crate::wire::{ErrorCode, Str};

wire_structs! {
    /// Asks for groups.
    struct ListGroupsRequest {
        /// Only those in these states; empty: all.
        states_filter: Vec<Str> [4..],
        /// Only those of these types; empty: all.
        types_filter: Vec<Str> [5..],
    }

    /// The groups.
    struct ListGroupsResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [1..],
        /// Why some may be missing.
        error_code: ErrorCode [0..],
        /// One by one.
        groups: Vec<ListedGroup> [0..],
    }

    /// One group.
    struct ListedGroup {
        /// The group.
        group_id: Str [0..],
        /// The kind of group.
        protocol_type: Str [0..],
        /// Its state.
        group_state: Str [4..],
        /// `classic` or `consumer`.
        group_type: Str [5..],
    }
}

wire_api!(ListGroups: ListGroupsRequest -> ListGroupsResponse);
