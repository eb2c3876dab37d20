use super::{Assignment, StartAt, turns::Turn};
use crate::{
    client::Leader,
    model::{Offset, PartitionIndex, TopicName},
};

/// A partition that is read, on its way between placement and the fetchers.
#[derive(Clone, Debug)]
pub(super) struct Assigned {
    pub(super) topic: TopicName,
    pub(super) partition: PartitionIndex,
    pub(super) next: StartAt,
    /// Which reading of the partition this is.
    pub(super) turn: Turn,
    /// Failures in a row.
    pub(super) failures: u32,
    /// The most bytes to ask for, where a batch was larger than the configured limit.
    pub(super) max_bytes: Option<usize>,
    /// The end that was reported last, so that it is reported once.
    pub(super) reported_end: Option<Offset>,
}

impl Assigned {
    pub(super) fn new(assignment: &Assignment, turn: Turn) -> Self {
        Self {
            topic: assignment.topic.clone(),
            partition: assignment.partition,
            next: assignment.start,
            turn,
            failures: 0,
            max_bytes: None,
            reported_end: None,
        }
    }
}

/// A partition with its leader and the offset to fetch.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) assigned: Assigned,
    pub(super) leader: Leader,
    pub(super) offset: Offset,
}

impl Placed {
    /// Back to be placed, at the offset where it is.
    pub(super) fn unplace(mut self) -> Assigned {
        self.assigned.next = StartAt::Offset(self.offset);
        self.assigned
    }
}
