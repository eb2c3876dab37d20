//! Who coordinates a group or a transaction; from version 4 for many keys at once (KIP-699).

use crate::{
    model::NodeId,
    wire::{ErrorCode, Str},
};

/// `key_type` of a consumer group.
pub const KEY_TYPE_GROUP: i8 = 0;
/// `key_type` of a transactional id.
pub const KEY_TYPE_TRANSACTION: i8 = 1;
/// `key_type` of a share group's partition (KIP-932, from version 6).
pub const KEY_TYPE_SHARE: i8 = 2;

wire_structs! {
    /// Asks for coordinators.
    struct FindCoordinatorRequest {
        /// The group or transactional id.
        key: Str [..=3],
        /// What the keys are.
        key_type: i8 [1..],
        /// The group or transactional ids.
        coordinator_keys: Vec<Str> [4..],
    }

    /// Coordinators.
    struct FindCoordinatorResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [1..],
        /// Why there is none.
        error_code: ErrorCode [..=3],
        /// The same, for a person.
        error_message: Option<Str> [1..=3; null 1..=3],
        /// The coordinator; -1 with an error.
        node_id: NodeId [..=3],
        /// Where clients reach it.
        host: Str [..=3],
        /// Where clients reach it.
        port: i32 [..=3],
        /// By key.
        coordinators: Vec<Coordinator> [4..],
    }

    /// The coordinator of one key.
    struct Coordinator {
        /// The group or transactional id.
        key: Str [4..],
        /// The coordinator; -1 with an error.
        node_id: NodeId [4..],
        /// Where clients reach it.
        host: Str [4..],
        /// Where clients reach it.
        port: i32 [4..],
        /// Why there is none.
        error_code: ErrorCode [4..],
        /// The same, for a person.
        error_message: Option<Str> [4..; null 4..],
    }
}

wire_api!(FindCoordinator: FindCoordinatorRequest -> FindCoordinatorResponse);
