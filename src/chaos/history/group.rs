//! What becomes of consumers that share topics: who holds what, what they consume, how far they say they are.

use serde::{Deserialize, Serialize};

use super::{Read, TopicPartition};
use crate::model::{Offset, TopicName};

/// A group and what it was promised; stands before its first member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupProfile {
    /// Its id.
    pub name: String,
    /// What it reads, from the beginning.
    pub topics: Vec<TopicName>,
    /// How long its coordinator waits for a word of a member, in milliseconds.
    pub session_timeout_ms: u32,
    /// Whether its coordinator assigns (KIP-848). Then partitions change hands one by one, each member comes to a
    /// generation in its own time, and what fences a commit is that the partition is another's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub server_side: bool,
    /// After how many failed deliveries a record of its topics becomes a dead letter; 0: never.
    #[serde(default, skip_serializing_if = "is_none")]
    pub max_delivery_attempts: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_none(number: &u32) -> bool {
    *number == 0
}

/// A member in one generation of its group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// The group.
    pub group: String,
    /// The consumer by the workload's name for it: it is another one after it was killed.
    pub member: String,
    /// The generation; -1: it is in none.
    pub generation: i32,
}

/// A member was told what it is to read, or gives some of it back. Until it parts with it, or joins again, it holds that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Joined {
    /// Who, in which generation.
    pub by: Membership,
    /// All that it was given.
    pub partitions: Vec<TopicPartition>,
}

/// A member holds nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parted {
    /// Who, in the last generation that it was in.
    pub by: Membership,
    /// How.
    pub how: Parting,
}

/// How a member parts with what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parting {
    /// It joins again: it heard of a rebalance, or that it is no member any more.
    Revoked,
    /// It said goodbye.
    Left,
    /// It is gone without a word.
    Killed,
}

/// A member worked on a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumed {
    /// The group.
    pub group: String,
    /// The member's generation.
    pub generation: i32,
    /// The record; the reader is the member.
    pub read: Read,
}

/// A commit: the group has consumed what stands before `offset`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// Who, in which generation.
    pub by: Membership,
    /// Where.
    pub partition: TopicPartition,
    /// The offset after the last record that was consumed.
    pub offset: Offset,
}

/// A commit that failed, for certain or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitFailed {
    /// Which.
    pub commit: Commit,
    /// The coordinator's or the client's words.
    pub cause: String,
}

/// Somebody asks how far a group is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionAsked {
    /// The group.
    pub group: String,
    /// Who asks; it asks for a partition again when it was told, or has given up.
    pub reader: String,
    /// Where.
    pub partition: TopicPartition,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionTold {
    /// The group.
    pub group: String,
    /// Who asked.
    pub reader: String,
    /// Where.
    pub partition: TopicPartition,
    /// The committed position; `None` where nothing is committed.
    pub offset: Option<Offset>,
}

/// A record was found among the dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    /// The group that gave it up.
    pub group: String,
    /// Where it was.
    pub partition: TopicPartition,
    /// At which offset.
    pub offset: Offset,
    /// How often its deliveries had failed, as it says itself.
    pub attempts: u32,
}

/// All dead letters are written down by now that were there when the group was told to be at `passed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLettersRead {
    /// The group.
    pub group: String,
    /// Where.
    pub partition: TopicPartition,
    /// The position.
    pub passed: Offset,
}
