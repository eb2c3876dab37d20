//! What a supervisor refuses, and why it gives up.

use std::time::Duration;

use crate::actors::supervise::{CallError, StartError};

/// Why a supervisor did not do as it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SupervisorError {
    /// A child of this name is there already.
    #[error("child {name} exists already")]
    Exists {
        /// The child's name.
        name: String,
    },
    /// No child has this name.
    #[error("no child {name}")]
    Unknown {
        /// The child's name.
        name: String,
    },
    /// The child is there, and failed to start; it is tried again under its policy.
    #[error("child {name} did not start at once")]
    NotStarted {
        /// The child's name.
        name: String,
        /// Why it did not start.
        #[source]
        source: StartError,
    },
    /// The child was removed before it had started.
    #[error("child {name} was removed")]
    Removed {
        /// The child's name.
        name: String,
    },
    /// The supervisor does not run: it was never started, is being restarted, or has ended.
    #[error("supervisor does not run")]
    NotRunning,
    /// No answer in time; the request stands and may yet be carried out.
    #[error("supervisor did not answer within {after:?}")]
    Timeout {
        /// The time allowed.
        after: Duration,
    },
}

impl From<CallError> for SupervisorError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Gone | CallError::Dropped => Self::NotRunning,
            CallError::Timeout { after } => Self::Timeout { after },
        }
    }
}

/// A child failed too often: the fault with which its supervisor fails in turn.
#[derive(Debug, thiserror::Error)]
#[error("child {name} failed {failures} times within {window:?}, last: {cause}")]
pub(super) struct Escalation {
    pub(super) name: String,
    pub(super) failures: usize,
    pub(super) window: Duration,
    pub(super) cause: String,
}
