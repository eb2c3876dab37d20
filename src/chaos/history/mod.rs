//! What clients sent, were told and read, as lines that outlive the process that wrote them.
//!
//! # Format, version 1
//!
//! A text file of JSON lines. The first line is the header:
//!
//! ```text
//! {"polylogue_history":1}
//! ```
//!
//! Each further line is one [`Entry`]: microseconds since the writer began (never falling), and one
//! [`Event`] under its name:
//!
//! ```text
//! {"at_us":10,"event":{"producer":{"name":"a","acks":"all","idempotent":true,"retries":true,"in_flight":5}}}
//! {"at_us":31,"event":{"sent":{"record":"orders/0/a/0","digest":"85944171f73967e8"}}}
//! {"at_us":90,"event":{"acknowledged":{"record":"orders/0/a/0","offset":0}}}
//! {"at_us":95,"event":{"failed":{"record":"orders/0/a/1","cause":"message too large"}}}
//! {"at_us":96,"event":{"unknown":{"record":"orders/0/a/2","cause":"timed out"}}}
//! {"at_us":97,"event":{"node":{"node":1,"change":"killed"}}}
//! {"at_us":98,"event":{"scan_began":{"reader":"r","partition":"orders/0","from":0,"until":1}}}
//! {"at_us":99,"event":{"read":{"reader":"r","partition":"orders/0","offset":0,"record":"orders/0/a/0","digest":"85944171f73967e8"}}}
//! {"at_us":99,"event":{"scan_ended":{"reader":"r","partition":"orders/0"}}}
//! ```
//!
//! and where consumers share topics as a group:
//!
//! ```text
//! {"at_us":10,"event":{"group":{"name":"g","topics":["orders"],"session_timeout_ms":6000}}}
//! {"at_us":11,"event":{"joined":{"by":{"group":"g","member":"c1","generation":1},"partitions":["orders/0"]}}}
//! {"at_us":12,"event":{"position_asked":{"group":"g","reader":"c1","partition":"orders/0"}}}
//! {"at_us":13,"event":{"position_told":{"group":"g","reader":"c1","partition":"orders/0","offset":null}}}
//! {"at_us":14,"event":{"consumed":{"group":"g","generation":1,"read":{"reader":"c1", ...as in read}}}}
//! {"at_us":15,"event":{"commit_asked":{"by":{"group":"g","member":"c1","generation":1},"partition":"orders/0","offset":1}}}
//! {"at_us":16,"event":{"commit_acknowledged":{"by":{"group":"g","member":"c1","generation":1},"partition":"orders/0","offset":1}}}
//! {"at_us":17,"event":{"commit_refused":{"commit":{...},"cause":"illegal generation"}}}
//! {"at_us":18,"event":{"commit_unknown":{"commit":{...},"cause":"connection closed"}}}
//! {"at_us":19,"event":{"parted":{"by":{"group":"g","member":"c1","generation":1},"how":"killed"}}}
//! {"at_us":20,"event":{"nack_asked":{"by":{"group":"g","member":"c1","generation":1},"partition":"orders/0","offset":1}}}
//! {"at_us":21,"event":{"dead_letter":{"group":"g","partition":"orders/0","offset":1,"attempts":3}}}
//! {"at_us":22,"event":{"dead_letters_read":{"group":"g","partition":"orders/0","passed":2}}}
//! ```
//!
//! - A record is named `topic/partition/producer/sequence`. The workload puts that name into the
//!   record itself ([`RecordId::in_value`]), so that a reader knows which one it holds.
//! - A digest is 16 hexadecimal digits, see [`ContentDigest`].
//! - An unknown event or field is an error: a checker that skips what it does not know would pass
//!   what it did not check.
//!
//! # The order of lines
//!
//! The file's order is the order of events as far as the checker is concerned. So `sent` is written
//! *before* a record is handed to the client, and every outcome or read *after* the client told it.
//! `commit_asked`, `nack_asked` and `position_asked` are written before the request leaves, their outcomes after the
//! answer came; `joined` after the member was told what it holds, `parted` when it does nothing more with
//! it, and `killed` of a node before it is done.

mod group;
mod reader;
mod record;
#[cfg(test)]
mod tests;
mod writer;

use serde::{Deserialize, Serialize};

pub use self::{
    group::{
        Commit, CommitFailed, Consumed, DeadLetter, DeadLettersRead, GroupProfile, Joined, Membership,
        Parted, Parting, PositionAsked, PositionTold,
    },
    reader::{HistoryError, HistoryReader, MAX_LINE_LEN},
    record::{ContentDigest, ProducerName, RecordId, RecordIdError, TopicPartition},
    writer::HistoryWriter,
};
use crate::model::{NodeId, Offset};

/// The version of the format that this build writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// The first line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    polylogue_history: u32,
}

/// One line: an event and when it was written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Microseconds since the writer began.
    pub at_us: u64,
    /// What happened.
    pub event: Event,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A producer and what it was promised; stands before its first `Sent`.
    Producer(ProducerProfile),
    /// A record is about to be handed to the client.
    Sent(Sent),
    /// The client reported success.
    Acknowledged(Acknowledged),
    /// The client reported a failure that leaves no doubt: the record was not written.
    Failed(Refused),
    /// The client gave up without knowing; the record may be there.
    Unknown(Refused),
    /// A reader was given a record.
    Read(Read),
    /// A reader starts to read everything in a range; what it then reads is complete.
    ScanBegan(ScanBegan),
    /// The reader has read its range to the end.
    ScanEnded(ScanEnded),
    /// Something was done to a node; what it coordinates is gone and back with it.
    Node(NodeEvent),
    /// A group of consumers and what it was promised; stands before its first member.
    Group(GroupProfile),
    /// A member was told what it holds.
    Joined(Joined),
    /// A member holds nothing any more.
    Parted(Parted),
    /// A member worked on a record.
    Consumed(Consumed),
    /// A member is about to commit.
    CommitAsked(Commit),
    /// The coordinator took the commit.
    CommitAcknowledged(Commit),
    /// The coordinator did not take the commit: it does not hold.
    CommitRefused(CommitFailed),
    /// Nobody knows whether the commit holds.
    CommitUnknown(CommitFailed),
    /// A member is about to refuse the record at the commit's offset: all before it is done. Its outcome is that of a commit.
    NackAsked(Commit),
    /// A dead letter was found.
    DeadLetter(DeadLetter),
    /// Dead letters were read to their end.
    DeadLettersRead(DeadLettersRead),
    /// Somebody is about to ask for a committed position.
    PositionAsked(PositionAsked),
    /// And was told it.
    PositionTold(PositionTold),
    /// A remark for whoever reads the file; the checker counts it and no more.
    Note(String),
}

/// Whom an acknowledgement waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acks {
    /// Nobody (`acks=0`).
    None,
    /// The leader alone (`acks=1`).
    Leader,
    /// The whole in-sync set (`acks=all`).
    All,
}

/// A producer's settings, from which follows what it was promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProducerProfile {
    /// Its name, part of the name of each record.
    pub name: ProducerName,
    /// Whom its acknowledgements wait for.
    pub acks: Acks,
    /// Whether the broker detects its duplicates (`enable.idempotence`).
    pub idempotent: bool,
    /// Whether its client sends again by itself.
    pub retries: bool,
    /// The most requests under way at a time to one broker.
    pub in_flight: u32,
}

impl ProducerProfile {
    /// Whether each record may be in the log once at most: duplicates are refused, or nothing is
    /// sent twice.
    pub const fn at_most_once(&self) -> bool {
        self.idempotent || !self.retries
    }

    /// Whether records stand in the order in which they were sent: nothing can overtake.
    pub const fn ordered(&self) -> bool {
        self.idempotent || self.in_flight == 1
    }
}

/// A record on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sent {
    /// Which.
    pub record: RecordId,
    /// Its key, value and headers.
    pub digest: ContentDigest,
}

/// A success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// Which record.
    pub record: RecordId,
    /// Where it stands; `None` where the client was not told (librdkafka on a detected duplicate, or
    /// `acks=0`).
    pub offset: Option<Offset>,
}

/// A failure, certain or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Which record.
    pub record: RecordId,
    /// The client's own words.
    pub cause: String,
}

/// A record that a reader was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// Who read.
    pub reader: String,
    /// From where.
    pub partition: TopicPartition,
    /// At which offset.
    pub offset: Offset,
    /// The name that the record carries; `None` where it carries none.
    pub record: Option<RecordId>,
    /// Its key, value and headers.
    pub digest: ContentDigest,
}

/// The start of a complete read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanBegan {
    /// Who reads.
    pub reader: String,
    /// What.
    pub partition: TopicPartition,
    /// The log start offset as the broker gave it.
    pub from: Offset,
    /// The high watermark as the broker gave it: the first offset that need not be read.
    pub until: Offset,
}

/// The end of a complete read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanEnded {
    /// Who read.
    pub reader: String,
    /// What.
    pub partition: TopicPartition,
}

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEvent {
    /// Which node.
    pub node: NodeId,
    /// What was done.
    pub change: NodeChange,
}

/// What can be done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeChange {
    /// It is up and answers.
    Started,
    /// `kill -9`.
    Killed,
    /// SIGSTOP.
    Paused,
    /// SIGCONT.
    Resumed,
    /// SIGTERM, and it ended.
    Stopped,
}
