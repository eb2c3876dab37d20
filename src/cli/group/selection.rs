//! Topics and partitions as they are named on the command line.

use std::collections::BTreeSet;

use crate::{
    cli::topic_name,
    model::{PartitionIndex, TopicName},
};

/// The most partitions that a range may name: a typing error is not to ask for millions.
const PARTITIONS_MAX: usize = 100_000;

/// `TOPIC` or `TOPIC:0,3-5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) topic: TopicName,
    /// None: all of them.
    pub(super) partitions: Option<BTreeSet<PartitionIndex>>,
}

impl Selection {
    pub(super) fn includes(&self, topic: &TopicName, partition: PartitionIndex) -> bool {
        self.topic == *topic
            && self.partitions.as_ref().is_none_or(|partitions| partitions.contains(&partition))
    }
}

pub(super) fn parse(text: &str) -> Result<Selection, String> {
    let Some((topic, partitions)) = text.split_once(':') else {
        return Ok(Selection { topic: topic_name(text)?, partitions: None });
    };
    let mut indexes = BTreeSet::new();
    for piece in partitions.split(',') {
        let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
        let (first, last) = (index(first)?, index(last)?);
        if first > last {
            return Err(format!("{piece}: the range ends before it begins"));
        }
        if indexes.len() + (last - first) as usize >= PARTITIONS_MAX {
            return Err(format!("{piece}: more than {PARTITIONS_MAX} partitions"));
        }
        indexes.extend((first..=last).map(PartitionIndex::new));
    }
    Ok(Selection { topic: topic_name(topic)?, partitions: Some(indexes) })
}

fn index(text: &str) -> Result<i32, String> {
    let index = text.trim().parse().ok().filter(|index| *index >= 0);
    index.ok_or_else(|| format!("{text:?} is no partition: TOPIC, TOPIC:0 or TOPIC:0,3-5 is expected"))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::model::PartitionIndex;

    #[test]
    fn a_topic_stands_alone_or_with_partitions_and_ranges() {
        let all = parse("orders").unwrap();
        assert_eq!((all.topic.as_str(), all.partitions), ("orders", None));
        let some = parse("orders:0,3-5,4").unwrap();
        let indexes: Vec<i32> = some.partitions.iter().flatten().map(|index| index.get()).collect();
        assert_eq!(indexes, [0, 3, 4, 5]);
        assert!(some.includes(&some.topic, PartitionIndex::new(4)));
        assert!(!some.includes(&some.topic, PartitionIndex::new(1)));
    }

    #[test]
    fn what_is_no_partition_is_refused() {
        for wrong in ["orders:", "orders:x", "orders:-1", "orders:3-1", "orders:0,", "a b", "t:0-2000000000"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
