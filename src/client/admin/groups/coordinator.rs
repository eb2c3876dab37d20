//! Finding coordinators, and asking them until they are settled.

use tokio::time::{Instant, sleep};

use super::super::Admin;
use crate::{
    client::{ClientError, admin::check},
    model::NodeId,
    wire::{
        ApiKey, ErrorCode, Request, Str,
        api::find_coordinator::{FindCoordinatorRequest, KEY_TYPE_GROUP},
    },
};

impl Admin {
    /// Who coordinates a group, whether or not there is such a group.
    pub async fn coordinator(&self, group: &str) -> Result<NodeId, ClientError> {
        self.until_settled(async || self.find_coordinator(group).await).await
    }

    /// The same, asked once.
    pub(in crate::client) async fn find_coordinator(&self, group: &str) -> Result<NodeId, ClientError> {
        let api = ApiKey::FindCoordinator;
        // One of the two is of the version that is spoken.
        let request = FindCoordinatorRequest {
            key: Str::from(group),
            key_type: KEY_TYPE_GROUP,
            coordinator_keys: vec![Str::from(group)],
        };
        let response = self.client.call_any(&request).await?;
        check(api, response.error_code, response.error_message.as_ref())?;
        let Some(found) = response.coordinators.first() else { return Ok(response.node_id) };
        check(api, found.error_code, found.error_message.as_ref())?;
        Ok(found.node_id)
    }

    /// Asks the coordinator of a group, again while `code` of its answer says that it is none for now.
    pub(super) async fn ask_coordinator<R: Request>(
        &self,
        group: &str,
        request: &R,
        code: impl Fn(&R::Response) -> ErrorCode,
    ) -> Result<R::Response, ClientError> {
        let ask = async || {
            let node = self.find_coordinator(group).await?;
            let response = self.ask_node(node, request).await?;
            let code = code(&response);
            if is_unsettled(code) { Err(ClientError::refused(R::API, code, None)) } else { Ok(response) }
        };
        self.until_settled(ask).await
    }

    async fn ask_node<R: Request>(&self, node: NodeId, request: &R) -> Result<R::Response, ClientError> {
        let known = self.client.metadata();
        if !known.brokers.contains_key(&node) {
            self.client.refresh(known.generation).await?;
        }
        if changes_something(R::API) {
            self.client.change_at(node, request).await
        } else {
            Ok(self.client.connection(node).await?.call(request).await?)
        }
    }

    /// Asks until there is a coordinator that answers, up to the metadata time-out.
    pub(super) async fn until_settled<T>(
        &self,
        ask: impl AsyncFn() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let deadline = Instant::now() + self.client.config().metadata_timeout;
        let mut failures = 0;
        loop {
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failures += 1;
            let wait = self.client.backoff(failures);
            if !may_settle(&error) || Instant::now() + wait >= deadline {
                return Err(error);
            }
            tracing::debug!(error = %error, "asking for the coordinator again");
            sleep(wait).await;
        }
    }
}

/// Whether a question that failed so is worth asking again. Who is not reached at all was tried often enough.
fn may_settle(error: &ClientError) -> bool {
    match error {
        ClientError::Connection(error) => error.is_retriable(),
        ClientError::UnknownNode(_) => true,
        ClientError::Refused { code, .. } => is_unsettled(*code),
        ClientError::OutcomeUnknown(_)
        | ClientError::Unreachable { .. }
        | ClientError::NoBootstrap
        | ClientError::UnknownTopic(_)
        | ClientError::UnknownPartition { .. }
        | ClientError::NoLeader { .. }
        | ClientError::Incomplete(_)
        | ClientError::Records { .. } => false,
    }
}

/// What a coordinator says that is none yet, or none any more.
pub(super) fn is_unsettled(code: ErrorCode) -> bool {
    use ErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    [CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator].contains(&code)
}

/// Whether a lost answer leaves it open what happened.
fn changes_something(api: ApiKey) -> bool {
    [ApiKey::OffsetCommit, ApiKey::OffsetDelete, ApiKey::DeleteGroups].contains(&api)
}
