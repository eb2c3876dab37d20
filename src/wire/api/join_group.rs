//! Joining a group of the classic protocol, or saying again what a member wants; answered when the group has settled.

use bytes::Bytes;

use crate::wire::{ErrorCode, Str};

wire_structs! {
    /// Asks to be a member.
    struct JoinGroupRequest {
        /// The group.
        group_id: Str [0..],
        /// Without a heartbeat for so long a member counts as dead, in ms.
        session_timeout_ms: i32 [0..],
        /// How long the others wait for this member while the group rebalances, in ms; -1: as the session time-out.
        rebalance_timeout_ms: i32 [1..] = -1,
        /// Given out by the coordinator; empty at first.
        member_id: Str [0..],
        /// What a static member is known by over its restarts (KIP-345).
        group_instance_id: Option<Str> [5..; null 5..],
        /// The kind of group, as `consumer` or `connect`.
        protocol_type: Str [0..],
        /// The protocols that the member speaks, the best first.
        protocols: Vec<JoinGroupRequestProtocol> [0..],
        /// Why it joins, for a person (KIP-800).
        reason: Option<Str> [8..; null 8..],
    }

    /// A protocol that a member speaks, as an assignor.
    struct JoinGroupRequestProtocol {
        /// Its name.
        name: Str [0..],
        /// What the member tells whoever assigns; the coordinator does not read it.
        metadata: Bytes [0..],
    }

    /// What the group has come to.
    struct JoinGroupResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [2..],
        /// Why it is no member.
        error_code: ErrorCode [0..],
        /// The generation of the group.
        generation_id: i32 [0..] = -1,
        /// The kind of group.
        protocol_type: Option<Str> [7..; null 7..],
        /// The protocol chosen.
        protocol_name: Option<Str> [0..; null 7..] = Some(Str::default()),
        /// The member that assigns.
        leader: Str [0..],
        /// The leader is to keep the assignment as it is (KIP-814).
        skip_assignment: bool [9..],
        /// The member's id.
        member_id: Str [0..],
        /// For the leader: all members, with what they told.
        members: Vec<JoinGroupResponseMember> [0..],
    }

    /// A member, as its leader sees it.
    struct JoinGroupResponseMember {
        /// Its id.
        member_id: Str [0..],
        /// What a static member is known by.
        group_instance_id: Option<Str> [5..; null 5..],
        /// What it told under the chosen protocol.
        metadata: Bytes [0..],
    }
}

wire_api!(JoinGroup: JoinGroupRequest -> JoinGroupResponse);
