//! What groups have committed, all at once, for whoever measures how far they are behind.

use super::Coordinator;
use crate::{
    model::{Offset, PartitionIndex, TopicId},
    wire::Str,
};

/// Groups with longer names are left out, in bytes: a client chooses them, and each figure carries one.
const NAME_MAX: usize = 255;

/// One committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// The group.
    pub group: Str,
    /// The topic.
    pub topic: Str,
    /// The topic that it was committed for; nil where it was not told.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset to go on from.
    pub offset: Offset,
}

/// Committed offsets, up to a bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The first ones, by group, topic and partition.
    pub offsets: Vec<Surveyed>,
    /// How many there are besides.
    pub left_out: usize,
}

impl Coordinator {
    /// The first `most` offsets. Beyond them it counts topics and not offsets, so it costs little more with many.
    pub fn survey(&self, most: usize) -> Survey {
        let mut survey = Survey::default();
        for (group, state) in &self.groups {
            for (topic, partitions) in state.offsets.by_topic() {
                let room = if group.as_bytes().len() > NAME_MAX { 0 } else { most - survey.offsets.len() };
                let taken = partitions.iter().take(room).map(|(partition, committed)| Surveyed {
                    group: group.clone(),
                    topic: topic.clone(),
                    topic_id: committed.topic,
                    partition: *partition,
                    offset: committed.offset,
                });
                survey.offsets.extend(taken);
                survey.left_out += partitions.len().saturating_sub(room);
            }
        }
        survey
    }
}
