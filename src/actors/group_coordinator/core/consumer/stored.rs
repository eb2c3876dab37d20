//! What the log keeps of a group whose partitions the coordinator assigns, byte for byte as Kafka 4.1 writes it.
//!
//! A group is spread over records, so that a change costs what it changes: the group's epoch, each member, the epoch
//! of the target, each member's target, and where each member stands. Of ours alone is one tagged field of the
//! group, which Kafka passes over.

use bytes::Bytes;

use super::super::stored::{GroupKey, KeyValue, StoredError, keyed, valued, versioned, whole};
use crate::{
    model::{PartitionIndex, TimestampMs, TopicId},
    wire::{
        EncodeError, Field, Reader, Str,
        schema::{nullable_structs, wire_structs},
    },
};

/// The group.
pub(in super::super) const GROUP: i16 = 3;
/// A member.
pub(in super::super) const MEMBER: i16 = 5;
/// The target of all.
pub(in super::super) const TARGET: i16 = 6;
/// The target of a member.
pub(in super::super) const MEMBER_TARGET: i16 = 7;
/// Where a member stands.
pub(in super::super) const STANDING: i16 = 8;

/// There is one version of each value, and it is flexible.
const VERSION: i16 = 0;

wire_structs! {
    /// Which member.
    struct MemberKey {
        /// Its group.
        group: Str [0..],
        /// Its id.
        member: Str [0..],
    }

    /// The group.
    struct GroupValue {
        /// Raised by every change of members and of what they want.
        epoch: i32 [0..],
        /// Of the topics that it was raised for last.
        topics_hash: i64 [0..; tag 0],
        /// Of ours: since when it has been without members.
        empty_since: TimestampMs [0..; tag 10000] = TimestampMs::NONE,
    }

    /// What a member is and wants.
    struct MemberValue {
        /// What a static member is known by.
        instance_id: Option<Str> [0..; null 0..],
        /// Where it runs.
        rack_id: Option<Str> [0..; null 0..],
        /// The client's own name.
        client_id: Str [0..],
        /// Where it comes from.
        client_host: Str [0..],
        /// The topics it wants.
        subscribed_topic_names: Vec<Str> [0..],
        /// The topics it wants, as a regular expression.
        subscribed_topic_regex: Option<Str> [0..; null 0..],
        /// How long it may take to give partitions back, in ms.
        rebalance_timeout: i32 [0..] = -1,
        /// The assignor it wants.
        server_assignor: Option<Str> [0..; null 0..],
        /// Of a member that speaks the classic protocol.
        classic: Option<ClassicMember> [0..; null 0..; tag 0],
    }

    /// What is known of a member that speaks the classic protocol.
    struct ClassicMember {
        /// Without a heartbeat for so long it counts as dead, in ms.
        session_timeout: i32 [0..],
        /// What it speaks, the best first.
        protocols: Vec<ClassicProtocol> [0..],
    }

    /// A protocol that a member speaks.
    struct ClassicProtocol {
        /// Its name.
        name: Str [0..],
        /// What it tells whoever assigns.
        metadata: Bytes [0..],
    }

    /// The epoch of the target.
    struct TargetValue {
        /// The group epoch that it was made for.
        assignment_epoch: i32 [0..],
    }

    /// The target of a member.
    struct MemberTargetValue {
        /// By topic.
        topic_partitions: Vec<TopicPartitions> [0..],
    }

    /// Where a member stands.
    struct StandingValue {
        /// The epoch that it was told last.
        member_epoch: i32 [0..],
        /// The one before, in case the answer was lost.
        previous_member_epoch: i32 [0..],
        /// 0: stable, 1: has to give back, 2: waits for what others give back.
        state: i8 [0..],
        /// What is its own.
        assigned_partitions: Vec<TopicPartitions> [0..],
        /// What it has to give back.
        partitions_pending_revocation: Vec<TopicPartitions> [0..],
    }

    /// Partitions of one topic.
    struct TopicPartitions {
        /// The topic.
        topic_id: TopicId [0..],
        /// The partitions.
        partitions: Vec<PartitionIndex> [0..],
    }
}

nullable_structs!(ClassicMember);

/// One fact about such a group. A value of `None` takes it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The group.
    Group(GroupKey, Option<GroupValue>),
    /// A member.
    Member(MemberKey, Option<MemberValue>),
    /// The epoch of the target.
    Target(GroupKey, Option<TargetValue>),
    /// The target of a member.
    MemberTarget(MemberKey, Option<MemberTargetValue>),
    /// Where a member stands.
    Standing(MemberKey, Option<StandingValue>),
}

impl Fact {
    /// The group that it is about.
    pub(in super::super) const fn group(&self) -> &Str {
        match self {
            Self::Group(key, _) | Self::Target(key, _) => &key.group,
            Self::Member(key, _) | Self::MemberTarget(key, _) | Self::Standing(key, _) => &key.group,
        }
    }

    /// Whether it takes something back.
    pub(in super::super) const fn is_tombstone(&self) -> bool {
        match self {
            Self::Group(_, value) => value.is_none(),
            Self::Member(_, value) => value.is_none(),
            Self::Target(_, value) => value.is_none(),
            Self::MemberTarget(_, value) => value.is_none(),
            Self::Standing(_, value) => value.is_none(),
        }
    }

    pub(in super::super) fn write(&self) -> Result<KeyValue, EncodeError> {
        match self {
            Self::Group(key, value) => record(GROUP, key, value.as_ref()),
            Self::Member(key, value) => record(MEMBER, key, value.as_ref()),
            Self::Target(key, value) => record(TARGET, key, value.as_ref()),
            Self::MemberTarget(key, value) => record(MEMBER_TARGET, key, value.as_ref()),
            Self::Standing(key, value) => record(STANDING, key, value.as_ref()),
        }
    }

    /// What a record of such a kind says; `key` begins behind the kind.
    pub(in super::super) fn read(kind: i16, key: Reader, value: Option<Bytes>) -> Result<Self, StoredError> {
        match kind {
            GROUP => Ok(Self::Group(whole(key)?, read(kind, value)?)),
            MEMBER => Ok(Self::Member(whole(key)?, read(kind, value)?)),
            TARGET => Ok(Self::Target(whole(key)?, read(kind, value)?)),
            MEMBER_TARGET => Ok(Self::MemberTarget(whole(key)?, read(kind, value)?)),
            STANDING => Ok(Self::Standing(whole(key)?, read(kind, value)?)),
            _ => Err(StoredError::UnknownKind(kind)),
        }
    }
}

fn record(kind: i16, key: &impl Field, value: Option<&impl Field>) -> Result<KeyValue, EncodeError> {
    let value = value.map(|value| valued(VERSION, VERSION, value)).transpose()?;
    Ok(KeyValue { key: keyed(kind, key)?, value })
}

fn read<V: Field>(kind: i16, value: Option<Bytes>) -> Result<Option<V>, StoredError> {
    value.map(|value| versioned(value, kind, VERSION, VERSION)).transpose()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{
        ClassicMember, ClassicProtocol, Fact, GroupKey, GroupValue, MemberKey, MemberTargetValue,
        MemberValue, StandingValue, TargetValue, TopicPartitions,
    };
    use crate::{
        actors::group_coordinator::core::stored::Stored,
        model::{PartitionIndex, TimestampMs, TopicId},
    };

    fn group() -> GroupKey {
        GroupKey { group: "g".into() }
    }

    fn member() -> MemberKey {
        MemberKey { group: "g".into(), member: "m".into() }
    }

    fn partitions() -> Vec<TopicPartitions> {
        let topic_id = TopicId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        vec![TopicPartitions { topic_id, partitions: vec![PartitionIndex::new(3)] }]
    }

    fn facts() -> Vec<Fact> {
        let protocol = ClassicProtocol { name: "range".into(), metadata: Bytes::from_static(b"x") };
        let classic = ClassicMember { session_timeout: 10, protocols: vec![protocol] };
        let plain = MemberValue {
            client_id: "c".into(),
            client_host: "/h".into(),
            subscribed_topic_names: vec!["t".into()],
            rebalance_timeout: 5,
            ..MemberValue::default()
        };
        let standing = StandingValue {
            member_epoch: 3,
            previous_member_epoch: 2,
            state: 1,
            assigned_partitions: partitions(),
            partitions_pending_revocation: partitions(),
        };
        vec![
            Fact::Group(group(), Some(GroupValue { epoch: 7, ..GroupValue::default() })),
            Fact::Group(
                group(),
                Some(GroupValue { epoch: 7, topics_hash: 9, empty_since: TimestampMs::new(3) }),
            ),
            Fact::Member(member(), Some(plain.clone())),
            Fact::Member(member(), Some(MemberValue { classic: Some(classic), ..plain })),
            Fact::Target(group(), Some(TargetValue { assignment_epoch: 7 })),
            Fact::MemberTarget(member(), Some(MemberTargetValue { topic_partitions: partitions() })),
            Fact::Standing(member(), Some(standing)),
            Fact::Group(group(), None),
            Fact::Member(member(), None),
            Fact::Target(group(), None),
            Fact::MemberTarget(member(), None),
            Fact::Standing(member(), None),
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for fact in facts() {
            let record = fact.write().unwrap();
            assert_eq!(Stored::read(record.key, record.value), Ok(Stored::Consumer(fact)));
        }
    }

    /// What `ConsumerGroupMetadataValue` and its like of Kafka 4.1.1 write.
    #[test]
    fn the_bytes_are_those_of_kafka() {
        let bytes = |fact: &Fact| {
            let record = fact.write().unwrap();
            (record.key.to_vec(), record.value.unwrap().to_vec())
        };
        let facts = facts();
        assert_eq!(bytes(&facts[0]), (b"\0\x03\0\x01g".to_vec(), b"\0\0\0\0\0\x07\0".to_vec()));
        let member = b"\0\0\0\0\x02c\x03/h\x02\x02t\0\0\0\0\x05\0\0".to_vec();
        assert_eq!(bytes(&facts[2]), (b"\0\x05\0\x01g\0\x01m".to_vec(), member));
        let classic =
            b"\0\0\0\0\x02c\x03/h\x02\x02t\0\0\0\0\x05\0\x01\0\x10\x01\0\0\0\x0a\x02\x06range\x02x\0\0";
        assert_eq!(bytes(&facts[3]).1, classic.to_vec());
        assert_eq!(bytes(&facts[4]), (b"\0\x06\0\x01g".to_vec(), b"\0\0\0\0\0\x07\0".to_vec()));
        let topics = b"\x02\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x02\0\0\0\x03\0";
        let target = [b"\0\0".as_slice(), topics, b"\0"].concat();
        assert_eq!(bytes(&facts[5]), (b"\0\x07\0\x01g\0\x01m".to_vec(), target));
        let standing = [b"\0\0\0\0\0\x03\0\0\0\x02\x01".as_slice(), topics, topics, b"\0"].concat();
        assert_eq!(bytes(&facts[6]), (b"\0\x08\0\x01g\0\x01m".to_vec(), standing));
    }

    #[test]
    fn every_cut_of_a_record_is_an_error() {
        for fact in facts() {
            let record = fact.write().unwrap();
            for len in 0..record.key.len() {
                assert!(Stored::read(record.key.slice(..len), None).is_err(), "key of {len}");
            }
            let Some(value) = record.value else { continue };
            for len in 0..value.len() {
                assert!(
                    Stored::read(record.key.clone(), Some(value.slice(..len))).is_err(),
                    "value of {len}"
                );
            }
        }
    }
}
