//! Forgets groups and their offsets.

use crate::wire::{ErrorCode, Str};

wire_structs! {
    /// Forgets groups.
    struct DeleteGroupsRequest {
        /// The groups.
        groups_names: Vec<Str> [0..],
    }

    /// What came of it.
    struct DeleteGroupsResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [0..],
        /// By group.
        results: Vec<DeletableGroupResult> [0..],
    }

    /// Of one group.
    struct DeletableGroupResult {
        /// The group.
        group_id: Str [0..],
        /// Why it is still there.
        error_code: ErrorCode [0..],
    }
}

wire_api!(DeleteGroups: DeleteGroupsRequest -> DeleteGroupsResponse);
