//! How often a record may fail to be consumed, and what becomes of it then.

use std::collections::BTreeMap;

use crate::model::{PartitionIndex, TopicName};

/// What is added to a topic's name for its dead letters.
const SUFFIX: &str = ".dead-letter";

/// The configs of a topic that limit failed deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// `max.delivery.attempts`; 0: no limit.
    pub max_attempts: u32,
    /// `max.delivery.attempts.overrides`.
    pub overrides: BTreeMap<PartitionIndex, u32>,
    /// `dead.letter.topic`; `None`: named after the topic.
    pub dead_letter_topic: Option<TopicName>,
    /// `dead.letter.partitions`; 0: as many as the topic has.
    pub dead_letter_partitions: u32,
    /// `dead.letter.max.consecutive`; 0: no limit.
    pub max_consecutive: u32,
}

impl Delivery {
    /// The failed deliveries of a record of this partition after which it is given up; `None`: never.
    pub fn limit(&self, partition: PartitionIndex) -> Option<u32> {
        let limit = self.overrides.get(&partition).copied().unwrap_or(self.max_attempts);
        (limit > 0).then_some(limit)
    }

    /// Whether any partition may have a limit.
    pub fn is_limited(&self) -> bool {
        self.max_attempts > 0 || self.overrides.values().any(|limit| *limit > 0)
    }

    /// The name of the topic that the dead letters of `topic` go to; not checked, as it may be too long.
    pub fn dead_letters_of(&self, topic: &str) -> String {
        match &self.dead_letter_topic {
            Some(name) => name.as_str().to_owned(),
            None => format!("{topic}{SUFFIX}"),
        }
    }
}

/// Reads `0:5,3:1`; `None` if it is not of this form or names a partition twice.
pub(super) fn per_partition(text: &str) -> Option<BTreeMap<PartitionIndex, u32>> {
    let mut numbers = BTreeMap::new();
    for word in super::check::words(text) {
        let (index, number) = word.split_once(':')?;
        let (index, number): (u32, u32) = (index.trim().parse().ok()?, number.trim().parse().ok()?);
        let (index, number) = (i32::try_from(index).ok()?, i32::try_from(number).ok()?.unsigned_abs());
        if numbers.insert(PartitionIndex::new(index), number).is_some() {
            return None;
        }
    }
    Some(numbers)
}

/// The one spelling of it.
pub(super) fn written(numbers: &BTreeMap<PartitionIndex, u32>) -> String {
    let words: Vec<_> = numbers.iter().map(|(index, number)| format!("{index}:{number}")).collect();
    words.join(",")
}
