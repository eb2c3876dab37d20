//! Why a coordinator did not carry a request out.

/// A request was not carried out, or it is not known whether it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The coordinator has yet to read what was committed.
    #[error("coordinator is loading")]
    Loading,
    /// No coordinator of the group works here.
    #[error("group is not coordinated here")]
    NotCoordinator,
    /// The disk did not take what was to be written.
    #[error("disk does not take offsets")]
    Storage,
    /// The coordinator ended before it answered, or took too long: outcome unknown.
    #[error("no answer: outcome unknown")]
    OutcomeUnknown,
}
