//! How far a group has come.

use std::collections::BTreeMap;

use super::{
    attempts::{DeadLetter, Place},
    request::{Commit, Partitions, PerPartition},
    stored::{OffsetKey, OffsetValue, Stored},
};
use crate::{
    config::node::GroupSettings,
    model::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId},
    wire::{ErrorCode, Str},
};

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The offset to go on from.
    pub offset: Offset,
    /// The leader epoch of the record before it.
    pub leader_epoch: LeaderEpoch,
    /// What the client keeps with it.
    pub metadata: Str,
    /// The topic that it was committed for; nil where it was not told.
    pub topic: TopicId,
    stored_at: TimestampMs,
    /// Where the client said so.
    expires_at: Option<TimestampMs>,
}

/// The offsets of one group.
#[derive(Clone, Debug, Default)]
pub(super) struct Offsets {
    topics: BTreeMap<Str, BTreeMap<PartitionIndex, Committed>>,
}

impl Offsets {
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub(super) fn by_topic(&self) -> &BTreeMap<Str, BTreeMap<PartitionIndex, Committed>> {
        &self.topics
    }

    /// Keeps what `commit` has of partitions that are the committer's to commit for, and says what is to be written
    /// of it.
    pub(super) fn commit(
        &mut self,
        commit: Commit,
        settings: &GroupSettings,
        now: TimestampMs,
        held_by_another: impl Fn(&Str, TopicId, PartitionIndex) -> Option<ErrorCode>,
        mut write: impl FnMut(Stored),
    ) -> PerPartition<ErrorCode> {
        let Commit { group, topics, retention_ms, .. } = commit;
        let expires_at =
            (retention_ms >= 0).then(|| TimestampMs::new(now.get().saturating_add(retention_ms)));
        let mut answer = Vec::with_capacity(topics.len());
        for topic in topics {
            let mut codes = Vec::with_capacity(topic.partitions.len());
            for partition in topic.partitions {
                if let Some(code) = held_by_another(&topic.name, topic.id, partition.partition_index) {
                    codes.push((partition.partition_index, code));
                    continue;
                }
                let metadata = partition.committed_metadata.unwrap_or_default();
                if metadata.as_bytes().len() as u64 > settings.offset_metadata_max_bytes {
                    codes.push((partition.partition_index, ErrorCode::OffsetMetadataTooLarge));
                    continue;
                }
                let committed = Committed {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: Str::from(metadata.as_str()),
                    topic: topic.id,
                    stored_at: now,
                    expires_at,
                };
                write(committed.stored(&group, &topic.name, partition.partition_index));
                self.set(&topic.name, partition.partition_index, committed);
                codes.push((partition.partition_index, ErrorCode::None));
            }
            answer.push((topic.name, codes));
        }
        answer
    }

    pub(super) fn fetch(&self, topics: Option<Vec<Partitions>>) -> PerPartition<Option<Committed>> {
        let Some(topics) = topics else {
            let all = |(name, partitions): (&Str, &BTreeMap<PartitionIndex, Committed>)| {
                (
                    name.clone(),
                    partitions.iter().map(|(index, committed)| (*index, Some(committed.clone()))).collect(),
                )
            };
            return self.topics.iter().map(all).collect();
        };
        let wanted = |Partitions { topic, indexes }| {
            let known = self.topics.get(&topic);
            let one = |index| (index, known.and_then(|known| known.get(&index)).cloned());
            (topic, indexes.into_iter().map(one).collect())
        };
        topics.into_iter().map(wanted).collect()
    }

    /// How far the group has come in a partition of this very topic.
    pub(super) fn position(&self, (topic, index): &Place, id: TopicId) -> Option<Offset> {
        let committed = self.topics.get(topic)?.get(index)?;
        committed.is_of(id).then_some(committed.offset)
    }

    /// Moves the group past a record that has become a dead letter; says what is to be written.
    pub(super) fn move_to(
        &mut self,
        group: &Str,
        letter: &DeadLetter,
        next: Offset,
        leader_epoch: LeaderEpoch,
        now: TimestampMs,
    ) -> Stored {
        let (topic, index) = &letter.place;
        let metadata = Str::default();
        let committed = Committed {
            offset: next,
            leader_epoch,
            metadata,
            topic: letter.topic,
            stored_at: now,
            expires_at: None,
        };
        let stored = committed.stored(group, topic, *index);
        self.set(topic, *index, committed);
        stored
    }

    /// Takes back every offset that `forget` names, and says what is to be written of it.
    pub(super) fn forget(
        &mut self,
        group: &Str,
        mut forget: impl FnMut(&Str, PartitionIndex, &Committed) -> bool,
        mut write: impl FnMut(Stored),
    ) {
        self.topics.retain(|topic, partitions| {
            partitions.retain(|index, committed| {
                let goes = forget(topic, *index, committed);
                if goes {
                    write(tombstone(group, topic, *index));
                }
                !goes
            });
            !partitions.is_empty()
        });
    }

    /// What the log said.
    pub(super) fn load(&mut self, topic: &Str, index: PartitionIndex, value: Option<OffsetValue>) {
        let Some(value) = value else {
            if let Some(partitions) = self.topics.get_mut(topic) {
                partitions.remove(&index);
                if partitions.is_empty() {
                    self.topics.remove(topic);
                }
            }
            return;
        };
        let committed = Committed {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: Str::from(value.metadata.as_str()),
            topic: value.topic_id,
            stored_at: value.commit_timestamp,
            expires_at: (value.expire_timestamp.get() >= 0).then_some(value.expire_timestamp),
        };
        self.set(topic, index, committed);
    }

    fn set(&mut self, topic: &Str, index: PartitionIndex, committed: Committed) {
        match self.topics.get_mut(topic) {
            Some(partitions) => {
                partitions.insert(index, committed);
            }
            None => {
                self.topics.insert(Str::from(topic.as_str()), BTreeMap::from([(index, committed)]));
            }
        }
    }
}

impl Committed {
    /// Whether it was committed for this very topic, as far as is known.
    pub(super) fn is_of(&self, id: TopicId) -> bool {
        self.topic.is_nil() || self.topic == id
    }

    /// Whether it may be forgotten at `now`, in a group that has been without members since `empty_since`, or
    /// that never had any.
    pub(super) fn has_expired(
        &self,
        empty_since: Option<TimestampMs>,
        settings: &GroupSettings,
        now: TimestampMs,
    ) -> bool {
        if let Some(at) = self.expires_at {
            return at <= now;
        }
        let from = empty_since.unwrap_or(TimestampMs::NONE).max(self.stored_at);
        from.later(settings.offsets_retention) <= now
    }

    fn stored(&self, group: &Str, topic: &Str, partition: PartitionIndex) -> Stored {
        let value = OffsetValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: self.metadata.clone(),
            commit_timestamp: self.stored_at,
            expire_timestamp: self.expires_at.unwrap_or(TimestampMs::NONE),
            // The version with a time to expire at has no place for it.
            topic_id: if self.expires_at.is_some() { TopicId::default() } else { self.topic },
        };
        Stored::Offset { key: key(group, topic, partition), value: Some(value) }
    }
}

fn key(group: &Str, topic: &Str, partition: PartitionIndex) -> OffsetKey {
    OffsetKey { group: group.clone(), topic: topic.clone(), partition }
}

pub(super) fn tombstone(group: &Str, topic: &Str, partition: PartitionIndex) -> Stored {
    Stored::Offset { key: key(group, topic, partition), value: None }
}
