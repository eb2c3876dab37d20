use std::fmt;

use serde::{Deserialize, Serialize};

/// The position of a record in its partition: 0 for the first, one more for each that follows.
///
/// An *end* offset (log end, high watermark) is exclusive: the offset of the next record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offset(i64);

impl Offset {
    /// The first offset of any log.
    pub const ZERO: Self = Self(0);
    /// Above every offset that a log can reach.
    pub const MAX: Self = Self(i64::MAX);

    /// Takes an offset as it stands in a request, a batch or a file; a negative one is kept as it is.
    pub const fn new(value: i64) -> Self {
        Self(value)
    }

    /// The number as the protocol carries it.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The offset `records` further on; stays at [`Offset::MAX`] rather than wrap.
    #[must_use]
    pub const fn plus(self, records: i64) -> Self {
        Self(self.0.saturating_add(records))
    }

    /// How many offsets lie between `earlier` and this one; negative when this one is the earlier.
    pub const fn distance_from(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
