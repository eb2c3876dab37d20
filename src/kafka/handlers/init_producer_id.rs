//! `InitProducerId`: an id that nobody has had, with epoch 0.
//!
//! A producer without a transactional id gets a new id also when it brings its old one: nothing here
//! proves that it is its own, and Kafka's brokers do the same (such a producer raises its epoch by
//! itself, KIP-360).

use crate::{
    kafka::{Broker, connection::Session},
    model::{ProducerEpoch, ProducerId},
    wire::{
        ApiKey, ErrorCode,
        api::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse},
    },
};

/// Gives out an id.
pub(crate) async fn handle(
    broker: &Broker,
    _session: &mut Session,
    request: InitProducerIdRequest,
    _version: i16,
) -> InitProducerIdResponse {
    let given = match check(&request) {
        Ok(()) => broker.membership.next_producer_id().await.map_err(|error| {
            tracing::warn!("no producer id was given out: {error}");
            // The code that Kafka's own producers wait and ask again after.
            ErrorCode::CoordinatorLoadInProgress
        }),
        Err(error_code) => Err(error_code),
    };
    if let Err(error_code) = given {
        broker.meters.refused(ApiKey::InitProducerId, error_code);
    }
    answer(given)
}

/// Transactions are refused for good, or a client would try for ever.
fn check(request: &InitProducerIdRequest) -> Result<(), ErrorCode> {
    if let Some(id) = &request.transactional_id {
        let empty = id.as_bytes().is_empty();
        return Err(if empty {
            ErrorCode::InvalidRequest
        } else {
            ErrorCode::TransactionalIdAuthorizationFailed
        });
    }
    let has_id = request.producer_id != ProducerId::NONE;
    let has_epoch = request.producer_epoch != ProducerEpoch::NONE;
    if has_id == has_epoch { Ok(()) } else { Err(ErrorCode::InvalidRequest) }
}

fn answer(given: Result<ProducerId, ErrorCode>) -> InitProducerIdResponse {
    match given {
        Ok(producer_id) => InitProducerIdResponse { producer_id, ..InitProducerIdResponse::default() },
        Err(error_code) => InitProducerIdResponse {
            error_code,
            producer_epoch: ProducerEpoch::NONE,
            ..InitProducerIdResponse::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{answer, check};
    use crate::{
        model::{ProducerEpoch, ProducerId},
        wire::{ErrorCode, api::init_producer_id::InitProducerIdRequest},
    };

    #[test]
    fn a_transactional_producer_is_refused_for_good() {
        let with = |id: &str| InitProducerIdRequest {
            transactional_id: Some(id.into()),
            ..InitProducerIdRequest::default()
        };
        assert_eq!(check(&with("pay")), Err(ErrorCode::TransactionalIdAuthorizationFailed));
        assert_eq!(check(&with("")), Err(ErrorCode::InvalidRequest));
        assert!(check(&with("pay")).is_err_and(|code| !code.is_retriable()));
    }

    #[test]
    fn an_id_without_an_epoch_or_the_other_way_round_contradicts_itself() {
        let with = |id, epoch| InitProducerIdRequest {
            producer_id: ProducerId::new(id),
            producer_epoch: ProducerEpoch::new(epoch),
            ..InitProducerIdRequest::default()
        };
        assert_eq!(check(&with(-1, -1)), Ok(()));
        assert_eq!(check(&with(4, 0)), Ok(()));
        assert_eq!(check(&with(4, -1)), Err(ErrorCode::InvalidRequest));
        assert_eq!(check(&with(-1, 0)), Err(ErrorCode::InvalidRequest));
    }

    #[test]
    fn an_id_comes_with_epoch_0_and_an_error_with_neither() {
        let given = answer(Ok(ProducerId::new(9)));
        assert_eq!((given.producer_id.get(), given.producer_epoch.get()), (9, 0));
        let refused = answer(Err(ErrorCode::CoordinatorLoadInProgress));
        assert_eq!((refused.producer_id.get(), refused.producer_epoch.get()), (-1, -1));
    }
}
