//! Elects leaders for partitions (KIP-183, KIP-460).

use crate::{
    model::PartitionIndex,
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Partitions to elect leaders for.
    struct ElectLeadersRequest {
        /// Who may be elected: 0 the first replica, if it is in sync; 1 whoever is there, in sync or not.
        election_type: i8 [1..],
        /// The partitions; null: all.
        topic_partitions: Option<Vec<ElectLeadersTopic>> [0..; null 0..],
        /// How long to wait for the elections.
        timeout_ms: i32 [0..] = 60_000,
    }

    /// The partitions of one topic.
    struct ElectLeadersTopic {
        /// Its name.
        topic: Str [0..],
        /// Which.
        partitions: Vec<PartitionIndex> [0..],
    }

    /// What became of the elections.
    struct ElectLeadersResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [0..],
        /// Why nothing was done.
        error_code: ErrorCode [1..],
        /// By topic.
        replica_election_results: Vec<ReplicaElectionResult> [0..],
    }

    /// Of one topic.
    struct ReplicaElectionResult {
        /// Its name.
        topic: Str [0..],
        /// By partition.
        partition_result: Vec<ElectLeadersPartitionResult> [0..],
    }

    /// Of one partition.
    struct ElectLeadersPartitionResult {
        /// Which.
        partition_id: PartitionIndex [0..],
        /// Why it has no other leader.
        error_code: ErrorCode [0..],
        /// The same, for a person.
        error_message: Option<Str> [0..; null 0..],
    }
}

wire_api!(ElectLeaders: ElectLeadersRequest -> ElectLeadersResponse);
