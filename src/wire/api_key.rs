//! The APIs, with their versions: one line each.

use std::ops::RangeInclusive;

macro_rules! apis {
    ($($(#[$doc:meta])* $name:ident = $key:literal, flexible $flexible:literal, serve $min:literal..=$max:literal, advertise $listed:tt;)*) => {
        /// An API of the protocol whose messages this codec has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $($(#[$doc])* $name = $key,)*
        }

        impl ApiKey {
            /// Every API of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The API of this number.
            pub const fn from_code(key: i16) -> Option<Self> {
                match key {
                    $($key => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Versions that are read and written.
            pub const fn served(self) -> RangeInclusive<i16> {
                match self {
                    $(Self::$name => $min..=$max,)*
                }
            }

            /// Versions that `ApiVersions` tells clients; `None` for an API that has no handler.
            pub const fn advertised(self) -> Option<RangeInclusive<i16>> {
                match self {
                    $(Self::$name => advertised!($listed, $min, $max),)*
                }
            }

            /// The first version with compact lengths and tagged fields (KIP-482).
            pub const fn first_flexible_version(self) -> i16 {
                match self {
                    $(Self::$name => $flexible,)*
                }
            }
        }
    };
}

macro_rules! advertised {
    (served, $min:literal, $max:literal) => {
        Some($min..=$max)
    };
    (none, $min:literal, $max:literal) => {
        None
    };
    ((from $listed:literal), $min:literal, $max:literal) => {
        Some($listed..=$max)
    };
}

apis! {
    /// Appends records. Listed from 0 because librdkafka 2.0 silently sends three of four codecs
    /// uncompressed to a broker that lists it from 3 (KAFKA-18659).
    Produce = 0, flexible 9, serve 3..=13, advertise (from 0);
    /// Reads records.
    Fetch = 1, flexible 12, serve 4..=18, advertise served;
    /// Finds offsets by time.
    ListOffsets = 2, flexible 6, serve 1..=10, advertise served;
    /// Brokers, topics, leaders.
    Metadata = 3, flexible 9, serve 0..=13, advertise served;
    /// Stores how far a group has come.
    OffsetCommit = 8, flexible 8, serve 2..=9, advertise served;
    /// Tells how far a group had come.
    OffsetFetch = 9, flexible 6, serve 1..=9, advertise served;
    /// Who coordinates a group or a transaction.
    FindCoordinator = 10, flexible 3, serve 0..=6, advertise served;
    /// Joins a group. Listed from 0, as `FindCoordinator` is: librdkafka before 2.11 takes their absence for a broker without groups.
    JoinGroup = 11, flexible 6, serve 0..=9, advertise served;
    /// A member's sign of life.
    Heartbeat = 12, flexible 4, serve 0..=4, advertise served;
    /// Leaves a group.
    LeaveGroup = 13, flexible 4, serve 0..=5, advertise served;
    /// Gets a member's assignment.
    SyncGroup = 14, flexible 4, serve 0..=5, advertise served;
    /// Shows groups of the classic protocol.
    DescribeGroups = 15, flexible 5, serve 0..=6, advertise served;
    /// Lists groups.
    ListGroups = 16, flexible 3, serve 0..=5, advertise served;
    /// What this node speaks.
    ApiVersions = 18, flexible 3, serve 0..=4, advertise served;
    /// Makes topics.
    CreateTopics = 19, flexible 5, serve 2..=7, advertise served;
    /// Removes topics.
    DeleteTopics = 20, flexible 4, serve 1..=6, advertise served;
    /// Raises log start offsets.
    DeleteRecords = 21, flexible 2, serve 0..=2, advertise served;
    /// Gives out producer ids.
    InitProducerId = 22, flexible 2, serve 0..=5, advertise served;
    /// Where a leader epoch ends.
    OffsetForLeaderEpoch = 23, flexible 4, serve 2..=4, advertise served;
    /// Shows configs.
    DescribeConfigs = 32, flexible 4, serve 1..=4, advertise served;
    /// Replaces configs as a whole.
    AlterConfigs = 33, flexible 2, serve 0..=2, advertise served;
    /// Shows sizes on disk.
    DescribeLogDirs = 35, flexible 2, serve 1..=4, advertise served;
    /// Adds partitions.
    CreatePartitions = 37, flexible 2, serve 0..=3, advertise served;
    /// Forgets groups.
    DeleteGroups = 42, flexible 2, serve 0..=2, advertise served;
    /// Elects leaders.
    ElectLeaders = 43, flexible 2, serve 0..=2, advertise served;
    /// Changes single configs.
    IncrementalAlterConfigs = 44, flexible 1, serve 0..=1, advertise served;
    /// Forgets committed offsets (KIP-496).
    OffsetDelete = 47, flexible 1, serve 0..=0, advertise served;
    /// Brokers and controller.
    DescribeCluster = 60, flexible 0, serve 0..=2, advertise served;
    /// Producers of a partition.
    DescribeProducers = 61, flexible 0, serve 0..=0, advertise served;
    /// All that a member of a server-side group says (KIP-848).
    ConsumerGroupHeartbeat = 68, flexible 0, serve 0..=1, advertise served;
    /// Shows server-side groups (KIP-848).
    ConsumerGroupDescribe = 69, flexible 0, serve 0..=1, advertise served;
    /// Lists what has configs (KIP-1142).
    ListConfigResources = 74, flexible 0, serve 0..=1, advertise served;
    /// Partitions page by page (KIP-966).
    DescribeTopicPartitions = 75, flexible 0, serve 0..=0, advertise served;
}

impl ApiKey {
    /// The number as the protocol carries it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Lowest and highest advertised version.
    pub fn versions(self) -> Option<(i16, i16)> {
        self.advertised().map(RangeInclusive::into_inner)
    }

    /// Whether this version is read and written.
    pub fn serves(self, version: i16) -> bool {
        self.served().contains(&version)
    }

    /// Whether this version has compact lengths and tagged fields.
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.first_flexible_version()
    }
}
