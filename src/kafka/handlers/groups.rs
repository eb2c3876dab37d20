//! What the handlers of groups have in common: who asks, whom, and what a refusal is called.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    actors::group_coordinator::{
        Refusal,
        core::{Answer, Caller, Request},
    },
    kafka::{Broker, connection::Session},
    wire::{ApiKey, ErrorCode},
};

/// How long a coordinator may take for anything that does not wait for other members.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Who asks, as the coordinator has to know it.
pub(super) fn caller(session: &Session, version: i16) -> Caller {
    Caller {
        client_id: session.client_id.clone(),
        client_host: session.client_host.clone(),
        version,
        fresh: Uuid::new_v4(),
    }
}

/// Asks the group's coordinator.
pub(super) async fn ask(
    broker: &Broker,
    session: &Session,
    version: i16,
    group: &str,
    request: Request,
    within: Duration,
) -> Result<Answer, ErrorCode> {
    broker.groups.ask(group, caller(session, version), request, within).await.map_err(code)
}

/// What each refusal makes clients do: wait, or look for the coordinator again.
pub(super) const fn code(refusal: Refusal) -> ErrorCode {
    match refusal {
        Refusal::Loading => ErrorCode::CoordinatorLoadInProgress,
        Refusal::NotCoordinator | Refusal::OutcomeUnknown => ErrorCode::NotCoordinator,
        Refusal::Storage => ErrorCode::CoordinatorNotAvailable,
    }
}

/// Counts what was refused.
pub(super) fn count(broker: &Broker, api: ApiKey, code: ErrorCode) {
    if code != ErrorCode::None {
        broker.meters.refused(api, code);
    }
}

/// A group without a name is none, but for offsets of clients of long ago.
pub(super) fn named(group: &str) -> Result<(), ErrorCode> {
    if group.is_empty() { Err(ErrorCode::InvalidGroupId) } else { Ok(()) }
}
