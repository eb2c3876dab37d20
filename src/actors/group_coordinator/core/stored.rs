//! What a coordinator keeps in its partition of `__consumer_offsets`, byte for byte as Kafka writes it.
//!
//! A key is the number of its kind (`i16`) and its fields in the classic layout; a value is its version
//! (`i16`) and its fields, in the flexible layout where the version says so. Kinds and versions are those of
//! Kafka's `CoordinatorRecordType`, so that its tools read our topic; `docs/FORMAT.md` draws them. A kind that
//! is not known here is left alone: another version of this program may have written it.

use bytes::{Bytes, BytesMut};

use super::consumer::stored::Fact;
use crate::{
    model::{LeaderEpoch, Offset, PartitionIndex, ProducerId, TimestampMs, TopicId},
    wire::{DecodeError, EncodeError, Field, Layout, Reader, Str, Writer, schema::wire_structs},
};

/// The offset that a group has committed for a partition. Kind 0 is the same from before 2014.
const OFFSET: i16 = 1;
const OLD_OFFSET: i16 = 0;
/// A group of the classic protocol.
const CLASSIC_GROUP: i16 = 2;

/// What a group has failed on. Ours, and far from the kinds that Kafka has or may get.
const ATTEMPTS: i16 = 16_384;

/// The newest version of each value that is read. What is written is chosen in `write`.
const OFFSET_VALUE_MAX: i16 = 4;
const OFFSET_VALUE_FLEXIBLE: i16 = 4;
const CLASSIC_VALUE_MAX: i16 = 4;
const CLASSIC_VALUE_WRITTEN: i16 = 3;
const CLASSIC_VALUE_FLEXIBLE: i16 = 4;
const ATTEMPTS_VALUE_MAX: i16 = 0;
const ATTEMPTS_VALUE_FLEXIBLE: i16 = 0;

wire_structs! {
    /// Whose offset it is.
    struct OffsetKey {
        /// The group.
        group: Str [0..],
        /// The topic.
        topic: Str [0..],
        /// The partition.
        partition: PartitionIndex [0..],
    }

    /// A committed offset.
    struct OffsetValue {
        /// The offset to go on from.
        offset: Offset [0..],
        /// The leader epoch of the record before it.
        leader_epoch: LeaderEpoch [3..] = LeaderEpoch::NONE,
        /// What the client keeps with it.
        metadata: Str [0..],
        /// When it was committed.
        commit_timestamp: TimestampMs [0..],
        /// When it may be forgotten, where the client said so.
        expire_timestamp: TimestampMs [1..=1] = TimestampMs::NONE,
        /// The topic, since a name may be used again.
        topic_id: TopicId [4..; tag 0],
    }

    /// How often a record has taken its consumer down. Its key is an [`OffsetKey`].
    struct AttemptsValue {
        /// The topic, since a name may be used again.
        topic_id: TopicId [0..],
        /// The offset of the record.
        offset: Offset [0..],
        /// How often; 0 where only what was given up before it counts.
        attempts: i32 [0..],
        /// When that was the first time.
        first: TimestampMs [0..],
        /// When it was the last time.
        last: TimestampMs [0..],
        /// What happened then, for a person.
        cause: Str [0..],
        /// How many records before it have become dead letters without one that was consumed in between.
        in_a_row: i32 [0..],
        /// Whether those were so many that nothing of the group becomes a dead letter any more.
        stopped: bool [0..],
        /// The producer that writes the record to the dead letters, once it is to become one: whoever writes it again after
        /// this one does so as the same.
        mark: ProducerId [0..; tag 0] = ProducerId::NONE,
    }

    /// Which group it is.
    struct GroupKey {
        /// The group.
        group: Str [0..],
    }

    /// A group of the classic protocol as it was when it last settled.
    struct ClassicGroupValue {
        /// The kind of group.
        protocol_type: Str [0..],
        /// Its generation.
        generation: i32 [0..],
        /// The protocol chosen.
        protocol: Option<Str> [0..; null 0..],
        /// The member that assigns.
        leader: Option<Str> [0..; null 0..],
        /// Since when it is in its state.
        current_state_timestamp: TimestampMs [2..] = TimestampMs::NONE,
        /// Its members.
        members: Vec<ClassicMemberValue> [0..],
    }

    /// A member of such a group.
    struct ClassicMemberValue {
        /// Its id.
        member_id: Str [0..],
        /// What a static member is known by.
        group_instance_id: Option<Str> [3..; null 3..],
        /// The client's own name.
        client_id: Str [0..],
        /// Where it comes from.
        client_host: Str [0..],
        /// How long the others wait for it while the group rebalances, in ms.
        rebalance_timeout: i32 [1..],
        /// Without a heartbeat for so long it counts as dead, in ms.
        session_timeout: i32 [0..],
        /// What it told under the chosen protocol.
        subscription: Bytes [0..],
        /// What it was assigned.
        assignment: Bytes [0..],
    }
}

/// One fact. A value of `None` takes it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// A committed offset.
    Offset {
        /// Whose.
        key: OffsetKey,
        /// What.
        value: Option<OffsetValue>,
    },
    /// What a group has failed on in a partition.
    Attempts {
        /// Where.
        key: OffsetKey,
        /// What.
        value: Option<AttemptsValue>,
    },
    /// A group of the classic protocol.
    ClassicGroup {
        /// Which.
        key: GroupKey,
        /// What.
        value: Option<ClassicGroupValue>,
    },
    /// Something about a group whose partitions the coordinator assigns.
    Consumer(Fact),
}

/// Why a record is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// A kind that this version of the program does not know.
    #[error("records of kind {0} are not known")]
    UnknownKind(i16),
    /// A value of a version that this version of the program does not know.
    #[error("version {version} of values of kind {kind} is not known")]
    UnknownVersion {
        /// The kind.
        kind: i16,
        /// The version.
        version: i16,
    },
    /// Bytes that are none of its kind.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

/// A record's key and value, ready to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

impl Stored {
    /// The record that says this.
    pub fn write(&self) -> Result<KeyValue, EncodeError> {
        match self {
            Self::Offset { key, value } => Ok(KeyValue {
                key: keyed(OFFSET, key)?,
                value: value
                    .as_ref()
                    .map(|value| valued(value.version(), OFFSET_VALUE_FLEXIBLE, value))
                    .transpose()?,
            }),
            Self::Attempts { key, value } => {
                let write = |value| valued(ATTEMPTS_VALUE_MAX, ATTEMPTS_VALUE_FLEXIBLE, value);
                Ok(KeyValue { key: keyed(ATTEMPTS, key)?, value: value.as_ref().map(write).transpose()? })
            }
            Self::ClassicGroup { key, value } => {
                let write = |value| valued(CLASSIC_VALUE_WRITTEN, CLASSIC_VALUE_FLEXIBLE, value);
                Ok(KeyValue {
                    key: keyed(CLASSIC_GROUP, key)?,
                    value: value.as_ref().map(write).transpose()?,
                })
            }
            Self::Consumer(fact) => fact.write(),
        }
    }

    /// What a record says.
    pub fn read(key: Bytes, value: Option<Bytes>) -> Result<Self, StoredError> {
        let mut key = Reader::new(key);
        match key.i16()? {
            kind @ (OLD_OFFSET | OFFSET) => {
                let read = |value| versioned(value, kind, OFFSET_VALUE_MAX, OFFSET_VALUE_FLEXIBLE);
                Ok(Self::Offset { key: whole(key)?, value: value.map(read).transpose()? })
            }
            ATTEMPTS => {
                let read = |value| versioned(value, ATTEMPTS, ATTEMPTS_VALUE_MAX, ATTEMPTS_VALUE_FLEXIBLE);
                Ok(Self::Attempts { key: whole(key)?, value: value.map(read).transpose()? })
            }
            CLASSIC_GROUP => {
                let read = |value| versioned(value, CLASSIC_GROUP, CLASSIC_VALUE_MAX, CLASSIC_VALUE_FLEXIBLE);
                Ok(Self::ClassicGroup { key: whole(key)?, value: value.map(read).transpose()? })
            }
            kind => Fact::read(kind, key, value).map(Self::Consumer),
        }
    }
}

impl OffsetValue {
    /// The oldest version that can say all of it is the one that most tools read.
    const fn version(&self) -> i16 {
        if self.expire_timestamp.get() >= 0 {
            1
        } else if self.topic_id.is_nil() {
            3
        } else {
            4
        }
    }
}

const KEYS: Layout = Layout { version: 0, flexible: false };

pub(super) fn keyed(kind: i16, key: &impl Field) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    let mut writer = Writer::new(&mut out);
    writer.put(&kind.to_be_bytes());
    key.write(&mut writer, KEYS)?;
    Ok(out.freeze())
}

pub(super) fn valued(version: i16, flexible_from: i16, value: &impl Field) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    let mut writer = Writer::new(&mut out);
    writer.put(&version.to_be_bytes());
    value.write(&mut writer, Layout { version, flexible: version >= flexible_from })?;
    Ok(out.freeze())
}

pub(super) fn whole<K: Field>(mut key: Reader) -> Result<K, StoredError> {
    let read = K::read(&mut key, KEYS)?;
    key.finish()?;
    Ok(read)
}

pub(super) fn versioned<V: Field>(
    value: Bytes,
    kind: i16,
    max: i16,
    flexible_from: i16,
) -> Result<V, StoredError> {
    let mut reader = Reader::new(value);
    let version = reader.i16()?;
    if !(0..=max).contains(&version) {
        return Err(StoredError::UnknownVersion { kind, version });
    }
    let read = V::read(&mut reader, Layout { version, flexible: version >= flexible_from })?;
    reader.finish()?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{
        AttemptsValue, ClassicGroupValue, ClassicMemberValue, GroupKey, OffsetKey, OffsetValue, Stored,
        StoredError,
    };
    use crate::model::{LeaderEpoch, Offset, PartitionIndex, ProducerId, TimestampMs, TopicId};

    fn offset(value: OffsetValue) -> Stored {
        let key = OffsetKey { group: "g".into(), topic: "t".into(), partition: PartitionIndex::new(7) };
        Stored::Offset { key, value: Some(value) }
    }

    fn group() -> Stored {
        let member = ClassicMemberValue {
            member_id: "m".into(),
            group_instance_id: Some("i".into()),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            rebalance_timeout: 60_000,
            session_timeout: 10_000,
            subscription: Bytes::from_static(b"sub"),
            assignment: Bytes::from_static(b"ass"),
        };
        let value = ClassicGroupValue {
            protocol_type: "consumer".into(),
            generation: 3,
            protocol: Some("range".into()),
            leader: Some("m".into()),
            current_state_timestamp: TimestampMs::new(5),
            members: vec![member],
        };
        Stored::ClassicGroup { key: GroupKey { group: "g".into() }, value: Some(value) }
    }

    fn attempts(mark: ProducerId) -> Stored {
        let key = OffsetKey { group: "g".into(), topic: "t".into(), partition: PartitionIndex::new(7) };
        let value = AttemptsValue {
            topic_id: TopicId::from_bytes([7; 16]),
            offset: Offset::new(5),
            attempts: 2,
            first: TimestampMs::new(1),
            last: TimestampMs::new(2),
            cause: "c".into(),
            in_a_row: 3,
            stopped: true,
            mark,
        };
        Stored::Attempts { key, value: Some(value) }
    }

    fn read_back(stored: &Stored) -> Stored {
        let record = stored.write().unwrap();
        Stored::read(record.key, record.value).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let plain = OffsetValue {
            offset: Offset::new(42),
            leader_epoch: LeaderEpoch::new(3),
            metadata: "note".into(),
            commit_timestamp: TimestampMs::new(9),
            ..OffsetValue::default()
        };
        let with_topic = OffsetValue { topic_id: TopicId::random(), ..plain.clone() };
        let (unmarked, marked) = (attempts(ProducerId::NONE), attempts(ProducerId::new(9)));
        for stored in [offset(plain), offset(with_topic), unmarked, marked, group()] {
            assert_eq!(read_back(&stored), stored);
        }
    }

    #[test]
    fn an_offset_that_expires_at_a_time_of_its_own_is_written_as_old_clients_had_it() {
        let value = OffsetValue {
            offset: Offset::new(1),
            expire_timestamp: TimestampMs::new(77),
            ..OffsetValue::default()
        };
        let written = offset(value.clone()).write().unwrap();
        assert_eq!(written.value.unwrap().get(..2), Some([0, 1].as_slice()));
        assert_eq!(read_back(&offset(value.clone())), offset(value));
    }

    #[test]
    fn a_tombstone_takes_back_what_its_key_names() {
        let Stored::Offset { key, .. } = offset(OffsetValue::default()) else { panic!() };
        let gone = Stored::Offset { key, value: None };
        assert_eq!(read_back(&gone), gone);
        let gone = Stored::ClassicGroup { key: GroupKey { group: "g".into() }, value: None };
        assert_eq!(read_back(&gone), gone);
    }

    /// The bytes that Kafka 4.1.1's `OffsetCommitKey` and `OffsetCommitValue` (version 3) have.
    #[test]
    fn the_bytes_are_those_of_kafka() {
        let value = OffsetValue {
            offset: Offset::new(5),
            commit_timestamp: TimestampMs::new(1),
            ..OffsetValue::default()
        };
        let written = offset(value).write().unwrap();
        assert_eq!(&written.key[..], b"\0\x01\0\x01g\0\x01t\0\0\0\x07");
        assert_eq!(
            &written.value.unwrap()[..],
            b"\0\x03\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x01"
        );
    }

    /// As `docs/FORMAT.md` draws it.
    #[test]
    fn the_bytes_of_our_own_kind_stay_as_they_are() {
        let value = [
            b"\0\0".as_slice(),
            &[7; 16],
            b"\0\0\0\0\0\0\0\x05\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\x02c\0\0\0\x03\x01",
        ];
        let value = value.concat();
        let no_mark = (ProducerId::NONE, b"\0".as_slice());
        for (mark, tags) in [no_mark, (ProducerId::new(9), b"\x01\0\x08\0\0\0\0\0\0\0\x09")] {
            let written = attempts(mark).write().unwrap();
            assert_eq!(&written.key[..], b"\x40\0\0\x01g\0\x01t\0\0\0\x07");
            assert_eq!(written.value.unwrap(), [value.as_slice(), tags].concat());
        }
    }

    #[test]
    fn what_is_not_known_is_an_error_and_not_a_guess() {
        let kind = Bytes::from_static(b"\0\x63rest");
        assert_eq!(Stored::read(kind, None), Err(StoredError::UnknownKind(99)));
        let key = offset(OffsetValue::default()).write().unwrap().key;
        let unknown = Stored::read(key, Some(Bytes::from_static(b"\0\x09xx")));
        assert_eq!(unknown, Err(StoredError::UnknownVersion { kind: 1, version: 9 }));
    }

    #[test]
    fn every_cut_of_a_record_is_an_error() {
        let record = group().write().unwrap();
        for len in 0..record.key.len() {
            assert!(Stored::read(record.key.slice(..len), None).is_err(), "key of {len}");
        }
        let value = record.value.unwrap();
        for len in 0..value.len() {
            assert!(Stored::read(record.key.clone(), Some(value.slice(..len))).is_err(), "value of {len}");
        }
    }
}
