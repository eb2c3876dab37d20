//! Which reading of a partition is the current one.
//!
//! A partition may be taken from a consumer, or be read from elsewhere, while a fetch of it is on its way. Each time
//! that reading begins is a turn of its own; what belongs to another turn than the current one is forgotten by whoever
//! comes across it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::model::{PartitionIndex, TopicName};

/// Counts how often reading of a partition has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turn(u64);

/// The current turns. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    current: HashMap<(TopicName, PartitionIndex), Turn>,
}

impl Turns {
    /// Reading of the partition begins, anew or for the first time.
    pub(super) fn begin(&self, topic: &TopicName, partition: PartitionIndex) -> Turn {
        let mut state = self.state();
        state.last += 1;
        let turn = Turn(state.last);
        state.current.insert((topic.clone(), partition), turn);
        turn
    }

    /// The partition is not read any more.
    pub(super) fn end(&self, topic: &TopicName, partition: PartitionIndex) {
        self.state().current.remove(&(topic.clone(), partition));
    }

    /// Whether that is how the partition is read now.
    pub(super) fn is_current(&self, topic: &TopicName, partition: PartitionIndex, turn: Turn) -> bool {
        self.state().current.get(&(topic.clone(), partition)) == Some(&turn)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
