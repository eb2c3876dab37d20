use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, as records and requests carry them; -1 means "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimestampMs(i64);

impl TimestampMs {
    /// No timestamp.
    pub const NONE: Self = Self(-1);

    /// Takes a timestamp as it stands in a request or a batch.
    pub const fn new(value: i64) -> Self {
        Self(value)
    }

    /// The number as the protocol carries it.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The time `by` earlier; stays at the lowest rather than wrap.
    #[must_use]
    pub fn earlier(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The time that is later by this much.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `since` to this time; negative when this one is the earlier.
    pub const fn millis_since(self, since: Self) -> i64 {
        self.0.saturating_sub(since.0)
    }
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
