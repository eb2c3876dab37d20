//! Gives out producer ids (KIP-98), and with them epochs (KIP-360).

use crate::{
    model::{ProducerEpoch, ProducerId},
    wire::{ErrorCode, Str},
};

wire_structs! {
    /// Asks for a producer id.
    struct InitProducerIdRequest {
        /// The transactional id; null: idempotent only.
        transactional_id: Option<Str> [0..; null 0..],
        /// How long a transaction may stay open.
        transaction_timeout_ms: i32 [0..],
        /// The id that the producer has; -1: none.
        producer_id: ProducerId [3..] = ProducerId::NONE,
        /// The epoch that the producer has; -1: none.
        producer_epoch: ProducerEpoch [3..] = ProducerEpoch::NONE,
    }

    /// A producer id.
    struct InitProducerIdResponse {
        /// How long the client should wait before its next request.
        throttle_time_ms: i32 [0..],
        /// Why there is none.
        error_code: ErrorCode [0..],
        /// The id; -1: none.
        producer_id: ProducerId [0..] = ProducerId::NONE,
        /// Its epoch.
        producer_epoch: ProducerEpoch [0..],
    }
}

wire_api!(InitProducerId: InitProducerIdRequest -> InitProducerIdResponse);
