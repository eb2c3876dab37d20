use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! integer_id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name($int);

        impl $name {
            /// Takes the number as the protocol or a file carries it.
            pub const fn new(value: $int) -> Self {
                Self(value)
            }

            /// The number as the protocol carries it.
            pub const fn get(self) -> $int {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

integer_id! {
    /// A broker of the cluster, chosen by its operator: 0 or more. -1 means "none".
    NodeId(i32)
}
integer_id! {
    /// A partition within its topic: 0 up to the partition count less one.
    PartitionIndex(i32)
}
integer_id! {
    /// The term of one leader over one partition: 0 or more, raised for each opening of the log for
    /// writing (S6). -1 means "unknown".
    LeaderEpoch(i32)
}
integer_id! {
    /// The registration of a broker; fences a stale incarnation. -1 means "unknown".
    BrokerEpoch(i64)
}
integer_id! {
    /// An idempotent producer, given out once and never again (KIP-98). -1 means "not idempotent".
    ProducerId(i64)
}
integer_id! {
    /// The incarnation of one producer id; a lower one is fenced. -1 means "not idempotent".
    ProducerEpoch(i16)
}
integer_id! {
    /// A producer's own count of its records in one partition; wraps from 2^31 - 1 to 0 (KIP-98).
    Sequence(i32)
}

impl LeaderEpoch {
    /// No epoch known.
    pub const NONE: Self = Self(-1);

    /// The next leader's term.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl ProducerId {
    /// A producer that is not idempotent.
    pub const NONE: Self = Self(-1);
}

impl ProducerEpoch {
    /// A producer that is not idempotent.
    pub const NONE: Self = Self(-1);
}

impl Sequence {
    /// A batch without a sequence.
    pub const NONE: Self = Self(-1);

    /// The sequence `records` further on, wrapped at 2^31.
    #[must_use]
    pub const fn plus(self, records: i32) -> Self {
        Self(self.0.wrapping_add(records) & i32::MAX)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name(Uuid);

        impl $name {
            /// Takes the sixteen bytes as the protocol carries them.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The sixteen bytes as the protocol carries them.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.into_bytes()
            }

            /// A new random id (UUID version 4).
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            /// Whether this is the all-zero id, which stands for "none".
            pub const fn is_nil(self) -> bool {
                self.0.is_nil()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

integer_id! {
    /// One data folder of one node, chosen at random when the folder is made: a node that has lost its disk is another
    /// member (S17). Never 0, which stands for "unknown".
    RaftId(u64)
}

impl RaftId {
    /// Of a folder that nobody has asked for it.
    pub const UNKNOWN: Self = Self(0);

    /// Whether this is no folder's.
    pub const fn is_unknown(self) -> bool {
        self.0 == 0
    }

    /// Whether both are known, and differ.
    pub const fn is_another_than(self, other: Self) -> bool {
        !self.is_unknown() && !other.is_unknown() && self.0 != other.0
    }
}

uuid_id! {
    /// A topic for its whole life (KIP-516): one that is deleted and made again gets another id.
    TopicId
}
uuid_id! {
    /// One start of one node's process.
    BootId
}

/// One partition of one topic, for its whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId {
    /// The topic.
    pub topic: TopicId,
    /// The partition within it.
    pub index: PartitionIndex,
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::Sequence;

    #[test]
    fn a_sequence_wraps_to_zero_after_the_highest_integer() {
        assert_eq!(Sequence::new(i32::MAX).plus(1), Sequence::new(0));
        assert_eq!(Sequence::new(i32::MAX - 1).plus(3), Sequence::new(1));
    }
}
