//! Calls to the coordinator of a group.
//!
//! Who that is is asked once and again after each failure. All that is asked here may be asked twice: a heartbeat says
//! the state of things, a commit sets an offset, a nack bears its number.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{Instant, sleep};

use crate::{
    client::{Admin, Client, ClientError},
    model::NodeId,
    wire::{ErrorCode, Request},
};

/// Asks the coordinator. Clones share what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    client: Client,
    group: Arc<str>,
    node: Arc<Mutex<Option<NodeId>>>,
}

impl Calls {
    pub(super) fn new(client: &Client, group: &str) -> Self {
        Self { client: client.clone(), group: group.into(), node: Arc::default() }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Asks once. [`ClientError::OutcomeUnknown`] where it was asked and there is no answer.
    pub(super) async fn once<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        let known = self.known();
        let node = match known {
            Some(node) => node,
            None => Admin::new(&self.client).find_coordinator(&self.group).await?,
        };
        self.know(Some(node));
        let metadata = self.client.metadata();
        if !metadata.brokers.contains_key(&node) {
            self.client.refresh(metadata.generation).await?;
        }
        let answer = self.client.change_at(node, request).await;
        if answer.is_err() {
            self.forget();
        }
        answer
    }

    /// Asks until there is an answer that `code` does not say to be for another time, up to the metadata time-out. Where
    /// there is none and one of the requests may have been carried out, the error says so.
    pub(super) async fn settled<R: Request>(
        &self,
        request: &R,
        code: impl Fn(&R::Response) -> ErrorCode,
    ) -> Result<R::Response, ClientError> {
        let deadline = Instant::now() + self.client.config().metadata_timeout;
        let (mut failures, mut unknown) = (0, None);
        loop {
            let error = match self.once(request).await {
                Ok(answer) if !is_unsettled(code(&answer)) => return Ok(answer),
                Ok(answer) => {
                    self.forget();
                    ClientError::refused(R::API, code(&answer), None)
                }
                Err(error) => error,
            };
            failures += 1;
            let wait = self.client.backoff(failures);
            let may_settle = error.is_retriable() || matches!(error, ClientError::OutcomeUnknown(_));
            if matches!(error, ClientError::OutcomeUnknown(_)) {
                unknown = Some(error.clone());
            }
            if !may_settle || Instant::now() + wait >= deadline {
                return Err(unknown.unwrap_or(error));
            }
            tracing::debug!(%error, group = %self.group, "asking the coordinator again");
            sleep(wait).await;
        }
    }

    /// The next call looks for the coordinator anew.
    pub(super) fn forget(&self) {
        self.know(None);
    }

    fn known(&self) -> Option<NodeId> {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn know(&self, node: Option<NodeId>) {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = node;
    }
}

/// What a coordinator says that is none yet, or none any more, or that tells an offset only later.
pub(super) fn is_unsettled(code: ErrorCode) -> bool {
    use ErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    [CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator].contains(&code)
}
