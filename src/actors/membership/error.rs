//! What the registry answers when it does not do what it was asked.

use serde::{Deserialize, Serialize};

use super::core::Refusal;

/// Why a request has no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum MembershipError {
    /// It was refused, and nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The disk is full, and nothing has changed.
    #[error("metadata cannot be written: the disk is full")]
    StorageFull,
    /// The registry is not running or has too much to do; the request was not taken.
    #[error("the membership registry does not take requests now")]
    NotTaken,
    /// The registry ended, or was too slow: the request may have been carried out, or be yet.
    #[error("the membership registry has not answered; whether the change was made is unknown")]
    OutcomeUnknown,
}
