//! The one table of topic configs: what is not in it is refused by name.
//!
//! Names, kinds, defaults and ranges are Kafka's (`TopicConfig.java`, `LogConfig.java`, 4.1) unless a
//! key is ours. A key stands here only if it has an effect, and a value that Kafka knows and we do
//! not serve yet is refused with the reason, so that nobody relies on what does not happen.

/// The kind of a value, as `DescribeConfigs` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    /// `true` or `false`.
    Boolean,
    /// Free text or one of some words.
    String,
    /// 32 bits, signed.
    Int,
    /// 64 bits, signed.
    Long,
    /// A number with a fraction.
    Double,
    /// Words separated by commas; the only kind that takes *append* and *subtract*.
    List,
}

impl ConfigKind {
    /// The number in `DescribeConfigs` answers from version 3 on.
    pub const fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
        }
    }
}

/// Which values a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A whole number within a closed range.
    Range {
        /// The lowest.
        min: i64,
        /// The highest.
        max: i64,
    },
    /// A number from 0 to 1.
    Share,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of `served`; the words in `unserved` are Kafka's too, and refused because of `why`.
    Only {
        /// What is accepted.
        served: &'static [&'static str],
        /// What Kafka would accept.
        unserved: &'static [&'static str],
        /// Why it is not served, as the end of a sentence.
        why: &'static str,
    },
    /// A topic's name, or nothing.
    TopicOrNone,
    /// Numbers of 0 or more for single partitions, `partition:number` each.
    PerPartition,
}

/// One config of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicKey {
    /// Kafka's name.
    pub name: &'static str,
    /// The broker-wide config of Kafka that sets its default, where Kafka has one.
    pub broker_name: Option<&'static str>,
    /// How its values are written.
    pub kind: ConfigKind,
    /// The value where neither the topic nor the node sets one.
    pub default: &'static str,
    /// Which values are accepted.
    pub rule: Rule,
    /// Whether Kafka does not have it.
    pub ours: bool,
    /// What it does, with unit and range.
    pub doc: &'static str,
}

impl TopicKey {
    /// The name under which a broker has it.
    pub(in crate::config) fn of_broker(&self) -> &'static str {
        self.broker_name.unwrap_or(self.name)
    }
}

/// The names, for code that reads one value.
#[allow(missing_docs, reason = "the table documents each")]
pub mod name {
    pub const CLEANUP_POLICY: &str = "cleanup.policy";
    pub const COMPRESSION_TYPE: &str = "compression.type";
    pub const DEAD_LETTER_MAX_CONSECUTIVE: &str = "dead.letter.max.consecutive";
    pub const DEAD_LETTER_PARTITIONS: &str = "dead.letter.partitions";
    pub const DEAD_LETTER_TOPIC: &str = "dead.letter.topic";
    pub const DELETE_RETENTION_MS: &str = "delete.retention.ms";
    pub const DURABILITY: &str = "durability";
    pub const FLUSH_MESSAGES: &str = "flush.messages";
    pub const FLUSH_MS: &str = "flush.ms";
    pub const INDEX_INTERVAL_BYTES: &str = "index.interval.bytes";
    pub const MAX_COMPACTION_LAG_MS: &str = "max.compaction.lag.ms";
    pub const MAX_DELIVERY_ATTEMPTS: &str = "max.delivery.attempts";
    pub const MAX_DELIVERY_ATTEMPTS_OVERRIDES: &str = "max.delivery.attempts.overrides";
    pub const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
    pub const TIMESTAMP_AFTER_MAX_MS: &str = "message.timestamp.after.max.ms";
    pub const TIMESTAMP_BEFORE_MAX_MS: &str = "message.timestamp.before.max.ms";
    pub const TIMESTAMP_TYPE: &str = "message.timestamp.type";
    pub const MIN_CLEANABLE_DIRTY_RATIO: &str = "min.cleanable.dirty.ratio";
    pub const MIN_COMPACTION_LAG_MS: &str = "min.compaction.lag.ms";
    pub const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
    pub const PREALLOCATE: &str = "preallocate";
    pub const RETENTION_BYTES: &str = "retention.bytes";
    pub const RETENTION_MS: &str = "retention.ms";
    pub const SEGMENT_BYTES: &str = "segment.bytes";
    pub const SEGMENT_INDEX_BYTES: &str = "segment.index.bytes";
    pub const SEGMENT_MS: &str = "segment.ms";
    pub const UNCLEAN_LEADER_ELECTION: &str = "unclean.leader.election.enable";
    pub const VERIFY_ON_READ: &str = "verify.on.read";
}

const LONG_MAX: i64 = i64::MAX;
const INT_MAX: i64 = i32::MAX as i64;

/// Where a limit is as good as none, Kafka writes the highest long.
pub(super) const NO_LIMIT: i64 = LONG_MAX;

const fn kafka(
    name: &'static str,
    broker_name: &'static str,
    kind: ConfigKind,
    default: &'static str,
    rule: Rule,
    doc: &'static str,
) -> TopicKey {
    TopicKey { name, broker_name: Some(broker_name), kind, default, rule, ours: false, doc }
}

const fn ours(name: &'static str, default: &'static str, rule: Rule, doc: &'static str) -> TopicKey {
    TopicKey { name, broker_name: None, kind: ConfigKind::String, default, rule, ours: true, doc }
}

const fn our_number(name: &'static str, default: &'static str, rule: Rule, doc: &'static str) -> TopicKey {
    TopicKey { name, broker_name: None, kind: ConfigKind::Int, default, rule, ours: true, doc }
}

const fn range(min: i64, max: i64) -> Rule {
    Rule::Range { min, max }
}

/// Every topic config, ordered by name.
pub const TABLE: &[TopicKey] = &[
    kafka(
        name::CLEANUP_POLICY,
        "log.cleanup.policy",
        ConfigKind::List,
        "delete",
        Rule::OneOf(&["delete", "compact"]),
        "What happens to old records. \"delete\" removes the segments that retention.ms or retention.bytes gives \
         up; \"compact\" keeps the newest record of each key, and takes records with a key only. Both may be \
         given.",
    ),
    kafka(
        name::COMPRESSION_TYPE,
        "compression.type",
        ConfigKind::String,
        "producer",
        Rule::Only {
            served: &["producer"],
            unserved: &["uncompressed", "gzip", "snappy", "lz4", "zstd"],
            why: "batches are stored byte for byte as the producer sent them",
        },
        "The codec of what is stored. \"producer\" keeps each batch as it came, whatever its codec.",
    ),
    our_number(
        name::DEAD_LETTER_MAX_CONSECUTIVE,
        "10",
        range(0, INT_MAX),
        "Records of a partition, 0 or more, that may become dead letters of a group one after the other. The next \
         one stays, and nothing of the group becomes a dead letter, until a consumer commits past it: so many \
         in a row are an outage. 0: no limit.",
    ),
    our_number(
        name::DEAD_LETTER_PARTITIONS,
        "0",
        range(0, 10_000),
        "Partitions that the topic of dead letters gets when it is made. 0: as many as this topic has.",
    ),
    ours(
        name::DEAD_LETTER_TOPIC,
        "",
        Rule::TopicOrNone,
        "The topic that records go to whose delivery has failed too often. Empty: the name of this topic followed \
         by \".dead-letter\". It is made when it is first needed.",
    ),
    kafka(
        name::DELETE_RETENTION_MS,
        "log.cleaner.delete.retention.ms",
        ConfigKind::Long,
        "86400000",
        range(0, LONG_MAX),
        "Milliseconds, 0 or more, that compaction keeps a record without a value, so that readers who are \
         behind still see that its key is gone.",
    ),
    ours(
        name::DURABILITY,
        "disk",
        Rule::OneOf(&["disk", "replicated"]),
        "What an acknowledgement with acks=all says of each in-sync replica: \"disk\", it has the records \
         on disk; \"replicated\", it has them in memory, as in Kafka.",
    ),
    kafka(
        name::FLUSH_MESSAGES,
        "log.flush.interval.messages",
        ConfigKind::Long,
        "9223372036854775807",
        range(1, LONG_MAX),
        "Records, 1 or more, after which a log is flushed although nobody waits for it.",
    ),
    kafka(
        name::FLUSH_MS,
        "log.flush.interval.ms",
        ConfigKind::Long,
        "9223372036854775807",
        range(0, LONG_MAX),
        "Milliseconds, 0 or more, after which a log is flushed although nobody waits for it.",
    ),
    kafka(
        name::INDEX_INTERVAL_BYTES,
        "log.index.interval.bytes",
        ConfigKind::Int,
        "4096",
        range(0, INT_MAX),
        "Bytes of log, 0 or more, from one entry of the offset index to the next.",
    ),
    kafka(
        name::MAX_COMPACTION_LAG_MS,
        "log.cleaner.max.compaction.lag.ms",
        ConfigKind::Long,
        "9223372036854775807",
        range(1, LONG_MAX),
        "Milliseconds, 1 or more, after which a record is compacted although min.cleanable.dirty.ratio is not \
         reached.",
    ),
    our_number(
        name::MAX_DELIVERY_ATTEMPTS,
        "0",
        range(0, INT_MAX),
        "Consumers of a group, 0 or more, that a record may take down with it before it goes to the topic of dead \
         letters and the group goes on behind it. 0: no limit.",
    ),
    ours(
        name::MAX_DELIVERY_ATTEMPTS_OVERRIDES,
        "",
        Rule::PerPartition,
        "The same for single partitions, in place of max.delivery.attempts: partition:number, separated by commas, \
         for instance 0:5,3:1.",
    ),
    kafka(
        name::MAX_MESSAGE_BYTES,
        "message.max.bytes",
        ConfigKind::Int,
        "1048588",
        range(0, INT_MAX),
        "Bytes of the largest record batch that is accepted, its header included and compressed as it \
         comes.",
    ),
    kafka(
        name::TIMESTAMP_AFTER_MAX_MS,
        "log.message.timestamp.after.max.ms",
        ConfigKind::Long,
        "3600000",
        range(0, LONG_MAX),
        "Milliseconds, 0 or more, by which a record's own timestamp may be ahead of the broker's clock. \
         Without effect where message.timestamp.type is LogAppendTime.",
    ),
    kafka(
        name::TIMESTAMP_BEFORE_MAX_MS,
        "log.message.timestamp.before.max.ms",
        ConfigKind::Long,
        "9223372036854775807",
        range(0, LONG_MAX),
        "Milliseconds, 0 or more, by which a record's own timestamp may be behind the broker's clock. \
         Without effect where message.timestamp.type is LogAppendTime.",
    ),
    kafka(
        name::TIMESTAMP_TYPE,
        "log.message.timestamp.type",
        ConfigKind::String,
        "CreateTime",
        Rule::OneOf(&["CreateTime", "LogAppendTime"]),
        "Whose time a record carries: the producer's (CreateTime) or the broker's at the append \
         (LogAppendTime).",
    ),
    kafka(
        name::MIN_CLEANABLE_DIRTY_RATIO,
        "log.cleaner.min.cleanable.ratio",
        ConfigKind::Double,
        "0.5",
        Rule::Share,
        "Share of the sealed segments' bytes, 0 to 1, that must not be compacted yet for a pass to be worth it.",
    ),
    kafka(
        name::MIN_COMPACTION_LAG_MS,
        "log.cleaner.min.compaction.lag.ms",
        ConfigKind::Long,
        "0",
        range(0, LONG_MAX),
        "Milliseconds, 0 or more, that a record stays as it is before it may be compacted.",
    ),
    kafka(
        name::MIN_INSYNC_REPLICAS,
        "min.insync.replicas",
        ConfigKind::Int,
        "1",
        range(1, INT_MAX),
        "Members that the in-sync set must have, 1 or more, for a produce with acks=all to be taken. A topic with \
         more than one replica gets a value of its own when it is created: 2 with three replicas or more, \
         unless another is set.",
    ),
    kafka(
        name::PREALLOCATE,
        "log.preallocate",
        ConfigKind::Boolean,
        "false",
        Rule::Only { served: &["false"], unserved: &["true"], why: "segments grow as they are written" },
        "Whether a segment's file is made at its full size.",
    ),
    kafka(
        name::RETENTION_BYTES,
        "log.retention.bytes",
        ConfigKind::Long,
        "-1",
        range(-1, LONG_MAX),
        "Bytes that a partition keeps; older segments above it are deleted. -1: no limit.",
    ),
    kafka(
        name::RETENTION_MS,
        "log.retention.ms",
        ConfigKind::Long,
        "604800000",
        range(-1, LONG_MAX),
        "Milliseconds that a record is kept; segments whose newest record is older are deleted. -1: for \
         ever.",
    ),
    kafka(
        name::SEGMENT_BYTES,
        "log.segment.bytes",
        ConfigKind::Int,
        "1073741824",
        range(1024, INT_MAX),
        "Bytes, 1024 or more, at which a segment is sealed and the next one begun.",
    ),
    kafka(
        name::SEGMENT_INDEX_BYTES,
        "log.index.size.max.bytes",
        ConfigKind::Int,
        "10485760",
        range(12, INT_MAX),
        "Bytes of offset index, 12 or more, at which a segment is sealed and the next one begun.",
    ),
    kafka(
        name::SEGMENT_MS,
        "log.roll.ms",
        ConfigKind::Long,
        "604800000",
        range(1, LONG_MAX),
        "Milliseconds, 1 or more, after which a segment is sealed although it is not full.",
    ),
    kafka(
        name::UNCLEAN_LEADER_ELECTION,
        "unclean.leader.election.enable",
        ConfigKind::Boolean,
        "false",
        Rule::OneOf(&["false", "true"]),
        "Whether a replica that may lack acknowledged records becomes leader where no other can. What only others \
         have is lost then.",
    ),
    ours(
        name::VERIFY_ON_READ,
        "always",
        Rule::OneOf(&["always", "first", "never"]),
        "When a batch's checksum is checked before it is served: each time, the first time since the \
         node started, or never.",
    ),
];

/// The entry of a key.
pub fn find(name: &str) -> Option<&'static TopicKey> {
    TABLE.binary_search_by(|key| key.name.cmp(name)).ok().and_then(|at| TABLE.get(at))
}
